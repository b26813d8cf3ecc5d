"""The protocol: the four given splits of every set; what is chosen is chosen by validation rows, and tested once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hopfield.datasets.uci import SMALL, UCIDataset, load_uci
from hopfield.errors import HopfieldError
from hopfield.estimators.tables import HopfieldClassifier
from hopfield.experiments.record import digest, recorded, run_tasks
from hopfield.experiments.uci import paper
from hopfield.experiments.uci.rivals import RIVALS, tuned
from hopfield.progress import Progress

OURS = "HopfieldClassifier"
PAPER = "HopfieldLayer network (paper)"
METHODS = (OURS, *RIVALS, PAPER)


@dataclass(frozen=True)
class Outcome:
    """One method on one set.

    Attributes:
        data: name of the set.
        method: name of the method.
        accuracy: on the test rows of every split.
        chosen: what was chosen on the validation rows of every split.
        seconds: processor time of one core.
        seed: that the random numbers came from.
        settings: digest of the settings of the method and of the data.
        seen: whether the set had a say in the defaults of our classifier.
    """

    data: str
    method: str
    accuracy: tuple[float, ...]
    chosen: tuple[str, ...]
    seconds: float
    seed: int
    settings: str
    seen: bool

    def __post_init__(self) -> None:
        if not self.accuracy or len(self.accuracy) != len(self.chosen):
            raise ValueError("there must be an accuracy, and what was chosen, for every split")


def run(
    sets: Sequence[str] | None = None,
    *,
    data_dir: str | Path | None = None,
    record: Path,
    methods: Sequence[str] = METHODS,
    jobs: int = 2,
    backend: str = "loky",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Run all methods on all sets.

    What is done is appended to `record`, and not done again by a later call with the same seed and settings.

    Args:
        sets: names of the sets, see `hopfield.datasets.load_uci`; None: the 75 of fewer than 1000 rows.
        data_dir: the folder of the data.
        record: a file with one line of JSON per outcome.
        methods: which methods.
        jobs: how many processes work.
        backend: of joblib: "loky" on this machine, "dask" or "ray" on a cluster that exists.
        seed: of everything random.
        progress: called after every outcome.

    Raises:
        HopfieldError: no set, unknown sets or methods, missing data, an unknown backend or one that is not installed.
    """
    if sets is not None and not sets:
        raise HopfieldError('choose at least one set, such as "iris", or leave them out for all')
    if not methods or set(methods) - set(METHODS):
        raise HopfieldError(f"methods must be from {', '.join(METHODS)}; got {', '.join(methods) or 'none'}")
    loaded = load_uci(sets, data_dir=data_dir)
    seen = SMALL[::2]  # every second one by name
    settings = {(name, method): settings_of(data, method) for name, data in loaded.items() for method in methods}
    known = [outcome for outcome in recorded(record, Outcome) if outcome.seed == seed]
    done = [outcome for outcome in known if settings.get((outcome.data, outcome.method)) == outcome.settings]
    done = list({(outcome.data, outcome.method): outcome for outcome in done}.values())
    have = {(outcome.data, outcome.method) for outcome in done}
    # the long ones first, so that no process is left alone with one in the end
    wanted = sorted(settings.keys() - have, key=lambda key: (-len(loaded[key[0]].labels), key))
    tasks = [(evaluate, (loaded[name], method, seed, name in seen)) for name, method in wanted]
    return done + run_tasks(tasks, record, jobs=jobs, backend=backend, progress=progress, before=len(done))


def settings_of(data: UCIDataset, method: str) -> str:
    """The digest of everything that shapes the outcomes of a method, but for the seed."""
    own: Any = RIVALS.get(method)
    if method == OURS:
        own = HopfieldClassifier().get_params()
    elif method == PAPER:
        own = [paper.ARCHITECTURES, paper.BETAS, paper.EPOCHS, paper.WINDOW, paper.BATCH, paper.RATE]
    given = [data.features.sum(), data.labels.tolist(), data.test.tolist(), data.validation.tolist()]
    return digest({"own": own, "data": given})


def evaluate(data: UCIDataset, method: str, seed: int, seen: bool) -> list[Outcome]:
    """One method on all splits of a set."""
    torch.set_num_threads(1)  # processes share the cores
    begin = time.process_time()
    predicted, chosen = predictions(data, method, seed)
    accuracy = tuple(float((own == data.labels[part]).mean()) for own, part in zip(predicted, data.test, strict=True))
    seconds = round(time.process_time() - begin, 2)
    return [Outcome(data.name, method, accuracy, tuple(chosen), seconds, seed, settings_of(data, method), seen)]


def predictions(data: UCIDataset, method: str, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """The classes that a method predicts for the test rows of every split, and what it chose for that."""
    if method == OURS:
        decisions = HopfieldClassifier(random_state=seed).cross_predict(data.features, data.labels, data.test)
        return [row[part] for row, part in zip(decisions, data.test, strict=True)], ["defaults"] * len(data.test)
    if method == PAPER:
        return paper.paper_network(data.features, data.labels, data.test, data.validation, seed)
    masks = zip(data.test, data.validation, strict=True)
    found = [tuned(RIVALS[method], data.features, data.labels, *parts, seed) for parts in masks]
    return [answer for answer, _ in found], [choice for _, choice in found]
