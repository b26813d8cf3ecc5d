"""What single rows of an attention look like: how many keys carry its mass, how sure and how sensitive it is.

Row after row is measured in tiles of a bounded number of scores, so that memory grows with the length of a sequence and
not with its square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from hopfield.core.energy import task_energy
from hopfield.core.separation import Softmax
from hopfield.lens.call import Call
from hopfield.lens.mass import fewest
from hopfield.lens.spectrum import jacobian_norms, length2
from hopfield.lens.workspace import Workspace

QUANTITIES = ("k", "attended", "entropy", "energy", "frobenius", "spectral")
"""What `measure` tells of a row, in this order."""

# scores in memory at once: what fits the last cache of a processor, and what keeps an accelerator busy
_ENTRIES = 3 << 19
_ENTRIES_ACCELERATOR = 1 << 23
# log of a weight that counts for nothing
_NOTHING = -1e4
# scores are counted in bits, because powers of 2 take half the time of powers of e
_BIT = math.log(2)


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
        (B, r, h, 6), NaN for rows that attend to nothing, or whose scores are NaN.
    """
    batch, heads = call.query.shape[:2]
    result = torch.full((batch, rows.numel(), heads, len(QUANTITIES)), torch.nan, dtype=torch.float64)
    for tile, found, _ in measured(call, rows, tiles(call, rows), mass, Workspace()):
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
    entries = _ENTRIES if call.key.device.type == "cpu" else _ENTRIES_ACCELERATOR
    number = math.ceil(rows.numel() / max(1, entries // (heads * keys)))  # tiles in a sequence
    together = math.ceil(rows.numel() / number)  # rows in a tile
    group = max(1, entries // (heads * keys * together))  # sequences in a tile
    return [
        Tile(slice(start, start + group), slice(first, first + together))
        for start in range(0, batch, group if number == 1 else 1)
        for first in range(0, rows.numel(), together)
    ]


def measured(
    call: Call, rows: Tensor, pieces: list[Tile], mass: float, space: Workspace
) -> Iterator[tuple[Tile, Tensor, Tensor]]:
    """The quantities (B, r, h, 6) of tiles, and which rows attend to anything, (B, r)."""
    for tile in pieces:
        if not isinstance(call.separation, Softmax):
            found = _general(call.sequences(tile.sequences), rows[tile.places], mass, space)
            yield tile, found, ~found[..., 0].isnan().all(-1)
            continue
        if not tile.places.start:
            keys = widened(call, tile)
        weights, facts = begin(call, rows, tile, space, keys)
        yield tile, digest(weights, facts, mass, space).transpose(1, 2), attending(facts)


@torch.no_grad()
def widened(call: Call, tile: Tile) -> tuple[Tensor, Tensor]:
    """Keys (B, h, N, k) of the sequences of a tile in the type of the scores, and ½|x|², (B, h, 1, N)."""
    processor = call.key.device.type == "cpu"
    wide = torch.float64 if processor else torch.promote_types(call.key.dtype, torch.float32)
    key = call.key[tile.sequences].to(wide)
    return key, length2(key).mT / 2


@torch.no_grad()
def begin(
    call: Call, rows: Tensor, tile: Tile, space: Workspace, keys: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The weights of a tile, and what is known before they are lost, for softmax.

    Returns:
        p, (B, h, r, N), in the workspace, and five facts, (B, h, r, 5): N, 1/β, energy, entropy, and the largest p.
    """
    key, height = keys or widened(call, tile)
    beta = torch.as_tensor(call.scale, dtype=key.dtype, device=key.device)
    call, rows = call.sequences(tile.sequences), rows[tile.places]
    query = call.query.index_select(-2, rows).to(key.dtype)  # (B, h, r, k)
    mask, bias = call.mask_and_bias(rows)
    shape, narrow = (*query.shape[:-1], key.shape[-2]), torch.promote_types(call.query.dtype, torch.float32)
    scores = space.get("room", shape, key.dtype, key.device)
    logs, weights = (space.get(name, shape, narrow, key.device) for name in ("logs", "weights"))
    # autocast would take products of single precision back to half
    with nullcontext() if key.dtype == torch.float64 else torch.autocast(key.device.type, enabled=False):
        torch.matmul(query * (beta / _BIT), key.mT, out=scores)
    if bias is not None:
        scores.add_(bias, alpha=1 / _BIT)
        height = height + bias.to(key.dtype) / beta
    if mask is not None:
        scores.masked_fill_(~mask, -math.inf)
        height = height.masked_fill(~mask, -math.inf)
    top = scores.amax(-1, keepdim=True)
    # differences are as exact in the narrower type as the scores were in the wider
    logs.copy_(scores.sub_(top))
    if mask is not None or bias is not None:
        logs.clamp_(min=_NOTHING)
    total = torch.exp2(logs, out=weights).sum(-1, keepdim=True)  # of p over the largest p
    heaviest = total.reciprocal()
    weights *= heaviest
    entropy = total.log() - _BIT * logs.mul_(weights).sum(-1, keepdim=True)
    attended = attended_by(mask, shape, key.device)
    energy = (attended.log() - _BIT * top - total.log()) / beta + length2(query) / 2 + height.amax(-1, keepdim=True)
    temperature = beta.reciprocal().expand_as(energy)
    return weights, torch.cat([t.to(energy.dtype) for t in (attended, temperature, energy, entropy, heaviest)], -1)


def attending(facts: Tensor) -> Tensor:
    """Which rows attend to anything, (B, r), by the facts that `begin` told."""
    return facts[..., 0].ne(0).any(1)


@torch.no_grad()
def digest(weights: Tensor, facts: Tensor, mass: float, space: Workspace) -> Tensor:
    """The quantities (..., 6) of rows of which `begin` told the weights (..., N), which are spent, and the facts."""
    attended, temperature, energy, entropy, heaviest = facts.split(1, -1)
    k = fewest(weights, mass, entropy, attended, space)
    frobenius, spectral = jacobian_norms(weights, heaviest, space) / temperature.abs()
    found = torch.cat([t.to(energy.dtype) for t in (k, attended, entropy, energy, frobenius, spectral)], -1)
    return found.masked_fill_((attended == 0) | heaviest.isnan(), math.nan)


@torch.no_grad()
def _general(call: Call, rows: Tensor, mass: float, space: Workspace) -> Tensor:
    """The quantities (B, r, h, 6) for any separation function; there are no norms."""
    task = call.task(rows)
    scores = task.scores()
    weights = task.weights().to(scores.dtype)
    total = weights.sum(-1, keepdim=True)
    attended = attended_by(task.mask, scores.shape, scores.device)
    entropy = torch.special.entr(weights).sum(-1, keepdim=True)
    k = fewest(weights / total, mass, entropy, attended, space)
    energy = task_energy(task).unsqueeze(-1)
    norm = torch.full_like(energy, math.nan)
    found = torch.cat([t.to(energy.dtype) for t in (k, attended, entropy, energy, norm, norm)], -1)
    return found.masked_fill_(total <= 0, math.nan).transpose(1, 2)


def attended_by(mask: Tensor | None, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """N of each row, (..., h, r, 1), for scores of a shape (..., h, r, N)."""
    if mask is None:
        return torch.full((*shape[:-1], 1), shape[-1], dtype=torch.float64, device=device)
    # a mask of one column is one for all keys
    count = mask.expand(*mask.shape[:-1], shape[-1]).sum(-1, keepdim=True, dtype=torch.float64)
    return count.expand(*shape[:-1], 1)
