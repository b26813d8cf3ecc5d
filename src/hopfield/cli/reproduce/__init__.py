"""`hopfield reproduce`: the experiments at full size, one file for each."""

import typer

from hopfield.cli.reproduce.heads import heads
from hopfield.cli.reproduce.mil import mil
from hopfield.cli.reproduce.molecules import molecules
from hopfield.cli.reproduce.repertoires import repertoires
from hopfield.cli.reproduce.retrieval import retrieval
from hopfield.cli.reproduce.uci import uci

reproduce = typer.Typer(no_args_is_help=True, help="Run an experiment at full size and write its results.")
for command in (retrieval, mil, uci, molecules, repertoires, heads):
    reproduce.command()(command)
