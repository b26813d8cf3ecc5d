"""What a tour found, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hopfield.experiments.words import listed, number, percent

if TYPE_CHECKING:
    from hopfield.experiments.retrieval import Betas, Networks
    from hopfield.experiments.tour import Tour


def essentials(tour: Tour) -> list[str]:
    """Eight to ten lines with what was measured, each a sentence that stands for itself."""
    return [
        _recovered(tour),
        _six(tour.betas),
        _energy(tour.betas),
        _capacity(tour.networks),
        _many(tour.networks),
        _images(tour.networks_on_images, tour.networks_at_random),
        _spurious(tour),
        _bound(tour),
        _trade(tour),
    ]


def _recovered(tour: Tour) -> str:
    recovery = tour.recovery
    shares = listed(f"{percent(damage.recovered)} from {damage.label}" for damage in recovery.damages)
    updates = sum(damage.steps for damage in recovery.damages) / len(recovery.damages)
    what = f"Recovered of {recovery.stored:,} stored images ({tour.origin.images['name']}): "
    return f"{what}{shares}, in {number(updates)} updates on average."


def _six(betas: Betas) -> str:
    names = {"global": "the global average", "metastable": "metastable states", "pattern": "one pattern"}
    found = []
    for kind, name in names.items():
        sizes = [step.support for step in betas.steps if step.kind == kind]
        if sizes:
            found.append(f"{name} (k = {', '.join(map(str, dict.fromkeys(sizes)))})")
    low, high = betas.steps[0].beta, betas.steps[-1].beta
    return f"One query at six β from {number(low)} to {number(high)} ends in {listed(found)}."


def _energy(betas: Betas) -> str:
    updates = sum(len(step.energies) - 1 for step in betas.steps)
    if betas.largest_rise <= 1e-9:
        return f"The energy rose in none of these {updates} updates (beyond rounding)."
    return f"The largest rise of the energy in {updates} updates was {number(betas.largest_rise)} of M²/2."


def _capacity(networks: Networks) -> str:
    names = {"classical": "the classical network", "cubic": "z³", "quartic": "z⁴"}
    falls = [
        f"{names[curve.name]} below one half at about {number(round(curve.half))} patterns"
        for curve in networks.curves
        if curve.name in names and curve.half is not None
    ]
    border = f"0.138 d = {number(networks.classical_capacity)}"
    what = f"{networks.size} random units, {networks.flipped} turned: "
    return what + (f"{listed(falls)} ({border})." if falls else f"no network fell below one half ({border}).")


def _many(networks: Networks) -> str:
    if networks.every is not None:
        every = networks.every
        recovered = listed(f"the {name} {count:,}" for name, count in every.recovered.items())
        return f"With {every.stored:,} stored, of {every.queries:,} queries {recovered} were recovered."
    last = [networks.curve(name) for name in ("exponential", "continuous")]
    return f"With {networks.most:,} stored: " + listed(f"{curve.name} {percent(curve.recovered[-1])}" for curve in last)


def _images(images: Networks, random: Networks) -> str:
    return (
        f"In black and white, {images.patterns}: the classical network {breakdown(images)} images, and "
        f"{breakdown(random)} random patterns of that size; the exponential one recovers "
        f"{percent(images.curve('exponential').recovered[-1])} with {images.most:,} images stored."
    )


def breakdown(networks: Networks) -> str:
    """How the classical network ends: "falls below one half at about 3"."""
    half = networks.curve("classical").half
    return f"falls below one half at about {round(half)}" if half else f"holds up to {networks.most:,}"


def _spurious(tour: Tour) -> str:
    ending = tour.spurious.ending("images", "random")
    count = ending.stored[0]
    found = listed(
        f"{percent(ending.share(count, kind))} in {name}"
        for kind, name in (("pattern", "patterns"), ("negative", "negatives"), ("mixture", "mixtures of three"))
    )
    return f"From random starts the classical network with {count} images ends {found}."


def _bound(tour: Tour) -> str:
    error = tour.error
    above = error.violations + error.wide_violations
    nearest = f"; the nearest is {number(error.tightest)} times below it" if above == 0 else ""
    return f"Of {error.points + error.wide_points:,} measured errors {above} exceed the bound of theorem 5{nearest}."


def _trade(tour: Tour) -> str:
    trade = tour.trade
    broken = [curve for curve in trade.curves if curve.breaks is not None]
    if not broken:
        return f"Up to {trade.stored[-1]:,} patterns of size {trade.size} were found at every β M² tried."
    parts = listed(f"{number(curve.breaks or 0)} at β M² = {curve.strength:g}" for curve in broken)
    held = f"; larger β hold {trade.stored[-1]:,}" if len(broken) < len(trade.curves) else ""
    return f"Random patterns of size {trade.size} are lost beyond about {parts}{held}."
