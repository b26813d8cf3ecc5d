"""Methods compared over data sets: ranks and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, studentized_range, wilcoxon

from hopfield.errors import HopfieldError
from hopfield.experiments.uci.protocol import METHODS, OURS, Outcome

# accuracies that differ by less are the same
_DIGITS = 9


@dataclass(frozen=True)
class Comparison:
    """Methods compared over data sets.

    Attributes:
        sets: names of the sets, in alphabetical order, that all the methods were run on.
        methods: names of the methods.
        accuracy: the mean over splits, (sets, methods).
        seen: whether a set had a say in the defaults of the classifier, bool (sets,).
    """

    sets: tuple[str, ...]
    methods: tuple[str, ...]
    accuracy: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Comparison:
        """Of the sets that all methods of a run have.

        Raises:
            HopfieldError: there is no such set.
        """
        found = {(o.data, o.method): float(np.mean(o.accuracy)) for o in outcomes}
        methods = tuple(method for method in METHODS if any(o.method == method for o in outcomes))
        names = sorted({o.data for o in outcomes})
        sets = tuple(name for name in names if all((name, method) in found for method in methods))
        if not sets:
            raise HopfieldError("there is no set with outcomes of all methods; run the experiment to its end")
        seen = {o.data: o.seen for o in outcomes}
        accuracy = np.array([[found[name, method] for method in methods] for name in sets])
        return cls(sets, methods, accuracy, np.array([seen[name] for name in sets]))

    @property
    def ranks(self) -> np.ndarray:
        """1 for the best method of a set, the mean of places for methods that are level: (sets, methods)."""
        ranks: np.ndarray = rankdata(-self.accuracy.round(_DIGITS), axis=1)
        return ranks

    @property
    def unseen(self) -> Comparison:
        """Of the sets that had no say in the defaults of the classifier."""
        sets = tuple(name for name, seen in zip(self.sets, self.seen, strict=True) if not seen)
        return Comparison(sets, self.methods, self.accuracy[~self.seen], self.seen[~self.seen])

    def average_rank(self) -> dict[str, float]:
        """The mean of the ranks over sets."""
        return dict(zip(self.methods, self.ranks.mean(0).round(4).tolist(), strict=True))

    def p_values(self) -> dict[str, float]:
        """Of Wilcoxon's signed-rank test, two-sided, of the accuracies of ours and of every other method."""
        own = self.accuracy[:, self.methods.index(OURS)].round(_DIGITS)
        found = {}
        for method, column in zip(self.methods, self.accuracy.round(_DIGITS).T, strict=True):
            if method != OURS:
                found[method] = float(wilcoxon(own, column).pvalue) if (own != column).any() else 1.0
        return found

    def critical_difference(self) -> float:
        """Of average ranks, by the test of Nemenyi at 5 %."""
        n, k = self.accuracy.shape
        quantile = studentized_range.ppf(0.95, k, np.inf) / math.sqrt(2)
        return float(quantile * math.sqrt(k * (k + 1) / (6 * n)))
