"""Who holds the patterns: this process alone, or several that each hold some and answer together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Weighed(NamedTuple):
    """What softmax made of some of the patterns, one row per state."""

    mean: Tensor
    """(L, d or v), float64."""
    level: Tensor
    """The log-sum-exp, float64 (L,)."""
    light: Tensor
    """The share of the weight that was weighed in the data type of the states, (L,)."""
    part: Tensor
    """What that adds to the mean, (L, d or v)."""
    rest: Tensor
    """An upper bound of log Σ exp(s) over the patterns that were left out, float64 (L,)."""
    visited: Tensor
    """Share of the patterns that were looked at, (L,)."""


class Peers:
    """This process alone: nothing to agree on. Several processes override all of it."""

    size = 1
    rank = 0

    def entered(self, tensor: Tensor) -> Tensor:
        """A tensor that all have, whose gradient is the sum of what each of them finds."""
        return tensor

    def highest(self, tensor: Tensor) -> Tensor:
        """The largest of each entry."""
        return tensor

    def log_sum_exp(self, level: Tensor) -> Tensor:
        """log Σ exp of each entry, without gradients."""
        return level

    def merged(self, found: Weighed) -> Weighed:
        """What softmax made of all patterns."""
        return found

    def gathered(self, tensor: Tensor, fill: float) -> Tensor:
        """(L, w, ...) of each one behind the other along w, padded; a gradient goes to what came from here."""
        return tensor

    def columns(self, tensor: Tensor) -> Tensor:
        """(L, n) of each one behind the other, without gradients."""
        return tensor

    def count(self, own: int) -> int:
        """How many patterns there are, given how many are here."""
        return own

    def offset(self) -> int:
        """How many patterns come before those that are here."""
        return 0


ALONE = Peers()
