"""What Hopfield pooling of repertoires is compared with: classifiers on k-mer counts, tuned within the training part.

Each classifier is an estimator in the manner of scikit-learn, on a matrix of counts as `kmer_counts` gives it, and has
a method `path`: the scores of many settings at once, where what they share is computed once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.special import gammaln, log_ndtr, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from hopfield.datasets.repertoires import Repertoires, find_motif
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires.kmers import Matrix, kmer_counts

MOTIF = "Known motif"
_INNER = 3  # folds within the training part
_COLUMNS = 2048  # columns that are made dense at a time
_ENTRIES = 50_000_000  # no matrix with more entries than these for 5-mers: some 400 MB

Settings: TypeAlias = dict[str, Any]
Progress: TypeAlias = Callable[[str, int, int], object]


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


def minmax_kernel(X: Matrix, Y: Matrix | None = None) -> np.ndarray:
    """Σ min(a, b) / Σ max(a, b) of the relative frequencies of the rows of X (n, p) and Y (m, p): (n, m), float64.

    With the distance D = Σ|a - b| and the sum s = Σ(a + b) it is (s - D) / (s + D); 1 for two rows without any counts.

    Args:
        X: counts.
        Y: counts; None: X.
    """
    a = _frequencies(X)
    b = a if Y is None else _frequencies(Y)
    sums = _totals(a)[:, None] + _totals(b)  # (n, m)
    if Y is None:
        pairs = sum(pdist(block, "cityblock") for block in _blocks(a))
        distance = squareform(pairs, checks=False) if X.shape[0] > 1 else np.zeros((1, 1))
    else:
        distance = sum(cdist(one, two, "cityblock") for one, two in zip(_blocks(a), _blocks(b), strict=True))
    kernel: np.ndarray = np.divide(
        np.maximum(sums - distance, 0), sums + distance, out=np.ones(sums.shape), where=sums > 0
    )
    return kernel


def jaccard_kernel(X: Matrix, Y: Matrix | None = None) -> np.ndarray:
    """How many columns are above 0 in both of two rows, of those that are in either: (n, m), float64.

    Args:
        X: counts (n, p).
        Y: counts (m, p); None: X.
    """
    a, b = X > 0, (X if Y is None else Y) > 0
    both = sum(
        one.astype(np.float32) @ two.T.astype(np.float32).copy()
        for one, two in zip(_blocks(a.tocsc()), _blocks(b.tocsc()), strict=True)
    )
    either = _totals(a)[:, None] + _totals(b) - both
    kernel: np.ndarray = np.divide(both, either, out=np.ones(either.shape), where=either > 0)
    return kernel


class MinMaxSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
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


class KmerLogistic(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
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


class BurdenTest(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
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


METHODS: dict[str, type[Rival]] = {
    "SVM (MinMax)": MinMaxSVM,
    "Logistic regression (k-mers)": KmerLogistic,
    "Burden test": BurdenTest,
}


@dataclass(frozen=True)
class Tuned:
    """A classifier with the settings that were best within the training part."""

    settings: Settings
    """k, and the arguments of the classifier."""
    auc: float
    """The mean area under the ROC curve over the inner folds."""
    scores: np.ndarray
    """of the test part, (tests,)"""


def tuned(
    rival: type[Rival], prepared: Mapping[int, Any], y: np.ndarray, train: np.ndarray, test: np.ndarray, *, seed: int
) -> Tuned:
    """Choose k and settings by cross-validation with three folds within the training part, and score the test part.

    The best mean area under the ROC curve decides; the first in the grid among equals.

    Args:
        rival: the classifier.
        prepared: what it made of the counts of all rows, for each k to choose from.
        y: the labels of the training part, 0 or 1, (trains,).
        train: rows.
        test: rows.
        seed: of the inner folds.
    """
    settings = [dict(zip(rival.grid, values, strict=True)) for values in product(*rival.grid.values())]
    inner = list(StratifiedKFold(_INNER, shuffle=True, random_state=seed).split(train, y))
    best, chosen, auc = 0, next(iter(prepared)), -1.0
    for k, data in prepared.items():
        found = np.zeros(len(settings))
        for fit, check in inner:
            scores = rival.path(data, y[fit], train[fit], train[check], settings)
            found += [roc_auc_score(y[check], row) / _INNER for row in scores]
        if found.max() > auc + 1e-9:
            best, chosen, auc = int(found.argmax()), k, float(found.max())
    scores = rival.path(prepared[chosen], y, train, test, [settings[best]])[0]
    return Tuned({"k": chosen, **settings[best]}, auc, scores)


@dataclass(frozen=True)
class BaselineScores:
    """What the baselines say of each repertoire when it is in the test part."""

    scores: dict[str, np.ndarray]
    """of each method (F, B), high for positive; nan for what is not in the test part"""
    seconds: dict[str, float]
    """that each method took for all folds, tuning included, without counting k-mers"""
    counting: float
    """seconds of counting k-mers"""
    settings: dict[str, list[Settings]]
    """what each method chose in each fold"""


def run_baselines(
    repertoires: Repertoires,
    folds: np.ndarray,
    *,
    seed: int,
    jobs: int = 1,
    progress: Progress | None = None,
    weighted: bool = False,
) -> BaselineScores:
    """The scores of all baselines, each tuned and trained on what is not in the test part of a fold.

    5-mers are left out where their counts would take too much memory. If motifs are known, "Known motif" is the number
    of sequences of a repertoire that contain one: a reference from above, which learns nothing.

    Args:
        repertoires: B repertoires of two classes, the second of them positive.
        folds: whether a repertoire is in the test part of a fold, bool (F, B).
        seed: of the inner folds.
        jobs: how many folds are computed at a time, in threads.
        progress: told the name of a method, how many folds are done, and F.
        weighted: count each sequence as often as it was seen.

    Raises:
        HopfieldError: no labels of two classes, folds of another shape or dtype, an empty test part, or a training part
            with fewer than three repertoires of a class.
    """
    labels = _check(repertoires, folds)
    progress = progress or (lambda *_: None)
    start = time.perf_counter()
    counts = {k: kmer_counts(repertoires, k, weighted=weighted) for k in _ks(repertoires)}
    counting = time.perf_counter() - start
    scores: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    settings: dict[str, list[Settings]] = {}
    for name, rival in METHODS.items():
        start = time.perf_counter()
        prepared = {k: rival.prepare(counts[k]) for k in rival.ks if k in counts}

        def fold(i: int, rival: type[Rival] = rival, prepared: dict[int, Any] = prepared) -> Tuned:
            train, test = np.flatnonzero(~folds[i]), np.flatnonzero(folds[i])
            return tuned(rival, prepared, labels[train], train, test, seed=seed + i)

        scores[name] = np.full(folds.shape, np.nan)
        settings[name] = []
        with ThreadPoolExecutor(jobs) as pool:
            for i, found in enumerate(pool.map(fold, range(len(folds)))):
                scores[name][i, folds[i]] = found.scores
                settings[name].append(found.settings)
                progress(name, i + 1, len(folds))
        seconds[name] = time.perf_counter() - start
    if repertoires.motifs:
        start = time.perf_counter()
        scores[MOTIF] = np.where(folds, motif_counts(repertoires), np.nan)
        seconds[MOTIF] = time.perf_counter() - start
        progress(MOTIF, len(folds), len(folds))
    return BaselineScores(scores, seconds, counting, settings)


def motif_counts(repertoires: Repertoires) -> np.ndarray:
    """How many sequences of each repertoire contain one of its known motifs, (B,) float64.

    Raises:
        HopfieldError: no motifs are known.
    """
    if not repertoires.motifs:
        raise HopfieldError("the motifs of repertoires must be known, got none; only simulated repertoires have them")
    bags = repertoires.bags
    found = []
    for rows in bags:
        hits = [find_motif(rows[:, 1:], motif) for motif in repertoires.motifs]
        found.append(float(sum(hits[1:], hits[0]).count_nonzero()))
    return np.array(found)


def _check(repertoires: Repertoires, folds: np.ndarray) -> np.ndarray:
    labels, B = repertoires.labels, len(repertoires)
    if labels is None or len(repertoires.classes) != 2:
        raise HopfieldError(
            f"baselines need labels of two classes, got {list(repertoires.classes) or 'no labels'}; "
            "name the column of labels and the positive class when loading the repertoires"
        )
    if folds.ndim != 2 or folds.shape[1] != B or folds.dtype != np.bool_:
        raise HopfieldError(
            f"folds must be bool (F, {B}), True for the test part; got shape {folds.shape} of {folds.dtype}"
        )
    for i, test in enumerate(folds):
        least = int(np.bincount(labels[~test], minlength=2).min())
        if not test.any() or least < _INNER:
            raise HopfieldError(
                f"each fold must have a test part, and {_INNER} repertoires of each class to train with; fold {i} has "
                f"{test.sum()} to test and {least} of a class to train with; use fewer folds or more repertoires"
            )
    return labels


def _ks(repertoires: Repertoires) -> list[int]:
    """Which k are used: 5 only where the counts fit."""
    width = repertoires.letters.shape[1]
    entries = np.minimum(repertoires.bags.sizes.numpy() * max(width - 4, 0), 20**5).sum()
    return sorted({k for rival in METHODS.values() for k in rival.ks if k < 5 or entries <= _ENTRIES})


def _blocks(X: Any) -> Iterator[np.ndarray]:
    """The columns of a sparse matrix (n, p), some at a time, dense."""
    X = X.tocsc()
    for first in range(0, X.shape[1], _COLUMNS):
        yield X[:, first : first + _COLUMNS].toarray()


def _frequencies(X: Any) -> Any:
    """Counts divided by their sum in each row, float64."""
    return sparse.diags_array(1 / np.maximum(_totals(X), 1)).dot(X.astype(np.float64)).tocsc()


def _totals(X: Any) -> np.ndarray:
    """The sum of each row, (n,) float64."""
    totals: np.ndarray = np.asarray(X.sum(1, dtype=np.float64)).ravel()
    return totals


def _machine(C: float) -> Any:
    return SVC(C=C, kernel="precomputed")


def _products(X: Any, train: np.ndarray, features: str) -> np.ndarray:
    """Inner products of the features of all rows of counts (n, p) with those of the training rows: (n, trains)."""
    if features not in {"frequency", "standardised"}:
        raise HopfieldError(f'features must be "frequency" or "standardised", got {features!r}; choose one of them')
    totals = _totals(X)
    factors = (totals[train].mean() / np.maximum(totals, 1)).astype(np.float32)[:, None]
    products = np.zeros((X.shape[0], len(train)))
    for counts in _blocks(X):
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
        values = (X > 0).astype(np.float64).tocsc() if presence else _frequencies(X)
        return cls(values, _totals(values), presence)

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
        burden: np.ndarray = _totals(self.values[:, columns]) / np.maximum(self.totals, 1e-12)
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
