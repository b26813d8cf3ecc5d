"""The command line. torch, plotting and the experiments are imported by the commands that need them."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopfield.__about__ import __version__
from hopfield.errors import HopfieldError
from hopfield.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from hopfield.core.retrieval import Retrieval
    from hopfield.experiments.capacity import CapacityResult

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Modern Hopfield networks: store patterns, recover them from damaged ones, and see what happened.",
    epilog="Start with `hopfield tour`; every command has examples under --help.",
)
reproduce = typer.Typer(no_args_is_help=True, help="Run an experiment at full size and write its results.")
app.add_typer(reproduce, name="reproduce")

Images = Annotated[
    str,
    typer.Option(help="`digits` (they ship inside scikit-learn), a folder of images, or a folder with MNIST's files."),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=2**32 - 1)]


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


@app.command()
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
    _run_tour(images, out, seed, full=False)


@reproduce.command("retrieval")
def reproduce_retrieval(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/retrieval"),
    images: Images = "digits",
    seed: Seed = 0,
) -> None:
    """All retrieval experiments at full size: what `hopfield tour` shows, with more patterns and repetitions.

    For example:

        hopfield reproduce retrieval --out results/retrieval
    """
    _run_tour(images, out, seed, full=True)


Jobs = Annotated[int, typer.Option(help="Processes that work at the same time.", min=1)]
Backend = Annotated[
    str,
    typer.Option(help="Of joblib: loky (this machine), or dask or ray (a cluster that this process is a client of)."),
]


@reproduce.command("mil")
def reproduce_mil(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data sets; musk2 and ucsb need it. [default: HOPFIELD_DATA, else a cache of downloads]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/mil"),
    sets: Annotated[
        str, typer.Option(help="Which sets, separated by commas: tiger, fox, elephant, musk1, musk2, ucsb.")
    ] = "tiger,fox,elephant,musk1,musk2",
    repetitions: Annotated[int, typer.Option(help="Repetitions of the ten-fold cross-validation.", min=1)] = 5,
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Multiple-instance benchmarks: Hopfield pooling against other poolings and a kernel machine; half an hour.

    It can be stopped and started again: each method on a repetition of a set is kept in outcomes.jsonl when it is done.

    For example:

        hopfield reproduce mil --data-dir ~/data

        hopfield reproduce mil --sets tiger,musk1 --repetitions 1 --out /tmp/mil
    """
    from hopfield import plot, report
    from hopfield.experiments import mil

    folder = _folder(out)
    names = _names(sets)
    with _resumable(folder), progress_bar() as progress:
        outcomes = mil.run(
            names,
            data_dir=data_dir,
            record=folder / "outcomes.jsonl",
            repetitions=repetitions,
            jobs=jobs,
            backend=backend,
            seed=seed,
            progress=progress,
        )
    given = "" if data_dir is None else " --data-dir DATA"
    command = f"hopfield reproduce mil{given} --sets {','.join(names)} --repetitions {repetitions} --seed {seed}"
    typer.echo(mil.write(outcomes, folder, command=command))
    report.write_bytes(folder / "auc.png", plot.png(plot.scores(mil.summary(outcomes))))
    typer.echo(f"\nThe table: {folder / 'README.md'}   The figure: {folder / 'auc.png'}")


@reproduce.command("uci")
def reproduce_uci(
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the data sets, in itself or in its folder uci. [default: HOPFIELD_DATA]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/uci"),
    sets: Annotated[
        str | None, typer.Option(help="Which sets, separated by commas. [default: the 75 of fewer than 1000 rows]")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Which methods, separated by commas: HopfieldClassifier, SVM (RBF), Random forest, Gradient boosting, "
            "k-nearest neighbours, Logistic regression, Multilayer perceptron, HopfieldLayer network (paper). "
            "[default: all]"
        ),
    ] = None,
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Small tables: a classifier without tuning against tuned rivals on 75 sets of the UCI repository; an hour.

    It can be stopped and started again: each method on a set is kept in outcomes.jsonl when it is done. The report is
    about the sets and methods of this call.

    For example:

        hopfield reproduce uci --data-dir ~/data

        hopfield reproduce uci --sets iris,wine,zoo --methods "HopfieldClassifier,SVM (RBF)" --out /tmp/uci
    """
    from hopfield import plot, report
    from hopfield.experiments import uci

    folder = _folder(out)
    names = None if sets is None else _names(sets)
    chosen = _methods(methods, uci.METHODS)
    with _resumable(folder), progress_bar() as progress:
        outcomes = uci.run(
            names,
            data_dir=data_dir,
            record=folder / "outcomes.jsonl",
            methods=chosen,
            jobs=jobs,
            backend=backend,
            seed=seed,
            progress=progress,
        )
    command = "hopfield reproduce uci" + ("" if data_dir is None else " --data-dir DATA")
    command += "" if names is None else f" --sets {','.join(names)}"
    command += "" if methods is None else f' --methods "{",".join(chosen)}"'
    typer.echo(uci.write(outcomes, folder, command=f"{command} --seed {seed}"))
    found = uci.Comparison.of(outcomes)
    if len(found.methods) > 1:
        picture = plot.critical_difference(found.average_rank(), found.critical_difference())
        report.write_bytes(folder / "ranks.png", plot.png(picture))
        typer.echo(f"\nThe figure: {folder / 'ranks.png'}")
    typer.echo(f"\nThe table: {folder / 'README.md'}")


@reproduce.command("molecules")
def reproduce_molecules(
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
    from hopfield.experiments import molecules

    folder = _folder(out)
    chosen = _methods(methods, molecules.METHODS)
    names = [name.casefold() for name in _names(sets)]
    with _resumable(folder), progress_bar() as progress:
        outcomes = molecules.run(
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
    command += "" if set(names) == set(molecules.SETS) else f" --sets {','.join(names)}"
    command += "" if methods is None else f' --methods "{",".join(chosen)}"'
    typer.echo(molecules.write(outcomes, folder, command=f"{command} --seed {seed}"))
    typer.echo(f"\nThe table: {folder / 'README.md'}")


@reproduce.command("repertoires")
def reproduce_repertoires(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results/repertoires"),
    conditions: Annotated[
        str | None, typer.Option(help='What is implanted, names separated by semicolons: "1 %; 0.1 %". [default: all]')
    ] = None,
    repertoires: Annotated[int, typer.Option(help="Number of repertoires, half of them positive.", min=20)] = 200,
    sequences: Annotated[int, typer.Option(help="Sequences of each.", min=100)] = 5000,
    full: Annotated[
        bool, typer.Option("--full", help="The paper's size, 5,000 repertoires of 300,000, ours only; needs a GPU.")
    ] = False,
    cost: Annotated[
        bool, typer.Option(help="Measure time and memory of one repertoire of up to 500,000 sequences; half a minute.")
    ] = True,
    device: Annotated[str, typer.Option(help="Where the classifier computes: cpu, cuda.")] = "cpu",
    jobs: Jobs = 2,
    backend: Backend = "loky",
    seed: Seed = 0,
) -> None:
    """Immune repertoires with implanted motifs: Hopfield pooling against k-mer methods; ten minutes.

    It can be stopped and started again: each method under a condition is kept in outcomes.jsonl when it is done.

    For example:

        hopfield reproduce repertoires

        hopfield reproduce repertoires --conditions "1 %; 0.1 %" --repertoires 100 --no-cost --out /tmp/few

        hopfield reproduce repertoires --full --device cuda --conditions "0.1 %" --jobs 1
    """
    from hopfield import plot, report
    from hopfield.experiments import repertoires as experiment

    folder = _folder(out)
    given = list(experiment.CONDITIONS) if conditions is None else conditions.split(";")
    names = experiment.conditions_of([name for name in given if name.strip()])
    if full:
        repertoires, sequences = 5000, 300_000
    with _resumable(folder), progress_bar() as progress:
        outcomes = experiment.run(
            names,
            record=folder / "outcomes.jsonl",
            repertoires=repertoires,
            sequences=sequences,
            rivals=not full,
            device=device,
            jobs=jobs,
            backend=backend,
            seed=seed,
            progress=progress,
        )
        costs = experiment.measure(folder / "cost.jsonl", progress=progress) if cost else []
    chosen = "" if conditions is None else f' --conditions "{"; ".join(names)}"'
    size = f"--full --device {device}" if full else f"--repertoires {repertoires} --sequences {sequences}"
    command = f"hopfield reproduce repertoires{chosen} {size} --seed {seed}{'' if cost else ' --no-cost'}"
    typer.echo(experiment.write(outcomes, costs, folder, command=command))
    report.write_bytes(folder / "auc.png", plot.png(plot.scores(experiment.summary(outcomes))))
    curves = {f"gradient through {share:.0%}": [c for c in costs if c.share == share] for share in (0.1, 1.0)}
    points = {name: [(c.sequences, c.seconds, c.gigabytes) for c in own] for name, own in curves.items()}
    if costs:
        report.write_bytes(folder / "cost.png", plot.png(plot.cost(points)))
    shown = experiment.shown(outcomes)
    report.write_bytes(folder / "motif.png", plot.png(plot.logo(shown.letters, title=f"{shown.condition} implanted")))
    typer.echo(f"\nThe table: {folder / 'README.md'}   Figures beside it: auc.png, motif.png{', cost.png' * cost}")


def _run_tour(source: str, out: Path, seed: int, *, full: bool) -> None:
    from hopfield import report
    from hopfield.datasets.images import load_images
    from hopfield.experiments import tour as experiment

    folder = _folder(out)
    loaded = load_images(source, seed=seed)
    with progress_bar() as progress:
        done = experiment.run(loaded, seed=seed, full=full, progress=progress)
    lines = experiment.essentials(done)
    command = f"hopfield {'reproduce retrieval' if full else 'tour'} --images {source} --seed {seed}"
    _write_json(folder / "numbers.json", {"command": command, **done.numbers()})
    report.write(done, folder / "report.html", command=command)
    summary = "\n".join([f"# `{command}`", "", *(f"- {line}" for line in lines), ""])
    report.write_bytes(folder / "summary.md", summary.encode())
    for line in lines:
        typer.echo(line)
    typer.echo(f"\nThe report: {folder / 'report.html'}   Its numbers: {folder / 'numbers.json'}")


@app.command()
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
        folder = _folder(out)
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


@app.command()
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

    folder = None if out is None else _folder(out)
    with progress_bar() as progress:
        result = experiment.run(
            beta=beta, dim=dim, radius=radius, failure=failure, measured=measure, seed=seed, progress=progress
        )
    _print_capacity(result)
    if folder is not None:
        from hopfield import plot, report

        _write_json(folder / "capacity.json", result.numbers())
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


def _names(text: str) -> list[str]:
    """What commas part."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _methods(text: str | None, known: Sequence[str]) -> list[str]:
    """The known methods that commas part, in whatever case; without a text all of them."""
    names = {name.casefold(): name for name in known}
    return list(known) if text is None else [names.get(name.casefold(), name) for name in _names(text)]


def _folder(path: Path) -> Path:
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
def _resumable(folder: Path) -> Iterator[None]:
    """Say what an interrupt leaves of an experiment."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. {folder / 'outcomes.jsonl'} has what was done; the same command goes on.", err=True)
        raise


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from hopfield import report

    report.write_bytes(path, (json.dumps(content) + "\n").encode())


def main() -> None:
    """Run the command line: errors of use and of data are one line and exit code 2."""
    try:
        app()
    except HopfieldError as error:
        typer.echo(f"hopfield: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
