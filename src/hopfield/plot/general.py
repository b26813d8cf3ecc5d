"""Pictures of what the library's own objects hold: images, energies of a retrieval, capacity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hopfield.core.retrieval import Retrieval
    from hopfield.experiments.capacity import CapacityResult
    from hopfield.memory.associative import AssociativeMemory

Images = Tensor | NDArray[np.float32]


def images(
    rows: Images | Mapping[str, Images],
    *,
    titles: Sequence[str] = (),
    marked: Mapping[str, Sequence[bool]] | None = None,
) -> Figure:
    """Rows of grey images, one below the other, with their names on the left.

    Args:
        rows: images (n, h, w) with pixels from -1 (black) to 1 (white), or several such rows by name.
        titles: what stands above each column.
        marked: by row, which images to frame.

    Returns:
        The figure.

    Raises:
        HopfieldError: no images, or rows that are not (n, h, w) with the same n; matplotlib is not installed.
    """
    named = rows if isinstance(rows, Mapping) else {"": rows}
    grids = {name: np.asarray(torch.as_tensor(row).detach().cpu(), dtype=np.float32) for name, row in named.items()}
    shapes = {grid.shape for grid in grids.values()}
    if not shapes or any(len(shape) != 3 or 0 in shape for shape in shapes) or len({s[0] for s in shapes}) != 1:
        raise HopfieldError(
            f"images to show must be rows (n, height, width), all of the same n; got {sorted(shapes) or 'none'}"
        )
    count = next(iter(shapes))[0]
    ratio = next(iter(shapes))[1] / next(iter(shapes))[2]
    margin = 1.05 if any(grids) else 0.0
    side = (style.WIDTH - margin) / count
    if not margin:
        side = min(side, 1.2)
    height = len(grids) * side * ratio + (0.27 if titles else 0.06)
    figure = style.new_figure(height, margin + side * count)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)  # type: ignore[call-arg]  # options of this engine alone
    axes = figure.subplots(len(grids), count, squeeze=False)
    for line, (name, grid) in zip(axes, grids.items(), strict=True):
        frames = (marked or {}).get(name, ())
        for column, (axis, image) in enumerate(zip(line, grid, strict=True)):
            style.picture(axis, image, style.VERMILION if column < len(frames) and frames[column] else None)
        if name:
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=style.SMALL)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=style.SMALL)
    return figure


def energies(memory: AssociativeMemory, retrieval: Retrieval) -> Figure:
    """The energy of each query over its updates: it never rises.

    Args:
        memory: the memory that was asked.
        retrieval: what it answered, with its trajectory: `memory.retrieve(query, trajectory=True)`.

    Returns:
        The figure.

    Raises:
        HopfieldError: the retrieval has no trajectory; matplotlib is not installed.
    """
    if retrieval.trajectory is None:
        raise HopfieldError("this retrieval kept no trajectory: call retrieve(query, trajectory=True)")
    values = memory.energy(retrieval.trajectory).detach().cpu()
    values = values.reshape(len(values), -1).T
    steps = retrieval.steps.reshape(-1).tolist()
    figure, axes = style.panels(3.0)
    axis = axes[0, 0]
    few = len(values) <= len(style.CYCLE)
    for row, (line, step) in enumerate(zip(values, steps, strict=True)):
        colour = style.CYCLE[row] if few else style.BLUE
        axis.plot(
            range(step + 1),
            line[: step + 1],
            color=colour,
            marker=style.MARKERS[row] if few else ".",
            markersize=5,
            markevery=[-1],
            linewidth=1.2,
            alpha=1.0 if few else 0.4,
            label=f"query {row}",
        )
    axis.xaxis.get_major_locator().set_params(integer=True)
    style.label(axis, "updates made", "energy E")
    if few and len(values) > 1:
        style.legend(figure, axis, 4)
    return figure


def capacity(result: CapacityResult) -> Figure:
    """How many random patterns are stored in each dimension: guaranteed by theorem 3, and measured.

    Args:
        result: of `hopfield.experiments.capacity.run`.

    Returns:
        The figure.

    Raises:
        HopfieldError: matplotlib is not installed.
    """
    figure, axes = style.panels(3.6)
    axis = axes[0, 0]
    holds = [point for point in result.curve if point.holds and point.log_patterns < 690]
    axis.plot(
        [point.dim for point in holds],
        [math.exp(point.log_patterns) for point in holds],
        color=style.BLUE,
        linewidth=1.8,
        label=f"guaranteed by theorem 3 with probability {1 - result.failure:g}",
    )
    if not holds:
        axis.text(
            0.5, 0.5, "theorem 3 guarantees nothing here", transform=axis.transAxes, ha="center", fontsize=style.TEXT
        )
    if result.measured is not None:
        points = result.measured.points
        dims = [point.dim for point in points]
        axis.plot(
            dims,
            [point.surely for point in points],
            color=style.GREEN,
            marker="s",
            markersize=4,
            linewidth=1.0,
            label="measured: well separated, hence stored",
        )
        axis.plot(
            dims,
            [point.patterns for point in points],
            color=style.VERMILION,
            marker="o",
            markersize=4,
            linewidth=1.0,
            label="measured: stored",
        )
        beyond = [point for point in points if point.at_least]
        if beyond:
            axis.plot(
                [point.dim for point in beyond],
                [1.35 * point.patterns for point in beyond],
                linestyle="none",
                marker="^",
                color=style.VERMILION,
                label="or more: the limit of the measurement",
            )
    axis.set_yscale("log")
    axis.xaxis.get_major_locator().set_params(integer=True)
    style.label(axis, "dimension d", "number of patterns N", f"β = {result.beta:g}, radius K = {result.radius:g}")
    style.legend(figure, axis, 1)
    return figure
