"""How many patterns five networks store: random ones, and images in black and white."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.binary import classical_capacity
from hopfield.datasets.images import ImageSet, binarise
from hopfield.errors import HopfieldError
from hopfield.experiments.retrieval.common import Progress, log_grid, one_thread, random_signs, silent
from hopfield.experiments.retrieval.compare import Networks, Plan, compare


@one_thread
def networks(
    *,
    size: int = 64,
    flipped: int = 3,
    most: int = 10_000,
    points: int = 22,
    draws: int = 5,
    queries: int = 40,
    asked: int = 400,
    limit: int = 20,
    hopeless: int | None = 2,
    every: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Networks:
    """Random +-1 patterns: share recovered and updates needed against the number stored, on a logarithmic grid.

    Each query is a stored pattern with `flipped` of its units turned. Updates are synchronous.

    Args:
        size: d.
        flipped: units turned.
        most: the largest number of patterns.
        points: numbers of patterns tried, from 2 to `most` in equal ratios; there are more around 0.138 d.
        draws: memories for each number, at least.
        queries: see `Plan`, as for those below.
        asked: the fewest queries for each number.
        limit: the most updates.
        hopeless: when to stop trying a network.
        every: queries of one further memory with `most` patterns.
        seed: of patterns and queries.
        progress: see `Progress`.

    Returns:
        `Networks`.
    """
    border = classical_capacity(size).small_errors
    near = {round(border * factor) for factor in (0.7, 0.85, 1.0, 1.15, 1.3, 1.6, 2.0)}
    counts = sorted(set(log_grid(2, most, points)) | {count for count in near if 2 <= count <= most})
    plan = Plan(counts, flipped, draws, queries, asked, limit, hopeless, every)
    return compare(f"random patterns of {size} units", lambda n, g: random_signs(n, size, g), plan, seed, progress)


def black_and_white(images: Tensor, side: int) -> Tensor:
    """Images (n, h, w) in black and white, `side` x `side` pixels: +-1 patterns (n', side²), float64, each once.

    A pixel is 1 where it is lighter than the middle between the lightest and the darkest of its image.

    Raises:
        HopfieldError: fewer than three of them differ.
    """
    resized = F.interpolate(images.unsqueeze(1).to(torch.float32), (side, side), mode="bilinear", antialias=True)
    flat = resized.flatten(1).to(torch.float64)
    middle = (flat.amax(1, keepdim=True) + flat.amin(1, keepdim=True)) / 2
    pool: Tensor = torch.unique(binarise(flat - middle), dim=0)
    if len(pool) < 3:
        raise HopfieldError(
            f"expected at least 3 images that differ in black and white at {side} x {side} pixels, got {len(pool)}; "
            "take images with more contrast"
        )
    return pool


@one_thread
def networks_on_images(
    images: ImageSet,
    *,
    side: int = 10,
    flipped: int = 5,
    most: int = 2000,
    points: int = 16,
    draws: int = 10,
    queries: int = 40,
    asked: int = 400,
    limit: int = 20,
    hopeless: int | None = 2,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Networks, Networks]:
    """The same on images in black and white, and on as many random patterns of the same size.

    Images resemble one another, and the classical network adds up what they share: it breaks down long before 0.138 d,
    not for want of units but because its patterns are correlated.

    Args:
        images: what to store, reduced to `side` x `side` pixels of -1 and +1.
        side: pixels along each side.
        flipped: pixels turned in each query.
        most: the largest number of images, if so many differ.
        points: numbers tried, from 1 to `most` in equal ratios; and every number up to 20.
        draws: memories for each number, at least, drawn from all images.
        queries: see `Plan`, as for those below.
        asked: the fewest queries for each number.
        limit: the most updates.
        hopeless: when to stop trying a network.
        seed: of the choice of images, of the patterns and of the queries.
        progress: see `Progress`.

    Returns:
        `Networks` for the images, and for random patterns.

    Raises:
        HopfieldError: fewer than three images differ in black and white.
    """
    pool = black_and_white(images.images, side)
    most = min(most, len(pool))
    counts = sorted(set(log_grid(1, most, points)) | set(range(1, min(most, 20) + 1)))
    plan = Plan(counts, flipped, draws, queries, asked, limit, hopeless)
    sized = f"{side} × {side} pixels"

    def first(what: str, done: int, total: int) -> None:
        progress(what, done, 2 * total)

    def second(what: str, done: int, total: int) -> None:
        progress(what, total + done, 2 * total)

    on_images = compare(f"{images.name}, {sized}", lambda n, g: choose(pool, n, g), plan, seed, first)
    at_random = compare(f"random, {sized}", lambda n, g: random_signs(n, side * side, g), plan, seed, second)
    return on_images, at_random


def choose(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random rows of the pool, each at most once."""
    return pool[torch.randperm(len(pool), generator=generator)[:count]]
