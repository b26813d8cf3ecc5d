"""What Hopfield pooling is compared with: classifiers on counts of k-mers, each tuned within the training part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from hopfield.datasets.repertoires import Repertoires
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires.burden import BurdenTest
from hopfield.experiments.repertoires.classifiers import KmerLogistic, MinMaxSVM, Rival, Settings
from hopfield.experiments.repertoires.kmers import kmer_counts

_INNER = 3  # folds within the training part
_ENTRIES = 50_000_000  # no matrix with more entries than these for 5-mers: some 400 MB

Progress: TypeAlias = Callable[[str, int, int], object]

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

    5-mers are left out where their counts would take too much memory.

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
    return BaselineScores(scores, seconds, counting, settings)


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
