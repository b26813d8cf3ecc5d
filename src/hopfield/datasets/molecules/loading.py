"""Sets of molecules by name: SMILES and labels from files that are checked, and what was left out of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hopfield.datasets.folder import find
from hopfield.datasets.molecules.features import canonical_smiles
from hopfield.datasets.molecules.known import KNOWN
from hopfield.errors import HopfieldError

# names that the column of molecules has in one copy or another
_SMILES = ("smiles", "mol")


@dataclass(frozen=True, eq=False, repr=False)
class MoleculeDataset:
    """Molecules with labels for one question or several.

    Attributes:
        name: of the set.
        smiles: the molecules, each once, as canonical SMILES.
        labels: float64 (n, T), 0 or 1, NaN where unknown.
        tasks: names of the T questions.
        unreadable: the rows of the file, from 0, whose SMILES RDKit cannot read. They are left out.
        repeated: how many rows were merged with an earlier one of the same molecule.
        contradictions: how many labels are unknown because rows of the same molecule have both.
        source: where the data comes from, whom to cite, and which file was read.
    """

    name: str
    smiles: tuple[str, ...]
    labels: np.ndarray
    tasks: tuple[str, ...]
    unreadable: tuple[int, ...]
    repeated: int
    contradictions: int
    source: str

    def __repr__(self) -> str:
        positive = "" if len(self.tasks) > 1 else f", {int(np.nansum(self.labels))} positive"
        return (
            f"MoleculeDataset({self.name}: {len(self.smiles)} molecules{positive}, {len(self.tasks)} task"
            f"{'s' * (len(self.tasks) > 1)}; left out: {len(self.unreadable)} unreadable, {self.repeated} repeated, "
            f"{self.contradictions} contradicting labels)"
        )


def load_molecules(name: str, *, data_dir: str | Path | None = None, download: bool = True) -> MoleculeDataset:
    """One of four sets of molecules of MoleculeNet. Needs RDKit: pip install "hopfield[chem]".

    A molecule that is in several rows (the same canonical SMILES) is kept once, so that no split has it on both sides.
    A label on which its rows disagree is unknown; a molecule of which no label is known is left out.

    Args:
        name: "bace", "bbbp", "sider" or "hiv".
        data_dir: the folder with the CSV files, in itself or in its folder `molecules`; None: that of the environment
            variable HOPFIELD_DATA, and without that the cache.
        download: whether to download a file that is missing in the cache.

    Raises:
        HopfieldError: an unknown name, a file that is missing, damaged or of another form, a download that failed,
            RDKit not installed.
    """
    key = name.casefold() if isinstance(name, str) else ""
    if key not in KNOWN:
        raise HopfieldError(f"there is no set of molecules {name!r}; choose one of {', '.join(KNOWN)}")
    known = KNOWN[key]
    path = find(f"molecules/{known.file}", url=known.url, sha256=known.sha256, data_dir=data_dir, download=download)
    texts, labels, tasks = _table(path, known.targets)
    readable = canonical_smiles(texts)
    unreadable = tuple(i for i, smiles in enumerate(readable) if smiles is None)
    smiles, merged, contradictions = _merged(readable, labels)
    repeated = len(texts) - len(unreadable) - len(smiles)
    kept = ~np.isnan(merged).all(1)
    smiles = [text for text, keep in zip(smiles, kept, strict=True) if keep]
    source = f"{known.about}; read from {path}"
    return MoleculeDataset(key, tuple(smiles), merged[kept], tasks, unreadable, repeated, contradictions, source)


def _table(path: Path, targets: Sequence[str] | None) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """SMILES, labels (n, T) and the names of these."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            column = next((name for name in _SMILES if name in names), None)
            tasks = tuple(targets if targets is not None else (name for name in names if name != column))
            if column is None or not tasks or set(tasks) - set(names) or len(set(names)) < len(names) or "" in names:
                raise HopfieldError(
                    f"{path} must have a column smiles and the columns {', '.join(tasks) or 'of labels'}, each once; "
                    f"it has {', '.join(names)[:200] or 'none'}"
                )
            rows = list(reader)
            for i, row in enumerate(rows):
                if None in row or None in row.values():
                    raise HopfieldError(f"row {i} of {path} is cut off or too long; fetch the file again")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HopfieldError(f"cannot read {path}: {error}; fetch it again") from error
    labels = np.array([[_label(path, i, row[task]) for task in tasks] for i, row in enumerate(rows)])
    return [row[column] for row in rows], labels.reshape(len(rows), len(tasks)), tasks


def _label(path: Path, row: int, text: str) -> float:
    if text.strip() == "":
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value not in {0.0, 1.0}:
        raise HopfieldError(f"labels must be 0, 1 or empty, but row {row} of {path} has {text!r}; fetch the file again")
    return value


def _merged(smiles: Sequence[str | None], labels: np.ndarray) -> tuple[list[str], np.ndarray, int]:
    """Each molecule once, with the labels on which its rows agree, and on how many they do not."""
    places: dict[str, list[int]] = {}
    for i, text in enumerate(smiles):
        if text is not None:
            places.setdefault(text, []).append(i)
    merged = np.full((len(places), labels.shape[1]), math.nan)
    contradictions = 0
    for place, rows in enumerate(places.values()):
        known = ~np.isnan(labels[rows])
        positive, total = np.nansum(labels[rows], 0), known.sum(0)
        agree = (positive == 0) | (positive == total)
        merged[place] = np.where(agree & (total > 0), positive > 0, math.nan)
        contradictions += int((~agree).sum())
    return list(places), merged, contradictions
