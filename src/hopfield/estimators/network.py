"""The network behind the classifier of bags: embed instances, pool bags, classify."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.core.separation import Separation
from hopfield.estimators.embedding import EVIDENCE, SPREAD
from hopfield.nn.beta import Beta
from hopfield.nn.pooling import HopfieldPooling

# instances whose embeddings may be computed at once without gradients
_PIECE = 1 << 16
# how much the score of a sequence falls for each motif that it lacks
_SHARP = 1.0
# no selection among fewer instances: there is nothing to save
_FEW = 256


def attention_to_evidence(
    states: int, beta: Beta | None, separation: str | Separation, steps: int
) -> tuple[HopfieldPooling, int]:
    """Pooling that starts by attending to sequences with enough motifs, and the size of what it gives.

    Without norms, which would hide how many motifs there are, and without projections, so that its start is known.
    """
    start = -_SHARP / EVIDENCE * (1 + SPREAD * torch.randn(states, EVIDENCE))
    pooling = HopfieldPooling(
        EVIDENCE,
        states=start,
        head_size=EVIDENCE,
        beta=beta,
        separation=separation,
        steps=steps,
        norm=None,
        project=(),
    )
    return pooling, states * EVIDENCE


class BagNetwork(nn.Module):
    """Logits of bags: an embedding of every instance, a pooling of each bag, and layers behind it.

    Args:
        embedding: from instances (total, *shape) to (total, size).
        pooling: from bags of embedded instances to (B, *shape).
        output: from the pooled bags, flattened, to logits (B, C).
        key: from embedded instances to what the pooling compares with its states; None: the embedding itself.
        share: the share of the instances of each bag through which gradients pass: those with the largest weights.
            The others count in the output as they are. 1: all.
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

    def forward(self, bags: Bags, offsets: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Bags of instances -> logits (B, C).

        With `rows` (n,) only those instances take part, of the bags that begin at `offsets` (B + 1,) among them.
        """
        if rows is not None and offsets is not None:
            bags = Bags(bags.instances[rows], offsets)
        if self.training and self.share < 1 and torch.is_grad_enabled():
            embedded = self._partly(bags)
        else:
            embedded = bags.with_instances(self._embedded(bags.instances))
        pooled = self.pooling(embedded) if self.key is None else self.pooling(embedded.map(self.key), embedded)
        logits: Tensor = self.output(pooled.flatten(1))
        return logits

    def instance_weights(self, bags: Bags) -> Tensor:
        """How much every instance counts, the mean over heads and states: (total,)."""
        return self._weights(bags).mean((1, 2))

    def _weights(self, bags: Bags) -> Tensor:
        """(total, h, S)."""
        return self._weights_of(bags.with_instances(self._embedded(bags.instances)))

    def _weights_of(self, embedded: Bags) -> Tensor:
        assert isinstance(self.pooling, HopfieldPooling), "only Hopfield pooling has weights"
        return self.pooling.association_weights(embedded if self.key is None else embedded.map(self.key))

    def _embedded(self, instances: Tensor) -> Tensor:
        """Without gradients in pieces, so that what lies between the layers stays small."""
        if torch.is_grad_enabled() or len(instances) <= _PIECE:
            rows: Tensor = self.embedding(instances)
            return rows
        return torch.cat([self.embedding(piece) for piece in instances.split(_PIECE)])

    def _partly(self, bags: Bags) -> Bags:
        """All instances embedded, with gradients only for those of the largest weights in any head and state."""
        sizes = bags.sizes.tolist()
        counts = [max(min(_FEW, n), round(self.share * n)) for n in sizes]
        if counts == sizes:
            return bags.map(self.embedding)
        with torch.no_grad():
            rows = self._embedded(bags.instances)
            weights = self._weights_of(bags.with_instances(rows)).amax((1, 2))  # (total,)
            parts = zip(weights.split(sizes), counts, bags.offsets.tolist()[:-1], strict=True)
            chosen = torch.cat([start + part.topk(count).indices for part, count, start in parts])
        learnt = self.embedding(bags.instances[chosen])
        return bags.with_instances(rows.scatter(0, chosen.unsqueeze(1).expand(learnt.shape), learnt))
