"""The tour's sections on images: recovery, inverse temperatures, spurious states."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hopfield import plot
from hopfield.experiments.words import listed, number, percent
from hopfield.report.page import Picture, Section, Table

if TYPE_CHECKING:
    from hopfield.experiments.retrieval import Betas, Recovery
    from hopfield.experiments.tour import Tour

_KINDS = {"global": "the global average", "metastable": "metastable states", "pattern": "one pattern"}


def recovery(tour: Tour) -> Section:
    """Images damaged and recovered."""
    found = tour.recovery
    first = found.damages[0]
    what = (
        f"{found.stored:,} images ({found.images}) are stored. Each is damaged in {len(found.damages)} ways, given to "
        f"the network as a query, and updated until it stands still. A pattern is an image less the mean image, scaled "
        f"to norm √d = {number((found.height * found.width) ** 0.5)}; hidden pixels are left out of the query."
    )
    seen = (
        f"Recovered, with an error below {found.tolerance:g} where pixels lie in [−1, 1], were "
        + listed(f"{percent(damage.recovered)} from {damage.label}" for damage in found.damages)
        + f". {_missed(found)}"
    )
    how = (
        f"β = {number(found.beta)} is the smallest at which theory guarantees that all {found.stored:,} patterns are "
        f"stored. One single update recovers {listed(percent(damage.recovered_one_step) for damage in found.damages)}; "
        f"on average {listed(number(damage.steps) for damage in found.damages)} updates moved the state, "
        f"{max(damage.most_steps for damage in found.damages)} at most. With {first.label} the mean energy fell from "
        f"{number(first.energy_query)} to {number(first.energy_found)}."
    )
    return Section(
        title="Damaged images come back",
        paragraphs=[what, seen, how],
        formula="update: ξ ← Xᵀ softmax(β X ξ), where the rows of X are the stored patterns",
        figures=[
            Picture(
                plot.png(plot.recovery(found, tour.pictures["recovery"])),
                "Rows of images: as stored, then for each kind of damage as damaged and as recovered.",
                "Stored, damaged, recovered. Framed: not recovered; the last columns are chosen to show such cases, if "
                "there are any.",
            )
        ],
        table=Table(
            ["damage", "recovered", "one update", "other image", "updates"],
            [
                [
                    damage.label,
                    percent(damage.recovered),
                    percent(damage.recovered_one_step),
                    percent(damage.another),
                    f"{damage.steps:.2f}",
                ]
                for damage in found.damages
            ],
        ),
    )


def _missed(found: Recovery) -> str:
    """What became of those that were not recovered."""
    if all(damage.recovered == 1 for damage in found.damages):
        return "None was missed."
    confused = listed(percent(damage.confused) for damage in found.damages)
    between = max(damage.between for damage in found.damages)
    ended = "The others ended in another stored image" + (
        f" or, at most {percent(between)}, in none" if between else ""
    )
    return f"{ended}: {confused} of the queries resemble another image more than their own."


def betas(tour: Tour) -> Section:
    """Six inverse temperatures."""
    found = tour.betas
    slowest, last = max(found.steps, key=lambda step: step.steps), found.steps[-1]
    what = (
        f"One query, an image of which only the upper half is known, is retrieved among {found.stored:,} stored images "
        f"at six inverse temperatures. At the smallest, β = {number(found.beta_global)}, lemma A3 leaves a single "
        f"fixed "
        f"point; at the largest, {number(found.beta_stored)}, every image is surely stored. The others are where the "
        f"fixed point changes, found by a scan of {len(found.scanned)} values."
    )
    passed = listed(_KINDS.get(kind, "none of these") for kind, _ in itertools.groupby(found.kinds))
    seen = (
        f"With rising β the query ends in {passed}. k counts the patterns that carry 90 % of the weight; w is the "
        f"weight of the image that was damaged. {_left(found)}".rstrip()
    )
    rise = (
        "The energy never rose on the way."
        if found.largest_rise <= 1e-9
        else f"The largest rise of the energy on the way was {number(found.largest_rise)} of M²/2."
    )
    how = (
        f"{rise} It took longest at β = {number(slowest.beta)}, {slowest.steps} updates, and {last.steps} at the "
        f"largest β, the last of which only confirms."
    )
    return Section(
        title="From the average of everything to one pattern",
        paragraphs=[what, seen, how],
        formula="energy: E(ξ) = −lse(β, X ξ) + ½ ξ·ξ + (ln N)/β + ½ M²",
        figures=[
            Picture(
                plot.png(plot.betas(found, tour.pictures["betas"])),
                "The query, and what it becomes after one update and at the end, at six values of beta.",
                "One half-hidden image at six inverse temperatures, after one update (above) and at the end (below).",
            ),
            Picture(
                plot.png(plot.beta_curves(found)),
                "Above, the number k of patterns over beta; below, the energies over the updates.",
                "Above: k at the fixed point for every β of the scan; dotted, the six shown. Below: the energy on the "
                "way at the six.",
            ),
        ],
        table=Table(
            ["β", "ends in", "k", "w", "w at first", "updates"],
            [
                [
                    number(step.beta),
                    {"global": "average", "pattern": "pattern"}.get(step.kind, step.kind),
                    str(step.support),
                    f"{step.weight:.3f}",
                    f"{step.weight_query:.3f}",
                    str(step.steps) if step.converged else f"over {step.steps}",
                ]
                for step in found.steps
            ],
        ),
    )


def _left(found: Betas) -> str:
    """About metastable states that the target has no part in."""
    left = [step for step in found.steps if step.kind == "metastable" and step.weight < 0.1 * step.weight_query]
    if not left:
        return ""
    at = listed(number(step.beta) for step in left)
    weights = listed(f"{step.weight_query:.2f}" for step in left)
    return (
        f"At β = {at} the first update still gave the image a weight of {weights}, but the state moved on to an "
        f"average of others, where it has less than a tenth of that."
    )


def spurious(tour: Tour) -> Section:
    """Where the classical network ends."""
    found = tour.spurious
    at_random, on_images = found.ending("random", "random"), found.ending("images", "random")
    hidden = found.ending("images", "hidden")
    few, many, first = at_random.stored[0], at_random.stored[-1], on_images.stored[0]
    right = at_random.share(few, "pattern") + at_random.share(few, "negative")
    what = (
        f"The classical network is started from random states, and from stored patterns whose lower half is set to −1; "
        f"its {found.side**2} units are updated one by one until nothing changes. The state it ends in is compared "
        f"with the stored patterns, their negatives, and the mixtures sgn(±x ± y ± z) of three of them."
    )
    seen = (
        f"With {few} random patterns stored, {percent(right)} of the random starts end in a pattern or its negative "
        f"and {percent(at_random.share(few, 'mixture'))} in a mixture; with {many} stored, "
        f"{percent(at_random.share(many, 'other'))} end in none of these."
    )
    images = (
        f"With {first} images ({found.images}) stored, {percent(on_images.share(first, 'mixture'))} of the random "
        f"starts "
        f"end in a mixture; started from a half-hidden image, {percent(hidden.share(first, 'pattern'))} end in a "
        f"stored one."
    )
    return Section(
        title="Where the classical network ends instead",
        paragraphs=[what, seen, images],
        formula="E(s) = −½ sᵀ W s,   W = (1/d) Σ x xᵀ without its diagonal",
        figures=[
            Picture(
                plot.png(plot.spurious(found)),
                "Stacked bars: shares of patterns, negatives, mixtures and other states, over the number stored.",
                f"What the classical network ends in; {found.draws} memories for each number stored.",
            ),
            Picture(
                plot.png(plot.spurious_states(found, tour.pictures["spurious"])),
                "The stored images, and states the network ended in, each with its name.",
                f"One memory of {found.stored_shown} images: of the {found.states_shown} ends of {found.runs_shown} "
                f"random starts the most frequent of each kind. Framed: not a stored image. A name tells the images "
                f"that the state is made of, and their signs.",
            ),
        ],
    )
