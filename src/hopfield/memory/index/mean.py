"""Softmax associations over the patterns of few groups."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from hopfield.core.kernels.streaming import refuse_second_derivatives
from hopfield.core.separation.base import finite
from hopfield.memory.aside import Heavy
from hopfield.memory.index.search import LEAST, Found, Plan, Search
from hopfield.memory.index.visits import Visit
from hopfield.memory.rows import Rows, TensorRows
from hopfield.memory.scan import Pass, Weigh, finished
from hopfield.memory.sums import Sums


def _forward(search: Search, plan: Plan, values: Rows, weigh: Weigh, null: bool, share: Tensor) -> Pass:
    visits = search.again(plan)
    top = _highest(visits(), search.states)
    nothing = top == -math.inf
    reference = finite(top)
    # both are less than the level of all
    floor = torch.where(nothing, math.inf, torch.maximum(top, plan.level) + share.log().to(top.dtype))
    heavy = Found()
    total = torch.zeros(top.shape[0], dtype=torch.float64, device=top.device)
    mixed = total.new_zeros(top.shape[0], values.width)
    for visit in visits():
        who = visit.states.flatten()
        weights = visit.scores - reference[visit.states]
        weights[heavy.add(visit, visit.scores >= floor[visit.states])] = LEAST
        weights = weights.clamp_(min=LEAST).exp_()
        total.index_add_(0, who, weights.sum(-1, dtype=torch.float64).flatten())
        mixed.index_add_(0, who, values.sums(weights, visit.which).flatten(0, 1).double())
    light = Sums(total.masked_fill_(nothing[:, 0], 0.0), mixed.masked_fill_(nothing, 0.0))
    scores, which = heavy.packed(top)
    sums, own = weigh(Heavy(which, scores > -math.inf), slice(None))
    base = top.double()
    if null:  # a pattern of score and value 0
        risen = own.clamp(min=0.0)
        sums, own = sums.times(torch.exp(own - risen)), risen
        sums = sums._replace(total=sums.total + torch.exp(-own[:, 0]))
    return finished(light, base, (sums, own), plan.rest)


def _highest(visits: Iterable[Visit], states: Tensor) -> Tensor:
    """The largest score of each state (L, d) in some visits, (L, 1); -inf where it has none."""
    found = [(visit.states.flatten(), visit.scores.amax(-1).flatten()) for visit in visits]
    top = states.new_full((states.shape[0],), -math.inf)
    if found:
        who, scores = (torch.cat(entry) for entry in zip(*found, strict=True))
        top.scatter_reduce_(0, who, scores, "amax")
    return top.unsqueeze(-1)


class _GroupMean(torch.autograd.Function):
    """The mean and the level, whose gradients visit the groups again."""

    @staticmethod
    def forward(
        ctx: Any, search: Search, plan: Plan, values: Rows, weigh: Weigh, null: bool, share: Tensor, states: Tensor
    ) -> Pass:
        found = _forward(search, plan, values, weigh, null, share)
        ctx.mark_non_differentiable(found.light, found.part, found.rest)
        ctx.search, ctx.plan, ctx.values = search, plan, values
        # inputs are saved so that it is noticed if they are written to
        inputs = (rows.tensor for rows in (search.rows, values) if isinstance(rows, TensorRows))
        ctx.save_for_backward(found.mean, found.level, *inputs)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        search: Search = ctx.search
        mean, level, *_ = ctx.saved_tensors
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
            slopes = ctx.values.products(above[who], visit.which).add_(offset[who]).mul_(weights)
            result.index_add_(0, who.flatten(), search.rows.sums(slopes, visit.which).flatten(0, 1))
        return None, None, None, None, None, None, result


def group_mean(search: Search, plan: Plan, values: Rows, weigh: Weigh, *, null: bool, share: Tensor) -> Pass:
    """Softmax over the patterns of the groups that a plan wants; differentiable once, in `search.states`.

    Args:
        search: the states, and where they look.
        plan: which groups.
        values: whose mean is taken.
        weigh: for patterns that are set aside.
        null: whether there is a pattern of score and value 0.
        share: patterns that weigh this share of the whole are set aside, (L, 1).
    """
    return Pass(*_GroupMean.apply(search, plan, values, weigh, null, share, search.states))
