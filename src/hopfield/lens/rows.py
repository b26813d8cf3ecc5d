"""What single rows of an attention look like: how many keys carry its mass, how sure and how sensitive it is.

Row after row is measured in tiles of a bounded number of scores, so that memory grows with the length of a sequence and
not with its square.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.core.energy import task_energy
from hopfield.core.separation import Softmax
from hopfield.lens.call import Call
from hopfield.lens.spectrum import jacobian_norms

QUANTITIES = ("k", "attended", "entropy", "energy", "frobenius", "spectral")
"""What `measure` tells of a row, in this order."""

# scores in memory at once
_ENTRIES = 1 << 19
# a sum of weights reaches a mass up to this many units of rounding, so that equal weights count as equal
_ROUNDING = 16
# log of a weight that counts for nothing
_NOTHING = -1e4


def measure(call: Call, rows: Tensor, mass: float) -> Tensor:
    """The quantities of some query rows.

    With s the scores of a row, p = softmax(s), N the number of keys that it attends to (not masked), β the scale:

        k          the smallest number of keys that together carry the share `mass` of p
        attended   N
        entropy    -Σ p_i ln p_i, in nats
        energy     -lse(s)/β + ½|ξ|² + ln(N)/β + max_i (½|x_i|² + b_i), ξ the query and x_i the keys
        frobenius  ‖β (diag p - p pᵀ)‖_F, the norm of the softmax Jacobian
        spectral   ‖β (diag p - p pᵀ)‖₂

    Scores are computed in float64 on a processor (elsewhere in float32 at least), and what follows in float32 at
    least. For separation functions other than softmax the norms are NaN.

    Args:
        call: the attention.
        rows: int64 (r,), numbers of query rows.
        mass: the share that counts as all, in (0, 1].

    Returns:
        (B, r, h, 6), NaN for rows that attend to nothing.
    """
    batch, heads, keys = call.key.shape[:3]
    # autocast would take the products back to half precision
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        if keys == 0 or rows.numel() == 0:
            return call.query.new_full((batch, rows.numel(), heads, len(QUANTITIES)), math.nan, dtype=torch.float32)
        tiles = rows.split(max(1, _ENTRIES // (batch * heads * keys)))
        if isinstance(call.separation, Softmax):
            room = _Room(call, tiles[0].numel())
            parts = [room.measure(part, mass) for part in tiles]
        else:
            parts = [_general(call, part, mass) for part in tiles]
    return torch.cat(parts, 2).permute(0, 2, 1, 3)


class _Room:
    """Keys, and memory for one tile of scores that serves all tiles: new memory costs as much as the arithmetic."""

    def __init__(self, call: Call, rows: int) -> None:
        self.call = call
        self.beta: float | Tensor = call.scale
        if isinstance(self.beta, Tensor):  # one for each head
            self.beta = self.beta.to(call.key.device).expand(call.key.shape[0], call.heads, 1, 1).flatten(0, 1)
        wide = torch.float64 if call.key.device.type == "cpu" else torch.promote_types(call.key.dtype, torch.float32)
        narrow = torch.promote_types(call.query.dtype, torch.float32)
        self.key = call.key.to(wide).flatten(0, 1).mT  # (B h, k, N)
        self.height = self.key.square().sum(-2, keepdim=True).unflatten(0, call.key.shape[:2]) / 2  # (B, h, 1, N)
        self.rising = self.height.cummax(-1).values if call.causal and call.mask is None else None
        shape = (self.key.shape[0], rows, self.key.shape[-1])
        self.scores = self.key.new_empty(shape)
        self.rooms = [self.key.new_empty(shape, dtype=narrow) for _ in range(5)]

    def measure(self, rows: Tensor, mass: float) -> Tensor:
        """(B, h, r, 6)"""
        call, count = self.call, rows.numel()
        beta, (batch, heads), keys = self.beta, call.query.shape[:2], self.key.shape[-1]
        query = call.query[..., rows, :].to(self.key.dtype)
        # a part of the rows of a tile would not be contiguous
        size = batch * heads * count * keys
        scores = self.scores.view(-1)[:size].view(-1, count, keys)
        logs, weights, *rooms = (t.view(-1)[:size].view_as(scores) for t in self.rooms)
        query = query.flatten(0, 1)
        torch.bmm(query * beta, self.key, out=scores)
        mask, bias = call.mask_of(rows), call.bias_of(rows)
        by_head = scores.unflatten(0, (batch, heads))
        if bias is not None:
            by_head += bias
        if mask is not None:
            by_head.masked_fill_(~mask, -math.inf)
        top = scores.amax(-1, keepdim=True)
        # differences are as exact in the narrower type as the scores were in the wider; NaN if there is no key
        torch.sub(scores, top, out=logs).clamp_(min=_NOTHING)
        ascending(logs)
        torch.exp(logs, out=weights)
        total = weights.sum(-1, keepdim=True)
        weights /= total
        entropy = total.log() - logs.mul_(weights).sum(-1, keepdim=True)
        attended = _attended(call, rows, mask).reshape_as(top)
        k = _fewest(weights, mass, attended, rooms[0])
        lse = top + total.log()
        peak = self._peak(rows, mask, bias).expand(batch, heads, count).reshape_as(top)
        energy = (attended.log() - lse) / beta + query.square().sum(-1, keepdim=True) / 2 + peak
        first, second = weights[..., -1:].clone(), weights[..., -2:-1].clone()
        weights[..., -2:] = 0
        if keys == 1:
            second = torch.zeros_like(first)
        frobenius, spectral = beta * jacobian_norms(weights, first, second, (rooms[0], rooms[1], rooms[2]))
        found = torch.cat([t.to(energy.dtype) for t in (k, attended, entropy, energy, frobenius, spectral)], -1)
        return found.masked_fill_(top == -math.inf, math.nan).unflatten(0, (batch, heads))

    def _peak(self, rows: Tensor, mask: Tensor | None, bias: Tensor | None) -> Tensor:
        """max_i (½|x_i|² + b_i) over the keys that a row attends to, (B, h, r or 1)."""
        if bias is None and self.rising is not None:
            return self.rising[..., 0, rows]
        height = self.height if bias is None else self.height + bias
        if mask is not None:
            height = torch.where(mask, height, -math.inf)
        return height.amax(-1)


def _general(call: Call, rows: Tensor, mass: float) -> Tensor:
    """The same for any separation function, but for the norms."""
    task = call.task(rows)
    scores = task.scores()
    weights = task.weights().to(scores.dtype)
    total = weights.sum(-1, keepdim=True)
    attended = _attended(call, rows, call.mask_of(rows)).unsqueeze(-1)
    share = weights / total
    ascending(share)
    k = _fewest(share, mass, attended, torch.empty_like(share))
    entropy = torch.special.entr(weights).sum(-1, keepdim=True)
    energy = task_energy(task).unsqueeze(-1)
    norm = torch.full_like(energy, math.nan)
    found = torch.cat([t.to(energy.dtype) for t in (k, attended, entropy, energy, norm, norm)], -1)
    return found.masked_fill_(total <= 0, math.nan)


def _fewest(weights: Tensor, mass: float, attended: Tensor, room: Tensor) -> Tensor:
    """How many of the heaviest carry the mass, (..., 1): those that the lightest, summed up, leave."""
    least = 1 - mass * (1 - _ROUNDING * torch.finfo(weights.dtype).eps)
    torch.cumsum(weights, -1, out=room)
    left = torch.searchsorted(room, torch.full_like(weights[..., :1], least).contiguous(), right=True)
    return (weights.shape[-1] - left).minimum(attended)


def _attended(call: Call, rows: Tensor, mask: Tensor | None) -> Tensor:
    """N of each row, (B, h, r), float64."""
    shape = (*call.query.shape[:2], rows.numel())
    keys = call.key.shape[-2]
    if mask is None:
        return torch.full(shape, keys, dtype=torch.float64, device=rows.device)
    # a mask of one column is one for all keys
    count = mask.expand(*mask.shape[:-1], keys).sum(-1, dtype=torch.float64)
    return count.expand(shape)


def ascending(rows: Tensor) -> None:
    """Sort every row, in place.

    NumPy's sort has vector instructions and takes a twelfth of the time of torch's on a processor. It costs as much as
    three or four passes of a bisection for the mass, which needs eight.
    """
    if rows.device.type == "cpu":
        rows.numpy().sort(-1)
    else:
        rows.copy_(rows.sort(-1).values)
