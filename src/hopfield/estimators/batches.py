"""What networks of bags learn from: batches of bags, samples of their instances, validation parts, and losses."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor

from hopfield.bags import Bags
from hopfield.errors import HopfieldError


def pieces(bags: Bags, size: int, order: Tensor | None = None) -> Iterator[Tensor]:
    """Bags in this order, in pieces of at most `size` instances or of one bag: (b,) each."""
    order = torch.arange(len(bags)) if order is None else order
    sizes = bags.sizes[order].clamp_min(1).tolist()  # many empty bags are work too
    first = filled = 0
    for i, count in enumerate(sizes):
        if i > first and filled + count > size:
            yield order[first:i]
            first, filled = i, 0
        filled += count
    if first < len(sizes):
        yield order[first:]


def sample(bags: Bags, members: int, dropout: float) -> tuple[Tensor | None, Tensor | None]:
    """Which instances every member sees: offsets (B + 1,), the same for all, and rows (M, n); None: all of them.

    All members see as many of a bag, so that their batches have one shape; at least one.
    """
    if not dropout or not bags.total:
        return None, None
    sizes = bags.sizes
    counts = (sizes * (1 - dropout) + torch.rand(len(bags))).long().clamp_min(1).minimum(sizes)
    segments = bags.segments()
    order = (segments + torch.rand(members, bags.total, device=bags.device, dtype=torch.float64)).argsort(1)
    place = torch.arange(bags.total, device=bags.device) - bags.offsets[:-1].to(bags.device)[segments]
    rows = order[:, place < counts.to(bags.device)[segments]]  # bag by bag, each in random order
    return F.pad(counts.cumsum(0), (1, 0)), rows


def held_out(targets: Tensor, weights: Tensor, fraction: float, seed: int) -> Tensor:
    """Validation bags of every member among those it would learn from, those of a weight (M, B): bool (M, B).

    Raises:
        HopfieldError: too few bags.
    """
    held = torch.zeros_like(weights, dtype=torch.bool)
    for member, row in enumerate(weights > 0):
        own = row.nonzero().squeeze(1)
        split = StratifiedShuffleSplit(1, test_size=fraction, random_state=(seed + member) % 2**31)
        try:
            _, chosen = next(split.split(own.numpy(), targets[own].numpy()))
        except ValueError as error:
            raise HopfieldError(
                f"early_stopping needs bags of every class in both parts, and there are only {len(own)} bags: "
                f"{error}; use more bags, another validation_fraction, or early_stopping=False"
            ) from error
        held[member, own[torch.from_numpy(chosen)]] = True
        for part, name in ((held[member], "validation"), (held[member].logical_not() & (row), "learning")):
            if len(targets[part].unique()) < len(targets[own].unique()):
                raise HopfieldError(
                    f"early_stopping leaves a class without bags for {name}; use more bags, another "
                    "validation_fraction, or early_stopping=False"
                )
    return held


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted sums (M,) of the cross entropies of logits (M, B, C), one logit for two classes.

    A share `smoothing` of every label is spread evenly over all classes.
    """
    if logits.shape[-1] == 1:
        wanted = (targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2).expand(logits.shape[:-1])
        losses = F.binary_cross_entropy_with_logits(logits.squeeze(-1), wanted, reduction="none")
    else:
        wide = targets.expand(logits.shape[:-1])
        losses = F.cross_entropy(
            logits.flatten(0, 1), wide.flatten(), reduction="none", label_smoothing=smoothing
        ).view(wide.shape)
    return (losses * weights).sum(1)
