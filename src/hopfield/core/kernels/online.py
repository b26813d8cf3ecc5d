"""The running log-sum-exp over blocks of scores, in powers of two, and the weighted mean under it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.core.separation.base import finite

LOG2E = math.log2(math.e)
"""Scores are multiplied by this before they come here."""
SLACK = 24.0
"""Scores that stay within 2^±SLACK of the reference need no new one: exp2 neither overflows nor loses anything."""
# scores of a block that are looked at to see whether weights turn denormal
_LOOK = 64


def least_power(dtype: torch.dtype) -> float:
    """log2 of the least weight: its products with values are not denormal, which may take a hundred times as long."""
    info = torch.finfo(dtype)
    return math.log2(info.tiny) - math.log2(info.eps) + 3  # -100 for float32, -967 for float64


class OnlineSoftmax:
    """Softmax over patterns that come block by block.

    Args:
        states: (B, L, d), for the number of rows and the data type.
        width: size of the values, or None where only the log-sum-exp is wanted.
        null: adds a pattern of score and value 0.
        spread: whether scores may lie so far apart that weights turn denormal.
    """

    def __init__(self, states: Tensor, width: int | None, *, null: bool = False, spread: bool = True) -> None:
        shape = states.shape[:2]
        self.reference = states.new_full((*shape, 1), 0.0 if null else -math.inf)
        self.total = states.new_full((*shape, 1), 1.0 if null else 0.0)
        self.mixed = None if width is None else states.new_zeros((*shape, width))
        self._shift = False
        self._first = True
        self._clamp = False
        self._spread = spread
        self._lowest = least_power(states.dtype)
        # what a processor decides at once would stall an accelerator
        self._ask = states.device.type == "cpu"

    def weights(self, scores: Tensor) -> Tensor:
        """The weights 2^(s - reference) of a block of scores (B, L, n), which are overwritten; they are counted."""
        weights = self.powers(scores)
        self.count(weights)
        return weights

    def powers(self, scores: Tensor) -> Tensor:
        """The same, not counted yet."""
        top = scores.amax(-1, keepdim=True)
        rises = top > self.reference + SLACK
        if not self._ask or bool(rises.any()):
            # a reference of 0 where that is near enough saves subtracting it
            risen = torch.where(rises, torch.where(top.abs() <= SLACK, 0.0, top), self.reference)
            factor = torch.exp2(self.reference - finite(risen))
            self.total *= factor
            if self.mixed is not None:
                self.mixed *= factor
            self.reference = risen
            self._shift = not self._ask or bool(((risen != 0) & (risen != -math.inf)).any())
        return self.shifted(scores)

    def shifted(self, scores: Tensor) -> Tensor:
        """The same, of scores that need no other reference."""
        if self._spread and not self._clamp:
            some = scores if self._first else scores[..., :_LOOK]
            self._clamp = not self._ask or bool(some.amin() - self.reference.amax() < self._lowest)
        self._first = False
        if self._shift:
            scores -= finite(self.reference)
        if self._clamp:
            # beneath rounding in any case
            scores.clamp_(min=self._lowest)
        return scores.exp2_()

    def count(self, weights: Tensor) -> None:
        """Add the weights of a block (B, L, n) to the total."""
        self.total += weights.sum(-1, keepdim=True)

    def add(self, part: Tensor) -> None:
        """Add the block's weighted sum of values (B, L, v)."""
        if self.mixed is not None:
            self.mixed += part

    def finish(self) -> tuple[Tensor | None, tuple[Tensor, Tensor, Tensor]]:
        """Weighted means (B, L, v), and log-sum-exp (in e), reference r, log2 Σ 2^(s - r): (B, L, 1).

        The last two lose nothing where scores are large.
        """
        level = (self.reference + torch.log2(self.total)) / LOG2E
        total = torch.where(self.total == 0, 1.0, self.total)
        reference = finite(self.reference)
        return None if self.mixed is None else self.mixed / total, (level, reference, torch.log2(total))
