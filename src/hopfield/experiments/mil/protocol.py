"""The protocol: ten-fold cross-validation, repeated five times; every choice is made inside a training part."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from hopfield.datasets import MILDataset, load_mil
from hopfield.errors import HopfieldError
from hopfield.estimators.bags import HopfieldBagClassifier
from hopfield.experiments.mil.rivals import (
    BagKernelSVM,
    GatedAttentionClassifier,
    MaxPoolingClassifier,
    MeanPoolingClassifier,
)
from hopfield.experiments.record import digest, recorded, run_tasks
from hopfield.progress import Progress

NETWORKS = {
    "HopfieldBagClassifier": HopfieldBagClassifier,
    "Gated attention": GatedAttentionClassifier,
    "Max pooling": MaxPoolingClassifier,
    "Mean pooling": MeanPoolingClassifier,
}
METHODS = (*NETWORKS, "SVM (set kernel)")
SETS = ("tiger", "fox", "elephant", "musk1", "musk2")

# what the kernel machine chooses from inside each training part
COSTS, GAMMAS = (1.0, 10.0, 100.0), (0.1, 0.5, 2.0)
INNER = 2  # folds inside a training part

REPETITIONS = 5
LARGE = {"musk2": 1}  # repetitions at most: one costs as much as ten of musk1


@dataclass(frozen=True)
class Outcome:
    """One method on one repetition of the cross-validation of a set.

    Attributes:
        data: name of the set.
        method: name of the method.
        repetition: number of the repetition, from 0.
        auc: ROC AUC on the test part of every fold.
        chosen: what was chosen inside the training part of every fold.
        seconds: processor time of one core.
        seed: that the random numbers came from.
        settings: digest of the settings of the method, of the data and of its folds.
    """

    data: str
    method: str
    repetition: int
    auc: tuple[float, ...]
    chosen: tuple[str, ...]
    seconds: float
    seed: int
    settings: str


def run(
    sets: Sequence[str] = SETS,
    *,
    data_dir: str | Path | None = None,
    record: Path,
    repetitions: int = REPETITIONS,
    jobs: int = 2,
    backend: str = "loky",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Run all methods on all repetitions of all sets.

    What is done is appended to `record`, and not done again by a later call with the same seed and
    settings.

    Args:
        sets: names of the sets, see `hopfield.datasets.load_mil`.
        data_dir: the folder of the data.
        record: a file with one line of JSON per outcome.
        repetitions: of the cross-validation; of musk2 one.
        jobs: how many processes work.
        backend: of joblib: "loky" on this machine, "dask" or "ray" on a cluster that exists.
        seed: of networks and of partitions that are not given.
        progress: called after every outcome.

    Raises:
        HopfieldError: no set, missing data, an unknown backend or one that is not installed.
    """
    sets = list(dict.fromkeys(sets))
    if not sets:
        raise HopfieldError(f"choose at least one set, of {', '.join(SETS)} and ucsb")
    loaded = {name: load_mil(name, data_dir=data_dir) for name in sets}
    known = [outcome for outcome in recorded(record, Outcome) if outcome.seed == seed and outcome.data in loaded]
    known = [outcome for outcome in known if outcome.repetition < _repetitions(outcome.data, repetitions)]
    done = [outcome for outcome in known if outcome.settings == settings_of(loaded[outcome.data], outcome.method)]
    have = {(outcome.data, outcome.method, outcome.repetition) for outcome in done}
    keys = ((name, i, method) for name in sets for i in range(_repetitions(name, repetitions)) for method in METHODS)
    wanted = [(name, i, method) for name, i, method in keys if (name, method, i) not in have]
    tasks = [(evaluate, (loaded[name], method, repetition, seed)) for name, repetition, method in wanted]
    return done + run_tasks(tasks, record, jobs=jobs, backend=backend, progress=progress, before=len(done))


def _repetitions(name: str, asked: int) -> int:
    return min(asked, LARGE.get(name, asked))


def settings_of(data: MILDataset, method: str) -> str:
    """The digest of everything that shapes the outcomes of a method, but for repetition and seed."""
    own = NETWORKS[method]().get_params() if method in NETWORKS else {"C": COSTS, "gamma": GAMMAS, "inner": INNER}
    given = [data.bags.instances.double().sum().item(), data.bags.sizes.tolist(), data.labels.tolist()]
    return digest({"own": own, "data": given, "folds": None if data.folds is None else data.folds.tolist()})


def evaluate(data: MILDataset, method: str, repetition: int, seed: int) -> list[Outcome]:
    """One repetition of the cross-validation of one method."""
    torch.set_num_threads(1)  # processes share the cores
    begin = time.process_time()
    test = folds_of(data, repetition, seed)
    if method in NETWORKS:
        model = NETWORKS[method](random_state=seed + repetition)
        scores, chosen = model.cross_decision(data.bags, data.labels, test), ("defaults",) * len(test)
    else:
        scores, chosen = _kernel_machine(data, test, seed)
    auc = tuple(float(roc_auc_score(data.labels[fold], row[fold])) for fold, row in zip(test, scores, strict=True))
    seconds = round(time.process_time() - begin, 1)
    return [Outcome(data.name, method, repetition, auc, chosen, seconds, seed, settings_of(data, method))]


def folds_of(data: MILDataset, repetition: int, seed: int) -> np.ndarray:
    """The test parts of a repetition, bool (10, B): the given ones, or else stratified ones from the seed."""
    if data.folds is not None and repetition < len(data.folds):
        given: np.ndarray = data.folds[repetition]
        return given
    return _stratified(data.labels, np.ones(len(data.labels), bool), 10, (1000 * seed + repetition) % 2**32)


def _inner(labels: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Validation parts inside a training part, bool (INNER, B)."""
    return _stratified(labels, ~test, INNER, seed)


def _stratified(labels: np.ndarray, among: np.ndarray, number: int, seed: int) -> np.ndarray:
    own = np.flatnonzero(among)
    parts = np.zeros((number, len(labels)), bool)
    split = StratifiedKFold(number, shuffle=True, random_state=seed)
    for part, (_, held) in zip(parts, split.split(own, labels[own]), strict=True):
        part[own[held]] = True
    return parts


def _kernel_machine(data: MILDataset, test: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scores (folds, B), and the γ and C of every fold: those of the largest mean AUC on its validation parts."""
    final, chosen = np.zeros(test.shape), []
    for k, fold in enumerate(test):
        parts = _inner(data.labels, fold, seed)
        best, most = None, -1.0
        for gamma, cost, kernel, scores in _candidates(data, fold, parts):
            labelled = zip(parts, scores, strict=True)
            auc = float(np.mean([roc_auc_score(data.labels[part], row[part]) for part, row in labelled]))
            if auc > most:
                best, most = (gamma, cost, kernel), auc
        assert best is not None, "there are candidates"
        gamma, cost, kernel = best
        final[k] = BagKernelSVM.decide(kernel, data.labels, ~fold, cost)
        chosen.append(f"gamma {gamma}, C {cost}")
    return final, tuple(chosen)


def _candidates(
    data: MILDataset, fold: np.ndarray, parts: np.ndarray
) -> Iterator[tuple[float, float, np.ndarray, np.ndarray]]:
    """γ, C, the kernel, and the scores (INNER, B) on the validation parts."""
    training = torch.from_numpy(~fold)
    for gamma in GAMMAS:
        kernel = BagKernelSVM.kernel(data.bags, training, gamma)
        for cost in COSTS:
            machines = [BagKernelSVM.decide(kernel, data.labels, ~(fold | part), cost) for part in parts]
            yield gamma, cost, kernel, np.stack(machines)
