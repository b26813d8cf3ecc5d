"""Experiments that can be stopped and started again: tasks over processes or a cluster, every outcome a line of a file.

An outcome is a frozen dataclass of numbers, strings, and tuples of them. Whoever reads a record takes the outcomes of
its own `digest` only, so that outcomes of other settings never mix with new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from hopfield.errors import HopfieldError
from hopfield.progress import Progress

T = TypeVar("T")


def recorded(path: Path, kind: type[T]) -> list[T]:
    """The outcomes in a file; none if there is no file. A last line that was cut off while written is taken away.

    Raises:
        HopfieldError: another line that is no outcome, a file that cannot be read.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HopfieldError(f"cannot read the outcomes in {path}: {error}") from error
    whole, newline, rest = text.rpartition("\n")
    if rest.startswith("{"):  # every line is written with its end
        path.write_text(whole + newline, encoding="utf-8")
    elif rest:
        raise HopfieldError(f"{path} does not end with an outcome; remove the file, or choose another folder")
    found = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            content = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(line).items()}
            found.append(kind(**content))
            _check_types(found[-1])
        except (ValueError, TypeError, AttributeError) as error:
            raise HopfieldError(
                f"{path} line {number} is no outcome of this version: {error}; remove that line, or choose another "
                "folder"
            ) from error
    return found


# what the fields of an outcome may be annotated with
_TYPES: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _check_types(outcome: Any) -> None:
    """Refuse values that are not of the types of their fields: one of `_TYPES`, or tuples of one."""
    for part in fields(outcome):
        text = str(part.type).removeprefix("<class '").removesuffix("'>")
        of, value = text.removeprefix("tuple[").removesuffix(", ...]"), getattr(outcome, part.name)
        check = _TYPES.get(of)
        values = value if text != of else (value,)
        if check is not None and not (isinstance(values, tuple) and all(map(check, values))):
            raise TypeError(f"{part.name} is {value!r}")


def digest(settings: Mapping[str, Any]) -> str:
    """Eight letters that differ, but for chance, between different settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_tasks(
    tasks: Sequence[tuple[Callable[..., Sequence[T]], tuple[Any, ...]]],
    record: Path,
    *,
    jobs: int,
    backend: str = "loky",
    progress: Progress | None = None,
    before: int = 0,
) -> list[T]:
    """Call functions with their arguments, and append the outcomes of each call to a file as soon as it is done.

    Args:
        tasks: functions, each with its arguments; each gives any number of outcomes.
        record: the file.
        jobs: how many processes work.
        backend: of joblib: "loky" on this machine, "dask" or "ray" on a cluster that exists.
        progress: called after every task.
        before: how many tasks were done by an earlier call.

    Raises:
        HopfieldError: an unknown backend or one that is not installed, no cluster.
    """
    from joblib import Parallel, delayed, parallel_config

    _use(backend)
    outcomes: list[T] = []
    calls = (delayed(function)(*arguments) for function, arguments in tasks)
    if progress is not None:
        progress("fits", before, before + len(tasks))
    with parallel_config(backend=backend, n_jobs=jobs), record.open("a", encoding="utf-8") as file:
        for done, found in enumerate(Parallel(return_as="generator_unordered", pre_dispatch="all")(calls), before + 1):
            outcomes += found
            for outcome in found:
                file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            if progress is not None:
                progress("fits", done, before + len(tasks))
    return outcomes


def _use(backend: str) -> None:
    """Make a backend of joblib known."""
    try:
        if backend == "dask":
            from distributed import Client

            Client.current()
        elif backend == "ray":
            from ray.util.joblib import register_ray

            register_ray()
        elif backend not in {"loky", "threading", "sequential"}:
            raise HopfieldError(f"backend must be loky, threading, sequential, dask or ray, got {backend!r}")
    except ImportError as error:
        raise HopfieldError(f"the backend {backend} needs a library that is not installed: {error}") from error
    except ValueError as error:
        if isinstance(error, HopfieldError):
            raise
        raise HopfieldError(
            f"there is no dask cluster to send work to: {error}; start a distributed.Client in this process first"
        ) from error
