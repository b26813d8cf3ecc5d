"""Molecules for the estimators of tables: columns in which distances are Tanimoto distances. Needs RDKit and SciPy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hopfield.datasets.molecules import KINDS, descriptor_names, descriptors, fingerprints
from hopfield.errors import HopfieldError
from hopfield.estimators.settings import check_integers, is_number
from hopfield.estimators.tables import HopfieldClassifier
from hopfield.files import Kind

# counts above this one count as it: the sums over counts end there
_MOST = 8
# molecules whose fingerprints are in memory at once
_ROWS = 1024
# eigenvalues below this share of the largest are rounding
_TINY = 1e-5
# standard deviations beyond which a descriptor counts as that many
_LIMIT = 3.0
# from so many molecules a larger network has enough to learn from
_MANY = 10_000


def tanimoto(first: Any, second: Any) -> np.ndarray:
    """The Tanimoto similarity of molecules, Σ min(a, b) / Σ max(a, b) over counts: float32 (n, m), 1 for equal counts.

    Counts above 8 count as 8. Of two molecules without counts it is 0.

    Args:
        first: counts (n, size), dense or sparse, see `hopfield.datasets.fingerprints`.
        second: counts (m, size).
    """
    one, other = (sparse.csr_matrix(counts) for counts in (first, second))
    common, totals = np.zeros((one.shape[0], other.shape[0]), np.float32), np.float32(0)
    for least in range(1, _MOST + 1):  # min(a, b) is the number of levels that both reach
        here, there = ((counts >= least).astype(np.float32) for counts in (one, other))
        if not here.nnz + there.nnz:
            break
        common += (here @ there.T).toarray()
        totals = totals + np.asarray(here.sum(1)) + np.asarray(there.sum(1)).T
    union = totals - common
    similar: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return similar


class MoleculeFeatures(TransformerMixin, BaseEstimator):
    """Columns for molecules: principal components of their Tanimoto similarity, and descriptors.

    The similarity of two molecules is k(a, b) = mean over kinds of fingerprints of Σ min(a, b) / Σ max(a, b), a kernel.
    In the components (Schölkopf et al. 1998, "Nonlinear component analysis as a kernel eigenvalue problem") the dot
    product of two molecules is their centred similarity, as good as so many components can give it. Of many
    molecules, a random subset stands for all (Williams and Seeger 2001, "Using the Nyström method to speed up kernel
    machines"). Descriptors are sign(x) ln(1 + |x|), standardised, and clipped at ±3.

    Both belong before an estimator that keeps the columns in proportion: `HopfieldClassifier(scale="table")`, a support
    vector machine. `molecule_classifier` puts them together.

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
        >>> from hopfield.estimators import HopfieldClassifier, MoleculeFeatures
        >>> features = MoleculeFeatures().fit(smiles)
        >>> model = HopfieldClassifier(scale="table").fit(features.transform(smiles), labels)
    """

    _file = Kind("hopfield.MoleculeFeatures", 1, "molecule features", "MoleculeFeatures.save")

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
        smiles = _smiles(X)
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
        smiles = _smiles(X)
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
            yield sparse.csr_matrix(rows.clip(max=_MOST).astype(np.uint8))

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

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted features to a safetensors file: settings, landmarks and numbers, no code.

        Raises:
            HopfieldError: not fitted, the file cannot be written.
        """
        check_is_fitted(self, "landmarks_")
        settings = self.get_params() | {"kinds": list(self.kinds), "random_state": None}
        arrays = {"projection": self._projection, "mean": self._mean}
        if self.descriptors:
            arrays |= {"centre": self._centre, "spread": self._spread}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self._file.write(path, tensors, {"settings": settings, "landmarks": self.landmarks_})

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save` wrote. Fingerprints are counted anew: use the version of RDKit that it was written with.

        Raises:
            HopfieldError: a missing, foreign, newer or damaged file.
        """

        def make(tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> Any:
            model = cls(**description["settings"] | {"kinds": tuple(description["settings"]["kinds"])})
            model._check()
            model.landmarks_, model.n_features_in_ = list(description["landmarks"]), 1
            model._kept = [sparse.vstack(list(model._counts(model.landmarks_, kind))) for kind in model.kinds]
            arrays = {name: tensors.pop(name).numpy() for name in tuple(tensors)}
            model._projection, model._mean = arrays["projection"], arrays["mean"]
            if model._projection.shape != (len(model.landmarks_), len(model._mean)):
                raise HopfieldError(f"{path} does not fit its own landmarks")
            if model.descriptors:
                model._centre, model._spread = arrays["centre"], arrays["spread"]
            return model

        loaded: Self = cls._file.read(path, make)
        return loaded


def molecule_classifier(count: int, *, random_state: Any = None, **settings: Any) -> Pipeline:
    """A classifier of molecules: `MoleculeFeatures`, then a `HopfieldClassifier` of its columns.

    Its parts have names, `features` and `lookup`. What is behind a prediction:
    `model["lookup"].neighbors(model["features"].transform(smiles))`, and `hopfield.plot.molecules` draws it.

    Args:
        count: number of molecules to learn from: from 10,000 on, the networks are larger, fewer, and learn from larger
            batches for longer.
        random_state: seed of both parts.
        settings: other settings of `HopfieldClassifier`.

    Returns:
        A pipeline of scikit-learn, not fitted: fit(smiles, labels), predict_proba(smiles).

    Example:
        >>> from hopfield.estimators import molecule_classifier
        >>> model = molecule_classifier(len(smiles), random_state=0).fit(smiles, labels)
        >>> model.predict_proba(["CCO"])
    """
    few = {"hidden": 16, "learning_rate": 0.003, "column_dropout": 0.0}
    many = {"hidden": 64, "iterations": 400, "batch_size": 4096, "n_estimators": 4, "noise": 0.1}
    own = (many if count >= _MANY else few) | settings
    lookup = HopfieldClassifier(**{"scale": "table", "random_state": random_state} | own)
    return Pipeline([("features", MoleculeFeatures(random_state=random_state)), ("lookup", lookup)])


def _smiles(X: Any) -> list[str]:
    """Molecules of a column: a list, an array, a data frame of one column."""
    wanted = "molecules must be SMILES strings, (n,) or (n, 1)"
    if isinstance(X, str):
        raise HopfieldError(f"{wanted}; got one string: use [{X!r}]")
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise HopfieldError(f"{wanted}; got shape {array.shape}")
    if not len(array):
        raise HopfieldError(f"{wanted}; got none")
    strange = next((i for i, text in enumerate(array) if not isinstance(text, str)), None)
    if strange is not None:
        raise HopfieldError(f"{wanted}; that of row {strange} is {array[strange]!r}")
    return [str(text) for text in array]


def _logarithmic(numbers: np.ndarray) -> np.ndarray:
    """sign(x) ln(1 + |x|): small ones as they are, large ones drawn together; what is not finite is 0."""
    finite = np.where(np.isfinite(numbers), numbers, 0)
    shrunk: np.ndarray = np.sign(finite) * np.log1p(np.abs(finite))
    return shrunk
