"""How scores of molecules are measured."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from hopfield.errors import HopfieldError


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve, the mean over the tasks with molecules of both classes.

    Args:
        labels: 0, 1, or NaN for unknown, (n, T).
        scores: larger for what is likelier, (n, T).

    Raises:
        HopfieldError: no task has both classes.
    """
    found = []
    for column, score in zip(labels.T, scores.T, strict=True):
        known = ~np.isnan(column)
        if len(np.unique(column[known])) > 1:
            found.append(roc_auc_score(column[known], score[known]))
    if not found:
        raise HopfieldError("there is no task with molecules of both classes; take more molecules")
    return float(np.mean(found))
