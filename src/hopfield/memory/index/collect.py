"""The patterns that decide an association, found by visiting few groups; and what the others can weigh at most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.separation import Softmax1, Streamable
from hopfield.core.separation.gather import packed
from hopfield.memory.index.groups import Index
from hopfield.memory.rows import Rows

# groups that each state visits first, for a lower bound of what its patterns weigh together
_FIRST = 2
# a state that would have to look at more of the patterns than this is better served by a pass over all of them
_MOST_PATTERNS = 1 / 16
# and so is one with more candidates
_MOST_CANDIDATES = 1 << 13
# logarithms of weights relative to the floor that count
_LEAST = -60.0


@dataclass(frozen=True)
class Search:
    """What is searched: the patterns with their index, and how scores are made of them.

    Attributes:
        index: the groups of the patterns.
        rows: the patterns.
        bias: β b, (N,), or None.
        mask: bool, (1 or L, N); True takes part; or None.
    """

    index: Index
    rows: Rows
    bias: Tensor | None
    mask: Tensor | None


class Candidates(NamedTuple):
    """The patterns that decide the association of each state."""

    patterns: Tensor
    """Their indices, int64 (L, w)."""
    alive: Tensor
    """Which of these are no padding, bool (L, w)."""
    rest: Tensor
    """Upper bound of log Σ exp(s) over all other patterns, float64 (L,); -inf where none of them has weight."""
    visited: Tensor
    """Share of the patterns that were looked at, (L,)."""

    def of(self, states: Tensor) -> Candidates:
        """Those of some states, with no more padding than these need."""
        alive = self.alive[states]
        width = max(1, int(alive.sum(-1).max())) if alive.numel() else 1
        return Candidates(self.patterns[states, :width], alive[:, :width], self.rest[states], self.visited[states])


def collect(
    search: Search, states: Tensor, slack: Tensor, separation: Streamable, share: float
) -> tuple[Candidates, Tensor]:
    """Find the patterns that decide the association of states (L, d), multiplied by β.

    Groups are visited whose upper bound says that they may matter. For softmax the other patterns are those that weigh
    a `share` of the whole together; for sparse maps none of them has any weight.

    Args:
        search: where to look.
        states: β ξ, in the data type of the rows.
        slack: how far a score may be from the true one, by rounding and because patterns were, (L,).
        separation: softmax, or what passes over blocks.
        share: of the weight, for softmax.

    Returns:
        Candidates of all states, and for which of them these decide, bool (L,). The others had to look at too many
        patterns: their candidates mean nothing.
    """
    index = search.index
    sizes = index.sizes
    central, bounds = index.similarities(states)  # (L, K)
    if search.bias is not None:
        highest = _highest(search.bias, index)
        central, bounds = central + highest, bounds + highest
    first = torch.zeros_like(bounds, dtype=torch.bool)
    first.scatter_(1, central.topk(min(_FIRST, len(index)), -1).indices, True)
    slack = slack.unsqueeze(-1)
    seen = _gathered(search, states, first, states.new_full((states.shape[0], 1), -math.inf), sparse=True)
    if separation.sparse:
        floor = separation.floor(seen.scores) - 4 * slack
        wanted = bounds >= floor
    else:
        level = _level(seen.scores, separation) - slack
        # each group that is left out at most its part of a half of the share
        masses = bounds + sizes.log()
        wanted = masses > level + math.log(share / 2 / len(index))
        floor = level + math.log(share / 4 / _MOST_CANDIDATES)
    wanted |= first
    looked = wanted.to(sizes.dtype).float() @ sizes.float() / max(1, search.rows.count)
    direct = looked <= _MOST_PATTERNS
    wanted &= direct.unsqueeze(-1)
    found = _gathered(search, states, wanted, floor, sparse=separation.sparse)
    rest = torch.full_like(looked, -math.inf, dtype=torch.float64)
    if not separation.sparse:
        found = _trimmed(found, level + math.log(share / 4))
        unvisited = masses.masked_fill_(wanted, -math.inf).double().logsumexp(-1)
        rest = torch.logaddexp(unvisited, found.rest + 2 * slack.squeeze(-1).double()) + 1e-5  # for rounding
        direct &= rest <= (level + math.log(share)).squeeze(-1)
    alive = found.scores > -math.inf
    direct &= alive.sum(-1) <= _MOST_CANDIDATES
    return Candidates(found.patterns, alive, rest, looked), direct


class _Found(NamedTuple):
    scores: Tensor
    """(L, w), padded with -inf."""
    patterns: Tensor
    """(L, w)"""
    rest: Tensor
    """log Σ exp(s) over the others that were visited, or a little more, float64 (L,); -inf for sparse maps."""


def _gathered(search: Search, states: Tensor, wanted: Tensor, floor: Tensor, *, sparse: bool) -> _Found:
    """The scores in the groups that are wanted, (L, K), which reach the floor (L, 1)."""
    count = states.shape[0]
    row: list[Tensor] = []
    column: list[Tensor] = []
    value: list[Tensor] = []
    rest = torch.zeros(count, dtype=torch.float64, device=states.device)
    base = torch.where(floor == -math.inf, 0.0, floor)
    for visit in search.index.visits(states, search.rows, search.bias, wanted):
        scores = visit.scores
        if search.mask is not None:
            scores = _masked(scores, search.mask, visit.states, visit.patterns)
        own = floor[visit.states]  # (G, q, 1)
        group, state, pattern = ((scores >= own) & (scores > -math.inf)).nonzero(as_tuple=True)
        row.append(visit.states[group, state])
        column.append(visit.patterns[group, pattern])
        value.append(scores[group, state, pattern])
        if not sparse:
            # more than nothing where there is nothing, which does no harm, but not denormal, which is slow
            below = (scores - base[visit.states]).clamp_(min=_LEAST).exp_().masked_fill_(scores >= own, 0.0).sum(-1)
            rest.index_add_(0, visit.states.flatten(), below.flatten().double())
    if not row:
        empty = states.new_full((count, 1), -math.inf)
        return _Found(empty, torch.zeros_like(empty, dtype=torch.int64), rest.log())
    scores, patterns = packed(torch.cat(row), torch.cat(column), torch.cat(value), count)
    return _Found(scores, patterns, rest.log() + base.squeeze(-1).double())


def _trimmed(found: _Found, budget: Tensor) -> _Found:
    """Without the lightest patterns, whose Σ exp(s) stays within exp(budget), (L, 1)."""
    scores, order = found.scores.sort(-1, descending=True)
    tails = (scores - budget).clamp_(max=1.0).double().exp_().flip(-1).cumsum(-1).flip(-1)
    dropped = tails <= 1
    width = max(1, int((~dropped).sum(-1).max()))
    first = (~dropped).sum(-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
    tail = torch.where(dropped[:, -1], tails.gather(-1, first).squeeze(-1).log() + budget.squeeze(-1), -math.inf)
    scores = scores.masked_fill(dropped, -math.inf)[:, :width]
    return _Found(scores, found.patterns.gather(-1, order[:, :width]), torch.logaddexp(found.rest, tail))


def _masked(scores: Tensor, mask: Tensor, states: Tensor, patterns: Tensor) -> Tensor:
    alive = mask[0][patterns].unsqueeze(-2) if mask.shape[0] == 1 else mask[states.unsqueeze(-1), patterns.unsqueeze(-2)]
    return scores.masked_fill(~alive, -math.inf)


def _highest(bias: Tensor, index: Index) -> Tensor:
    """The largest bias of each group, (K,)."""
    group = torch.repeat_interleave(torch.arange(len(index), device=bias.device), index.sizes)
    highest = torch.full((len(index),), -math.inf, dtype=bias.dtype, device=bias.device)
    return highest.scatter_reduce_(0, group, bias[index.order], "amax")


def _level(scores: Tensor, separation: Streamable) -> Tensor:
    """The log-sum-exp of some scores, (L, 1): a lower bound of that of all."""
    level = scores.logsumexp(-1, keepdim=True)
    return torch.logaddexp(level, torch.zeros_like(level)) if isinstance(separation, Softmax1) else level
