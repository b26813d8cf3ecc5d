"""Sums of many weights and of what they weigh, whose rounding errors are bounded: of sums of few terms."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.kernels.online import OnlineSoftmax
from hopfield.memory.bounds import accumulation

# terms of the mean, and weights, that are summed in the data type of the scores; how many such sums are, and what they
# give is added in float64
FEW, WEIGHTS, _PARTS = 128, 64, 32


def summation_error(dtype: torch.dtype, norm: float, mean: Tensor | float) -> Tensor | float:
    """How far sums can take a mean, of vectors of norm up to `norm`, from that under the weights as computed.

    The numerator is off by γ_n Σ p_i |x_i|, the denominator by γ_k: together γ_n norm + γ_k |m|, `mean` being |m| or
    more. The weights are off by a few units themselves.
    """
    return accumulation(FEW + _PARTS + 16, dtype) * norm + accumulation(WEIGHTS + _PARTS + 16, dtype) * mean


class Sums(NamedTuple):
    """Sums over some patterns, float64: the mean is mixed / total, the log-sum-exp reference + log(total)."""

    total: Tensor
    """Σ exp(s - r), (L,)."""
    mixed: Tensor
    """Σ exp(s - r) v, (L, v)."""

    def times(self, factor: Tensor) -> Sums:
        """Those for another reference; the factor is (L, 1)."""
        return Sums(self.total * factor[:, 0], self.mixed * factor)

    def plus(self, other: Sums) -> Sums:
        """Those over both."""
        return Sums(self.total + other.total, self.mixed + other.mixed)


class CarefulSoftmax(OnlineSoftmax):
    """The running log-sum-exp and mean with few terms a sum, for one memory (B = 1)."""

    def __init__(
        self, states: Tensor, width: int, *, null: bool, reference: Tensor | None, spread: bool = True
    ) -> None:
        """`reference`, (L,): of the weights from the beginning to the end; None where it is to follow the scores."""
        super().__init__(states, width, null=null, spread=spread)
        assert self.mixed is not None
        self.total, self.mixed = self.total.double(), self.mixed.double()
        self._fixed = reference is not None
        if reference is not None:
            self.reference = reference.view(1, -1, 1)
            self.total *= torch.exp2(-self.reference)
            self._shift = bool((reference != 0).any())

    def powers(self, scores: Tensor) -> Tensor:
        """The weights of a block of scores, which are overwritten; not counted yet."""
        return self.shifted(scores) if self._fixed else super().powers(scores)

    def count(self, weights: Tensor) -> None:
        """Add sums of `WEIGHTS` weights each, or less, (1, L, m), to the total."""
        self.total += weights.sum(-1, keepdim=True, dtype=torch.float64)

    def mix(self, weights: Tensor, values: Tensor) -> None:
        """Add P V. (1, L, n), (1, n, v)."""
        even = weights.shape[2] - weights.shape[2] % FEW
        left, right = weights[0, :, :even].unflatten(1, (-1, FEW)), values[0, :even].unflatten(0, (-1, FEW))
        self.add(_sum(torch.bmm(left.transpose(0, 1), right), 0))
        if even < weights.shape[2]:
            self.add(torch.bmm(weights[:, :, even:], values[:, even:]))


def _sum(parts: Tensor, axis: int) -> Tensor:
    """The sum of parts, in float64 where they are many."""
    return parts.sum(axis) if parts.shape[axis] <= _PARTS else parts.sum(axis, dtype=torch.float64)
