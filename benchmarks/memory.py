"""Retrieval from many patterns: exact, certified by an index, from disk, over processes; against attention and faiss.

`python -m benchmarks memory`, or some: `python -m benchmarks.memory headline growth beta images tolerance disk
processes`. The images are MNIST's, from the folder that HOPFIELD_MNIST names.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import RESULTS, device, side_by_side, table, write
from hopfield import AssociativeMemory
from hopfield.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, QUERIES, CLUSTERS = 64, 256, 1000
TOLERANCE = 1e-4
# patterns of norm 1: support(0.9) of the clustered ones is under 100 from here on
SHARP = 150.0
CHECKED = 32
DISK_PATTERNS, DISK_QUERIES = 10_000_000, 64


# ----------------------------------------------------------------------------------------------------------------- data


def clustered(count: int, seed: int = 0, *, start: int = 0) -> Tensor:
    """Patterns of norm 1 in clusters: Gaussian of standard deviation 0.3 / √d about centres uniform on the sphere."""
    generator = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(CLUSTERS, SIZE, generator=generator), dim=-1)
    generator.manual_seed(seed + 1 + start)
    spread = 0.3 * SIZE**-0.5 * torch.randn(count, SIZE, generator=generator)
    return F.normalize(centres[torch.randint(CLUSTERS, (count,), generator=generator)] + spread, dim=-1)


def uniform(count: int, seed: int = 0) -> Tensor:
    """Patterns uniform on the sphere: the worst case for an index."""
    return F.normalize(torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed)), dim=-1)


def near(patterns: Tensor, count: int = QUERIES) -> Tensor:
    """Queries near some of the patterns, at a distance of about 0.1."""
    generator = torch.Generator().manual_seed(99)
    chosen = patterns[torch.randint(len(patterns), (count,), generator=generator)]
    noise = 0.1 * patterns.shape[1] ** -0.5 * torch.randn(chosen.shape, generator=generator)
    return F.normalize(chosen + noise, dim=-1)


def anywhere(patterns: Tensor, count: int = QUERIES) -> Tensor:
    """Queries uniform on the sphere."""
    return F.normalize(torch.randn(count, patterns.shape[1], generator=torch.Generator().manual_seed(98)), dim=-1)


def exact(query: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """The association in double precision, a block of patterns at a time."""
    states = beta * query.double()
    level = torch.full((len(query), 1), -math.inf, dtype=torch.float64)
    mean = torch.zeros(len(query), patterns.shape[1], dtype=torch.float64)
    for block in patterns.split(1 << 16):
        rows = block.double()
        scores = states @ rows.mT
        risen = torch.logaddexp(level, scores.logsumexp(-1, keepdim=True))
        mean = mean * torch.exp(level - risen) + torch.exp(scores - risen) @ rows
        level = risen
    return mean


def error(found: Tensor, wanted: Tensor) -> float:
    """The largest distance from the exact answer, of the first queries."""
    return float((found[: len(wanted)].double() - wanted).norm(dim=-1).max())


# --------------------------------------------------------------------------------------------------------------- rivals


def attention(query: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """All patterns, by PyTorch's fused attention."""
    return F.scaled_dot_product_attention(query[None, None], patterns[None, None], patterns[None, None], scale=beta)[
        0, 0
    ]


def top_k(index: Any, k: int, query: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """The softmax over the k patterns that faiss finds."""
    scores, which = index.search(query.numpy(), k)
    there = torch.from_numpy(which)
    weights = torch.softmax(beta * torch.from_numpy(scores).masked_fill(there < 0, -math.inf), -1)
    return torch.bmm(weights.unsqueeze(1), patterns[there.clamp(min=0)]).squeeze(1)


def flat_index(patterns: Tensor) -> Any:
    """Every pattern, compared one by one."""
    index = faiss.IndexFlatIP(patterns.shape[1])
    index.add(patterns.numpy())
    return index


def inverted_index(patterns: Tensor) -> Any:
    """Inverted lists: groups of which some are looked at."""
    lists = max(16, int(4 * len(patterns) ** 0.5))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(patterns.shape[1]), patterns.shape[1], lists, faiss.METRIC_INNER_PRODUCT
    )
    index.train(patterns[: 64 * lists].numpy())
    index.add(patterns.numpy())
    return index


def graph_index(patterns: Tensor) -> Any:
    """A graph of near patterns."""
    index = faiss.IndexHNSWFlat(patterns.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.add(patterns.numpy())
    return index


def _effort(index: Any, effort: int) -> None:
    if hasattr(index, "nprobe"):
        index.nprobe = effort
    elif hasattr(index, "hnsw"):
        index.hnsw.efSearch = effort


_RIVALS: dict[str, tuple[Callable[[Tensor], Any], int]] = {  # with the most patterns that are indexed within minutes
    "faiss flat": (flat_index, 1_000_000),
    "faiss IVF": (inverted_index, 1_000_000),
    "faiss HNSW": (graph_index, 100_000),
}


def as_exact(index: Any, query: Tensor, patterns: Tensor, beta: float, wanted: Tensor) -> dict[str, Any]:
    """The cheapest setting of a faiss index whose error, on the queries that are checked, is within the tolerance."""
    efforts = (1,) if isinstance(index, faiss.IndexFlat) else (1, 4, 16, 64, 256, 1024)
    best: dict[str, Any] = {"error": math.inf}
    for k in (16, 64, 256, 1024, 4096):
        for effort in efforts:
            if k > len(patterns) or effort > len(patterns) or (hasattr(index, "hnsw") and effort < k):
                continue
            _effort(index, effort)
            missed = error(top_k(index, k, query[: len(wanted)], patterns, beta), wanted)
            if missed < best["error"]:
                best = {"k": k, "effort": effort, "error": missed}
            if missed <= TOLERANCE:
                return best
    return best


# ---------------------------------------------------------------------------------------------------------------- parts


def _indexed(patterns: Tensor, beta: float) -> tuple[AssociativeMemory, float]:
    memory = AssociativeMemory(patterns, beta=beta)
    start = time.perf_counter()
    memory.build_index()
    return memory, time.perf_counter() - start


def headline() -> tuple[dict[str, Any], list[str]]:
    """1,000,000 x 64 patterns in clusters and uniform, 256 queries."""
    numbers: dict[str, Any] = {}
    rows = []
    last = None
    settings = ((clustered, near), (uniform, near), (uniform, anywhere))
    for make, asked in settings:
        if make is not last:
            patterns = make(1_000_000)
            memory, build = _indexed(patterns, SHARP)
            last = make
        query = asked(patterns)
        name = f"{make.__name__}, queries {'near some' if asked is near else 'anywhere'}"
        for beta in (10.0, 20.0, 25.0, 30.0, 40.0, 60.0, 100.0, SHARP, 300.0):
            memory.beta = beta
            calls: dict[str, Callable[[], Any]] = {
                "attention": partial(attention, query, patterns, beta),
                "exact": partial(memory.retrieve, query, steps=1),
                "certified": partial(memory.retrieve, query, steps=1, tolerance=TOLERANCE),
            }
            with torch.no_grad():
                seconds = side_by_side(calls, rounds=7)
                found = memory.retrieve(query, steps=1, tolerance=TOLERANCE)
            missed = error(found.state, exact(query[:CHECKED], patterns, beta))
            assert found.error_bound is not None
            assert found.visited is not None
            own = {
                "seconds": seconds,
                "support": float(found.support(0.9).double().mean()),
                "error": missed,
                "bound": float(found.error_bound.max()),
                "visited": float(found.visited.mean()),
                "build": build,
            }
            numbers[f"{name} {beta:g}"] = own
            rows.append(
                [
                    name,
                    f"{beta:g}",
                    f"{own['support']:.1f}",
                    *(f"{seconds[call] * 1e3:.0f} ms" for call in calls),
                    f"{seconds['exact'] / seconds['certified']:.2f}",
                    f"{own['visited']:.2%}",
                    f"{missed:.1e}",
                    f"{own['bound']:.1e}",
                ]
            )
    title = (
        f"One update, {QUERIES} queries in 1,000,000 x {SIZE} of norm 1, tolerance {TOLERANCE:g} (index: {build:.0f} s)"
    )
    columns = [
        "patterns",
        "β",
        "support(0.9)",
        "attention",
        "exact",
        "certified",
        "exact / certified",
        "visited",
        "error",
    ]
    return {"headline": numbers}, [table(title, [*columns, "promised"], rows)]


class _Rivals:
    """All ways to retrieve from some patterns."""

    def __init__(self, patterns: Tensor) -> None:
        self.patterns = patterns
        self.memory, build = _indexed(patterns, 1.0)
        self.built = {"certified": build}
        self.indices = {}
        for name, (make, most) in _RIVALS.items():
            if len(patterns) <= most:
                start = time.perf_counter()
                self.indices[name] = make(patterns)
                self.built[name] = time.perf_counter() - start

    def measured(self, query: Tensor, beta: float) -> dict[str, dict[str, Any]]:
        """Seconds, errors and memory of each, at the same error where that can be had."""
        patterns, memory = self.patterns, self.memory
        memory.beta = beta
        wanted = exact(query[:CHECKED], patterns, beta)
        calls: dict[str, Callable[[], Tensor]] = {
            "attention": partial(attention, query, patterns, beta),
            "exact": lambda: memory.retrieve(query, steps=1).state,
            "certified": lambda: memory.retrieve(query, steps=1, tolerance=TOLERANCE).state,
        }
        about: dict[str, dict[str, Any]] = {}
        for name, index in self.indices.items():
            best = about[name] = as_exact(index, query, patterns, beta, wanted)
            _effort(index, best["effort"])
            calls[name] = partial(top_k, index, best["k"], query, patterns, beta)
        with torch.no_grad():
            seconds = side_by_side(calls, rounds=3)
            for name, call in calls.items():
                own = {"seconds": seconds[name], "error": error(call(), wanted), "memory": _risen(call)}
                about[name] = about.get(name, {}) | own
            found = memory.retrieve(query, steps=1, tolerance=TOLERANCE)
        assert found.error_bound is not None
        assert found.visited is not None
        about["certified"] |= {"bound": float(found.error_bound.max()), "visited": float(found.visited.mean())}
        for name, build in self.built.items():
            about[name]["build"] = build
        return {name: about[name] for name in calls}


def _risen(call: Callable[[], Any]) -> float:
    """MiB by which a call raises the memory of this process, about."""
    _forget_peak()
    before = _status("VmRSS")
    call()
    return max(0.0, _status("VmHWM") - before)


def _compared(title: str, first: str, numbers: dict[str, dict[str, dict[str, Any]]]) -> str:
    names = list(dict.fromkeys(name for own in numbers.values() for name in own))
    rows = []
    for setting, own in numbers.items():
        cells = [
            f"{own[name]['seconds'] * 1e3:.1f} ms, {own[name]['error']:.0e}, {own[name]['memory']:.0f} MiB"
            if name in own
            else ""
            for name in names
        ]
        about = own["certified"]
        rows.append([setting, *cells, f"{about['bound']:.0e}", f"{about['visited']:.2%}"])
    heading = f"{title}: median time, largest error measured, memory on top of the patterns and the index"
    return table(heading, [first, *names, "certified: promised", "visited"], rows)


def growth() -> tuple[dict[str, Any], list[str]]:
    """Time against the number of patterns, clustered and uniform."""
    numbers: dict[str, Any] = {}
    tables = []
    for name, make in (("clustered", clustered), ("uniform", uniform)):
        found = {}
        for count in (10_000, 100_000, 1_000_000, 10_000_000):
            patterns = make(count)
            found[f"{count:,}"] = _Rivals(patterns).measured(near(patterns), SHARP)
        numbers[name] = found
        tables.append(_compared(f"By number of patterns, {name}, β = {SHARP:g}", "patterns", found))
    return {"growth": numbers}, tables


def betas() -> tuple[dict[str, Any], list[str]]:
    """Time against the inverse temperature."""
    patterns = clustered(100_000)
    rivals = _Rivals(patterns)
    sharp = (1.0, 10.0, 30.0, 60.0, 100.0, 150.0, 300.0)
    numbers = {f"{beta:g}": rivals.measured(near(patterns), beta) for beta in sharp}
    return {"beta": numbers}, [_compared("By β, 100,000 clustered patterns", "β", numbers)]


def images() -> tuple[dict[str, Any], list[str]]:
    """The 60,000 training images of MNIST, of norm 1, asked for by 256 of the others."""
    folder = os.environ.get("HOPFIELD_MNIST")
    if folder is None:
        return {}, ["HOPFIELD_MNIST names no folder with MNIST's files: no images were measured."]
    from hopfield.datasets import load_images

    every = F.normalize(load_images(folder).images.flatten(1).add(1), dim=-1)
    patterns, query = every[:60_000].contiguous(), every[60_000 : 60_000 + QUERIES].contiguous()
    rivals = _Rivals(patterns)
    numbers = {f"{beta:g}": rivals.measured(query, beta) for beta in (10.0, 100.0, 300.0, 1000.0, 3000.0)}
    return {"images": numbers}, [_compared("By β, 60,000 images of MNIST of size 784 and norm 1", "β", numbers)]


def tolerances() -> tuple[dict[str, Any], list[str]]:
    """Time against the tolerance."""
    patterns = clustered(1_000_000)
    memory, _ = _indexed(patterns, SHARP)
    query = near(patterns)
    numbers: dict[str, Any] = {}
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        call = partial(memory.retrieve, query, steps=1, tolerance=tolerance)
        found = call()
        assert found.error_bound is not None
        missed = error(found.state, exact(query[:CHECKED], patterns, SHARP))
        numbers[f"{tolerance:g}"] = {
            "seconds": side_by_side({"certified": call}, rounds=5)["certified"],
            "error": missed,
            "bound": float(found.error_bound.max()),
        }
    rows = [
        [name, f"{own['seconds'] * 1e3:.0f} ms", f"{own['error']:.1e}", f"{own['bound']:.1e}"]
        for name, own in numbers.items()
    ]
    title = f"By tolerance, 1,000,000 clustered patterns, β = {SHARP:g}"
    return {"tolerance": numbers}, [table(title, ["tolerance", "median", "error", "promised"], rows)]


# ------------------------------------------------------------------------------------------------- disk and processes


def _status(field: str) -> float:
    """MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _drop_caches() -> bool:
    """Have the system forget what it read; whether it did."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1", encoding="ascii")
    except OSError:
        return False
    return True


def _read_alone(folder: Path) -> float:
    """Seconds to read all files."""
    start = time.perf_counter()
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 22):
                pass
    return time.perf_counter() - start


def _disk_once(folder: str, storage: str) -> None:
    """In a process of its own: build, then retrieve cold and warm; prints JSON."""
    path = Path(folder) / storage

    def blocks(rows: int = 200_000) -> Iterator[Tensor]:
        return (clustered(rows, start=start) for start in range(0, DISK_PATTERNS, rows))

    start = time.perf_counter()
    AssociativeMemory.build(path, blocks(), storage=storage, beta=10.0)
    build = time.perf_counter() - start
    memory = AssociativeMemory.open(path)
    query = near(next(blocks()), DISK_QUERIES)
    before = _status("RssAnon")
    result: dict[str, Any] = {"build": build, "bytes": sum(file.stat().st_size for file in path.iterdir())}
    peak = 0.0
    for name in ("cold", "warm", "warm again"):
        dropped = name != "cold" or _drop_caches()
        _forget_peak()
        start = time.perf_counter()
        found = memory.retrieve(query, steps=1)
        result[name] = time.perf_counter() - start if dropped else None
        peak = max(peak, _status("VmHWM"))
    assert found.error_bound is not None
    result |= {"peak": peak, "anonymous": _status("RssAnon"), "before": before, "bound": float(found.error_bound.max())}
    result["read alone"] = _read_alone(path) if _drop_caches() else None
    print(json.dumps(result))


def disk() -> tuple[dict[str, Any], list[str]]:
    """10,000,000 x 64 patterns on disk, 64 queries."""
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for storage in ("int8", "bfloat16", "float32"):
            command = [
                sys.executable,
                "-c",
                f"from benchmarks.memory import _disk_once; _disk_once({folder!r}, {storage!r})",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            numbers[storage] = json.loads(done.stdout.splitlines()[-1])
            shutil.rmtree(Path(folder) / storage)

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.1f} s"

    rows = [
        [
            storage,
            f"{own['bytes'] / 1e9:.2f} GB",
            seconds(own["build"]),
            *(seconds(own[name]) for name in ("cold", "warm again", "read alone")),
            f"{own['peak']:.0f} MiB",
            f"{own['bound']:.2g}",
        ]
        for storage, own in numbers.items()
    ]
    title = f"One update, {DISK_QUERIES} queries in {DISK_PATTERNS:,} x {SIZE} on disk, β = 10"
    columns = [
        "storage",
        "files",
        "built in",
        "cold",
        "cached",
        "the disk alone, cold",
        "peak of the whole process",
        "promised",
    ]
    return {"disk": numbers}, [table(title, columns, rows)]


def _process_once() -> None:
    """In each of some processes: time retrievals of a part; the first prints JSON."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    patterns = clustered(1_000_000)
    query = near(patterns)
    memory = AssociativeMemory.sharded(patterns.tensor_split(world)[rank], beta=SHARP)
    result = {}
    for name, tolerance in (("exact", None), ("certified", TOLERANCE)):
        if tolerance is not None:
            memory.build_index()
        result[name] = side_by_side({name: partial(memory.retrieve, query, steps=1, tolerance=tolerance)}, rounds=5)[
            name
        ]
    if rank == 0:
        print(json.dumps(result))
    dist.destroy_process_group()


def processes() -> tuple[dict[str, Any], list[str]]:
    """1,000,000 x 64 patterns over one and two processes of one thread each."""
    numbers = {}
    for world in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={world}", "--master-port=29555"]
        done = subprocess.run(
            [*command, "-m", "benchmarks.memory", "--process"], capture_output=True, text=True, check=True
        )
        numbers[str(world)] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    rows = [[name, *(f"{value * 1e3:.0f} ms" for value in own.values())] for name, own in numbers.items()]
    title = (
        f"Over processes of one thread each (gloo), {QUERIES} queries in 1,000,000 x {SIZE} clustered, β = {SHARP:g}"
    )
    return {"processes": numbers}, [table(title, ["processes", "exact", "certified"], rows)]


# ------------------------------------------------------------------------------------------------------------- pictures

_LOOKS = {
    "attention": (style.GREY, "s"),
    "exact": (style.BLACK, "o"),
    "certified": (style.VERMILION, "D"),
    "faiss flat": (style.SKY, "^"),
    "faiss IVF": (style.BLUE, "v"),
    "faiss HNSW": (style.GREEN, "x"),
}


def picture(numbers: dict[str, Any]) -> Figure:
    """Time against the number of patterns, β and the tolerance; hollow where an error is larger than the tolerance."""
    figure, axes = style.panels(9.6, 4)
    growing, spread, sharp, exact_ = axes[:, 0]
    _lines(growing, numbers["growth"]["clustered"], f"patterns, clustered, β = {SHARP:g}")
    _lines(spread, numbers["growth"]["uniform"], f"patterns, uniform, β = {SHARP:g}")
    _lines(sharp, numbers["beta"], "β, 100,000 clustered patterns")
    single = {tolerance: {"certified": own} for tolerance, own in numbers["tolerance"].items()}
    _lines(exact_, single, f"tolerance, 1,000,000 clustered patterns, β = {SHARP:g}")
    exact_.set_ylim(1e-2, 1)
    style.legend(figure, growing, 3)
    return figure


def _lines(axis: Axes, numbers: dict[str, dict[str, dict[str, Any]]], about: str) -> None:
    for name, (colour, marker) in _LOOKS.items():
        at = {float(x.replace(",", "")): own[name] for x, own in numbers.items() if name in own}
        if not at:
            continue
        axis.plot(list(at), [own["seconds"] for own in at.values()], color=colour, linewidth=1)
        for kept in (True, False):
            some = {x: own["seconds"] for x, own in at.items() if (own["error"] <= TOLERANCE) == kept}
            axis.plot(
                list(some),
                list(some.values()),
                color=colour,
                marker=marker,
                markerfacecolor=colour if kept else "white",
                markersize=4,
                linestyle="none",
                label=name if kept else None,
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    style.label(axis, about, f"seconds, {QUERIES} queries")


PARTS = {
    "headline": headline,
    "growth": growth,
    "beta": betas,
    "images": images,
    "tolerance": tolerances,
    "disk": disk,
    "processes": processes,
}


def main(names: list[str] | None = None) -> None:
    """Measure all of it, or some parts, and write benchmarks/results."""
    path = RESULTS / f"memory-{device().type}.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if names and path.exists() else {}
    tables: dict[str, list[str]] = kept.get("tables", {})
    numbers = {key: value for key, value in kept.items() if key not in ("machine", "tables")}
    for name in names or PARTS:
        some, tables[name] = PARTS[name]()
        numbers |= some
        # each part takes minutes: what is done is kept
        ordered = [text for part in PARTS if part in tables for text in tables[part]]
        write("memory", numbers | {"tables": tables}, ordered, command="make bench-memory")
    if {"growth", "beta", "tolerance"} <= set(numbers):
        pictured = path.with_suffix(".png")
        pictured.write_bytes(style.png(picture(numbers)))
        print(f"and {pictured}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--process"]:
        _process_once()
    else:
        main(sys.argv[1:] or None)
