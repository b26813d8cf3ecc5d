"""The table of repertoires: which there are, where their sequences are, their labels, and what else is known."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hopfield.errors import HopfieldError

_ENDINGS = (".tsv", ".csv")
_MISSING = ("", "NA", "N/A", "n/a", "nan", "NaN", "NULL", "None")
# "007", "1_2", and integers that a float cannot hold are names
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")


@dataclass(frozen=True)
class Table:
    """A table of text: columns by name, all of one length."""

    path: Path
    columns: dict[str, list[str]]

    def column(self, name: str, what: str) -> list[str]:
        """One column.

        Raises:
            HopfieldError: there is no such column.
        """
        if name not in self.columns:
            raise HopfieldError(f"{self.path} has no column {name!r} for {what}; its columns are {list(self.columns)}")
        return self.columns[name]


def read_table(path: Path) -> Table:
    """A table of text with the names of the columns in its first line; parted by tabs, in a .csv file by commas.

    Raises:
        HopfieldError: a file that cannot be read, two columns of one name, or lines of different lengths.
    """
    if path.is_dir():
        raise HopfieldError(f"{path} is a folder; give the table of repertoires, {path / 'metadata.tsv'} say")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = csv.reader(file, delimiter="," if path.suffix.lower() == ".csv" else "\t")
            lines = [(found.line_num, [cell.strip() for cell in line]) for line in found if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HopfieldError(f"cannot read the table {path}: {error}") from error
    if len(lines) < 2:
        raise HopfieldError(f"{path} must have a line of column names and a line for each repertoire; it has none")
    names = lines[0][1]
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise HopfieldError(f"{path} must have columns of different names, got {twice} more than once; rename them")
    for number, line in lines:
        if len(line) != len(names):
            raise HopfieldError(
                f"{path}, line {number}: expected {len(names)} columns as in the first line, got {len(line)}; mend it"
            )
    cells = [line for _, line in lines[1:]]
    return Table(path, {name: [line[i] for line in cells] for i, name in enumerate(names)})


def find_files(table: Table, folder: Path | None, id_column: str) -> tuple[tuple[str, ...], list[Path]]:
    """The names of repertoires, and the file of each.

    Raises:
        HopfieldError: no column of IDs, an empty ID, an ID twice, or a file that is not there.
    """
    ids = table.column(id_column, "the IDs of repertoires")
    if not all(ids):
        raise HopfieldError(f"{table.path}: {ids.count('')} rows have no ID in the column {id_column!r}; fill them in")
    names = tuple(_stem(name) for name in ids)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise HopfieldError(f"{table.path}: IDs must differ, got {_some(twice)} more than once; remove the double rows")
    if folder is None:
        beside = table.path.parent / "repertoires"
        folder = beside if beside.is_dir() else table.path.parent
    files = [_find(folder, name) for name in ids]
    missing = [name for name, file in zip(ids, files, strict=True) if file is None]
    if missing:
        raise HopfieldError(
            f"{folder} must hold a file for each of {len(ids)} IDs (with or without .tsv), and has none for "
            f"{_some(missing)}; check the argument repertoires and the column {id_column!r}"
        )
    return names, [file for file in files if file is not None]


def find_labels(table: Table, label: str | None, positive: str | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The label of each repertoire, int64 (B,), and the names of the classes.

    Raises:
        HopfieldError: no such column, rows without a label, or no rows of the positive class.
    """
    if label is None:
        if positive is not None:
            raise HopfieldError(f"positive={positive!r} needs a column of labels; name it with label")
        return None, ()
    values = table.column(label, "the labels")
    missing = [i for i, value in enumerate(values) if value in _MISSING]
    if missing:
        first = next(iter(table.columns))
        rows = [f"{table.columns[first][i]} (row {i + 1})" for i in missing]
        raise HopfieldError(f"{table.path}: no label in the column {label!r} for {_some(rows)}; remove these rows")
    classes = tuple(sorted(set(values)))
    if positive is None:
        return np.array([classes.index(value) for value in values], np.int64), classes
    positive = str(positive)
    if positive not in classes:
        raise HopfieldError(f"positive must be one of the labels {_some(list(classes))}, got {positive!r}")
    others = [name for name in classes if name != positive]
    negative = others[0] if len(others) == 1 else f"not {positive}"
    return np.array([int(value == positive) for value in values], np.int64), (negative, positive)


def find_metadata(table: Table, without: set[str | None]) -> dict[str, np.ndarray]:
    """The other columns: integers and numbers where all entries are, else text; nan for what misses among numbers."""
    return {name: _array(values) for name, values in table.columns.items() if name not in without}


def _array(values: list[str]) -> np.ndarray:
    try:
        if all(str(int(value)) == value for value in values):  # "007" is a name, not a number
            return np.array([int(value) for value in values], np.int64)
    except (ValueError, OverflowError):
        pass
    present = [value for value in values if value not in _MISSING]
    if present and all(_NUMBER.fullmatch(value) for value in present):
        return np.array([np.nan if value in _MISSING else float(value) for value in values], np.float64)
    return np.array(values, np.str_)


def _stem(name: str) -> str:
    return name[:-4] if name.lower().endswith(_ENDINGS) and len(name) > 4 else name


def _find(folder: Path, name: str) -> Path | None:
    places = (folder / f"{name}{ending}" for ending in ("", *_ENDINGS))
    return next((place for place in places if place.is_file()), None)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
