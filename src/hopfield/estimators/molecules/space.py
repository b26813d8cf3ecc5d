"""The space of molecules: principal components of their Tanimoto similarity, and descriptors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse

from hopfield.datasets.molecules import descriptor_names, descriptors, fingerprints
from hopfield.estimators.molecules.similarity import MOST, tanimoto

# molecules whose fingerprints are in memory at once
_ROWS = 1024
# eigenvalues below this share of the largest are rounding
_TINY = 1e-5
# standard deviations beyond which a descriptor counts as that many
_LIMIT = 3.0


@dataclass(frozen=True)
class Space:
    """What was learnt from molecules: where any molecule is.

    Attributes:
        kinds: of fingerprints.
        size: of each fingerprint.
        weight: what standardised descriptors are multiplied by; 0: there are none.
        landmarks: the molecules that others are compared with.
        kept: counts of the landmarks, of each kind (landmarks, size).
        projection: from similarities to components, (landmarks, components).
        mean: of the components before they were centred.
        centre: mean of every descriptor.
        spread: standard deviation of every descriptor.
    """

    kinds: tuple[str, ...]
    size: int
    weight: float
    landmarks: tuple[str, ...]
    kept: tuple[sparse.csr_matrix, ...]
    projection: np.ndarray
    mean: np.ndarray
    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(
        cls,
        smiles: Sequence[str],
        drawn: np.ndarray,
        *,
        kinds: Sequence[str],
        size: int,
        components: int,
        weight: float,
    ) -> tuple[Self, np.ndarray]:
        """Of molecules, and where these are.

        Args:
            smiles: the molecules.
            drawn: which of them are landmarks.
            kinds: of fingerprints.
            size: of each.
            components: how many, at most.
            weight: of the descriptors.
        """
        counts = [sparse.vstack(list(_counts(smiles, kind, size))) for kind in kinds]
        kept = tuple(own[drawn] for own in counts)
        similar = _similar(counts, kept)
        values, vectors = np.linalg.eigh(similar[drawn].astype(np.float64))
        real = values > _TINY * max(values[-1], _TINY)
        basis = (vectors[:, real] / np.sqrt(values[real])).astype(np.float32)
        found = similar @ basis
        mean = found.mean(0)
        found -= mean
        spreads, turned = np.linalg.eigh((found.T @ found).astype(np.float64) / len(found))
        best = np.argsort(-spreads)[:components]
        best = best[spreads[best] > _TINY * max(spreads.max(initial=0), _TINY)]
        total = float(np.sqrt(spreads[best].mean())) if len(best) else 1.0
        turned = (turned[:, best] / total).astype(np.float32)
        described = _described(smiles, weight)
        space = cls(
            tuple(kinds),
            size,
            weight,
            tuple(smiles[i] for i in drawn),
            kept,
            basis @ turned,
            mean @ turned,
            described.mean(0),
            described.std(0),
        )
        return space, np.concatenate([found @ turned, space._scaled(described)], 1)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        components = [f"similarity{i + 1}" for i in range(len(self.mean))]
        return components + (descriptor_names() if self.weight else [])

    def columns(self, smiles: Sequence[str]) -> np.ndarray:
        """Where molecules are, float32 (n, components + descriptors)."""
        parts = []
        for start in range(0, len(smiles), _ROWS):
            some = smiles[start : start + _ROWS]
            similar = _similar([next(_counts(some, kind, self.size)) for kind in self.kinds], self.kept)
            described = self._scaled(_described(some, self.weight))
            parts.append(np.concatenate([similar @ self.projection - self.mean, described], 1))
        return np.concatenate(parts)

    def _scaled(self, described: np.ndarray) -> np.ndarray:
        """Descriptors standardised, clipped and weighted; constant ones are 0."""
        spread = np.where(self.spread > 1e-9, self.spread, np.inf)
        scaled: np.ndarray = ((described - self.centre) / spread).clip(-_LIMIT, _LIMIT) * self.weight
        return scaled.astype(np.float32)

    def contents(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Everything, as tensors and as JSON has it."""
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ("projection", "mean", "centre", "spread")}
        told = {"kinds": self.kinds, "size": self.size, "weight": self.weight, "landmarks": self.landmarks}
        return tensors, told

    @classmethod
    def of_contents(cls, tensors: dict[str, torch.Tensor], told: dict[str, Any]) -> Self:
        """What `contents` gave, out of which the tensors are taken. Fingerprints of the landmarks are counted anew.

        Raises:
            ValueError: parts that do not fit one another, or this version of RDKit.
        """
        kinds, landmarks = tuple(told["kinds"]), tuple(told["landmarks"])
        size, weight = int(told["size"]), float(told["weight"])
        projection, mean, centre, spread = (
            tensors.pop(name).numpy() for name in ("projection", "mean", "centre", "spread")
        )
        if projection.shape != (len(landmarks), len(mean)) or mean.ndim != 1:
            raise ValueError("its components do not fit its landmarks")
        known = (len(descriptor_names()) if weight else 0,)
        if centre.shape != known or spread.shape != known:
            raise ValueError("its descriptors are not those of this version of RDKit")
        kept = tuple(sparse.vstack(list(_counts(landmarks, kind, size))) for kind in kinds)
        return cls(kinds, size, weight, landmarks, kept, projection, mean, centre, spread)


def _counts(smiles: Sequence[str], kind: str, size: int) -> Iterator[sparse.csr_matrix]:
    """Counts of some molecules at a time, (rows, size)."""
    for start in range(0, len(smiles), _ROWS):
        rows = fingerprints(smiles[start : start + _ROWS], kind=kind, size=size)
        yield sparse.csr_matrix(rows.clip(max=MOST).astype(np.uint8))


def _similar(counts: Sequence[sparse.csr_matrix], kept: Sequence[sparse.csr_matrix]) -> np.ndarray:
    """Mean similarities to the landmarks, (n, landmarks), of counts of each kind."""
    total = np.zeros((counts[0].shape[0], kept[0].shape[0]), np.float32)
    for own, other in zip(counts, kept, strict=True):
        total += tanimoto(own, other)
    mean: np.ndarray = total / np.float32(len(kept))
    return mean


def _described(smiles: Sequence[str], weight: float) -> np.ndarray:
    """Descriptors as sign(x) ln(1 + |x|), which draws large ones together; what is not finite is 0."""
    if not weight:
        return np.zeros((len(smiles), 0))
    numbers = descriptors(smiles)
    finite = np.where(np.isfinite(numbers), numbers, 0)
    shrunk: np.ndarray = np.sign(finite) * np.log1p(np.abs(finite))
    return shrunk
