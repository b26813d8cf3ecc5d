"""A picture of methods compared over many data sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hopfield.errors import HopfieldError
from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def critical_difference(ranks: Mapping[str, float], difference: float, *, title: str = "") -> Figure:
    """Average ranks of methods, the best first; bars join those that a test does not tell apart.

    Each bar begins at a method and holds all methods whose average rank is less than the critical difference worse
    (Demšar 2006, "Statistical comparisons of classifiers over multiple data sets", figure 1).

    Args:
        ranks: the average rank of each method, 1 is best.
        difference: the critical difference, such as that of the Nemenyi test.
        title: of the picture.

    Raises:
        HopfieldError: fewer than two methods, ranks or a difference that are not finite; matplotlib is not installed.
    """
    if len(ranks) < 2:
        raise HopfieldError(f"ranks compare two or more methods, got {len(ranks)}")
    if not all(math.isfinite(rank) for rank in ranks.values()) or not 0 <= difference < math.inf:
        raise HopfieldError(f"ranks and the difference must be finite, got {dict(ranks)} and {difference}")
    order = sorted(ranks, key=lambda name: ranks[name])
    values = [ranks[name] for name in order]
    bars: list[tuple[int, int]] = []
    for i, start in enumerate(values):
        last = max(j for j, value in enumerate(values) if value - start <= difference)
        if last > i and not any(last <= end for _, end in bars):
            bars.append((i, last))
    figure, axes = style.panels(1.1 + 0.3 * len(order) + 0.12 * len(bars))
    axis = axes[0, 0]
    for place, value in enumerate(values):
        axis.plot(value, place, "o", color=style.BLUE if place == 0 else style.BLACK, markersize=5)
        axis.annotate(
            f"{value:.2f}", (value, place), (6, 0), textcoords="offset points", va="center", fontsize=style.SMALL
        )
    for number, (first, last) in enumerate(bars):
        y = len(order) - 0.4 + 0.45 * number
        axis.plot([values[first], values[last]], [y, y], color=style.GREY, linewidth=3, solid_capstyle="butt")
    axis.set_yticks(range(len(order)), order)
    axis.set_ylim(len(order) - 0.3 + 0.45 * len(bars), -0.6)
    span = max(values[-1] - values[0], 0.1)
    axis.set_xlim(values[0] - 0.08 * span, values[-1] + 0.18 * span)
    axis.grid(axis="y", visible=False)
    style.label(axis, f"average rank\n(grey: within {difference:.2f} of one another)", "", title)
    return figure
