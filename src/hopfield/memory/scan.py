"""An association by one pass over all patterns, whose rounding errors are bounded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import keep_buffers
from hopfield.core.kernels.online import LOG2E, OnlineSoftmax
from hopfield.core.kernels.streaming import (
    Gradients,
    Problem,
    backward_rows,
    blocks,
    in_units,
    refuse_second_derivatives,
    scores,
    tiles,
)
from hopfield.core.separation import Softmax1, Streamable
from hopfield.memory.bounds import accumulation

# terms summed in the data type of the scores; their sums are added in float64
_FEW = 256


def summation_error(dtype: torch.dtype, norm: float) -> float:
    """How far sums can take the mean of vectors of norm up to `norm` from that under the weights as computed."""
    # of the numerator and of the denominator; and the weights' own rounding, a few units each
    return 2 * accumulation(_FEW + 16, dtype) * norm


class _CarefulSoftmax(OnlineSoftmax):
    """The running log-sum-exp and mean with few terms a sum, for one memory (B = 1)."""

    def __init__(self, states: Tensor, width: int | None, *, null: bool) -> None:
        super().__init__(states, width, null=null)
        self.total = self.total.double()
        self.mixed = None if self.mixed is None else self.mixed.double()

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


def _forward(problem: Problem, separation: Streamable) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Means (1, L, v) in float64, and the normalizer of the streaming kernels, (1, L, 1) each."""
    assert problem.values is not None
    problem, _ = in_units(problem, separation)
    online = _CarefulSoftmax(problem.states, problem.values.shape[2], null=isinstance(separation, Softmax1))
    for block in blocks(problem):
        weights = online.weights(scores(problem, block, LOG2E))
        online.add(_mix(weights, problem.values[:, block].to(weights.dtype)))
    mixed, normalizer = online.finish()
    assert mixed is not None
    return mixed, normalizer


class _Scan(torch.autograd.Function):
    """The pass, with the streaming kernels' gradients."""

    @staticmethod
    def forward(
        ctx: Any, separation: Streamable, mask: Tensor | None, states: Tensor, patterns: Any, values: Any, bias: Any
    ) -> tuple[Tensor, Tensor]:
        problem = Problem(states, patterns, values, bias, mask)
        parts = [_forward(problem.rows(rows), separation) for rows in tiles(problem)]
        mixed = torch.cat([part[0] for part in parts], 1)
        level, reference, bits = (torch.cat(entry, 1) for entry in zip(*(part[1] for part in parts), strict=True))
        ctx.separation, ctx.problem = separation, problem
        dtype = states.dtype
        ctx.save_for_backward(mixed.to(dtype), level.to(dtype), reference.to(dtype), bits.to(dtype))
        return mixed, level.squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        problem: Problem = ctx.problem
        mixed, *normalizer = ctx.saved_tensors
        dtype = problem.states.dtype
        gradients = Gradients(problem, ctx.needs_input_grad[2:])
        for rows in tiles(problem):
            backward_rows(
                problem.rows(rows),
                rows,
                ctx.separation,
                tuple(entry[:, rows] for entry in normalizer),
                (grads[0][:, rows].to(dtype).contiguous(), mixed[:, rows]),
                grads[1][:, rows].to(dtype).unsqueeze(-1),
                gradients,
            )
        found = (gradients.states, gradients.patterns, gradients.values, gradients.bias)
        inputs = (problem.states, problem.patterns, problem.values, problem.bias)
        return None, None, *(None if g is None else g.to(t.dtype) for g, t in zip(found, inputs, strict=True))


def scan(problem: Problem, separation: Streamable) -> tuple[Tensor, Tensor]:
    """Softmax means (1, L, v) and log-sum-exp (1, L) of a problem with B = 1, in float64; differentiable once."""
    if problem.states.device.type == "cpu":
        keep_buffers()
    result: tuple[Tensor, Tensor] = _Scan.apply(separation, problem.mask, *problem[:4])
    return result
