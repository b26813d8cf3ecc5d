"""Collecting the few scores of a long row that matter, from blocks of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.core.separation.base import Blocks

# entries collected at most: their rows, columns and values take some 100 MB
LIMIT = 1 << 22
# group maxima kept for a row
_GROUPS = 1 << 14


def above(blocks: Blocks, floor: Tensor, limit: int = LIMIT) -> tuple[Tensor, Tensor] | None:
    """The scores of each row that reach its floor (*batch, 1), in order of their patterns.

    Returns:
        Scores (*batch, K), padded with -inf, and the patterns' indices; None if there are more than `limit` in all.
    """
    lead = floor.shape[:-1]
    floor = torch.where(floor == -math.inf, math.inf, floor).reshape(-1, 1)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    total = offset = 0
    for scores in blocks():
        flat = scores.reshape(floor.shape[0], scores.shape[-1])
        row, column = (flat >= floor).nonzero(as_tuple=True)
        total += row.numel()
        if total > limit:
            return None
        found.append((row, column + offset, flat[row, column]))
        offset += flat.shape[1]
    row, column, value = (torch.cat(parts) for parts in zip(*found, strict=True))
    values, columns = packed(row, column, value, floor.shape[0])
    return values.reshape(*lead, values.shape[1]), columns.reshape(*lead, values.shape[1])


def packed(row: Tensor, column: Tensor, value: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Entries (row, column, value) as values (rows, K), padded with -inf, and columns (rows, K)."""
    order = row.argsort(stable=True)
    row, column, value = row[order], column[order], value[order]
    counts = torch.bincount(row, minlength=rows)
    place = torch.arange(row.shape[0], device=row.device) - (counts.cumsum(0) - counts)[row]
    width = max(1, int(counts.max())) if counts.numel() else 1
    values = value.new_full((rows, width), -math.inf)
    columns = column.new_zeros((rows, width))
    values[row, place] = value
    columns[row, place] = column
    return values, columns


def largest(blocks: Blocks, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row (all, if there are fewer), descending, and their patterns: (*batch, k) each.

    One pass finds maxima of groups, whose k-th largest is a floor for the k-th largest score; a second one collects
    the few scores that reach it.
    """
    heads = maxima(blocks, k)
    k = min(k, heads.shape[-1])
    floor = heads.topk(k, -1).values[..., -1:]
    collected = None if bool((floor == -math.inf).any()) else above(blocks, floor)
    if collected is None:  # too many ties, or a row with too few finite scores
        return _merged(blocks, k)
    scores, order = collected[0].topk(k, -1)
    return scores, collected[1].gather(-1, order)


def maxima(blocks: Blocks, k: int) -> Tensor:
    """Maxima of groups of scores, at least k of them if a row has as many scores, so they hold k different scores.

    One pass; (*batch, G) with G some thousands, the largest maximum among them. Whatever is solved over them bounds
    what is solved over the whole row.
    """
    kept: list[Tensor] = []
    width = 0
    for scores in blocks():
        length = scores.shape[-1]
        group = max(1, min(64, length // max(1, k)))
        even = length - length % group
        kept += [scores[..., :even].unflatten(-1, (-1, group)).amax(-1), scores[..., even:]]
        width += even // group + length - even
        if width > _GROUPS + k:
            width = max(k, _GROUPS // 2)
            kept = [torch.cat(kept, -1).topk(width, -1).values]
    return torch.cat(kept, -1)


def _merged(blocks: Blocks, k: int) -> tuple[Tensor, Tensor]:
    """The same block by block, slowly."""
    best: Tensor | None = None
    indices: Tensor | None = None
    offset = 0
    for scores in blocks():
        here, at = scores.topk(min(k, scores.shape[-1]), -1)
        at = at + offset
        if best is not None and indices is not None:
            here, at = torch.cat([best, here], -1), torch.cat([indices, at], -1)
        best, order = here.topk(min(k, here.shape[-1]), -1)
        indices = at.gather(-1, order)
        offset += scores.shape[-1]
    assert best is not None, "a pass over the patterns yields at least one block"
    assert indices is not None
    return best, indices
