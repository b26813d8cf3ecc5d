"""What the lookup among molecules is measured against: methods with grids, of which the validation part chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import ParameterGrid
from sklearn.svm import SVC, LinearSVC

from hopfield.datasets.molecules import KINDS, descriptors, fingerprints
from hopfield.errors import HopfieldError
from hopfield.estimators.molecules import MoleculeFeatures, tanimoto
from hopfield.estimators.molecules.classifier import MANY
from hopfield.experiments.molecules.scores import auc

# From MANY molecules on grids have one cell and forests fewer trees, and the support vector machine is linear in
# components of its kernel, for its time grows with the square of their number or faster.
# counted for trees; for similarities
SIZE, WIDE = 1024, 4096


@dataclass(frozen=True)
class Inputs:
    """A set of molecules as its rivals see it.

    Attributes:
        smiles: the molecules.
        counts: of each kind of fingerprint, sparse (n, 4096).
        table: Morgan counts and descriptors, float32 (n, 1024 + 121).
    """

    smiles: Sequence[str]
    counts: Mapping[str, Any]
    table: np.ndarray

    @classmethod
    def of(cls, smiles: Sequence[str]) -> Inputs:
        """Of molecules."""
        pieces = [smiles[start : start + 1000] for start in range(0, len(smiles), 1000)]
        counts = {
            kind: sparse.vstack([sparse.csr_matrix(fingerprints(some, kind=kind, size=WIDE)) for some in pieces])
            for kind in KINDS
        }
        folded = np.concatenate([fingerprints(some, size=SIZE) for some in pieces])
        described = np.concatenate([descriptors(some) for some in pieces])
        return cls(smiles, counts, np.concatenate([folded, described], 1).astype(np.float32))

    def columns(self, which: str) -> np.ndarray:
        """Those of the table that are called "Morgan", or "Morgan and descriptors"."""
        return self.table[:, :SIZE] if which == "Morgan" else self.table


Scores = Callable[[Inputs, np.ndarray, np.ndarray, np.ndarray, Mapping[str, Any], int], np.ndarray]
"""Inputs, labels (n, T), rows to learn from, rows to predict, cell of the grid and seed -> scores (rows, T)."""


def support_vectors(
    inputs: Inputs, labels: np.ndarray, learnt: np.ndarray, asked: np.ndarray, cell: Mapping[str, Any], seed: int
) -> np.ndarray:
    """A support vector machine for every label, on Tanimoto similarities."""
    kinds = KINDS if cell["kernel"] == "all" else (cell["kernel"],)
    if len(labels) >= MANY:
        features = MoleculeFeatures(kinds=kinds, descriptors=0.0, random_state=seed)
        own = features.fit_transform([inputs.smiles[i] for i in learnt])
        other = features.transform([inputs.smiles[i] for i in asked])
        scale = own.shape[1] ** -0.5  # so that dot products are similarities, but for a factor near 1
        machine: Any = LinearSVC(C=cell["C"], random_state=seed)
        return _each(machine, own * scale, labels[learnt], other * scale)
    parts = [inputs.counts[kind] for kind in kinds]
    within = np.mean([tanimoto(counts[learnt], counts[learnt]) for counts in parts], axis=0)
    across = np.mean([tanimoto(counts[asked], counts[learnt]) for counts in parts], axis=0)
    found = []
    for column in labels[learnt].T:
        known = np.flatnonzero(~np.isnan(column))
        machine = SVC(C=cell["C"], kernel="precomputed").fit(within[np.ix_(known, known)], column[known])
        found.append(machine.decision_function(across[:, known]))
    return np.stack(found, 1)


def forest(
    inputs: Inputs, labels: np.ndarray, learnt: np.ndarray, asked: np.ndarray, cell: Mapping[str, Any], seed: int
) -> np.ndarray:
    """One random forest for all labels."""
    if np.isnan(labels).any():
        raise HopfieldError("a random forest cannot learn from labels of which some are unknown")
    X = inputs.columns(cell["columns"])
    trees = 100 if len(labels) >= MANY else 300
    model = RandomForestClassifier(trees, min_samples_leaf=cell["min_samples_leaf"], random_state=seed)
    found = model.fit(X[learnt], labels[learnt].squeeze()).predict_proba(X[asked])
    return np.stack([p[:, -1] for p in found], 1) if isinstance(found, list) else found[:, 1:]


def boosting(
    inputs: Inputs, labels: np.ndarray, learnt: np.ndarray, asked: np.ndarray, cell: Mapping[str, Any], seed: int
) -> np.ndarray:
    """Gradient boosting of trees on histograms, for every label."""
    X = inputs.columns("Morgan and descriptors")
    model = HistGradientBoostingClassifier(
        learning_rate=cell["learning_rate"], max_iter=100, early_stopping=False, random_state=seed
    )
    return _each(model, X[learnt], labels[learnt], X[asked])


def _each(model: Any, X: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Scores (rows, T) of a model learnt anew for every label, from the rows where it is known."""
    found = []
    for column in labels.T:
        known = ~np.isnan(column)
        model.fit(X[known], column[known])
        decide = getattr(model, "decision_function", None)
        found.append(decide(asked) if decide is not None else model.predict_proba(asked)[:, -1])
    return np.stack(found, 1)


@dataclass(frozen=True)
class Rival:
    """A method.

    Attributes:
        scores: what it does.
        grid: values to choose from, by parameter.
        alone: the one cell for many molecules.
    """

    scores: Scores
    grid: Mapping[str, Sequence[Any]]
    alone: Mapping[str, Any]

    def cells(self, count: int) -> list[dict[str, Any]]:
        """What is tried on this number of molecules."""
        return [dict(self.alone)] if count >= MANY else list(ParameterGrid(dict(self.grid)))


RIVALS = {
    "SVM": Rival(
        support_vectors, {"kernel": ("morgan", "all"), "C": (0.3, 1.0, 3.0, 10.0)}, {"kernel": "all", "C": 1.0}
    ),
    "Random forest": Rival(
        forest,
        {"columns": ("Morgan", "Morgan and descriptors"), "min_samples_leaf": (1, 3)},
        {"columns": "Morgan and descriptors", "min_samples_leaf": 1},
    ),
    "Gradient boosting": Rival(boosting, {"learning_rate": (0.05, 0.2)}, {"learning_rate": 0.1}),
}


def tuned(
    rival: Rival,
    inputs: Inputs,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, str]:
    """Scores of the test rows by the best cell on the validation rows, and which it is.

    The best cell is trained again, on training and validation rows together. A single cell needs no choice.
    """
    cells = rival.cells(len(labels))
    best = cells[0]
    if len(cells) > 1:
        tried = [auc(labels[validation], rival.scores(inputs, labels, train, validation, cell, seed)) for cell in cells]
        best = cells[int(np.argmax(tried))]
    scores = rival.scores(inputs, labels, np.concatenate([train, validation]), test, best, seed)
    return scores, ", ".join(f"{name}={value}" for name, value in best.items())
