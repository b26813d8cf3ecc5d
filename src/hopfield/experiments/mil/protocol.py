"""The protocol: ten-fold cross-validation, repeated five times; every choice is made inside a training part."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

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
from hopfield.progress import Progress

NETWORKS = {
    "HopfieldBagClassifier": HopfieldBagClassifier,
    "Gated attention": GatedAttentionClassifier,
    "Max pooling": MaxPoolingClassifier,
    "Mean pooling": MeanPoolingClassifier,
}
METHODS = (*NETWORKS, "SVM (set kernel)")
SETS = ("tiger", "fox", "elephant", "musk1", "musk2")

# what is chosen from inside each training part; the same for all networks. One good choice for all sets: differences
# between candidates are smaller than what a choice on nine tenths of so few bags can tell
SPACE: tuple[dict[str, Any], ...] = ({},)
COSTS, GAMMAS = (1.0, 10.0, 100.0), (0.1, 0.5, 2.0)
INNER = 2  # folds inside a training part

REPETITIONS = 5


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
    """

    data: str
    method: str
    repetition: int
    auc: tuple[float, ...]
    chosen: tuple[str, ...]
    seconds: float
    seed: int


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

    What is done is appended to `record`, and not done again by a later call with the same seed.

    Args:
        sets: names of the sets, see `hopfield.datasets.load_mil`.
        data_dir: the folder of the data.
        record: a file with one line of JSON per outcome.
        repetitions: of the cross-validation.
        jobs: how many processes work.
        backend: of joblib: "loky" on this machine, "dask" or "ray" on a cluster that exists.
        seed: of networks and of partitions that are not given.
        progress: called after every outcome.

    Raises:
        HopfieldError: missing data, an unknown backend or one that is not installed.
    """
    from joblib import Parallel, delayed, parallel_config

    loaded = {name: load_mil(name, data_dir=data_dir) for name in sets}
    done = [outcome for outcome in recorded(record) if outcome.seed == seed and outcome.data in loaded]
    have = {(outcome.data, outcome.method, outcome.repetition) for outcome in done}
    wanted = [key for key in product(sets, range(repetitions), METHODS) if (key[0], key[2], key[1]) not in have]
    if progress is not None:
        progress("cross-validation", len(done), len(done) + len(wanted))
    tasks = (delayed(evaluate)(loaded[name], method, repetition, seed) for name, repetition, method in wanted)
    use_backend(backend)
    with parallel_config(backend=backend, n_jobs=jobs), record.open("a", encoding="utf-8") as file:
        for outcome in Parallel(return_as="generator_unordered", pre_dispatch="all")(tasks):
            done.append(outcome)
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            if progress is not None:
                text = f"{outcome.data}, {outcome.method}"
                progress(text, len(done), len(have) + len(wanted))
    return done


def use_backend(name: str) -> None:
    """Make a backend of joblib known.

    Raises:
        HopfieldError: an unknown name, a missing library, no cluster.
    """
    try:
        if name == "dask":
            from distributed import Client

            Client.current()
        elif name == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        elif name not in {"loky", "threading", "sequential"}:
            raise HopfieldError(f"backend must be loky, threading, sequential, dask or ray, got {name!r}")
    except ImportError as error:
        raise HopfieldError(f"the backend {name} needs a library that is not installed: {error}") from error
    except ValueError as error:
        if isinstance(error, HopfieldError):
            raise
        raise HopfieldError(
            f"there is no dask cluster to send work to: {error}; start a distributed.Client in this process first"
        ) from error


def recorded(path: Path) -> list[Outcome]:
    """The outcomes in a file; none if there is no file. A last line that was cut off is left out."""
    if not path.exists():
        return []
    found = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            found.append(Outcome(**{**content, "auc": tuple(content["auc"]), "chosen": tuple(content["chosen"])}))
        except (ValueError, TypeError, KeyError) as error:
            if number < len(lines):
                raise HopfieldError(f"{path} line {number} is no outcome: {error}; remove the file") from error
            path.write_text("".join(f"{line}\n" for line in lines[:-1]), encoding="utf-8")
    return found


def evaluate(data: MILDataset, method: str, repetition: int, seed: int) -> Outcome:
    """One repetition of the cross-validation of one method."""
    torch.set_num_threads(1)  # processes share the cores
    begin = time.process_time()
    test = folds_of(data, repetition, seed)
    inner = [_inner(data.labels, fold, seed) for fold in test]  # per fold (INNER, B)
    if method in NETWORKS:
        scores, chosen = _networks(NETWORKS[method], data, test, inner, seed + repetition)
    else:
        scores, chosen = _kernel_machine(data, test, inner)
    auc = tuple(float(roc_auc_score(data.labels[fold], row[fold])) for fold, row in zip(test, scores, strict=True))
    return Outcome(data.name, method, repetition, auc, chosen, round(time.process_time() - begin, 1), seed)


def folds_of(data: MILDataset, repetition: int, seed: int) -> np.ndarray:
    """The test parts of a repetition, bool (10, B): the given ones, or else stratified ones from the seed."""
    if data.folds is not None and repetition < len(data.folds):
        given: np.ndarray = data.folds[repetition]
        return given
    return _stratified(data.labels, np.ones(len(data.labels), bool), 10, 1000 * seed + repetition)


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


def _best(labels: np.ndarray, inner: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """For every fold the candidate with the largest mean AUC on its validation parts.

    `scores` are (candidates, folds, INNER, B).
    """
    means = [
        [
            np.mean([roc_auc_score(labels[part], row[part]) for part, row in zip(parts, rows, strict=True)])
            for parts, rows in zip(inner, candidate, strict=True)
        ]
        for candidate in scores
    ]
    best: np.ndarray = np.argmax(means, 0)
    return best


def _networks(
    kind: type[HopfieldBagClassifier], data: MILDataset, test: np.ndarray, inner: Sequence[np.ndarray], seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scores (folds, B), and the choice of every fold, for which one network per validation part is trained."""
    if len(SPACE) == 1:
        model = kind(**SPACE[0], random_state=seed)
        return model.cross_decision(data.bags, data.labels, test), ("defaults",) * len(test)
    away = np.concatenate([parts | fold for parts, fold in zip(inner, test, strict=True)])  # not learnt from
    scores = np.stack(
        [
            kind(**candidate, n_estimators=1, random_state=seed).cross_decision(data.bags, data.labels, away)
            for candidate in SPACE
        ]
    ).reshape(len(SPACE), len(test), INNER, -1)
    best = _best(data.labels, inner, scores)
    final = np.zeros(test.shape)
    for i, candidate in enumerate(SPACE):
        if (best == i).any():
            model = kind(**candidate, random_state=seed)
            final[best == i] = model.cross_decision(data.bags, data.labels, test[best == i])
    return final, tuple(_text(SPACE[i]) for i in best)


def _kernel_machine(
    data: MILDataset, test: np.ndarray, inner: Sequence[np.ndarray]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scores (folds, B), and the choice of every fold."""
    final, chosen = np.zeros(test.shape), []
    for k, (fold, parts) in enumerate(zip(test, inner, strict=True)):
        candidates = list(_candidates(data, fold, parts))
        scores = np.stack([scores for *_, scores in candidates])[:, None]  # (candidates, 1, INNER, B)
        gamma, cost, kernel, _ = candidates[int(_best(data.labels, [parts], scores)[0])]
        final[k] = BagKernelSVM.decide(kernel, data.labels, ~fold, cost)
        chosen.append(_text({"gamma": gamma, "C": cost}))
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


def _text(choice: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in choice.items())
