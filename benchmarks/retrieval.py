"""Retrieval from a large memory, and the retrieval loop, against `F.scaled_dot_product_attention`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import hopfield
from benchmarks.harness import device, extra_memory, side_by_side, table, write
from hopfield import retrieve  # imported here, not on first use inside a measurement

PATTERNS, SIZE, QUERIES = 1_000_000, 64, 256
BATCH, STATES, HEADS, HEAD = 4, 1024, 8, 32
SEPARATIONS = ("softmax", "softmax1", "sparsemax", "entmax", "normmax", "top1")


def _memory(patterns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    stored = torch.randn(patterns, SIZE, generator=generator).to(device())
    return stored, torch.randn(QUERIES, SIZE, generator=generator).to(device())


def _attention(query: Tensor, stored: Tensor, beta: float) -> Tensor:
    query, stored = query[None, None], stored[None, None]
    return F.scaled_dot_product_attention(query, stored, stored, scale=beta)


def _large_ours(patterns: int) -> Callable[[], Any]:
    stored, query = _memory(patterns)
    memory = hopfield.AssociativeMemory(stored, beta=0.125)
    return lambda: memory.retrieve(query, steps=1)


def _large_attention(patterns: int) -> Callable[[], Any]:
    stored, query = _memory(patterns)
    return lambda: _attention(query, stored, 0.125)


def large_memory() -> tuple[dict[str, Any], list[str]]:
    """256 queries in 1,000,000 x 64 patterns."""
    stored, query = _memory(PATTERNS)
    square = torch.randn(4096, 4096, device=stored.device)
    mild, sharp = (hopfield.AssociativeMemory(stored, beta=beta) for beta in (0.125, 4.0))
    with torch.no_grad():
        seconds = side_by_side(
            {
                "matmul 4096": lambda: square @ square,
                "attention": lambda: _attention(query, stored, 0.125),
                "hopfield": lambda: mild.retrieve(query, steps=1),
                "hopfield, beta 4": lambda: sharp.retrieve(query, steps=1),
            }
        )
        ours = mild.retrieve(query, steps=1).state
        difference = float((ours - _attention(query, stored, 0.125).reshape(ours.shape)).abs().max())
    flops = 4 * PATTERNS * SIZE * QUERIES
    rate = 2 * 4096**3 / seconds["matmul 4096"] / 1e9
    memory = {
        "attention": extra_memory(_large_attention, PATTERNS),
        "hopfield": extra_memory(_large_ours, PATTERNS),
    }
    rows = []
    for name in ("attention", "hopfield", "hopfield, beta 4"):
        own = flops / seconds[name] / 1e9
        extra = f"{memory[name]:.0f} MiB" if name in memory else ""
        rows.append(
            [
                name,
                f"{seconds[name] * 1e3:.0f} ms",
                f"{seconds['attention'] / seconds[name]:.2f}",
                f"{own:.0f}",
                f"{own / rate:.2f}",
                extra,
            ]
        )
    title = f"One retrieval, {QUERIES} queries in {PATTERNS:,} x {SIZE}, float32, `torch.mm` at {rate:.0f} GFLOP/s"
    columns = ["", "median", "times attention", "GFLOP/s", "of torch.mm", "extra memory"]
    numbers = {"seconds": seconds, "matmul_gflops": rate, "extra_mib": memory, "largest difference": difference}
    return {"large_memory": numbers}, [table(title, columns, rows)]


def separations() -> tuple[dict[str, Any], list[str]]:
    """The same retrieval for every separation function, without the score matrix."""
    stored, query = _memory(PATTERNS)
    memories = {
        name: hopfield.AssociativeMemory(stored, beta=0.125, separation=name)  # one memory of patterns, several views
        for name in SEPARATIONS
    }
    with torch.no_grad():
        calls = {name: (lambda m=memory: m.retrieve(query, steps=1)) for name, memory in memories.items()}
        seconds = side_by_side(calls, rounds=3)
    rows = [[name, f"{value * 1e3:.0f} ms", f"{value / seconds['softmax']:.1f}"] for name, value in seconds.items()]
    title = f"The same by separation function ({QUERIES} queries, {PATTERNS:,} x {SIZE})"
    return {"separations": seconds}, [table(title, ["", "median", "times softmax"], rows)]


def _states(learn: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, HEADS, STATES, HEAD)
    query, stored = (torch.randn(*shape, generator=generator).to(device()) for _ in range(2))
    return query.requires_grad_(learn), stored.requires_grad_(learn)


def _chained(query: Tensor, stored: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        query = F.scaled_dot_product_attention(query, stored, stored)
    return query


def _loop(query: Tensor, stored: Tensor, steps: int) -> Tensor:
    return retrieve(query, stored, beta=HEAD**-0.5, steps=steps).state


def _backward(kind: str, steps: int) -> Callable[[], Any]:
    query, stored = _states(learn=True)
    run = _chained if kind == "chained attention" else _loop
    return lambda: run(query, stored, steps).sum().backward()


def loop() -> tuple[dict[str, Any], list[str]]:
    """Six updates of (batch 4, 1024 states, 8 heads of 32) against six chained calls of fused attention."""
    query, stored = _states(learn=False)
    with torch.no_grad():
        seconds = side_by_side(
            {
                "chained attention": lambda: _chained(query, stored, 6),
                "hopfield.retrieve": lambda: _loop(query, stored, 6),
            }
        )
    rows = [[name, f"{value * 1e3:.0f} ms"] for name, value in seconds.items()]
    ratio = seconds["hopfield.retrieve"] / seconds["chained attention"]
    rows.append(["ratio", f"{ratio:.2f}"])
    forward = table(f"6 updates forward, ({BATCH}, {HEADS} heads, {STATES}, {HEAD})", ["", "median"], rows)

    steps = (1, 2, 6, 12, 24)
    names = ("chained attention", "hopfield.retrieve")
    memory = {name: {n: extra_memory(_backward, name, n) for n in steps} for name in names}
    times = {name: {n: side_by_side({name: _backward(name, n)}, rounds=3)[name] for n in (6, 24)} for name in names}
    rows = [[name, *(f"{memory[name][n]:.0f} MiB" for n in steps)] for name in names]
    growth = table("Peak memory forward and backward, by number of updates", ["", *map(str, steps)], rows)
    rows = [[name, *(f"{value:.2f} s" for value in times[name].values())] for name in names]
    backward = table("Seconds forward and backward", ["", "6 updates", "24 updates"], rows)
    numbers = {"forward": seconds, "ratio": ratio, "backward_mib": memory, "backward_seconds": times}
    return {"loop": numbers}, [forward, growth, backward]


def main() -> None:
    """Measure all of it and write benchmarks/results."""
    numbers: dict[str, Any] = {}
    tables: list[str] = []
    for part in (large_memory, separations, loop):
        some, texts = part()
        numbers |= some
        tables += texts
    write("retrieval", numbers, tables)
