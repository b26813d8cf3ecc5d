"""Columns for molecules, in which distances are Tanimoto distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from hopfield.datasets.molecules import KINDS, column
from hopfield.errors import HopfieldError
from hopfield.estimators.molecules.space import Space
from hopfield.estimators.settings import check_integers, is_number

# columns of a fingerprint, at most
_WIDEST = 1 << 20


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

    _space: Space

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
        self._check()
        smiles = check_smiles(X)
        drawn = np.arange(len(smiles))
        if len(smiles) > self.landmarks:
            drawn = np.sort(
                check_random_state(self.random_state).choice(len(smiles), int(self.landmarks), replace=False)
            )
        self._space, columns = Space.of(
            smiles,
            drawn,
            kinds=self.kinds,
            size=int(self.size),
            components=int(self.components),
            weight=float(self.descriptors),
        )
        self._components, self._landmarks = int(self.components), int(self.landmarks)
        self.n_features_in_ = 1
        return columns

    def transform(self, X: Any) -> np.ndarray:
        """Columns of molecules, float32 (n, components + descriptors).

        Args:
            X: SMILES, (n,) or (n, 1).

        Raises:
            HopfieldError: molecules that RDKit cannot read.
        """
        check_is_fitted(self, "_space")
        return self._space.columns(check_smiles(X))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:  # noqa: ARG002  # scikit-learn's form
        """Names of the columns: similarity1, similarity2, ... and those of the descriptors."""
        check_is_fitted(self, "_space")
        return np.array(self._space.names, dtype=object)

    @property
    def landmarks_(self) -> list[str]:
        """The molecules that others are compared with."""
        check_is_fitted(self, "_space")
        return list(self._space.landmarks)

    def _check(self) -> None:
        check_integers(self, size=1, components=1, landmarks=1)
        if self.size > _WIDEST:
            raise HopfieldError(f"size must be at most {_WIDEST:,}, got {self.size:,}")
        kinds = self.kinds if isinstance(self.kinds, tuple | list) else ()
        if not kinds or not all(isinstance(kind, str) and kind in KINDS for kind in kinds):
            raise HopfieldError(f"kinds must be a list of {', '.join(KINDS)}; got {self.kinds!r}")
        if not is_number(self.descriptors) or not 0 <= self.descriptors < np.inf:
            raise HopfieldError(f"descriptors must be a finite number of at least 0, got {self.descriptors!r}")

    def contents(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What was learnt, as tensors and as JSON has it."""
        check_is_fitted(self, "_space")
        tensors, told = self._space.contents()
        seed = self.random_state if isinstance(self.random_state, int) else None
        return tensors, told | {"components": self._components, "most_landmarks": self._landmarks, "random_state": seed}

    @classmethod
    def of_contents(cls, tensors: dict[str, torch.Tensor], told: dict[str, Any]) -> Self:
        """What `contents` gave, out of which the tensors are taken.

        Raises:
            ValueError: parts that do not fit one another.
        """
        space = Space.of_contents(tensors, told)
        model = cls(
            kinds=space.kinds,
            size=space.size,
            components=told["components"],
            landmarks=told["most_landmarks"],
            descriptors=space.weight,
            random_state=told["random_state"],
        )
        model._check()
        model._space, model.n_features_in_ = space, 1
        model._components, model._landmarks = model.components, model.landmarks
        return model


def check_smiles(X: Any) -> list[str]:
    """Molecules of a column: a list, an array, a data frame of one column.

    Raises:
        HopfieldError: what is no such column, molecules that RDKit cannot read.
    """
    entries = column(X)
    if not entries:
        raise HopfieldError("molecules must be SMILES strings, (n,) or (n, 1); got none")
    strange = next((i for i, text in enumerate(entries) if not isinstance(text, str)), None)
    if strange is not None:
        hint = "; use rdkit.Chem.MolToSmiles" if hasattr(entries[strange], "GetNumAtoms") else ""
        what = type(entries[strange]).__name__ if hint else repr(entries[strange])
        raise HopfieldError(f"molecules must be SMILES strings, (n,) or (n, 1); that of row {strange} is {what}{hint}")
    return [str(text) for text in entries]
