"""The error after one update, measured, and the bound that theorem 5 gives for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hopfield.core.association import association_weights
from hopfield.core.retrieval import retrieve
from hopfield.experiments.retrieval.common import Progress, on_sphere, one_thread, seeded, silent
from hopfield.theory import margin_bound, pattern_separation, retrieval_error_bound, well_separated


@dataclass(frozen=True)
class Errors:
    """One dimension; one entry for each pattern and β looked at.

    Attributes:
        size: d.
        separation: β Δ_i.
        measured: |f(ξ) - x_i| / M for a query ξ at distance 1/(2 β M) from x_i.
        fixed_point: |x_i* - x_i| / M.
        bound: theorem 5 for both, 2 e (N-1) exp(-β Δ_i).
        margin: lemma A4 for the same query, 2 (N-1) exp(-β (ξ·x_i - max_j ξ·x_j)).
    """

    size: int
    separation: list[float]
    measured: list[float]
    fixed_point: list[float]
    bound: list[float]
    margin: list[float]


@dataclass(frozen=True)
class OneStep:
    """What `one_step_error` measured.

    Attributes:
        stored: number of patterns N in each memory.
        curves: one entry for each dimension.
        points: number of points altogether.
        violations: points at which a measured error was above its bound.
        tightest: the smallest ratio of bound and measured error.
        typical: the median of this ratio.
        wide_points: queries farther off, up to the distance at which the bound says nothing any more.
        wide_violations: those of them above the general form of the bound.
        left_out: patterns left out because they were not well separated at that β.
    """

    stored: int
    curves: list[Errors]
    points: int
    violations: int
    tightest: float
    typical: float
    wide_points: int
    wide_violations: int
    left_out: int


@one_thread
def one_step_error(
    *,
    stored: int = 100,
    sizes: tuple[int, ...] = (8, 16, 32, 64),
    patterns: int = 12,
    reach: tuple[float, float] = (10.0, 120.0),
    points: int = 12,
    seed: int = 0,
    progress: Progress = silent,
) -> OneStep:
    """Random memories on the sphere, one update from near a pattern, and theorem 5's bound of the error.

        |f(ξ) - x_i|, |x_i* - x_i| ≤ 2 e (N-1) M exp(-β Δ_i)    for |ξ - x_i| ≤ 1/(2 β M)

    β is raised so that the mean β Δ_i goes through `reach`; only well separated patterns count, as the theorem asks.
    Errors far below rounding are measured without cancellation, f(ξ) - x_i = Σ_{j≠i} p_j (x_j - x_i). Queries farther
    off are held against the general form, 2 (N-1) M exp(-β (Δ_i - 2 |ξ - x_i| M)).

    Args:
        stored: N.
        sizes: dimensions d; patterns are uniform on the sphere of radius √(d-1).
        patterns: patterns looked at in each memory.
        reach: smallest and largest mean of β Δ_i.
        points: inverse temperatures in that reach.
        seed: of patterns and queries.
        progress: see `Progress`.

    Returns:
        `OneStep`.
    """
    curves: list[Errors] = []
    left_out = wide_points = wide_violations = 0
    for place, size in enumerate(sizes):
        progress(f"error after one update, d = {size}", place, len(sizes))
        generator = seeded(seed, size)
        norm = (size - 1) ** 0.5
        memory = norm * on_sphere(stored, size, generator)
        separation = pattern_separation(memory)
        rows = torch.randperm(stored, generator=generator)[:patterns]
        columns: list[list[float]] = [[], [], [], [], []]
        for scaled in np.geomspace(*reach, points):
            beta = float(scaled) / float(separation.mean())
            stays = well_separated(memory, beta)[rows]
            left_out += int((~stays).sum())
            index = rows[stays]
            if not len(index):
                continue
            query = memory[index] + on_sphere(len(index), size, generator) / (2 * beta * norm)
            found = retrieve(memory[index], memory, beta=beta)
            new = (
                beta * separation[index],
                error_without_cancellation(memory, beta, query, index) / norm,
                error_without_cancellation(memory, beta, found.state, index) / norm,
                retrieval_error_bound(memory, beta, index=index) / norm,
                margin_bound(memory, beta, query, index).error / norm,
            )
            for column, values in zip(columns, new, strict=True):
                column.extend(values.tolist())
            far = separation[index] / (2 * norm) * torch.rand(len(index), generator=generator, dtype=torch.float64)
            wide = memory[index] + on_sphere(len(index), size, generator) * far.unsqueeze(1)
            limit = retrieval_error_bound(memory, beta, query=wide, index=index)
            wide_points += len(index)
            wide_violations += int((error_without_cancellation(memory, beta, wide, index) > limit).sum())
        curves.append(Errors(size, *columns))
    progress("error after one update", len(sizes), len(sizes))
    ratios = [
        bound / max(measured, 1e-300)
        for curve in curves
        for errors in (curve.measured, curve.fixed_point)
        for measured, bound in zip(errors, curve.bound, strict=True)
    ]
    return OneStep(
        stored=stored,
        curves=curves,
        points=len(ratios),
        violations=sum(ratio < 1 for ratio in ratios),
        tightest=min(ratios),
        typical=float(np.median(ratios)),
        wide_points=wide_points,
        wide_violations=wide_violations,
        left_out=left_out,
    )


def error_without_cancellation(memory: Tensor, beta: float, query: Tensor, index: Tensor) -> Tensor:
    """|f(ξ) - x_i| = |Σ_{j≠i} p_j (x_j - x_i)|, exact to rounding however small: query (n, d), index (n,) to (n,)."""
    others = association_weights(query, memory, beta=beta).scatter(1, index.unsqueeze(1), 0.0)
    errors: Tensor = torch.linalg.vector_norm(others @ memory - others.sum(1, keepdim=True) * memory[index], dim=1)
    return errors
