"""`hopfield reproduce uci`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Backend, Jobs, Seed, make_folder, methods_of, names_of, resumable
from hopfield.progress import progress_bar


def uci(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the data sets, in itself or in its folder uci. [default: HOPFIELD_DATA]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/uci"),
    sets: Annotated[
        str | None, typer.Option(help="Which sets, separated by commas. [default: the 75 of fewer than 1000 rows]")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Which methods, separated by commas: HopfieldClassifier, SVM (RBF), Random forest, Gradient boosting, "
            "k-nearest neighbours, Logistic regression, Multilayer perceptron, HopfieldLayer network (paper). "
            "[default: all]"
        ),
    ] = None,
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Small tables: a classifier without tuning against tuned rivals on 75 sets of the UCI repository; an hour.

    It can be stopped and started again: each method on a set is kept in outcomes.jsonl when it is done. The report is
    about the sets and methods of this call.

    For example:

        hopfield reproduce uci --data-dir ~/data

        hopfield reproduce uci --sets iris,wine,zoo --methods "HopfieldClassifier,SVM (RBF)" --out /tmp/uci
    """
    from hopfield import plot, report
    from hopfield.experiments import uci as experiment

    folder = make_folder(out)
    names = None if sets is None else names_of(sets)
    chosen = methods_of(methods, experiment.METHODS)
    with resumable(folder), progress_bar() as progress:
        outcomes = experiment.run(
            names,
            data_dir=data_dir,
            record=folder / "outcomes.jsonl",
            methods=chosen,
            jobs=jobs,
            backend=backend,
            seed=seed,
            progress=progress,
        )
    command = "hopfield reproduce uci" + ("" if data_dir is None else " --data-dir DATA")
    command += "" if names is None else f" --sets {','.join(names)}"
    command += "" if methods is None else f' --methods "{",".join(chosen)}"'
    typer.echo(experiment.write(outcomes, folder, command=f"{command} --seed {seed}"))
    found = experiment.Comparison.of(outcomes)
    if len(found.methods) > 1:
        picture = plot.critical_difference(found.average_rank(), found.critical_difference())
        report.write_bytes(folder / "ranks.png", plot.png(picture))
        typer.echo(f"\nThe figure: {folder / 'ranks.png'}")
    typer.echo(f"\nThe table: {folder / 'README.md'}")
