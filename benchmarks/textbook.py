"""The formulas of the layers as one would write them down, dense and step by step: what they are compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield import Hopfield, HopfieldPooling


def associate(layer: Hopfield, state: Tensor, stored: Tensor, mask: Tensor | None = None) -> Tensor:
    """Normalise, project, softmax(β Q Kᵀ) V for every head, project: (B, L, d), (B, N, d) -> (B, L, output)."""

    def heads(rows: Tensor, norm: torch.nn.Module | None, projection: torch.nn.Module) -> Tensor:
        rows = rows if norm is None else norm(rows)
        return projection(rows).unflatten(-1, (layer.heads, -1)).transpose(1, 2)  # (B, h, n, k)

    query = heads(state, layer.norm_state, layer.project_state)
    patterns = heads(stored, layer.norm_stored, layer.project_stored)
    values = heads(stored, layer.norm_value, layer.project_value)
    scores = query @ patterns.mT / math.sqrt(layer.head_size)  # (B, h, L, N)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
    found = torch.softmax(scores, -1) @ values
    return layer.project_output(found.transpose(1, 2).flatten(2))


def pool(layer: HopfieldPooling, stored: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same with the layer's states: (B, N, d) -> (B, S, output)."""
    return associate(layer.hopfield, layer.states.expand(stored.shape[0], -1, -1), stored, mask)


def pad(bags: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Bags padded to the longest, and the mask of what is there."""
    padded = torch.nn.utils.rnn.pad_sequence(bags, batch_first=True)
    sizes = torch.tensor([len(bag) for bag in bags], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < sizes[:, None]


def look_up(layer: Hopfield, state: Tensor, patterns: Tensor) -> Tensor:
    """Patterns (N, d) copied and projected for every sample of the batch (B, L, d)."""
    return associate(layer, state, patterns.expand(state.shape[0], -1, -1).contiguous())


__all__ = ["associate", "look_up", "pad", "pool"]
