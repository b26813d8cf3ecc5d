"""`hopfield retrieve`: your data in; patterns, energies and convergence out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopfield.cli.common import make_folder
from hopfield.errors import HopfieldError
from hopfield.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from hopfield.core.retrieval import Retrieval
    from hopfield.datasets.stored import Kind
    from hopfield.memory import AssociativeMemory


def retrieve(
    patterns: Annotated[
        str,
        typer.Option(
            help="Stored patterns: a .npy file (N, d), a folder of images (made grey, in [-1, 1], of one size), a "
            "saved memory, or a memory on disk. Under torchrun each process takes its share of it; with {rank} in the "
            "path, each has a part of its own.",
            metavar="PATH",
        ),
    ],
    query: Annotated[
        list[Path], typer.Option(help="Queries: .npy files (d,) or (L, d), or images; give the option repeatedly.")
    ],
    beta: Annotated[
        float | None,
        typer.Option(
            help="Inverse temperature: higher retrieves more sharply. [default: 1, or that of a saved memory]"
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of updates. [default: until nothing moves]")] = None,
    separation: Annotated[
        str | None,
        typer.Option(
            help="softmax, softmax1, sparsemax, entmax, normmax or top1. [default: softmax, or that of a saved memory]"
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A .npy file of bool, (N,) or (L, N): True for patterns that take part.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Error of an update that will do, as a distance between patterns: each result then comes with a bound "
            "on its error, proved and no larger than this."
        ),
    ] = None,
    index: Annotated[
        bool,
        typer.Option(
            "--index",
            help="Group the patterns first, so that each query looks at few of them: pays for many queries. A memory "
            "on disk keeps the groups. Needs --tolerance.",
        ),
    ] = False,
    on_disk: Annotated[
        bool,
        typer.Option("--on-disk", help="Leave a .npy file or a saved memory on disk, and read it as it is needed."),
    ] = False,
    top: Annotated[int, typer.Option(help="Show this many of the heaviest patterns.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the recovered patterns: images where images came in, else .npy.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which a process of torchrun that does not answer is given up.")
    ] = 600.0,
) -> None:
    """Recover stored patterns from damaged ones: your data in; patterns, energies and convergence out.

    For example:

        hopfield retrieve --patterns memories.npy --query damaged.npy --beta 4

        hopfield retrieve --patterns faces/ --query half.png --query noisy.png --out recovered/

        hopfield retrieve --patterns memory.safetensors --query damaged.npy --separation sparsemax --json

        hopfield retrieve --patterns millions/ --query damaged.npy --beta 100 --steps 1 --tolerance 1e-4 --index

        torchrun --nproc-per-node 2 --no-python hopfield retrieve --patterns part-{rank}.npy --query damaged.npy
    """
    from hopfield.datasets.stored import load_mask, load_queries

    if top < 1:
        raise HopfieldError(f"--top must be at least 1, got {top}")
    if index and tolerance is None:
        raise HopfieldError(
            "--index does nothing without --tolerance: add one, such as 1e-4 of the length of a pattern"
        )
    with _processes() as (rank, world):
        folder = None if out is None or rank > 0 else make_folder(out)
        memory, kind = _opened(patterns, (rank, world), beta, separation, on_disk=on_disk)
        names, states = load_queries(query, kind)
        if index and memory.index is None:
            with progress_bar(shown=rank == 0) as progress:
                memory.build_index(progress=progress)
        if world > 1:
            memory = memory.sharded(memory, timeout=timeout)
        asked = None if mask is None else load_mask(mask)
        found = memory.retrieve(states, mask=asked, steps=steps, tolerance=tolerance)
        rows = _rows(found, names, kind, min(top, len(memory)))
        if rank > 0:  # it has the same to say as the first
            return
    if folder is not None:
        for number, (row, state) in enumerate(zip(rows, found.state, strict=True)):
            row["file"] = str(kind.write(folder, f"{number}-{Path(row['query']).stem}", state))
    if as_json:
        typer.echo(json.dumps({"patterns": len(memory), "size": kind.size, "queries": rows}, indent=2))
    else:
        _print_table(rows, tuple(states.shape))
    if not bool(found.converged.all()) and steps is None:
        typer.echo("hopfield: some queries did not converge; they still moved after 1000 updates", err=True)


@contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """The number of this process and of all: those that torchrun started."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    import torch.distributed as dist

    dist.init_process_group("gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


def _opened(
    patterns: str, process: tuple[int, int], beta: float | None, separation: str | None, *, on_disk: bool
) -> tuple[AssociativeMemory, Kind]:
    """What this process holds, and what patterns are."""
    from hopfield.datasets.stored import Kind, load_patterns
    from hopfield.memory import AssociativeMemory
    from hopfield.memory.disk.folder import MANIFEST

    rank, world = process
    path = Path(patterns.replace("{rank}", str(rank)))
    shared = world > 1 and "{rank}" not in patterns
    if "{rank}" in patterns and world == 1:
        raise HopfieldError(f"{patterns} is a part for each process: start them with torchrun, or name one file")
    if on_disk or (path / MANIFEST).is_file():
        if shared:
            raise HopfieldError(
                f"{path} would be read whole by each of the {world} processes: give each a part of its own on disk, "
                "such as --patterns 'part-{rank}'"
            )
        opened = AssociativeMemory.open(path, beta=beta, separation=separation)
        return opened, Kind(opened.size, opened.dtype)
    if path.suffix == ".safetensors":
        memory = AssociativeMemory.load(path)
        kind = Kind(memory.size, memory.dtype)
    else:
        rows, kind = load_patterns(path)
        memory = AssociativeMemory(rows)

    def part(tensor: Tensor | None) -> Tensor | None:
        return tensor.tensor_split(world)[rank] if shared and tensor is not None else tensor

    own = part(memory.patterns)
    assert own is not None
    memory = AssociativeMemory(
        own,
        values=part(memory.values),
        bias=part(memory.bias),
        beta=memory.beta if beta is None else beta,
        separation=memory.separation if separation is None else separation,
    )
    # the names of the others are not known
    return memory, kind if shared or world == 1 else replace(kind, names=None)


def _rows(found: Retrieval, queries: list[str], kind: Kind, top: int) -> list[dict[str, Any]]:
    weights, indices = found.top(top)
    support, energy = found.support(), found.energy
    rows: list[dict[str, Any]] = [
        {
            "query": query,
            "top": [
                {"index": int(index), "name": kind.name(int(index)), "weight": float(weight)}
                for weight, index in zip(weights[row], indices[row], strict=True)
            ],
            "support": int(support[row]),
            "energy": float(energy[row]),
            "steps": int(found.steps[row]),
            "converged": bool(found.converged[row]),
        }
        for row, query in enumerate(queries)
    ]
    certified = {"error_bound": found.error_bound, "visited": found.visited, "energy_bound": found.energy_bound}
    for name, numbers in certified.items():
        if numbers is not None:
            for row, number in zip(rows, numbers.tolist(), strict=True):
                row[name] = number
    return rows


def _print_table(rows: list[dict[str, Any]], shape: tuple[int, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    certified = "error_bound" in rows[0]
    table = Table(
        title=f"{shape[0]} {'query' if shape[0] == 1 else 'queries'} of size {shape[1]}",
        caption="k: patterns that carry 90 % of the weight"
        + ("; error: at most this, of the last update; visited: patterns it looked at" if certified else ""),
    )
    table.add_column("query", overflow="fold")
    table.add_column("retrieved (weight)", overflow="fold")
    for column in ("k", "energy", "steps", "converged", *(("error", "visited") if certified else ())):
        table.add_column(column, justify="right")
    for row in rows:
        best = ", ".join(f"{entry['name']} ({entry['weight']:.3f})" for entry in row["top"])
        table.add_row(
            row["query"],
            best,
            str(row["support"]),
            f"{row['energy']:.4g}",
            str(row["steps"]),
            "yes" if row["converged"] else "no",
            *([f"{row['error_bound']:.1e}", f"{row['visited']:.2%}"] if certified else []),
        )
    Console().print(table)
