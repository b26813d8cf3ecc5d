"""Pictures of bags: which instances mattered, and how well methods do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hopfield.errors import HopfieldError
from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LONGEST = 22  # letters of a name that fit beside the bars


def bag(weights: ArrayLike, *, names: Sequence[str] | None = None, most: int = 15, title: str = "") -> Figure:
    """The instances of one bag that mattered most, heaviest first.

    Args:
        weights: of the instances, (n,), as `HopfieldBagClassifier.instance_weights` gives for each bag.
        names: what each instance is called; None: its number.
        most: how many to show; of the others only the sum is told. Long names are shortened.
        title: of the picture.

    Raises:
        HopfieldError: weights that are not finite numbers (n,) with n ≥ 1, another number of names, `most` below 1;
            matplotlib is not installed.
    """
    try:
        values = np.asarray(weights, dtype=float)
    except ValueError as error:
        raise HopfieldError(
            "weights must be those of the instances of one bag, (n,); instance_weights gives one array per bag: "
            "choose one of them"
        ) from error
    if values.ndim != 1 or not len(values):
        raise HopfieldError(
            f"weights must be those of the instances of one bag, (n,) with n of at least 1; got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise HopfieldError("weights must be finite, got NaN or infinity among them")
    if not isinstance(most, int | np.integer) or most < 1:
        raise HopfieldError(f"most must be an integer of at least 1, got {most!r}")
    if names is not None and len(names) != len(values):
        raise HopfieldError(f"names must be as many as weights, {len(values)}; got {len(names)}")
    order = np.argsort(-values, kind="stable")
    shown = order[:most]
    labels = [_short(str(i if names is None else names[i])) for i in shown]
    figure, axes = style.panels(0.7 + 0.22 * (len(labels) + 1))
    axis = axes[0, 0]
    axis.barh(range(len(labels)), values[shown], color=style.BLUE)
    axis.axvline(1 / len(values), color=style.VERMILION, linewidth=1, linestyle="--")
    if len(order) > most:
        labels.append(f"{len(order) - most} others: {values[order[most:]].sum():.2f}")
    axis.set_yticks(range(len(labels)), labels, fontsize=style.SMALL)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    style.label(axis, "weight (dashed: if all were alike)", "", title)
    return figure


def scores(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """AUC of methods on sets, with standard deviations; one panel per set.

    Args:
        found: {set: {method: {"auc": mean, "std": deviation}}}, AUC in 0 … 1.

    Raises:
        HopfieldError: nothing to show; matplotlib is not installed.
    """
    if not found:
        raise HopfieldError("there are no scores to show; run an experiment first")
    methods = list(dict.fromkeys(method for row in found.values() for method in row))
    figure, axes = style.panels(0.5 + len(found) * (0.35 + 0.2 * len(methods)), len(found))
    for axis, (name, row) in zip(axes[:, 0], found.items(), strict=True):
        places = [i for i, method in enumerate(methods) if method in row]
        means = [100 * row[methods[i]]["auc"] for i in places]
        spread = [100 * row[methods[i]]["std"] for i in places]
        for place, mean, std in zip(places, means, spread, strict=True):
            colour = style.BLUE if place == 0 else style.GREY
            axis.errorbar(mean, place, xerr=std, fmt="o", color=colour, capsize=3, markersize=5)
        axis.set_yticks(range(len(methods)), methods, fontsize=style.SMALL)
        axis.set_ylim(len(methods) - 0.5, -0.5)
        low, high = axis.get_xlim()
        axis.set_xlim(low, min(high, 100 + 0.03 * (high - low)))  # no AUC is above 100
        style.label(axis, "", "", name)
    style.label(axes[-1, 0], "ROC AUC in percent")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
