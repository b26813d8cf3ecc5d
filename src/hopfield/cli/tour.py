"""`hopfield tour`, and the same at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Images, Seed, make_folder, write_json
from hopfield.progress import progress_bar


def tour(
    out: Annotated[Path, typer.Option(help="Folder for report.html and numbers.json.")] = Path("report"),
    images: Images = "digits",
    seed: Seed = 0,
) -> None:
    """Store images, damage them, recover them; about a minute, with a report to look at.

    For example:

        hopfield tour

        hopfield tour --out /tmp/report --images ~/pictures
    """
    run_tour(images, out, seed, full=False)


def run_tour(source: str, out: Path, seed: int, *, full: bool) -> None:
    """The tour, short or at full size."""
    from hopfield import report
    from hopfield.datasets.images import load_images
    from hopfield.experiments import tour as experiment

    folder = make_folder(out)
    loaded = load_images(source, seed=seed)
    with progress_bar() as progress:
        done = experiment.run(loaded, seed=seed, full=full, progress=progress)
    lines = experiment.essentials(done)
    command = f"hopfield {'reproduce retrieval' if full else 'tour'} --images {source} --seed {seed}"
    write_json(folder / "numbers.json", {"command": command, **done.numbers()})
    report.write(done, folder / "report.html", command=command)
    summary = "\n".join([f"# `{command}`", "", *(f"- {line}" for line in lines), ""])
    report.write_bytes(folder / "summary.md", summary.encode())
    for line in lines:
        typer.echo(line)
    typer.echo(f"\nThe report: {folder / 'report.html'}   Its numbers: {folder / 'numbers.json'}")
