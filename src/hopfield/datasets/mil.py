"""Data sets of multiple-instance learning: bags of instances, of which only the bags have labels."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hopfield.bags import Bags
from hopfield.datasets.folder import find
from hopfield.errors import HopfieldError

_SCIPY = '{} is a MATLAB file, which needs scipy, which is not installed: pip install "hopfield[learn]"'
_FOLDS = "folds_5x10.npz"
_MAGICS = (
    "https://raw.githubusercontent.com/MAGICS-LAB/NonparametricHopfield/13ce6a8d9bec319beb8cb7f21ce42fc5eae32489/"
    "datasets/mil_datasets/"
)
_ANDREWS = 'Andrews, Tsochantaridis and Hofmann, "Support vector machines for multiple-instance learning", NIPS 2002'
_DIETTERICH = (
    'Dietterich, Lathrop and Lozano-Pérez, "Solving the multiple instance problem with axis-parallel rectangles", '
    "Artificial Intelligence 89, 1997"
)
_KANDEMIR = (
    'Kandemir, Zhang and Hamprecht, "Empowering multiple instance histopathology cancer diagnosis by cell graphs", '
    "MICCAI 2014"
)


@dataclass(frozen=True, eq=False, repr=False)
class MILDataset:
    """Bags of instances with a label for each bag, and perhaps folds to cross-validate on.

    Attributes:
        name: short, for titles.
        bags: B bags of float32 instances (total, d).
        labels: int64 (B,), 1 for positive bags, 0 for negative ones.
        folds: bool (repetitions, folds, B), True for the bags that a fold tests on; in each repetition every bag is
            tested exactly once. None: no folds are known.
        source: where the data comes from, whom to cite, and which file was read, for people.
    """

    name: str
    bags: Bags
    labels: np.ndarray
    folds: np.ndarray | None
    source: str

    def __repr__(self) -> str:
        sizes, d = self.bags.sizes, self.bags.instances.shape[1]
        count, positive = len(self.bags), int(self.labels.sum())
        folds = "no folds" if self.folds is None else f"{self.folds.shape[0]} x {self.folds.shape[1]} folds"
        return (
            f"MILDataset({self.name}: {count} bags, {positive} positive, of {int(sizes.min())} to {int(sizes.max())} "
            f"instances, {self.bags.total} in all; {d} features; {folds})"
        )


@dataclass(frozen=True)
class _Known:
    """What a data set is and where its file is; `size` is (bags, instances), None where nobody counted."""

    about: str
    file: str
    features: int
    size: tuple[int, int] | None
    also: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = None
    origin: str | None = None


def _corel(animal: str, instances: int, sha256: str) -> _Known:
    file = f"{animal}_100x100_matlab.mat"
    about = f"{animal.capitalize()}: segments of Corel images, standardised over a larger pool; {_ANDREWS}"
    return _Known(
        about, file, 230, (200, instances), (f"{animal}_100x100.mat", f"{animal}.mat"), _MAGICS + file, sha256
    )


_KNOWN = {
    "fox": _corel("fox", 1320, "9c550a12a4417f99eb81ad6fd16506ab1772a18dcb5fcb2e7a555a99f07c7ad2"),
    "tiger": _corel("tiger", 1220, "b37a443b25ed98089d86900db6dc3774ce4293e56c186337518e977ffff0b817"),
    "elephant": _corel("elephant", 1391, "b871820b5df11ef9050e0c0ec73e3d4d95b3e59b64bac237ec115548a5024a13"),
    "musk1": _Known(
        f"Musk1: conformations of molecules; {_DIETTERICH}",
        "musk1norm_matlab.mat",
        166,
        (92, 476),
        ("clean1.data",),
        _MAGICS + "musk1norm_matlab.mat",
        "18de13dee710c0a7cbcaf2a5b6ab66dd74145c6b8bc5980d7d14c18cb19e7ea0",
    ),
    "musk2": _Known(
        f"Musk2: conformations of molecules; {_DIETTERICH}",
        "musk2_zscored.npz",
        166,
        (102, 6598),
        ("clean2.data",),
        origin="clean2.data from the UCI Machine Learning Repository "
        "(https://archive.ics.uci.edu/dataset/75/musk+version+2)",
    ),
    "ucsb": _Known(
        f"UCSB breast cancer: patches of histopathological images; {_KANDEMIR}",
        "ucsb_breast_cancer.csv",
        708,
        None,
        origin="ucsb_breast_cancer.csv from the repository rosasalberto/mil on GitHub "
        "(mil/data/datasets/csv/ucsb_breast_cancer.csv)",
    ),
}


def load_mil(name: str, *, data_dir: str | Path | None = None, download: bool = True) -> MILDataset:
    """One of the common data sets of multiple-instance learning, with features as they are in its file.

    Fox, Tiger and Elephant share many of their bags: never train on one and test on another. In all files that are
    known the positive bags come first: shuffle before splitting, or use the folds.

    Args:
        name: "fox", "tiger", "elephant", "musk1", "musk2" or "ucsb".
        data_dir: the folder with the data files, in itself or in its folder `mil`; None: that of the environment
            variable HOPFIELD_DATA, and without that the cache. Musk1 may also be the raw clean1.data, Musk2 be
            musk2_zscored.npz or the raw clean2.data.
        download: whether to download a file that is missing in the cache. Musk2 and UCSB cannot be downloaded.

    Returns:
        The `MILDataset`, its bags in the order of their ids; with folds if folds_5x10.npz lies beside its file.

    Raises:
        HopfieldError: an unknown name, a file that is missing, damaged, or holds something else, a download that
            failed, a missing library. The error names the file, or says where to get it and where to put it.
    """
    if not isinstance(name, str) or name not in _KNOWN:
        raise HopfieldError(f"there is no multiple-instance data set {name!r}; choose one of {', '.join(_KNOWN)}")
    known = _KNOWN[name]
    path = find(
        f"mil/{known.file}",
        also=known.also,
        url=known.url,
        sha256=known.sha256,
        origin=known.origin,
        data_dir=data_dir,
        download=download,
    )
    instances, ids, labels = _READERS[path.suffix](path, known)  # (total, d), (total,), (total,)
    bags, y = _grouped(path, instances, ids, labels)
    if known.size is not None and (len(bags), bags.total) != known.size:
        raise HopfieldError(
            f"{path} must hold {known.size[0]} bags of {known.size[1]} instances, got {len(bags)} of {bags.total}; "
            "it is incomplete or another file: fetch it again"
        )
    kind = ", standardised" if path.suffix in {".mat", ".npz"} and name.startswith("musk") else ""
    folds, folds_text = _folds(path.with_name(_FOLDS), name, len(bags))
    return MILDataset(name, bags, y, folds, f"{known.about}; read from {path}{kind}{folds_text}")


def _grouped(path: Path, instances: np.ndarray, ids: np.ndarray, labels: np.ndarray) -> tuple[Bags, np.ndarray]:
    """The bags in ascending order of id, and their labels, 0 or 1."""
    values = set(np.unique(labels).tolist())
    if not (values <= {0, 1} or values <= {-1, 1}):
        shown = ", ".join(f"{value:g}" for value in sorted(values)[:5])
        raise HopfieldError(f"the labels in {path} must be 0 and 1, or -1 and 1, got {shown}; mend or replace the file")
    order, first, which = np.unique(ids, return_index=True, return_inverse=True)
    y = (labels[first] > 0).astype(np.int64)
    wrong = np.flatnonzero(y[which] != (labels > 0))
    if len(wrong):
        raise HopfieldError(
            f"all instances of a bag must have its label, but those of bag {order[which[wrong[0]]]} in {path} "
            "have both; mend or replace the file"
        )
    with np.errstate(over="ignore"):
        narrow = instances.astype(np.float32)
    if count := int((~np.isfinite(narrow)).sum()):
        raise HopfieldError(
            f"the features in {path} must be finite in float32, but {count} of {narrow.size} are not; "
            "mend or replace the file"
        )
    return Bags.from_groups(torch.from_numpy(narrow), which), y


def _folds(path: Path, name: str, count: int) -> tuple[np.ndarray | None, str]:
    """The folds of a set, bool (repetitions, folds, B), from a file that may be absent, and what to say of it."""
    if not path.is_file():
        return None, ""
    found = _arrays(path, (name,))
    if name not in found:
        return None, ""
    masks = found[name]
    wrong = masks.ndim != 3 or masks.shape[-1] != count or masks.dtype.kind not in "iub"
    if wrong or not (np.isin(masks, (0, 1)).all() and (masks.sum(1, dtype=np.int64) == 1).all()):
        raise HopfieldError(
            f"{name} in {path} must be masks of 0 and 1, (repetitions, folds, {count}), that test every bag once a "
            f"repetition; got {masks.dtype} {masks.shape}; remove the file to do without folds, or replace it"
        )
    return masks.astype(bool), f", folds from {path.name}"


# ------------------------------------------------------------------------------------------------------------ the files
# Readers give the instances (total, d), and the id and the label of the bag of each, (total,).
_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def _damaged(path: Path, reason: object) -> HopfieldError:
    return HopfieldError(f"{path} is damaged, truncated or of another kind, fetch it again: {_short(reason)}")


def _short(reason: object) -> str:
    return " ".join(str(reason).split())[:200] or type(reason).__name__


def _unreadable(path: Path, error: OSError) -> HopfieldError:
    return HopfieldError(f"cannot read {path}: {error.strerror or _short(error)}")


def _checked(path: Path, known: _Known, instances: Any, ids: Any, labels: Any) -> _Rows:
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


def _read_mat(path: Path, known: _Known) -> _Rows:
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


def _arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that a .npz file has."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # numpy leaves damaged ones open
            return {name: np.asarray(file[name]) for name in names if name in file}
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # zipfile and numpy have many for damaged files
        unpickled = "pickle" in str(error) or "Object" in str(error)  # numpy would advise to trust the file
        raise _damaged(path, "Python objects are never unpickled" if unpickled else error) from error


def _read_npz(path: Path, known: _Known) -> _Rows:
    names = ("X", "bag", "y_bag")
    found = _arrays(path, names)
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


def _table(path: Path, names: list[str], rows: list[np.ndarray]) -> _Rows:
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


def _read_clean(path: Path, known: _Known) -> _Rows:
    """UCI's layout of Musk: molecule, conformation, features, class."""
    names, rows = [], []
    for line, row in _lines(path, known.features + 3):
        names.append(row[0].strip())
        rows.append(_numbers(path, line, row[2:]))
    return _table(path, names, rows)


def _read_csv(path: Path, known: _Known) -> _Rows:
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


_READERS = {".mat": _read_mat, ".npz": _read_npz, ".data": _read_clean, ".csv": _read_csv}
