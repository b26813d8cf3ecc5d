"""A classifier of molecules in the manner of scikit-learn: a lookup among molecules whose labels are known."""

from __future__ import annotations

import copy
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from hopfield.errors import HopfieldError
from hopfield.estimators.molecules.features import MoleculeFeatures, check_smiles
from hopfield.estimators.tables import HopfieldClassifier
from hopfield.estimators.tables.answers import check_labels
from hopfield.files import Kind

#: From so many molecules larger networks have enough to learn from.
MANY = 10_000
_FEW_SETTINGS: dict[str, Any] = {"hidden": 16, "learning_rate": 0.003, "column_dropout": 0.0}
_MANY_SETTINGS: dict[str, Any] = {
    "hidden": 64,
    "iterations": 400,
    "batch_size": 4096,
    "n_estimators": 4,
    "noise": 0.1,
}


def default_lookup(count: int) -> HopfieldClassifier:
    """The lookup that a classifier of so many molecules has, if none is given."""
    return HopfieldClassifier(scale="table", **(_MANY_SETTINGS if count >= MANY else _FEW_SETTINGS))


class HopfieldMoleculeClassifier(ClassifierMixin, BaseEstimator):
    """Classify molecules: a Hopfield lookup among molecules whose labels are known, in a learned space.

    `MoleculeFeatures` makes columns of molecules, in which dot products are Tanimoto similarities; a
    `HopfieldClassifier` learns a space from them and looks up what is known there. Stored patterns are the molecules
    learnt from, values their labels (Ramsauer et al. 2021, Sec. 5, "Drug design prediction").

    Labels may also be several at once, (n, T) of 0, 1 and NaN for unknown ones.

    Args:
        features: how molecules become columns; None: `MoleculeFeatures()`.
        lookup: what learns from the columns; None: `HopfieldClassifier(scale="table", hidden=16, learning_rate=0.003,
            column_dropout=0.0)`, and from 10,000 molecules on `HopfieldClassifier(scale="table", hidden=64,
            iterations=400, batch_size=4096, n_estimators=4, noise=0.1)`.
        random_state: seed of both, where they have none of their own.
        device: where the lookup computes, where it says nothing itself; None: the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        classes_: the class labels, sorted; for several labels at once their numbers.
        features_: the fitted `MoleculeFeatures`.
        lookup_: the fitted `HopfieldClassifier`.

    Example:
        >>> from hopfield.estimators import HopfieldMoleculeClassifier
        >>> model = HopfieldMoleculeClassifier(random_state=0).fit(smiles, labels)
        >>> model.predict_proba(["CCO"]), model.neighbors(["CCO"], k=3)
    """

    _file = Kind("hopfield.HopfieldMoleculeClassifier", 1, "classifier of molecules", "HopfieldMoleculeClassifier.save")

    def __init__(
        self,
        *,
        features: MoleculeFeatures | None = None,
        lookup: HopfieldClassifier | None = None,
        random_state: Any = None,
        device: str | torch.device | None = None,
        verbose: bool = False,
    ) -> None:
        self.features = features
        self.lookup = lookup
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from molecules and their labels, and keep them as the memory.

        Args:
            X: SMILES, (n,) or (n, 1).
            y: one label per molecule, (n,), or several, (n, T).

        Raises:
            ValueError: what cannot be learnt from; the text says what and where. (`HopfieldError` is one.)
        """
        for name, kind in (("features", MoleculeFeatures), ("lookup", HopfieldClassifier)):
            if not isinstance(getattr(self, name), kind | None):
                raise HopfieldError(f"{name} must be a {kind.__name__} or None, got {getattr(self, name)!r}")
        smiles = check_smiles(X)
        check_labels(y, len(smiles))  # before anything takes long
        features = MoleculeFeatures() if self.features is None else clone(self.features)
        lookup = default_lookup(len(smiles)) if self.lookup is None else clone(self.lookup)
        for part, names in ((features, ("random_state",)), (lookup, ("random_state", "device"))):
            unsaid = [name for name in names if getattr(part, name) is None]
            part.set_params(**{name: getattr(self, name) for name in unsaid})
        lookup.set_params(verbose=lookup.verbose or self.verbose)
        columns = features.fit_transform(smiles)
        self.lookup_ = lookup.fit(columns, y)
        self.features_ = features
        return self

    def add(self, X: Any, y: Any) -> Self:
        """Put molecules with their labels into the memory, without learning anew. They may be of new classes.

        Args:
            X: SMILES.
            y: their labels.

        Raises:
            ValueError: molecules or labels that do not fit, or a memory of prototypes.
        """
        columns = self._columns(X)
        lookup = copy.copy(self.lookup_)  # a copy of this estimator keeps what it had
        self.lookup_ = lookup.add(columns, y)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of molecules (n,), or of several labels 1 for what is likelier than not, (n, T)."""
        columns = self._columns(X)
        return self.lookup_.predict(columns)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes (n, C), in the order of `classes_`; of several labels that each is 1, (n, T)."""
        columns = self._columns(X)
        return self.lookup_.predict_proba(columns)

    def neighbors(self, X: Any, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The molecules behind each prediction, and how much each of them counts.

        Args:
            X: SMILES.
            k: how many, those with the largest weights; at most all.

        Returns:
            weights (n, k), descending; and the positions of the molecules (n, k), from 0, in what came to `fit`, then
            to `add`. The probability of a class is the weight of all its molecules together; of one label among
            several, that of the molecules where it is 1 divided by that of those where it is known.

        Raises:
            HopfieldError: k below 1, a memory of prototypes.
        """
        columns = self._columns(X)
        return self.lookup_.neighbors(columns, k)

    def _columns(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "lookup_")
        return self.features_.transform(X)

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted; for several labels at once their numbers."""
        check_is_fitted(self, "lookup_")
        return self.lookup_.classes_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.classifier_tags.multi_label = True
        return tags

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted classifier to a safetensors file: settings, SMILES of landmarks and numbers, no code.

        Not in it are `device`, a `random_state` that is not a number, and histories.

        Raises:
            HopfieldError: not fitted, the file cannot be written.
        """
        check_is_fitted(self, "lookup_")
        tensors: dict[str, torch.Tensor] = {}
        seed = self.random_state if isinstance(self.random_state, int) else None
        given = {"features": self.features is not None, "lookup": self.lookup is not None, "random_state": seed}
        description: dict[str, Any] = {"given": given}
        for name, part in (("features", self.features_), ("lookup", self.lookup_)):
            own, description[name] = part.contents()
            tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
        self._file.write(path, tensors, description)

    @classmethod
    def load(cls, path: str | PathLike[str], *, device: str | torch.device | None = None) -> Self:
        """Read what `save` wrote. Use the version of RDKit that it was written with: fingerprints are counted anew.

        Args:
            path: the file.
            device: where to compute; None: the CPU.

        Raises:
            HopfieldError: a missing, foreign, newer or damaged file.
        """

        def make(tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> Any:
            parts: dict[str, dict[str, torch.Tensor]] = {"features": {}, "lookup": {}}
            for name in tuple(tensors):
                part, _, key = name.partition(".")
                if part in parts:
                    parts[part][key] = tensors.pop(name)
            features = MoleculeFeatures.of_contents(parts["features"], description["features"])
            lookup = HopfieldClassifier.of_contents(parts["lookup"], description["lookup"], device=device)
            tensors |= {f"{part}.{key}": tensor for part, left in parts.items() for key, tensor in left.items()}
            if lookup.n_features_in_ != len(features.get_feature_names_out()):
                raise ValueError("its lookup does not fit its features")
            given = description["given"]
            model = cls(
                features=clone(features) if given["features"] else None,
                lookup=clone(lookup) if given["lookup"] else None,
                random_state=given["random_state"],
                device=device,
            )
            model.features_, model.lookup_ = features, lookup
            return model

        loaded: Self = cls._file.read(path, make)
        return loaded
