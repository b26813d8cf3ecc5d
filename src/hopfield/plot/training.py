"""Pictures of heads over the time of a training (Ramsauer et al. 2021, figures A.4 and A.5)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from hopfield.errors import HopfieldError
from hopfield.plot import classes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# steps that are named beside the ridges
_NAMED = 12
# height of a ridge, in distances between them
_HIGH = 1.6


def head_history(
    steps: ArrayLike,
    shares: Any,
    losses: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    *,
    names: Sequence[str] | None = None,
    log: bool = False,
    title: str = "",
) -> Figure:
    """The heads of a model over its training: the loss above, and the median of k/N of every head below.

    One panel for each layer, a line for each head in the colour of the class that it ends in; the panels' grounds are
    in the colours of the classes.

    Args:
        steps: of the training, (T,), rising.
        shares: medians of k/N, (T, layers, heads); NaN where there is none.
        losses: by name, steps and values, both (any number,).
        names: of the layers; None: their numbers.
        log: whether steps are on a logarithmic axis; a first step of 0 keeps a place before it.
        title: of the picture.

    Raises:
        HopfieldError: steps, shares or names whose numbers do not agree; matplotlib is not installed.
    """
    times, values = _array(steps), _array(shares)
    if times.ndim != 1 or not len(times) or (np.diff(times) <= 0).any():
        raise HopfieldError(f"steps must be rising numbers (T,) with T of at least 1, got shape {times.shape}")
    if values.ndim != 3 or len(values) != len(times) or 0 in values.shape:
        raise HopfieldError(
            f"shares must be medians of k/N, (T, layers, heads) with T = {len(times)} as in steps; got {values.shape}"
        )
    if np.nanmax(values, initial=0) > 1 or np.nanmin(values, initial=1) < 0:
        raise HopfieldError("shares must be medians of k/N, from 0 to 1: divide k by the number of keys")
    curves = {name: (_array(at), _array(loss)) for name, (at, loss) in (losses or {}).items()}
    for name, (at, loss) in curves.items():
        if at.ndim != 1 or at.shape != loss.shape:
            raise HopfieldError(
                f"loss {name!r} must be steps and values of one number, got {at.shape} and {loss.shape}"
            )
    layers = values.shape[1]
    if names is not None and len(names) != layers:
        raise HopfieldError(f"names must be as many as layers, {layers}; got {len(names)}")
    labels = classes.short_names(names) if names is not None else [f"layer {n}" for n in range(layers)]
    upper = [1.5] if curves else []
    tall = 0.95 if layers <= 8 else 0.75
    figure = style.new_figure(1.0 + sum(upper) + tall * layers, 1.25 * style.WIDTH)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.025, hspace=0.0)  # type: ignore[call-arg]  # options of this engine alone
    axes = figure.subplots(len(upper) + layers, 1, squeeze=False, sharex=True, height_ratios=upper + [tall] * layers)[
        :, 0
    ]
    for axis, layer, name in zip(axes[len(upper) :], values.transpose(1, 0, 2), labels, strict=True):
        style.plain(axis)
        _lines(axis, times, layer)
        axis.set_ylabel(name, fontsize=style.SMALL)
    if curves:
        style.plain(axes[0])
        _losses(axes[0], curves)
    every = np.concatenate([times, *(at for at, _ in curves.values())])
    _time(axes[-1], every, log=log)
    axes[-1].set_xlabel("training steps", fontsize=style.TEXT)
    figure.supylabel("median of k/N", fontsize=style.TEXT)
    classes.legend(figure, 2, title=title)
    return figure


def head_ridges(
    moments: Sequence[tuple[int, Any]],
    keys: float,
    *,
    names: Sequence[str] | None = None,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """Distributions of k of one head, or of each head of a layer, at several moments of a training, the first on top.

    Each ridge has the colour of the class of its median; its axis is in proportion to √k.

    Args:
        moments: steps, and samples of k at each: (n,) of one head, or (n, heads); rows without k are NaN.
        keys: N, the number of keys that the rows attend to; 1 if the samples are k/N.
        names: of the heads; None: their numbers.
        columns: how many panels stand side by side.
        title: of the picture.

    Raises:
        HopfieldError: no moments, samples of different shapes or out of 0 … N; matplotlib is not installed.
    """
    samples = [(int(step), _array(sample)) for step, sample in moments]
    samples = [(step, sample[:, None] if sample.ndim == 1 else sample) for step, sample in samples]
    heads = {sample.shape[1] if sample.ndim == 2 else 0 for _, sample in samples}
    if len(heads) != 1 or heads == {0}:
        raise HopfieldError(
            "moments must be at least one pair of a step and samples of k, (n,) or (n, heads) with the same heads; got "
            f"{[sample.shape for _, sample in samples] or 'none'}"
        )
    if not keys > 0 or any(np.nanmax(sample, initial=0) > keys for _, sample in samples):
        raise HopfieldError(f"keys must be the number N of keys, of which no k is above; got {keys!r}")
    (count,) = heads
    if names is not None and len(names) != count:
        raise HopfieldError(f"names must be as many as heads, {count}; got {len(names)}")
    if columns < 1:
        raise HopfieldError(f"columns must be at least 1, got {columns!r}")
    columns = min(columns, count)
    lines = -(-count // columns)
    width = max(style.WIDTH, 0.7 + 1.45 * columns)
    figure = style.new_figure(1.0 + lines * max(1.2, 0.6 + 0.16 * len(samples)), width)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[count:]:
        axis.axis("off")
    for head, axis in enumerate(axes.flat[:count]):
        _ridges(axis, [(step, sample[:, head]) for step, sample in samples], keys)
        name = f"head {head}" if names is None else names[head]
        if count > 1 or names is not None:
            axis.set_title(name, fontsize=style.SMALL, loc="left")
    for axis in axes[:, 0]:
        every = -(-len(samples) // _NAMED)
        places = range(0, len(samples), every)
        axis.set_yticks([-place for place in places], [f"{samples[place][0]:,}" for place in places])
    for axis in axes.flat[max(count - columns, 0) : count]:  # no panel may be below
        axis.tick_params(labelbottom=True)
    figure.supylabel("training step", fontsize=style.TEXT)
    figure.supxlabel("k" if keys > 1 else "k/N", fontsize=style.TEXT)
    classes.legend(figure, 2 if width < 7 else 4, title=title)
    return figure


def _array(values: Any) -> classes.Array:
    return torch.as_tensor(values).detach().cpu().to(torch.float64).numpy()


def _lines(axis: Axes, times: classes.Array, layer: classes.Array) -> None:
    """The heads of a layer, (T, heads)."""
    classes.scale(axis, 1.0)
    classes.numerals(axis, 1.0)
    edges = (1.0, *classes.bounds(), 0.0)
    for name, above, below in zip(classes.COLOURS, edges, edges[1:], strict=False):
        axis.axhspan(below, above, color=classes.COLOURS[name], alpha=0.07, linewidth=0, zorder=0)
    for line in layer.T:
        known = line[~np.isnan(line)]
        if len(known):
            colour = classes.COLOURS[classes.class_of(float(known[-1]))]
            marker = "." if len(known) == 1 else None
            axis.plot(times, line, color=colour, linewidth=1.1, alpha=0.85, marker=marker)
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)


def _losses(axis: Axes, curves: Mapping[str, tuple[classes.Array, classes.Array]]) -> None:
    looks = ((style.BLACK, "-"), ("#707070", "--"), (style.PURPLE, ":"), (style.SKY, "-."))
    for (name, (at, values)), (colour, line) in zip(curves.items(), itertools.cycle(looks), strict=False):
        axis.plot(at, values, color=colour, linestyle=line, linewidth=1.2, label=name)
    axis.set_ylabel("loss", fontsize=style.SMALL)
    if len(curves) > 1:
        axis.legend(fontsize=classes.TINY, frameon=False)


def _time(axis: Axes, steps: classes.Array, *, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    if log:
        axis.set_xscale("symlog", linthresh=min((step for step in steps if step > 0), default=1.0), linscale=0.4)
    if steps.max() > steps.min():
        axis.set_xlim(steps.min(), steps.max())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _ridges(axis: Axes, moments: list[tuple[int, classes.Array]], keys: float) -> None:
    style.plain(axis)
    classes.scale(axis, keys, along="x")
    for place, (_, sample) in enumerate(moments):
        known = sample[~np.isnan(sample)]
        if not len(known):
            continue
        median = np.sort(known)[(len(known) - 1) // 2]
        unit = 1.0 if keys > 1 else 0.0
        at, heights = classes.density(known, 1.0, keys, unit)
        base = -place
        colour = classes.COLOURS[classes.class_of(float(median / keys))]
        axis.fill_between(at, base, base + _HIGH * heights, color=colour, linewidth=0, zorder=place + 1)
        axis.plot(at, base + _HIGH * heights, color="white", linewidth=0.7, zorder=place + 1)
    axis.set_ylim(0.75 - len(moments), _HIGH + 0.1)
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)
