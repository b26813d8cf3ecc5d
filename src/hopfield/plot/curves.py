"""The tour's curves: k over β, energies, networks compared, kinds of states, errors, and the trade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hopfield.experiments.retrieval import Betas, Endings, Networks, OneStep, Spurious, Trade

_LOOKS = {
    "classical": ("classical, z²", style.BLACK, "o"),
    "cubic": ("polynomial, z³", style.ORANGE, "s"),
    "quartic": ("polynomial, z⁴", style.GREEN, "^"),
    "exponential": ("exponential", style.BLUE, "D"),
    "continuous": ("continuous, β = 1", style.VERMILION, "x"),
}
_KINDS = {
    "pattern": ("a stored pattern", style.BLUE),
    "negative": ("its negative", style.SKY),
    "mixture": ("a mixture of three", style.ORANGE),
    "other": ("another state", style.VERMILION),
}


def beta_curves(numbers: Betas) -> Figure:
    """How many patterns carry the fixed point over β, and the energies on the way at the six β shown."""
    figure, axes = style.panels(4.8, 2)
    upper, lower = axes[:, 0]
    looks = {"global": (style.GREY, "o"), "metastable": (style.ORANGE, "s"), "pattern": (style.BLUE, "^")}
    names = {"global": "global average", "metastable": "metastable", "pattern": "one pattern"}
    upper.plot(numbers.scanned, numbers.supports, color="#cccccc", linewidth=1, zorder=1)
    for kind, (colour, marker) in looks.items():
        at = [place for place, found in enumerate(numbers.kinds) if found == kind]
        upper.plot(
            [numbers.scanned[place] for place in at],
            [numbers.supports[place] for place in at],
            color=colour,
            marker=marker,
            markersize=4,
            linestyle="none",
            label=names[kind],
        )
    upper.set_xscale("log")
    upper.set_yscale("log")
    upper.xaxis.set_major_formatter("{x:g}")
    upper.yaxis.set_major_formatter("{x:g}")
    for step in numbers.steps:
        upper.axvline(step.beta, color="#bbbbbb", linewidth=0.7, linestyle=":", zorder=0)
    style.label(upper, "inverse temperature β", "k: patterns with 90 %\nof the weight")
    upper.legend(fontsize=style.SMALL, frameon=False, loc="upper right")
    for step, colour, marker in zip(numbers.steps, style.shades(len(numbers.steps)), style.MARKERS, strict=False):
        lower.plot(
            np.arange(len(step.energies)) + 1,
            np.array(step.energies) / numbers.size,
            color=colour,
            marker=marker,
            markersize=5,
            markevery=[-1],
            linewidth=1.4,
            label=f"β = {step.beta:.2g}",
        )
    lower.set_xscale("log")
    lower.set_ylim(bottom=0)
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300) if tick < max(len(step.energies) for step in numbers.steps)]
    lower.set_xticks([tick + 1 for tick in ticks], [str(tick) for tick in ticks])
    lower.minorticks_off()
    style.label(lower, "updates made", "energy E / M²")
    lower.legend(fontsize=style.SMALL, frameon=False, ncols=2)
    return figure


def networks(numbers: Networks) -> Figure:
    """Share recovered and updates needed against the number of patterns stored, for five networks."""
    figure, axes = style.panels(4.9, 2, sharex=True)
    upper, lower = axes[:, 0]
    _recovered(upper, numbers)
    for curve in numbers.curves:
        name, colour, marker = _LOOKS[curve.name]
        lower.plot(curve.stored, curve.updates, color=colour, label=name, **_mark(marker))
    lower.axvline(numbers.classical_capacity, color=style.GREY, linewidth=1, linestyle="--")
    style.counts(lower, numbers.most)
    lower.set_ylim(bottom=0)
    lower.yaxis.get_major_locator().set_params(integer=True)
    style.label(lower, "patterns stored N", f"updates (at most {numbers.limit})")
    style.label(upper, "", "queries recovered")
    style.legend(figure, upper, 3)
    return figure


def networks_on_images(on_images: Networks, at_random: Networks) -> Figure:
    """Share recovered on images in black and white, and on random patterns of the same size."""
    figure, axes = style.panels(4.9, 2, sharex=True)
    for axis, numbers in zip(axes[:, 0], (on_images, at_random), strict=True):
        _recovered(axis, numbers)
        style.counts(axis, on_images.most)
        style.label(axis, "", "queries recovered", numbers.patterns)
    style.label(axes[1, 0], "patterns stored N", "queries recovered", at_random.patterns)
    style.legend(figure, axes[0, 0], 3)
    return figure


def _mark(marker: str) -> dict[str, Any]:
    """Lines of one look; diamonds are large and hollow, so that they show around the crosses that cover them."""
    hollow = {"markersize": 6.5, "markerfacecolor": "none"} if marker == "D" else {"markersize": 3.5}
    return {"marker": marker, "linewidth": 1.2, **hollow}


def _recovered(axis: Axes, numbers: Networks) -> None:
    for curve in numbers.curves:
        name, colour, marker = _LOOKS[curve.name]
        axis.plot(curve.stored, curve.recovered, color=colour, label=name, **_mark(marker))
    border = f"0.138 d = {numbers.classical_capacity:.1f}"
    axis.axvline(numbers.classical_capacity, color=style.GREY, linewidth=1, linestyle="--", label=border)
    style.shares(axis)


def spurious(numbers: Spurious) -> Figure:
    """Shares of the kinds of states that the classical network ends in, over the number stored."""
    figure, axes = style.panels(4.4, 2, 2, sharey=True)
    titles = {
        ("random", "random"): "random patterns,\nrandom starts",
        ("random", "hidden"): "random patterns,\nhalf hidden",
        ("images", "random"): f"{numbers.images},\nrandom starts",
        ("images", "hidden"): f"{numbers.images},\nhalf hidden",
    }
    for line, patterns in zip(axes, ("random", "images"), strict=True):
        for axis, start in zip(line, ("random", "hidden"), strict=True):
            _stacked(axis, numbers.ending(patterns, start))
            axis.set_title(titles[patterns, start], fontsize=style.SMALL, loc="left")
    for axis in axes[1]:
        style.label(axis, "patterns stored N")
    for axis, patterns in zip(axes[1], ("random", "hidden"), strict=True):
        axis.set_title(titles["images", patterns], fontsize=style.SMALL, loc="left")
    for line in axes:
        line[0].set_ylabel("share of the ends", fontsize=style.TEXT)
    style.legend(figure, axes[0, 0], 2)
    return figure


def _stacked(axis: Axes, endings: Endings) -> None:
    shares = np.array(endings.shares)
    below = np.zeros(len(shares))
    places = range(len(shares))
    for column, (name, colour) in enumerate(_KINDS.values()):
        axis.bar(places, shares[:, column], bottom=below, color=colour, width=0.8, label=name)
        below = below + shares[:, column]
    axis.set_xticks(list(places), [str(count) for count in endings.stored])
    axis.grid(False)
    style.shares(axis)
    axis.set_ylim(0, 1)


def one_step_error(numbers: OneStep) -> Figure:
    """The error after one update over β Δ, measured, and theorem 5's bound above it."""
    figure, axes = style.panels(3.5)
    axis = axes[0, 0]
    for curve, colour, marker in zip(numbers.curves, style.CYCLE, style.MARKERS, strict=False):
        axis.plot(
            curve.separation,
            curve.measured,
            color=colour,
            marker=marker,
            markersize=3,
            linestyle="none",
            alpha=0.7,
            label=f"measured, d = {curve.size}",
        )
    low = min(min(curve.separation) for curve in numbers.curves if curve.separation)
    high = max(max(curve.separation) for curve in numbers.curves if curve.separation)
    line = np.linspace(low, high, 100)
    bound = 2 * np.e * (numbers.stored - 1) * np.exp(-line)
    axis.plot(line, bound, color=style.BLACK, linewidth=1.6, label="bound, 2e (N−1) exp(−β Δ)")
    axis.set_yscale("log")
    style.label(axis, "separation β Δ", "error of one update |f(ξ) − x| / M")
    axis.legend(fontsize=style.SMALL, frameon=False, loc="lower left")
    return figure


def trade(numbers: Trade) -> Figure:
    """Share found, updates needed and error against the number of patterns stored, for several β."""
    figure, axes = style.panels(5.8, 3, sharex=True)
    found, updates, error = axes[:, 0]
    colours = style.shades(len(numbers.curves))
    for curve, colour, marker in zip(numbers.curves, colours, style.MARKERS, strict=False):
        look = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
        found.plot(numbers.stored, curve.recovered, label=f"β M² = {curve.strength:g}", **look)
        updates.plot(numbers.stored, curve.updates, **look)
        error.plot(numbers.stored, np.maximum(curve.error, 1e-16), **look)
    style.shares(found)
    updates.set_yscale("log")
    ticks = (1, 3, 10, 30, 100, 300, 1000)
    updates.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    updates.minorticks_off()
    updates.set_ylim(1.5, 1.3 * max(max(curve.updates) for curve in numbers.curves))
    error.set_yscale("log")
    error.set_ylim(1e-13, 4)
    style.counts(error, numbers.stored[-1])
    style.label(found, "", "pattern found")
    style.label(updates, "", "updates")
    style.label(error, "patterns stored N", "error |ξ* − x| / M")
    style.legend(figure, found, 3)
    return figure
