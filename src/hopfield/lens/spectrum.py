"""Norms of the softmax Jacobian diag(p) - p pᵀ from its weights alone, without the matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# passes over the weights at most; two are typical in float32, three in float64
_PASSES = 20


def jacobian_norms(others: Tensor, first: Tensor, second: Tensor, rooms: Sequence[Tensor]) -> Tensor:
    """Frobenius and spectral norm of diag(p) - p pᵀ, (2, ..., 1).

    Frobenius: Σ p_i² (1 - p_i)² + Σ_{i≠j} p_i² p_j², with the heaviest apart, so that nothing cancels when it is
    nearly 1. Spectral: see `_largest_eigenvalue`.

    Args:
        others: p_i, (..., N), but for the two heaviest, which are zero here.
        first: the heaviest weight p_1, (..., 1); the weights sum to 1 with it and the second.
        second: p_2, (..., 1).
        rooms: three tensors like the others to work in.
    """
    squares, room, _ = rooms
    torch.mul(others, others, out=squares)
    moment2, moment4 = length2(others), length2(squares)
    own = length2(torch.sub(others, squares, out=room))  # Σ p² (1 - p)²
    moment3 = (moment2 + moment4 - own) / 2
    square = second * second
    power2, power4 = moment2 + square, moment4 + square * square
    own += square * (1 - second) * (1 - second)
    rest = others.sum(-1, keepdim=True) + second  # 1 - p_1, without its rounding
    cross = (power2 * power2 - power4).clamp_(min=0)
    frobenius = (first * first * (rest * rest + 2 * power2) + own + cross).sqrt()
    facts = (first, second, rest, moment2, moment3)
    return torch.stack([frobenius, _largest_eigenvalue(others, facts, rooms)])


def _largest_eigenvalue(others: Tensor, facts: Sequence[Tensor], rooms: Sequence[Tensor]) -> Tensor:
    """The largest eigenvalue λ of diag(p) - p pᵀ, in [p_2, p_1].

    With w = p_1 - p_2, δ = λ - p_2 is the root of

        p_1² / (w - δ) - p_2² / δ - R(δ) = 1,   R(δ) = Σ_{i≥3} p_i² / (δ + p_2 - p_i).

    R is replaced by one pole with its value and slope at the last δ, which converges quadratically: the middle way of
    Li, LAPACK working note 89 (1993). At first the pole has the moments of the p_i.
    """
    gaps, ratio, room = rooms
    a, b, rest, moment2, moment3 = facts
    least = torch.finfo(others.dtype).tiny
    delta = _root(a, b, rest, moment2, b - moment3 / moment2.clamp(min=least), torch.zeros_like(a), 3)
    torch.sub(b, others, out=gaps)
    enough = 2.5 * torch.finfo(others.dtype).eps ** 0.5
    for _ in range(_PASSES):
        torch.div(others, torch.add(gaps, delta.clamp(min=least), out=ratio), out=ratio)
        value = torch.mul(ratio, others, out=room).sum(-1, keepdim=True)
        slope = length2(ratio)
        distance = torch.where(slope > 0, value / slope.clamp(min=least), 1.0)
        before, delta = delta, _root(a, b, rest, value * distance, distance - delta, delta, 3)
        if not bool(((delta - before).abs() > enough * (b + delta)).any()):  # what is left is the square of it
            break
    return b + delta


def _root(a: Tensor, b: Tensor, rest: Tensor, mass: Tensor, offset: Tensor, start: Tensor, times: int) -> Tensor:
    """The δ in [0, w] for R(δ) = mass / (δ + offset), from a δ close to it; rest = 1 - p_1."""
    width, delta = a - b, start
    # a quadratic with R as a constant: δ² (1 + R) + 2 linear δ = p_2² w, in which nothing cancels for p_1 near 1
    fixed, half, product = (b * b + b - a * rest) / 2, width / 2, b * b * width
    for _ in range(times):
        others = mass / (delta + offset).clamp_(min=torch.finfo(a.dtype).tiny)
        linear = fixed - others * half
        lead = others.add_(1)
        root = (linear * linear).addcmul_(lead, product).sqrt_().add_(linear.abs())
        # of the two forms of the root the one that adds
        delta = torch.where(linear > 0, product / root, root / lead)
    return delta


def length2(rows: Tensor) -> Tensor:
    """Σ x², (..., 1)."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return length.square_()
