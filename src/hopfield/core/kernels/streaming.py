"""Association in one or a few passes over blocks of patterns: memory O(states), never states x patterns.

For softmax the running log-sum-exp is merged block by block; for the sparse maps the threshold is found exactly by
repeated passes. Gradients recompute the scores block by block. Scores live in float32 or float64 whatever the inputs.

Shapes: B batches, L states, N patterns, d pattern size, v value size. A memory shared by the whole batch has B = 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import keep_buffers, mix, similarities
from hopfield.core.kernels.online import LOG2E, OnlineSoftmax
from hopfield.core.separation import Softmax, Softmax1, Streamable
from hopfield.errors import HopfieldError

_TILE = 1 << 20  # scores per tile: 4 MiB in float32, the second-level caches of a few cores
_TILE_ACCELERATOR = 1 << 26
_STATES = 1024  # states per tile
_EVEN = 64  # patterns per tile are a multiple of this, but for the last: sums over them can be cut into equal parts


class Problem(NamedTuple):
    """One association in canonical form; `beta` is already in `states` and `bias`.

    Patterns and values need not be tensors: what has their shape and gives blocks of their rows will do.
    """

    states: Tensor
    """(B, L, d), multiplied by beta"""
    patterns: Tensor
    """(B, N, d)"""
    values: Tensor | None
    """(B, N, v), or None when only the potential is wanted"""
    bias: Tensor | None
    """broadcasts to (B, L, N), multiplied by beta"""
    mask: Tensor | None
    """bool, broadcasts to (B, L, N); True takes part"""
    parts: int = 1
    """in how many parts the products of states and patterns are summed"""

    def rows(self, rows: slice) -> Problem:
        """The problem for some of its states."""
        bias, mask = _rows(self.bias, rows), _rows(self.mask, rows)
        return self._replace(states=self.states[:, rows].contiguous(), bias=bias, mask=mask)


def _rows(tensor: Tensor | None, rows: slice) -> Tensor | None:
    return tensor if tensor is None or tensor.shape[1] == 1 else tensor[:, rows]


def columns_of(tensor: Tensor, block: slice) -> Tensor:
    """A block of a tensor that broadcasts along its last dimension."""
    return tensor if tensor.shape[-1] == 1 else tensor[..., block]


def blocks(problem: Problem) -> Iterator[slice]:
    """Slices of patterns small enough for one tile."""
    batch, states, width = problem.states.shape
    count = problem.patterns.shape[1]
    tile = _TILE if problem.states.device.type == "cpu" else _TILE_ACCELERATOR
    size = max(256, min(tile // max(1, batch * states), tile // max(1, width)) // _EVEN * _EVEN)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def tiles(problem: Problem) -> Iterator[slice]:
    """Slices of states small enough for one tile."""
    states = problem.states.shape[1]
    return (slice(start, min(start + _STATES, states)) for start in range(0, max(1, states), _STATES))


def room_for(problem: Problem) -> Tensor:
    """Memory for the scores of one block after the other: what is new each time must be mapped and cleared first."""
    first = next(blocks(problem), slice(0, 0))
    return problem.states.new_empty(math.prod(problem.states.shape[:2]) * (first.stop - first.start))


def scores(problem: Problem, block: slice, scale: float = 1.0, *, room: Tensor | None = None) -> Tensor:
    """Scores of a block of patterns times `scale`; `problem.states` is already multiplied by it. -> (B, L, block).

    They may lie in the `room` of the problem, and be overwritten by the next ones.
    """
    states, bias, mask = problem.states, problem.bias, problem.mask
    patterns = problem.patterns[:, block].to(states.dtype)
    row = None
    if bias is not None:
        bias = columns_of(bias, block).to(states.dtype)
        bias = bias * scale if scale != 1.0 else bias
        if bias.shape[:2] == (1, 1) and bias.shape[2] == patterns.shape[1]:
            row, bias = bias[0, 0], None  # added by the product itself
    shape = (*states.shape[:2], patterns.shape[1])
    out = None if room is None else room[: math.prod(shape)].view(shape)
    result = similarities(states, patterns, row, parts=problem.parts, out=out)
    if bias is not None:
        result += bias
    if mask is not None:
        result.masked_fill_(~columns_of(mask, block), -math.inf)
    return result


def in_units(problem: Problem, separation: Streamable) -> tuple[Problem, float]:
    """The problem with scores in the units of `weights_of`, and their factor: powers of two for softmax, else e."""
    if isinstance(separation, Softmax | Softmax1):
        return problem._replace(states=problem.states * LOG2E), LOG2E
    return problem, 1.0


def weights_of(scores: Tensor, separation: Streamable, normalizer: tuple[Tensor, ...]) -> Tensor:
    """The weights of some scores, which may be overwritten; in the units of `in_units`, which found the normalizer."""
    if isinstance(separation, Softmax | Softmax1):
        _, reference, bits = normalizer
        return scores.sub_(reference).sub_(bits).exp2_()
    return separation.weights_at(scores, normalizer)


def _softmax_forward(problem: Problem, null: bool) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Values by one online pass, in powers of two; `null` adds a pattern of score and value 0. And the normalizer."""
    problem, _ = in_units(problem, Softmax())
    values = problem.values
    spread = problem.bias is None and problem.mask is None
    online = OnlineSoftmax(problem.states, None if values is None else values.shape[2], null=null, spread=spread)
    for block in blocks(problem):
        weights = online.weights(scores(problem, block, LOG2E))
        if values is not None:
            online.add(mix(weights, values[:, block].to(weights.dtype)))
    return online.finish()


def _forward(problem: Problem, separation: Streamable) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Values (B, L, v), if asked for, and the normalizer (B, L, 1) of every state."""
    if isinstance(separation, Softmax | Softmax1):
        return _softmax_forward(problem, null=isinstance(separation, Softmax1))
    normalizer = separation.normalizer(lambda: (scores(problem, block) for block in blocks(problem)))
    if problem.values is None:
        return None, normalizer
    mixed = problem.states.new_zeros((*problem.states.shape[:2], problem.values.shape[2]))
    for block in blocks(problem):
        weights = separation.weights_at(scores(problem, block), normalizer)
        mixed += mix(weights, problem.values[:, block].to(mixed.dtype))
    return mixed, normalizer


def normalizers(problem: Problem, separation: Streamable) -> tuple[Tensor, ...]:
    """The normalizer (B, L, 1) of every state, without gradients."""
    return _forward(problem._replace(values=None), separation)[1]


def _reduce(gradient: Tensor, like: Tensor) -> Tensor:
    """Sum a gradient over the dimensions along which `like` was broadcast."""
    return gradient.sum_to_size(like.shape)


class Gradients:
    """Accumulates the gradients of one problem, block by block."""

    def __init__(self, problem: Problem, wanted: tuple[bool, bool, bool, bool]) -> None:
        states, patterns, values, bias, *_ = problem
        of_states, of_patterns, of_values, of_bias = wanted
        self.states = torch.zeros_like(states) if of_states else None
        self.patterns = torch.zeros_like(patterns, dtype=states.dtype) if of_patterns else None
        self.values = None if values is None or not of_values else torch.zeros_like(values, dtype=states.dtype)
        self.bias = None if bias is None or not of_bias else torch.zeros_like(bias, dtype=states.dtype)

    def add(
        self, problem: Problem, rows: slice, block: slice, slope: Tensor, weights: Tensor, g: Tensor | None
    ) -> None:
        """`slope` is the loss's gradient in the scores of these rows and patterns, (B, rows, block)."""
        dtype = problem.states.dtype
        if self.states is not None:
            self.states[:, rows] += mix(slope, problem.patterns[:, block].to(dtype))
        if self.patterns is not None:
            self.patterns[:, block] += torch.bmm(slope.mT, problem.states)
        if self.values is not None and g is not None:
            self.values[:, block] += torch.bmm(weights.mT, g)
        if self.bias is not None and problem.bias is not None:
            row = slice(None) if self.bias.shape[1] == 1 else rows
            column = slice(None) if self.bias.shape[2] == 1 else block
            view = self.bias[:, row, column]
            view += _reduce(slope, view)


def refuse_second_derivatives() -> None:
    """Raise where a backward pass is itself recorded: its result would lose terms in silence."""
    if torch.is_grad_enabled():
        raise HopfieldError(
            "no second derivatives through a large memory, which is passed over in blocks: use fewer patterns"
        )


class _Streaming(torch.autograd.Function):
    """Values and potential with gradients recomputed block by block."""

    @staticmethod
    def forward(
        ctx: Any, separation: Streamable, parts: int, mask: Tensor | None, *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        states, patterns, values, bias = inputs
        assert states is not None
        assert patterns is not None
        problem = Problem(states, patterns, values, bias, mask, parts)
        passed = [_forward(problem.rows(rows), separation) for rows in tiles(problem)]
        normalizer = tuple(torch.cat(entry, 1) for entry in zip(*(part[1] for part in passed), strict=True))
        mixed = states.new_zeros(()) if values is None else torch.cat([p[0] for p in passed if p[0] is not None], 1)
        ctx.separation, ctx.parts = separation, parts
        ctx.save_for_backward(states, patterns, values, bias, mask, mixed, *normalizer)
        return mixed, normalizer[0].squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        states, patterns, values, bias, mask, mixed, *normalizer = ctx.saved_tensors
        problem = Problem(states, patterns, values, bias, mask, ctx.parts)
        gradients = Gradients(problem, ctx.needs_input_grad[3:])
        for rows in tiles(problem):
            backward_rows(
                problem.rows(rows),
                rows,
                ctx.separation,
                tuple(entry[:, rows] for entry in normalizer),
                None if values is None else (grads[0][:, rows].contiguous(), mixed[:, rows]),
                grads[1][:, rows].unsqueeze(-1),
                gradients,
            )
        result = (gradients.states, gradients.patterns, gradients.values, gradients.bias)
        return (
            None,
            None,
            None,
            *(
                None if g is None else g.to(t.dtype)
                for g, t in zip(result, (states, patterns, values, bias), strict=True)
            ),
        )


def backward_rows(
    problem: Problem,
    rows: slice,
    separation: Streamable,
    normalizer: tuple[Tensor, ...],
    output: tuple[Tensor, Tensor] | None,
    of_potential: Tensor,
    gradients: Gradients,
) -> None:
    """Add the gradients that flow through some rows of states.

    With g_i = (dL/dvalues)·v_i, the gradient in the scores is ∇²Ω* g + (dL/dΩ*) p.
    """
    if separation.exponential:
        _backward_exponential(problem, rows, separation, normalizer, output, of_potential, gradients)
        return

    def slopes(block: slice) -> tuple[Tensor, Tensor]:
        s = scores(problem, block)
        if output is None or problem.values is None:
            return s, torch.zeros_like(s)
        return s, similarities(output[0], problem.values[:, block].to(s.dtype))

    along_w = along_a = torch.zeros_like(of_potential)
    if output is not None:
        for block in blocks(problem):
            s, g = slopes(block)
            curvature = separation.curvature_at(s, normalizer)
            along_w = along_w + (curvature.diagonal * g).sum(-1, keepdim=True)
            along_a = along_a + (curvature.direction * g).sum(-1, keepdim=True)
    for block in blocks(problem):
        s, g = slopes(block)
        curvature = separation.curvature_at(s, normalizer)
        weights = separation.weights_at(s, normalizer)
        slope = curvature.combine(g, along_w, along_a)
        gradients.add(problem, rows, block, slope + of_potential * weights, weights, output and output[0])


def _backward_exponential(
    problem: Problem,
    rows: slice,
    separation: Streamable,
    normalizer: tuple[Tensor, ...],
    output: tuple[Tensor, Tensor] | None,
    of_potential: Tensor,
    gradients: Gradients,
) -> None:
    """The same where ∇²Ω* = diag(p) - p pᵀ: as pᵀg is known from the output, in one pass."""
    scaled, scale = in_units(problem, separation)
    offset = of_potential if output is None else of_potential - (output[0] * output[1]).sum(-1, keepdim=True)
    for block in blocks(problem):
        weights = weights_of(scores(scaled, block, scale), separation, normalizer)
        if output is None or problem.values is None:
            slope = offset * weights
        else:
            slope = similarities(output[0], problem.values[:, block].to(weights.dtype)).add_(offset).mul_(weights)
        gradients.add(problem, rows, block, slope, weights, output and output[0])


def stream(problem: Problem, separation: Streamable) -> tuple[Tensor, Tensor]:
    """Values (B, L, v) (empty if the problem has none) and potential (B, L); differentiable once."""
    states, patterns, values, bias, mask, parts = problem
    if states.device.type == "cpu":
        keep_buffers()
    result: tuple[Tensor, Tensor] = _Streaming.apply(separation, parts, mask, states, patterns, values, bias)
    return result
