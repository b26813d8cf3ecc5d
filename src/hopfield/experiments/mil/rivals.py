"""What Hopfield pooling is measured against: other poolings in the same network, and a support vector machine."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.estimators.bags import HopfieldBagClassifier
from hopfield.estimators.embedding import Standardize


class _Pooling(nn.Module, ABC):
    """Bags of embedded instances to one vector each, group by group."""

    def forward(self, bags: Bags) -> Tensor:
        """Pool bags of (total, size): (B, size)."""
        parts, order = [], []
        for group in bags.groups():
            rows, mask = group.instances, group.mask  # (b, n, size)
            parts.append(self.pool(rows, rows.new_ones(rows.shape[:2], dtype=torch.bool) if mask is None else mask))
            order.append(group.indices)
        return torch.cat(parts).index_select(0, torch.argsort(torch.cat(order)))

    @abstractmethod
    def pool(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(b, n, size) and the mask (b, n) of what takes part: (b, size)."""


class MeanPooling(_Pooling):
    """The mean of a bag."""

    def pool(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(b, n, size) -> (b, size)."""
        kept = mask.unsqueeze(-1).to(rows.dtype)
        return (rows * kept).sum(1) / kept.sum(1).clamp_min(1)


class MaxPooling(_Pooling):
    """The maximum over a bag of every feature."""

    def pool(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(b, n, size) -> (b, size)."""
        return rows.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1).nan_to_num(neginf=0.0)


class GatedAttention(_Pooling):
    """Gated attention pooling, a = softmax(wᵀ (tanh(V x) ∘ sigmoid(U x))) (Ilse et al. 2018, Eq. 9)."""

    def __init__(self, size: int, hidden: int = 64) -> None:
        super().__init__()
        self.value = nn.Linear(size, hidden)
        self.gate = nn.Linear(size, hidden)
        self.score = nn.Linear(hidden, 1)

    def pool(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(b, n, size) -> (b, size)."""
        scores = self.score(torch.tanh(self.value(rows)) * torch.sigmoid(self.gate(rows))).squeeze(-1)  # (b, n)
        weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(rows.dtype).min), 1)
        return (weights.unsqueeze(-1) * rows).sum(1)


class MeanPoolingClassifier(HopfieldBagClassifier):
    """The same network and training with the mean in place of Hopfield pooling."""

    def _pooling(self, size: int, key_size: int) -> tuple[nn.Module, int]:
        return MeanPooling(), size


class MaxPoolingClassifier(HopfieldBagClassifier):
    """The same network and training with the maximum in place of Hopfield pooling."""

    def _pooling(self, size: int, key_size: int) -> tuple[nn.Module, int]:
        return MaxPooling(), size


class GatedAttentionClassifier(HopfieldBagClassifier):
    """The same network and training with gated attention in place of Hopfield pooling."""

    def _pooling(self, size: int, key_size: int) -> tuple[nn.Module, int]:
        return GatedAttention(size), size


class BagKernelSVM:
    """A support vector machine on the normalised set kernel of Gärtner et al. 2002.

    K(A, B) = Σ_ab exp(-γ |a - b|² / width), divided by the norms of A and B. The width is the number of columns that
    are not constant; instances are standardised by the training part and clipped at ±5.
    """

    @staticmethod
    def kernel(bags: Bags, training: Tensor, gamma: float) -> np.ndarray:
        """The kernel of all bags (B, B); `training` (B,) says which bags the standardisation is taken from."""
        instances = bags.instances
        rows = Standardize(instances.shape[1]).fit(instances[training[bags.segments()]])(instances)
        width = max(1, int((rows != 0).any(0).sum()))  # γ is per column that is not constant
        norms = rows.square().sum(1)
        sums = torch.zeros(bags.total, len(bags))
        segments = bags.segments()
        for block in torch.arange(bags.total).split(2048):
            distance = norms[block].unsqueeze(1) + norms - 2 * rows[block] @ rows.T
            near = torch.exp(distance.clamp_min_(0).mul_(-gamma / width))
            sums[block] = torch.zeros(len(block), len(bags)).index_add_(1, segments, near)
        matrix = torch.zeros(len(bags), len(bags)).index_add_(0, segments, sums).double()
        scale = matrix.diagonal().clamp_min(1e-12).sqrt()
        normalised: np.ndarray = (matrix / scale / scale.unsqueeze(1)).numpy()
        return normalised

    @staticmethod
    def decide(kernel: np.ndarray, labels: np.ndarray, training: np.ndarray, cost: float) -> np.ndarray:
        """Train on some bags and decide about all of them: (B,)."""
        machine = SVC(C=cost, kernel="precomputed").fit(kernel[np.ix_(training, training)], labels[training])
        decisions: np.ndarray = machine.decision_function(kernel[:, training])
        return decisions
