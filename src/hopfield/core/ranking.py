"""Which patterns carry the weight of an association, without sorting or keeping all weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from hopfield.core.kernels.streaming import Problem, blocks, in_units, normalizers, scores, tiles, weights_of
from hopfield.core.separation import Streamable
from hopfield.core.separation.gather import largest
from hopfield.core.task import Task

# how many of the largest weights are looked at before whole rows are sorted
_FEW = 256
# weights in memory at once when whole rows are sorted
_ENTRIES = 1 << 24
# weights of a row are counted up to this many units of rounding, so that equal weights count as equal
_ROUNDING = 16


def top(task: Task, k: int) -> tuple[Tensor, Tensor]:
    """The k largest weights, descending, and their patterns: two tensors (*batch, L, k)."""
    if not (isinstance(task.separation, Streamable) and task.large()):
        pieces = [tuple(part.topk(k, -1)) for part in _dense_rows(task)]
    else:
        # weights grow with scores, so the largest scores name the patterns
        problem = task.problem(with_values=False)
        pieces = [_top_streaming(problem.rows(rows), task.separation, k) for rows in tiles(problem)]
    found = [torch.cat(tensors, 1) for tensors in zip(*pieces, strict=True)]
    lead = (*task.batch, task.query.shape[-2])
    return found[0].reshape(*lead, k).to(task.dtype), found[1].reshape(*lead, k)


def _top_streaming(problem: Problem, separation: Streamable, k: int) -> tuple[Tensor, Tensor]:
    scaled, scale = in_units(problem, separation)
    best, indices = largest(lambda: (scores(scaled, block, scale) for block in blocks(problem)), k)
    return weights_of(best, separation, normalizers(problem, separation)), indices


def support(task: Task, mass: float) -> Tensor:
    """The smallest number of patterns that carry the share `mass` of each state's weight, int64 (*batch, L)."""
    count = task.patterns.shape[-2]
    lead = (*task.batch, task.query.shape[-2])
    if count == 0:
        return torch.zeros(lead, dtype=torch.int64, device=task.query.device)
    few = min(count, _FEW)
    weights = top(replace(task, query=task.query.to(task.compute_dtype)), few)[0]
    if isinstance(task.separation, Streamable) and task.separation.sums_to_one:
        total = (weights[..., :1] > 0).to(weights.dtype)
    else:
        total = torch.cat([_sum(part) for part in _dense_rows(task)], 1).reshape(*lead, 1)
    result = count_of(weights, mass * total)
    if bool((result > few).any()):
        parts = [count_of(part.sort(-1, descending=True).values, mass * _sum(part)) for part in _dense_rows(task)]
        result = torch.cat(parts, 1).reshape(lead)
    return result


def _sum(weights: Tensor) -> Tensor:
    return weights.sum(-1, keepdim=True)


def count_of(descending: Tensor, needed: Tensor) -> Tensor:
    """How many of the first weights reach `needed` (*batch, L, 1); one more than there are if all do not."""
    slack = _ROUNDING * torch.finfo(descending.dtype).eps
    reached = descending.cumsum(-1) >= needed * (1 - slack)
    first = (~reached).sum(-1) + 1
    return torch.where(needed.squeeze(-1) > 0, first, 0)


def _dense_rows(task: Task) -> Iterator[Tensor]:
    """All weights of some states at a time, (B, some states, N), in the canonical form of the kernels."""
    problem = task.problem(with_values=False)
    batch, states, _ = problem.states.shape
    count = task.patterns.shape[-2]
    size = max(1, _ENTRIES // max(1, batch * count))
    for start in range(0, max(1, states), size):
        yield task.separation.weights(scores(problem.rows(slice(start, start + size)), slice(0, count)))
