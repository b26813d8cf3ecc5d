"""What several commands share: options, folders, files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hopfield.errors import HopfieldError

Images = Annotated[
    str,
    typer.Option(help="`digits` (they ship inside scikit-learn), a folder of images, or a folder with MNIST's files."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=2**32 - 1)]
Jobs = Annotated[int, typer.Option(help="Processes that work at the same time.", min=1)]
Backend = Annotated[
    str,
    typer.Option(help="Of joblib: loky (this machine), or dask or ray (a cluster that this process is a client of)."),
]


def names_of(text: str) -> list[str]:
    """What commas part."""
    return [name.strip() for name in text.split(",") if name.strip()]


def methods_of(text: str | None, known: Sequence[str]) -> list[str]:
    """The known methods that commas part, in whatever case; without a text all of them."""
    names = {name.casefold(): name for name in known}
    return list(known) if text is None else [names.get(name.casefold(), name) for name in names_of(text)]


def make_folder(path: Path) -> Path:
    """Make the folder now and write into it, so that a wrong path is found before the work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HopfieldError(f"cannot make the folder {path}: {error.strerror}") from error
    try:
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise HopfieldError(f"cannot write into the folder {path}: {error.strerror}") from error


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say what an interrupt leaves of an experiment."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. {folder / 'outcomes.jsonl'} has what was done; the same command goes on.", err=True)
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    from hopfield import report

    report.write_bytes(path, (json.dumps(content) + "\n").encode())
