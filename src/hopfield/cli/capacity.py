"""`hopfield capacity`: how many patterns a memory holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hopfield.cli.common import Seed, make_folder, write_json
from hopfield.progress import progress_bar

if TYPE_CHECKING:
    from hopfield.experiments.capacity import CapacityResult


def capacity(
    beta: Annotated[float, typer.Option(help="Inverse temperature.")] = 1.0,
    dim: Annotated[int, typer.Option(help="Dimension d of the patterns.")] = 20,
    radius: Annotated[float, typer.Option(help="K, where the patterns lie on the sphere of radius K √(d-1).")] = 3.0,
    failure: Annotated[float, typer.Option(help="Probability with which the bound may fail.")] = 0.001,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Also find the largest number really stored (definition 1) over dimensions; minutes.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the curve as capacity.png and capacity.json.")] = None,
    seed: Seed = 0,
) -> None:
    """How many random patterns a memory holds: theorem 3 as a table and a curve, and measured.

    For example:

        hopfield capacity --beta 1 --dim 20 --radius 3 --failure 0.001

        hopfield capacity --measure --failure 0.1 --out capacity/
    """
    from hopfield.experiments import capacity as experiment

    folder = None if out is None else make_folder(out)
    with progress_bar() as progress:
        result = experiment.run(
            beta=beta, dim=dim, radius=radius, failure=failure, measured=measure, seed=seed, progress=progress
        )
    _print_capacity(result)
    if folder is not None:
        from hopfield import plot, report

        write_json(folder / "capacity.json", result.numbers())
        report.write_bytes(folder / "capacity.png", plot.png(plot.capacity(result)))
        typer.echo(f"\nThe curve: {folder / 'capacity.png'}   Its numbers: {folder / 'capacity.json'}")


def _print_capacity(result: CapacityResult) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    bound = result.bound
    console.print(
        f"Theorem 3: beta {result.beta:g}, M = {result.radius:g} √(d-1), d = {bound.dim}, failure {result.failure:g}\n"
        f"  a = {bound.a:.6f}   b = {bound.b:.6f}   c = {bound.c:.6f}\n"
        f"  N ≥ √p c^((d-1)/4) = {_number(bound.patterns, bound.log_patterns)} patterns, "
        + ("its condition holds" if bound.holds else "but its condition on c does not hold: nothing is promised"),
        highlight=False,
    )
    measured = {} if result.measured is None else {point.dim: point for point in result.measured.points}
    table = Table(title="Over dimensions")
    for column in ("d", "c", "bound on N", "condition", *(["measured N"] if measured else [])):
        table.add_column(column, justify="right")
    for point in result.curve:
        row = [
            str(point.dim),
            f"{point.c:.4f}",
            _number(point.patterns, point.log_patterns),
            "holds" if point.holds else "fails",
        ]
        if measured:
            found = measured.get(point.dim)
            row.append("" if found is None else f"{'≥ ' if found.at_least else ''}{found.patterns}")
        table.add_row(*row)
    console.print(table)
    growth = None if result.measured is None else result.measured.growth
    if growth is not None:
        console.print(
            f"Measured: N grows by a factor of {growth.base:.2f} per dimension (R² of the fit {growth.r_squared:.3f}).",
            highlight=False,
        )


def _number(value: float | None, logarithm: float) -> str:
    """A count, as a power of ten where it is large."""
    if value is not None and value < 1e6:
        return f"{value:.3f}"
    return f"10^{logarithm / math.log(10):.1f}"
