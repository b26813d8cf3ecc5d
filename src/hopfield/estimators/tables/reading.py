"""Tables as they come, arrays or data frames, as columns of numbers and of categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor

from hopfield.bags.inputs import refuse_masks
from hopfield.errors import HopfieldError

# numbers of larger magnitude have squares that are infinite
LARGEST = 1e150


class Table:
    """Rows of a table, column by column.

    Attributes:
        columns: one array (n,) each, of numbers or of objects.
        names: what people call the columns.
        typed: which of them are categories by their type in a data frame.
    """

    def __init__(self, columns: Sequence[np.ndarray], names: Sequence[str], typed: Sequence[bool]) -> None:
        self.columns = columns
        self.names = names
        self.typed = typed

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, rows: Any) -> Table:
        """Some of the rows."""
        return Table([column[rows] for column in self.columns], self.names, self.typed)

    def is_number(self, index: int) -> bool:
        """Whether a column holds nothing but numbers, and its type does not say otherwise."""
        column = self.columns[index]
        if self.typed[index] or column.dtype.kind in "biuf":
            return not self.typed[index]
        known = [value for value in column if not is_missing(value)]
        return bool(known) and all(isinstance(value, int | float | np.number | np.bool_) for value in known)

    def numbers(self, index: int) -> np.ndarray:
        """A column as float64 (n,), NaN where a number is missing.

        Raises:
            HopfieldError: what is no number, infinity.
        """
        column = self.columns[index]
        if column.dtype.kind in "biuf":
            found = column.astype(np.float64)
        else:
            found = np.array([self._number(value, index) for value in column], np.float64)
        wrong = np.flatnonzero(np.abs(found) > LARGEST)  # not NaN
        if len(wrong):
            value = found[wrong[0]]
            what = "infinity" if np.isinf(value) else f"{value:g}, too large a number to be squared,"
            raise HopfieldError(
                f"column {self.names[index]} contains {what} in row {wrong[0]}; give NaN for what is missing"
            )
        return found

    def _number(self, value: Any, index: int) -> float:
        if is_missing(value):
            return math.nan
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise HopfieldError(
                f"column {self.names[index]} is one of numbers, but contains {value!r}; give NaN for what is missing, "
                "and for a column of categories strings when fitting, or name it in categorical_features"
            ) from error

    def categories(self, index: int) -> list[Any]:
        """A column as plain numbers and strings, None for what is missing."""
        return [None if is_missing(value) else _plain(value, self.names[index]) for value in self.columns[index]]


def read_table(estimator: BaseEstimator, X: Any, *, reset: bool) -> Table:
    """A table of the form that is learnt from (`reset`), or that was.

    Args:
        estimator: gets number and names of the columns, or has them to compare with.
        X: numbers or objects (n, d), or a data frame of pandas or polars.
        reset: whether this is the table to learn from.

    Raises:
        ValueError: no table, no rows, infinity, other columns than those learnt from.
    """
    refuse_masks("X", X)
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    elif isinstance(X, list | tuple):
        X = np.array(X, dtype=object)  # else numbers beside strings would become strings
    if not (hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "get_columns"))):
        array = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
        if array.dtype.kind not in "biufOU":
            raise HopfieldError(f"X must hold numbers, strings or bools, got an array of {array.dtype}")
        width = array.shape[1]
        names = getattr(estimator, "feature_names_in_", range(width))
        return Table([_numeric(column) for column in array.T], [str(name) for name in names], [False] * width)
    names = [str(name) for name in X.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HopfieldError(f"columns must have names of their own, but {', '.join(twice)} is there more than once")
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if not len(X) or not len(X.columns):
        raise HopfieldError(f"X must have rows and columns, found 0 sample(s) or columns: shape {X.shape}")
    columns = [X.iloc[:, j] for j in range(X.shape[1])] if hasattr(X, "iloc") else X.get_columns()
    typed = [_is_categorical(str(column.dtype).lower()) for column in columns]
    return Table([_numeric(np.asarray(column)) for column in columns], names, typed)


def _is_categorical(dtype: str) -> bool:
    """Whether the name of a type of pandas or polars is that of categories or strings."""
    return dtype.startswith(("category", "categorical", "enum", "str", "utf8"))


def _numeric(column: np.ndarray) -> np.ndarray:
    """A column of numbers as it is, any other as one of objects."""
    if column.dtype.kind in "biuf":
        return column
    return np.array([*column, None], dtype=object)[:-1]  # dates stay dates


def is_missing(value: Any) -> bool:
    """Whether this is None, NaN, or what data frames have in their place."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def _plain(value: Any, name: str) -> Any:
    """A category as Python has it, so that files can hold it."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float):
        raise HopfieldError(
            f"column {name} holds a {type(value).__name__}: argument must be a string or a number, or None; turn dates "
            "into numbers, anything else into strings"
        )
    return value
