"""A matrix whose rows are patterns, wherever they are kept."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.kernels.matmul import similarities
from hopfield.memory.bounds import accumulation

# numbers that are gathered at once: what fits the caches is gathered several times faster
_ENTRIES = 1 << 19


class Rows(ABC):
    """A matrix (N, d) that is read in blocks, and by index.

    It speaks as much of a tensor (1, N, d) as the streaming kernels ask for: its shape, and blocks of its rows.
    """

    shape: torch.Size
    """(1, N, d)"""
    dtype: torch.dtype
    """float32 or float64: what is read is of this type, whatever is kept."""
    device: torch.device
    slack: float = 0.0
    """How far a row that is read may be from the one that was stored, for it was rounded when it was kept."""

    @property
    def count(self) -> int:
        """N."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """d."""
        return self.shape[2]

    @property
    def operand(self) -> Any:
        """What the streaming kernels pass over."""
        return self

    @abstractmethod
    def __getitem__(self, key: tuple[slice, slice]) -> Tensor:
        """`rows[:, start:stop]`: (1, n, d)."""

    @abstractmethod
    def take(self, indices: Tensor) -> Tensor:
        """The rows at some indices (n,): (n, d)."""

    def gathered(self, which: Tensor) -> Tensor:
        """The rows at indices (T, n): (T, n, d)."""
        return self.take(which.flatten()).view(*which.shape, self.width)

    def products(self, states: Tensor, which: Tensor, parts: int = 1) -> Tensor:
        """x·ξ for states (T, q, d) and the rows at indices (T, n): (T, q, n), without gradients; see `similarities`."""
        result = states.new_empty(*states.shape[:2], which.shape[1])
        for part, rows in self._portions(which, states.dtype):
            result[part] = similarities(states[part], rows, parts=parts)
        return result

    def sums(self, weights: Tensor, which: Tensor) -> Tensor:
        """Σ w x for weights (T, q, n) of the rows at indices (T, n): (T, q, d), without gradients."""
        result = weights.new_empty(*weights.shape[:2], self.width)
        for part, rows in self._portions(which, weights.dtype):
            torch.bmm(weights[part], rows, out=result[part])
        return result

    def _portions(self, which: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """The rows at indices (T, n), (t, n, d) at once: as many as fit into a cache."""
        size = max(1, _ENTRIES // max(1, which.shape[1] * self.width))
        for start in range(0, which.shape[0], size):
            part = slice(start, start + size)
            yield part, self.gathered(which[part]).to(dtype)

    @abstractmethod
    def norm(self) -> float:
        """The largest norm of a row that was stored, or a little more; 0 if there are none."""


class TensorRows(Rows):
    """Rows in main (or accelerator) memory.

    Args:
        tensor: (N, d).
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.shape = torch.Size((1, *tensor.shape))
        self.dtype = torch.promote_types(tensor.dtype, torch.float32)
        self.device = tensor.device

    @property
    def operand(self) -> Tensor:
        """The tensor, so that it can have gradients."""
        return self.tensor.unsqueeze(0)

    def __getitem__(self, key: tuple[slice, slice]) -> Tensor:
        return self.tensor[key[1]].to(self.dtype).unsqueeze(0)

    def take(self, indices: Tensor) -> Tensor:
        """The rows at some indices."""
        if not self.count:  # indices are padding
            return self.tensor.new_zeros(indices.shape[0], self.width, dtype=self.dtype)
        return self.tensor.index_select(0, indices).to(self.dtype)

    def sums(self, weights: Tensor, which: Tensor) -> Tensor:
        """Σ w x, of rows that are read where they are."""
        if self.tensor.dtype != weights.dtype or not self.tensor.is_contiguous() or not self.count:
            return super().sums(weights, which)
        bags = which.unsqueeze(1).expand(weights.shape).flatten(0, 1)
        found = F.embedding_bag(bags, self.tensor, per_sample_weights=weights.flatten(0, 1), mode="sum")
        return found.view(*weights.shape[:2], self.width)

    def norm(self) -> float:
        """The largest norm."""
        return largest_norm(self.tensor, self.dtype)


def largest_norm(rows: Tensor, dtype: torch.dtype) -> float:
    """The largest norm of rows (n, d), or a little more, computed in a data type; infinite where that overflows."""
    if not rows.shape[0]:
        return 0.0
    most = float(torch.linalg.vector_norm(rows, dim=-1, dtype=dtype).amax())
    if not most and not bool(rows.any()):
        return 0.0
    # sums of many squares are off by more, and squares may underflow
    width = rows.shape[1]
    return most * (1 + max(1e-5, accumulation(width + 8, dtype))) + math.sqrt(width * torch.finfo(dtype).tiny)
