"""What the heads of a model do, as tables in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hopfield.lens import HeadReport

_COLOURS = {"I": "red", "II": "yellow", "III": "green", "IV": "blue"}
# what is left out first where a terminal is narrow
_DISPENSABLE = ("|J|_2", "energy", "|J|_F", "entropy", "k 5-95 %", "ends at")


def print_heads(found: HeadReport, facts: dict[str, Any]) -> None:
    """The classes by layer, and all heads."""
    from rich.console import Console
    from rich.table import Table

    from hopfield.plot.classes import short_names

    console = Console()
    if not console.is_terminal:  # nothing to fit into
        console = Console(width=max(console.width, 160))
    names = dict(
        zip((layer.name for layer in found.layers), short_names([layer.name for layer in found.layers]), strict=True)
    )
    console.print(f"{facts['model']}: {len(found.heads)} heads, by layer and class", highlight=False, markup=False)
    counts = Table()
    counts.add_column("layer")
    for regime, colour in _COLOURS.items():
        counts.add_column(regime, justify="right", style=colour)
    for layer, row in zip(found.layers, found.counts(), strict=True):
        counts.add_row(names[layer.name], *(str(n) if n else "·" for n in row.values()))
    console.print(counts)
    header, *lines = found.rows()
    layers = [names[head.layer] for head in found.heads]
    table = [[layer, *(c.replace("nan", "-") for c in line[1:])] for layer, line in zip(layers, lines, strict=True)]
    kept = _fitting([header, *table], console.width)
    every = Table(
        title=f"Medians over queries in {facts['sequences']} sequences of {facts['length']} tokens",
        caption=f"k: keys that carry {100 * found.mass:g} % of the weight; N: keys that a query attends to",
    )
    for place in kept:
        left = header[place] in {"layer", "ends at"}
        every.add_column(header[place], justify="left" if left else "right", no_wrap=True)
    for head, cells in zip(found.heads, table, strict=True):
        tint = _COLOURS.get(head.regime or "")
        cells[2] = f"[{tint}]{cells[2]}[/]" if tint else cells[2]
        last = head.head == found[head.layer].heads - 1
        every.add_row(*(cells[place] for place in kept), end_section=last)
    console.print(every)


def _fitting(table: list[list[str]], width: int) -> list[int]:
    """Which columns of a table, the header first, have room side by side."""
    header = table[0]
    widths = [3 + max(map(len, column)) for column in zip(*table, strict=True)]
    kept = list(range(len(header)))
    for name in _DISPENSABLE:
        if 1 + sum(widths[place] for place in kept) <= width:
            break
        kept.remove(header.index(name))
    return kept
