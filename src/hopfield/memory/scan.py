"""Softmax associations by one pass over all patterns, whose rounding errors are bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
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
from hopfield.core.separation.gather import packed
from hopfield.memory.bounds import accumulation

FEW = 256
"""Terms summed in the data type of the scores, ..."""
# ... and sums of these; sums of those are added in float64
_PARTS = 16
# scores of which only the largest is looked at, unless that matters
_GROUP = 64
# rows of a block that are looked at by themselves, as a share of all
_FEW_ROWS = 1 / 8
# blocks in which some patterns were set aside before these are counted
_NEW = 16


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

    def of(self, states: Tensor) -> Heavy:
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
    """What a pass sets aside: patterns that weigh a share of the whole, or more."""

    share: Tensor
    """(L,)"""
    level: Tensor
    """A lower bound of the log-sum-exp over all patterns; infinite where nothing is set aside. (L,)"""

    def of(self, states: slice) -> Aside:
        """That of some states."""
        return Aside(self.share[states], self.level[states])


class _Keeper:
    """Sets patterns aside; scores are in powers of two."""

    def __init__(self, aside: Aside, dtype: torch.dtype) -> None:
        level = aside.level.to(dtype) * LOG2E
        self._depth = aside.share.log2().to(dtype)
        # what takes no part is beneath it
        self._floor = (level + self._depth).clamp(min=torch.finfo(dtype).min)
        self._top = torch.full_like(level, -math.inf)
        self._mass = torch.zeros_like(level)
        self._found: list[_Entries] = []
        self._new: list[_Entries] = []

    def take(self, scores: Tensor, offset: int, top: Tensor, left: OnlineSoftmax) -> None:
        """Take them out of a block of scores (1, L, n).

        Args:
            scores: are overwritten.
            offset: the first pattern of the block.
            top: the largest scores, (1, L, 1).
            left: what was left in the blocks before.
        """
        block, top = scores[0], top[0, :, 0]
        rows = (top >= self._floor).nonzero().flatten()
        if not rows.numel():
            return
        few = rows.numel() < _FEW_ROWS * block.shape[0]
        if not few or len(self._new) > _NEW:
            self._raise(left)
        self._floor[rows] = torch.maximum(self._floor[rows], top[rows] + self._depth[rows])
        if few:
            row, column = (block[rows] >= self._floor[rows].unsqueeze(-1)).nonzero(as_tuple=True)
            row = rows[row]
        else:
            row, column = _at_least(block, self._floor.unsqueeze(-1))
        self._new.append(_Entries(row, column + offset, block[row, column]))
        block[row, column] = -math.inf

    def _raise(self, left: OnlineSoftmax) -> None:
        """Raise the floor to what is known of the log-sum-exp, to which belongs what was set aside."""
        self._settle()
        level = (left.reference + left.total.log2()).to(self._floor.dtype)[0, :, 0]
        level = torch.logaddexp2(level, self._top + self._mass.log2())
        self._floor = torch.maximum(self._floor, level + self._depth)

    def _settle(self) -> None:
        """Count what is new."""
        if not self._new:
            return
        row, _, score = (torch.cat(entry) for entry in zip(*self._new, strict=True))
        risen = self._top.scatter_reduce(0, row, score, "amax")
        self._mass *= torch.exp2(torch.where(risen == -math.inf, 0.0, self._top - risen))
        self._mass.index_add_(0, row, torch.exp2(score - risen[row]))
        self._top = risen
        self._found += self._new
        self._new = []

    def found(self) -> Heavy:
        """All of them."""
        self._settle()
        states = self._top.shape[0]
        if not self._found:
            return Heavy(torch.zeros(states, 1, dtype=torch.int64), torch.zeros(states, 1, dtype=torch.bool))
        row, column, score = (torch.cat(entry) for entry in zip(*self._found, strict=True))
        scores, which = packed(row, column, score, states)
        return Heavy(which, scores > -math.inf)


class _Entries(NamedTuple):
    """Scores of some states with some patterns."""

    row: Tensor
    column: Tensor
    score: Tensor


def _at_least(block: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Where scores (L, n) reach a floor (L, 1) above -inf, by the largest of groups of them first."""
    even = block.shape[1] - block.shape[1] % _GROUP
    groups = block[:, :even].unflatten(1, (-1, _GROUP))
    state, group = (groups.amax(-1) >= floor).nonzero(as_tuple=True)
    near, place = (groups[state, group] >= floor[state]).nonzero(as_tuple=True)
    row, column = (block[:, even:] >= floor).nonzero(as_tuple=True)
    return torch.cat([state[near], row]), torch.cat([group[near] * _GROUP + place, column + even])


class Pass(NamedTuple):
    """What a pass gave."""

    mean: Tensor
    """(L, v), float64."""
    level: Tensor
    """The log-sum-exp, float64 (L,)."""
    light: Tensor
    """The share of the weight that was weighed in the data type of the pass, (L,)."""


def finished(light: Sums, reference: Tensor, heavy: tuple[Sums, Tensor] | None) -> Pass:
    """From sums over the light patterns and their reference (L, 1), -inf without any; and the same of the others."""
    whole = light
    if heavy is not None:
        both = torch.maximum(reference, heavy[1])
        base = torch.where(both == -math.inf, 0.0, both)
        light = light.times(torch.exp(reference - base))
        whole = light.plus(heavy[0].times(torch.exp(heavy[1] - base)))
        reference = both
    reference = torch.where(reference == -math.inf, 0.0, reference)
    total = torch.where(whole.total == 0, 1.0, whole.total)
    return Pass(whole.mixed / total.unsqueeze(-1), reference[:, 0] + whole.total.log(), light.total / total)


def _forward(problem: Problem, null: bool, aside: Aside | None, weigh: Callable[[Heavy], tuple[Sums, Tensor]]) -> Pass:
    values = problem.values
    assert values is not None
    problem = problem._replace(states=problem.states * LOG2E)
    online = _CarefulSoftmax(problem.states, values.shape[2], null=null)
    keeper = None if aside is None or not problem.patterns.shape[1] else _Keeper(aside, problem.states.dtype)
    for block in blocks(problem):
        some = scores(problem, block, LOG2E)
        top = some.amax(-1, keepdim=True)
        if keeper is not None:
            keeper.take(some, block.start, top, online)
        weights = online.weights(some, top)
        online.add(_mix(weights, values[:, block].to(weights.dtype)))
    assert online.mixed is not None
    reference = online.reference[0].double()
    nothing = reference == -math.inf  # what takes no part weighs almost nothing, which adds up
    light = Sums(online.total[0, :, 0].masked_fill(nothing[:, 0], 0.0), online.mixed[0].masked_fill(nothing, 0.0))
    if keeper is None:
        return finished(light, reference / LOG2E, None)
    return finished(light, reference / LOG2E, weigh(keeper.found()))


class _Scan(torch.autograd.Function):
    """The pass, with the streaming kernels' gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        null: bool,
        aside: Aside | None,
        weigh: Weigh,
        mask: Tensor | None,
        states: Tensor,
        patterns: Any,
        values: Any,
        bias: Any,
    ) -> Pass:
        problem = Problem(states, patterns, values, bias, mask)
        parts = [
            _forward(problem.rows(rows), null, aside and aside.of(rows), partial(weigh, states=rows))
            for rows in tiles(problem)
        ]
        found = Pass(*(torch.cat(entry) for entry in zip(*parts, strict=True)))
        ctx.mark_non_differentiable(found.light)
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
        finite = torch.where(level == -math.inf, 0.0, level * LOG2E)
        reference = finite.to(dtype)
        normalizer = [entry.to(dtype).view(1, -1, 1) for entry in (level, reference, finite - reference.double())]
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


def scan(problem: Problem, weigh: Weigh, *, null: bool, aside: Aside | None) -> Pass:
    """Softmax over all patterns of a problem with B = 1; differentiable once.

    Args:
        problem: states (1, L, d), multiplied by β, of the data type of the pass.
        weigh: for patterns that are set aside.
        null: whether there is a pattern of score and value 0.
        aside: which are; None: none.
    """
    if problem.states.device.type == "cpu":
        keep_buffers()
    result: Pass = Pass(*_Scan.apply(null, aside, weigh, problem.mask, *problem[:4]))
    return result
