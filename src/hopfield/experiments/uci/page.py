"""The page that goes with the results of a run: table, losses, protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from hopfield.estimators.tables import HopfieldClassifier
from hopfield.experiments.origin import made_by
from hopfield.experiments.uci import paper
from hopfield.experiments.uci.comparison import Comparison
from hopfield.experiments.uci.protocol import OURS, PAPER, Outcome
from hopfield.experiments.uci.rivals import RIVALS
from hopfield.experiments.words import filled

# Ramsauer et al. 2021, table 2: average rank difference and p against Hopfield
_PRINTED = """| method | average rank difference | p against Hopfield |
|---|---|---|
| Hopfield | -3.92 | |
| SVM | -3.23 | 0.15 |
| SNN | -2.85 | 0.10 |
| RandomForest | -2.79 | 0.05 |
| Stacking | +8.73 | 1.2e-11 |"""

# what is known of the sets on which a run of all 75 loses most
_REASONS = (
    "Why: in audiology-std, horse-colic and the monks sets test rows are standardised apart from training rows, so the "
    "same value is another number there. Trees, which ask on which side of a threshold a number is, suffer less from "
    "that than distances do. Audiology-std has 18 classes in 171 rows besides, seven of them with two rows: in a step "
    "of learning one of these, or none, is in the memory. In teaching 41 of 151 rows are copies of others, and one "
    "nearest neighbour does better than a mean over many. On glass and arrhythmia (262 columns, 13 classes) only "
    "methods of trees do better. Test parts of lenses have 6 rows."
)


def page(outcomes: Sequence[Outcome], table: str, command: str) -> str:
    """The README of a run.

    Args:
        outcomes: of the run.
        table: of all methods.
        command: that made it.
    """
    whole = Comparison.of(outcomes)
    splits = sum(len(o.accuracy) for o in outcomes if o.method == whole.methods[0])
    about = (
        f"Accuracy on test rows over {len(whole.sets)} set{'s' * (len(whole.sets) > 1)}, the mean of the given splits "
        f"of each ({splits} splits in all). Rank 1 is the best method of a set. Every split, with what was chosen for "
        "it: `accuracy.csv`. Numbers: `summary.json`."
    )
    made = made_by(seed=outcomes[0].seed, seconds=sum(outcome.seconds for outcome in outcomes))
    printed = "The paper's own table, with 24 other methods whose accuracies are from another paper, prints these rows:"
    parts = [
        "# Small tables of the UCI repository",
        f"`{command}`",
        filled(about),
        table,
        filled(" ".join(_notes(whole))),
        printed,
        _PRINTED,
        *_losses(whole),
        "## Protocol",
        "\n".join(filled(line, "- ") for line in _protocol(whole, outcomes)),
        "## Made by",
        filled(made),
    ]
    return "\n\n".join(parts) + "\n"


def _notes(whole: Comparison) -> Iterator[str]:
    """What the columns of the table mean."""
    yield "*Rank difference*: from the mean of all ranks. *First or level*: sets on which no method is better."
    if len(whole.methods) > 1:
        if OURS in whole.methods:
            yield f"*p*: Wilcoxon's signed-rank test against `{OURS}` over sets, two-sided."
            yield f"*Unseen sets*: average rank over the {len(whole.unseen.sets)} without a say in the defaults of it."
        difference = f"{whole.critical_difference():.2f}"
        yield f"Ranks closer than {difference} are not told apart by Nemenyi's test at 5 %: `ranks.png`."


def _losses(whole: Comparison, number: int = 10) -> Iterator[str]:
    """The sets on which the classifier is furthest behind the best method, and what there is to say of them."""
    if OURS not in whole.methods or len(whole.methods) == 1:
        return
    place = whole.methods.index(OURS)
    behind = whole.accuracy.max(1) - whole.accuracy[:, place]
    lines = []
    for i in np.argsort(-behind, kind="stable")[:number]:
        if behind[i] > 0:
            best, own, rank = int(whole.accuracy[i].argmax()), whole.accuracy[i, place], whole.ranks[i, place]
            cells = (whole.sets[i], f"{own:.3f}", f"{whole.accuracy[i, best]:.3f}", whole.methods[best], f"{rank:g}")
            lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return
    yield "## Where it loses"
    others = len(whole.methods) - 1
    yield filled(
        f"The sets on which `{OURS}` is furthest behind the best of the other {others} methods, which is also the "
        "luckiest: test parts are small."
        if others > 1
        else f"The sets on which `{OURS}` is furthest behind."
    )
    yield "\n".join(["| set | ours | best | by | rank of ours |", "|---|---|---|---|---|", *lines])
    if len(whole.sets) >= 75:
        yield filled(_REASONS)


def _protocol(whole: Comparison, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """How the methods of a run were trained and chosen."""
    yield (
        "Sets, features and the four splits of each are those of Klambauer et al. 2017. Splits are draws, not a "
        "partition: test parts of a set overlap, and eleven sets have the same test rows in all four."
    )
    yield "Test rows decide nothing."
    if OURS in whole.methods:
        own = HopfieldClassifier().get_params()
        settings = {name: v for name, v in own.items() if name not in {"verbose", "device", "random_state"}}
        yield (
            f"`{OURS}` is not tuned: with the same defaults for all sets it learns from training and validation rows. "
            f"{', '.join(f'{name} {value}' for name, value in settings.items())}. Those defaults were settled on every "
            "second set by name, beginning with the first. One mend came from the other half: hayes-roth showed that "
            "numbers between two of those learnt from must not count as unknown, where test rows are standardised "
            "apart (as they are in annealing, audiology-std, monks-1 and monks-3 of the first half)."
        )
    rivals = {name: rival for name, rival in RIVALS.items() if name in whole.methods}
    if rivals:
        yield (
            "Rivals are trained on the training rows for every cell of their grid; the cell of the best accuracy on "
            "the validation rows is trained again on both parts. A draw goes to the first cell. Columns are "
            "standardised. Gamma is in units of 1 over the number of columns."
        )
    if PAPER in whole.methods:
        shapes = "; ".join(f"{a.layers} x {a.hidden}, {a.stored} patterns per class" for a in paper.ARCHITECTURES)
        yield (
            "The network of the paper is trained on training rows, and keeps the parameters of the best accuracy on "
            f"validation rows averaged over {paper.WINDOW} of its {paper.EPOCHS} epochs. The grid is smaller than the "
            f"paper's, which has 108 cells and batches of 4 rows: embeddings of {shapes}; beta "
            f"{', '.join(map(str, paper.BETAS))}; one head; batches of {paper.BATCH} with a rate of {paper.RATE}."
        )
    for name, rival in rivals.items():
        grid = "; ".join(f"{key} {', '.join(map(str, values))}" for key, values in rival.grid.items())
        fixed = ", ".join(f"{key} {value}" for key, value in rival.fixed.items())
        yield f"{name}: {grid}{f' (always {fixed})' if fixed else ''}."
    for method in whole.methods:
        counts = Counter(choice for o in outcomes if o.method == method for choice in o.chosen)
        if method != OURS:
            often = "; ".join(f"{choice} ({n} of {counts.total()})" for choice, n in counts.most_common(3))
            yield f"Chosen most often, {method}: {often}."
