"""`hopfield reproduce molecules`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Backend, Jobs, Seed, make_folder, methods_of, names_of, resumable
from hopfield.progress import progress_bar


def molecules(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the CSV files, in itself or in its folder molecules. [default: HOPFIELD_DATA, else a cache "
            "of downloads]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/molecules"),
    sets: Annotated[str, typer.Option(help="Which sets, separated by commas.")] = "hiv,bace,bbbp,sider",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Which methods, separated by commas: Hopfield lookup, SVM, Random forest, Gradient boosting. "
            "[default: all]"
        ),
    ] = None,
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Molecules: a Hopfield lookup among those with known labels against other methods; an hour, most of it HIV.

    It can be stopped and started again: each method on a split is kept in outcomes.jsonl when it is done. The report is
    about the sets and methods of this call. Needs RDKit.

    For example:

        hopfield reproduce molecules --data-dir ~/data

        hopfield reproduce molecules --sets bace --methods "Hopfield lookup,SVM" --out /tmp/bace
    """
    from hopfield.experiments import molecules as experiment

    folder = make_folder(out)
    chosen = methods_of(methods, experiment.METHODS)
    names = [name.casefold() for name in names_of(sets)]
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
    command = "hopfield reproduce molecules" + ("" if data_dir is None else " --data-dir DATA")
    command += "" if set(names) == set(experiment.SETS) else f" --sets {','.join(names)}"
    command += "" if methods is None else f' --methods "{",".join(chosen)}"'
    typer.echo(experiment.write(outcomes, folder, command=f"{command} --seed {seed}"))
    typer.echo(f"\nThe table: {folder / 'README.md'}")
