"""`hopfield reproduce heads`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Backend, Jobs, Seed, make_folder, methods_of, resumable
from hopfield.progress import progress_bar


def heads(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the texts, in itself or in its folder text. [default: HOPFIELD_DATA, else a cache of "
            "downloads]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/heads"),
    models: Annotated[
        str | None, typer.Option(help="Which models, separated by commas: encoder, decoder. [default: both]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of training of each model.", min=1)] = 4000,
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Heads of transformers while they learn, and averages in their place; twenty minutes on two cores.

    A small encoder that guesses masked characters and a small decoder that guesses the next are trained on plain text.
    Then averages over positions take the place of heads that average, and of as many others. It can be stopped and
    started again: each model is kept in outcomes.jsonl when it is done. Needs transformers.

    For example:

        hopfield reproduce heads --data-dir ~/data

        hopfield reproduce heads --models encoder --steps 500 --out /tmp/heads
    """
    from hopfield import plot, report
    from hopfield.experiments import heads as experiment

    folder = make_folder(out)
    chosen = methods_of(models, experiment.MODELS)
    with resumable(folder), progress_bar() as progress:
        outcomes = experiment.run(
            chosen,
            data_dir=data_dir,
            record=folder / "outcomes.jsonl",
            steps=steps,
            seed=seed,
            jobs=jobs,
            backend=backend,
            progress=progress,
        )
    command = "hopfield reproduce heads" + ("" if data_dir is None else " --data-dir DATA")
    command += "" if models is None else f" --models {','.join(chosen)}"
    typer.echo(experiment.write(outcomes, folder, command=f"{command} --steps {steps} --seed {seed}"))
    figures = []
    for outcome in outcomes:
        losses = {"training loss": (outcome.moments, outcome.losses)}
        over_time = plot.head_history(outcome.moments, outcome.shares, losses, log=True, title=outcome.model)
        ridges = plot.head_ridges(
            [(step, k.flatten(0, 1).T) for step, k in experiment.shown(outcome)],
            1,
            names=[f"layer {n}, head {m}" for n in range(outcome.layers) for m in range(outcome.heads)],
            columns=outcome.heads,
            title=outcome.model,
        )
        for name, figure in ((f"{outcome.model}.png", over_time), (f"{outcome.model}_ridges.png", ridges)):
            report.write_bytes(folder / name, plot.png(figure))
            figures.append(name)
    typer.echo(f"\nThe table: {folder / 'README.md'}   Figures beside it: {', '.join(figures)}")
