"""`hopfield reproduce repertoires`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Backend, Jobs, Seed, make_folder, resumable
from hopfield.progress import progress_bar


def repertoires(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/repertoires"),
    conditions: Annotated[
        str | None, typer.Option(help='What is implanted, names separated by semicolons: "1 %; 0.1 %". [default: all]')
    ] = None,
    repertoires: Annotated[int, typer.Option(help="Number of repertoires, half of them positive.", min=20)] = 200,
    sequences: Annotated[int, typer.Option(help="Sequences of each.", min=100)] = 5000,
    full: Annotated[
        bool, typer.Option("--full", help="The paper's size, 5,000 repertoires of 300,000, ours only; needs a GPU.")
    ] = False,
    cost: Annotated[
        bool, typer.Option(help="Measure time and memory of one repertoire of up to 500,000 sequences; half a minute.")
    ] = True,
    device: Annotated[str, typer.Option(help="Where the classifier computes: cpu, cuda.")] = "cpu",
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Immune repertoires with implanted motifs: Hopfield pooling against k-mer methods; ten minutes.

    It can be stopped and started again: each method under a condition is kept in outcomes.jsonl when it is done.

    For example:

        hopfield reproduce repertoires

        hopfield reproduce repertoires --conditions "1 %; 0.1 %" --repertoires 100 --no-cost --out /tmp/few

        hopfield reproduce repertoires --full --device cuda --conditions "0.1 %" --jobs 1
    """
    from hopfield import plot, report
    from hopfield.experiments import repertoires as experiment

    folder = make_folder(out)
    given = list(experiment.CONDITIONS) if conditions is None else conditions.split(";")
    names = experiment.conditions_of([name for name in given if name.strip()])
    if full:
        repertoires, sequences = 5000, 300_000
    with resumable(folder), progress_bar() as progress:
        outcomes = experiment.run(
            names,
            record=folder / "outcomes.jsonl",
            repertoires=repertoires,
            sequences=sequences,
            rivals=not full,
            device=device,
            jobs=jobs,
            backend=backend,
            seed=seed,
            progress=progress,
        )
        costs = experiment.measure(folder / "cost.jsonl", progress=progress) if cost else []
    chosen = "" if conditions is None else f' --conditions "{"; ".join(names)}"'
    size = f"--full --device {device}" if full else f"--repertoires {repertoires} --sequences {sequences}"
    command = f"hopfield reproduce repertoires{chosen} {size} --seed {seed}{'' if cost else ' --no-cost'}"
    typer.echo(experiment.write(outcomes, costs, folder, command=command))
    report.write_bytes(folder / "auc.png", plot.png(plot.scores(experiment.summary(outcomes))))
    curves = {f"gradient through {share:.0%}": [c for c in costs if c.share == share] for share in (0.1, 1.0)}
    points = {name: [(c.sequences, c.seconds, c.gigabytes) for c in own] for name, own in curves.items()}
    if costs:
        report.write_bytes(folder / "cost.png", plot.png(plot.cost(points)))
    shown = experiment.shown(outcomes)
    report.write_bytes(folder / "motif.png", plot.png(plot.logo(shown.letters, title=f"{shown.condition} implanted")))
    typer.echo(f"\nThe table: {folder / 'README.md'}   Figures beside it: auc.png, motif.png{', cost.png' * cost}")
