"""How few of the weights of an association carry most of its mass, for very many associations at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.lens.workspace import Workspace

# passes of the search over rows that are not sorted; they settle 98 rows of 100
_PASSES = 6
# passes after which hardly a row is done
_SURE = 2
# up to so many weights are sorted faster than searched on a processor; on an accelerator any number
_FEW = 1 << 19
# a sum of weights reaches a mass up to this many units of its rounding, so that equal weights count as equal
_ROUNDING = 16


def fewest(weights: Tensor, mass: float, entropy: Tensor, attended: Tensor, space: Workspace) -> Tensor:
    """k, the smallest number of weights of a row that together carry a share of it, (..., 1).

    k = N - j, j the largest number of weights, lightest first, that sum up to 1 - mass at most. A row is searched for
    the weight at which that happens, between a lower one, below which there is less, and a higher one, below which
    there is more. It is done once all weights in between would give the same j. Most rows need three passes, and a pass
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
    slope = math.sqrt(2 * math.pi) * math.exp(quantile * quantile / 2)  # of ln p over the mass, in spreads
    log = quantile * spread - entropy
    # ln of a weight, the weight, the number of lighter ones, and their sum: for too low and too high weights, (2, 4, n)
    bounds = rows.new_tensor([[0, 0, 0, 0], [math.log(2), 2, size + 1, 1]]).unsqueeze(-1).repeat(1, 1, len(rows))
    bounds[0, 0] = log - 2 * spread  # ln 0 would be no place to step from
    light, which = torch.empty_like(log), torch.arange(len(rows), device=rows.device)  # j
    for number in range(_PASSES if weights.numel() > _FEW and rows.device.type == "cpu" else 0):
        found = _below(rows, log, space)
        over = torch.gt(found[3], least, out=torch.empty_like(log))  # 0 or 1, to choose by: faster than `where`
        bounds = torch.lerp(bounds, found, torch.stack([1 - over, over]).unsqueeze(1))
        width, _, between, share = bounds[1] - bounds[0]
        start, low, fewer, sums = bounds[0]
        left = least - sums
        # to where a curve, and then a line, would meet the mass, and a little on: the interval shrinks from both ends
        if number:
            share = left / share
            share = share.add_(torch.copysign(between.rsqrt(), 0.5 - share), alpha=0.2).clamp_(0.01, 0.99)
            log = torch.addcmul(start, share, width)
        else:
            log = torch.addcmul(log, least - found[3], spread, value=1.3 * slope).clamp_(max=0)
        if number < _SURE:
            continue
        more = torch.div(left, bounds[1, 1]).floor_()
        # done if one more would be too much even if all were the lowest, or if there is only one in between
        keep = (torch.addcmul(left - low, more, low, value=-1).minimum(between - 1.5) >= 0).nonzero().view(-1)
        if 2 * len(keep) <= len(rows):
            light[which] = fewer + more
            rows = space.some(rows, keep)
            which, log, bounds = which[keep], log[keep], bounds[..., keep]
    light[which] = _sorted_out(rows, least, space)
    return (size - light).clamp_(min=1).view(shape).minimum(attended)


def _below(rows: Tensor, log: Tensor, space: Workspace) -> Tensor:
    """ln of a weight of each row, the weight, the number of lighter ones, and their sum, (4, n)."""
    room, weight = space.like("room", rows), log.exp()
    torch.lt(rows, weight.unsqueeze(-1), out=room)
    count = room.sum(-1)
    return torch.stack([log, weight, count, room.mul_(rows).sum(-1)])


def _sorted_out(rows: Tensor, least: float, space: Workspace) -> Tensor:
    """The number j of the lightest that sum up to no more than `least`, (n,)."""
    room = space.like("room", rows)
    if rows.device.type == "cpu":
        room.copy_(rows).numpy().sort(-1)  # with vector instructions, in a twelfth of the time of torch's
    else:
        room.copy_(rows.sort(-1).values)
    sums = room.cumsum(-1)
    return torch.searchsorted(sums, torch.full_like(sums[:, :1], least), right=True).view(-1).to(rows.dtype)
