"""Which groups decide an association, what their patterns score, and what the others can weigh at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.separation import Softmax1, Streamable
from hopfield.core.separation.gather import packed
from hopfield.memory.index.groups import Index, Pairs, Visit
from hopfield.memory.rows import Rows

# groups that each state visits first, for a lower bound of what its patterns weigh together
_FIRST = 2
# groups per state that are no more work than these
_ENOUGH = 32
# numbers of patterns that are kept to be visited twice
_KEPT = 1 << 25
# a state that would have to look at more of the patterns than this is better served by a pass over all of them
_MOST = 1 / 16
# logarithms of weights beneath which they are as good as nothing, and slow
_LEAST = -80.0


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

    def of(self, states: Tensor) -> Plan:
        """The plan of some states, in ascending order."""
        place = torch.full_like(self.serves, -1, dtype=torch.int64)
        place[states] = torch.arange(states.shape[0], device=states.device)
        at = place[self.wanted.states]
        kept = at >= 0
        pairs = Pairs(at[kept], self.wanted.groups[kept])
        return Plan(pairs, self.level[states], self.rest[states], self.visited[states], self.serves[states])


@dataclass(frozen=True, eq=False)
class Search:
    """States that look for their patterns in the groups of an index.

    Attributes:
        index: the groups.
        rows: the patterns.
        states: β ξ, (L, d), of the data type of the patterns.
        bias: β b, (N,), or None.
        mask: bool, (1 or L, N); True takes part; or None.
    """

    index: Index
    rows: Rows
    states: Tensor
    bias: Tensor | None
    mask: Tensor | None

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
        index, sizes = self.index, self.index.sizes
        central, bounds = index.similarities(self.states)  # (L, K)
        if self.bias is not None:
            mean, highest = index.biases(self.bias)
            central, bounds = central + mean, bounds + highest
        slack = slack.unsqueeze(-1)
        level = self.states.new_full((central.shape[0], 1), -math.inf)
        weighty = math.log(share / len(index))
        if not separation.sparse:
            bounds += sizes.log()
            if index.means and self.mask is None:
                # the mean of exp(s) over a group is no less than exp at its centre, by Jensen's inequality
                level = (_log_sum_exp(central + sizes.log()) - 2 * slack).to(level.dtype)
        many = ((bounds > level + weighty).sum(-1) > _ENOUGH).nonzero().flatten()
        if many.numel():  # what the nearest groups hold is a better bound
            seen = self.of(many)._first(central[many])
            if separation.sparse:
                level[many] = (separation.floor(seen) - 4 * slack[many]).to(level.dtype)
            else:
                null = torch.zeros_like(seen[:, :1]) if isinstance(separation, Softmax1) else seen[:, :0]
                found = _log_sum_exp(torch.cat([seen, null], -1)) - slack[many]
                level[many] = torch.maximum(level[many], found.to(level.dtype))
        level = agree(level)
        # each group that is left out weighs at most its part of the share, or nothing
        wanted = bounds >= level if separation.sparse else bounds > level + weighty
        # many groups are hopeless at once, and so is listing them
        serves = wanted.sum(-1) <= _MOST * len(index)
        wanted &= serves.unsqueeze(-1)
        pairs = Pairs(*wanted.nonzero(as_tuple=True))
        looked = torch.zeros(wanted.shape[0], device=wanted.device).index_add_(
            0, pairs.states, sizes[pairs.groups].float()
        )
        visited = looked / max(1, self.rows.count)
        rest = torch.full_like(visited, -math.inf, dtype=torch.float64)
        if not separation.sparse:
            base = torch.where(level == -math.inf, 0.0, level)
            others = bounds.sub_(base).clamp_(min=_LEAST).exp_().masked_fill_(wanted, 0.0).sum(-1)
            rest = (1.001 * others.double()).log() + base.squeeze(-1).double()  # for rounding
        return Plan(pairs, level, rest, visited, serves)

    def _first(self, central: Tensor) -> Tensor:
        """The scores in the groups with the nearest centres, (L, w)."""
        nearest = central.topk(min(_FIRST, central.shape[1]), -1).indices
        states = torch.arange(central.shape[0], device=central.device).repeat_interleave(nearest.shape[1])
        floor = central.new_full((central.shape[0], 1), -math.inf, dtype=self.states.dtype)
        return self.collect(self.visits(Pairs(states, nearest.flatten())), floor)[0]

    def visits(self, wanted: Pairs) -> Iterator[Visit]:
        """What the wanted groups score."""
        for visit in self.index.visits(self.states, self.rows, self.bias, wanted):
            if self.mask is not None:
                visit.scores.masked_fill_(~self._alive(visit), -math.inf)
            yield visit

    def again(self, plan: Plan) -> Callable[[], Iterable[Visit]]:
        """The visits of a plan, as often as they are asked for; kept where they are few."""
        if int(self.index.sizes[plan.wanted.groups].sum()) * self.rows.width <= _KEPT:
            visits = list(self.visits(plan.wanted))
            return lambda: visits
        return lambda: self.visits(plan.wanted)

    def _alive(self, visit: Visit) -> Tensor:
        assert self.mask is not None
        if self.mask.shape[0] == 1:
            return self.mask[0][visit.which].unsqueeze(-2)
        return self.mask[visit.states.unsqueeze(-1), visit.which.unsqueeze(-2)]

    @staticmethod
    def collect(visits: Iterable[Visit], floor: Tensor, light: Light | None = None) -> tuple[Tensor, Tensor]:
        """The scores that reach a floor (L, 1), and their patterns; the others go into `light`.

        Returns:
            Scores (L, w), padded with -inf, and indices (L, w).
        """
        row: list[Tensor] = []
        column: list[Tensor] = []
        value: list[Tensor] = []
        for visit in visits:
            scores = visit.scores
            group, state, pattern = ((scores >= floor[visit.states]) & (scores > -math.inf)).nonzero(as_tuple=True)
            row.append(visit.states[group, state])
            column.append(visit.which[group, pattern])
            value.append(scores[group, state, pattern])
            if light is not None:
                scores[group, state, pattern] = -math.inf
                light.add(visit)
        if not row:
            return floor.new_full((floor.shape[0], 1), -math.inf), torch.zeros_like(floor, dtype=torch.int64)
        return packed(torch.cat(row), torch.cat(column), torch.cat(value), floor.shape[0])


def level_of(visits: Iterable[Visit], states: Tensor) -> Tensor:
    """The log-sum-exp of all that states (L, d) visited, (L, 1); -inf where that is nothing."""
    top = states.new_full((states.shape[0],), -math.inf)
    total = torch.zeros_like(top)
    for visit in visits:
        who = visit.states.flatten()
        here = visit.scores.amax(-1, keepdim=True)
        risen = top.scatter_reduce(0, who, here.flatten(), "amax")
        total *= torch.exp(top - _finite(risen))
        top = risen
        part = (visit.scores - _finite(here)).clamp_(min=_LEAST).exp_().sum(-1).flatten()
        total.index_add_(0, who, part * torch.exp(here.flatten() - _finite(top)[who]))
    return (_finite(top) + total.log()).unsqueeze(-1)


def _finite(scores: Tensor) -> Tensor:
    return torch.where(scores == -math.inf, 0.0, scores)


def _log_sum_exp(scores: Tensor) -> Tensor:
    """The log-sum-exp of rows, (L, 1); what is far beneath the largest does not count, and would be slow."""
    top = _finite(scores.amax(-1, keepdim=True))
    total: Tensor = (scores - top).clamp_(min=_LEAST).exp_().sum(-1, keepdim=True)
    return total.log() + top


class Light:
    """Sums over patterns of which each weighs little: Σ exp(s - r) and Σ exp(s - r) v, float64.

    Args:
        reference: r, (L, 1).
        values: v.
        own: whether the values are the patterns.
    """

    def __init__(self, reference: Tensor, values: Rows, *, own: bool) -> None:
        self.reference = reference
        self.total = torch.zeros(reference.shape[0], dtype=torch.float64, device=reference.device)
        self.mixed = self.total.new_zeros(reference.shape[0], values.width)
        self._values = None if own else values

    def add(self, visit: Visit) -> None:
        """Add what was visited, whose scores are overwritten."""
        reference = self.reference[visit.states]
        gone = visit.scores < reference + _LEAST
        weights = (visit.scores - reference).clamp_(min=_LEAST).exp_().masked_fill_(gone, 0.0)
        values = visit.patterns if self._values is None else taken(self._values, visit.which)
        which = visit.states.flatten()
        self.total.index_add_(0, which, weights.sum(-1).flatten().double())
        self.mixed.index_add_(0, which, torch.bmm(weights, values).flatten(0, 1).double())


def taken(rows: Rows, which: Tensor) -> Tensor:
    """Rows at indices (G, n): (G, n, v)."""
    return rows.take(which.flatten()).reshape(*which.shape, rows.width)
