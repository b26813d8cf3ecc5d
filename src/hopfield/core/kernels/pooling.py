"""Softmax association of a few states with many patterns that are their own values: one pass at the speed of memory.

The patterns may be layer-normalised on the way without ever being written: ŷ = (y - mean) r enters every product as
y - mean, and r goes to the weights. Gradients take one more pass.

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
from hopfield.core.kernels.streaming import columns_of, refuse_second_derivatives

# numbers per block of patterns: 4 MiB in float32, what the caches of one core hold at their second level and beyond
_BLOCK = 1 << 20
_BLOCK_ACCELERATOR = 1 << 26
_LEAST = 256  # patterns per block


class _Block:
    """Some of the patterns, centred if they are normalised, and what the normalisation divides them by."""

    def __init__(self, patterns: Tensor, dtype: torch.dtype, epsilon: float | None) -> None:
        self.rows = patterns.to(dtype)  # (B, n, d)
        self.inverse: Tensor | None = None  # 1 / standard deviation, (B, 1, n)
        if epsilon is None:
            return
        batch, _, size = self.rows.shape
        mean = torch.bmm(self.rows.new_full((batch, 1, size), 1 / size), self.rows.mT)  # (B, 1, n)
        # about the mean: sums of what is left to cancel later would lose digits
        self.rows = self.rows - mean.mT
        spread = torch.linalg.vector_norm(self.rows, dim=-1).square_().div_(size)
        self.inverse = spread.add_(epsilon).rsqrt_().unsqueeze(-2)

    def product(self, vectors: Tensor) -> Tensor:
        """A few vectors times the patterns: (B, L, d) -> (B, L, n)."""
        result = torch.bmm(vectors, self.rows.mT)
        return result if self.inverse is None else result.mul_(self.inverse)

    def mix(self, weights: Tensor) -> Tensor:
        """Weights times the patterns: (B, L, n) -> (B, L, d)."""
        return mix(weights if self.inverse is None else weights * self.inverse, self.rows)

    def pull_back(self, factors: Tensor, vectors: Tensor, products: Tensor, out: Tensor) -> None:
        """The gradient of the patterns where that of the normalised ones is factorsᵀ vectors, vectors being centred.

        `products` are those of the vectors with the patterns.
        """
        if self.inverse is None:
            torch.bmm(factors.mT, vectors, out=out)
            return
        # the derivative of a layer normalisation: g -> r (g - ŷ (g·ŷ) / d), ŷ = r (y - mean)
        along = (factors * products).sum(1, keepdim=True).mul_(self.inverse).mul_(self.inverse).div_(vectors.shape[-1])
        torch.bmm((factors * self.inverse).mT, vectors, out=out)
        out.addcmul_(self.rows, along.mT, value=-1)


def _centred(tensor: Tensor, epsilon: float | None) -> Tensor:
    return tensor if epsilon is None else tensor - tensor.mean(-1, keepdim=True)


def _blocks(states: Tensor, patterns: Tensor) -> Iterator[slice]:
    batch, count, width = patterns.shape
    block = _BLOCK if patterns.device.type == "cpu" else _BLOCK_ACCELERATOR
    size = max(_LEAST, block // max(1, batch * max(width, states.shape[1])))
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _masked(scores: Tensor, mask: Tensor | None, columns: slice) -> Tensor:
    return scores if mask is None else scores.masked_fill_(~columns_of(mask, columns), -math.inf)


class _Pooling(torch.autograd.Function):
    """Weighted means of patterns, with gradients recomputed block by block."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, patterns: Tensor, mask: Tensor | None, epsilon: float | None) -> Tensor:
        queries = _centred(states * LOG2E, epsilon)
        online = OnlineSoftmax(queries, queries.shape[-1], spread=mask is None)
        for columns in _blocks(states, patterns):
            block = _Block(patterns[:, columns], queries.dtype, epsilon)
            online.add(block.mix(online.weights(_masked(block.product(queries), mask, columns))))
        mixed, (_, reference, bits) = online.finish()
        assert mixed is not None
        mixed = _centred(mixed, epsilon)
        ctx.epsilon = epsilon
        ctx.save_for_backward(states, patterns, mask, mixed, reference, bits)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        states, patterns, mask, mixed, reference, bits = ctx.saved_tensors
        of_states, of_patterns = ctx.needs_input_grad[:2]
        epsilon = ctx.epsilon
        # the scores must be those of the forward pass to the last digit, for that is magnified by the exponential
        queries = _centred(states * LOG2E, epsilon)
        grad = _centred(grads[0], epsilon).contiguous()
        vectors = torch.cat([queries / LOG2E, grad], 1)
        offset = (grads[0] * mixed).sum(-1, keepdim=True)
        total = torch.zeros_like(states) if of_states else None
        rest = torch.zeros_like(offset)  # the slopes sum to 0; what rounding leaves would be multiplied by the patterns
        gradient = torch.empty_like(patterns, dtype=states.dtype) if of_patterns else None
        for columns in _blocks(states, patterns):
            block = _Block(patterns[:, columns], states.dtype, epsilon)
            scores, along = block.product(queries), block.product(grad)
            products = torch.cat([scores / LOG2E, along], 1) if of_patterns else along
            weights = _masked(scores, mask, columns).sub_(reference).sub_(bits).exp2_()
            slope = (along - offset).mul_(weights)
            if total is not None:
                total += block.mix(slope)
                rest += slope.sum(-1, keepdim=True)
            if gradient is not None:
                block.pull_back(torch.cat([slope, weights], 1), vectors, products, gradient[:, columns])
        return (
            None if total is None else _centred(total - rest * mixed, epsilon),
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
