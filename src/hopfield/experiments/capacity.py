"""How many random patterns a memory stores: measured, beside the number that theorem 3 guarantees.

Patterns are drawn uniformly from the sphere of radius M = K √(d-1) in d dimensions; `radius` is K. Only β K² matters.
Results are plain dataclasses, which `dataclasses.asdict` makes ready for JSON.

Source: Ramsauer et al., "Hopfield Networks is All You Need", ICLR 2021, definitions 1 and 3, theorem 3, lemmas A5-A7.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopfield import theory
from hopfield.core.association import associate
from hopfield.core.retrieval import retrieve
from hopfield.errors import HopfieldError
from hopfield.theory.checks import Index, check_dim, check_failure, check_index, check_patterns, check_positive

Progress = Callable[[str, int, int], None]

_LARGEST_DIM = 32  # where a measurement over all dimensions ends if it has not met its limit before
_CURVE = 15  # points of the curve, evenly on a logarithmic scale
_BLOCK_ENTRIES = 1 << 20  # distances held at a time: 8 MiB


@dataclass(frozen=True)
class BoundPoint:
    """Theorem 3 in one dimension: the fields of `hopfield.theory.Capacity`, patterns None where beyond floats."""

    dim: int
    a: float
    b: float
    c: float
    patterns: float | None
    log_patterns: float
    holds: bool


@dataclass(frozen=True)
class MeasuredPoint:
    """What was measured in one dimension.

    Attributes:
        dim: d.
        patterns: the largest N found to pass; 1 is always stored.
        at_least: the limit passed, so the capacity is `patterns` or more.
        fails_at: the smallest N tried that failed, at most max(1, N/16) above `patterns`; None if at_least.
        failures: draws of N = `patterns` in which some pattern was not stored.
        failure_bound: the probability of such a draw is below this, with a confidence of 95 % (Clopper-Pearson, for
            this N by itself).
        checked: how many of the N patterns were checked in each draw, the most endangered ones.
        surely: the largest N found to pass where passing means that all patterns are well separated (lemmas A5-A7),
            hence stored by proof; it lies between the bound and `patterns`.
    """

    dim: int
    patterns: int
    at_least: bool
    fails_at: int | None
    failures: int
    failure_bound: float
    checked: int
    surely: int


@dataclass(frozen=True)
class Growth:
    """Least squares fit ln N = rate d + constant; base = exp(rate), where theorem 3 guarantees c^(1/4)."""

    rate: float
    base: float
    r_squared: float
    dims: list[int]


@dataclass(frozen=True)
class Measurement:
    """What `measure` was asked and found; `growth` is None if fewer than three dimensions have 2 ≤ N < limit."""

    beta: float
    radius: float
    failure: float
    trials: int
    limit: int
    seed: int
    points: list[MeasuredPoint]
    growth: Growth | None


@dataclass(frozen=True)
class CapacityResult:
    """What `run` found: theorem 3 in the dimension asked for and as a curve, and the measurement if there was one."""

    beta: float
    radius: float
    failure: float
    bound: BoundPoint
    curve: list[BoundPoint]
    measured: Measurement | None

    def numbers(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def run(
    *,
    beta: float = 1.0,
    dim: int = 20,
    radius: float = 3.0,
    failure: float = 0.001,
    measured: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> CapacityResult:
    """What `hopfield capacity` shows: `bound_curve` at some dimensions up to twice the one asked for, and `measure`."""
    dims = set(range(2, _LARGEST_DIM + 1)) if measured else set()
    last = max(_LARGEST_DIM, 2 * check_dim(dim))
    dims |= {dim} | {round(2 * (last / 2) ** (step / _CURVE)) for step in range(_CURVE + 1)}
    curve = bound_curve(beta, radius, failure, sorted(dims))
    bound = next(point for point in curve if point.dim == dim)
    found = measure(beta=beta, radius=radius, failure=failure, seed=seed, progress=progress) if measured else None
    return CapacityResult(beta, radius, failure, bound, curve, found)


def bound_curve(beta: float, radius: float, failure: float, dims: Iterable[int]) -> list[BoundPoint]:
    """Theorem 3 over dimensions; formulas and errors as for `hopfield.theory.capacity`."""
    found = [(dim, theory.capacity(beta=beta, radius=radius, dim=dim, failure=failure)) for dim in dims]
    return [
        BoundPoint(d, x.a, x.b, x.c, x.patterns if math.isfinite(x.patterns) else None, x.log_patterns, x.holds)
        for d, x in found
    ]


def measure(
    *,
    beta: float = 1.0,
    radius: float = 2.0,
    failure: float = 0.1,
    dims: Sequence[int] | None = None,
    trials: int = 40,
    limit: int = 2048,
    checked: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
) -> Measurement:
    """The largest N of which all N random patterns are stored with probability 1 - p, over dimensions.

    N passes if at most ⌊p trials⌋ draws hold a pattern that `stored` refuses. It is doubled until it fails, then the
    gap is halved down to max(1, N/16). Draws depend on the seed, the dimension, the trial and the limit alone, and the
    larger ones contain the smaller. O(trials N² d) time; memory for limit × d numbers.

    Args:
        beta: inverse temperature β.
        radius: K in M = K √(d-1).
        failure: p, 0 < p < 1.
        dims: dimensions d ≥ 2; None: 2, 3, … until the limit is met, at most 32.
        trials: draws for each N.
        limit: the largest N tried, ≥ 2.
        checked: patterns checked in each draw. Where N is larger, those with the smallest weight on themselves,
            exp(β |x_i|²) / Σ_j exp(β x_i·x_j): near neighbours and the crowd draw on them, so they fail first.
        seed: ≥ 0.
        progress: called before each N with what is tried, the dimensions done, and how many there are.

    Returns:
        `Measurement`.

    Raises:
        HopfieldError: an argument is out of its range.
    """
    beta, radius, failure = check_positive("beta", beta), check_positive("radius", radius), check_failure(failure)
    if failure == 1:
        raise HopfieldError("failure = 1 lets every number of patterns pass: to measure, choose one below 1, say 0.1")
    for name, number, least in (("trials", trials, 1), ("limit", limit, 2), ("checked", checked, 1), ("seed", seed, 0)):
        if not isinstance(number, int) or number < least:
            raise HopfieldError(f"{name} must be an integer of at least {least}, got {number!r}")
    allowed = math.floor(failure * trials + 1e-9)
    sizes = [check_dim(dim) for dim in (range(2, _LARGEST_DIM + 1) if dims is None else dims)]
    points: list[MeasuredPoint] = []

    def passes(dim: int, trial: int, count: int, proven: bool) -> bool:
        state = np.random.SeedSequence((seed, dim, trial)).generate_state(1)
        generator = torch.Generator().manual_seed(int(state[0]))
        patterns = random_patterns(limit, dim, radius, generator)[:count]
        if proven:
            return bool(theory.well_separated(patterns, beta).all())
        rows = _most_endangered(patterns, beta)[:checked]
        return all(bool(stored(patterns, beta, part, generator=generator).all()) for part in rows.split(128))

    def failures(dim: int, proven: bool, count: int) -> int:
        if progress is not None:
            progress(f"d = {dim}, {count} patterns", len(points), len(sizes))
        failed: list[int] = []
        for trial in order:
            if not passes(dim, trial, count, proven):
                failed.append(trial)
            if len(failed) > allowed:
                break
        order.sort(key=lambda trial: trial not in failed)  # a larger set of the same draw fails first next time
        return len(failed)

    with _one_thread():
        for dim in sizes:
            order = list(range(trials))
            count, failed, fails_at = _largest(partial(failures, dim, False), allowed, limit)
            surely, _, _ = _largest(partial(failures, dim, True), allowed, limit)
            point = MeasuredPoint(
                dim=dim,
                patterns=count,
                at_least=fails_at is None,
                fails_at=fails_at,
                failures=failed,
                failure_bound=_failure_bound(failed, trials),
                checked=min(count, checked),
                surely=surely,
            )
            points.append(point)
            if point.at_least and dims is None:
                break
    return Measurement(beta, radius, failure, trials, limit, seed, points, _fit_growth(points))


def stored(
    patterns: Tensor, beta: float, index: Index = None, *, starts: int = 4, generator: torch.Generator | None = None
) -> Tensor:
    """Which patterns are stored in the sense of definition 1, decided by iteration in float64.

    Definition 1 asks for spheres S_i around the x_i that do not meet, each with one fixed point x_i* to which all of
    its points converge. Here x_i* is where the iteration from x_i ends, and S_i has the radius 1/(β N M) of definition
    3 or, if x_i* lies outside of that, r_i = 1.1 |x_i* - x_i|. A pattern passes if r_i is less than half the distance
    to the nearest other pattern (then the spheres of all that pass are apart), and if the iterations from `starts`
    random points of S_i, half of them on its surface, end within r_i/10 of x_i*. An iteration that still moves by more
    than 1/(1000 β N M) after 1000 updates fails. What `hopfield.theory.well_separated` proves stored passes.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        index: patterns to look at, an int or integers of any shape; default all.
        starts: random points for each pattern; 0 for none.
        generator: for the random points.

    Returns:
        bool (N,), or of the shape of `index`.

    Raises:
        HopfieldError: patterns are no finite floating-point matrix, beta is not positive, or `index` is out of range.
    """
    memory, beta = check_patterns(patterns).double(), check_positive("beta", beta)
    rows = check_index(index, memory)
    if len(memory) == 1:
        return torch.ones_like(rows, dtype=torch.bool)
    smallest = theory.sphere_radius(memory, beta)
    walk = partial(retrieve, patterns=memory, beta=beta, tol=min(1e-3 * float(smallest), 1.0))
    result = torch.zeros_like(rows.flatten(), dtype=torch.bool)
    for place in torch.arange(len(result)).split(max(1, _BLOCK_ENTRIES // len(memory))):
        part = rows.flatten()[place]
        centre = memory[part]
        distance = torch.cdist(centre, memory, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distance.scatter(1, part.unsqueeze(1), math.inf).amin(1)
        end = walk(centre)
        away = (end.state - centre).norm(dim=-1)
        radius = torch.where(away <= smallest, smallest, 1.1 * away)  # a tenth more: patterns that meet halfway fail
        good = end.converged & (radius < nearest / 2)
        radius, fixed = radius[good].unsqueeze(-1), end.state[good]
        result[place[good]] = True
        if starts and len(fixed):
            begin = _points_of_spheres(centre[good], radius, starts, generator)
            ends = walk(begin.flatten(0, 1))
            same = (ends.state.reshape(begin.shape) - fixed).norm(dim=-1, keepdim=True) <= radius / 10
            result[place[good]] = (same.squeeze(-1) & ends.converged.reshape(begin.shape[:-1])).all(0)
    return result.reshape(rows.shape)


def random_patterns(count: int, dim: int, radius: float, generator: torch.Generator | None = None) -> Tensor:
    """Patterns uniform on the sphere of radius M = K √(d-1), float64 (count, dim); `radius` is K."""
    normal = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return radius * math.sqrt(dim - 1) * torch.nn.functional.normalize(normal, dim=-1)


def _points_of_spheres(centre: Tensor, radius: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Random points (count, k, d) of the balls around centres (k, d), every second one on the surface."""
    normal = torch.randn(count, *centre.shape, generator=generator, dtype=centre.dtype).to(centre.device)
    length = torch.rand(count, len(centre), 1, generator=generator, dtype=centre.dtype).to(centre.device)
    length = length ** (1 / centre.shape[-1])  # uniform over the volume
    length[::2] = 1
    return centre + radius * length * torch.nn.functional.normalize(normal, dim=-1)


def _most_endangered(patterns: Tensor, beta: float) -> Tensor:
    """Row numbers by the weight of patterns on themselves, exp(β |x_i|²) / Σ_j exp(β x_i·x_j), the smallest first."""
    potential = associate(patterns, patterns, beta=beta, return_potential=True)[1]
    return (beta * patterns.square().sum(-1) - potential).argsort()


@contextmanager
def _one_thread() -> Iterator[None]:
    """For many small products, which threads slow down more than they speed up, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _largest(failures: Callable[[int], int], allowed: int, limit: int) -> tuple[int, int, int | None]:
    """The largest number that passes, its failures, and the smallest one tried that does not (None: the limit does)."""
    low, failed, high = 1, 0, 2
    while (found := failures(high)) <= allowed:
        if high == limit:
            return high, found, None
        low, failed, high = high, found, min(2 * high, limit)
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        found = failures(middle)
        if found <= allowed:
            low, failed = middle, found
        else:
            high = middle
    return low, failed, high


def _failure_bound(failures: int, trials: int) -> float:
    """The probability q at which so few failures have a chance of 5 %: Clopper and Pearson's upper limit."""
    low, high = 0.0, 1.0
    for _ in range(50):
        q = (low + high) / 2
        chance = sum(math.comb(trials, k) * q**k * (1 - q) ** (trials - k) for k in range(failures + 1))
        low, high = (q, high) if chance > 0.05 else (low, q)
    return high


def _fit_growth(points: list[MeasuredPoint]) -> Growth | None:
    used = [point for point in points if point.patterns >= 2 and not point.at_least]
    dims, logs = [point.dim for point in used], [math.log(point.patterns) for point in used]
    if len(set(dims)) < 3:
        return None
    rate = statistics.linear_regression(dims, logs).slope
    r_squared = statistics.correlation(dims, logs) ** 2 if len(set(logs)) > 1 else 1.0
    return Growth(rate, math.exp(rate), r_squared, dims)
