"""What a run found: a summary, a table, and the accuracy on every split."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hopfield.experiments.uci.comparison import Comparison
from hopfield.experiments.uci.page import page
from hopfield.experiments.uci.protocol import METHODS, OURS, Outcome


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
    (folder / "README.md").write_text(page(outcomes, table, command), encoding="utf-8")
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
        cells += [str(firsts[method]), "" if p is None else f"{p:.2g}", f"{found['seconds'][method] / 60:.2g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
