"""Softmax association of a few states with many patterns that are their own values: one pass at the speed of memory.

The patterns may be layer-normalised on the way without ever being written: with the states centred, u·ŷ = (u·y) r for
ŷ = (y - mean(y)) r, and the mean of the ŷ is that of the y r, centred. Gradients take one more pass.

Shapes: B batches, L states, N patterns, d pattern size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import keep_buffers, mix
from hopfield.core.kernels.online import LOG2E, OnlineSoftmax
from hopfield.errors import HopfieldError

# numbers per block of patterns: 4 MiB in float32, what the caches of one core hold at their second level and beyond
_BLOCK = 1 << 20
_LEAST = 256  # patterns per block


class _Block:
    """Products of some of the patterns with a few vectors, which are centred if the patterns are normalised."""

    def __init__(self, patterns: Tensor, vectors: Tensor, epsilon: float | None) -> None:
        self.rows = patterns.to(vectors.dtype)  # (B, n, d)
        size = self.rows.shape[-1]
        self.inverse: Tensor | None = None  # 1 / standard deviation, (B, 1, n)
        self.mean: Tensor | None = None  # (B, 1, n)
        if epsilon is None:
            self.products = torch.bmm(vectors, self.rows.mT)  # (B, vectors, n)
            return
        average = vectors.new_full((vectors.shape[0], 1, size), 1 / size)
        products = torch.bmm(torch.cat([vectors, average], 1), self.rows.mT)
        self.mean = products[:, -1:]
        # about the mean: the mean of squares less the square of the mean would cancel
        spread = torch.linalg.vector_norm(self.rows - self.mean.mT, dim=-1).square_().div_(size)
        self.inverse = spread.add_(epsilon).rsqrt_().unsqueeze(-2)
        self.products = products[:, :-1].mul_(self.inverse)

    def mix(self, weights: Tensor) -> Tensor:
        """Weights times the patterns, to be centred at the end: (B, L, n) -> (B, L, d)."""
        return mix(weights if self.inverse is None else weights * self.inverse, self.rows)

    def pull_back(self, factors: Tensor, vectors: Tensor, out: Tensor) -> None:
        """The gradient of the patterns where that of the normalised ones is factorsᵀ vectors, vectors being centred."""
        if self.inverse is None or self.mean is None:
            torch.bmm(factors.mT, vectors, out=out)
            return
        size = self.rows.shape[-1]
        # the derivative of a layer normalisation: g -> r (g - ŷ (g·ŷ) / d), ŷ = r (y - mean)
        along = (factors * self.products).sum(1, keepdim=True).mul_(self.inverse).mul_(self.inverse).div_(size)
        factors = torch.cat([factors * self.inverse, along * self.mean], 1)
        vectors = torch.cat([vectors, vectors.new_ones((vectors.shape[0], 1, size))], 1)
        torch.bmm(factors.mT, vectors, out=out)
        out.addcmul_(self.rows, along.mT, value=-1)


def _centred(tensor: Tensor, epsilon: float | None) -> Tensor:
    return tensor if epsilon is None else tensor - tensor.mean(-1, keepdim=True)


def _blocks(states: Tensor, patterns: Tensor) -> Iterator[slice]:
    batch, count, width = patterns.shape
    size = max(_LEAST, _BLOCK // max(1, batch * max(width, states.shape[1])))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _masked(scores: Tensor, mask: Tensor | None, columns: slice) -> Tensor:
    if mask is None:
        return scores
    return scores.masked_fill_(~(mask if mask.shape[-1] == 1 else mask[..., columns]), -math.inf)


class _Pooling(torch.autograd.Function):
    """Weighted means of patterns, with gradients recomputed block by block."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, patterns: Tensor, mask: Tensor | None, epsilon: float | None) -> Tensor:
        queries = _centred(states * LOG2E, epsilon)
        online = OnlineSoftmax(queries, queries.shape[-1], spread=mask is None)
        for columns in _blocks(states, patterns):
            block = _Block(patterns[:, columns], queries, epsilon)
            online.add(block.mix(online.weights(_masked(block.products, mask, columns))))
        mixed, (_, reference, bits) = online.finish()
        assert mixed is not None
        mixed = _centred(mixed, epsilon)
        ctx.epsilon = epsilon
        ctx.save_for_backward(states, patterns, mask, mixed, reference, bits)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the result would lose terms in silence
            raise HopfieldError(
                "no second derivatives through a large memory, which is passed over in blocks: use fewer patterns"
            )
        states, patterns, mask, mixed, reference, bits = ctx.saved_tensors
        of_states, of_patterns = ctx.needs_input_grad[:2]
        epsilon = ctx.epsilon
        vectors = _centred(torch.cat([states, grads[0]], 1), epsilon)
        offset = (grads[0] * mixed).sum(-1, keepdim=True)
        count = states.shape[1]
        total = torch.zeros_like(states) if of_states else None
        gradient = torch.empty_like(patterns, dtype=states.dtype) if of_patterns else None
        for columns in _blocks(vectors, patterns):
            block = _Block(patterns[:, columns], vectors, epsilon)
            scores, along = block.products[:, :count], block.products[:, count:]
            weights = _masked(scores * LOG2E, mask, columns).sub_(reference).sub_(bits).exp2_()
            slope = (along - offset).mul_(weights)
            if total is not None:
                total += block.mix(slope)
            if gradient is not None:
                block.pull_back(torch.cat([slope, weights], 1), vectors, gradient[:, columns])
        return (
            None if total is None else _centred(total, epsilon),
            None if gradient is None else gradient.to(patterns.dtype),
            None,
            None,
        )


def pool(states: Tensor, patterns: Tensor, mask: Tensor | None, epsilon: float | None) -> Tensor:
    """Σ_i softmax(ξ·ŷ)_i ŷ_i over patterns ŷ, which are layer-normalised if `epsilon` is given; differentiable once.

    Args:
        states: ξ, multiplied by beta, (B, L, d), of the data type in which to compute.
        patterns: (B, N, d).
        mask: bool, broadcasts to (B, L, N); True takes part.
        epsilon: added to the variance of each pattern, or None for the patterns as they are.

    Returns:
        (B, L, d); zeros where no pattern takes part.
    """
    keep_buffers()
    result: Tensor = _Pooling.apply(states, patterns, mask, epsilon)
    return result
