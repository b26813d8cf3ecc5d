"""The tour's rows of images: recovered from damage, at six inverse temperatures, and spurious states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hopfield.plot import style
from hopfield.plot.general import images

if TYPE_CHECKING:
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


def betas(numbers: Betas, pictures: Pictures) -> Figure:
    """What one half-hidden image becomes at each of the six inverse temperatures, after one update and at the end."""
    columns = len(numbers.steps) + 1
    height, width = pictures["target"].shape
    side = style.WIDTH / columns
    figure = style.new_figure(2 * side * height / width + 1.0)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)  # type: ignore[call-arg]
    axes = figure.subplots(2, columns, squeeze=False)
    style.picture(axes[0, 0], pictures["query"])
    axes[0, 0].set_title("query", fontsize=style.SMALL)
    style.picture(axes[1, 0], pictures["target"])
    axes[1, 0].set_xlabel("stored", fontsize=style.SMALL)
    for column, step in enumerate(numbers.steps, 1):
        style.picture(axes[0, column], pictures["once"][column - 1])
        style.picture(axes[1, column], pictures["found"][column - 1])
        axes[0, column].set_title(f"β = {step.beta:.2g}", fontsize=style.SMALL)
        kind = {"global": "global\naverage", "metastable": "meta-\nstable", "pattern": "one\npattern"}.get(
            step.kind, step.kind
        )
        axes[1, column].set_xlabel(f"{kind}\nk = {step.support}\nw = {step.weight:.2f}", fontsize=style.SMALL)
    axes[0, 1].set_ylabel("one update", fontsize=style.SMALL)
    axes[1, 1].set_ylabel("at the end", fontsize=style.SMALL)
    return figure


def spurious_states(numbers: Spurious, pictures: Pictures) -> Figure:
    """The images stored, and states that the classical network ends in from random starts, with their names."""
    stored, examples = pictures["stored"], pictures["examples"]
    columns = 4
    lines = -(-len(stored) // columns), -(-len(examples) // columns)
    figure = style.new_figure(sum(lines) * 1.45 + 0.5)
    upper, lower = figure.subfigures(2, 1, height_ratios=[lines[0], lines[1]])
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
                axis.set_xlabel(f"{example.name.replace('-', '−')}\n{example.runs} ×", fontsize=style.SMALL)
    return figure
