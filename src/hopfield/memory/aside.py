"""What a pass over all patterns sets aside, for each state: the patterns that weigh much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.kernels.online import LOG2E, SLACK, OnlineSoftmax, least_power
from hopfield.core.separation.base import finite
from hopfield.core.separation.gather import packed
from hopfield.memory.sums import WEIGHTS

# a block in which one group for so many scores holds what matters is weighed as a whole: cheaper than taking that out
_FULL = 256
# where one group for so many may hold what is to be set aside by the sum of its weights, their largest are looked at
_DENSE = 8
# numbers of candidates that are held at once: they stay in a cache
_ENTRIES = 1 << 19
# blocks after which what is known of the whole is counted, beside the first, second, fourth, ...
_NEW = 32
# weights are less than 2^_ROOM of their reference, and this is less than 2^_BELOW of the whole
_ROOM, _BELOW = 110.0, 25.0
# what is set aside at least, log2 of a share of the whole, and of how many scores in any case
_DEPTH, _MANY = -9.0, 1 << 23


class Heavy(NamedTuple):
    """Patterns that weigh much, which a pass sets aside."""

    which: Tensor
    """Indices, int64 (L, w)."""
    alive: Tensor
    """Which of these are no padding, bool (L, w)."""

    def of(self, states: Tensor | slice) -> Heavy:
        """Those of some states, with no more padding than these need."""
        alive = self.alive[states]
        width = max(1, int(alive.sum(-1).max())) if alive.numel() else 1
        return Heavy(self.which[states, :width], alive[:, :width])


class Aside(NamedTuple):
    """What a pass sets aside: as many of the patterns that weigh most as must be, and all that matter where few do."""

    level: Tensor
    """A guess of the log-sum-exp over all patterns, rather too low. (L,)"""
    known: Tensor
    """A lower bound of it, -inf where none is known. (L,)"""
    light: Tensor
    """What share of the weight need not be set aside, 1 or more: all of it. (L,)"""
    highest: Tensor
    """A bound of the size of all scores. (L,)"""
    least: float
    """Patterns that weigh less than this share may be left out."""
    norm: float
    """A bound of the size of what is weighed."""

    def of(self, states: slice) -> Aside:
        """That of some states."""
        level, known, light, highest = (entry[states] for entry in self[:4])
        return self._replace(level=level, known=known, light=light, highest=highest)

    def reference(self, dtype: torch.dtype) -> Tensor | None:
        """Logarithms to base 2, (L,), with which no weight overflows or, if it matters, vanishes.

        None where no such is known: then it must follow the scores.
        """
        known, room = self.known * LOG2E, _ROOM - math.log2(max(1.0, self.norm))
        over = self.highest * LOG2E - room
        # a reference of 0 saves subtracting it
        for reference in (torch.zeros_like(known), known):
            if bool(((over <= reference) & (reference <= known + _BELOW)).all()):
                return reference.to(dtype)
        return None

    def spread(self, dtype: torch.dtype, reference: Tensor | None) -> bool:
        """Whether scores may lie so far beneath a reference, or one that follows them, that weights turn denormal."""
        most = float(self.highest.max()) * LOG2E
        above = most + SLACK if reference is None else float(reference.max())
        return not most + above < -least_power(dtype)


class Keeper:
    """Sets patterns aside, of so many; scores are in powers of two."""

    def __init__(self, aside: Aside, patterns: int, dtype: torch.dtype) -> None:
        self._patterns = patterns
        # what takes no part is beneath it
        self._level = (aside.level * LOG2E).to(dtype).clamp(min=torch.finfo(dtype).min)
        self._known = (aside.known * LOG2E).to(dtype)
        self._light = aside.light.to(dtype)
        # patterns that weigh 2^depth of the whole, or more, are set aside
        self._depth = torch.where(self._light < 1, _DEPTH, math.inf).to(dtype)
        self._careful = bool((self._light < 1).any())
        self._tail = math.log2(aside.least)
        self._top = torch.full_like(self._level, -math.inf)
        self._mass = torch.zeros_like(self._level)
        self._found: list[_Entries] = []
        self._new: list[tuple[_Reaching, int, int]] = []
        self._unit: Tensor | None = None
        self._floor: Tensor | None = None
        self._unit_of_floor: Tensor | None = None
        self._blocks = self._scores = self._taken = self._passed = 0
        self._dense, self._few = False, True

    def leaves_out(self, scores: Tensor, offset: int, left: OnlineSoftmax) -> bool:
        """Take what matters out of a block of scores, and leave out the others; or neither.

        Args:
            scores: of some patterns, (1, L, n), n a multiple of `WEIGHTS` or less than that.
            offset: the first of these.
            left: what was left in the blocks before.
        """
        self._blocks += 1
        if self._blocks % _NEW == 0 or self._blocks & (self._blocks - 1) == 0:
            self._raise(left)
            self._dense, self._few = False, True  # to be seen again
        self._scores += scores.numel()
        if not self._dense:
            groups = _apart(scores[0])
            heads = groups.amax(-1)
            self._level = torch.maximum(self._level, heads.amax(-1))
            self._floor = None
            found = _reaching((self._level + self._tail).unsqueeze(-1), groups, heads, scores.numel() // _FULL)
            self._dense = found is None
            if found is not None:
                self._note(found, heads.shape[1], offset, None)
                self._passed += scores.shape[2]
        return not self._dense

    def thinned(self, weights: Tensor, offset: int, left: OnlineSoftmax) -> Tensor:
        """Take patterns out of the weights of a block, (1, L, n), which become 0.

        Returns:
            Sums of a few of the others, (1, L, g).
        """
        groups = _apart(weights[0])
        sums = groups.sum(-1)
        found = self._heavy(groups, sums, left.reference) if self._careful else None
        if found is not None and found.size:
            others = found.entries.masked_fill(found.reach, 0.0)
            groups.view(-1, groups.shape[2]).index_copy_(0, found.at, others)
            sums.view(-1).index_copy_(0, found.at, others.sum(-1))
            self._note(found, groups.shape[1], offset, left.reference)
        return sums.unsqueeze(0)

    def _heavy(self, groups: Tensor, sums: Tensor, unit: Tensor) -> _Reaching | None:
        """Where weights, (L, g, m), whose sums are known, are to be set aside; None where these would be too many."""
        if self._few:  # where a sum is small, each of its terms is
            found = _reaching(self._least(unit), groups, sums, most=sums.numel() // _DENSE)
            if found is not None:
                return found
        self._few = False
        heads = groups.amax(-1)
        most = (self._scores + _MANY) // _FULL - self._taken
        found = _reaching(self._least(unit), groups, heads, most)
        if found is None:
            self._level, self._floor = torch.maximum(self._level, torch.log2(sums.sum(-1)) + unit[0, :, 0]), None
            found = _reaching(self._least(unit), groups, heads, most)
        return found

    def _least(self, unit: Tensor) -> Tensor:
        """Weights from which on patterns are set aside, (L, 1), in units (1, L, 1); more than those of no part."""
        if self._floor is None or unit is not self._unit_of_floor:
            floor = torch.exp2((self._level + self._depth).unsqueeze(-1) - finite(unit[0]))
            # what takes no part weighs that or less
            self._floor, self._unit_of_floor = floor.clamp(min=2 * 2 ** least_power(floor.dtype)), unit
        return self._floor

    def _note(self, found: _Reaching, count: int, offset: int, unit: Tensor | None) -> None:
        """Keep what was found in a block, of so many groups a state: scores where there is no unit, else weights."""
        if unit is not self._unit or (self._new and found.entries.shape[1] != self._new[0][0].entries.shape[1]):
            self._settle()
            self._unit = unit
        self._new.append((found, count, offset))
        self._taken += found.size

    def _raise(self, left: OnlineSoftmax) -> None:
        """Raise the level to what is known of it, and set more aside where too much was left."""
        self._settle()
        level = (left.reference + left.total.log2()).to(self._level.dtype)[0, :, 0]
        whole = torch.logaddexp2(level, self._top + self._mass.log2())
        self._level, self._floor = torch.maximum(self._level, whole), None
        # of what has been seen, or, where that will be more, of what is known of the whole
        done = max(1, self._scores) / max(1, self._patterns * level.shape[0])
        light = torch.exp2(torch.minimum(level - whole, level - math.log2(done) - self._known)).nan_to_num(nan=0.0)
        deeper, higher = light > self._light, light < 0.9 * self._light
        depth = (self._depth - deeper.to(level.dtype) + higher.to(level.dtype)).clamp(max=_DEPTH)
        self._depth = torch.where(self._light < 1, depth, math.inf)

    def _settle(self) -> None:
        """Count what is new."""
        if not self._new:
            return
        found, counts, offsets = zip(*self._new, strict=True)
        at, entries, reach = (torch.cat(each) for each in zip(*(some[:3] for some in found), strict=True))
        sizes, size = torch.tensor([len(some.at) for some in found]), entries.shape[1]
        count, offset = (torch.tensor(each).repeat_interleave(sizes).to(at.device) for each in (counts, offsets))
        row = at // count
        which = reach.view(-1).nonzero().view(-1)
        group = which // size
        first = offset + (at - row * count - torch.arange(len(at), device=at.device)) * size
        place = first.index_select(0, group) + which
        new = _Entries(row.index_select(0, group), place, entries.view(-1).index_select(0, which))
        if self._unit is not None:
            new = new._replace(score=new.score.log2() + self._unit[0, new.row, 0])
        risen = self._top.scatter_reduce(0, new.row, new.score, "amax")
        self._mass *= torch.exp2(torch.where(risen == -math.inf, 0.0, self._top - risen))
        self._mass.index_add_(0, new.row, torch.exp2(new.score - risen[new.row]))
        self._top = risen
        self._found.append(new)
        self._new = []

    def found(self, left: OnlineSoftmax) -> tuple[list[tuple[slice, Heavy]], Tensor]:
        """All of them, some states at a time, and a bound of log2 Σ 2^s over what was left out, float64 (L,)."""
        self._raise(left)
        states, device = self._top.shape[0], self._top.device
        rest = torch.full((states,), -math.inf, dtype=torch.float64, device=device)
        none = torch.zeros(0, dtype=torch.int64, device=device)
        found = _Entries.joined([_Entries(none, none, self._level[:0]), *self._found])
        if self._passed:
            floor = self._level + self._tail
            rest = floor.double() + math.log2(self._passed + self._taken)
            rest.masked_fill_(self._level == torch.finfo(floor.dtype).min, -math.inf)
            # found when the level was thought to be lower
            found = found.of(found.score >= floor[found.row])
        found = found.of(found.row.argsort(stable=True))
        counts = found.row.bincount(minlength=states)
        parts, done = [], 0
        for part in portions(counts):
            own = slice(done, done + int(counts[part].sum()))
            row, column, score = (entry[own] for entry in found)
            scores, which = packed(row - part.start, column, score, part.stop - part.start)
            parts.append((part, Heavy(which, scores > -math.inf)))
            done = own.stop
        return parts, rest


class _Entries(NamedTuple):
    """Scores of some states with some patterns."""

    row: Tensor
    column: Tensor
    score: Tensor

    @classmethod
    def joined(cls, parts: list[_Entries]) -> _Entries:
        """All of them."""
        return cls(*(torch.cat(entry) for entry in zip(*parts, strict=True)))

    def of(self, those: Tensor) -> _Entries:
        """Some of them."""
        return _Entries(*(entry[those] for entry in self))


def _apart(block: Tensor) -> Tensor:
    """A block (L, n) in groups, (L, n / m, m)."""
    groups: Tensor = block.unflatten(1, (-1, min(WEIGHTS, block.shape[1])))
    return groups


class _Reaching(NamedTuple):
    """Entries of a block that reach a floor, and the groups in which they were looked for."""

    at: Tensor
    """Which groups, of those of all states, (k,)."""
    entries: Tensor
    """What these hold, (k, m)."""
    reach: Tensor
    """What of that reaches the floor, bool (k, m)."""
    size: int
    """How much that is."""


def _reaching(floor: Tensor, groups: Tensor, heads: Tensor, most: int) -> _Reaching | None:
    """Entries that reach a floor; None where these may be many.

    Args:
        floor: one per state, (L, 1).
        groups: the entries, in groups, (L, g, m).
        heads: no entry of a group is larger, (L, g).
        most: groups that are looked at, and half of the entries that are found.
    """
    at = (heads >= floor).view(-1).nonzero().view(-1)
    if at.shape[0] > most:
        return None
    # several times faster than by brackets
    entries = groups.flatten(0, 1).index_select(0, at)
    reach = entries >= floor.index_select(0, at.div(heads.shape[1], rounding_mode="floor"))
    size = int(torch.count_nonzero(reach))
    return None if size > 2 * most else _Reaching(at, entries, reach, size)


def portions(counts: Tensor, width: int = 1) -> Iterator[slice]:
    """States that have so many candidates each, (L,), in parts whose candidates, of size `width`, fit a cache."""
    start = most = 0
    for end, count in enumerate(counts.tolist()):
        larger = max(most, count)
        if end > start and (end + 1 - start) * larger * width > _ENTRIES:
            yield slice(start, end)
            start, larger = end, count
        most = larger
    if start < counts.shape[0]:
        yield slice(start, counts.shape[0])
