"""What all pictures share: size, colours, axes, and the way to a file. No state of pyplot is touched."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hopfield.errors import HopfieldError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind eyes tell apart.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#777777",
)
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

WIDTH = 4.2  # inches: on a phone, where a figure is some 360 pixels wide, small text is then 10 pixels high
TEXT = 9.5
SMALL = 8.5


def new_figure(height: float, width: float = WIDTH, *, arranged: bool = True) -> Figure:
    """An empty white figure that arranges its axes by itself, or leaves them where they are put.

    Raises:
        HopfieldError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HopfieldError('pictures need matplotlib, which is not installed: pip install "hopfield[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained" if arranged else None, facecolor="white")


def panels(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, NDArray[Any]]:
    """A figure with a grid of plain axes, (rows, columns)."""
    figure = new_figure(height)
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        plain(axis)
    return figure, axes


def plain(axis: Axes) -> None:
    """No box, small ticks, a light grid behind the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=SMALL)
    axis.grid(color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)


def label(axis: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Names of the axes with their units, and a title above the left end."""
    axis.set_xlabel(x, fontsize=TEXT)
    axis.set_ylabel(y, fontsize=TEXT)
    if title:
        axis.set_title(title, fontsize=TEXT, loc="left")


def cell(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place of a figure without layout, in inches from its upper left corner."""
    wide, high = figure.get_size_inches()
    axis: Axes = figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
    return axis


def picture(axis: Axes, image: NDArray[np.float32], colour: str | None = None) -> None:
    """A grey picture with pixels in [-1, 1], black to white, in a frame."""
    axis.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color(colour or "#bbbbbb")
        spine.set_linewidth(2.5 if colour else 0.5)


def legend(figure: Figure, axis: Axes, columns: int, title: str | None = None) -> None:
    """The legend of one of the axes, above the whole figure."""
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=columns,
        fontsize=SMALL,
        title=title,
        title_fontsize=SMALL,
        alignment="left",
        frameon=False,
        handlelength=1.8,
        columnspacing=1.2,
    )


def counts(axis: Axes, largest: float) -> None:
    """A logarithmic axis of numbers of patterns, labelled 1, 10, 100, 1,000."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_xscale("log")
    decades = [10.0**power for power in range(7) if 10**power <= 1.5 * largest]
    axis.xaxis.set_major_locator(FixedLocator(decades))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.xaxis.set_minor_locator(NullLocator())


def shares(axis: Axes) -> None:
    """A vertical axis from 0 to 100 %."""
    from matplotlib.ticker import PercentFormatter

    axis.set_ylim(-0.04, 1.04)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))


def shades(number: int) -> Iterable[Any]:
    """Colours for a rising quantity, dark to light, all dark enough for a white page."""
    import matplotlib as mpl

    return mpl.colormaps["viridis"](np.linspace(0.0, 0.86, number))


def png(figure: Figure, *, dpi: int = 200) -> bytes:
    """The figure as a PNG file, without a date, so that the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
