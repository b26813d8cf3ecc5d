"""The network behind the classifier of bags: embed instances, pool bags, classify."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.core.separation import Separation
from hopfield.nn.beta import Beta
from hopfield.nn.pooling import HopfieldPooling

# instances whose embeddings may be computed at once without gradients
_PIECE = 1 << 16
# evidence of motifs: its size, and the spread of what is drawn; what a detector gives where its motif is not, and how
# much more where it is; the number of motifs that is enough; and how much the score of a sequence falls for each less
EVIDENCE, _SPREAD = 16, 0.2
_SILENT, _FIRED = 1.75, 6.0
_ENOUGH, _SHARP = 2.5, 1.0
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


def evidence_of_motifs(size: int) -> nn.Sequential:
    """A layer behind detectors of motifs, `SequenceEmbedding.start_from`: how far a sequence is from having enough.

    SELU is linear where motifs lack, and flat where there are more than enough: a bag with one perfect sequence is not
    to look like a bag with hundreds of good ones.
    """
    layer = nn.Linear(size, EVIDENCE)
    with torch.no_grad():
        layer.weight.copy_(-(1 + _SPREAD * torch.randn(EVIDENCE, size)) / _FIRED)
        layer.bias.copy_(_ENOUGH + _SILENT * layer.weight.sum(1))
    return nn.Sequential(layer, nn.SELU())


def attention_to_evidence(
    states: int, beta: Beta | None, separation: str | Separation, steps: int
) -> tuple[HopfieldPooling, int]:
    """Pooling that starts by attending to sequences with enough motifs, and the size of what it gives.

    Without norms, which would hide how many motifs there are, and without projections, so that its start is known.
    """
    start = -_SHARP / EVIDENCE * (1 + _SPREAD * torch.randn(states, EVIDENCE))
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
