"""What the classifier of tables is measured against: methods with grids, of which the validation part chooses."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


@dataclass(frozen=True)
class Rival:
    """A method of scikit-learn.

    Attributes:
        make: its class.
        fixed: parameters that are not chosen.
        grid: values to choose from, by parameter, the more cautious ones first: they win a draw. Gamma is in units of 1
            over the number of columns.
        random: whether it takes a random_state.
    """

    make: type
    fixed: Mapping[str, Any]
    grid: Mapping[str, Sequence[Any]]
    random: bool = True

    def candidates(self) -> Iterator[dict[str, Any]]:
        """The cells of the grid."""
        yield from ParameterGrid(dict(self.grid))

    def fit(self, cell: Mapping[str, Any], X: np.ndarray, y: np.ndarray, seed: int) -> Any:
        """Trained on standardised columns; what has learnt to answer always the same where there is but one class."""
        own = {"random_state": seed} if self.random else {}
        method = self.make(**self.fixed, **_fitting(cell, X), **own) if len(np.unique(y)) > 1 else DummyClassifier()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is one of the settings
            warnings.filterwarnings("ignore", message="A single label was found|y_pred contains classes")
            return make_pipeline(StandardScaler(), method).fit(X, y)


RIVALS = {
    # more cells, from C 0.1 to 1000 and gamma 0.03 to 10, do worse: so few validation rows cannot choose among so many
    "SVM (RBF)": Rival(SVC, {}, {"C": (1.0, 10.0, 100.0), "gamma": (0.3, 1.0, 3.0)}),
    "Random forest": Rival(
        RandomForestClassifier, {"n_estimators": 300}, {"max_features": ("sqrt", 0.3, 1.0), "min_samples_leaf": (1, 3)}
    ),
    "Gradient boosting": Rival(
        HistGradientBoostingClassifier,
        {"early_stopping": False, "max_iter": 100},
        {"learning_rate": (0.05, 0.2), "max_leaf_nodes": (4, 16), "min_samples_leaf": (5, 20)},
    ),
    "k-nearest neighbours": Rival(
        KNeighborsClassifier,
        {},
        {"n_neighbors": (1, 3, 5, 7, 11, 15, 25), "weights": ("uniform", "distance")},
        random=False,
    ),
    "Logistic regression": Rival(LogisticRegression, {"max_iter": 1000}, {"C": (0.01, 0.1, 1.0, 10.0, 100.0)}),
    "Multilayer perceptron": Rival(
        MLPClassifier,
        {"max_iter": 200},
        {"hidden_layer_sizes": ((32,), (128,), (128, 128)), "alpha": (1.0, 0.01, 0.0001)},
    ),
}


def _fitting(cell: Mapping[str, Any], X: np.ndarray) -> dict[str, Any]:
    """A cell in terms of a table: no more neighbours than rows, gamma is per column."""
    own = dict(cell)
    if "n_neighbors" in own:
        own["n_neighbors"] = min(own["n_neighbors"], len(X))
    if "gamma" in own:
        own["gamma"] /= X.shape[1]
    return own


def tuned(
    rival: Rival, X: np.ndarray, y: np.ndarray, test: np.ndarray, validation: np.ndarray, seed: int
) -> tuple[np.ndarray, str]:
    """Predictions for the test rows by the best cell on the validation rows, and which it is.

    The best cell is trained again, on training and validation rows together.
    """
    learnt = ~(test | validation)
    best, most = {}, -1.0
    for cell in rival.candidates():
        model = rival.fit(cell, X[learnt], y[learnt], seed)
        score = float((model.predict(X[validation]) == y[validation]).mean())
        if score > most:
            best, most = cell, score
    final = rival.fit(best, X[~test], y[~test], seed)
    return final.predict(X[test]), ", ".join(f"{name}={value}" for name, value in best.items())
