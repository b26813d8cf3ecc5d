"""What a run found: tables, the heads over time as CSV, and a page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopfield.experiments.heads.protocol import QUANTILES, TUNING, Outcome
from hopfield.experiments.heads.training import Setting
from hopfield.experiments.origin import made_by
from hopfield.experiments.words import filled, listed, percent
from hopfield.lens.report import BOUNDS, CLASSES

_ABOUT = {
    "encoder": "guesses masked characters (ModernBERT)",
    "decoder": "guesses the next character (GPT-2)",
}


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The tables as numbers: classes by layer at the first and the last moment, and the replacements."""
    found = {}
    for outcome in outcomes:
        replaced = zip(
            outcome.names,
            outcome.which,
            outcome.test_losses,
            outcome.accuracies,
            outcome.new,
            outcome.idle,
            strict=True,
        )
        found[outcome.model] = {
            "steps": outcome.steps,
            "parameters": outcome.parameters,
            "classes_at_first": counts(outcome, 0),
            "classes_at_last": counts(outcome, -1),
            "jacobian_by_class": _norms(outcome),
            "replacements": [
                {
                    "heads": name,
                    "which": which,
                    "loss": loss,
                    "perplexity": round(math.exp(loss), 4),
                    "accuracy": accuracy,
                    "new_parameters": new,
                    "idle_parameters": idle,
                }
                for name, which, loss, accuracy, new, idle in replaced
            ],
        }
    return found


def counts(outcome: Outcome, moment: int) -> list[dict[str, int]]:
    """Heads of each layer in each class, by the median of k/N at a moment."""
    return [
        {name: int((of_layer == number).sum()) for number, name in enumerate(CLASSES)}
        for of_layer in _classes(outcome)[moment]
    ]


def _classes(outcome: Outcome) -> Tensor:
    """Number of the class of every head at every moment, (moments, layers, heads)."""
    return torch.stack([outcome.shares <= bound for bound in BOUNDS]).sum(0)


def _norms(outcome: Outcome) -> dict[str, float]:
    """Mean over the heads of each class at the end of their median Frobenius norm of the softmax Jacobian."""
    classes, norms = _classes(outcome)[-1], outcome.over_time(outcome.frobenius)[-1]
    found = {name: norms[classes == number] for number, name in enumerate(CLASSES)}
    return {name: float(f"{values.mean():.3g}") for name, values in found.items() if len(values)}


def write(outcomes: Sequence[Outcome], folder: Path, *, command: str) -> str:
    """Write summary.json, heads.csv and README.md into a folder; the table of replacements is also returned."""
    (folder / "summary.json").write_text(json.dumps(summary(outcomes), indent=2) + "\n", encoding="utf-8")
    (folder / "heads.csv").write_text(_csv(outcomes), encoding="utf-8")
    table = _table(outcomes)
    (folder / "README.md").write_text(_page(outcomes, table, command), encoding="utf-8")
    return table


def _csv(outcomes: Sequence[Outcome]) -> str:
    """One line for each model, moment, layer and head."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shown = [round(p * (len(QUANTILES) - 1)) for p in (0.05, 0.25, 0.5, 0.75, 0.95)]
    titles = [f"share_{100 * QUANTILES[i]:.0f}" for i in shown]
    writer.writerow(["model", "step", "loss", "layer", "head", "k", *titles, "frobenius", "spectral"])
    for o in outcomes:
        k, *norms = (o.over_time(values) for values in (o.k, o.frobenius, o.spectral))
        for moment, (step, loss) in enumerate(zip(o.moments, o.losses, strict=True)):
            for layer in range(o.layers):
                for head in range(o.heads):
                    shares = [f"{float(x):.4g}" for x in o.distributions[moment, layer, head, shown]]
                    rest = [f"{float(values[moment, layer, head]):.6g}" for values in norms]
                    writer.writerow(
                        [o.model, step, loss, layer, head, f"{float(k[moment, layer, head]):.0f}", *shares, *rest]
                    )
    return text.getvalue()


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| model | heads replaced | by | loss | perplexity | accuracy | new parameters | idle parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        rows = zip(o.names, o.which, o.test_losses, o.accuracies, o.new, o.idle, strict=True)
        for name, which, loss, accuracy, new, idle in rows:
            place, _, with_ = name.partition(", ")
            heads = f"{len(which.split())} {place}" if which else "none"
            kind = {"uniform": "the mean", "gaussian": "learned Gaussians"}.get(with_, "")
            numbers = f"{loss:.4f} | {math.exp(loss):.3f} | {percent(accuracy)} | {new:,} | {idle:,}"
            lines.append(f"| {o.model} | {heads} | {kind} | {numbers} |")
    return "\n".join(lines)


def _page(outcomes: Sequence[Outcome], table: str, command: str) -> str:
    """The README of a run."""
    sections = [
        "# Heads of transformers while they learn",
        f"`{command}`",
        filled(
            "Two small language models learn from plain text while a `HeadLens` looks at their heads: "
            + listed(f"the {o.model} {_ABOUT[o.model]}" for o in outcomes)
            + ". k is the number of tokens that carry 90 % of a row's weight, N the number it attends to; a head is of "
            "class I for a median of k/N above 1/2, II above 1/8, III above 1/32 and IV below (Ramsauer et al. 2021, "
            "Sec. 4). Figures: `MODEL.png` over time, `MODEL_ridges.png` with the distributions of k/N. Numbers: "
            "`heads.csv` (medians and quantiles of k/N), `summary.json`."
        ),
        "## Over time",
        "\n".join(filled(line, "- ") for o in outcomes for line in _story(o)),
        "\n\n".join(_classes_table(o) for o in outcomes),
        "## Averages in place of heads",
        table,
        filled(
            "On text of which nothing was learned. The heads of class I in the first half of the layers (where there "
            "are none, the one with the largest k/N) average over positions instead, and for comparison as many heads "
            "of classes II and III, the last layers first (where there are too few, other heads of the last layers). "
            f"The Gaussians learn for {TUNING} steps, and nothing else does. Idle are the projections of queries and "
            "keys of the replaced heads, which stay in the model so that the replacement can be undone."
        ),
        "## What is not as in the paper",
        "\n".join(filled(line, "- ") for line in _differences(outcomes)),
        "## Protocol",
        "\n".join(filled(line, "- ") for line in _protocol(outcomes)),
        "## Made by",
        filled(made_by(seed=outcomes[0].seed, seconds=sum(outcome.seconds for outcome in outcomes))),
    ]
    return "\n\n".join(sections) + "\n"


def _story(outcome: Outcome) -> Iterator[str]:
    """What happened to the heads of a model, from the numbers."""
    classes = _classes(outcome)
    total = outcome.layers * outcome.heads
    first, last = [int((classes[moment] == 0).sum()) for moment in (0, -1)]
    name = f"The {outcome.model}"
    yield (
        f"{name}: before training {first} of {total} heads average (class I), after {outcome.steps:,} steps {last}. "
        f"Its loss falls from {outcome.losses[0]:.2f} to {outcome.losses[-1]:.2f} nats."
    )
    left = [_left(classes[:, layer, head], outcome) for layer in range(outcome.layers) for head in range(outcome.heads)]
    gone = sorted(step for step in left if step is not None)
    if gone:
        drop = _drop(outcome)
        yield (
            f"{name}: {len(gone)} heads leave class I for good, half of them by step {gone[(len(gone) - 1) // 2]:,} "
            f"(first {gone[0]:,}, last {gone[-1]:,}). After the warmup the loss falls fastest around step {drop:,}."
        )
    shares = outcome.shares
    quarter = next(i for i, step in enumerate(outcome.moments) if step >= 0.75 * outcome.steps)
    moved = (shares[-1] - shares[quarter]).abs().mean(-1)
    yield (
        f"{name}, last quarter of training: the median k/N of a head still moves by "
        + listed(f"{value:.3f}" for value in moved.tolist())
        + f" in layers 0 to {outcome.layers - 1} (means over heads)."
    )
    norms = _norms(outcome)
    yield (
        f"{name}, at the end: median Frobenius norm of the softmax Jacobian, mean over heads: "
        + listed(f"{value:.3g} in class {regime}" for regime, value in norms.items())
        + "."
    )


def shown(outcome: Outcome, number: int = 9) -> list[tuple[int, Tensor]]:
    """Some moments, closer together at first: their steps, and the quantiles of k/N (layers, heads, 21)."""
    last = len(outcome.moments) - 1
    places = dict.fromkeys(round(last * i / max(number - 1, 1)) for i in range(number))
    return [(outcome.moments[place], outcome.distributions[place]) for place in places]


def _left(classes: Tensor, outcome: Outcome) -> int | None:
    """The first moment's step from which on a head is in class I no more; None if it never was, or is at the end."""
    inside = (classes == 0).nonzero().flatten()
    if not len(inside) or int(inside[-1]) == len(classes) - 1:
        return None
    return outcome.moments[int(inside[-1]) + 1]


def _drop(outcome: Outcome) -> int:
    """The step around which the loss falls fastest after the warmup, in which it falls to that of single characters."""
    found = [
        ((before - after) / (end - start), (start + end) // 2)
        for start, end, before, after in zip(
            outcome.moments, outcome.moments[1:], outcome.losses, outcome.losses[1:], strict=False
        )
        if start >= Setting().warmup
    ]
    return max(found, default=(0.0, outcome.steps))[1]


def _classes_table(outcome: Outcome) -> str:
    lines = [
        f"| {outcome.model}: heads of class | {' | '.join(CLASSES)} |",
        "|---|" + "---|" * len(CLASSES),
    ]
    for title, moment in (("before", 0), ("after", -1)):
        for number, found in enumerate(counts(outcome, moment)):
            lines.append(f"| layer {number}, {title} | {' | '.join(str(found[name] or '') for name in CLASSES)} |")
    return "\n".join(lines)


def _differences(outcomes: Sequence[Outcome]) -> Iterator[str]:
    setting = Setting()
    thousands = listed(f"{o.parameters:,} ({o.model})" for o in outcomes)
    yield (
        f"Size: {outcomes[0].layers} layers of {outcomes[0].heads} heads in {setting.size} dimensions, {thousands} "
        "parameters; the paper's BERT-small has 12 layers of 4 heads in 256 dimensions."
    )
    yield (
        f"Training: {outcomes[0].steps:,} steps of {setting.batch} sequences, minutes on a processor; in the paper "
        "1,450,000 steps of 128 sequences, four days on a GPU. Its pictures of the start show 20,000 steps, in which "
        "middle layers switch at the second drop of the loss, around step 9,000."
    )
    yield (
        "Tokens are characters (bytes), of which neighbours tell most; the paper's are pieces of words. Sequences have "
        f"{setting.length} of them, as in the paper, so that the classes have the same bounds: 64, 16 and 4."
    )
    yield (
        "The encoder normalises before attention and turns queries and keys by their position (ModernBERT, all of its "
        "attention global); BERT normalises after it and adds a vector for each position. BERTs of this size were "
        "tried first, with rates from 0.001 to 0.003: in 1,000 to 3,000 steps they learned little more than how often "
        "each character occurs."
    )
    yield (
        "The paper trains in the manner of ELECTRA on Wikipedia and books, and averages with Gaussians from the start; "
        "here Gaussians come after training. It prints no numbers for either, so there are none to compare with."
    )


def _protocol(outcomes: Sequence[Outcome]) -> Iterator[str]:
    setting = Setting()
    yield (
        "Text to learn from: WikiText-2 (its test part) and Tiny Shakespeare; to be tested on: the validation part of "
        f"WikiText-2, {setting.tests} batches. The heads are chosen, and Gaussians learn, on the text to learn from."
    )
    yield (
        f"AdamW, rate {setting.rate:g} with {setting.warmup} steps of warmup and a linear decay, batches of "
        f"{setting.batch}; no dropout; the encoder guesses {setting.masked:.0%} of the tokens, all of them masked."
    )
    yield (
        f"The lens looks at {setting.probes} sequences of the text to learn from, the same each time, at "
        f"{setting.rows} positions of each, at {len(outcomes[0].moments)} moments. In the decoder a row counts for the "
        "class from 32 tokens on."
    )
    yield "One run with one seed: differences between models, and small ones between rows, may be chance."
