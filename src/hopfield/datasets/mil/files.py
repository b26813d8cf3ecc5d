"""Readers of the files of the data sets: MATLAB, numpy, UCI's layout, and tables.

They give the instances (total, d), and the id and the label of the bag of each, (total,).
"""

from __future__ import annotations

import csv
import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hopfield.datasets.mil.known import Known
from hopfield.errors import HopfieldError

_SCIPY = '{} is a MATLAB file, which needs scipy, which is not installed: pip install "hopfield[learn]"'

Rows: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


def check_sum(path: Path, known: Known) -> None:
    """Refuse a damaged copy of the file that is known: the parser of MATLAB files may crash, or read other numbers.

    Raises:
        HopfieldError: another checksum, or a file that cannot be read.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise HopfieldError(f"cannot read {path}: {error}") from error
    if found != known.sha256:
        raise _damaged(path, f"it has the size of the file that is known, but not its checksum, sha256 {known.sha256}")


def _damaged(path: Path, reason: object) -> HopfieldError:
    return HopfieldError(f"{path} is damaged, truncated or of another kind, fetch it again: {_short(reason)}")


def _short(reason: object) -> str:
    return " ".join(str(reason).split())[:200] or type(reason).__name__


def _unreadable(path: Path, error: OSError) -> HopfieldError:
    return HopfieldError(f"cannot read {path}: {error.strerror or _short(error)}")


def _checked(path: Path, known: Known, instances: Any, ids: Any, labels: Any) -> Rows:
    """Arrays from a binary file if they are of the right shapes and kinds, dense."""
    total = known.size[1] if known.size else None
    shapes = [tuple(getattr(array, "shape", ())) for array in (instances, ids, labels)]  # before any is made dense
    if shapes[0] != (total, known.features):
        raise _damaged(path, f"features must be {(total, known.features)}, got {shapes[0]}")
    if math.prod(shapes[1]) != total or math.prod(shapes[2]) != total:
        raise _damaged(path, f"there must be {total} ids and labels of bags, got {shapes[1]} and {shapes[2]}")
    X, bag, y = (_dense(array) for array in (instances, ids, labels))
    bag, y = bag.ravel(), y.ravel()
    if bag.dtype.kind not in "iu" or X.dtype.kind not in "fiu" or y.dtype.kind not in "fiu":
        raise _damaged(path, f"expected numbers and integer ids, got {X.dtype}, {y.dtype} and ids {bag.dtype}")
    return X, bag, y


def _dense(array: Any) -> np.ndarray:
    if hasattr(array, "toarray"):
        array.check_format(full_check=True)  # indices out of bounds would write anywhere
        array = array.toarray()
    return np.asarray(array)


def _read_mat(path: Path, known: Known) -> Rows:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise HopfieldError(_SCIPY.format(path)) from error
    names = ("features", "bag_ids", "labels")
    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file:  # what they tell of is checked below
            found = loadmat(file, variable_names=names)
        return _checked(path, known, *(found[name] for name in names))
    except HopfieldError:
        raise
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except KeyError as error:
        raise _damaged(path, f"it must hold {', '.join(names)}; there is no {error}") from error
    except Exception as error:  # the parser of a damaged file stumbles over anything
        raise _damaged(path, error) from error


def arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that a .npz file has."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # numpy leaves damaged ones open
            return {name: np.asarray(file[name]) for name in names if name in file}
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # zipfile and numpy have many for damaged files
        unpickled = "pickle" in str(error) or "Object" in str(error)  # numpy would advise to trust the file
        raise _damaged(path, "Python objects are never unpickled" if unpickled else error) from error


def _read_npz(path: Path, known: Known) -> Rows:
    names = ("X", "bag", "y_bag")
    found = arrays(path, names)
    if len(found) < len(names):
        raise _damaged(path, f"it must hold {', '.join(names)}, got {', '.join(found) or 'none of them'}")
    X, bag, y = found.values()
    if bag.dtype.kind not in "iu" or y.ndim != 1 or not np.array_equal(np.unique(bag), np.arange(1, len(y) + 1)):
        raise _damaged(path, f"bag must hold the ids 1 to {len(y)}, one for each entry of y_bag")
    return _checked(path, known, X, bag, y[bag.astype(np.int64) - 1])


def _lines(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not empty, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row and len(row) != columns:
                    raise _damaged(
                        path, f"every line must have {columns} columns, line {reader.line_num} has {len(row)}"
                    )
                if row:
                    yield reader.line_num, row
    except OSError as error:
        raise _unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, error) from error


def _numbers(path: Path, line: int, fields: list[str]) -> np.ndarray:
    try:
        return np.array(fields, dtype=np.float64)
    except ValueError as error:
        raise _damaged(path, f"line {line} must hold numbers, but {_short(error)}") from error


def _table(path: Path, names: list[str], rows: list[np.ndarray]) -> Rows:
    """From the bag of each row, and rows of features and, at the end, the label."""
    if not rows:
        raise _damaged(path, "it holds no instances")
    table = np.stack(rows)
    return table[:, :-1], _ids(names), table[:, -1]


def _ids(names: list[str]) -> np.ndarray:
    """Integers in the order of bags: the names themselves if they are integers, else in the order they appear."""
    try:
        numbers = np.array(names, dtype=np.float64)
        if np.array_equal(numbers, np.rint(numbers)) and np.abs(numbers).max() < 2**53:
            return numbers.astype(np.int64)
    except ValueError:
        pass
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names])


def _read_clean(path: Path, known: Known) -> Rows:
    """UCI's layout of Musk: molecule, conformation, features, class."""
    names, rows = [], []
    for line, row in _lines(path, known.features + 3):
        names.append(row[0].strip())
        rows.append(_numbers(path, line, row[2:]))
    return _table(path, names, rows)


def _read_csv(path: Path, known: Known) -> Rows:
    """Label, bag, features; the first line may be a header: names, or the numbers of the columns."""
    names, rows = [], []
    numbered = [str(column) for column in range(known.features + 2)]
    for line, row in _lines(path, known.features + 2):
        if line == 1 and (row == numbered or not any(_is_number(field) for field in row)):
            continue
        names.append(row[1].strip())
        rows.append(_numbers(path, line, [*row[2:], row[0]]))
    return _table(path, names, rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


READERS = {".mat": _read_mat, ".npz": _read_npz, ".data": _read_clean, ".csv": _read_csv}
