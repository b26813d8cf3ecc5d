"""Pictures of repertoires: motifs as sequence logos, and what their size costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hopfield.datasets.repertoires import ALPHABET
from hopfield.errors import HopfieldError
from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# amino acids by the chemistry of their side chains
_KINDS = {
    "AVLIMFWPG": style.BLACK,
    "STCYNQ": style.GREEN,
    "KRH": style.BLUE,
    "DE": style.VERMILION,
}


def logo(counts: ArrayLike, *, background: ArrayLike | None = None, title: str = "") -> Figure:
    """A sequence logo: at each place letters as high as their part of the information, Σ p log2(p / background) bits.

    Letters that are no more frequent than in general are left out.

    Args:
        counts: how often each letter of `hopfield.datasets.repertoires.ALPHABET` is at each place, (places, 20).
        background: how frequent letters are in general, (20,); None: all alike.
        title: of the picture.

    Raises:
        HopfieldError: counts of another shape, negative ones, none at all; matplotlib is not installed.
    """
    try:
        values = np.asarray(counts, dtype=float)
    except ValueError as error:
        raise HopfieldError(
            f"counts must be numbers, (places, {len(ALPHABET)}), how often each amino acid is at each place: {error}"
        ) from error
    if values.ndim != 2 or values.shape[1] != len(ALPHABET) or not len(values) or not (values >= 0).all():
        raise HopfieldError(
            f"counts must be numbers of at least 0, (places, {len(ALPHABET)}), one column per amino acid; "
            f"got shape {values.shape}"
        )
    if not values.any():
        raise HopfieldError("counts must not all be 0: there is no letter to show")
    general = np.full(len(ALPHABET), 1.0) if background is None else np.asarray(background, dtype=float)
    if general.shape != (len(ALPHABET),) or not (general > 0).all():
        raise HopfieldError(f"background must be {len(ALPHABET)} numbers above 0, got shape {general.shape}")
    general = general / general.sum()
    shares = values / np.maximum(values.sum(1, keepdims=True), 1)
    ratio = np.divide(shares, general, out=np.ones_like(shares), where=shares > 0)
    heights = (shares * np.log2(ratio)).clip(0)  # (places, 20)
    figure, axes = style.panels(2.2)
    axis = axes[0, 0]
    for place, column in enumerate(heights):
        bottom = 0.0
        for letter in np.argsort(column):
            if column[letter] > 0.02:
                _letter(axis, ALPHABET[letter], place + 1, bottom, float(column[letter]))
                bottom += float(column[letter])
    axis.set_xlim(0.4, len(values) + 0.6)
    axis.set_ylim(0, 1.05 * max(1.0, float(heights.sum(1).max())))
    axis.set_xticks(range(1, len(values) + 1, 1 + len(values) // 20))
    axis.grid(False)
    style.label(axis, "place", "bits", title)
    return figure


def cost(curves: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """Time and memory of one pass over the number of sequences.

    Args:
        curves: {name: [(sequences, seconds, gigabytes), ...]}.

    Raises:
        HopfieldError: nothing to show; matplotlib is not installed.
    """
    if not curves:
        raise HopfieldError("there are no costs to show; measure some first")
    figure, axes = style.panels(4.2, 2, sharex=True)
    for (name, points), colour, marker in zip(curves.items(), style.CYCLE, style.MARKERS, strict=False):
        sizes, *columns = np.array(sorted(points)).T
        for axis, column in zip(axes[:, 0], columns, strict=True):
            axis.plot(sizes / 1000, column, color=colour, marker=marker, markersize=4, label=name)
    for axis in axes[:, 0]:
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
    style.label(axes[0, 0], "", "seconds")
    style.label(axes[1, 0], "sequences in thousands", "memory in GB")
    style.legend(figure, axes[0, 0], 1)
    return figure


def _letter(axis: object, letter: str, place: float, bottom: float, height: float) -> None:
    """A letter that fills a box of width 0.9 and this height."""
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    assert isinstance(axis, Axes)
    path = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    fit = Affine2D().translate(-box.x0, -box.y0).scale(0.9 / max(box.width, 0.4), height / box.height)
    fit.translate(place - 0.45 * min(1.0, box.width / 0.4), bottom)
    colour = next(colour for letters, colour in _KINDS.items() if letter in letters)
    axis.add_patch(PathPatch(path.transformed(fit), color=colour, linewidth=0))
