"""Classifiers of repertoires by the counts of their k-mers, in the manner of scikit-learn.

Each is an estimator on a matrix of counts as `kmer_counts` gives it, and has a method `path`: the scores of many
settings at once, where what they share is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires.kmers import Matrix
from hopfield.experiments.repertoires.matrices import blocks, minmax_kernel, row_sums

Settings: TypeAlias = dict[str, Any]


class Rival(Protocol):
    """A classifier of repertoires that can be tuned."""

    ks: ClassVar[tuple[int, ...]]
    grid: ClassVar[dict[str, tuple[Any, ...]]]

    @staticmethod
    def prepare(counts: Matrix) -> Any:
        """What does not depend on labels, nor on what is training and what is test; for `path`."""

    @staticmethod
    def path(prepared: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray, settings: Sequence[Settings]) -> Any:
        """Scores (settings, tests) of rows test of a matrix, learned from rows train and their labels y (trains,)."""


class MinMaxSVM(ClassifierMixin, BaseEstimator):
    """A support vector machine with the MinMax kernel of relative k-mer frequencies.

    Args:
        C: how much errors in training cost.
    """

    ks = (3, 4)
    grid: ClassVar = {"C": (1.0, 0.1, 10.0, 100.0, 1000.0)}
    prepare = staticmethod(minmax_kernel)

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, X: Matrix, y: np.ndarray) -> MinMaxSVM:
        """Learn from counts (n, p) and labels (n,), 1 for positive."""
        self.X_, self.classes_ = X, np.unique(y)
        self.machine_ = _machine(self.C).fit(minmax_kernel(X), y)
        return self

    def decision_function(self, X: Matrix) -> np.ndarray:
        """Scores (m,) of counts (m, p), high for positive."""
        scores: np.ndarray = self.machine_.decision_function(minmax_kernel(X, self.X_))
        return scores

    @staticmethod
    def path(kernel: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray, settings: Sequence[Settings]) -> Any:
        """Scores of many settings at once, from the kernel of all rows; see `Rival`."""
        seen, new = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
        return np.stack([_machine(setting["C"]).fit(seen, y).decision_function(new) for setting in settings])


class KmerLogistic(ClassifierMixin, BaseEstimator):
    """Logistic regression on k-mers with a penalty on the squares of the weights, solved in the span of the rows.

    Features are centred, and scaled together so that the mean square of a training row is 1.

    Args:
        C: how much errors in training cost.
        features: "frequency": relative frequencies, where frequent k-mers vary most and so count most; "standardised":
            log(1 + frequency x mean total of counts) of variance 1 each, clipped at ±5, where all k-mers count alike.
    """

    ks = (3, 4)
    grid: ClassVar = {"features": ("frequency", "standardised"), "C": (1.0, 0.01, 0.1, 10.0, 100.0, 1000.0)}
    prepare = staticmethod(lambda counts: counts.tocsc())

    def __init__(self, C: float = 1.0, features: str = "frequency") -> None:
        self.C = C
        self.features = features

    def fit(self, X: Matrix, y: np.ndarray) -> KmerLogistic:
        """Learn from counts (n, p) and labels (n,), 1 for positive.

        Raises:
            HopfieldError: unknown features.
        """
        self.X_, self.classes_ = X, np.unique(y)
        self.weights_, self.intercept_ = _logistic(_products(X, np.arange(X.shape[0]), self.features), y, [self.C])
        return self

    def decision_function(self, X: Matrix) -> np.ndarray:
        """Log-odds (m,) of counts (m, p), high for positive."""
        seen = self.X_.shape[0]
        rows = _products(sparse.vstack([self.X_, X]), np.arange(seen), self.features)[seen:]
        scores: np.ndarray = rows @ self.weights_[0] + self.intercept_[0]
        return scores

    @staticmethod
    def path(counts: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray, settings: Sequence[Settings]) -> Any:
        """Scores of many settings at once, from the counts of all rows; see `Rival`."""
        scores = np.zeros((len(settings), len(test)))
        for features in {setting["features"] for setting in settings}:
            which = [i for i, setting in enumerate(settings) if setting["features"] == features]
            products = _products(counts, train, features)
            weights, intercepts = _logistic(products[train], y, [settings[i]["C"] for i in which])
            scores[which] = weights @ products[test].T + intercepts[:, None]
        return scores


def _machine(C: float) -> Any:
    return SVC(C=C, kernel="precomputed")


def _products(X: Any, train: np.ndarray, features: str) -> np.ndarray:
    """Inner products of the features of all rows of counts (n, p) with those of the training rows: (n, trains)."""
    if features not in {"frequency", "standardised"}:
        raise HopfieldError(f'features must be "frequency" or "standardised", got {features!r}; choose one of them')
    totals = row_sums(X)
    factors = (totals[train].mean() / np.maximum(totals, 1)).astype(np.float32)[:, None]
    products = np.zeros((X.shape[0], len(train)))
    for counts in blocks(X):
        rows = counts * factors  # (n, columns)
        if features == "standardised":
            np.log1p(rows, out=rows)
        rows -= rows[train].mean(0)
        if features == "standardised":
            deviation = rows[train].std(0)
            rows *= np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
            np.clip(rows, -5, 5, out=rows)
        products += rows @ rows[train].T
    products /= max(float(np.trace(products[train])) / len(train), 1e-12)
    return products


def _logistic(products: np.ndarray, y: np.ndarray, Cs: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regressions on features of which only the inner products (n, n) are known.

    Returns:
        The weight of each row for each C, (Cs, n), and the intercepts, (Cs,).
    """
    values, vectors = np.linalg.eigh((products + products.T) / 2)
    kept = values > 1e-6 * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    features = vectors * np.sqrt(values)  # (n, r): of the same inner products
    models = [LogisticRegression(C=C, max_iter=10_000).fit(features, y) for C in Cs]
    weights = np.stack([vectors @ (model.coef_[0] / np.sqrt(values)) for model in models])
    return weights, np.array([model.intercept_[0] for model in models])
