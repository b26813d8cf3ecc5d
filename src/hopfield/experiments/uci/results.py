"""What a run found: ranks, tests, a table, the accuracy on every split, and where the classifier loses."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, studentized_range, wilcoxon

from hopfield.errors import HopfieldError
from hopfield.estimators.tables import HopfieldClassifier
from hopfield.experiments.origin import machine, versions
from hopfield.experiments.uci import paper
from hopfield.experiments.uci.protocol import METHODS, OURS, Outcome
from hopfield.experiments.uci.rivals import RIVALS

# accuracies that differ by less are the same
_DIGITS = 9
# Ramsauer et al. 2021, table 2: average rank difference and p against Hopfield
PRINTED = (
    ("Hopfield", -3.92, None),
    ("SVM", -3.23, 0.15),
    ("SNN", -2.85, 0.10),
    ("RandomForest", -2.79, 0.05),
    ("Stacking", 8.73, 1.2e-11),
)


@dataclass(frozen=True)
class Comparison:
    """Methods compared over data sets.

    Attributes:
        sets: names of the sets, in alphabetical order, that all the methods were run on.
        methods: names of the methods.
        accuracy: the mean over splits, (sets, methods).
        seen: whether a set had a say in the defaults of the classifier, bool (sets,).
    """

    sets: tuple[str, ...]
    methods: tuple[str, ...]
    accuracy: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Comparison:
        """Of the sets that all methods of a run have.

        Raises:
            HopfieldError: there is no such set.
        """
        found = {(o.data, o.method): float(np.mean(o.accuracy)) for o in outcomes}
        methods = tuple(method for method in METHODS if any(o.method == method for o in outcomes))
        names = sorted({o.data for o in outcomes})
        sets = tuple(name for name in names if all((name, method) in found for method in methods))
        if not sets:
            raise HopfieldError("there is no set with outcomes of all methods; run the experiment to its end")
        seen = {o.data: o.seen for o in outcomes}
        accuracy = np.array([[found[name, method] for method in methods] for name in sets])
        return cls(sets, methods, accuracy, np.array([seen[name] for name in sets]))

    @property
    def ranks(self) -> np.ndarray:
        """1 for the best method of a set, the mean of places for methods that are level: (sets, methods)."""
        ranks: np.ndarray = rankdata(-self.accuracy.round(_DIGITS), axis=1)
        return ranks

    @property
    def unseen(self) -> Comparison:
        """Of the sets that had no say in the defaults of the classifier."""
        sets = tuple(name for name, seen in zip(self.sets, self.seen, strict=True) if not seen)
        return Comparison(sets, self.methods, self.accuracy[~self.seen], self.seen[~self.seen])

    def average_rank(self) -> dict[str, float]:
        """The mean of the ranks over sets."""
        return dict(zip(self.methods, self.ranks.mean(0).round(4).tolist(), strict=True))

    def p_values(self) -> dict[str, float]:
        """Of Wilcoxon's signed-rank test, two-sided, of the accuracies of ours and of every other method."""
        own = self.accuracy[:, self.methods.index(OURS)].round(_DIGITS)
        found = {}
        for method, column in zip(self.methods, self.accuracy.round(_DIGITS).T, strict=True):
            if method != OURS:
                found[method] = float(wilcoxon(own, column).pvalue) if (own != column).any() else 1.0
        return found

    def critical_difference(self) -> float:
        """Of average ranks, by the test of Nemenyi at 5 %."""
        n, k = self.accuracy.shape
        quantile = studentized_range.ppf(0.95, k, np.inf) / math.sqrt(2)
        return float(quantile * math.sqrt(k * (k + 1) / (6 * n)))


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Average ranks, p values against ours, seconds of one core, mean accuracies, and ranks over the unseen sets."""
    whole = Comparison.of(outcomes)
    seconds = {m: round(sum(o.seconds for o in outcomes if o.method == m), 1) for m in whole.methods}
    found: dict[str, Any] = {
        "sets": len(whole.sets),
        "average_rank": whole.average_rank(),
        "p_value": whole.p_values() if OURS in whole.methods else {},
        "seconds": seconds,
        "accuracy": dict(zip(whole.methods, whole.accuracy.mean(0).round(5).tolist(), strict=True)),
    }
    if whole.unseen.sets:
        found["average_rank_unseen"] = whole.unseen.average_rank()
    return found


def write(outcomes: Sequence[Outcome], folder: Path, *, command: str) -> str:
    """Write summary.json, accuracy.csv and README.md into a folder; the table is also returned."""
    (folder / "summary.json").write_text(json.dumps(summary(outcomes), indent=2) + "\n", encoding="utf-8")
    (folder / "accuracy.csv").write_text(_csv(outcomes), encoding="utf-8")
    table = _table(outcomes)
    (folder / "README.md").write_text(_page(outcomes, table, command), encoding="utf-8")
    return table


def _csv(outcomes: Sequence[Outcome]) -> str:
    """One line for each set, split and method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "split", "method", "accuracy", "chosen"])
    place = {method: i for i, method in enumerate(METHODS)}
    for outcome in sorted(outcomes, key=lambda o: (o.data, place[o.method])):
        for split, (accuracy, chosen) in enumerate(zip(outcome.accuracy, outcome.chosen, strict=True)):
            writer.writerow([outcome.data, split, outcome.method, f"{accuracy:.6f}", chosen])
    return text.getvalue()


def _table(outcomes: Sequence[Outcome]) -> str:
    found = summary(outcomes)
    best = Comparison.of(outcomes)
    firsts = dict(zip(best.methods, (best.ranks == best.ranks.min(1, keepdims=True)).sum(0).tolist(), strict=True))
    middle = (len(best.methods) + 1) / 2
    unseen = found.get("average_rank_unseen", {})
    lines = [
        "| method | average rank | rank difference | unseen sets | mean accuracy | first or level | p | core minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in sorted(best.methods, key=lambda name: found["average_rank"][name]):
        rank = found["average_rank"][method]
        cells = [method, f"{rank:.2f}", f"{rank - middle:+.2f}"]
        cells += [f"{unseen[method]:.2f}" if method in unseen else "", f"{found['accuracy'][method]:.4f}"]
        p = found["p_value"].get(method)
        cells += [str(firsts[method]), "" if p is None else f"{p:.2g}", f"{found['seconds'][method] / 60:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _worst(outcomes: Sequence[Outcome], number: int = 10) -> str:
    """The sets on which the classifier is furthest behind the best method."""
    whole = Comparison.of(outcomes)
    if OURS not in whole.methods:
        return ""
    own = whole.accuracy[:, whole.methods.index(OURS)]
    behind = whole.accuracy.max(1) - own
    lines = ["| set | ours | best | by | rank of ours |", "|---|---|---|---|---|"]
    ranks = whole.ranks[:, whole.methods.index(OURS)]
    for i in np.argsort(-behind, kind="stable")[:number]:
        if behind[i] > 0:
            method = whole.methods[int(whole.accuracy[i].argmax())]
            cells = (whole.sets[i], f"{own[i]:.3f}", f"{whole.accuracy[i].max():.3f}", method, f"{ranks[i]:g}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _page(outcomes: Sequence[Outcome], table: str, command: str) -> str:
    whole = Comparison.of(outcomes)
    splits = sum(len(o.accuracy) for o in outcomes if o.method == whole.methods[0])
    seconds = sum(outcome.seconds for outcome in outcomes)
    defaults = {name: v for name, v in HopfieldClassifier().get_params().items() if name not in {"verbose", "device"}}
    settings = ", ".join(f"{name} {value}" for name, value in defaults.items())
    grids = []
    for name, rival in RIVALS.items():
        own = "; ".join(f"{key} {', '.join(map(str, values))}" for key, values in rival.grid.items())
        fixed = ", ".join(f"{key} {value}" for key, value in rival.fixed.items())
        grids.append(f"- {name}: {own}{f' (always {fixed})' if fixed else ''}")
    shapes = "; ".join(f"{a.layers} layers of {a.hidden}, {a.stored} patterns per class" for a in paper.ARCHITECTURES)
    frequent = []
    for method in whole.methods[1:]:
        counts = Counter(choice for o in outcomes if o.method == method for choice in o.chosen).most_common(3)
        frequent.append(f"- {method}: " + "; ".join(f"{choice} ({n} of {splits})" for choice, n in counts))
    printed = "\n".join(f"| {n} | {rank:+.2f} | {'' if p is None else p} |" for n, rank, p in PRINTED)
    versions_ = ", ".join(f"{name} {version}" for name, version in versions().items())
    computer = machine(1)
    half = whole.unseen
    return f"""# Small tables of the UCI repository

`{command}`

Accuracy on test rows over {len(whole.sets)} sets of fewer than 1000 rows, the mean of the given splits of each
({splits} splits in all). Rank 1 is the best method of a set. The figure: `ranks.png`. Every split, with what was chosen
for it: `accuracy.csv`. Numbers: `summary.json`.

{table}

*Rank difference*: from the mean of all ranks. *Unseen sets*: the average rank over the {len(half.sets)} sets that had
no say in the default of `HopfieldClassifier`. *First or level*: sets on which no method is better. *p*: Wilcoxon's
signed-rank test against `HopfieldClassifier` over sets, two-sided. Ranks closer than {whole.critical_difference():.2f}
are not told apart by the test of Nemenyi at 5 %.

The paper's own table, with other rivals (24 of them, their accuracies from another paper), prints these rows:

| method | average rank difference | p against Hopfield |
|---|---|---|
{printed}

## Where it loses

The sets on which `HopfieldClassifier` is furthest behind the best of the other {len(whole.methods) - 1} methods. The
best of so many is also the luckiest: a test part has 2 to 462 rows, most of them fewer than 100.

{_worst(outcomes)}

## Protocol

- Sets, features and the four splits of each are those of Klambauer et al. 2017. Splits are draws, not a partition:
  test parts of a set overlap, and eleven sets have the same test rows in all four, standardised apart from the others.
- Test rows decide nothing. Rivals are trained on the training rows for every cell of their grid; the cell of the best
  accuracy on the validation rows is trained again on both parts. A draw goes to the more cautious cell.
- `HopfieldClassifier` is not tuned: with the same defaults for all sets it learns from training and validation rows.
  {settings}.
- Those defaults were settled on every second set by name, beginning with the first.
- The network of the paper is trained on training rows, and keeps the parameters of the best accuracy on validation
  rows averaged over {paper.WINDOW} of its {paper.EPOCHS} epochs. The grid is smaller than the paper's, which has 108
  cells, for batches of 4 rows: {shapes}; beta {", ".join(map(str, paper.BETAS))}; one head; batches of {paper.BATCH}
  with a rate of {paper.RATE}.

## Grids

Gamma is in units of 1 over the number of columns.

{chr(10).join(grids)}

## Chosen most often

{chr(10).join(frequent)}

## Made by

{versions_}; {computer["processor"]}, {computer["cores"]} cores; seed {outcomes[0].seed};
{seconds / 60:.1f} minutes of one core in all.
"""
