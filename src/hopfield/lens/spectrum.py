"""Norms of the softmax Jacobian diag(p) - p pᵀ from its weights alone, without the matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hopfield.lens.workspace import Workspace

# passes over the weights at most; two are typical in float32, three in float64
_PASSES = 20


def jacobian_norms(weights: Tensor, heaviest: Tensor, space: Workspace) -> Tensor:
    """Frobenius and spectral norm of diag(p) - p pᵀ, (2, ..., 1).

    Frobenius: Σ p_i² (1 - 2 p_i) + (Σ p_i²)², with the heaviest apart, so that nothing cancels when it is nearly 1.
    Spectral: see `_largest_eigenvalue`. Both are lost to underflow where the second weight is, squared: below 1e-19 in
    single precision, below 1e-154 in double.

    Args:
        weights: p_i, (..., N), of sum 1; they are spent.
        heaviest: the largest p_i of each row, (..., 1).
        space: to work in.
    """
    size, shape = weights.shape[-1], weights.shape[:-1]
    others = weights.view(-1, size)
    first = heaviest.to(others.dtype).reshape(-1)
    second, copies = _take_two(others, first, space)
    squares = space.like("room", others)
    moment1, moment2 = others.sum(-1), torch.mul(others, others, out=squares).sum(-1)
    moment3 = squares.mul_(others).sum(-1)
    rest = moment1 + copies * second  # 1 - p_1, without its rounding
    square = copies * second * second
    power2, power3 = moment2 + square, moment3 + square * second
    frobenius = (first * first * (rest * rest + 2 * power2) + power2 - 2 * power3 + power2 * power2).sqrt()
    facts = torch.stack([first, second, square, rest, moment1, moment2, moment3])
    return torch.stack([frobenius, _largest_eigenvalue(others, facts, space)]).view(2, *shape, 1)


def _take_two(weights: Tensor, first: Tensor, space: Workspace) -> tuple[Tensor, Tensor]:
    """The second weight of each row after the first, and how often it comes beside it, (n,); both are zero then."""
    room = space.like("room", weights)
    weights *= torch.lt(weights, first.unsqueeze(-1), out=room)
    twins = weights.shape[-1] - 1 - room.sum(-1)
    second = torch.where(twins > 0, first, weights.amax(-1))
    weights *= torch.lt(weights, second.unsqueeze(-1), out=room)
    return second, torch.where(twins > 0, twins, weights.shape[-1] - room.sum(-1))


def _largest_eigenvalue(others: Tensor, facts: Tensor, space: Workspace) -> Tensor:
    """The largest eigenvalue λ of diag(p) - p pᵀ, in [p_2, p_1], (n,).

    With m weights of p_2, and w = p_1 - p_2, δ = λ - p_2 is the root of

        p_1² / (w - δ) - m p_2² / δ - R(δ) = 1,   R(δ) = Σ_i p_i² / (δ + p_2 - p_i) over the others.

    R is replaced by one pole with its value and slope at the last δ, which converges quadratically: the middle way of
    Li, LAPACK working note 89 (1993). At first the pole has the moments of the p_i.

    Args:
        others: p_i, (n, N), without the heaviest.
        facts: p_1, p_2, m p_2², 1 - p_1, and Σ p_i, Σ p_i², Σ p_i³ of the others, (7, n).
        space: to work in.
    """
    least = torch.finfo(others.dtype).tiny
    enough = 2.5 * torch.finfo(others.dtype).eps ** 0.5
    *known, _, moment2, moment3 = facts
    delta = _root(known, moment2, known[1] - moment3 / moment2.clamp(min=least), torch.zeros_like(moment2))
    result, which = torch.empty_like(delta), torch.arange(len(others), device=others.device)
    for _ in range(_PASSES):
        *known, moment1, _, _ = facts
        _, b, _, _ = known
        top = (b + delta).clamp_(min=least)
        ratio = torch.sub(top.unsqueeze(-1), others, out=space.like("room", others))
        torch.div(others, ratio, out=ratio)
        slope = length2(ratio).squeeze(-1)
        value = (top * ratio.sum(-1) - moment1).clamp_(min=0)  # p² / (λ - p) = λ p / (λ - p) - p
        distance = torch.where(slope > 0, value / slope.clamp(min=least), 1.0)
        before, delta = delta, _root(known, value * distance, distance - delta, delta)
        result[which] = b + delta
        keep = ((delta - before).abs() > enough * (b + delta)).nonzero().view(-1)
        if not len(keep):  # what is left is the square of it
            break
        if 2 * len(keep) <= len(others):
            others, which, delta, facts = space.some(others, keep), which[keep], delta[keep], facts[:, keep]
    return result


def _root(known: Sequence[Tensor], mass: Tensor, offset: Tensor, start: Tensor) -> Tensor:
    """The δ in [0, w] for R(δ) = mass / (δ + offset), from a δ close to it; known are p_1, p_2, m p_2² and 1 - p_1.

    A constant and a part of the pole at 0 take the place of R, with its value and slope at the last δ. What is left is
    a quadratic, lead δ² + 2 linear δ = product, in which nothing cancels for p_1 near 1.
    """
    a, b, square, rest = known
    width, delta, least = a - b, start, torch.finfo(a.dtype).tiny
    fixed, half = (square + b - a * rest) / 2, width / 2
    for _ in range(2):
        distance = (delta + offset).clamp_(min=least)
        value = mass / distance
        moved = value * (delta / distance)
        value -= moved
        moved *= delta
        linear = torch.addcmul(fixed, value, half, value=-1).add_(moved, alpha=0.5)
        lead, product = value.add_(1), moved.add_(square).mul_(width)
        root = (linear * linear).addcmul_(lead, product).sqrt_().add_(linear.abs())
        # of the two forms of the root the one that adds
        delta = torch.where(linear > 0, product / root, root / lead)
    return delta


def length2(rows: Tensor) -> Tensor:
    """Σ x², (..., 1)."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return length.square_()
