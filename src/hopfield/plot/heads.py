"""A picture of what the heads of a model do (Ramsauer et al. 2021, figure A.3)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hopfield.errors import HopfieldError
from hopfield.plot import classes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hopfield.lens import HeadReport
    from hopfield.lens.report import LayerReading

# inches
_MARGIN, _VIOLIN = 0.95, 0.46
# N counts as the same for all rows if the numbers in between differ by less
_ALIKE = 0.9
# violins lower than this share of the axis have no line at the median
_FLAT = 0.1


@dataclass(frozen=True)
class _Violin:
    head: int
    regime: str | None
    k: classes.Array
    keys: classes.Array
    """What k is divided by, (n,)"""
    median: float
    """NaN without rows"""


def heads(report: HeadReport, *, title: str = "") -> Figure:
    """What all heads of a model do: the distribution of k, one row for each layer, sorted by the median.

    k is the number of keys that carry 90 % (or the report's mass) of the weight of a row. Every head has a violin from
    the 1 % to the 99 % quantile, in the colour of its class, with the median of k above it and its number below. The
    vertical axis is in proportion to √k, so that all classes have their place; its lines part the classes.

    Where rows attend to different numbers N of keys (causal masks, sequences of different lengths), k/N is shown of
    the rows that count for the class. Heads that were replaced by averages have no k: a gap is hatched.

    Args:
        report: of a `HeadLens`.
        title: of the picture.

    Raises:
        HopfieldError: no report, one without layers; matplotlib is not installed.
    """
    from hopfield.lens import HeadReport

    if not isinstance(report, HeadReport):
        raise HopfieldError(f"expected the report of a HeadLens, lens.report(), got {type(report).__name__}")
    if not report.layers:
        raise HopfieldError("the report has no layers to show")
    keys = _common(report)
    rows = [_violins(layer, report.least, keys) for layer in report.layers]
    most = max(map(len, rows))
    width = max(style.WIDTH, _MARGIN + most * (0.41 if most <= 16 else 0.36))
    tall = {1: 1.9, 2: 1.3}.get(len(rows), 1.05 if len(rows) <= 12 else 0.9)
    figure = style.new_figure(1.0 + tall * len(rows), width)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.02, w_pad=0.03, hspace=0.0)  # type: ignore[call-arg]  # options of this engine alone
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    names = classes.short_names([layer.name for layer in report.layers])
    half = min(0.43, _VIOLIN / 2 * most / (width - _MARGIN))
    for axis, row, name in zip(axes, rows, names, strict=True):
        style.plain(axis)
        _draw(axis, row, keys, half)
        axis.set_xlim(-0.6, most - 0.4)
        wrapped = textwrap.wrap(name.replace("_", " "), 16, max_lines=3, placeholder="…")
        axis.set_ylabel("\n".join(wrapped), fontsize=style.SMALL if len(wrapped) < 2 else classes.TINY)
    what = f"{'k: keys' if keys else 'k/N: share of the keys'} with {100 * report.mass:g} % of the weight"
    figure.supylabel(textwrap.fill(what, 24 if len(rows) < 3 else 60), fontsize=style.TEXT, multialignment="center")
    figure.supxlabel("heads, sorted by the median (above)", fontsize=style.TEXT)
    every = [violin for row in rows for violin in row]
    gaps = any(np.isnan(violin.median) for violin in every)
    unknown = any(violin.regime is None and not np.isnan(violin.median) for violin in every)
    classes.legend(figure, 2 if width < 7 else 4, unknown=unknown, replaced=gaps, title=title)
    return figure


def _common(report: HeadReport) -> float | None:
    """N, if it is nearly the same for all rows of all layers."""
    found = np.concatenate([layer.of("attended").numpy().ravel() for layer in report.layers])
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    low, middle, high = np.percentile(found, (2, 50, 98))
    return float(middle) if low >= _ALIKE * high and middle > 1 else None


def _violins(layer: LayerReading, least: int, keys: float | None) -> list[_Violin]:
    """The heads of a layer, sorted; those without rows come last."""
    k, attended = layer.of("k").numpy(), layer.of("attended").numpy()
    found = []
    for head, regime in enumerate(layer.regimes()):
        rows = ~np.isnan(k[:, head])
        counting = rows & (attended[:, head] >= least)
        if keys is None and counting.any():
            rows = counting
        own = k[rows, head]
        divisor = np.ones_like(own) if keys else attended[rows, head]
        values = np.sort(own / divisor)
        median = float(values[(len(values) - 1) // 2]) if len(values) else np.nan
        found.append(_Violin(head, regime, own, divisor, median))
    return sorted(found, key=lambda violin: (np.isnan(violin.median), violin.median, violin.head))


def _draw(axis: Axes, row: list[_Violin], keys: float | None, half: float) -> None:
    from matplotlib.patches import Rectangle

    whole = keys or 1.0
    classes.scale(axis, whole, room=1.2)
    classes.numerals(axis, whole)
    for place, violin in enumerate(row):
        if np.isnan(violin.median):
            axis.add_patch(classes.hatched(Rectangle, (place - half, 0), 2 * half, whole))
            continue
        colour = classes.COLOURS.get(violin.regime, classes.NONE)
        at, heights = classes.density(violin.k, violin.keys, whole)
        heights = half * np.maximum(heights, 0.03)
        axis.fill_betweenx(at, place - heights, place + heights, color=colour, linewidth=0)
        if np.sqrt(at[-1] / whole) - np.sqrt(at[0] / whole) > _FLAT:
            middle = 0.6 * float(np.interp(violin.median, at, heights))
            axis.plot([place - middle, place + middle], [violin.median] * 2, color="white", linewidth=1)
        axis.text(
            place,
            1.05 * whole,
            _short(violin.median) if keys else f"{violin.median:.0%}",
            ha="center",
            va="bottom",
            fontsize=7,
            fontweight="bold",
            color=classes.dark(violin.regime),
        )
    axis.set_xticks(range(len(row)), [str(violin.head) for violin in row], fontsize=classes.TINY)
    axis.tick_params(length=0, pad=1.5)
    axis.spines["bottom"].set_color("#d0d0d0")
    axis.spines["left"].set_color("#d0d0d0")


def _short(k: float) -> str:
    return f"{k:.0f}" if k < 10_000 else f"{k / 1000:.0f}k"
