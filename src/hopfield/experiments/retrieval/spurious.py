"""Where the classical network ends: in patterns, in their negatives, in mixtures of three, or somewhere else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from hopfield.binary import ClassicalHopfield, StateName, name_states
from hopfield.datasets.images import ImageSet
from hopfield.experiments.retrieval.common import Progress, Shown, one_thread, random_signs, seeded, silent
from hopfield.experiments.retrieval.networks import black_and_white, choose

KINDS = ("pattern", "negative", "mixture", "other")


@dataclass(frozen=True)
class Endings:
    """The states that one kind of memory ends in from one kind of start.

    Attributes:
        patterns: "random" or "images".
        start: "random", or "hidden" (stored patterns whose lower half is hidden).
        stored: numbers of patterns N.
        shares: for each N the shares of runs that end in each of `KINDS`, in that order.
        runs: for each N the number of runs.
    """

    patterns: str
    start: str
    stored: list[int]
    shares: list[list[float]]
    runs: list[int]

    def share(self, stored: int, kind: str) -> float:
        """The share that ends in one kind at one N."""
        return self.shares[self.stored.index(stored)][KINDS.index(kind)]


@dataclass(frozen=True)
class Example:
    """A state shown as an image: its name, such as "mixture +0 -1 +2", and how many runs ended in it."""

    name: str
    kind: str
    runs: int


@dataclass(frozen=True)
class Spurious:
    """What `spurious` counted.

    Attributes:
        images: name of the image set.
        side: pixels along each side; there are side² units.
        draws: memories drawn for each N.
        endings: random patterns and images, each from random starts and from stored patterns half hidden.
        stored_shown: number of images stored in the memory that the pictures are from.
        runs_shown: random starts in it.
        states_shown: distinct states they ended in.
        examples: the states shown, the most frequent of each kind.
    """

    images: str
    side: int
    draws: int
    endings: list[Endings]
    stored_shown: int
    runs_shown: int
    states_shown: int
    examples: list[Example]

    def ending(self, patterns: str, start: str) -> Endings:
        """One of the endings."""
        return next(end for end in self.endings if (end.patterns, end.start) == (patterns, start))


@dataclass(frozen=True)
class _Found:
    """Distinct states (K, d) with their names, and how many runs ended in each."""

    states: Tensor
    names: list[StateName]
    runs: list[int]

    def kinds(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for name, runs in zip(self.names, self.runs, strict=True):
            counts[name.kind] += runs
        return counts


@one_thread
def spurious(
    images: ImageSet,
    *,
    side: int = 10,
    counts: tuple[int, ...] = (3, 4, 5, 7, 10, 14, 20),
    draws: int = 20,
    starts: int = 50,
    show: int = 8,
    seed: int = 0,
    progress: Progress = silent,
) -> Shown[Spurious]:
    """Let the classical network run from many starts, and name the states it ends in.

    Units are updated one after another in random order, so that every run ends in a fixed point. The negative of a
    fixed point is one too; sgn(±x_a ± x_b ± x_c) are the mixtures (Amit, Gutfreund and Sompolinsky 1985).

    Args:
        images: what to store, reduced to `side` x `side` pixels of -1 and +1.
        side: pixels along each side.
        counts: numbers of patterns N; those larger than the number of images are left out for images.
        draws: memories for each N.
        starts: random starts for each memory.
        show: most states kept as pictures.
        seed: of patterns, starts and orders.
        progress: see `Progress`.

    Returns:
        The numbers; pictures "stored" and "examples", from a memory of images that ends in as many kinds as possible.
    """
    pool = black_and_white(images.images, side)
    endings: list[Endings] = []
    richest: tuple[Tensor, _Found] | None = None
    for patterns in ("random", "images"):
        usable = [count for count in counts if patterns == "random" or count <= len(pool)] or [len(pool)]
        for start in ("random", "hidden"):
            shares, runs = [], []
            for count in usable:
                progress(f"naming states: {count} {patterns} patterns", len(endings), 4)
                kinds: Counter[str] = Counter()
                for draw in range(draws):
                    generator = seeded(seed, count, draw)
                    random = patterns == "random"
                    stored = random_signs(count, side * side, generator) if random else choose(pool, count, generator)
                    begin = random_signs(starts, side * side, generator) if start == "random" else _half(stored)
                    found = _run(stored, begin, generator)
                    kinds += found.kinds()
                    if not random and start == "random":
                        richest = _richer(richest, (stored, found))
                runs.append(kinds.total())
                shares.append([kinds[kind] / kinds.total() for kind in KINDS])
            endings.append(Endings(patterns, start, usable, shares, runs))
    progress("naming states", 4, 4)
    assert richest is not None
    stored, found = richest
    chosen = _most_frequent(found, show)
    numbers = Spurious(
        images=images.name,
        side=side,
        draws=draws,
        endings=endings,
        stored_shown=len(stored),
        runs_shown=sum(found.runs),
        states_shown=len(found.states),
        examples=[Example(str(found.names[row]), found.names[row].kind, found.runs[row]) for row in chosen],
    )
    square = (-1, side, side)
    pictures = {
        "stored": stored.reshape(square).to(torch.float32).numpy(),
        "examples": found.states[chosen].reshape(square).to(torch.float32).numpy(),
    }
    return Shown(numbers, pictures)


def _richer(old: tuple[Tensor, _Found] | None, new: tuple[Tensor, _Found]) -> tuple[Tensor, _Found]:
    """The memory that ends in more kinds of states; the earlier one if they are equal."""
    return new if old is None or len(new[1].kinds()) > len(old[1].kinds()) else old


def _half(stored: Tensor) -> Tensor:
    """The patterns with the second half of their units at -1."""
    states = stored.clone()
    states[:, stored.shape[1] // 2 :] = -1
    return states


def _run(stored: Tensor, starts: Tensor, generator: torch.Generator) -> _Found:
    ended = ClassicalHopfield(stored).retrieve(starts, mode="asynchronous", generator=generator).state
    states, runs = torch.unique(ended, dim=0, return_counts=True)
    return _Found(states, name_states(stored, states), runs.tolist())


def _most_frequent(found: _Found, show: int) -> list[int]:
    """Rows of the most frequent states, the kinds in turn; in the order of `KINDS`."""
    order = sorted(range(len(found.names)), key=lambda row: -found.runs[row])
    rows = {kind: [row for row in order if found.names[row].kind == kind] for kind in KINDS}
    chosen: list[int] = []
    while len(chosen) < min(show, len(found.names)):
        for kind in KINDS:
            if rows[kind] and len(chosen) < show:
                chosen.append(rows[kind].pop(0))
    return sorted(chosen, key=lambda row: (KINDS.index(found.names[row].kind), -found.runs[row]))
