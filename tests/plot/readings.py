"""Reports of heads that were never there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hopfield.lens import HeadReport, LayerReading
from hopfield.lens.report import BOUNDS

LEAST = 32


def layer(name: str, k: Tensor, keys: Tensor | float = 512.0) -> LayerReading:
    """A layer whose rows have these k, (n, heads), NaN for replaced heads, of one number of keys or (n, heads)."""
    k = k.double()
    attended = torch.as_tensor(keys, dtype=torch.float64).expand_as(k).masked_fill(k.isnan(), torch.nan)
    counts = attended >= LEAST
    above = [((k > bound * attended) & counts).sum(0) for bound in BOUNDS]
    by_class = torch.stack([torch.zeros_like(above[0]), *above, counts.sum(0)]).diff(dim=0).T
    sample = torch.stack([k, attended, k.log(), k, 1 / k, 1 / k], -1)
    landings = torch.stack([k * 0 + 3, k * 0 + 0.5, k, attended, k * 0 + 1], -1)[:4]
    return LayerReading(name, k.shape[1], len(k), by_class, sample.mean(0), sample, landings)


def report(*layers: LayerReading) -> HeadReport:
    """A report of layers."""
    return HeadReport(layers, 0.9, LEAST)


def spread(medians: Sequence[float], rows: int = 101, keys: float = 512.0) -> Tensor:
    """k around medians, (rows, heads), whole numbers whose median it is."""
    around = torch.linspace(-0.5, 0.5, rows).exp()[:, None] * torch.tensor(medians)
    return around.round().clamp(1, keys)
