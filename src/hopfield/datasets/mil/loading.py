"""Data sets of multiple-instance learning by name, from files that are checked before they are believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hopfield.bags import Bags
from hopfield.datasets.folder import find
from hopfield.datasets.mil.files import READERS, arrays, check_sum
from hopfield.datasets.mil.known import KNOWN
from hopfield.errors import HopfieldError

_FOLDS = "folds_5x10.npz"


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
        The `MILDataset`, its bags in the order of their ids; with folds if folds_5x10.npz lies beside its file: an
        array of 0 and 1 by the name of the set, (repetitions, folds, B), 1 for the bags that a fold tests on.

    Raises:
        HopfieldError: an unknown name, a file that is missing, damaged, or holds something else, a download that
            failed, a missing library. The error names the file, or says where to get it and where to put it.
    """
    if not isinstance(name, str) or name not in KNOWN:
        raise HopfieldError(f"there is no multiple-instance data set {name!r}; choose one of {', '.join(KNOWN)}")
    known = KNOWN[name]
    path = find(
        f"mil/{known.file}",
        also=known.also,
        url=known.url,
        sha256=known.sha256,
        origin=known.origin,
        data_dir=data_dir,
        download=download,
    )
    if path.name == known.file and path.stat().st_size == known.bytes:
        check_sum(path, known)
    instances, ids, labels = READERS[path.suffix](path, known)  # (total, d), (total,), (total,)
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
    found = arrays(path, (name,))
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
