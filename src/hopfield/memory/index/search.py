"""Which groups decide an association, what their patterns score, and what the others can weigh at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.separation import Softmax1, Streamable
from hopfield.core.separation.base import finite
from hopfield.core.separation.gather import packed
from hopfield.memory.index.groups import Index
from hopfield.memory.index.visits import Pairs, Visit, walk
from hopfield.memory.rows import Rows

# groups that each state visits first, for a lower bound of what its patterns weigh together
_FIRST = 2
# patterns from which on that pays
_MANY = 1 << 18
# groups per state that are no more work than these
_ENOUGH = 32
# scores that are kept to be looked at twice
_KEPT = 1 << 23
# a state that would have to look at more of the patterns than this is better served by a pass over all of them
_MOST = 1 / 16
PLANNING = 256
"""States that plan, and agree on their levels, at once, each with a bound for every group."""
LEAST = -80.0
"""Logarithm of a share of the weight that is as good as nothing: less of it would be slow."""


Agree = Callable[[Tensor], Tensor]


class Plan(NamedTuple):
    """Where each state looks. For states whose plan does not serve them the other entries mean nothing."""

    wanted: Pairs
    """Which groups."""
    level: Tensor
    """Softmax: a lower bound of the log-sum-exp. Sparse maps: a score below which no pattern has weight. (L, 1)"""
    rest: Tensor
    """Softmax: an upper bound of log Σ exp(s) over the patterns of all other groups. Sparse maps: -inf. float64 (L,)"""
    visited: Tensor
    """Share of the patterns in the groups that are wanted, (L,)."""
    serves: Tensor
    """Whether few enough patterns are looked at for this to pay, bool (L,)."""

    @classmethod
    def joined(cls, parts: Sequence[Plan]) -> Plan:
        """The plans of some states and of others behind them."""
        starts = accumulate((part.level.shape[0] for part in parts), initial=0)
        states = [part.wanted.states + start for part, start in zip(parts, starts, strict=False)]
        wanted = Pairs(torch.cat(states), torch.cat([part.wanted.groups for part in parts]))
        return cls(wanted, *(torch.cat(entry) for entry in zip(*(part[1:] for part in parts), strict=True)))

    def of(self, states: Tensor) -> Plan:
        """The plan of some states."""
        place = torch.full_like(self.serves, -1, dtype=torch.int64)
        place[states] = torch.arange(states.shape[0], device=states.device)
        at = place[self.wanted.states]
        kept = at >= 0
        pairs = Pairs(at[kept], self.wanted.groups[kept])
        return Plan(
            pairs,
            self.level[states],
            self.rest[states],
            self.visited[states],
            self.serves[states],
        )


@dataclass(frozen=True, eq=False)
class Search:
    """States that look for their patterns in the groups of an index.

    Attributes:
        index: the groups.
        rows: the patterns.
        states: β ξ, (L, d), of the data type of the patterns.
        bias: β b, (N,), or None.
        mask: bool, (1 or L, N); True takes part; or None.
        parts: in how many parts products are summed.
    """

    index: Index
    rows: Rows
    states: Tensor
    bias: Tensor | None
    mask: Tensor | None
    parts: int = 1

    def of(self, states: Tensor) -> Search:
        """The search of some states."""
        mask = self.mask if self.mask is None or self.mask.shape[0] == 1 else self.mask[states]
        return replace(self, states=self.states[states], mask=mask)

    def plan(self, slack: Tensor, separation: Streamable, share: float, agree: Agree) -> Plan:
        """Choose groups, for softmax so that all others weigh at most a `share`, for sparse maps nothing.

        Args:
            slack: how far a score may be from the true one, by rounding and because patterns were, (L,).
            separation: how scores become weights.
            share: of the weight.
            agree: makes one level of those of all who hold patterns.
        """
        biases = None if self.bias is None else self.index.biases(self.bias)
        parts = torch.arange(self.states.shape[0], device=self.states.device).split(PLANNING)
        return Plan.joined(
            [self.of(part)._plan(slack[part].unsqueeze(-1), biases, separation, share, agree) for part in parts]
        )

    def level(self, slack: Tensor, separation: Streamable) -> Tensor:
        """A lower bound of the log-sum-exp, (L,), that the nearest groups show, where groups need not serve."""
        parts = torch.arange(self.states.shape[0], device=self.states.device).split(PLANNING)
        mean = 0.0 if self.bias is None else self.index.biases(self.bias)[0]
        levels = []
        for part in parts:
            some = self.of(part)
            central = self.index.similarities(some.states, None)[0] + mean
            levels.append(some._seen(central, slack[part].unsqueeze(-1), separation)[:, 0])
        return torch.cat(levels)

    def _plan(
        self,
        slack: Tensor,
        biases: tuple[Tensor, Tensor] | None,
        separation: Streamable,
        share: float,
        agree: Agree,
    ) -> Plan:
        index, sizes = self.index, self.index.sizes.float()
        # how many patterns there are raises what a group may weigh together, not what one of them may score
        central, bounds = index.similarities(self.states, None if separation.sparse else sizes.log())  # (L, K)
        if biases is not None:
            mean, highest = biases
            central, bounds = central + mean, bounds + highest
        level = self.states.new_full((central.shape[0], 1), -math.inf)
        # each group that is left out weighs at most its part of the share, or nothing
        part = 0.0 if separation.sparse else math.log(share / len(index))
        if index.means and self.mask is None and not separation.sparse:
            # the mean of exp(s) over a group is no less than exp at its centre, by Jensen's inequality
            level = (_log_sum_exp(central) - 2 * slack).to(level.dtype)
        some = _reaching(bounds, level + part).sum(-1) > _ENOUGH
        # not where too many would be wanted even if the level were as high as it could be
        highest = bounds.amax(-1, keepdim=True) + (0.0 if separation.sparse else math.log(len(index)))
        some &= _reaching(bounds, highest + part).sum(-1) <= _MOST * len(index)
        many = some.nonzero().flatten()
        # what the nearest groups hold is a better bound, but dear where there are few patterns in all
        if many.numel() and (self.rows.count >= _MANY or bool((level == -math.inf).any())):
            level[many] = torch.maximum(level[many], self.of(many)._seen(central[many], slack[many], separation))
        level = agree(level)
        wanted = _reaching(bounds, level + part)
        serves = wanted.sum(-1) <= _MOST * len(index)
        # many groups are hopeless at once, and so is listing them
        wanted.mul_(serves.unsqueeze(-1))
        complete = wanted.sum(-1) == len(index)
        visited = wanted @ sizes / max(1, self.rows.count)
        pairs = Pairs(*wanted.nonzero(as_tuple=True))
        rest = torch.full_like(visited, -math.inf, dtype=torch.float64)
        if not separation.sparse:
            bounds[pairs.states, pairs.groups] = -math.inf
            base = finite(level)
            others = bounds.sub_(base).clamp_(min=LEAST).exp_().sum(-1)
            rest = (1.001 * others.double()).log() + base.squeeze(-1).double()  # for rounding
            rest.masked_fill_(complete, -math.inf)
        return Plan(pairs, level, rest, visited, serves)

    def _seen(self, central: Tensor, slack: Tensor, separation: Streamable) -> Tensor:
        """The level that the groups with the nearest centres show, (L, 1)."""
        nearest = central.topk(min(_FIRST, central.shape[1]), -1).indices
        states = torch.arange(central.shape[0], device=central.device).repeat_interleave(nearest.shape[1])
        visits = self.visits(Pairs(states, nearest.flatten()))
        if separation.sparse:
            floor = central.new_full((central.shape[0], 1), -math.inf, dtype=self.states.dtype)
            return (separation.floor(self.collect(visits, floor)[0]) - 4 * slack).to(self.states.dtype)
        level = torch.zeros_like(slack) if isinstance(separation, Softmax1) else torch.full_like(slack, -math.inf)
        for visit in visits:
            level = _merged(level, visit.states.flatten(), _log_sum_exp(visit.scores).flatten(0, 1))
        return (level - slack).to(self.states.dtype)

    def visits(self, wanted: Pairs) -> Iterator[Visit]:
        """What the wanted groups score."""
        for visit in walk(self.index, self.states, self.rows, self.bias, wanted, self.parts):
            if self.mask is not None:
                visit.scores.masked_fill_(~self._alive(visit), -math.inf)
            yield visit

    def again(self, plan: Plan) -> Callable[[], Iterable[Visit]]:
        """The visits of a plan, as often as they are asked for; kept where they are few."""
        if int(self.index.sizes[plan.wanted.groups].sum()) <= _KEPT:
            visits = list(self.visits(plan.wanted))
            return lambda: visits
        return lambda: self.visits(plan.wanted)

    def _alive(self, visit: Visit) -> Tensor:
        assert self.mask is not None
        if self.mask.shape[0] == 1:
            return self.mask[0][visit.which].unsqueeze(-2)
        return self.mask[visit.states.unsqueeze(-1), visit.which.unsqueeze(-2)]

    @staticmethod
    def collect(visits: Iterable[Visit], floor: Tensor) -> tuple[Tensor, Tensor]:
        """The scores that reach a floor (L, 1), (L, w), padded with -inf, and their patterns, (L, w)."""
        found = Found()
        for visit in visits:
            found.add(visit, (visit.scores >= floor[visit.states]) & (visit.scores > -math.inf))
        return found.packed(floor)


class Found:
    """Patterns that were found in some visits."""

    def __init__(self) -> None:
        self._row: list[Tensor] = []
        self._column: list[Tensor] = []
        self._score: list[Tensor] = []

    def add(self, visit: Visit, those: Tensor) -> tuple[Tensor, ...]:
        """Add those of a visit that are true, (G, q, n); where they are, is returned."""
        where = those.nonzero(as_tuple=True)
        group, state, pattern = where
        self._row.append(visit.states[group, state])
        self._column.append(visit.which[group, pattern])
        self._score.append(visit.scores[where])
        return where

    def packed(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of each of L states, (L, w), padded with -inf, and their patterns; `like` (L, 1) has the type."""
        if not self._row:
            return torch.full_like(like, -math.inf), torch.zeros_like(like, dtype=torch.int64)
        return packed(torch.cat(self._row), torch.cat(self._column), torch.cat(self._score), like.shape[0])


def _reaching(bounds: Tensor, floor: Tensor) -> Tensor:
    """1 where bounds (L, K) reach a floor (L, 1), else 0: several times faster to sum than truth values."""
    return torch.ge(bounds, floor, out=torch.empty_like(bounds))


def _log_sum_exp(scores: Tensor) -> Tensor:
    """The log-sum-exp of rows, (L, 1); what is far beneath the largest does not count, and would be slow."""
    top = scores.amax(-1, keepdim=True)
    total: Tensor = (scores - finite(top)).clamp_(min=LEAST).exp_().sum(-1, keepdim=True)
    return total.log() + top


def _merged(level: Tensor, states: Tensor, levels: Tensor) -> Tensor:
    """The log-sum-exp of levels (L, 1) and of others (n, 1), which are of some of the states, (n,)."""
    at = states.unsqueeze(-1)
    levels = levels.to(level.dtype)
    top = level.scatter_reduce(0, at, levels, "amax")
    base = finite(top)
    return base + (level - base).exp().scatter_add(0, at, (levels - base[states]).exp()).log()
