"""Store images, damage them, recover them, and count how many come back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hopfield.datasets.images import ImageSet, add_noise, flip_pixels, hide_lower_half
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

_EXACT = 0.01


@dataclass(frozen=True)
class Damage:
    """How the images came back from one kind of damage.

    Attributes:
        name: "hidden", "noise" or "flipped".
        label: the same in words.
        queries: damaged images, one for each that is stored.
        recovered: share recovered: the nearest stored image is the right one and the error is below `tolerance`.
        recovered_one_step: the same after one single update.
        confused: share of the queries that resemble another stored pattern more than their own.
        another: share that ended in another stored image, below the same tolerance.
        between: share that ended in no stored image.
        converged: share whose last update did not move the state any more.
        steps: mean number of updates that moved the state.
        most_steps: the largest such number.
        damage: root mean square difference of the damaged from the stored image, in units of a pixel.
        error: the same of the recovered image, median over all queries.
        worst_recovered: the largest of those that count as recovered.
        energy_query: mean energy of the queries.
        energy_found: mean energy of the states found.
        examples: for each image shown, whether it was recovered.
    """

    name: str
    label: str
    queries: int
    recovered: float
    recovered_one_step: float
    confused: float
    another: float
    between: float
    converged: float
    steps: float
    most_steps: int
    damage: float
    error: float
    worst_recovered: float
    energy_query: float
    energy_found: float
    examples: list[bool]


@dataclass(frozen=True)
class Recovery:
    """What `recovery` measured.

    Attributes:
        images: name of the image set.
        stored: number of images stored.
        height: rows of an image.
        width: columns of an image.
        beta: inverse temperature: the smallest at which theory has all patterns stored.
        strength: β M², the same for patterns of norm one.
        separation: the smallest separation of a pattern.
        tolerance: root mean square error of a pixel, in [-1, 1], below which an image counts as recovered.
        damages: one entry for each kind of damage.
    """

    images: str
    stored: int
    height: int
    width: int
    beta: float
    strength: float
    separation: float
    tolerance: float
    damages: list[Damage]


@one_thread
def recovery(
    images: ImageSet,
    *,
    stored: int = 200,
    noise: float = 0.5,
    flipped: float = 0.1,
    show: int = 6,
    seed: int = 0,
    progress: Progress = silent,
) -> Shown[Recovery]:
    """Store up to `stored` images and recover all of them from three kinds of damage.

    The lower half hidden (the network is told which pixels are missing), Gaussian noise on every pixel, and pixels
    turned into their negatives. Patterns are the centred and scaled images (`StoredImages`), values the images
    themselves, and β the smallest at which lemmas A5-A7 guarantee that all patterns are stored. A query that is not
    recovered was damaged so much that another image is nearer to it.

    Args:
        images: what to store.
        stored: the most images.
        noise: standard deviation of the noise; pixels lie in [-1, 1].
        flipped: share of the pixels turned.
        show: how many images to keep as pictures: the first, and up to two with which recovery failed.
        seed: of the choice of images and of the damage.
        progress: see `Progress`.

    Returns:
        The numbers; pictures "stored", and "damaged …" and "recovered …" for each kind of damage.
    """
    memory_of = store_images(images.images, stored, seeded(seed, 0))
    beta = memory_of.beta_stored()
    memory = AssociativeMemory(memory_of.patterns, values=memory_of.pixels, beta=beta)
    pictures = memory_of.pixels.reshape(-1, *memory_of.shape)
    upper = torch.zeros(memory_of.shape, dtype=torch.bool)
    upper[: memory_of.shape[0] // 2] = True
    kinds = [
        ("hidden", "a hidden lower half", hide_lower_half(pictures), upper.flatten()),
        ("noise", f"noise of {noise:g}", add_noise(pictures, noise, seeded(seed, 1)), None),
        ("flipped", f"{100 * flipped:g} % turned pixels", flip_pixels(pictures, flipped, seeded(seed, 2)), None),
    ]
    runs: list[_Run] = []
    for done, (name, label, damaged, known) in enumerate(kinds):
        progress(f"recovering images, {label}", done, len(kinds))
        runs.append(_run(name, label, memory, memory_of, damaged.reshape(len(damaged), -1).to(memory.patterns), known))
    examples = _examples([run.recovered for run in runs], show)
    shown = {"stored": memory_of.show(memory_of.pixels[examples])}
    for run in runs:
        shown[f"damaged {run.damage.name}"] = memory_of.show(run.damaged[examples])
        shown[f"recovered {run.damage.name}"] = memory_of.show(run.found[examples])
    progress("recovering images", len(kinds), len(kinds))
    numbers = Recovery(
        images=images.name,
        stored=len(memory),
        height=memory_of.shape[0],
        width=memory_of.shape[1],
        beta=beta,
        strength=beta * memory_of.size,
        separation=memory_of.separation,
        tolerance=_EXACT,
        damages=[replace(run.damage, examples=run.recovered[examples].tolist()) for run in runs],
    )
    return Shown(numbers, shown)


@dataclass(frozen=True)
class _Run:
    damage: Damage
    damaged: Tensor
    found: Tensor
    recovered: Tensor


def _run(
    name: str, label: str, memory: AssociativeMemory, images: StoredImages, damaged: Tensor, known: Tensor | None
) -> _Run:
    query = images.query(damaged, known)
    found = memory.retrieve(query)
    once = memory.retrieve(query, steps=1)
    nearest, error = _nearest(found.values, images.pixels)
    first, first_error = _nearest(once.values, images.pixels)
    right = torch.arange(len(damaged))
    exact = error < _EXACT
    recovered = exact & (nearest == right)
    own = (found.values - images.pixels).square().mean(1).sqrt()
    steps = found.steps - found.converged.long()  # the last update of a converged query only confirms
    measured = Damage(
        name=name,
        label=label,
        queries=len(damaged),
        recovered=_share(recovered),
        recovered_one_step=_share((first_error < _EXACT) & (first == right)),
        confused=_share((query @ memory.patterns.T).argmax(1) != right),
        another=_share(exact & (nearest != right)),
        between=_share(~exact),
        converged=_share(found.converged),
        steps=float(steps.double().mean()),
        most_steps=int(steps.max()),
        damage=float((damaged - images.pixels).square().mean().sqrt()),
        error=float(own.median()),
        worst_recovered=float(own[recovered].max()) if bool(recovered.any()) else 0.0,
        energy_query=float(memory.energy(query).mean()),
        energy_found=float(found.energy.mean()),
        examples=[],
    )
    return _Run(measured, damaged, found.values, recovered)


def _examples(recovered: list[Tensor], show: int) -> list[int]:
    """The first images, and in the last places up to two with which some recovery failed."""
    count = len(recovered[0])
    first = list(range(min(show, count)))
    failed = [row for row in range(count) if row not in first and not all(bool(kind[row]) for kind in recovered)]
    missing = min(2, len(failed), len(first))
    return first[: len(first) - missing] + failed[:missing]


def _nearest(found: Tensor, stored: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest stored image of each that was found, and the root mean square error to it."""
    distance, index = torch.cdist(found, stored, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return index, distance / stored.shape[1] ** 0.5


def _share(which: Tensor) -> float:
    return float(which.double().mean())
