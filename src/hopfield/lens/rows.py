"""What single rows of an attention look like: how many keys carry its mass, how sure and how sensitive it is.

Row after row is measured in tiles of a bounded number of scores, so that memory grows with the length of a sequence and
not with its square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hopfield.core.energy import task_energy
from hopfield.core.separation import Softmax
from hopfield.lens.call import Call
from hopfield.lens.spectrum import jacobian_norms, length2

QUANTITIES = ("k", "attended", "entropy", "energy", "frobenius", "spectral")
"""What `measure` tells of a row, in this order."""

# scores in memory at once
_ENTRIES = 1 << 20
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
    batch, heads = call.query.shape[:2]
    result = torch.full((batch, rows.numel(), heads, len(QUANTITIES)), torch.nan, dtype=torch.float64)
    for tile, found in measured(call, rows, tiles(call, rows), mass):
        result[tile.sequences, tile.places] = found.cpu().double()
    return result


@dataclass(frozen=True)
class Tile:
    """Some query rows of some sequences, as many as are measured at once."""

    sequences: slice
    """Of the batch,"""
    places: slice
    """and of the rows."""


def tiles(call: Call, rows: Tensor) -> list[Tile]:
    """Query rows of an attention in pieces of a bounded number of scores; none if there is nothing to attend to."""
    batch, heads, keys = call.key.shape[:3]
    if not (batch and heads and keys and rows.numel()):
        return []
    together = max(1, _ENTRIES // (heads * keys))  # rows in a tile
    group = max(1, together // rows.numel())  # sequences in a tile
    return [
        Tile(slice(start, start + group), slice(first, first + together))
        for start in range(0, batch, group)
        for first in range(0, rows.numel(), together)
    ]


def measured(call: Call, rows: Tensor, pieces: list[Tile], mass: float) -> Iterator[tuple[Tile, Tensor]]:
    """The quantities (B, r, h, 6) of tiles."""
    room = _Room()
    for tile in pieces:
        if not isinstance(call.separation, Softmax):
            yield tile, _general(call.sequences(tile.sequences), rows[tile.places], mass)
            continue
        if not tile.places.start:
            keys = widened(call, tile)
        logs, facts = begin(call, rows, tile, room, keys)
        yield tile, digest(logs, facts, mass, room.more(logs)).transpose(1, 2)


class _Room:
    """Memory that serves one tile after another: new memory costs as much as the arithmetic."""

    def __init__(self) -> None:
        self._flat: dict[tuple[int, torch.dtype], Tensor] = {}

    def get(self, number: int, shape: tuple[int, ...], dtype: torch.dtype, like: Tensor) -> Tensor:
        """The number-th tensor of that shape, with whatever it holds."""
        size = math.prod(shape)
        flat = self._flat.get((number, dtype))
        if flat is None or flat.numel() < size:
            flat = self._flat[number, dtype] = like.new_empty(size, dtype=dtype)
        return flat[:size].view(shape)

    def more(self, logs: Tensor) -> list[Tensor]:
        """Four more like the logs."""
        return [self.get(number, logs.shape, logs.dtype, logs) for number in range(2, 6)]


@torch.no_grad()
def widened(call: Call, tile: Tile) -> tuple[Tensor, Tensor]:
    """Keys (B, h, N, k) of the sequences of a tile in the type of the scores, and ½|x|², (B, h, 1, N)."""
    processor = call.key.device.type == "cpu"
    wide = torch.float64 if processor else torch.promote_types(call.key.dtype, torch.float32)
    key = call.key[tile.sequences].to(wide)
    return key, length2(key).mT / 2


@torch.no_grad()
def begin(
    call: Call, rows: Tensor, tile: Tile, room: _Room | None = None, keys: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """What there is to know of the rows of a tile before their keys are sorted, for softmax.

    Returns:
        ln(p_i / max p), (B, h, r, N), and three facts, (B, h, r, 3): N, 1/β, and the energy without
        -ln(Σ p_i / max p) / β.
    """
    room = room or _Room()
    narrow = torch.promote_types(call.query.dtype, torch.float32)
    key, height = keys or widened(call, tile)
    call, rows, beta = call.sequences(tile.sequences), rows[tile.places], call.scale
    query = call.query[..., rows, :].to(key.dtype)  # (B, h, r, k)
    shape = (*query.shape[:-1], key.shape[-2])
    scores, logs = room.get(0, shape, key.dtype, key), room.get(1, shape, narrow, key)
    # autocast would take the products back to half precision
    with torch.autocast(scores.device.type, enabled=False):
        torch.matmul(query * beta, key.mT, out=scores)
    mask, bias = call.mask_of(rows), call.bias_of(rows)
    if bias is not None:
        scores += bias
        height = height + bias / beta
    if mask is not None:
        scores.masked_fill_(~mask, -math.inf)
        height = height.masked_fill(~mask, -math.inf)
    top = scores.amax(-1, keepdim=True)
    # differences are as exact in the narrower type as the scores were in the wider
    logs.copy_(scores.sub_(top))
    if mask is not None:
        logs.clamp_(min=_NOTHING)
    attended = attended_by(mask, scores.shape, scores.device)
    energy = (attended.log() - top) / beta + length2(query) / 2 + height.amax(-1, keepdim=True)
    return logs, torch.cat([attended.to(energy.dtype), (1 / beta) * torch.ones_like(energy), energy], -1)


@torch.no_grad()
def digest(logs: Tensor, facts: Tensor, mass: float, rooms: list[Tensor] | None = None) -> Tensor:
    """The quantities (..., 6) of rows of which `begin` told logs (..., N), which are spent, and facts (..., 3)."""
    weights, room, *more = rooms or [torch.empty_like(logs) for _ in range(4)]
    attended, temperature, energy = facts.split(1, -1)
    ascending(logs)
    torch.exp(logs, out=weights)
    total = weights.sum(-1, keepdim=True)
    weights /= total
    log_total = total.log()
    entropy = log_total - logs.mul_(weights).sum(-1, keepdim=True)
    k = _fewest(weights, mass, attended, room)
    first = weights[..., -1:].clone()
    second = weights[..., -2:-1].clone() if weights.shape[-1] > 1 else torch.zeros_like(first)
    weights[..., -2:] = 0
    frobenius, spectral = jacobian_norms(weights, first, second, (room, more[0], more[1])) / temperature
    energy = energy - log_total * temperature
    found = torch.cat([t.to(energy.dtype) for t in (k, attended, entropy, energy, frobenius, spectral)], -1)
    return found.masked_fill_(attended == 0, math.nan)


@torch.no_grad()
def _general(call: Call, rows: Tensor, mass: float) -> Tensor:
    """The quantities (B, r, h, 6) for any separation function; there are no norms."""
    task = call.task(rows)
    scores = task.scores()
    weights = task.weights().to(scores.dtype)
    total = weights.sum(-1, keepdim=True)
    attended = attended_by(call.mask_of(rows), scores.shape, scores.device)
    shares = weights / total
    ascending(shares)
    k = _fewest(shares, mass, attended, torch.empty_like(shares))
    entropy = torch.special.entr(weights).sum(-1, keepdim=True)
    energy = task_energy(task).unsqueeze(-1)
    norm = torch.full_like(energy, math.nan)
    found = torch.cat([t.to(energy.dtype) for t in (k, attended, entropy, energy, norm, norm)], -1)
    return found.masked_fill_(total <= 0, math.nan).transpose(1, 2)


def _fewest(weights: Tensor, mass: float, attended: Tensor, room: Tensor) -> Tensor:
    """How many of the heaviest carry the mass, (..., 1): those that the lightest, summed up, leave."""
    least = 1 - mass + _ROUNDING * torch.finfo(weights.dtype).eps
    torch.cumsum(weights, -1, out=room)
    left = torch.searchsorted(room, torch.full_like(weights[..., :1], least).contiguous(), right=True)
    return (weights.shape[-1] - left).minimum(attended)


def attended_by(mask: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """N of each row, (..., h, r, 1), for scores of a shape (..., h, r, N)."""
    if mask is None:
        return torch.full((*shape[:-1], 1), shape[-1], dtype=torch.float64, device=device)
    # a mask of one column is one for all keys
    count = mask.expand(*mask.shape[:-1], shape[-1]).sum(-1, keepdim=True, dtype=torch.float64)
    return count.expand(*shape[:-1], 1)


def ascending(rows: Tensor) -> None:
    """Sort every row, in place.

    NumPy's sort has vector instructions and takes a twelfth of the time of torch's on a processor. It costs as much as
    three or four passes of a bisection for the mass, which needs eight.
    """
    if rows.device.type == "cpu":
        rows.numpy().sort(-1)
    else:
        rows.copy_(rows.sort(-1).values)
