"""What a run found: a table, a page, a summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hopfield.estimators import HopfieldBagClassifier
from hopfield.experiments.origin import machine, versions
from hopfield.experiments.repertoires.cost import Cost
from hopfield.experiments.repertoires.protocol import CONDITIONS, FOLDS, KNOWN, METHODS, OURS, SHOWN, Outcome

# Ramsauer et al. 2021, table A.1: AUC, mean over their 18 simulated data sets
FULL_SEQUENCES = 300_000
PRINTED = {"DeepRC": 0.846, "Known motif (binary)": 0.890, "Known motif (count)": 0.738}


# parts of the page that not every run has
_NOT_FULL = " `--full` has their size, for a machine with a GPU and 64 GB of memory; it was not run."
_SEVERAL = " With three motifs, each implanted\nsequence has one of them."
_FIXED = " Four fixed letters, without\nexceptions, are the easy case, where counting k-mers is all that is needed."
_COMMONEST = " With three\nmotifs only the commonest of the heaviest sequences shows."
_COST = """One forward and backward pass over one repertoire on one thread; memory is that of the whole process
(`cost.png`, `cost.jsonl`):

"""


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, dict[str, float]]]:
    """{condition: {method: {"auc": mean, "std": deviation}}} over folds; for ours also "precision" and "chance"."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in CONDITIONS:
        for method in METHODS:
            for outcome in outcomes:
                if (outcome.condition, outcome.method) == (name, method):
                    own = {"auc": _mean(outcome.auc), "std": round(float(np.std(outcome.auc)), 5)}
                    if outcome.precision:
                        own |= {"precision": _mean(outcome.precision), "chance": _chance(outcome)}
                    found.setdefault(name, {})[method] = own
    return found


def write(outcomes: Sequence[Outcome], costs: Sequence[Cost], folder: Path, *, command: str) -> str:
    """Write summary.json and README.md into a folder; the table of AUC is also returned."""
    found = summary(outcomes)
    (folder / "summary.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    table = _table(found)
    (folder / "README.md").write_text(_page(outcomes, costs, table, command), encoding="utf-8")
    return table


def shown(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome whose motif and sequences are shown: ours at 0.1 %, or else at the first condition."""
    return min(
        (outcome for outcome in outcomes if outcome.method == OURS),
        key=lambda outcome: (outcome.condition != "0.1 %", list(CONDITIONS).index(outcome.condition)),
    )


def _chance(outcome: Outcome) -> float:
    """The share of the sequences of a positive repertoire that are implanted: at least one is."""
    return max(1, round(CONDITIONS[outcome.condition].rate * outcome.sequences)) / outcome.sequences


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 5)


def _table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    methods = [method for method in METHODS if any(method in row for row in found.values())]
    lines = ["| implanted | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for name, row in found.items():
        cells = [f"{row[m]['auc']:.3f} ± {row[m]['std']:.3f}" if m in row else "" for m in methods]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _page(outcomes: Sequence[Outcome], costs: Sequence[Cost], table: str, command: str) -> str:
    first = outcomes[0]
    ours = sorted((o for o in outcomes if o.method == OURS), key=lambda o: list(CONDITIONS).index(o.condition))
    motifs = ["| implanted | motifs | precision | by chance | found in five folds |", "|---|---|---|---|---|"]
    for o in ours:
        condition = CONDITIONS[o.condition]
        known = ", ".join(condition.motifs) + (f", {condition.wildcards} others" if condition.wildcards else "")
        motifs.append(
            f"| {o.condition} | {known} | {np.mean(o.precision):.3f} | {_chance(o):g} | "
            f"{', '.join(f'`{motif}`' for motif in o.motifs)} |"
        )
    seconds = ["| method | seconds per training repertoire |", "|---|---|"]
    for method in METHODS:
        own = [o.seconds for o in outcomes if o.method == method]
        if own and method != KNOWN:
            seconds.append(f"| {method} | {' to '.join(sorted({f'{min(own):.3f}', f'{max(own):.3f}'}))} |")
    defaults = HopfieldBagClassifier.for_sequences().get_params()
    usual = HopfieldBagClassifier().get_params()
    told = [name for name in defaults if defaults[name] != usual[name] or name in {"states", "steps", "bag_dropout"}]
    settings = ", ".join(f"{name} {defaults[name]}" for name in told)
    sizes = ["| sequences | gradient through | seconds | memory in GB |", "|---|---|---|---|"]
    sizes += [f"| {c.sequences:,} | {c.share:.0%} | {c.seconds:.2f} | {c.gigabytes:.2f} |" for c in costs]
    examples = shown(outcomes)
    ranked = [f"{i}. `{text}`" for i, text in enumerate(examples.examples, 1)]
    full = first.sequences >= FULL_SEQUENCES
    several = any(len(CONDITIONS[o.condition].motifs) > 1 for o in ours)
    fixed = any(not CONDITIONS[o.condition].wildcards for o in ours)
    computer = machine(1)
    versions_ = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"""# Immune repertoires, simulated

`{command}`

{first.repertoires} repertoires of {first.sequences:,} sequences each, half of them positive, for every row. In a
positive one a motif is written into a share of the sequences, the *implanted* ones. ROC AUC, mean ± standard deviation
over {FOLDS} folds. `auc.png` shows the same; the AUC of every fold: `outcomes.jsonl`; numbers: `summary.json`.

{table}

*{KNOWN}* is given the motif, and counts the sequences that have it: what could be reached with nothing to learn.

The paper (Ramsauer et al. 2021, table A.1) prints means over 18 simulated data sets with {FULL_SEQUENCES:,} sequences a
repertoire, some with far lower rates: {", ".join(f"{name} {value}" for name, value in PRINTED.items())}. Those data are
not these.{"" if full else _NOT_FULL}

## Data

Sequences have 10 to 20 letters, all equally likely. The motif of seven letters, `{CONDITIONS["1 %"].motifs[0]}`, is
written at a random place, but for two of its letters, other ones each time, where what was there stays: no fixed string
is common to all implanted sequences.{_SEVERAL if several else ""}{_FIXED if fixed else ""}

## Does attention find the motif?

*Precision*: of a positive test repertoire the sequences of the largest weights, as many as were implanted, and the
share of them that are. The motif found: the {SHOWN} heaviest test sequences aligned; capital letters are in at least
half of them, small ones less. The motif of the first fold at {examples.condition} as a logo is
`motif.png`.{_COMMONEST if several else ""}

{chr(10).join(motifs)}

The heaviest test sequences at {examples.condition}, first fold:

{chr(10).join(ranked)}

## Time and memory

{chr(10).join(seconds)}

Ours on one core, with reading its motifs from k-mers; k-mer methods with tuning and counting.

{_COST + chr(10).join(sizes) + chr(10) * 2 if costs else ""}## Protocol

- `HopfieldBagClassifier.for_sequences()`, nothing chosen: {settings}.
- Its settings were settled on data of other seeds at 1 % and 0.1 % with the same motif.
- Its kernels begin with the gapped 4-mers that differ most between the classes of the training part (Welch's test);
  no test repertoire has a share in them.
- k, penalties and thresholds of the rivals are chosen by three folds within each training part.

## Made by

{versions_}; {computer["processor"]}, {computer["cores"]} cores; seed {first.seed}.
"""
