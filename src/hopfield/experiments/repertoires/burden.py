"""The burden test: a classifier of repertoires by the k-mers that are more frequent in the positive class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from scipy.special import gammaln, log_ndtr, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires.classifiers import Settings
from hopfield.experiments.repertoires.kmers import Matrix
from hopfield.experiments.repertoires.matrices import frequencies, row_sums


class BurdenTest(ClassifierMixin, BaseEstimator):
    """The burden of k-mers that are more frequent in the positive class, each tested by itself.

    The burden k-mers are those with a small p-value. A repertoire's burden is their share among its k-mers, and its
    score the log-odds that a logistic regression on the burden gives.

    Args:
        p_threshold: the p-value below which a k-mer belongs to the burden.
        statistic: "presence": Fisher's exact test, one-sided, of how many repertoires have the k-mer, and the burden is
            a share of different k-mers; "count": Welch's test, one-sided, of the mean relative frequency with the
            normal distribution, and the burden is a sum of relative frequencies. Where every repertoire has every
            k-mer, only "count" can tell them apart.
    """

    ks = (3, 4, 5)
    grid: ClassVar = {"statistic": ("presence", "count"), "p_threshold": (1e-4, 1e-2, 1e-3, 1e-5, 1e-6, 1e-8, 1e-12)}
    prepare = staticmethod(lambda counts: {name: _BurdenFeatures.of(counts, name) for name in ("presence", "count")})

    def __init__(self, p_threshold: float = 1e-4, statistic: str = "presence") -> None:
        self.p_threshold = p_threshold
        self.statistic = statistic

    def fit(self, X: Matrix, y: np.ndarray) -> BurdenTest:
        """Learn from counts (n, p) and labels (n,), 1 for positive; `burden_` are the columns of the burden.

        Raises:
            HopfieldError: an unknown statistic.
        """
        features = _BurdenFeatures.of(X, self.statistic)
        self.classes_ = np.unique(y)
        self.burden_ = np.flatnonzero(features.log_p(y, np.arange(len(y))) < np.log(self.p_threshold))
        self.mean_, self.slope_, self.intercept_ = _odds(features.burden(self.burden_), y)
        return self

    def decision_function(self, X: Matrix) -> np.ndarray:
        """Log-odds (m,) of counts (m, p), high for positive."""
        burden = _BurdenFeatures.of(X, self.statistic).burden(self.burden_)
        scores: np.ndarray = (burden - self.mean_) * self.slope_ + self.intercept_
        return scores

    @staticmethod
    def path(features: Any, y: np.ndarray, train: np.ndarray, test: np.ndarray, settings: Sequence[Settings]) -> Any:
        """Scores of many settings at once, from the features of all rows; see `Rival`."""
        scores = np.zeros((len(settings), len(test)))
        for statistic in {setting["statistic"] for setting in settings}:
            log_p = features[statistic].log_p(y, train)
            for i, setting in enumerate(settings):
                if setting["statistic"] == statistic:
                    columns = np.flatnonzero(log_p < np.log(setting["p_threshold"]))
                    burden = features[statistic].burden(columns)
                    mean, slope, intercept = _odds(burden[train], y)
                    scores[i] = (burden[test] - mean) * slope + intercept
        return scores


@dataclass(frozen=True)
class _BurdenFeatures:
    """What is tested and summed: 1 for each k-mer that is there, or relative frequencies."""

    values: Any
    """sparse (n, p), by columns"""
    totals: np.ndarray
    """of each row, (n,)"""
    presence: bool

    @classmethod
    def of(cls, X: Any, statistic: str) -> _BurdenFeatures:
        if statistic not in {"presence", "count"}:
            raise HopfieldError(f'statistic must be "presence" or "count", got {statistic!r}; choose one of them')
        presence = statistic == "presence"
        values = (X > 0).astype(np.float64).tocsc() if presence else frequencies(X)
        return cls(values, row_sums(values), presence)

    def log_p(self, y: np.ndarray, train: np.ndarray) -> np.ndarray:
        """The logarithms of the p-values of all columns, (p,); 0 for columns that are 0 in all rows."""
        n, p = self.values.shape
        log_p = np.zeros(p)
        there = np.flatnonzero(np.diff(self.values.indptr))
        entries, rows = self.values.data, self.values.indices
        ends = np.append(0, self.values.indptr[there + 1])
        which = np.zeros((n, 2))
        which[train, y] = 1  # negative, positive
        amounts = which.sum(0)
        sums = sparse.csc_matrix((entries, rows, ends), (n, len(there))).T @ which  # (columns, 2)
        if self.presence:
            i, j = sums.astype(np.int64).T
            log_p[there] = _fisher(int(amounts[0]), int(amounts[1]))[i, j]
            return log_p
        means = sums / amounts
        squares = sparse.csc_matrix((entries**2, rows, ends), (n, len(there))).T @ which
        variances = np.maximum(squares / amounts - means**2, 0) / np.maximum(amounts - 1, 1)  # of the means
        difference, error = means[:, 1] - means[:, 0], np.sqrt(variances.sum(1))
        z = np.divide(difference, error, out=np.where(difference > 1e-12, np.inf, 0), where=error > 1e-12)
        log_p[there] = log_ndtr(-z)
        return log_p

    def burden(self, columns: np.ndarray) -> np.ndarray:
        """The share of the columns in the sum of each row, (n,)."""
        burden: np.ndarray = row_sums(self.values[:, columns]) / np.maximum(self.totals, 1e-12)
        return burden


def _fisher(negatives: int, positives: int) -> np.ndarray:
    """One-sided p-values, as logarithms, of a k-mer in i negative and j positive repertoires: (i, j)."""

    def ways(n: int, chosen: np.ndarray) -> Any:
        return gammaln(n + 1) - gammaln(chosen + 1) - gammaln(n - chosen + 1)

    total = negatives + positives
    table = np.zeros((negatives + 1, positives + 1))
    for both in range(total + 1):  # those with the k-mer: a diagonal of the table
        j = np.arange(max(both - negatives, 0), min(both, positives) + 1)
        log = ways(positives, j) + ways(negatives, both - j) - ways(total, np.array(both))
        table[both - j, j] = np.logaddexp.accumulate(log[::-1])[::-1] - logsumexp(log)
    return table


def _odds(burden: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Mean, slope and intercept of the log-odds of one feature (n,): (burden - mean) slope + intercept."""
    mean, deviation = float(burden.mean()), float(burden.std())
    scale = 1 / deviation if deviation > 1e-12 else 0.0
    model = LogisticRegression().fit(((burden - mean) * scale)[:, None], y)
    return mean, float(model.coef_[0, 0]) * scale, float(model.intercept_[0])
