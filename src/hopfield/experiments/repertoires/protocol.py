"""The protocol: simulated repertoires, five folds, Hopfield pooling and k-mer methods on the same folds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from hopfield.datasets.repertoires import Repertoires, find_motif, simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.estimators import HopfieldBagClassifier, shared_motif
from hopfield.experiments.record import digest, recorded, run_tasks
from hopfield.experiments.repertoires.baselines import METHODS as RIVALS
from hopfield.experiments.repertoires.baselines import run_baselines
from hopfield.experiments.repertoires.motifs import consensus, heaviest, precision
from hopfield.progress import Progress

OURS = "HopfieldBagClassifier"
KNOWN = "Known motif"
METHODS = (OURS, *RIVALS, KNOWN)
FOLDS = 5
SHOWN = 100  # the heaviest sequences that are looked at


@dataclass(frozen=True)
class Condition:
    """What is implanted in positive repertoires.

    Attributes:
        motifs: one of which each chosen sequence has.
        rate: the share of the sequences that are chosen.
        wildcards: letters of the motif that stay as they were, drawn anew for each sequence.
    """

    motifs: tuple[str, ...]
    rate: float
    wildcards: int


_MOTIF = ("CRWQMHY",)
CONDITIONS = {
    "10 %": Condition(_MOTIF, 0.1, 2),
    "1 %": Condition(_MOTIF, 0.01, 2),
    "0.5 %": Condition(_MOTIF, 0.005, 2),
    "0.1 %": Condition(_MOTIF, 0.001, 2),
    "0.05 %": Condition(_MOTIF, 0.0005, 2),
    "1 %, three motifs": Condition(("CRWQMHY", "GDKFTLN", "PEVSAIH"), 0.01, 2),
    "0.1 %, four fixed letters": Condition(("SFEN",), 0.001, 0),
}


@dataclass(frozen=True)
class Outcome:
    """One method on the five folds of one condition.

    Attributes:
        condition: its name.
        method: name of the method.
        repertoires: how many there were.
        sequences: how many each had.
        seed: that the random numbers came from.
        auc: ROC AUC on the test part of every fold.
        seconds: per training repertoire, tuning included, wall clock.
        settings: digest of the condition and of the settings of the method.
        chosen: what was chosen inside the training part of every fold.
        precision: share of implanted sequences among the heaviest of positive test repertoires, for every fold.
        motifs: the consensus of the heaviest test sequences of every fold.
        letters: how often each letter is at each place of the first fold's motif, (kernel, 20).
        examples: the heaviest test sequences of the first fold.
    """

    condition: str
    method: str
    repertoires: int
    sequences: int
    seed: int
    auc: tuple[float, ...]
    seconds: float
    settings: str
    chosen: tuple[str, ...] = ()
    precision: tuple[float, ...] = ()
    motifs: tuple[str, ...] = ()
    letters: tuple[list[float], ...] = ()
    examples: tuple[str, ...] = ()


def run(
    conditions: Sequence[str] = tuple(CONDITIONS),
    *,
    record: Path,
    repertoires: int = 200,
    sequences: int = 5000,
    rivals: bool = True,
    device: str | None = None,
    jobs: int = 2,
    backend: str = "loky",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Run all methods under all conditions.

    What is done is appended to `record`, and not done again by a later call with the same sizes, seed
    and settings.

    Args:
        conditions: names from `CONDITIONS`.
        record: a file with one line of JSON per outcome.
        repertoires: how many, half of them positive.
        sequences: how many each has.
        rivals: whether k-mer methods are run too.
        device: where the classifier computes; None: the CPU.
        jobs: how many processes work.
        backend: of joblib, see `run_tasks`.
        seed: of the data, the folds and the networks.
        progress: called after every condition and group of methods.

    Raises:
        HopfieldError: an unknown condition, a backend that is not there.
    """
    conditions = conditions_of(conditions)
    size = (repertoires, sequences, seed)
    done = [o for o in recorded(record, Outcome) if (o.repertoires, o.sequences, o.seed) == size]
    done = [o for o in done if o.condition in conditions and (rivals or o.method not in RIVALS)]
    done = [o for o in done if o.settings == settings_of(o.condition, o.method)]
    have = {(o.condition, o.method) for o in done}
    tasks: list[tuple[Any, tuple[Any, ...]]] = []
    for name in conditions:
        if (name, OURS) not in have:
            tasks.append((hopfield, (name, *size, device)))
        if (name, KNOWN) not in have:
            tasks.append((known_motif, (name, *size)))
        if rivals and not {(name, rival) for rival in RIVALS} <= have:
            tasks.append((kmers, (name, *size)))
    return done + run_tasks(tasks, record, jobs=jobs, backend=backend, progress=progress)


def conditions_of(names: Sequence[str]) -> list[str]:
    """Names of conditions as `CONDITIONS` has them, once each; spaces do not matter.

    Raises:
        HopfieldError: none, or an unknown one.
    """
    known = {name.replace(" ", ""): name for name in CONDITIONS}
    unknown = [name for name in names if name.replace(" ", "") not in known]
    if unknown or not names:
        what = f"unknown condition {unknown[0]!r}" if unknown else "no condition"
        raise HopfieldError(f"{what}; expected some of {', '.join(map(repr, CONDITIONS))}")
    return list(dict.fromkeys(known[name.replace(" ", "")] for name in names))


def settings_of(condition: str, method: str) -> str:
    """The digest of everything that shapes the outcome of a method, but for sizes and seed."""
    if method == OURS:
        own = HopfieldBagClassifier.for_sequences().get_params()
    else:
        own = dict(RIVALS[method].grid) if method in RIVALS else {}
    return digest(asdict(CONDITIONS[condition]) | own)


def data_of(name: str, repertoires: int, sequences: int, seed: int) -> tuple[Repertoires, np.ndarray]:
    """The repertoires of a condition, and the test parts of its folds, bool (folds, B)."""
    condition = CONDITIONS[name]
    made = simulate_repertoires(
        repertoires,
        sequences,
        motifs=condition.motifs,
        rate=condition.rate,
        wildcards=condition.wildcards,
        seed=1000 * (seed + 1) + list(CONDITIONS).index(name),
    )
    labels = made.labels
    assert labels is not None, "simulated repertoires have labels"
    test = np.zeros((FOLDS, repertoires), bool)
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    for part, (_, held) in zip(test, split, strict=True):
        part[held] = True
    return made, test


def hopfield(name: str, repertoires: int, sequences: int, seed: int, device: str | None) -> list[Outcome]:
    """`HopfieldBagClassifier.for_sequences()`, with nothing to choose."""
    torch.set_num_threads(1)  # processes share the cores
    data, test = data_of(name, repertoires, sequences, seed)
    labels = data.labels
    assert labels is not None
    auc, share, motifs, seconds = [], [], [], 0.0
    letters: list[list[float]] = []
    examples: list[str] = []
    for fold in test:
        start = time.perf_counter()
        train, held = data[~fold], data[fold]
        model = HopfieldBagClassifier.for_sequences(random_state=seed, device=device).fit(train.bags, labels[~fold])
        seconds += time.perf_counter() - start
        auc.append(float(roc_auc_score(labels[fold], model.decision_function(held.bags))))
        weights = model.instance_weights(held.bags)
        share.append(precision(weights, held))
        counts = shared_motif(model, held.bags, most=SHOWN)
        motifs.append(consensus(counts))
        letters = letters or counts.tolist()
        examples = examples or heaviest(weights, held, 10)
    return [
        Outcome(
            name,
            OURS,
            repertoires,
            sequences,
            seed,
            tuple(auc),
            round(seconds / int((~test).sum()), 3),
            settings_of(name, OURS),
            precision=tuple(share),
            motifs=tuple(motifs),
            letters=tuple(letters),
            examples=tuple(examples),
        )
    ]


def kmers(name: str, repertoires: int, sequences: int, seed: int) -> list[Outcome]:
    """The k-mer methods, tuned within each training part."""
    data, test = data_of(name, repertoires, sequences, seed)
    found = run_baselines(data, test, seed=seed)
    labels, outcomes = data.labels, []
    assert labels is not None
    for method in RIVALS:
        auc = tuple(_auc(labels, fold, row) for fold, row in zip(test, found.scores[method], strict=True))
        seconds = (found.seconds[method] + found.counting) / int((~test).sum())
        chosen = tuple(", ".join(f"{k} {v}" for k, v in fold.items()) for fold in found.settings[method])
        own = settings_of(name, method)
        outcomes.append(Outcome(name, method, repertoires, sequences, seed, auc, round(seconds, 4), own, chosen))
    return outcomes


def known_motif(name: str, repertoires: int, sequences: int, seed: int) -> list[Outcome]:
    """The number of sequences with the motif, which is given: what could be reached if nothing had to be learnt."""
    data, test = data_of(name, repertoires, sequences, seed)
    condition, labels = CONDITIONS[name], data.labels
    assert labels is not None
    start = time.perf_counter()
    hits = torch.zeros(data.bags.total, dtype=torch.bool)
    for motif in condition.motifs:
        hits |= find_motif(data.letters, motif, wildcards=condition.wildcards)
    counts = np.array([int(own.sum()) for own in data.bags.with_instances(hits)])
    seconds = round((time.perf_counter() - start) / repertoires, 5)
    auc = tuple(_auc(labels, fold, counts) for fold in test)
    return [Outcome(name, KNOWN, repertoires, sequences, seed, auc, seconds, settings_of(name, KNOWN))]


def _auc(labels: np.ndarray, fold: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(labels[fold], scores[fold]))
