"""How few of the weights of an association carry most of its mass, for very many associations at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.lens.workspace import Workspace

# passes of the search over rows that are not sorted; they settle 98 rows of 100
_PASSES = 6
# up to so many weights are sorted faster than searched
_FEW = 1 << 19
# a sum of weights reaches a mass up to this many units of its rounding, so that equal weights count as equal
_ROUNDING = 16


def fewest(weights: Tensor, mass: float, entropy: Tensor, attended: Tensor, space: Workspace) -> Tensor:
    """k, the smallest number of weights of a row that together carry a share of it, (..., 1).

    k = N - j, j the largest number of weights, lightest first, that sum up to 1 - mass at most. A row is searched for
    the weight at which that happens, between a lower one, below which there is less, and a higher one, below which
    there is more. It is done once all weights in between would give the same j. Most rows need four passes, and a pass
    costs a tenth of a sort. The first guess takes ln p for normally distributed.

    Args:
        weights: p, (..., N), every row of sum 1.
        mass: the share, in (0, 1].
        entropy: of the rows, (..., 1), in nats.
        attended: how many weights of a row count, (..., 1); the others are 0.
        space: to work in.
    """
    least = (1 - mass) * (1 + _ROUNDING * torch.finfo(weights.dtype).eps)
    size, shape = weights.shape[-1], (*weights.shape[:-1], 1)
    rows = weights.reshape(-1, size)
    entropy, known = (t.to(rows.dtype).reshape(-1) for t in (entropy, attended))
    spread = (2 * (known.log() - entropy)).clamp_(min=1e-6).sqrt_()
    quantile = math.sqrt(2) * torch.erfinv(torch.tensor(2 * min(max(least, 1e-6), 1 - 1e-6) - 1)).item()
    weight = torch.exp(quantile * spread - entropy)
    slope = math.sqrt(2 * math.pi) * math.exp(quantile * quantile / 2)  # of ln p over the mass, in spreads
    # a weight of each row, the number of lighter ones, and their sum: (3, n), of too low and of too high weights
    low, high = torch.zeros(3, 1).to(rows), rows.new_tensor([[2.0], [size], [1.0]])
    light, which = torch.empty_like(weight), torch.arange(len(rows), device=rows.device)  # j
    for number in range(_PASSES if weights.numel() > _FEW else 0):
        found = _below(rows, weight, space)
        over = found[2] > least
        low, high = torch.where(over, low, found), torch.where(over, found, high)
        left = least - low[2]
        fewer = torch.floor(left / high[0])
        between, count, share = high - low
        done = (fewer == torch.floor(left / low[0])).logical_or_(count <= 1)
        # a little to the far side of where a line would meet the mass, so that the interval shrinks from both ends
        share = left / share
        share = share.add_(torch.copysign(0.3 / count.sqrt_(), 0.5 - share)).clamp_(0.01, 0.99)
        between = torch.lerp(low[0].log(), high[0].log(), share).exp_()
        guess = weight * torch.exp((least - found[2]) * slope * spread)
        weight = torch.where(low[0] > 0, between, high[0] * torch.exp(-spread)) if number else guess
        keep = done.logical_not_().nonzero().view(-1)
        if 2 * len(keep) <= len(rows):
            light[which] = low[1] + fewer
            rows = space.some(rows, keep)
            which, spread, weight, low, high = which[keep], spread[keep], weight[keep], low[:, keep], high[:, keep]
    light[which] = _sorted_out(rows, least, space)
    return (size - light).clamp_(min=1).view(shape).minimum(attended)


def _below(rows: Tensor, weights: Tensor, space: Workspace) -> Tensor:
    """A weight of each row, the number of lighter ones, and their sum, (3, n)."""
    room = space.like("room", rows)
    torch.lt(rows, weights.unsqueeze(-1), out=room)
    count = room.sum(-1)
    return torch.stack([weights, count, room.mul_(rows).sum(-1)])


def _sorted_out(rows: Tensor, least: float, space: Workspace) -> Tensor:
    """The number j of the lightest that sum up to no more than `least`, (n,)."""
    room = space.like("room", rows)
    if rows.device.type == "cpu":
        room.copy_(rows).numpy().sort(-1)  # with vector instructions, in a twelfth of the time of torch's
    else:
        room.copy_(rows.sort(-1).values)
    sums = room.cumsum(-1)
    return torch.searchsorted(sums, torch.full_like(sums[:, :1], least), right=True).view(-1).to(rows.dtype)
