"""The scores of states with the patterns of the groups that they look at, as few matrices of the same shape."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.memory.index.groups import Index
from hopfield.memory.rows import Rows
from hopfield.memory.sums import FEW

TILE = FEW
"""Patterns in a tile: as many as are summed in the data type of the scores."""
# groups whose patterns are listed at once
_LISTED = 1 << 14
# states that share a tile at most, and scores that are computed at once, about
_STATES, _SCORES = 1 << 13, 1 << 20


class Pairs(NamedTuple):
    """States and the groups they look at, int64 (P,) each."""

    states: Tensor
    groups: Tensor


class Tiles(NamedTuple):
    """Some states with some patterns: T tiles of q states and n patterns each, up to padding."""

    states: Tensor
    """Which states, int64 (T, q)."""
    asking: Tensor
    """Which of these are no padding, bool (T, q)."""
    which: Tensor
    """Which patterns, int64 (T, n)."""
    there: Tensor
    """Which of these are no padding, bool (T, n)."""


class Visit(NamedTuple):
    """The scores of some states with some patterns."""

    states: Tensor
    """Which states, int64 (T, q)."""
    which: Tensor
    """Which patterns, int64 (T, n)."""
    scores: Tensor
    """(T, q, n); -inf where a state or a pattern is padding."""


def walk(
    index: Index, states: Tensor, rows: Rows, bias: Tensor | None, pairs: Pairs, parts: int = 1
) -> Iterator[Visit]:
    """The scores of states with all patterns of the groups that they are paired with.

    Args:
        index: the groups.
        states: β ξ, (L, d).
        rows: the patterns.
        bias: β b, (N,).
        pairs: which states look at which groups.
        parts: in how many parts products are summed.
    """
    for tiles in (tiles for some in _of_few_states(pairs) for tiles in _tiles(index, some)):
        scores = rows.products(states[tiles.states], tiles.which, parts)
        if bias is not None:
            scores += bias[tiles.which].unsqueeze(1)
        scores.masked_fill_(~tiles.there.unsqueeze(1), -math.inf)
        if tiles.states.shape[1] > 1:
            scores.masked_fill_(~tiles.asking.unsqueeze(2), -math.inf)
        yield Visit(tiles.states, tiles.which, scores)


def _of_few_states(pairs: Pairs) -> Iterator[Pairs]:
    """Pairs of so few states that all of them may share a tile."""
    part = pairs.states // _STATES
    for number in part.bincount().nonzero().flatten().tolist():
        own = part == number
        yield Pairs(pairs.states[own], pairs.groups[own])


def _tiles(index: Index, pairs: Pairs) -> Iterator[Tiles]:
    by_group = pairs.groups.argsort(stable=True)
    state = pairs.states[by_group]
    groups, counts = pairs.groups[by_group].unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    # numbers of states that are padded to the same, 2^power, come one behind the other
    power = torch.frexp((counts - 1).double()).exponent.long()
    # groups that one state alone looks at are one run of patterns, others are runs of their own
    number = torch.arange(groups.shape[0], device=groups.device)
    run = power * (groups.shape[0] + int(pairs.states.max()) + 1) + torch.where(power == 0, state[first], number)
    for some in run.argsort().split(_LISTED):
        own = run[some].unique_consecutive(return_inverse=True)[1]
        which, tiles = _listed(index, groups[some], own)
        # a group of each tile
        of = some[own.diff(prepend=own[:1] - 1) > 0].repeat_interleave(tiles)
        for exponent, part in _alike(power[of]):
            places = torch.arange(1 << exponent, device=groups.device)
            group = of[part].unsqueeze(-1)
            asking = places < counts[group]
            who = state[first[group] + torch.where(asking, places, 0)]
            there = which[part] >= 0
            yield Tiles(who, asking, which[part].clamp(min=0), there)


def _alike(power: Tensor) -> Iterator[tuple[int, slice]]:
    """Tiles that have as many states, 2^power, and not too many at once."""
    exponents, counts = (entry.tolist() for entry in power.unique_consecutive(return_counts=True))
    start = 0
    for exponent, count in zip(exponents, counts, strict=True):
        most = max(1, _SCORES // (TILE << exponent))
        yield from ((exponent, slice(at, min(at + most, start + count))) for at in range(start, start + count, most))
        start += count


def _listed(index: Index, groups: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
    """The patterns of groups in tiles (T, TILE) that belong to a run each, padded with -1; how many a run has."""
    sizes = index.sizes[groups]
    before = sizes.cumsum(0) - sizes
    held = sizes.new_zeros(int(run[-1]) + 1).index_add_(0, run, sizes)
    tiles = (held + TILE - 1) // TILE
    padding = tiles * TILE - held
    shift = padding.cumsum(0) - padding  # that of earlier runs
    patterns = torch.arange(int(sizes.sum()), device=sizes.device)
    which = sizes.new_full((int(tiles.sum()) * TILE,), -1)
    source = patterns + (index.starts[groups] - before).repeat_interleave(sizes)
    which[patterns + shift[run].repeat_interleave(sizes)] = index.order[source]
    return which.view(-1, TILE), tiles
