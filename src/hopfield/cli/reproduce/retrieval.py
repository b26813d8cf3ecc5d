"""`hopfield reproduce retrieval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hopfield.cli.common import Images, Seed
from hopfield.cli.tour import run_tour


def retrieval(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/retrieval"),
    images: Images = "digits",
    seed: Seed = 0,
) -> None:
    """All retrieval experiments at full size: what `hopfield tour` shows, with more patterns and repetitions.

    For example:

        hopfield reproduce retrieval --out results/retrieval
    """
    run_tour(images, out, seed, full=True)
