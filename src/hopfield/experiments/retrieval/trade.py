"""The trade between the number of patterns stored, the updates needed, and the error of what is found."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hopfield.core.retrieval import retrieve
from hopfield.experiments.retrieval.common import Progress, crossing, log_grid, on_sphere, one_thread, seeded, silent
from hopfield.theory import pattern_separation, required_separation

_NEAR = 0.1


@dataclass(frozen=True)
class TradeCurve:
    """One inverse temperature.

    Attributes:
        strength: β M².
        recovered: for each N the share of the queries that ended nearer to their pattern than a tenth of M.
        updates: mean number of updates until the state stood still, the confirming one included.
        error: median of |ξ* - x_i| / M of the state ξ* found.
        unfinished: share of the queries stopped by the limit.
        guaranteed: share of the patterns that theory guarantees to be stored (`hopfield.theory.well_separated`).
        breaks: the N at which the share recovered falls below one half, None if it does not.
    """

    strength: float
    recovered: list[float]
    updates: list[float]
    error: list[float]
    unfinished: list[float]
    guaranteed: list[float]
    breaks: float | None


@dataclass(frozen=True)
class Trade:
    """What `trade` measured.

    Attributes:
        size: d.
        noise: distance of a query from its pattern, in units of M.
        queries: the most queries for each number stored.
        limit: the most updates.
        stored: numbers of patterns N.
        separation: for each N the mean Δ_i / M² of the patterns asked for.
        curves: one entry for each inverse temperature.
    """

    size: int
    noise: float
    queries: int
    limit: int
    stored: list[int]
    separation: list[float]
    curves: list[TradeCurve]


@one_thread
def trade(
    *,
    size: int = 16,
    strengths: tuple[float, ...] = (5.0, 10.0, 15.0, 20.0, 30.0, 60.0),
    most: int = 10_000,
    points: int = 14,
    noise: float = 0.3,
    queries: int = 100,
    limit: int = 500,
    seed: int = 0,
    progress: Progress = silent,
) -> Trade:
    """Random patterns on the unit sphere, queries a little off, retrieval until the state stands still.

    The more patterns, the nearer their neighbours: Δ falls, the error rises as exp(-β Δ), the contraction weakens and
    more updates are needed; beyond some N the single pattern is no fixed point any more, and the query ends in the
    average of all. A larger β moves that point out.

    Args:
        size: d.
        strengths: values of β M².
        most: the largest number of patterns.
        points: numbers of patterns tried, from 4 to `most` in equal ratios.
        noise: distance of each query from its pattern, in units of M.
        queries: queries for each number, of different patterns.
        limit: updates after which a query is given up.
        seed: of patterns and queries.
        progress: see `Progress`.

    Returns:
        `Trade`.
    """
    counts = log_grid(4, most, points)
    separations: list[float] = []
    table: list[list[tuple[float, ...]]] = [[] for _ in strengths]
    for done, count in enumerate(counts):
        generator = seeded(seed, count)
        patterns = on_sphere(count, size, generator)
        rows = torch.randperm(count, generator=generator)[:queries]
        query = patterns[rows] + noise * on_sphere(len(rows), size, generator)
        separation = pattern_separation(patterns, rows)
        separations.append(float(separation.mean()))
        for place, beta in enumerate(strengths):
            progress(f"{count} patterns, β M² = {beta:g}", done * len(strengths) + place, len(counts) * len(strengths))
            found = retrieve(query, patterns, beta=beta, max_steps=limit)
            error = torch.linalg.vector_norm(found.state - patterns[rows], dim=1)
            table[place].append(
                (
                    float((error < _NEAR).double().mean()),
                    float(found.steps.double().mean()),
                    float(error.median()),
                    float((~found.converged).double().mean()),
                    float((separation >= required_separation(patterns, beta)).double().mean()),
                )
            )
    progress("patterns, updates and errors", 1, 1)
    curves = []
    for beta, rows_of in zip(strengths, table, strict=True):
        recovered, updates, error_of, unfinished, guaranteed = (list(column) for column in zip(*rows_of, strict=True))
        breaks = crossing(counts, recovered)
        curves.append(TradeCurve(beta, recovered, updates, error_of, unfinished, guaranteed, breaks))
    return Trade(size, noise, queries, limit, counts, separations, curves)
