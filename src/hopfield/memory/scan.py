"""Softmax associations by one pass over all patterns, whose rounding errors are bounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import keep_buffers
from hopfield.core.kernels.online import LOG2E
from hopfield.core.kernels.streaming import (
    Gradients,
    Problem,
    backward_rows,
    blocks,
    refuse_second_derivatives,
    room_for,
    scores,
    tiles,
)
from hopfield.core.separation import Softmax, Softmax1
from hopfield.core.separation.base import finite
from hopfield.memory.aside import Aside, Heavy, Keeper
from hopfield.memory.sums import WEIGHTS, CarefulSoftmax, Sums


class Weigh(Protocol):
    """Weighs patterns that were set aside."""

    def __call__(self, heavy: Heavy, states: slice) -> tuple[Sums, Tensor]:
        """The sums over them, given which states it was, and their reference r (L, 1), float64, -inf without any."""


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


def _even(blocks: Iterable[slice]) -> Iterator[slice]:
    """Blocks of multiples of as many patterns as are summed at once, and what is left of them."""
    for block in blocks:
        even = block.stop - (block.stop - block.start) % WEIGHTS
        yield from (part for part in (slice(block.start, even), slice(even, block.stop)) if part.start < part.stop)


def _forward(problem: Problem, null: bool, aside: Aside, weigh: Weigh, start: int) -> Pass:
    values = problem.values
    assert values is not None
    problem = problem._replace(states=problem.states * LOG2E)
    dtype, width = problem.states.dtype, values.shape[2]
    reference = aside.reference(dtype)
    spread = aside.spread(dtype, reference)
    online = CarefulSoftmax(problem.states, width, null=null, reference=reference, spread=spread)
    keeper = Keeper(aside, problem.patterns.shape[1], dtype)
    memory = room_for(problem)
    for block in _even(blocks(problem)):
        some = scores(problem, block, LOG2E, room=memory)
        if not keeper.leaves_out(some, block.start, online):
            weights = online.powers(some)
            online.count(keeper.thinned(weights, block.start, online))
            online.mix(weights, values[:, block].to(weights.dtype))
    assert online.mixed is not None
    base = online.reference[0].double()
    nothing = base == -math.inf  # what takes no part weighs almost nothing, which adds up
    light = Sums(online.total[0, :, 0].masked_fill(nothing[:, 0], 0.0), online.mixed[0].masked_fill(nothing, 0.0))
    parts, rest = keeper.found(online)
    sums, own = zip(*(weigh(heavy, slice(start + at.start, start + at.stop)) for at, heavy in parts), strict=True)
    heavy = Sums(*(torch.cat(entry) for entry in zip(*sums, strict=True)))
    return finished(light, base / LOG2E, (heavy, torch.cat(own)), rest / LOG2E)


class _Scan(torch.autograd.Function):
    """The pass, with the streaming kernels' gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        null: bool,
        aside: Aside,
        weigh: Weigh,
        parts: int,
        mask: Tensor | None,
        states: Tensor,
        patterns: Any,
        values: Any,
        bias: Any,
    ) -> Pass:
        problem = Problem(states, patterns, values, bias, mask, parts)
        passed = [_forward(problem.rows(rows), null, aside.of(rows), weigh, rows.start) for rows in tiles(problem)]
        found = Pass(*(torch.cat(entry) for entry in zip(*passed, strict=True)))
        ctx.mark_non_differentiable(found.light, found.part, found.rest)
        ctx.null, ctx.problem = null, problem
        # inputs are saved so that it is noticed if they are written to
        ctx.save_for_backward(found.mean, found.level, mask, *(some for some in problem if isinstance(some, Tensor)))
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        problem: Problem = ctx.problem
        mean, level, *_ = ctx.saved_tensors
        dtype = problem.states.dtype
        # in powers of two, in two parts of which one is small
        base = finite(level) * LOG2E
        reference = base.to(dtype)
        normalizer = [entry.to(dtype).view(1, -1, 1) for entry in (level, reference, base - reference.double())]
        gradients = Gradients(problem, ctx.needs_input_grad[5:])
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
        return None, None, None, None, None, *own


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
    result: Pass = Pass(*_Scan.apply(null, aside, weigh, problem.parts, problem.mask, *problem[:4]))
    return result
