"""`hopfield retrieve`: your data in; patterns, energies and convergence out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopfield.cli.common import make_folder
from hopfield.errors import HopfieldError

if TYPE_CHECKING:
    from torch import Tensor

    from hopfield.core.retrieval import Retrieval


def retrieve(
    patterns: Annotated[
        Path,
        typer.Option(
            help="Stored patterns: a .npy file (N, d), a folder of images (made grey, in [-1, 1], of one size), or a "
            "saved memory."
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
    top: Annotated[int, typer.Option(help="Show this many of the heaviest patterns.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the recovered patterns: images where images came in, else .npy.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Recover stored patterns from damaged ones: your data in; patterns, energies and convergence out.

    For example:

        hopfield retrieve --patterns memories.npy --query damaged.npy --beta 4

        hopfield retrieve --patterns faces/ --query half.png --query noisy.png --out recovered/

        hopfield retrieve --patterns memory.safetensors --query damaged.npy --separation sparsemax --json
    """
    from hopfield.datasets.stored import Stored, load_mask, load_queries, load_stored
    from hopfield.memory.associative import AssociativeMemory

    if top < 1:
        raise HopfieldError(f"--top must be at least 1, got {top}")
    if patterns.suffix == ".safetensors":
        memory = AssociativeMemory.load(patterns)
        stored = Stored.of_arrays(memory.patterns)
    else:
        stored = load_stored(patterns)
        memory = AssociativeMemory(stored.patterns)
    memory = AssociativeMemory(
        memory.patterns,
        values=memory.values,
        bias=memory.bias,
        beta=memory.beta if beta is None else beta,
        separation=memory.separation if separation is None else separation,
    )
    names, states = load_queries(query, stored)
    found = memory.retrieve(states, mask=None if mask is None else load_mask(mask), steps=steps)
    weights, indices = found.top(min(top, len(memory)))
    rows = _rows(found, names, stored.names, weights, indices)
    if out is not None:
        folder = make_folder(out)
        for number, (row, state) in enumerate(zip(rows, found.state, strict=True)):
            row["file"] = str(stored.write(folder, f"{number}-{Path(row['query']).stem}", state))
    if as_json:
        typer.echo(json.dumps({"patterns": len(memory), "size": stored.patterns.shape[1], "queries": rows}, indent=2))
    else:
        _print_table(rows, tuple(states.shape))
    if not bool(found.converged.all()) and steps is None:
        typer.echo("hopfield: some queries did not converge; they still moved after 1000 updates", err=True)


def _rows(
    found: Retrieval, queries: list[str], names: list[str], weights: Tensor, indices: Tensor
) -> list[dict[str, Any]]:
    support = found.support()
    return [
        {
            "query": query,
            "top": [
                {"index": int(index), "name": names[int(index)], "weight": float(weight)}
                for weight, index in zip(weights[row], indices[row], strict=True)
            ],
            "support": int(support[row]),
            "energy": float(found.energy[row]),
            "steps": int(found.steps[row]),
            "converged": bool(found.converged[row]),
        }
        for row, query in enumerate(queries)
    ]


def _print_table(rows: list[dict[str, Any]], shape: tuple[int, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{shape[0]} {'query' if shape[0] == 1 else 'queries'} of size {shape[1]}",
        caption="k: patterns that carry 90 % of the weight",
    )
    table.add_column("query", overflow="fold")
    table.add_column("retrieved (weight)", overflow="fold")
    for column in ("k", "energy", "steps", "converged"):
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
        )
    Console().print(table)
