"""What pictures of attention heads share: the classes and their colours, an axis of k, and distributions on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# the paper's colours, in shades that eyes without red or green tell apart
COLOURS: dict[str | None, str] = {"I": "#BB2A1C", "II": style.ORANGE, "III": style.GREEN, "IV": style.BLUE}
NONE = "#9a9a9a"
# the same, dark enough for small letters
_DARK = {"I": "#A82418", "II": "#8F5F00", "III": "#006B4E", "IV": "#00588F"}
_MEANINGS = {
    "I": "averages all: k > N/2",
    "II": "many patterns: k > N/8",
    "III": "fewer patterns: k > N/32",
    "IV": "a few patterns, or one",
}
TINY = 6.5
_BINS = 400
# one k stands for so many numbers around it
_PIECES = 8


def bounds() -> tuple[float, ...]:
    """The shares k/N that heads of class I, II and III exceed."""
    from hopfield.lens.report import BOUNDS

    return BOUNDS


def class_of(share: float) -> str | None:
    """The class of a head whose median of k/N this is; None for NaN."""
    return None if math.isnan(share) else list(COLOURS)[sum(share <= bound for bound in bounds())]


def dark(regime: str | None) -> str:
    """The colour of letters about a class."""
    return _DARK.get(regime or "", "#555555")


def scale(axis: Axes, keys: float, *, along: Literal["x", "y"] = "y", lines: bool = True, room: float = 1.0) -> None:
    """An axis of k from 0 to N, in proportion to √k, on which every class has its place; the borders of the classes.

    Args:
        axis: whose it is.
        keys: N; 1 for an axis of k/N.
        along: which of the two it is.
        lines: whether to draw the borders.
        room: height of the axis, of which N is at 1.
    """
    functions = (lambda k: np.sqrt(np.maximum(k, 0)), np.square)
    borders = [bound * keys for bound in bounds()]
    ticks = [*borders, keys]
    names = [f"{tick:g}" for tick in ticks] if keys > 1 else ["N/2", "N/8", "N/32", "N"]
    if keys > 1 and any(tick != int(tick) for tick in ticks):
        names = [f"{tick:.{0 if tick >= 10 else 1}f}" for tick in ticks]
    if along == "y":
        axis.set_yscale("function", functions=functions)
        axis.set_ylim(0, keys * room**2)
        axis.set_yticks(ticks, names, fontsize=TINY)
    else:
        axis.set_xscale("function", functions=functions)
        axis.set_xlim(0, keys * room**2)
        axis.set_xticks(ticks, names, fontsize=TINY)
    axis.grid(False)
    for border in borders if lines else ():
        draw = axis.axhline if along == "y" else axis.axvline
        draw(border, color="#a8a8a8", linewidth=0.6, zorder=0)


def numerals(axis: Axes, keys: float) -> None:
    """The names of the classes to the right of a vertical axis of k."""
    roots = [math.sqrt(keys * bound) for bound in (1.0, *bounds(), 0.0)]
    for name, above, below in zip(_DARK, roots, roots[1:], strict=False):
        axis.text(
            1.006,
            ((above + below) / 2) ** 2,
            name,
            transform=axis.get_yaxis_transform(),
            fontsize=TINY - 0.5,
            color=_DARK[name],
            va="center",
        )


def density(k: Array, keys: Array | float, whole: float, unit: float = 1.0) -> tuple[Array, Array]:
    """The distribution of k / keys on an axis of `scale`, from its 1 % to its 99 % quantile.

    k stands for all numbers half a unit around it. What would be smoothed over an end of the axis is reflected.

    Args:
        k: of the rows, (n,) with n of at least 1.
        keys: what k is divided by, a number or (n,).
        whole: the end of the axis.
        unit: by how much neighbouring k differ.

    Returns:
        Places and heights of at most 1, both (m,).
    """
    pieces = unit * ((np.arange(_PIECES) + 0.5) / _PIECES - 0.5)
    around = (k[:, None] + pieces) / np.reshape(keys, (-1, 1))
    roots = np.sqrt(around.clip(0, whole)).ravel()
    counts, edges = np.histogram(roots, _BINS, (0, math.sqrt(whole)))
    step, middles = edges[1], (edges[1:] + edges[:-1]) / 2
    first, quarter, three, last = np.percentile(roots, (1, 25, 75, 99))
    spread = min(roots.std(), (three - quarter) / 1.34) or roots.std()
    width = max(0.9 * spread * len(k) ** -0.2, 5 * step)  # Silverman's rule
    reach = min(int(4 * width / step) + 1, _BINS)
    kernel = np.exp(-((np.arange(-reach, reach + 1) * step / width) ** 2) / 2)
    heights = np.convolve(np.pad(counts.astype(float), reach, mode="symmetric"), kernel, mode="valid")
    shown = (middles >= first - width) & (middles <= last + width)
    return middles[shown] ** 2, heights[shown] / heights.max()


def legend(figure: Figure, columns: int, *, title: str = "", unknown: bool = False, replaced: bool = False) -> None:
    """A title, and the classes and what they mean, above the whole figure."""
    from matplotlib.patches import Patch

    entries: list[Any] = [Patch(color=COLOURS[name], label=f"{name}  {text}") for name, text in _MEANINGS.items()]
    if unknown:
        entries.append(Patch(color=NONE, label="no class: too few keys"))
    if replaced:
        entries.append(hatched(Patch, label="replaced by an average"))
    figure.legend(
        handles=entries,
        loc="outside upper left",
        ncols=columns,
        fontsize=style.SMALL,
        title=title or None,
        title_fontsize=style.TEXT,
        alignment="left",
        frameon=False,
        handlelength=1.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def hatched(patch: Any, *arguments: Any, **options: Any) -> Any:
    """A patch for what there is no distribution of."""
    return patch(*arguments, facecolor="none", edgecolor="#c4c4c4", hatch="/////", linewidth=0, **options)


def short_names(names: Sequence[str]) -> list[str]:
    """Names of layers without the parts that all have in common."""
    parts = [name.split(".") for name in names]
    if len(names) > 1 and len({len(part) for part in parts}) == 1:
        kept = [place for place in range(len(parts[0])) if len({part[place] for part in parts}) > 1]
        parts = [[part[place] for place in kept] for part in parts]
    short = [" ".join(part) or "(model)" for part in parts]
    return [f"layer {name}" if name.isdecimal() else name for name in short]
