"""Columns for molecules, in which distances are Tanimoto distances."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hopfield.datasets.molecules import KINDS, descriptor_names, descriptors, fingerprints
from hopfield.errors import HopfieldError
from hopfield.estimators.molecules.similarity import MOST, tanimoto
from hopfield.estimators.settings import check_integers, is_number

# molecules whose fingerprints are in memory at once
_ROWS = 1024
# eigenvalues below this share of the largest are rounding
_TINY = 1e-5
# standard deviations beyond which a descriptor counts as that many
_LIMIT = 3.0


class MoleculeFeatures(TransformerMixin, BaseEstimator):
    """Columns for molecules: principal components of their Tanimoto similarity, and descriptors.

    The similarity of two molecules is k(a, b) = mean over kinds of fingerprints of Σ min(a, b) / Σ max(a, b), a kernel.
    In the components (Schölkopf et al. 1998, "Nonlinear component analysis as a kernel eigenvalue problem") the dot
    product of two molecules is their centred similarity, as good as so many components can give it. Of many
    molecules, a random subset stands for all (Williams and Seeger 2001, "Using the Nyström method to speed up kernel
    machines"). Descriptors are sign(x) ln(1 + |x|), standardised, and clipped at ±3.

    Both belong before an estimator that keeps the columns in proportion: a `HopfieldClassifier` or `HopfieldRegressor`
    with scale="table", a support vector machine. `HopfieldMoleculeClassifier` has them inside.

    Args:
        kinds: of fingerprints, see `hopfield.datasets.fingerprints`.
        size: of each fingerprint.
        components: number of principal components, at most; they are scaled so that squares are 1 in the mean.
        landmarks: from more molecules than these, so many are drawn at random.
        descriptors: what the standardised descriptors are multiplied by; 0: there are none.
        random_state: seed of what is drawn.

    Attributes:
        landmarks_: the molecules that others are compared with.
        n_features_in_: 1, the column of SMILES.

    Example:
        >>> from sklearn.pipeline import make_pipeline
        >>> from hopfield.estimators import HopfieldRegressor, MoleculeFeatures
        >>> model = make_pipeline(MoleculeFeatures(), HopfieldRegressor(scale="table")).fit(smiles, numbers)
    """

    def __init__(
        self,
        *,
        kinds: Sequence[str] = KINDS,
        size: int = 4096,
        components: int = 512,
        landmarks: int = 2048,
        descriptors: float = 0.3,
        random_state: Any = None,
    ) -> None:
        self.kinds = kinds
        self.size = size
        self.components = components
        self.landmarks = landmarks
        self.descriptors = descriptors
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002  # scikit-learn's form
        """Learn components and scales from molecules.

        Args:
            X: SMILES, (n,) or (n, 1).
            y: is not used.

        Raises:
            HopfieldError: settings out of range, no molecules or some that RDKit cannot read.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:  # noqa: ARG002  # scikit-learn's form
        """As `fit` and `transform`, without computing similarities twice."""
        fitted = copy.copy(self)  # bad molecules leave an earlier fit as it is
        columns = fitted._fitted(X)
        self.__dict__ = fitted.__dict__
        return columns

    def _fitted(self, X: Any) -> np.ndarray:
        self._check()
        smiles = check_smiles(X)
        counts = [sparse.vstack(list(self._counts(smiles, kind))) for kind in self.kinds]
        drawn = np.arange(len(smiles))
        if len(smiles) > self.landmarks:
            drawn = np.sort(check_random_state(self.random_state).choice(len(smiles), self.landmarks, replace=False))
        self.landmarks_ = [smiles[i] for i in drawn]
        self.n_features_in_ = 1
        self._kept = [own[drawn] for own in counts]
        similar = self._similar(counts)
        values, vectors = np.linalg.eigh(similar[drawn].astype(np.float64))
        real = values > _TINY * values[-1]
        basis = (vectors[:, real] / np.sqrt(values[real])).astype(np.float32)
        found = similar @ basis
        self._mean = found.mean(0)
        found -= self._mean
        spreads, turned = np.linalg.eigh((found.T @ found).astype(np.float64) / len(found))
        best = np.argsort(-spreads)[: self.components]
        best = best[spreads[best] > _TINY * max(spreads.max(), _TINY)]
        total = float(np.sqrt(spreads[best].mean())) if len(best) else 1.0
        turned = (turned[:, best] / total).astype(np.float32)
        self._projection, self._mean = basis @ turned, self._mean @ turned
        columns: np.ndarray = found @ turned
        if not self.descriptors:
            return columns
        described = _logarithmic(descriptors(smiles))
        self._centre, self._spread = described.mean(0), described.std(0)
        return np.concatenate([columns, self._scaled(described)], 1)

    def transform(self, X: Any) -> np.ndarray:
        """Columns of molecules, float32 (n, components + descriptors).

        Args:
            X: SMILES, (n,) or (n, 1).

        Raises:
            HopfieldError: molecules that RDKit cannot read.
        """
        check_is_fitted(self, "landmarks_")
        smiles = check_smiles(X)
        parts = []
        for start in range(0, len(smiles), _ROWS):
            some = smiles[start : start + _ROWS]
            similar = self._similar([next(self._counts(some, kind)) for kind in self.kinds])
            columns = similar @ self._projection - self._mean
            described = [self._scaled(_logarithmic(descriptors(some)))] if self.descriptors else []
            parts.append(np.concatenate([columns, *described], 1))
        return np.concatenate(parts)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002  # scikit-learn's form
        """Names of the columns: similarity1, similarity2, ... and those of the descriptors."""
        check_is_fitted(self, "landmarks_")
        names = [f"similarity{i + 1}" for i in range(self._projection.shape[1])]
        return np.array(names + (descriptor_names() if self.descriptors else []), dtype=object)

    def _check(self) -> None:
        check_integers(self, size=1, components=1, landmarks=1)
        if isinstance(self.kinds, str) or not self.kinds or set(self.kinds) - set(KINDS):
            raise HopfieldError(f"kinds must be a list of {', '.join(KINDS)}; got {self.kinds!r}")
        if not is_number(self.descriptors) or not 0 <= self.descriptors < np.inf:
            raise HopfieldError(f"descriptors must be a finite number of at least 0, got {self.descriptors!r}")

    def _counts(self, smiles: Sequence[str], kind: str) -> Iterator[sparse.csr_matrix]:
        """Counts of some molecules at a time, (rows, size)."""
        for start in range(0, len(smiles), _ROWS):
            rows = fingerprints(smiles[start : start + _ROWS], kind=kind, size=self.size)
            yield sparse.csr_matrix(rows.clip(max=MOST).astype(np.uint8))

    def _similar(self, counts: Sequence[sparse.csr_matrix]) -> np.ndarray:
        """Mean similarities to the landmarks, (n, landmarks), of counts of each kind."""
        total = np.zeros((counts[0].shape[0], self._kept[0].shape[0]), np.float32)
        for own, kept in zip(counts, self._kept, strict=True):
            total += tanimoto(own, kept)
        mean: np.ndarray = total / np.float32(len(self._kept))
        return mean

    def _scaled(self, described: np.ndarray) -> np.ndarray:
        """Descriptors standardised, clipped and weighted; constant ones are 0."""
        spread = np.where(self._spread > 1e-9, self._spread, np.inf)
        scaled = ((described - self._centre) / spread).clip(-_LIMIT, _LIMIT) * self.descriptors
        single: np.ndarray = scaled.astype(np.float32)
        return single

    def contents(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What was learnt, as tensors and as JSON has it."""
        arrays = {"projection": self._projection, "mean": self._mean}
        if self.descriptors:
            arrays |= {"centre": self._centre, "spread": self._spread}
        settings = self.get_params() | {"kinds": list(self.kinds), "random_state": None}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return tensors, {"settings": settings, "landmarks": self.landmarks_}

    @classmethod
    def of_contents(cls, tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> Self:
        """What `contents` gave, out of which the tensors are taken. Fingerprints of the landmarks are counted anew."""
        settings = description["settings"]
        model = cls(**settings | {"kinds": tuple(settings["kinds"])})
        model._check()
        model.landmarks_, model.n_features_in_ = list(description["landmarks"]), 1
        model._kept = [sparse.vstack(list(model._counts(model.landmarks_, kind))) for kind in model.kinds]
        model._projection, model._mean = (tensors.pop(name).numpy() for name in ("projection", "mean"))
        if model._projection.shape != (len(model.landmarks_), len(model._mean)):
            raise ValueError("its components do not fit its landmarks")
        if model.descriptors:
            model._centre, model._spread = (tensors.pop(name).numpy() for name in ("centre", "spread"))
        return model


def check_smiles(X: Any) -> list[str]:
    """Molecules of a column: a list, an array, a data frame of one column.

    Raises:
        HopfieldError: what is no such column, molecules that RDKit cannot read.
    """
    wanted = "molecules must be SMILES strings, (n,) or (n, 1)"
    if isinstance(X, str):
        raise HopfieldError(f"{wanted}; got one string: use [{X!r}]")
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise HopfieldError(f"{wanted}; got shape {array.shape}, take the column of SMILES alone")
    if not len(array):
        raise HopfieldError(f"{wanted}; got none")
    strange = next((i for i, text in enumerate(array) if not isinstance(text, str)), None)
    if strange is not None:
        hint = "; use rdkit.Chem.MolToSmiles" if hasattr(array[strange], "GetNumAtoms") else ""
        what = type(array[strange]).__name__ if hint else repr(array[strange])
        raise HopfieldError(f"{wanted}; that of row {strange} is {what}{hint}")
    return [str(text) for text in array]


def _logarithmic(numbers: np.ndarray) -> np.ndarray:
    """sign(x) ln(1 + |x|): small ones as they are, large ones drawn together; what is not finite is 0."""
    finite = np.where(np.isfinite(numbers), numbers, 0)
    shrunk: np.ndarray = np.sign(finite) * np.log1p(np.abs(finite))
    return shrunk
