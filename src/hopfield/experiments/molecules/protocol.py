"""The protocol: random splits of every set; what is chosen is chosen by validation molecules, and tested once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from hopfield.datasets.molecules import MoleculeDataset, load_molecules
from hopfield.errors import HopfieldError
from hopfield.estimators.molecules import HopfieldMoleculeClassifier, MoleculeFeatures
from hopfield.estimators.molecules.classifier import default_lookup
from hopfield.experiments.molecules.rivals import RIVALS, Inputs, tuned
from hopfield.experiments.molecules.scores import auc
from hopfield.experiments.record import digest, recorded, run_tasks
from hopfield.progress import Progress

OURS = "Hopfield lookup"
METHODS = (OURS, *RIVALS)
SETS = ("hiv", "bace", "bbbp", "sider")
SPLITS = 5
# molecules that a set must have, and of each class of a task, so that all parts of a split have both
_LEAST, _LEAST_OF_A_CLASS = 30, 10


@dataclass(frozen=True)
class Outcome:
    """One method on one split of a set.

    Attributes:
        data: name of the set.
        method: name of the method.
        split: from 0.
        auc: area under the ROC curve on the test molecules, the mean over tasks.
        chosen: what was chosen on the validation molecules.
        seconds: processor time of one core.
        seed: that the splits and all other random numbers came from.
        settings: digest of the settings of the method and of the data.
        molecules: how many molecules the set has.
        notes: what was left out of the set.
    """

    data: str
    method: str
    split: int
    auc: float
    chosen: str
    seconds: float
    seed: int
    settings: str
    molecules: int
    notes: str

    def __post_init__(self) -> None:
        if not 0 <= self.auc <= 1:
            raise ValueError("an area under the ROC curve is from 0 to 1")


def run(
    sets: Sequence[str] = SETS,
    *,
    data_dir: str | Path | None = None,
    record: Path,
    methods: Sequence[str] = METHODS,
    jobs: int = 2,
    backend: str = "loky",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Run all methods on all splits of all sets.

    What is done is appended to `record`, and not done again by a later call with the same seed and settings.

    Args:
        sets: names of the sets, see `hopfield.datasets.load_molecules`.
        data_dir: the folder of the data.
        record: a file with one line of JSON per outcome.
        methods: which methods.
        jobs: how many processes work.
        backend: of joblib: "loky" on this machine, "dask" or "ray" on a cluster that exists.
        seed: of everything random.
        progress: called after every outcome.

    Raises:
        HopfieldError: unknown sets or methods, or none, missing data, an unknown backend or one that is not installed.
    """
    for what, given, names in (("sets", sets, SETS), ("methods", methods, METHODS)):
        if not given or set(given) - set(names):
            raise HopfieldError(f"{what} must be from {', '.join(names)}; got {', '.join(given) or 'none'}")
    known = [outcome for outcome in recorded(record, Outcome) if outcome.seed == seed]
    done: list[Outcome] = []
    tasks: list[Any] = []
    for name in dict.fromkeys(sets):
        data = load_molecules(name, data_dir=data_dir)
        _check_enough(data)
        settings = {method: settings_of(data, method) for method in methods}
        own = [o for o in known if o.data == name and o.split in range(SPLITS)]
        found = {(o.method, o.split): o for o in own if settings.get(o.method) == o.settings}
        done += found.values()
        wanted = [(method, split) for method in settings for split in range(SPLITS) if (method, split) not in found]
        inputs = Inputs.of(data.smiles) if any(method != OURS for method, _ in wanted) else None
        tasks += [(evaluate, (data, inputs, method, split, seed)) for method, split in wanted]
    return done + run_tasks(tasks, record, jobs=jobs, backend=backend, progress=progress, before=len(done))


def _check_enough(data: MoleculeDataset) -> None:
    """Refuse sets too small for splits with both classes in every part."""
    positive, known = np.nansum(data.labels, 0), (~np.isnan(data.labels)).sum(0)
    rare = np.minimum(positive, known - positive).max(initial=0)  # of the task that has most of both
    if len(data.smiles) < _LEAST or rare < _LEAST_OF_A_CLASS:
        raise HopfieldError(
            f"{data!r} is too small for splits of 8:1:1: there must be {_LEAST} molecules, {_LEAST_OF_A_CLASS} of each "
            "class"
        )


def settings_of(data: MoleculeDataset, method: str) -> str:
    """The digest of everything that shapes the outcomes of a method, but for the seed."""
    if method == OURS:
        own: Any = [part.get_params() for part in (MoleculeFeatures(), default_lookup(len(data.smiles)))]
    else:
        own = [RIVALS[method].cells(len(data.smiles)), RIVALS[method].scores.__name__]
    return digest({"own": own, "data": [data.smiles, np.nan_to_num(data.labels, nan=-1).tolist()]})


def parts(data: MoleculeDataset, split: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test molecules of a split, 8:1:1; of a single task each with its share of positives."""
    everything = np.arange(len(data.smiles))
    number = np.random.SeedSequence([seed, split]).generate_state(1)[0] % 2**31

    def parted(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        labels = data.labels[rows, 0] if len(data.tasks) == 1 else None
        rest, taken = train_test_split(rows, test_size=share, stratify=labels, random_state=int(number))
        return rest, taken

    rest, test = parted(everything, 0.1)
    train, validation = parted(rest, 1 / 9)
    return train, validation, test


def evaluate(data: MoleculeDataset, inputs: Inputs | None, method: str, split: int, seed: int) -> list[Outcome]:
    """One method on one split of a set."""
    torch.set_num_threads(1)  # processes share the cores
    begin = time.process_time()
    train, validation, test = parts(data, split, seed)
    scores, chosen = predictions(data, inputs, method, train, validation, test, seed)
    seconds = round(time.process_time() - begin, 2)
    notes = (
        f"{len(data.unreadable)} unreadable rows, {data.repeated} repeated, {data.contradictions} contradicting labels"
    )
    score = auc(data.labels[test], scores)
    settings = settings_of(data, method)
    return [Outcome(data.name, method, split, score, chosen, seconds, seed, settings, len(data.smiles), notes)]


def predictions(
    data: MoleculeDataset,
    inputs: Inputs | None,
    method: str,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, str]:
    """Scores of the test molecules, (n, T), and what was chosen for them. Their labels are not looked at."""
    if method != OURS:
        if inputs is None:
            raise HopfieldError(f"{method} needs the fingerprints of the molecules, Inputs.of(smiles)")
        return tuned(RIVALS[method], inputs, data.labels, train, validation, test, seed)
    learnt = np.concatenate([train, validation])
    single = len(data.tasks) == 1
    labels = data.labels[learnt, 0].astype(int) if single else data.labels[learnt]
    model = HopfieldMoleculeClassifier(lookup=default_lookup(len(data.smiles)), random_state=seed)
    found: np.ndarray = model.fit([data.smiles[i] for i in learnt], labels).predict_proba(
        [data.smiles[i] for i in test]
    )
    return (found[:, 1:] if single else found), "defaults"
