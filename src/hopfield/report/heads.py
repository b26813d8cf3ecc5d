"""What the heads of a model do, as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hopfield import plot
from hopfield.experiments.words import listed, percent
from hopfield.plot.classes import short_names
from hopfield.report.page import Page, Picture, Section, Table

if TYPE_CHECKING:
    from hopfield.lens import Head, HeadReport

# heads of a layer for which a narrow figure is wide enough
_FEW = 8
_ENDS = ("pattern", "metastable", "average", "moving")


def heads_page(
    found: HeadReport, *, name: str, about: str = "", png: bytes | None = None, made: Sequence[tuple[str, str]] = ()
) -> Page:
    """The page of a report: the figure, classes by layer, and all numbers of all heads. Its sentences follow from them.

    Args:
        found: what a `HeadLens` reports.
        name: of the model.
        about: what the model is and what it read, a sentence or two.
        png: the figure, if it was drawn before.
        made: how it was made, pairs of a name and a text, for the end.

    Raises:
        HopfieldError: matplotlib is not installed.
    """
    heads = found.heads
    names = dict(
        zip((layer.name for layer in found.layers), short_names([layer.name for layer in found.layers]), strict=True)
    )
    return Page(
        title=f"The heads of {name}",
        lead=(
            "Every attention head is one update of a modern Hopfield network: its keys are the stored patterns, its "
            f"queries the states. The number k of keys that carry {100 * found.mass:g} % of the weight of a query "
            "tells what a head does, from averaging everything to picking one pattern. After Ramsauer et al., Hopfield "
            "Networks is All You Need, 2021, section 4."
        ),
        essentials=_essentials(found, heads, names),
        sections=[
            Section(
                title="Every head of every layer",
                paragraphs=[*([about] if about else []), _rows(found)],
                figures=[_figure(found, png)],
            ),
            _layers(found, heads, names),
            _how_to_read(found),
            Section(
                title="All numbers",
                paragraphs=["Medians over the rows of each head. A click on the name of a column sorts by it."],
                table=_table(heads, names),
            ),
        ],
        made=made,
    )


def _essentials(found: HeadReport, heads: list[Head], names: dict[str, str]) -> list[str]:
    lines = [f"{_count(len(heads), 'head')} in {_count(len(found.layers), 'attention layer')}: {_classes(heads)}."]
    known = [head for head in heads if not math.isnan(head.share)]
    if len(known) > 1:
        least, most = min(known, key=lambda head: head.share), max(known, key=lambda head: head.share)
        lines.append(
            f"The most selective is head {least.head} of {names[least.layer]}, with a median k of {least.k:.0f} "
            f"({percent(least.share)} of the keys), the broadest head {most.head} of {names[most.layer]}, with "
            f"{most.k:.0f} ({percent(most.share)})."
        )
    averages = [counts["I"] for counts in found.counts()]
    if sum(averages) and len(averages) > 1:
        most_averages = max(averages)
        places = [names[layer.name] for layer, n in zip(found.layers, averages, strict=True) if n == most_averages]
        where = listed(places) if len(places) <= 3 else f"{len(places)} layers"
        each = " each" if len(places) > 1 else ""
        lines.append(f"Averages of nearly everything, class I, are most frequent in {where}: {most_averages}{each}.")
    landed = [head.landing for head in heads if head.landing is not None]
    if landed:
        pattern, metastable, average, moving = (
            percent(sum(getattr(one, kind) for one in landed) / len(landed)) for kind in _ENDS
        )
        counts = [len(layer.landings) for layer in found.layers if len(layer.landings)]
        lines.append(
            f"If every head repeated its update until nothing moves, {pattern} of its queries would end at a single "
            f"pattern, {metastable} in a metastable state and {average} at the global average; {moving} would still "
            f"move after 64 updates. Followed were {_rows_of(counts)} of each head."
        )
    return lines


def _classes(heads: list[Head]) -> str:
    """How many there are of each class."""
    counts = [(f"of class {name}", sum(head.regime == name for head in heads)) for name in ("I", "II", "III", "IV")]
    replaced = sum(math.isnan(head.k) for head in heads)
    counts.append(("replaced by averages", replaced))
    counts.append(("of no class", sum(head.regime is None for head in heads) - replaced))
    return listed(f"{n} {what}" for what, n in counts if n)


def _rows(found: HeadReport) -> str:
    """What rows the numbers are of, and which of them count."""
    counts = [layer.rows for layer in found.layers]
    text = [f"Measured were {_rows_of(counts)} (queries) of every head; rows of padding are left out everywhere."]
    kept = max(len(layer.sample) for layer in found.layers)
    if kept < max(counts):
        text.append(f"Classes count all of them, medians and the figure a random sample of {kept:,}.")
    keys = [number for layer in found.layers for number in layer.of("attended").flatten().tolist() if number > 0]
    if keys and min(keys) == max(keys):
        text.append(f"Every row attends to N = {max(keys):,.0f} keys.")
    elif keys:
        text.append(
            f"Rows attend to N = {min(keys):,.0f} to {max(keys):,.0f} keys, for masks hide the others: those of later "
            "tokens, or of padding. Each row is compared with its own N."
        )
    own = [
        (layer.rows, counted)
        for layer in found.layers
        for counted, sample in zip(layer.by_class.sum(-1).tolist(), layer.of("k").unbind(-1), strict=True)
        if not bool(sample.isnan().all())  # replaced
    ]
    short = 1 - sum(n for _, n in own) / max(sum(rows for rows, _ in own), 1)
    if own and short:
        text.append(
            f"{percent(short)} of the rows attend to fewer than {found.least} keys: they do not count for the class, "
            "for below 32 keys there is no class IV."
        )
    return " ".join(text)


def _figure(found: HeadReport, png: bytes | None) -> Picture:
    return Picture(
        plot.png(plot.heads(found)) if png is None else png,
        "For each layer a row of violins, one for each head, which show how k is distributed.",
        "How k is distributed in each head (or k/N, where rows attend to different numbers of keys), from the 1 % to "
        "the 99 % quantile; above each violin the median, below it the number of the head. Heads are sorted by their "
        "median and have the colour of their class; thin lines part the classes. The vertical axis is in proportion to "
        "the root of k.",
        wide=max(layer.heads for layer in found.layers) > _FEW,
    )


def _layers(found: HeadReport, heads: list[Head], names: dict[str, str]) -> Section:
    """Heads and rows by class."""
    rows = []
    for layer, counts in zip(found.layers, found.counts(), strict=True):
        own = [head.classes for head in heads if head.layer == layer.name and head.regime is not None]
        shares = [sum(column) / len(own) for column in zip(*own, strict=True)] if own else []
        cells = [f"{share:.0%}".replace("%", " %") for share in shares] or ["–"] * 4
        rows.append([names[layer.name], *(str(n) if n else "·" for n in counts.values()), *cells])
    whole = found.layers[0].name or "(model)"
    what = (
        "How many heads of each layer are in each class, and which share of all rows. A head has the class that the "
        "median of its rows has; single rows may do something else. Layers are named by what tells them apart; the "
        f"first is {whole!r} in the model."
    )
    header = ["layer", "heads in I", "II", "III", "IV", "rows in I", "II", "III", "IV"]
    return Section(title="Classes, layer after layer", paragraphs=[what], table=Table(header, rows))


def _how_to_read(found: HeadReport) -> Section:
    k = (
        f"k is the smallest number of keys that together carry {100 * found.mass:g} % of the weights p of a row, and N "
        "the number of keys that the row attends to. Class I, k > N/2: the head averages over most of its keys; an "
        "average that does not look at them may do as well. Class II, k > N/8, and class III, k > N/32: metastable "
        "states, averages of many and of fewer similar patterns; the paper suspects that class III gathers what the "
        "task needs. Class IV: the head picks a few patterns, or one."
    )
    entropy = (
        "Entropy, −Σ p ln p, says how spread the weights are, in nats: 0 for a single pattern, ln N for the average of "
        "all. exp(entropy) is another count of patterns, next to k."
    )
    energy = (
        "Energy is that of the query among the keys. The update of the head lowers it; it depends on the lengths of "
        "queries and keys, so compare it within a head more than between heads."
    )
    jacobian = (
        "‖J‖F and ‖J‖₂ are the Frobenius and the spectral norm of the Jacobian J of the weights with respect to the "
        "products of query and keys. Near 0 the weights hardly change with the query: the head is committed to one "
        "pattern, or averages whatever comes. Gradients to queries and keys pass through this matrix."
    )
    ends = (
        "Ends tell where most of the rows that were followed would be if the head repeated its update until nothing "
        "moves, how many of them, and after how many updates (their median). A transformer makes only one. Ends are "
        "known of fewer rows than the other numbers."
    )
    return Section(
        title="How to read it",
        paragraphs=[k, entropy, energy, jacobian, ends],
        formula="update: ξ ← Kᵀ p,   p = softmax(β K ξ),   J = β (diag p − p pᵀ)",
    )


def _table(heads: list[Head], names: dict[str, str]) -> Table:
    rows = []
    for head in heads:
        cells = ["–"] * 8
        if not math.isnan(head.share):
            norms = ["–" if math.isnan(n) else f"{n:.3g}" for n in (head.energy, head.frobenius, head.spectral)]
            spread = f"{head.spread[0]:.0f}–{head.spread[3]:.0f}"
            cells = [f"{head.k:.0f}", f"{head.share:.3f}", spread, f"{head.entropy:.2f}", *norms, _end(head)]
        rows.append([names[head.layer].removeprefix("layer "), str(head.head), head.regime or "–", *cells])
    return Table(
        ["layer", "head", "class", "k", "k/N", "k, 5–95 %", "entropy", "energy", "‖J‖F", "‖J‖₂", "ends, after"],
        rows,
        sortable=True,
    )


def _end(head: Head) -> str:
    landing = head.landing
    if landing is None:
        return "–"
    kind = max(_ENDS, key=lambda kind: float(getattr(landing, kind)))
    return f"{kind} {getattr(landing, kind):.0%}, {landing.updates:.0f}".replace("%", " %")


def _rows_of(counts: Sequence[int]) -> str:
    """How many rows there are, or from how many to how many."""
    least, most = min(counts), max(counts)
    return _count(most, "row") if least == most else f"{least:,} to {most:,} rows"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
