"""A classifier and a regressor of tables in the manner of scikit-learn: a lookup among the rows learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from hopfield.estimators.tables.answers import check_labels, check_numbers
from hopfield.estimators.tables.base import TableLookup
from hopfield.estimators.tables.targets import Classes, Labels, Numbers, Targets
from hopfield.files import Kind


class HopfieldClassifier(ClassifierMixin, TableLookup):
    """Classify rows of a table: a Hopfield lookup among labelled rows, in a learned space.

    A row x votes with p = softmax(-½ β |z(x) - z(x_i)|²) for the labels of the rows x_i in the memory, one association
    of the state z(x) with stored patterns z(x_i) whose values are labels (Ramsauer et al. 2021, Sec. 3, "Hopfield
    layer": the memory is the training set). The embedding z (a linear map plus a small network) and β are learned.
    Several networks learn at once, and their votes are averaged. There is nothing to tune. A row that was learnt from
    finds itself when it is predicted: accuracy on such rows says nothing, see `cross_predict`.

    Columns may hold numbers, categories (strings), and None or NaN for what is missing. Numbers are standardised and
    clipped at ±3; those of at most 12 different values are also told apart one by one. Missing entries and categories
    that were not learnt count as the mean.

    Labels may also be several at once, (n, T) of 0, 1 and NaN for unknown ones.

    Args:
        memory: "training": the rows learnt from are the stored patterns, and a row never finds itself while it learns.
            "prototypes": learned patterns, which begin at rows drawn from each class alike and keep their answers
            (learning vector quantisation, a `HopfieldLayer` with learned patterns).
        prototypes: their number in all.
        width: size of the space in which rows are compared.
        hidden: size of the hidden layer of the embedding.
        similarity: "euclidean", weights fall with the squared distance; or "dot".
        separation: how similarities become weights, a name or an object of `hopfield.separation`.
        steps: number of updates of the state; the last gives the answer.
        scale: "column": numbers of every column are divided by their own standard deviation, so that all count alike;
            "table": by that of the whole table, and few different ones are not told apart, so that distances between
            rows stay in proportion but for the clipping, as they should for columns of one kind (pixels, principal
            components, the output of a network).
        column_dropout: share of the columns that drop out in a step of learning. A pair: the shares of the networks
            are spread evenly from the first to the second; so the mean has cautious and bold ones.
        dropout: share of the hidden units that drop out; also a pair.
        noise: standard deviation of the noise on standardised columns while learning; also a pair.
        row_share: share of the rows that each network learns from; all are in its memory.
        memory_share: share of these that are the memory in a step of learning, other ones in each; the rest asks.
        n_estimators: number of networks, whose votes are averaged.
        iterations: steps of learning (AdamW, the rate falls to 0 as a cosine); 0: rows are compared as random networks
            see them.
        batch_size: rows in a step, at most.
        learning_rate: of the first step.
        weight_decay: of AdamW.
        categorical_features: "auto": columns of strings, and of the type category in a data frame, are categories;
            a list of columns (positions, names, or a bool for each): these are, too; None: there are none.
        random_state: seed, `numpy.random.RandomState`, or None for other numbers every time. The same seed on the same
            machine gives the same numbers.
        device: where to compute; None: the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        classes_: the class labels, sorted; for several labels at once their numbers.
        n_features_in_: number of columns.
        feature_names_in_: their names, from a data frame.
        history_: losses of every step, `hopfield.estimators.stack.History`.

    Example:
        >>> from hopfield.estimators import HopfieldClassifier
        >>> model = HopfieldClassifier(random_state=0).fit(X, y)
        >>> model.predict(X_new), model.neighbors(X_new, k=3)
    """

    _file = Kind("hopfield.HopfieldClassifier", 1, "classifier", "HopfieldClassifier.save")

    def _answers(self, y: Any, count: int, *, added: bool = False) -> tuple[Targets, np.ndarray]:
        labels, several = check_labels(y, count, added=added)
        return (Labels(labels.shape[1]) if several else Classes(np.unique(labels))), labels

    @property
    def classes_(self) -> np.ndarray:
        """The class labels, sorted; for several labels at once their numbers."""
        check_is_fitted(self, "_lookup")
        if isinstance(self._targets, Classes):
            return self._targets.classes
        assert isinstance(self._targets, Labels), "a classifier has no other targets"
        return np.arange(self._targets.count)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes (n, C), in the order of `classes_`; of several labels that each is 1, (n, T)."""
        return self._predict(X, _answers)

    def cross_predict_proba(self, X: Any, y: Any, test: Any) -> np.ndarray:
        """What `predict_proba` would give, as in `cross_predict`: (F, n, C), or (F, n, T)."""
        return self._cross(X, y, test, _answers)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class HopfieldRegressor(RegressorMixin, TableLookup):
    """Predict numbers for rows of a table: a Hopfield lookup among rows whose numbers are known, in a learned space.

    As `HopfieldClassifier`, with numbers in place of labels: the prediction is the mean of those in the memory under
    the association weights, and what is learnt lowers its squared error. It never leaves the range of what is known:
    where there is a trend that goes on, a linear model is better.
    Several numbers for each row are (n, v).

    Args:
        memory: "training": the rows learnt from are the stored patterns, and a row never finds itself while it learns.
            "prototypes": learned patterns, which begin at rows and keep their answers.
        prototypes: their number in all.
        width: size of the space in which rows are compared.
        hidden: size of the hidden layer of the embedding.
        similarity: "euclidean", weights fall with the squared distance; or "dot".
        separation: how similarities become weights, a name or an object of `hopfield.separation`.
        steps: number of updates of the state; the last gives the answer.
        scale: "column": numbers of every column are divided by their own standard deviation, so that all count alike;
            "table": by that of the whole table, and few different ones are not told apart, so that distances between
            rows stay in proportion but for the clipping, as they should for columns of one kind (pixels, principal
            components, the output of a network).
        column_dropout: share of the columns that drop out in a step of learning. A pair: the shares of the networks
            are spread evenly from the first to the second; so the mean has cautious and bold ones.
        dropout: share of the hidden units that drop out; also a pair.
        noise: standard deviation of the noise on standardised columns while learning; also a pair.
        row_share: share of the rows that each network learns from; all are in its memory.
        memory_share: share of these that are the memory in a step of learning, other ones in each; the rest asks.
        n_estimators: number of networks, whose votes are averaged.
        iterations: steps of learning (AdamW, the rate falls to 0 as a cosine); 0: rows are compared as random networks
            see them.
        batch_size: rows in a step, at most.
        learning_rate: of the first step.
        weight_decay: of AdamW.
        categorical_features: "auto": columns of strings, and of the type category in a data frame, are categories;
            a list of columns (positions, names, or a bool for each): these are, too; None: there are none.
        random_state: seed, `numpy.random.RandomState`, or None for other numbers every time. The same seed on the same
            machine gives the same numbers.
        device: where to compute; None: the CPU.
        verbose: whether to show a progress bar.

    Attributes:
        n_features_in_: number of columns.
        feature_names_in_: their names, from a data frame.
        history_: losses of every step, `hopfield.estimators.stack.History`.

    Example:
        >>> from hopfield.estimators import HopfieldRegressor
        >>> model = HopfieldRegressor(random_state=0).fit(X, y)
        >>> model.predict(X_new), model.neighbors(X_new, k=3)
    """

    _file = Kind("hopfield.HopfieldRegressor", 1, "regressor", "HopfieldRegressor.save")

    def _answers(self, y: Any, count: int, *, added: bool = False) -> tuple[Targets, np.ndarray]:  # noqa: ARG002  # the classifier's needs it
        numbers = check_numbers(y, count)
        return Numbers.of(numbers), numbers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _answers(targets: Targets, votes: Tensor) -> np.ndarray:
    return targets.answers(votes)
