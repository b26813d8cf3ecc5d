"""Small tables of the UCI repository with the splits that Klambauer et al. 2017 and Ramsauer et al. 2021 report on."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from lzma import LZMAError
from pathlib import Path

import numpy as np

from hopfield.datasets.folder import asked_for, find
from hopfield.errors import HopfieldError

ARCHIVE = "uci/uci_small_77.tar.xz"
_ORIGIN = (
    "the folder datasets of the repository hadijomaa/dataset2vec on GitHub (commit 42058daf), with the files "
    "NAME/NAME_py.dat, labels_py.dat, folds_py.dat and validation_folds_py.dat, loose or packed as uci_small_77.tar.xz,"
)
_FILES = ("labels_py.dat", "folds_py.dat", "validation_folds_py.dat")  # beside the features
# the sets of fewer than 1000 rows, which are "small" in the papers
_NAMES = """
acute-inflammation acute-nephritis annealing arrhythmia audiology-std balance-scale balloons blood breast-cancer
breast-cancer-wisc breast-cancer-wisc-diag breast-cancer-wisc-prog breast-tissue congressional-voting
conn-bench-sonar-mines-rocks conn-bench-vowel-deterding credit-approval cylinder-bands dermatology echocardiogram
ecoli energy-y1 energy-y2 fertility flags glass haberman-survival hayes-roth heart-cleveland heart-hungarian
heart-switzerland heart-va hepatitis horse-colic ilpd-indian-liver ionosphere iris lenses libras low-res-spect
lung-cancer lymphography mammographic molec-biol-promoter monks-1 monks-2 monks-3 musk-1
oocytes_trisopterus_nucleus_2f oocytes_trisopterus_states_5b parkinsons pima pittsburg-bridges-MATERIAL
pittsburg-bridges-REL-L pittsburg-bridges-SPAN pittsburg-bridges-T-OR-D pittsburg-bridges-TYPE planning post-operative
primary-tumor seeds soybean spect spectf statlog-australian-credit statlog-heart statlog-vehicle synthetic-control
teaching tic-tac-toe trains vertebral-column-2clases vertebral-column-3clases wine zoo
"""
SMALL = tuple(_NAMES.split())


@dataclass(frozen=True, eq=False, repr=False)
class UCIDataset:
    """A table with a class for every row, and splits of its rows.

    Attributes:
        name: of the set, as in Fernández-Delgado et al. 2014.
        features: float64 (n, d), standardised over all rows but for a few sets.
        labels: int64 (n,), 0 … C - 1.
        test: bool (splits, n), True for the test rows of a split.
        validation: bool (splits, n), True for its validation rows. The others are training rows.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    validation: np.ndarray

    @property
    def training(self) -> np.ndarray:
        """Bool (splits, n), True for the training rows of a split."""
        rest: np.ndarray = ~(self.test | self.validation)
        return rest

    def __repr__(self) -> str:
        n, d = self.features.shape
        return (
            f"UCIDataset({self.name}: {n} rows, {d} columns, {self.labels.max() + 1} classes, {len(self.test)} splits)"
        )


def load_uci(names: str | Sequence[str] | None = None, *, data_dir: str | Path | None = None) -> dict[str, UCIDataset]:
    """Small tables by name, in alphabetical order.

    The four splits of a set are draws of a quarter of its rows for the test, not a partition; eleven sets have the
    same, published, test rows in all four.

    Args:
        names: which set or sets; None: the 75 of fewer than 1000 rows (there are two of 1000 as well).
        data_dir: the folder with uci_small_77.tar.xz, or with the sets as folders NAME, in itself or in its folder
            `uci`; None: that of the environment variable HOPFIELD_DATA, and without that the cache. There is no
            download.

    Returns:
        {name: `UCIDataset`}, with `features` (n, d), `labels` (n,), and the masks `training`, `validation` and `test`,
        bool (4, n).

    Raises:
        HopfieldError: an unknown name; files that are missing or damaged. The error says where to get them and where
            to put them.

    Example:
        >>> wine = load_uci("wine", data_dir="~/data")["wine"]
        >>> wine.features[wine.training[0]]
    """
    files = _files(data_dir)
    known = sorted({path.split("/")[0] for path in files if path.split("/")[1] in _FILES})
    names = names if names is None else [names] if isinstance(names, str) else list(names)
    for name in names or ():
        if name not in known:
            close = get_close_matches(str(name), known, 3)
            hint = f"did you mean {' or '.join(close)}? There are {len(known)}" if close else ", ".join(known)
            raise HopfieldError(f"there is no set {name!r}; {'' if close else 'choose from '}{hint}")
    chosen = [name for name in known if name in SMALL] if names is None else sorted(set(names))
    if names is None and not chosen:
        raise HopfieldError(f"there are none of the 75 small sets among {', '.join(known)[:200]}; get {_ORIGIN}")
    return {name: _dataset(name, files) for name in chosen}


def _files(data_dir: str | Path | None) -> Mapping[str, bytes]:
    """The contents of NAME/file by that path."""
    folder, _ = asked_for(data_dir)
    for place in () if folder is None else (folder / "uci", folder):
        if loose := list(place.glob("*/*_py.dat")):
            return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in loose if file.is_file()}
    path = find(ARCHIVE, origin=_ORIGIN, data_dir=data_dir)
    try:
        with tarfile.open(path, "r:xz") as archive:
            members = [member for member in archive.getmembers() if member.isfile()]
            contents = {m.name: file.read() for m in members if (file := archive.extractfile(m)) is not None}
    except (OSError, EOFError, tarfile.TarError, LZMAError) as error:
        raise HopfieldError(f"{path} is damaged, or no archive of the small sets: {error}; get {_ORIGIN}") from error
    return {"/".join(Path(name).parts[-2:]): content for name, content in contents.items()}


def _dataset(name: str, files: Mapping[str, bytes]) -> UCIDataset:
    parts = []
    for file in (f"{name}_py.dat", *_FILES):
        content = files.get(f"{name}/{file}")
        if content is None:
            raise HopfieldError(f"the set {name} lacks its file {file}; get {_ORIGIN}")
        try:
            parts.append(np.loadtxt(io.BytesIO(content), delimiter=",", ndmin=2))
        except ValueError as error:
            raise HopfieldError(f"{name}/{file} must hold numbers: {error}; get {_ORIGIN}") from error
    features, labels, test, validation = parts
    n = len(features)
    splits = np.isin(test, (0, 1)).all() and np.isin(validation, (0, 1)).all() and not (test * validation).any()
    splits = splits and bool(test.any(0).all() and (test + validation < 1).any(0).all())
    whole = labels.shape == (n, 1) and ((labels >= 0) & (labels < n) & (labels == labels.round())).all()
    if not (splits and whole and test.shape == validation.shape and len(test) == n and np.isfinite(features).all()):
        raise HopfieldError(
            f"the files of {name} do not fit together: features {features.shape}, labels {labels.shape}, test rows "
            f"{test.shape}, validation rows {validation.shape}; get {_ORIGIN}"
        )
    masks = (test.T.astype(bool), validation.T.astype(bool))
    return UCIDataset(name, features, labels[:, 0].astype(np.int64), *masks)
