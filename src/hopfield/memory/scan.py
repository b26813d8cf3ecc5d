"""Softmax associations by one pass over all patterns, whose rounding errors are bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import keep_buffers
from hopfield.core.kernels.online import LOG2E, OnlineSoftmax
from hopfield.core.kernels.streaming import (
    Gradients,
    Problem,
    backward_rows,
    blocks,
    refuse_second_derivatives,
    scores,
    tiles,
)
from hopfield.core.separation import Softmax, Softmax1
from hopfield.core.separation.base import finite
from hopfield.core.separation.gather import packed
from hopfield.memory.bounds import accumulation

FEW = 256
"""Terms summed in the data type of the scores, ..."""
# ... and sums of these; sums of those are added in float64
_PARTS = 16
# scores of which only the largest is looked at, unless that matters
_GROUP = 64
# a block in which one group for so many scores holds what matters is weighed as a whole: cheaper than taking that out
_FULL = 256
# numbers of candidates that are held at once: they stay in a cache
_ENTRIES = 1 << 19
# blocks after which what is known of the whole is counted, beside the first, second, fourth, ...
_NEW = 16
# what is set aside at least, log2 of a share of the whole, and of how many scores in any case
_DEPTH, _MANY = -9.0, 1 << 23


def summation_error(dtype: torch.dtype, norm: float, mean: Tensor | float) -> Tensor | float:
    """How far sums can take a mean, of vectors of norm up to `norm`, from that under the weights as computed.

    The numerator is off by γ Σ p_i |x_i|, the denominator by γ: together γ (norm + |m|), `mean` being |m| or more. The
    weights are off by a few units themselves.
    """
    return accumulation(FEW + _PARTS + 16, dtype) * (norm + mean)


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


class Weigh(Protocol):
    """Weighs patterns that were set aside."""

    def __call__(self, heavy: Heavy, states: slice) -> tuple[Sums, Tensor]:
        """The sums over them, given which states it was, and their reference r (L, 1), float64, -inf without any."""


class _CarefulSoftmax(OnlineSoftmax):
    """The running log-sum-exp and mean with few terms a sum, for one memory (B = 1)."""

    def __init__(self, states: Tensor, width: int, *, null: bool) -> None:
        super().__init__(states, width, null=null)
        assert self.mixed is not None
        self.total, self.mixed = self.total.double(), self.mixed.double()

    def count(self, weights: Tensor) -> None:
        self.total += total(weights).unsqueeze(-1)


def _mix(weights: Tensor, values: Tensor) -> Tensor:
    """P V, of sums of few terms. (1, L, n), (1, n, v) -> (1, L, v)."""
    even = weights.shape[2] - weights.shape[2] % FEW
    left, right = weights[0, :, :even].unflatten(1, (-1, FEW)), values[0, :even].unflatten(0, (-1, FEW))
    result = _sum(torch.bmm(left.transpose(0, 1), right), 0).unsqueeze(0)
    return result if even == weights.shape[2] else result + torch.bmm(weights[:, :, even:], values[:, even:])


def product(weights: Tensor, values: Tensor) -> Tensor:
    """P V, of sums of few terms. (B, L, n), (B, n, v) -> (B, L, v), n small."""
    if weights.shape[2] <= FEW:
        return torch.bmm(weights, values)
    parts = zip(weights.split(FEW, 2), values.split(FEW, 1), strict=True)
    return _sum(torch.stack([torch.bmm(left, right) for left, right in parts]), 0)


def total(weights: Tensor) -> Tensor:
    """The sums of rows (..., n), of sums of few terms."""
    even = weights.shape[-1] - weights.shape[-1] % FEW
    result = _sum(weights[..., :even].unflatten(-1, (-1, FEW)).sum(-1), -1)
    return result if even == weights.shape[-1] else result + weights[..., even:].sum(-1)


def _sum(parts: Tensor, axis: int) -> Tensor:
    """The sum of parts, in float64 where they are many."""
    return parts.sum(axis) if parts.shape[axis] <= _PARTS else parts.sum(axis, dtype=torch.float64)


class Aside(NamedTuple):
    """What a pass sets aside: as many of the patterns that weigh most as must be, and all that matter where few do."""

    level: Tensor
    """A guess of the log-sum-exp over all patterns, rather too low. (L,)"""
    known: Tensor
    """A lower bound of it, -inf where none is known. (L,)"""
    light: Tensor
    """What share of the weight need not be set aside, 1 or more: all of it. (L,)"""
    least: float
    """Patterns that weigh less than this share may be left out."""

    def of(self, states: slice) -> Aside:
        """That of some states."""
        return Aside(self.level[states], self.known[states], self.light[states], self.least)


class _Keeper:
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
        self._new: list[_Entries] = []
        self._blocks = self._scores = self._taken = self._passed = 0
        self._dense = False

    def take(self, scores: Tensor, offset: int, left: OnlineSoftmax) -> Tensor | None:
        """Take them out of a block of scores (1, L, n).

        Args:
            scores: are overwritten.
            offset: the first pattern of the block.
            left: what was left in the blocks before.

        Returns:
            A bound of those that are left, (1, L, 1), or None where these may be left out.
        """
        block = scores[0]
        count = block.shape[1]
        self._blocks += 1
        if self._blocks % _NEW == 0 or self._blocks & (self._blocks - 1) == 0:
            self._raise(left)
            self._dense = False  # to be seen again
        self._scores += block.numel()
        if self._dense and not self._careful:
            return torch.amax(scores, -1, keepdim=True)
        # groups of every n-th score, which are compared faster than neighbours
        groups = block.unflatten(1, (_GROUP if count % _GROUP == 0 else 1, -1)).amax(1)
        top: Tensor = groups.amax(-1)
        self._level = torch.maximum(self._level, top)
        found = None
        if not self._dense:
            found = _at_least(self._level + self._tail, block, groups, top, most=block.numel() // _FULL)
            self._dense = found is None
        if self._dense and self._careful:
            most = (self._scores + _MANY) // _FULL - self._taken
            found = _at_least(self._level + self._depth, block, groups, top, most)
        if found is not None and found.row.numel():
            if self._dense:
                block.view(-1).index_fill_(0, found.row * count + found.column, -math.inf)
            self._new.append(found._replace(column=found.column + offset))
            self._taken += found.row.numel()
        if self._dense:
            return top.view(1, -1, 1)
        self._passed += count
        return None

    def _raise(self, left: OnlineSoftmax) -> None:
        """Raise the level to what is known of it, and set more aside where too much was left."""
        self._settle()
        level = (left.reference + left.total.log2()).to(self._level.dtype)[0, :, 0]
        whole = torch.logaddexp2(level, self._top + self._mass.log2())
        self._level = torch.maximum(self._level, whole)
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
        new = _Entries.joined(self._new)
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


def _at_least(floor: Tensor, block: Tensor, groups: Tensor, top: Tensor, most: int) -> _Entries | None:
    """Where scores (L, n) reach a floor (L,), None in many places.

    Args:
        floor: one per state.
        block: the scores.
        groups: the largest of every g-th, (L, g).
        top: the largest of all, (L,).
        most: groups that are looked at, and half of the scores that are found.
    """
    rows = (top >= floor).nonzero().view(-1)
    some, floors = (groups, floor) if rows.numel() == floor.numel() else (groups[rows], floor[rows])
    at = (some >= floors.unsqueeze(-1)).view(-1).nonzero().view(-1)
    if at.numel() > most:
        return None
    row, group = rows[at // groups.shape[1]], at % groups.shape[1]
    near = block.unflatten(1, (-1, groups.shape[1]))[row, :, group]
    at = (near >= floor[row].unsqueeze(-1)).view(-1).nonzero().view(-1)
    if at.numel() > 2 * most:
        return None
    which, place = at // near.shape[1], at % near.shape[1]
    return _Entries(row[which], place * groups.shape[1] + group[which], near.view(-1)[at])


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


class Pass(NamedTuple):
    """What a pass gave."""

    mean: Tensor
    """(L, v), float64."""
    level: Tensor
    """The log-sum-exp, float64 (L,)."""
    light: Tensor
    """The share of the weight that was weighed in the data type of the pass, (L,)."""
    part: Tensor
    """What that adds to the mean, (L, v)."""
    rest: Tensor
    """A bound of log Σ exp(s) over what was left out, float64 (L,)."""


def finished(light: Sums, reference: Tensor, heavy: tuple[Sums, Tensor], rest: Tensor) -> Pass:
    """From sums over the light patterns and their reference (L, 1), -inf without any; of the others; the rest."""
    both = torch.maximum(reference, heavy[1])
    base = finite(both)
    light = light.times(torch.exp(reference - base))
    whole = light.plus(heavy[0].times(torch.exp(heavy[1] - base)))
    total = torch.where(whole.total == 0, 1.0, whole.total)
    mean, part = (sums.mixed / total.unsqueeze(-1) for sums in (whole, light))
    return Pass(mean, base[:, 0] + whole.total.log(), light.total / total, part, rest)


def _forward(problem: Problem, null: bool, aside: Aside, weigh: Weigh, start: int) -> Pass:
    values = problem.values
    assert values is not None
    problem = problem._replace(states=problem.states * LOG2E)
    online = _CarefulSoftmax(problem.states, values.shape[2], null=null)
    keeper = _Keeper(aside, problem.patterns.shape[1], problem.states.dtype)
    for block in blocks(problem):
        some = scores(problem, block, LOG2E)
        top = keeper.take(some, block.start, online)
        if top is not None:
            weights = online.weights(some, top)
            online.add(_mix(weights, values[:, block].to(weights.dtype)))
    assert online.mixed is not None
    reference = online.reference[0].double()
    nothing = reference == -math.inf  # what takes no part weighs almost nothing, which adds up
    light = Sums(online.total[0, :, 0].masked_fill(nothing[:, 0], 0.0), online.mixed[0].masked_fill(nothing, 0.0))
    parts, rest = keeper.found(online)
    sums, own = zip(*(weigh(heavy, slice(start + at.start, start + at.stop)) for at, heavy in parts), strict=True)
    heavy = Sums(*(torch.cat(entry) for entry in zip(*sums, strict=True)))
    return finished(light, reference / LOG2E, (heavy, torch.cat(own)), rest / LOG2E)


class _Scan(torch.autograd.Function):
    """The pass, with the streaming kernels' gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        null: bool,
        aside: Aside,
        weigh: Weigh,
        mask: Tensor | None,
        states: Tensor,
        patterns: Any,
        values: Any,
        bias: Any,
    ) -> Pass:
        problem = Problem(states, patterns, values, bias, mask)
        parts = [_forward(problem.rows(rows), null, aside.of(rows), weigh, rows.start) for rows in tiles(problem)]
        found = Pass(*(torch.cat(entry) for entry in zip(*parts, strict=True)))
        ctx.mark_non_differentiable(found.light, found.part, found.rest)
        ctx.null, ctx.problem = null, problem
        ctx.save_for_backward(found.mean, found.level)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        problem: Problem = ctx.problem
        mean, level = ctx.saved_tensors
        dtype = problem.states.dtype
        # in powers of two, in two parts of which one is small
        base = finite(level) * LOG2E
        reference = base.to(dtype)
        normalizer = [entry.to(dtype).view(1, -1, 1) for entry in (level, reference, base - reference.double())]
        gradients = Gradients(problem, ctx.needs_input_grad[4:])
        separation = Softmax1() if ctx.null else Softmax()
        for rows in tiles(problem):
            backward_rows(
                problem.rows(rows),
                rows,
                separation,
                tuple(entry[:, rows] for entry in normalizer),
                (grads[0][None, rows].to(dtype).contiguous(), mean[None, rows].to(dtype)),
                grads[1][None, rows, None].to(dtype),
                gradients,
            )
        found = (gradients.states, gradients.patterns, gradients.values, gradients.bias)
        inputs = (problem.states, problem.patterns, problem.values, problem.bias)
        own = (None if g is None or t is None else g.to(t.dtype) for g, t in zip(found, inputs, strict=True))
        return None, None, None, None, *own


def scan(problem: Problem, weigh: Weigh, *, null: bool, aside: Aside) -> Pass:
    """Softmax over all patterns of a problem with B = 1; differentiable once.

    Args:
        problem: states (1, L, d), multiplied by β, of the data type of the pass.
        weigh: for patterns that are set aside.
        null: whether there is a pattern of score and value 0.
        aside: which are.
    """
    if problem.states.device.type == "cpu":
        keep_buffers()
    result: Pass = Pass(*_Scan.apply(null, aside, weigh, problem.mask, *problem[:4]))
    return result
