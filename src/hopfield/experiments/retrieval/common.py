"""What the retrieval experiments share: progress, grids, random draws, and images made ready to be stored."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.theory import global_fixed_point, pattern_separation, required_separation

Progress = Callable[[str, int, int], None]
"""Called as progress(what is done, how much of it, of how much)."""

Pictures = dict[str, NDArray[np.float32]]
"""Arrays (n, h, w) or (h, w) with pixels in [-1, 1], by name."""

Numbers = TypeVar("Numbers")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Patterns whose angle is smaller than this count as one: a separation of 1e-4 d, 1.4 % of the contrast.
_SAME = 1e-4


def silent(what: str, done: int, total: int) -> None:
    """The progress callback that tells nobody."""


def one_thread(experiment: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run an experiment on one thread of torch.

    Its many operations are small: threads would cost more than they bring, on a busy machine twenty times as much, and
    sums would depend on their number.
    """

    @functools.wraps(experiment)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return experiment(*args, **kwargs)
        finally:
            torch.set_num_threads(threads)

    return run


@dataclass(frozen=True)
class Shown(Generic[Numbers]):
    """An experiment on images: its numbers, and the pictures that go with them.

    Attributes:
        numbers: a dataclass of plain numbers and lists.
        pictures: arrays for the figures.
    """

    numbers: Numbers
    pictures: Pictures


@dataclass(frozen=True)
class StoredImages:
    """Images as patterns: centred on their mean image and scaled to norm √d, so that a pixel is of size one.

        x_i = √d (u_i - m) / |u_i - m|,   m the mean of all images u_i

    Images share much (a dark border, say), and the mean carries what all have in common: without it Δ_i measures what
    the images differ in. With equal norms Δ_i = ½ min_j |x_i - x_j|², above 0 for distinct images.

    Attributes:
        shape: height and width.
        rows: where in the image set each stored image stands.
        pixels: u, the images themselves, (N, d), in [-1, 1].
        mean: m, (d,).
        patterns: x, (N, d), float64.
        separation: the smallest Δ_i.
    """

    shape: tuple[int, int]
    rows: list[int]
    pixels: Tensor
    mean: Tensor
    patterns: Tensor
    separation: float

    @property
    def size(self) -> int:
        """d, the number of pixels."""
        return self.pixels.shape[1]

    def query(self, pixels: Tensor, known: Tensor | None = None) -> Tensor:
        """Damaged images (n, d) as queries: centred and scaled like the patterns; pixels not `known` (d,) are left out.

        A pixel that is left out is 0 after centring, as if it were that of the mean image: it takes no part in any
        dot product.
        """
        centred = pixels.to(self.pixels) - self.mean
        return _scaled(centred if known is None else torch.where(known, centred, 0.0))

    def beta_stored(self) -> float:
        """The smallest β at which all patterns are surely stored: Δ_min = 2/(β N) + ln(2 (N-1) N β M²)/β.

        Source: `hopfield.theory.well_separated`, lemmas A5-A7.
        """
        return _smallest_beta(self.patterns, self.separation)

    def beta_global(self) -> float:
        """A β just small enough for the global average to be the only fixed point: β m_max² = 0.99 < 1 (lemma A3)."""
        return 0.99 / float(global_fixed_point(self.patterns, 1.0).contraction)

    def show(self, pixels: Tensor) -> NDArray[np.float32]:
        """Pixels (..., d) as pictures (..., h, w)."""
        return pixels.reshape(*pixels.shape[:-1], *self.shape).to(torch.float32).numpy()


def store_images(images: Tensor, limit: int, generator: torch.Generator) -> StoredImages:
    """Choose at most `limit` distinct images (n, h, w) at random and make patterns of them.

    Images that differ from one already taken in less than 1.4 % of the contrast are passed over, as are blank ones.

    Raises:
        HopfieldError: fewer than three images are distinct.
    """
    height, width = images.shape[1:]
    order = torch.randperm(len(images), generator=generator)
    if len(order) > 4 * limit:
        order = order[: 4 * limit]  # enough for all but very odd sets, and large sets stay where they are
    chosen = order[_distinct(images[order].flatten(1).to(torch.float64), limit)]
    while len(chosen) >= 3:
        pixels = images[chosen].flatten(1).to(torch.float64)
        mean = pixels.mean(0)
        patterns = _scaled(pixels - mean)
        kept = _distinct(patterns, limit)
        if len(kept) == len(chosen):
            separation = float(pattern_separation(patterns).min())
            return StoredImages((height, width), chosen.tolist(), pixels, mean, patterns, separation)
        chosen = chosen[kept]
    raise HopfieldError(
        f"expected at least 3 images that differ, got {len(images)}, of which {len(chosen)} differ in more than "
        "brightness and contrast; give a folder with more images"
    )


def _distinct(rows: Tensor, limit: int) -> Tensor:
    """Indices of the first rows that differ from all before them, at most `limit`; rows of zeros are left out."""
    squares = rows.square().sum(1)
    taken = torch.empty_like(rows[:limit])
    kept: list[int] = []
    for row in range(len(rows)):
        if len(kept) == limit:
            break
        others = squares[kept] / 2 - taken[: len(kept)] @ rows[row]  # with half of this one's square: ½ |x - y|²
        if float(squares[row]) > 0 and bool((others + squares[row] / 2 > _SAME * squares[row]).all()):
            taken[len(kept)] = rows[row]
            kept.append(row)
    return torch.tensor(kept, dtype=torch.int64)


def _scaled(rows: Tensor) -> Tensor:
    """Rows of norm √d; rows of zeros stay as they are."""
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows * torch.where(norms > 0, math.sqrt(rows.shape[-1]) / norms.clamp_min(1e-300), 0.0)


def _smallest_beta(patterns: Tensor, separation: float) -> float:
    """The smallest β at which a separation is the required one: the upper root, by bisection from above it."""
    low = high = 1 / separation
    while float(required_separation(patterns, high)) > separation:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if float(required_separation(patterns, middle)) > separation:
            low = middle
        else:
            high = middle
    return high


def log_grid(first: int, last: int, points: int) -> list[int]:
    """Whole numbers from `first` to `last` in equal ratios, each once."""
    if last <= first:
        return [last]
    return sorted({round(float(value)) for value in np.geomspace(first, last, points)})


def random_signs(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Random +-1 patterns, (count, dim), float64."""
    return torch.randint(0, 2, (count, dim), generator=generator).to(torch.float64) * 2 - 1


def on_sphere(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Uniform on the unit sphere, (count, dim), float64."""
    return F.normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1)


def flip_entries(states: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The states (n, d) with exactly `count` entries of each turned into their negatives."""
    order = torch.rand(states.shape, generator=generator).argsort(1)[:, :count]
    return states.scatter(1, order, -states.gather(1, order))


def seeded(seed: int, *parts: int) -> torch.Generator:
    """A generator of its own for every part of an experiment, so that no part depends on how much another draws."""
    mixed = np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) & (2**63 - 1))


def crossing(counts: list[int], shares: list[float], level: float = 0.5) -> float | None:
    """Where a falling curve first passes below `level`, by a straight line between its points; None if it never does.

    The count itself if the first point is below already.
    """
    for place, share in enumerate(shares):
        if share < level:
            if place == 0:
                return float(counts[0])
            before, after = counts[place - 1], counts[place]
            above = shares[place - 1]
            return before + (after - before) * (above - level) / (above - share)
    return None
