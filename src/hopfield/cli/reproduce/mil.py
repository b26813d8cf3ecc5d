"""`hopfield reproduce mil`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Backend, Jobs, Seed, make_folder, names_of, resumable
from hopfield.progress import progress_bar


def mil(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data sets; musk2 and ucsb need it. [default: HOPFIELD_DATA, else a cache of downloads]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/mil"),
    sets: Annotated[
        str, typer.Option(help="Which sets, separated by commas: tiger, fox, elephant, musk1, musk2, ucsb.")
    ] = "tiger,fox,elephant,musk1,musk2",
    repetitions: Annotated[int, typer.Option(help="Repetitions of the ten-fold cross-validation.", min=1)] = 5,
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Multiple-instance benchmarks: Hopfield pooling against other poolings and a kernel machine; half an hour.

    It can be stopped and started again: each method on a repetition of a set is kept in outcomes.jsonl when it is done.

    For example:

        hopfield reproduce mil --data-dir ~/data

        hopfield reproduce mil --sets tiger,musk1 --repetitions 1 --out /tmp/mil
    """
    from hopfield import plot, report
    from hopfield.experiments import mil as experiment

    folder = make_folder(out)
    names = names_of(sets)
    with resumable(folder), progress_bar() as progress:
        outcomes = experiment.run(
            names,
            data_dir=data_dir,
            record=folder / "outcomes.jsonl",
            repetitions=repetitions,
            jobs=jobs,
            backend=backend,
            seed=seed,
            progress=progress,
        )
    given = "" if data_dir is None else " --data-dir DATA"
    command = f"hopfield reproduce mil{given} --sets {','.join(names)} --repetitions {repetitions} --seed {seed}"
    typer.echo(experiment.write(outcomes, folder, command=command))
    report.write_bytes(folder / "auc.png", plot.png(plot.scores(experiment.summary(outcomes))))
    typer.echo(f"\nThe table: {folder / 'README.md'}   The figure: {folder / 'auc.png'}")
