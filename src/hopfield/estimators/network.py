"""The network behind the classifier of bags: embed instances, pool bags, classify."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.nn.pooling import HopfieldPooling

# instances whose embeddings may be computed at once without gradients
_PIECE = 1 << 16
# no selection among fewer instances: there is nothing to save
_FEW = 256


class Standardize(nn.Module):
    """(x - mean) / std, clipped at ±limit; columns that are constant in the training set become 0."""

    def __init__(self, size: int, limit: float = 5.0) -> None:
        super().__init__()
        self.limit = limit
        self.mean = nn.Buffer(torch.zeros(size))
        self.scale = nn.Buffer(torch.ones(size))

    def fit(self, instances: Tensor) -> Standardize:
        """Take mean and standard deviation from training instances (n, size)."""
        if len(instances):
            wide = instances.double()
            mean, std = wide.mean(0), wide.std(0, correction=0)
            constant = std <= 1e-6 * wide.abs().amax(0)  # what is left of a constant after rounding
            self.mean.copy_(mean)
            self.scale.copy_(torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, std)))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        """(total, size) -> (total, size)."""
        return ((rows - self.mean) * self.scale).clamp(-self.limit, self.limit)


def dense(sizes: Sequence[int], dropout: float, *, last: bool = True) -> nn.Sequential:
    """Linear layers with ReLU and dropout between these sizes; `last`: also behind the last."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(sizes), 2):
        layers.append(nn.Linear(before, after))
        if last or i < len(sizes):
            layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class BagNetwork(nn.Module):
    """Logits of bags: an embedding of every instance, a pooling of each bag, and layers behind it.

    Args:
        embedding: from instances (total, *shape) to (total, size).
        pooling: from bags of embedded instances to (B, *shape); takes `stored_mask=` (total,).
        output: from the pooled bags, flattened, to logits (B, C).
        key: from embedded instances to what the pooling compares with its states; None: the embedding itself.
        share: the share of the instances of each bag through which gradients pass: those with the largest weights.
            What the others would change of the output is left out in training as well. 1: all.
    """

    def __init__(
        self, embedding: nn.Module, pooling: nn.Module, output: nn.Module, key: nn.Module | None, share: float
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.key = key
        self.pooling = pooling
        self.output = output
        self.share = share

    def forward(self, bags: Bags, keep: Tensor | None = None) -> Tensor:
        """Bags of instances -> logits (B, C); `keep` (total,) says which instances take part."""
        if self.training and self.share < 1 and torch.is_grad_enabled():
            bags, keep = self._heaviest(bags, keep)
        rows = self._embedded(bags.instances)
        embedded = bags.with_instances(rows)
        if self.key is None:
            pooled = self.pooling(embedded, stored_mask=keep)
        else:
            pooled = self.pooling(embedded.map(self.key), embedded, stored_mask=keep)
        logits: Tensor = self.output(pooled.flatten(1))
        return logits

    def instance_weights(self, bags: Bags) -> Tensor:
        """How much every instance counts, the mean over heads and states: (total,)."""
        return self._weights(bags).mean((1, 2))

    def _weights(self, bags: Bags) -> Tensor:
        """(total, h, S)."""
        assert isinstance(self.pooling, HopfieldPooling), "only Hopfield pooling has weights"
        rows = self._embedded(bags.instances)
        return self.pooling.association_weights(bags.with_instances(rows if self.key is None else self.key(rows)))

    def _embedded(self, instances: Tensor) -> Tensor:
        """Without gradients in pieces, so that what lies between the layers stays small."""
        if torch.is_grad_enabled() or len(instances) <= _PIECE:
            rows: Tensor = self.embedding(instances)
            return rows
        return torch.cat([self.embedding(piece) for piece in instances.split(_PIECE)])

    @torch.no_grad()
    def _heaviest(self, bags: Bags, keep: Tensor | None) -> tuple[Bags, Tensor | None]:
        """The bags with only the instances of the largest weights in any head and state."""
        self.eval()
        weights = self._weights(bags).amax((1, 2))  # (total,)
        self.train()
        if keep is not None:
            weights = weights.masked_fill(~keep, -1.0)
        counts = [max(min(_FEW, n), round(self.share * n)) for n in bags.sizes.tolist()]
        parts = weights.split(bags.sizes.tolist())
        chosen = [
            start + part.topk(count).indices
            for part, count, start in zip(parts, counts, bags.offsets.tolist(), strict=False)
        ]
        rows = torch.cat(chosen)
        offsets = torch.tensor([0, *counts]).cumsum(0)
        return Bags(bags.instances[rows], offsets), None if keep is None else keep[rows]
