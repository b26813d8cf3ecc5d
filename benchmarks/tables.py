"""The classifier of tables against the ensembles of scikit-learn: learning, all folds at once, predicting many rows."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from benchmarks.harness import extra_memory, side_by_side, table, write
from hopfield.estimators import HopfieldClassifier

COLUMNS, CLASSES, FOLDS, MANY = 20, 3, 5, 1_000_000
METHODS = {
    "HopfieldClassifier": partial(HopfieldClassifier, random_state=0),
    "RandomForestClassifier(300)": partial(RandomForestClassifier, 300, random_state=0),
    "HistGradientBoostingClassifier": partial(HistGradientBoostingClassifier, random_state=0),
}


def _made_up(rows: int) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(rows, COLUMNS, n_informative=8, n_classes=CLASSES, random_state=0)
    return X, y


def learning() -> tuple[dict[str, Any], list[str]]:
    """One fit."""
    numbers: dict[str, Any] = {}
    rows = []
    for count in (100, 500, 1000):
        X, y = _made_up(count)
        seconds = side_by_side({name: partial(make().fit, X, y) for name, make in METHODS.items()}, rounds=5)
        numbers[str(count)] = seconds
        rows.append([str(count), *(f"{seconds[name]:.2f} s" for name in METHODS)])
    return {"fit": numbers}, [table(f"One fit, {COLUMNS} columns, {CLASSES} classes", ["rows", *METHODS], rows)]


def folds() -> tuple[dict[str, Any], list[str]]:
    """All folds of a cross-validation at once, and one by one."""
    numbers: dict[str, Any] = {}
    rows = []
    for count in (100, 500):
        X, y = _made_up(count)
        test = np.arange(count) % FOLDS == np.arange(FOLDS)[:, None]

        def one_by_one(X: np.ndarray = X, y: np.ndarray = y, test: np.ndarray = test) -> None:
            for part in test:
                HopfieldClassifier(random_state=0).fit(X[~part], y[~part]).predict(X[part])

        together = partial(HopfieldClassifier(random_state=0).cross_predict, X, y, test)
        seconds = side_by_side({"one by one": one_by_one, "cross_predict": together}, rounds=3)
        numbers[str(count)] = seconds
        ratio = seconds["one by one"] / seconds["cross_predict"]
        rows.append([str(count), *(f"{value:.2f} s" for value in seconds.values()), f"{ratio:.2f}"])
    title = f"Cross-validation in {FOLDS} folds"
    return {"folds": numbers}, [table(title, ["rows", "one by one", "cross_predict", "times faster"], rows)]


def _predicting(name: str) -> Any:
    model = METHODS[name]().fit(*_made_up(500))
    rows = np.random.default_rng(0).normal(size=(MANY, COLUMNS))
    return partial(model.predict, rows)


def predicting() -> tuple[dict[str, Any], list[str]]:
    """Many rows, by what learnt from 500; once each, for that is a minute."""
    seconds: dict[str, float] = {}
    for name in METHODS:
        call = _predicting(name)
        start = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - start
    memory = {name: extra_memory(_predicting, name) for name in METHODS}
    rows = [[name, f"{seconds[name]:.1f} s", f"{memory[name]:.0f}"] for name in METHODS]
    title = f"Predicting {MANY:,} rows of {COLUMNS} columns, learnt from 500 (one run each)"
    return {"predict": {"seconds": seconds, "extra_mib": memory}}, [table(title, ["", "time", "extra MiB"], rows)]


def main() -> None:
    """All of them."""
    numbers: dict[str, Any] = {}
    tables = []
    for part in (learning, folds, predicting):
        found, shown = part()
        numbers |= found
        tables += shown
    write("tables", numbers, tables)
