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

# terms summed in the data type of the scores; their sums are added in float64
_FEW = 512
# scores of which only the largest is looked at, unless that matters
_GROUP = 64
# rows of a block that are looked at by themselves, as a share of all
_FEW_ROWS = 1 / 8


def summation_error(dtype: torch.dtype, norm: float, mean: Tensor | float) -> Tensor | float:
    """How far sums can take a mean, of vectors of norm up to `norm`, from that under the weights as computed.

    The numerator is off by γ Σ p_i |x_i|, the denominator by γ: together γ (norm + |m|), `mean` being |m| or more. The
    weights are off by a few units themselves.
    """
    return accumulation(_FEW + 16, dtype) * (norm + mean)


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

    def plus(self, other: Sums) -> Sums:
        """Those over both."""
        return Sums(self.total + other.total, self.mixed + other.mixed)


class Weigh(Protocol):
    """Weighs patterns that were set aside."""

    def __call__(self, heavy: Heavy, reference: Tensor, states: slice) -> Sums:
        """The sums over them, given their reference r (L, 1), float64, and which states it was."""


class _CarefulSoftmax(OnlineSoftmax):
    """The running log-sum-exp and mean with few terms a sum, for one memory (B = 1)."""

    def __init__(self, states: Tensor, width: int, *, null: bool) -> None:
        super().__init__(states, width, null=null)
        assert self.mixed is not None
        self.total, self.mixed = self.total.double(), self.mixed.double()

    def count(self, weights: Tensor) -> None:
        for some in _few(weights[0]):
            self.total += some.sum(-1).sum(-1, dtype=torch.float64)[..., None]


def _mix(weights: Tensor, values: Tensor) -> Tensor:
    """P V in float64, of sums of few terms. (1, L, n), (1, n, v) -> (1, L, v)."""
    total = weights.new_zeros((weights.shape[1], values.shape[2]), dtype=torch.float64)
    for some, theirs in zip(_few(weights[0]), _few(values[0].mT), strict=True):
        parts = torch.bmm(some.transpose(0, 1), theirs.permute(1, 2, 0))  # (n / few, L, v)
        total += parts.sum(0, dtype=torch.float64)
    return total.unsqueeze(0)


def _few(rows: Tensor) -> list[Tensor]:
    """The columns of (L, n) a few at a time: (L, n / few, few), and what is left over, (L, 1, rest)."""
    even = rows.shape[1] - rows.shape[1] % _FEW
    parts = [rows[:, :even].unflatten(1, (-1, _FEW)), rows[:, None, even:]]
    return [part for part in parts if part.numel()]


class _Aside:
    """Sets patterns aside that weigh a share of all patterns so far, or more; scores are in powers of two."""

    def __init__(self, share: float) -> None:
        self._depth = -math.log2(share)
        self._top: Tensor | None = None
        self._mass = torch.zeros(())
        self._found: list[tuple[Tensor, Tensor]] = []

    def take(self, scores: Tensor, offset: int, top: Tensor, level: Tensor) -> None:
        """Take them out of a block of scores (1, L, n).

        Args:
            scores: are overwritten.
            offset: the first pattern of the block.
            top: the largest scores, (1, L, 1).
            level: the log-sum-exp of what was left in the blocks before, (L,).
        """
        block, top = scores[0], top[0, :, 0]
        if self._top is None:
            self._top, self._mass = top, torch.zeros_like(top)
        risen = torch.maximum(self._top, top)
        # what was set aside counts too
        self._mass = self._mass * torch.exp2(torch.where(risen == -math.inf, 0.0, self._top - risen))
        self._top = risen
        floor = torch.maximum(risen, torch.logaddexp2(level, risen + self._mass.log2())) - self._depth
        rows = ((top >= floor) & (top > -math.inf)).nonzero().flatten()
        if not rows.numel():
            return
        if rows.numel() < _FEW_ROWS * block.shape[0]:
            row, column = (block[rows] >= floor[rows].unsqueeze(-1)).nonzero(as_tuple=True)
            row = rows[row]
        else:
            row, column = _at_least(block, floor.unsqueeze(-1))
        self._found.append((row, column + offset))
        self._mass = self._mass.index_add(0, row, torch.exp2(block[row, column] - risen[row]))
        block[row, column] = -math.inf

    def found(self, states: int) -> Heavy:
        """All of them."""
        if not self._found:
            return Heavy(torch.zeros(states, 1, dtype=torch.int64), torch.zeros(states, 1, dtype=torch.bool))
        row = torch.cat([row for row, _ in self._found])
        column = torch.cat([column for _, column in self._found])
        ones, which = packed(row, column, torch.ones_like(column, dtype=torch.float32), states)
        return Heavy(which, ones > 0)

    def reference(self) -> Tensor:
        """The largest score (L, 1), 0 where there is none."""
        assert self._top is not None
        return torch.where(self._top == -math.inf, 0.0, self._top).unsqueeze(-1)


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


def finished(whole: Sums, reference: Tensor, light: Sums) -> Pass:
    """From sums over all patterns and over the light ones, relative to a reference (L,)."""
    total = torch.where(whole.total == 0, 1.0, whole.total)
    return Pass(whole.mixed / total.unsqueeze(-1), reference + whole.total.log(), light.total / total)


def _forward(problem: Problem, null: bool, share: float | None, weigh: Callable[[Heavy, Tensor], Sums]) -> Pass:
    values = problem.values
    assert values is not None
    problem = problem._replace(states=problem.states * LOG2E)
    online = _CarefulSoftmax(problem.states, values.shape[2], null=null)
    aside = None if share is None or not problem.patterns.shape[1] else _Aside(share)
    for block in blocks(problem):
        some = scores(problem, block, LOG2E)
        top = some.amax(-1, keepdim=True)
        if aside is not None:
            level = online.reference[0, :, 0] + online.total[0, :, 0].log2().to(some.dtype)
            aside.take(some, block.start, top, level)
        weights = online.weights(some, top)
        online.add(_mix(weights, values[:, block].to(weights.dtype)))
    assert online.mixed is not None
    light = Sums(online.total[0, :, 0], online.mixed[0])
    reference = online.reference[0].double()
    if aside is None:
        reference = torch.where(reference == -math.inf, 0.0, reference)
        whole = light
    else:
        risen = torch.maximum(reference, aside.reference().double())
        factor = torch.exp2(reference - risen)
        light = Sums(light.total * factor[:, 0], light.mixed * factor)
        reference = risen
        whole = light.plus(weigh(aside.found(light.total.shape[0]), reference / LOG2E))
    return finished(whole, reference[:, 0] / LOG2E, light)


class _Scan(torch.autograd.Function):
    """The pass, with the streaming kernels' gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        null: bool,
        share: float | None,
        weigh: Weigh,
        mask: Tensor | None,
        states: Tensor,
        patterns: Any,
        values: Any,
        bias: Any,
    ) -> Pass:
        problem = Problem(states, patterns, values, bias, mask)
        parts = [_forward(problem.rows(rows), null, share, partial(weigh, states=rows)) for rows in tiles(problem)]
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


def scan(problem: Problem, weigh: Weigh, *, null: bool, share: float | None) -> Pass:
    """Softmax over all patterns of a problem with B = 1; differentiable once.

    Args:
        problem: states (1, L, d), multiplied by β, of the data type of the pass.
        weigh: for patterns that are set aside.
        null: whether there is a pattern of score and value 0.
        share: patterns that weigh this share of all so far are set aside; None: none are.
    """
    if problem.states.device.type == "cpu":
        keep_buffers()
    result: Pass = Pass(*_Scan.apply(null, share, weigh, problem.mask, *problem[:4]))
    return result
