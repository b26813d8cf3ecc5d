"""The tour's rows of images: recovered from damage, at six inverse temperatures, and spurious states."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hopfield.plot import style
from hopfield.plot.general import images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hopfield.experiments.retrieval import Betas, Pictures, Recovery, Spurious


def recovery(numbers: Recovery, pictures: Pictures) -> Figure:
    """Images as they are stored, damaged and recovered; failures are framed."""
    rows = {"stored": pictures["stored"]}
    marked: dict[str, list[bool]] = {}
    for damage in numbers.damages:
        found = f"recovered\n({damage.recovered:.1%})".replace("%", " %")
        rows[_wrapped(damage.label)] = pictures[f"damaged {damage.name}"]
        name = found + "\u200b" * len(rows)  # a name of its own for each row
        rows[name] = pictures[f"recovered {damage.name}"]
        marked[name] = [not right for right in damage.examples]
    return images(rows, marked=marked)


def _wrapped(text: str, width: int = 16) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _short(beta: float) -> str:
    """A β that fits above a small picture."""
    if beta >= 1e-3:
        return f"{beta:.2g}"
    power = math.floor(math.log10(beta))
    return f"{beta / 10.0**power:.0f}·$10^{{{power}}}$"


def betas(numbers: Betas, pictures: Pictures) -> Figure:
    """What one half-hidden image becomes at each of the six inverse temperatures, after one update and at the end."""
    height, width = pictures["target"].shape
    names = {"global": "global\naverage", "metastable": "meta-\nstable", "pattern": "one\npattern"}
    count, gap, margin, above, line = len(numbers.steps), 0.06, 0.2, 0.22, 0.15
    side = (style.WIDTH - margin - gap * (count + 1)) / (count + 1)
    tall = side * height / width
    figure = style.new_figure(above + 2 * tall + gap + 4 * line + 0.1, arranged=False)

    def show(column: int, row: int, image: NDArray[np.float32]) -> Axes:
        left = column * (side + gap) + (margin if column else 0) + gap / 2
        axis = style.cell(figure, left, above + row * (tall + gap), side, tall)
        style.picture(axis, image)
        return axis

    show(0, 0, pictures["query"]).set_title("query", fontsize=style.SMALL, pad=4)
    show(0, 1, pictures["target"]).set_xlabel("stored", fontsize=style.SMALL, labelpad=3)
    for place, step in enumerate(numbers.steps):
        first = show(place + 1, 0, pictures["once"][place])
        last = show(place + 1, 1, pictures["found"][place])
        first.set_title(f"β {_short(step.beta)}", fontsize=style.SMALL, pad=4)
        text = f"{names.get(step.kind, step.kind)}\nk {step.support}\nw {step.weight:.2f}"
        last.set_xlabel(text, fontsize=style.SMALL, labelpad=3)
        if place == 0:
            first.set_ylabel("1 update", fontsize=style.SMALL, labelpad=2)
            last.set_ylabel("end", fontsize=style.SMALL, labelpad=2)
    return figure


def spurious_states(numbers: Spurious, pictures: Pictures) -> Figure:
    """The images stored, and states that the classical network ends in from random starts, with their names."""
    stored, examples = pictures["stored"], pictures["examples"]
    columns = 4
    lines = -(-len(stored) // columns), -(-len(examples) // columns)
    figure = style.new_figure(lines[0] * 1.2 + lines[1] * 1.5 + 0.4)
    parts: Any = figure.subfigures(2, 1, height_ratios=[lines[0] * 1.2 + 0.2, lines[1] * 1.5 + 0.2])
    upper, lower = parts
    for part, title, shown in (
        (upper, f"{len(stored)} images stored", stored),
        (lower, f"ends of {numbers.runs_shown} random starts", examples),
    ):
        part.suptitle(title, fontsize=style.TEXT, x=0.02, ha="left")
        axes = part.subplots(-(-len(shown) // columns), columns, squeeze=False).ravel()
        for axis in axes[len(shown) :]:
            axis.axis("off")
        for place, (axis, image) in enumerate(zip(axes, shown, strict=False)):
            if part is upper:
                style.picture(axis, image)
                axis.set_xlabel(str(place), fontsize=style.SMALL)
            else:
                example = numbers.examples[place]
                style.picture(axis, image, None if example.kind == "pattern" else style.VERMILION)
                name = example.name.replace("-", "−").replace(" ", "\n", 1)
                axis.set_xlabel(f"{name}\n{example.runs} ×", fontsize=style.SMALL)
    return figure
