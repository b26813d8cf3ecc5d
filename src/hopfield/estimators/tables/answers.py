"""What comes in as answers of rows: labels of classes, several labels at once, numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from hopfield.bags.inputs import refuse_masks
from hopfield.errors import HopfieldError
from hopfield.estimators.tables.reading import LARGEST, is_missing


def check_labels(y: Any, count: int, *, added: bool = False) -> tuple[np.ndarray, bool]:
    """Labels of rows, (n,), or several at once, (n, T), with NaN for unknown ones; and whether it is these.

    Args:
        y: the labels.
        count: number of rows.
        added: whether other rows have labels already; then one of several may be unknown for all of these.

    Raises:
        HopfieldError: no labels, another number of them, missing ones, numbers that are no classes.
    """
    labels = _array(y, count)
    if labels.ndim == 2:
        if labels.dtype == object:  # None, and what pandas has for missing
            labels = np.array([[np.nan if is_missing(label) else label for label in row] for row in labels], object)
        try:
            numbers = labels.astype(np.float64)
        except (TypeError, ValueError):
            numbers = np.full(labels.shape, np.inf)
        if not (np.isnan(numbers) | np.isin(numbers, (0, 1))).all():
            raise HopfieldError(
                "labels with several columns must be 0 and 1, or NaN where unknown: one column for each question; "
                f"Unknown label type: got {labels.dtype} {labels.shape}"
            )
        if not added and np.isnan(numbers).all(0).any():
            raise HopfieldError(f"label {np.isnan(numbers).all(0).argmax()} is unknown for all rows; leave it out")
        return numbers, True
    if labels.dtype.kind in "Of":
        missing = [i for i, label in enumerate(labels) if is_missing(label)]
        if missing:
            raise HopfieldError(
                f"labels are missing (None or NaN) for {len(missing)} rows, the first is row {missing[0]}; "
                "leave these rows out. Input y contains NaN"
            )
    if labels.dtype == object:
        if len({isinstance(label, str) for label in labels}) > 1:
            raise HopfieldError(
                "labels must be all strings or all numbers, got a mixture; use [str(label) for label in y]"
            )
        labels = np.array(labels.tolist())  # as strings or numbers, whatever they came in
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise HopfieldError(f"labels must be finite, but that of row {np.isinf(labels).argmax()} is infinity")
    check_classification_targets(labels)
    return labels, False


def check_numbers(y: Any, count: int) -> np.ndarray:
    """Numbers of rows, float64 (n,) or (n, v).

    Raises:
        HopfieldError: no numbers, another number of them, NaN or infinity.
    """
    given = _array(y, count)
    try:
        numbers: np.ndarray = given.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise HopfieldError(f"y must hold numbers: {error}; for classes use HopfieldClassifier") from error
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers.reshape(count, -1)).all(1))[0])
        what = "NaN" if np.isnan(numbers[row]).any() else "infinity"
        raise HopfieldError(f"Input y contains {what} in row {row}; leave out rows whose answer is not known")
    if np.abs(numbers).max() > LARGEST:
        raise HopfieldError(f"y must be at most {LARGEST:g} in magnitude, so that its squares are finite; scale it")
    return numbers


def _array(y: Any, count: int) -> np.ndarray:
    """Answers as an array with one entry or row for each row of the table."""
    if y is None:
        raise HopfieldError("y is missing: this estimator requires y to be passed, but the target y is None")
    refuse_masks("y", y)
    array = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if array.ndim == 2 and array.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected; use y.ravel()",
            DataConversionWarning,
            stacklevel=5,
        )
        array = array[:, 0]
    if array.ndim not in {1, 2} or not array.size:
        raise HopfieldError(f"y must hold one answer per row, (n,) or (n, number); got bad input shape {array.shape}")
    if array.dtype.kind in "mM":
        raise HopfieldError("y must be labels or numbers, got dates or times; turn them into numbers")
    if array.dtype.kind == "c":
        raise HopfieldError("y must be real. Complex data not supported")
    if len(array) != count:
        raise HopfieldError(f"every row needs one answer: got {count} rows and {len(array)} answers")
    return array
