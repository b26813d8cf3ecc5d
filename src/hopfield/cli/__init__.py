"""The command line. torch, plotting and the experiments are imported by the commands that need them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hopfield.__about__ import __version__
from hopfield.cli.capacity import capacity
from hopfield.cli.heads import heads
from hopfield.cli.reproduce import reproduce
from hopfield.cli.retrieve import retrieve
from hopfield.cli.tour import tour
from hopfield.errors import HopfieldError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Modern Hopfield networks: store patterns, recover them from damaged ones, and see what happened.",
    epilog="Start with `hopfield tour`; every command has examples under --help.",
)
for command in (tour, retrieve, capacity, heads):
    app.command()(command)
app.add_typer(reproduce, name="reproduce")


def _show_version(wanted: bool) -> None:  # the form that typer's callbacks have
    if wanted:
        typer.echo(f"hopfield {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that come before a command."""


def main() -> None:
    """Run the command line: errors of use and of data are one line and exit code 2."""
    try:
        app()
    except HopfieldError as error:
        typer.echo(f"hopfield: {error}", err=True)
        sys.exit(2)
