"""One damaged image at six inverse temperatures: from the average of everything to one pattern."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hopfield.core.association import association_weights
from hopfield.core.retrieval import retrieve
from hopfield.datasets.images import ImageSet, hide_lower_half
from hopfield.experiments.retrieval.common import (
    Progress,
    Shown,
    StoredImages,
    one_thread,
    seeded,
    silent,
    store_images,
)
from hopfield.memory.associative import AssociativeMemory
from hopfield.theory import KINDS, fixed_point_kind

_SIX = 6
_SCAN = 61
_PASSED = ("global", "metastable", "pattern")


@dataclass(frozen=True)
class BetaStep:
    """One of the six inverse temperatures.

    Attributes:
        beta: β, for patterns of norm √d.
        weight_query: association weight of the target at the query, in the first update.
        support_query: k at the query, the number of patterns that carry 90 % of the weight.
        weight: association weight of the target at the fixed point.
        support: k at the fixed point.
        kind: "global", "metastable" or "pattern": the kind of the fixed point.
        heaviest: number of the stored image with the largest weight there.
        residual: |ξ - f(ξ)| at the state found.
        steps: updates made, the confirming one included.
        converged: whether it stood still at the end.
        error: root mean square difference, in pixels, of the picture found from the target.
        error_query: the same after one update.
        energies: E of the query and after each update.
    """

    beta: float
    weight_query: float
    support_query: int
    weight: float
    support: int
    kind: str
    heaviest: int
    residual: float
    steps: int
    converged: bool
    error: float
    error_query: float
    energies: list[float]


@dataclass(frozen=True)
class Betas:
    """What `betas` measured.

    Attributes:
        images: name of the image set.
        stored: number of images stored.
        size: d, pixels in an image.
        target: number of the stored image whose upper half is the query.
        beta_global: 0.99/m_max², where there is one fixed point only (lemma A3): the first of the six.
        beta_stored: from which on all patterns are well separated (lemmas A5-A7): the last of the six.
        scanned: inverse temperatures tried for this query between the two.
        kinds: the kind of fixed point reached at each of them.
        supports: k there.
        steps: the six.
        largest_rise: largest rise of the energy in an update, over all six, relative to M²/2; rounding.
    """

    images: str
    stored: int
    size: int
    target: int
    beta_global: float
    beta_stored: float
    scanned: list[float]
    kinds: list[str]
    supports: list[int]
    steps: list[BetaStep]
    largest_rise: float


@one_thread
def betas(
    images: ImageSet,
    *,
    stored: int = 200,
    candidates: int = 24,
    seed: int = 0,
    progress: Progress = silent,
) -> Shown[Betas]:
    """Retrieve one image from its upper half at six inverse temperatures that show all kinds of fixed points.

    The smallest is 0.99/m_max², where lemma A3 leaves one fixed point, the largest that at which lemmas A5-A7 have all
    patterns stored. Between them a scan finds the kinds the query passes through; three of the six are the metastable
    states with the largest, the middle and the smallest k, one is the first that reaches a single pattern. The query is
    the first stored image that passes through all three kinds and is found itself at the largest β.

    Args:
        images: what to store.
        stored: the most images.
        candidates: how many images to try as the target.
        seed: of the choice of images.
        progress: see `Progress`.

    Returns:
        The numbers; pictures "target", "query", "once" and "found" (six each).
    """
    chosen = store_images(images.images, stored, seeded(seed, 0))
    height, width = chosen.shape
    upper = torch.zeros(height, width, dtype=torch.bool)
    upper[: height // 2] = True
    low, high = chosen.beta_global(), chosen.beta_stored()
    grid = torch.from_numpy(np.geomspace(low, high, _SCAN))
    halves = hide_lower_half(chosen.pixels.reshape(-1, height, width)).reshape(-1, chosen.size)
    queries = chosen.query(halves, upper.flatten())
    tries = min(candidates, len(queries))
    best: tuple[int, list[str], list[int]] | None = None
    for target in range(tries):
        progress("looking for an image that passes through all kinds of fixed points", target, tries + _SIX)
        kinds, supports, last = _scan(chosen, queries[target], grid)
        if best is None or len(set(kinds)) > len(set(best[1])):
            best = (target, kinds, supports)
        if set(_PASSED) <= set(kinds) and last == target:
            best = (target, kinds, supports)
            break
    assert best is not None  # store_images gives at least three
    target, kinds, supports = best
    picks = choose_six(kinds, supports)
    steps: list[BetaStep] = []
    once, found = [], []
    for done, pick in enumerate(picks):
        progress("one query at six inverse temperatures", tries + done, tries + _SIX)
        step, first, last_state = _step(chosen, queries[target], target, float(grid[pick]))
        steps.append(step)
        once.append(first)
        found.append(last_state)
    rises = [after - before for step in steps for before, after in itertools.pairwise(step.energies)]
    numbers = Betas(
        images=images.name,
        stored=len(chosen.patterns),
        size=chosen.size,
        target=target,
        beta_global=low,
        beta_stored=high,
        scanned=grid.tolist(),
        kinds=kinds,
        supports=supports,
        steps=steps,
        largest_rise=max(0.0, *rises) / (chosen.size / 2),
    )
    pictures = {
        "target": chosen.show(chosen.pixels[target]),
        "query": chosen.show(halves[target]),
        "once": chosen.show(torch.stack(once)),
        "found": chosen.show(torch.stack(found)),
    }
    progress("one query at six inverse temperatures", 1, 1)
    return Shown(numbers, pictures)


def choose_six(kinds: list[str], supports: list[int]) -> list[int]:
    """Six places of a scan: both ends, three metastable states of falling k, the first single pattern after them.

    Where the scan lacks some of these, places in the widest gaps stand in for them.
    """
    last = len(kinds) - 1
    chosen = {0, last}
    passing = [place for place, kind in enumerate(kinds) if kind == "metastable"]
    if passing:
        sizes = [math.log(supports[place]) for place in passing]
        middle = (sizes[0] + sizes[-1]) / 2
        chosen |= {passing[0], passing[min(range(len(sizes)), key=lambda at: abs(sizes[at] - middle))], passing[-1]}
    single = [place for place, kind in enumerate(kinds) if kind == "pattern" and place > max(passing, default=0)]
    if single:
        chosen.add(single[0])
    while len(chosen) < min(_SIX, len(kinds)):
        places = sorted(chosen)
        before, after = max(itertools.pairwise(places), key=lambda gap: gap[1] - gap[0])
        chosen.add((before + after) // 2)
    return sorted(chosen)


def _scan(images: StoredImages, query: Tensor, grid: Tensor) -> tuple[list[str], list[int], int]:
    """Kind and k of the fixed point reached at each β, and the heaviest pattern at the last."""
    column = grid.unsqueeze(1)
    states = query.expand(len(grid), -1)
    tol = 1e-6 * images.size**0.5
    found = retrieve(states, images.patterns, beta=column, tol=tol)
    kind = fixed_point_kind(found.state, images.patterns, beta=column)
    return [KINDS[code] for code in kind.kind.tolist()], kind.size.tolist(), int(kind.index[-1])


def _step(images: StoredImages, query: Tensor, target: int, beta: float) -> tuple[BetaStep, Tensor, Tensor]:
    memory = AssociativeMemory(images.patterns, values=images.pixels, beta=beta)
    once = memory.retrieve(query, steps=1)
    found = memory.retrieve(query, tol=1e-6 * images.size**0.5, trajectory=True)
    kind = fixed_point_kind(found.state, images.patterns, beta=beta)
    assert found.trajectory is not None
    weights = association_weights(torch.stack([query, found.state]), images.patterns, beta=beta)[:, target].tolist()
    pixels = images.pixels[target]
    step = BetaStep(
        beta=beta,
        weight_query=weights[0],
        support_query=int(once.support()),
        weight=weights[1],
        support=int(kind.size),
        kind=KINDS[int(kind.kind)],
        heaviest=int(kind.index),
        residual=float(kind.residual),
        steps=int(found.steps),
        converged=bool(found.converged),
        error=float((found.values - pixels).square().mean().sqrt()),
        error_query=float((once.values - pixels).square().mean().sqrt()),
        energies=memory.energy(found.trajectory).tolist(),
    )
    return step, once.values, found.values
