"""Asks the five networks the same queries, and counts how many they answer with the right pattern."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hopfield.binary import ClassicalHopfield, DenseHopfield, classical_capacity
from hopfield.core.retrieval import retrieve
from hopfield.experiments.retrieval.common import Progress, crossing, flip_entries, seeded

NAMES = ("classical", "cubic", "quartic", "exponential", "continuous")
"""F(z) = z², z³, z⁴, exp z, and the network with continuous states at β = 1."""

_EXACT = 0.01
_QUERIES_AT_ONCE = 1000

Draw = Callable[[int, torch.Generator], Tensor]
Answer = tuple[Tensor, Tensor, Tensor]
"""States, updates that changed something (int64), and whether they stood still, one per query."""


@dataclass(frozen=True)
class Curve:
    """One network.

    Attributes:
        name: one of `NAMES`.
        stored: numbers of patterns N.
        recovered: share of the queries that ended in the pattern they were made from; for the continuous network with
            a root mean square error below 0.01.
        updates: mean number of updates that changed the state, until it stood still or the limit was reached.
        stopped: share of the queries stopped by the limit, or going round in a cycle.
        half: the N at which the share recovered falls below one half, between two N by a straight line; None if it
            does not.
    """

    name: str
    stored: list[int]
    recovered: list[float]
    updates: list[float]
    stopped: list[float]
    half: float | None


@dataclass(frozen=True)
class Every:
    """Many queries of one memory of the largest size.

    Attributes:
        stored: N.
        queries: how many patterns were asked for.
        recovered: how many of them came back, for the exponential and the continuous network.
    """

    stored: int
    queries: int
    recovered: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """How much `compare` measures.

    Attributes:
        counts: numbers of patterns N, rising.
        flipped: units turned in each query.
        draws: memories for each N; more where they have so few patterns that fewer than `asked` queries would be put.
        queries: queries for each memory, of different patterns; all patterns where there are fewer.
        asked: the fewest queries for each N.
        limit: updates after which a query is given up.
        hopeless: a network is not tried with more patterns once it recovered none at this many N in a row; None: it
            always is.
        every: queries of one further memory of the largest size, put to the exponential and the continuous network; 0
            for none.
    """

    counts: list[int]
    flipped: int
    draws: int
    queries: int
    asked: int
    limit: int
    hopeless: int | None
    every: int = 0

    def draws_of(self, count: int) -> int:
        """How many memories of N patterns are drawn."""
        return max(self.draws, math.ceil(self.asked / min(count, self.queries)))


@dataclass(frozen=True)
class Networks:
    """What `compare` measured.

    Attributes:
        patterns: what was stored, in words.
        size: d, the number of units.
        flipped: units turned in each query.
        draws: how many memories were drawn for each N, at least.
        queries: the most queries for each memory.
        asked: the fewest queries for each N.
        limit: the most updates of a query.
        most: the largest N tried.
        classical_capacity: 0.138 d.
        correlation: mean overlap |x_i·x_j|/d of two different patterns.
        crowded: at the largest N, share of the patterns from which another differs in at most twice as many units as
            are turned, so that a query may be as near to it.
        curves: one entry for each network.
        every: many more queries of one memory of the largest size, if asked for.
    """

    patterns: str
    size: int
    flipped: int
    draws: int
    queries: int
    asked: int
    limit: int
    most: int
    classical_capacity: float
    correlation: float
    crowded: float
    curves: list[Curve]
    every: Every | None

    def curve(self, name: str) -> Curve:
        """The curve of one network."""
        return next(curve for curve in self.curves if curve.name == name)


def compare(patterns: str, draw: Draw, plan: Plan, seed: int, progress: Progress) -> Networks:
    """Draw memories for every number of patterns, ask every network the same queries of them, and count.

    Args:
        patterns: what is stored, in words.
        draw: makes N patterns of +-1 with a generator.
        plan: how much.
        seed: of patterns and queries; each memory has a generator of its own.
        progress: see `Progress`.

    Returns:
        `Networks`.
    """
    points: dict[str, list[tuple[float, float, float]]] = {name: [] for name in NAMES}
    overlaps: list[float] = []
    size, crowded = 0, 0.0
    for done, count in enumerate(plan.counts):
        progress(f"{patterns}: {count} stored", done, len(plan.counts))
        running = [name for name in NAMES if not _given_up([point[0] for point in points[name]], plan.hopeless)]
        sums = {name: torch.zeros(3, dtype=torch.float64) for name in running}
        asked = 0
        for repeat in range(plan.draws_of(count)):
            generator = seeded(seed, count, repeat)
            stored = draw(count, generator)
            size = stored.shape[1]
            chosen = stored[torch.randperm(count, generator=generator)[: plan.queries]]
            query = flip_entries(chosen, plan.flipped, generator)
            asked += len(chosen)
            if count > 1:
                overlaps.append(_overlap(stored))
                crowded = _crowded(stored, 2 * plan.flipped)
            for name in running:
                sums[name] += _ask(name, stored, query, chosen, plan.limit)
        for name in running:
            right, updates, stopped = (sums[name] / asked).tolist()
            points[name].append((right, updates, stopped))
    progress(patterns, len(plan.counts), len(plan.counts))
    curves = []
    for name, found in points.items():
        counts = plan.counts[: len(found)]
        recovered, updates_of, stopped_of = (list(column) for column in zip(*found, strict=True))
        curves.append(Curve(name, counts, recovered, updates_of, stopped_of, crossing(counts, recovered)))
    return Networks(
        patterns=patterns,
        size=size,
        flipped=plan.flipped,
        draws=plan.draws,
        queries=plan.queries,
        asked=plan.asked,
        limit=plan.limit,
        most=plan.counts[-1],
        classical_capacity=classical_capacity(size).small_errors,
        correlation=sum(overlaps) / len(overlaps),
        crowded=crowded,
        curves=curves,
        every=_ask_many(draw, plan, seed) if plan.every else None,
    )


def _ask_many(draw: Draw, plan: Plan, seed: int) -> Every:
    """One memory of the largest size, and many of its patterns as queries."""
    generator = seeded(seed, plan.counts[-1], plan.draws)
    stored = draw(plan.counts[-1], generator)
    chosen = stored[torch.randperm(len(stored), generator=generator)[: plan.every]]
    query = flip_entries(chosen, plan.flipped, generator)
    right = {name: int(_ask(name, stored, query, chosen, plan.limit)[0]) for name in ("exponential", "continuous")}
    return Every(len(stored), len(chosen), right)


def _given_up(shares: list[float], hopeless: int | None) -> bool:
    return hopeless is not None and len(shares) >= hopeless and not any(shares[-hopeless:])


def _overlap(stored: Tensor) -> float:
    """Mean |x_i·x_j|/d over pairs of at most 200 of the patterns."""
    few = stored[:200]
    products = (few @ few.T).abs() / few.shape[1]
    return float((products.sum() - products.diagonal().sum()) / (len(few) * (len(few) - 1)))


def _crowded(stored: Tensor, units: int) -> float:
    """Share of at most 1000 of the patterns from which another differs in at most so many units."""
    few = stored[:1000]
    differ = (stored.shape[1] - few @ stored.T) / 2
    differ[torch.arange(len(few)), torch.arange(len(few))] = torch.inf
    return float((differ.amin(1) <= units).double().mean())


def _ask(name: str, stored: Tensor, query: Tensor, wanted: Tensor, limit: int) -> Tensor:
    """Numbers of queries recovered, of updates, and of queries that did not stand still."""
    total = torch.zeros(3, dtype=torch.float64)
    for states, right in zip(query.split(_QUERIES_AT_ONCE), wanted.split(_QUERIES_AT_ONCE), strict=True):
        found, updates, still = _run(name, stored, states, limit)
        error = (found - right).square().mean(1).sqrt()
        total += torch.stack([(error < _EXACT).sum(), updates.sum(), (~still).sum()])
    return total


def _run(name: str, stored: Tensor, query: Tensor, limit: int) -> Answer:
    if name == "continuous":
        found = retrieve(query, stored, beta=1.0, max_steps=limit)
        return found.state, found.steps - found.converged.long(), found.converged
    if name == "classical":
        answer = ClassicalHopfield(stored).retrieve(query, max_steps=limit)
    else:
        interaction = {"cubic": 3, "quartic": 4, "exponential": "exp"}[name]
        answer = DenseHopfield(stored, interaction=interaction).retrieve(query, max_steps=limit)  # type: ignore[arg-type]  # mypy takes "exp" from the dict for any string
    return answer.state, answer.steps, answer.converged
