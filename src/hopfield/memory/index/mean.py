"""Softmax associations over the patterns of few groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hopfield.core.kernels.streaming import refuse_second_derivatives
from hopfield.memory.index.search import Light, Plan, Search, level_of, taken
from hopfield.memory.rows import Rows
from hopfield.memory.scan import Heavy, Pass, Sums, Weigh, finished


def _forward(search: Search, plan: Plan, values: Rows, weigh: Weigh, null: bool, share: float) -> Pass:
    visits = search.again(plan)
    level = level_of(visits(), search.states)
    floor = level + math.log(share)
    reference = torch.where(level == -math.inf, 0.0, level)
    light = Light(reference, values, own=values is search.rows)
    scores, which = search.collect(visits(), floor, light)
    sums, base = Sums(light.total, light.mixed), reference.double()
    whole = sums.plus(weigh(Heavy(which, scores > -math.inf), base, slice(None)))
    if null:
        whole = whole._replace(total=whole.total + torch.exp(-base[:, 0]))
    return finished(whole, base[:, 0], sums)


class _GroupMean(torch.autograd.Function):
    """The mean and the level, whose gradients visit the groups again."""

    @staticmethod
    def forward(
        ctx: Any, search: Search, plan: Plan, values: Rows, weigh: Weigh, null: bool, share: float, states: Tensor
    ) -> Pass:
        found = _forward(search, plan, values, weigh, null, share)
        ctx.mark_non_differentiable(found.light)
        ctx.search, ctx.plan, ctx.values = search, plan, values
        ctx.save_for_backward(found.mean, found.level)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        search: Search = ctx.search
        mean, level = ctx.saved_tensors
        dtype = search.states.dtype
        offset = (grads[1] - (grads[0] * mean).sum(-1)).to(dtype).unsqueeze(-1)
        above = grads[0].to(dtype)
        # in two parts, of which one is small
        reference = level.to(dtype).unsqueeze(-1)
        rest = (level.unsqueeze(-1) - reference).to(dtype)
        result = torch.zeros_like(search.states)
        for visit in search.visits(ctx.plan.wanted):
            who = visit.states
            weights = visit.scores.sub_(reference[who]).sub_(rest[who]).exp_()
            values = visit.patterns if ctx.values is search.rows else taken(ctx.values, visit.which)
            slopes = torch.bmm(above[who], values.mT).add_(offset[who]).mul_(weights)
            result.index_add_(0, who.flatten(), torch.bmm(slopes, visit.patterns).flatten(0, 1))
        return None, None, None, None, None, None, result


def group_mean(search: Search, plan: Plan, values: Rows, weigh: Weigh, *, null: bool, share: float) -> Pass:
    """Softmax over the patterns of the groups that a plan wants; differentiable once, in `search.states`.

    Args:
        search: the states, and where they look.
        plan: which groups.
        values: whose mean is taken.
        weigh: for patterns that are set aside.
        null: whether there is a pattern of score and value 0.
        share: patterns that weigh this share of the whole are set aside.
    """
    return Pass(*_GroupMean.apply(search, plan, values, weigh, null, share, search.states))
