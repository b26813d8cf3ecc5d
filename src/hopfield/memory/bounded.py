"""Associations with a bound on their error, and a tolerance that they keep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.memory.precision import full_precision
from hopfield.memory.scored import Answer, Scored, Wanted
from hopfield.memory.soft import Soft
from hopfield.memory.sparse import Sparse


@dataclass(frozen=True, eq=False)
class Bounded(Scored):
    """One association of states with a memory, within a tolerance."""

    def update(self) -> Answer:
        """The next states."""
        return self._kept(self._patterns())

    def recall(self) -> Answer:
        """The values under the weights; the next states for a memory without values."""
        if self.stored.values is None:
            return self.update()
        return self._kept(Wanted("values", self.stored.values, self.stored.value_norm, self.stored.value_slack))

    @cached_property
    def answer(self) -> Answer:
        """`update` without gradients, once."""
        with torch.no_grad():
            return self._answer(self._patterns())

    def _patterns(self) -> Wanted:
        return Wanted("patterns", self.stored.patterns, self.stored.norm, self.stored.slack)

    def _kept(self, wanted: Wanted) -> Answer:
        """The association, if the tolerance can be kept."""
        answer = self._answer(wanted)
        self._check(answer.bound, wanted)
        return answer

    @full_precision()
    def _answer(self, wanted: Wanted) -> Answer:
        self.stored.check()
        if not self.states.shape[0]:
            none = torch.zeros(0, dtype=torch.float64, device=self.states.device)
            mean = self.states.sum() * self.states.new_zeros(0, wanted.rows.width)
            return Answer(mean, none, none, none, self._all_visited())
        peers = self.stored.peers
        beta = peers.entered(self.beta) if isinstance(self.beta, Tensor) else self.beta
        way = Sparse if self.separation.sparse else Soft
        states = peers.entered(self.states)
        made = way(self.stored, states, beta, self.mask, self.separation, self.tolerance).in_parts(wanted.norm)
        answer = made.found(wanted)
        # values may be of a wider data type than states
        return answer._replace(bound=torch.where(answer.mean.isfinite().all(-1), answer.bound, math.inf))

    def _check(self, bound: Tensor, wanted: Wanted) -> None:
        worst = float(bound.max()) if bound.numel() else 0.0
        if not worst <= self.tolerance:
            amount = f"{worst:.3g}" if math.isfinite(worst) else "any amount, so large are the numbers"
            kept = "" if self.stored.slack == 0 else " and the rounding of the patterns where they are kept"
            raise HopfieldError(
                f"the tolerance {self.tolerance:g} cannot be kept for the mean of the {wanted.name}: rounding to "
                f"{self.states.dtype}{kept} may change it by {amount}; allow more than that, or store "
                "the patterns more precisely"
            )
