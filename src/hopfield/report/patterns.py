"""The tour's sections on many patterns: networks compared, the error of one update, the trade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hopfield import plot
from hopfield.experiments.essentials import breakdown
from hopfield.experiments.words import listed, number, percent
from hopfield.report.page import Picture, Section

if TYPE_CHECKING:
    from hopfield.experiments.retrieval import Networks, TradeCurve
    from hopfield.experiments.tour import Tour

_NAMES = {
    "classical": "the classical network",
    "cubic": "z³",
    "quartic": "z⁴",
    "exponential": "the exponential network",
    "continuous": "the continuous network",
}


def networks(tour: Tour) -> Section:
    """Five networks on random patterns."""
    found = tour.networks
    what = (
        f"Random patterns of {found.size} units of ±1 are stored; queries are stored patterns with {found.flipped} "
        f"units "
        f"turned, at least {found.asked:,} for each number of patterns. The networks differ in how steeply they weigh "
        f"similarity: F(z) = z² (classical), z³, z⁴, exp z, and the continuous network at β = 1."
    )
    broken = [curve for curve in found.curves if curve.half is not None]
    falls = (
        "Half of the queries are lost at about "
        + listed(f"{number(round(curve.half or 0))} patterns for {_NAMES[curve.name]}" for curve in broken)
        + "."
        if broken
        else "No network loses half of the queries."
    )
    seen = (
        f"{falls} 0.138 d, the limit of large classical networks, is {number(found.classical_capacity)}. {_most(found)}"
    )
    steady = [curve for curve in found.curves if curve.half is None]
    updates = listed(f"{number(max(curve.updates))} for {_NAMES[curve.name]}" for curve in steady + broken)
    ends = any(curve.stored[-1] < found.most for curve in found.curves)
    how = (
        f"Updates that changed the state, on average at their most: {updates}; a query is given up after {found.limit}."
        + (" A curve ends where the network had recovered nothing for some numbers in a row." if ends else "")
    )
    return Section(
        title="How many patterns: five networks",
        paragraphs=[what, seen, how],
        formula="patterns stored: about dⁿ⁻¹ for F(z) = zⁿ, about 2^(d/2) for F(z) = exp z",
        figures=[
            Picture(
                plot.png(plot.networks(found)),
                "Share of the queries recovered, and updates needed, over the number of patterns, for five networks.",
                f"Random patterns of {found.size} units, {found.flipped} turned in each query.",
            )
        ],
    )


def _most(found: Networks) -> str:
    if found.every is not None:
        every = found.every
        parts = listed(f"{_NAMES[name]} recovers {count:,}" for name, count in every.recovered.items())
        return f"With {every.stored:,} stored, of {every.queries:,} queries {parts}."
    last = [found.curve("exponential"), found.curve("continuous")]
    parts = listed(f"{_NAMES[curve.name]} recovers {percent(curve.recovered[-1])}" for curve in last)
    return f"With {found.most:,} stored {parts}."


def networks_on_images(tour: Tour) -> Section:
    """The same on images."""
    found, random = tour.networks_on_images, tour.networks_at_random
    exponential, continuous = found.curve("exponential"), found.curve("continuous")
    what = (
        f"The same with images in black and white ({found.patterns}), and with random patterns of as many pixels; "
        f"{found.flipped} pixels of each query are turned."
    )
    seen = (
        f"The classical network {breakdown(found)} images and {breakdown(random)} random patterns; 0.138 d is "
        f"{number(found.classical_capacity)}. Images resemble one another: two share a mean overlap |x·y|/d of "
        f"{found.correlation:.2f}, two random patterns {random.correlation:.2f}."
    )
    most = (
        f"With {found.most:,} images stored, the exponential network recovers {percent(exponential.recovered[-1])} and "
        f"the continuous one {percent(continuous.recovered[-1])}, though {percent(found.crowded)} of the images differ "
        f"from another in no more than {2 * found.flipped} pixels."
    )
    return Section(
        title="Images are harder than noise",
        paragraphs=[what, seen, most],
        figures=[
            Picture(
                plot.png(plot.networks_on_images(found, random)),
                "Share recovered over the number stored, for images above and random patterns below.",
                f"Above: {found.patterns}, in black and white. Below: random patterns of the same size.",
            )
        ],
    )


def error(tour: Tour) -> Section:
    """Theorem 5."""
    found = tour.error
    what = (
        f"{found.stored:,} random patterns on a sphere in {listed(str(curve.size) for curve in found.curves)} "
        f"dimensions; a query near one of them is updated once, while β is raised, and with it the separation β Δ. "
        f"Patterns that are not well separated at a β ({found.left_out:,} cases) are left out, as theorem 5 asks."
    )
    seen = (
        f"{found.violations} of {found.points:,} measured errors lie above the bound; the nearest is "
        f"{_below(found.tightest)} its bound, the median {_below(found.typical)}. Of {found.wide_points:,} queries "
        f"farther off, held against the general form of the bound, {found.wide_violations} lie above it."
    )
    means = "The error falls as exp(−β Δ): where patterns are well separated, one update is all it takes."
    return Section(
        title="The error of one update",
        paragraphs=[what, seen, means],
        formula="theorem 5: |f(ξ) − x| ≤ 2 e (N−1) M exp(−β Δ)   where |ξ − x| ≤ 1/(2 β M)",
        figures=[
            Picture(
                plot.png(plot.one_step_error(found)),
                "Measured errors and, as a line, the bound of theorem 5, over the separation.",
                f"The error of one update over the separation, N = {found.stored}; it is computed without "
                "cancellation, so that errors below rounding are true as well.",
            )
        ],
    )


def _below(ratio: float) -> str:
    return f"{number(ratio)} times below" if ratio >= 1 else f"{number(1 / ratio)} times above"


def _peak(curve: TradeCurve, stored: list[int]) -> str:
    most = max(curve.updates)
    return f"up to {number(most)} updates, at N = {stored[curve.updates.index(most)]:,}"


def trade(tour: Tour) -> Section:
    """Patterns, updates, error."""
    found = tour.trade
    last = found.stored[-1]
    broken = [curve for curve in found.curves if curve.breaks is not None]
    what = (
        f"Random patterns on a sphere in {found.size} dimensions, queries {found.noise:g} M away from one of them, "
        f"updated until they stand still. With {found.stored[0]} patterns the mean separation Δ is "
        f"{found.separation[0]:.2f} M², with {last:,} it is {found.separation[-1]:.2f} M²."
    )
    text = [what]
    if broken:
        parts = listed(
            f"{number(round(curve.breaks or 0))} at β M² = {curve.strength:g} ({_peak(curve, found.stored)})"
            for curve in broken
        )
        far = listed(f"{curve.error[-1]:.2f}" for curve in broken)
        text.append(
            f"Half of the queries are lost at about N = {parts}. Beyond, they end in an average of many patterns: at "
            f"N = {last:,} the median distance from the pattern is {far} M."
        )
    best = found.curves[-1]
    text.append(
        f"At β M² = {best.strength:g} and N = {last:,}, {percent(best.recovered[-1])} are found, in "
        f"{number(best.updates[-1])} updates on average, with a median error of {number(best.error[-1])} M. More "
        f"patterns cost updates and precision before they cost the patterns; a larger β buys all of it back."
    )
    return Section(
        title="Patterns, updates, error: the trade",
        paragraphs=text,
        formula="Δ = min x·(x − y) falls as more patterns are stored, and the error grows as exp(−β Δ)",
        figures=[
            Picture(
                plot.png(plot.trade(found)),
                "Share found, updates and error over the number of patterns stored, for several values of beta.",
                f"Top: queries that end within a tenth of M of their pattern. Middle: mean updates, the confirming one "
                f"included, at most {found.limit:,}. Bottom: median error; below 10⁻¹³ it is cut off.",
            )
        ],
    )
