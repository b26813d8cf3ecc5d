"""All retrieval experiments in one run: in about a minute for a look, or at full size."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hopfield.datasets.images import ImageSet
from hopfield.experiments.essentials import essentials
from hopfield.experiments.origin import machine, versions
from hopfield.experiments.retrieval import (
    Betas,
    Networks,
    OneStep,
    Pictures,
    Progress,
    Recovery,
    Spurious,
    Trade,
    betas,
    networks,
    networks_on_images,
    one_step_error,
    recovery,
    silent,
    spurious,
    trade,
)

__all__ = ["FULL", "TOUR", "Origin", "Tour", "essentials", "run"]

Parameters = dict[str, dict[str, Any]]

TOUR: Parameters = {
    "recovery": {"stored": 200, "noise": 0.5, "flipped": 0.1},
    "betas": {"stored": 200},
    "networks": {"size": 64, "flipped": 3, "most": 10_000},
    "networks_on_images": {"side": 10, "flipped": 5, "most": 2000},
    "spurious": {"side": 10},
    "one_step_error": {"stored": 100},
    "trade": {"size": 16, "most": 10_000},
}
"""What the tour measures; what is not named is as the experiments have it."""

FULL: Parameters = {
    "recovery": {"stored": 1000, "noise": 0.5, "flipped": 0.1},
    "betas": {"stored": 200, "candidates": 200},
    "networks": {
        "size": 64,
        "flipped": 3,
        "most": 10_000,
        "points": 32,
        "draws": 10,
        "queries": 100,
        "asked": 2000,
        "limit": 50,
        "hopeless": None,
        "every": 10_000,
    },
    "networks_on_images": {
        "side": 10,
        "flipped": 5,
        "most": 2000,
        "points": 24,
        "draws": 10,
        "queries": 100,
        "asked": 1000,
        "limit": 50,
        "hopeless": None,
    },
    "spurious": {"side": 10, "draws": 200, "starts": 100},
    "one_step_error": {"stored": 100, "patterns": 40, "points": 24},
    "trade": {"size": 16, "most": 30_000, "points": 20, "queries": 500, "limit": 2000},
}
"""What the full run measures."""

EXPERIMENTS: dict[str, Callable[..., Any]] = {
    "recovery": recovery,
    "betas": betas,
    "networks": networks,
    "networks_on_images": networks_on_images,
    "spurious": spurious,
    "one_step_error": one_step_error,
    "trade": trade,
}
"""The experiments, in the order in which they are run."""

# Rough shares of the time, for the progress.
_TIME = {
    "recovery": 3,
    "betas": 2,
    "networks": 40,
    "networks_on_images": 25,
    "spurious": 15,
    "one_step_error": 2,
    "trade": 13,
}


@dataclass(frozen=True)
class Origin:
    """Where results come from: everything needed to get them again.

    Attributes:
        full: whether it was the full size.
        seed: the seed.
        seconds: how long it took.
        images: name, source, number, height and width of the images.
        parameters: what each experiment was called with, defaults included.
        versions: of Python, hopfield, torch and numpy.
        machine: processor, number of cores, system, and threads that torch was given.
    """

    full: bool
    seed: int
    seconds: float
    images: dict[str, str | int]
    parameters: Parameters
    versions: dict[str, str]
    machine: dict[str, str | int]


@dataclass(frozen=True)
class Tour:
    """What `run` found. `numbers()` is all of it but the pictures.

    Attributes:
        origin: where it comes from.
        recovery: images recovered from damage.
        betas: one query at six inverse temperatures.
        networks: five networks on random patterns.
        networks_on_images: the same on images in black and white.
        networks_at_random: and on random patterns of that size.
        spurious: where the classical network ends.
        error: the error of one update against theorem 5.
        trade: patterns stored, updates needed, errors.
        pictures: arrays by experiment and name, for the figures.
    """

    origin: Origin
    recovery: Recovery
    betas: Betas
    networks: Networks
    networks_on_images: Networks
    networks_at_random: Networks
    spurious: Spurious
    error: OneStep
    trade: Trade
    pictures: dict[str, Pictures]

    def numbers(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        names = [name for name in self.__dataclass_fields__ if name not in {"origin", "pictures"}]
        return {**asdict(self.origin), "results": {name: asdict(getattr(self, name)) for name in names}}


def run(
    images: ImageSet,
    *,
    seed: int = 0,
    full: bool = False,
    progress: Progress | None = None,
    parameters: Parameters | None = None,
) -> Tour:
    """Run all retrieval experiments on these images and on random patterns.

    Args:
        images: what to store.
        seed: of everything random; the same seed gives the same numbers on the same machine.
        full: the full size, a quarter of an hour instead of a minute.
        progress: called as progress(what, done, total).
        parameters: other keyword arguments for the experiments than `TOUR` or `FULL`, by experiment.

    Returns:
        `Tour`.

    Raises:
        HopfieldError: fewer than three of the images differ.
    """
    start = time.perf_counter()
    given = (FULL if full else TOUR) | (parameters or {})
    chosen = {name: _defaults(experiment) | given[name] for name, experiment in EXPERIMENTS.items()}

    def options(name: str) -> dict[str, Any]:
        return {**chosen[name], "seed": seed, "progress": _part(progress or silent, name)}

    recovered = recovery(images, **options("recovery"))
    warm = betas(images, **options("betas"))
    compared = networks(**options("networks"))
    on_images, at_random = networks_on_images(images, **options("networks_on_images"))
    named = spurious(images, **options("spurious"))
    errors = one_step_error(**options("one_step_error"))
    traded = trade(**options("trade"))
    count, height, width = images.images.shape
    origin = Origin(
        full=full,
        seed=seed,
        seconds=round(time.perf_counter() - start, 1),
        images={"name": images.name, "source": images.source, "count": count, "height": height, "width": width},
        parameters=chosen,
        versions=versions(),
        machine=machine(threads=1),
    )
    return Tour(
        origin=origin,
        recovery=recovered.numbers,
        betas=warm.numbers,
        networks=compared,
        networks_on_images=on_images,
        networks_at_random=at_random,
        spurious=named.numbers,
        error=errors,
        trade=traded,
        pictures={"recovery": recovered.pictures, "betas": warm.pictures, "spurious": named.pictures},
    )


def _defaults(experiment: Callable[..., Any]) -> dict[str, Any]:
    """The keyword arguments of an experiment that have defaults of their own, without seed and progress."""
    named = inspect.signature(experiment).parameters.values()
    return {p.name: p.default for p in named if p.default is not p.empty and p.name not in {"seed", "progress"}}


def _part(progress: Progress, name: str) -> Progress:
    """The progress of one experiment as its part of the whole, in thousandths."""
    names = list(_TIME)
    before = sum(_TIME[other] for other in names[: names.index(name)])

    def report(what: str, done: int, total: int) -> None:
        share = (before + _TIME[name] * done / max(total, 1)) / sum(_TIME.values())
        progress(what, round(1000 * share), 1000)

    return report
