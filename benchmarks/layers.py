"""The layers against `nn.MultiheadAttention` and the textbook form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import textbook
from benchmarks.harness import device, extra_memory, side_by_side, table, write
from hopfield import Bags, Hopfield, HopfieldLayer, HopfieldPooling, associate

Call = Callable[[], Any]
SHAPES = ((4, 1024, 256, 8), (32, 128, 256, 8), (8, 512, 512, 8), (64, 16, 64, 4))
BAG, SIZE = 300_000, 32
BAGS, SMALLEST, LARGEST = 64, 10, 20_000
BATCH, PATTERNS, WIDTH = 256, 4096, 64


def _backward(call: Call, *tensors: Tensor) -> Call:
    """Forward and backward, in the parameters and in these tensors."""

    def run() -> None:
        call().sum().backward()
        for tensor in tensors:
            tensor.grad = None

    return run


def _attention(kind: str, shape: tuple[int, int, int, int], learn: bool) -> Call:
    batch, length, size, heads = shape
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(size, heads, batch_first=True).to(device())
    layer = Hopfield.from_attention(attention)
    normed = Hopfield(size, heads=heads).to(device())
    rows = torch.randn(batch, length, size, device=device()).requires_grad_(learn)
    calls: dict[str, Call] = {
        "nn.MultiheadAttention": lambda: attention(rows, rows, rows, need_weights=False)[0],
        "Hopfield, no norms": lambda: layer(rows),
        "Hopfield": lambda: normed(rows),
        "textbook": lambda: textbook.associate(normed, rows, rows),
    }
    for module in (attention, layer, normed):
        module.train(learn)
    if not learn:
        return torch.no_grad()(calls[kind])
    return _backward(calls[kind], rows, *attention.parameters(), *layer.parameters(), *normed.parameters())


def attention() -> tuple[dict[str, Any], list[str]]:
    """One association of a layer, forward in evaluation and forward and backward in training."""
    kinds = ("nn.MultiheadAttention", "Hopfield, no norms", "Hopfield", "textbook")
    numbers: dict[str, Any] = {}
    rows = []
    for shape in SHAPES:
        for learn in (False, True):
            seconds = side_by_side({kind: _attention(kind, shape, learn) for kind in kinds}, rounds=15)
            memory = {kind: extra_memory(_attention, kind, shape, learn) for kind in kinds}
            numbers[f"{shape}, {'training' if learn else 'evaluation'}"] = {"seconds": seconds, "extra_mib": memory}
            first = seconds[kinds[0]]
            label = "({}, {}, {}), {} heads".format(*shape)
            rows.append(
                [label, "forward and backward" if learn else "forward", f"{first * 1e3:.2f} ms"]
                + [f"{seconds[kind] / first:.2f}" for kind in kinds[1:]]
                + [" / ".join(f"{memory[kind]:.0f}" for kind in kinds)]
            )
    columns = ["shape", "what", kinds[0], *(f"{kind}: time relative to it" for kind in kinds[1:]), "extra MiB"]
    title = "One association of a layer, self-association, float32"
    return {"attention": numbers}, [table(title, columns, rows)]


def _heads(kind: str, learn: bool) -> Call:
    torch.manual_seed(0)
    query, patterns, values = (torch.randn(4, 8, 1024, 32, device=device()).requires_grad_(learn) for _ in range(3))
    calls: dict[str, Call] = {
        "attention": lambda: F.scaled_dot_product_attention(query, patterns, values),
        "associate": lambda: associate(query, patterns, values, beta=32**-0.5),
        "textbook": lambda: torch.softmax(query @ patterns.mT * 32**-0.5, -1) @ values,
    }
    return _backward(calls[kind], query, patterns, values) if learn else torch.no_grad()(calls[kind])


def heads() -> tuple[dict[str, Any], list[str]]:
    """One association of heads, without a layer around it."""
    numbers: dict[str, Any] = {}
    rows = []
    for learn in (False, True):
        kinds = ("attention", "associate", "textbook")
        seconds = side_by_side({kind: _heads(kind, learn) for kind in kinds}, rounds=15)
        memory = {kind: extra_memory(_heads, kind, learn) for kind in kinds}
        what = "forward and backward" if learn else "forward"
        numbers[what] = {"seconds": seconds, "extra_mib": memory}
        first = seconds["attention"]
        rows.append(
            [what, f"{first * 1e3:.1f} ms"]
            + [f"{seconds[kind] / first:.2f}" for kind in kinds[1:]]
            + [" / ".join(f"{memory[kind]:.0f}" for kind in kinds)]
        )
    columns = [
        "what",
        "F.scaled_dot_product_attention",
        "hopfield.associate: time relative to it",
        "textbook",
        "extra MiB",
    ]
    return {"heads": numbers}, [table("One association of heads, (4, 8, 1024, 32), float32", columns, rows)]


def _pooling(kind: str, norm: str | None, learn: bool, of_rows: bool) -> Call:
    torch.manual_seed(0)
    layer = HopfieldPooling(SIZE, norm=norm).to(device())
    rows = torch.randn(1, BAG, SIZE, device=device()).requires_grad_(learn and of_rows)
    run = partial(textbook.pool, layer) if kind == "textbook" else layer
    return _backward(lambda: run(rows), rows, *layer.parameters()) if learn else torch.no_grad()(lambda: run(rows))


def pooling() -> tuple[dict[str, Any], list[str]]:
    """One large bag, on one thread of a processor."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numbers: dict[str, Any] = {}
    rows = []
    try:
        for norm in (None, "layer"):
            for learn, of_rows in ((False, False), (True, False), (True, True)):
                what = "forward" if not learn else f"with gradients of parameters{' and instances' if of_rows else ''}"
                arguments = (norm, learn, of_rows)
                seconds = side_by_side({k: _pooling(k, *arguments) for k in ("textbook", "hopfield")}, rounds=9)
                memory = {k: extra_memory(_pooling, k, *arguments) for k in seconds}
                numbers[f"norm {norm}, {what}"] = {"seconds": seconds, "extra_mib": memory}
                rows.append(
                    [
                        "input norms" if norm else "no norms",
                        what,
                        f"{seconds['textbook'] * 1e3:.1f} ms",
                        f"{seconds['hopfield'] * 1e3:.1f} ms",
                        f"{seconds['textbook'] / seconds['hopfield']:.1f}",
                        f"{memory['textbook']:.0f} / {memory['hopfield']:.0f}",
                    ]
                )
    finally:
        torch.set_num_threads(threads)
    columns = ["", "what", "textbook", "HopfieldPooling", "times faster", "extra MiB"]
    on_one = ", one thread" if device().type == "cpu" else ""
    title = f"Pooling one bag, {BAG:,} x {SIZE}, one head of {SIZE}, float32{on_one}"
    return {"pooling": numbers}, [table(title, columns, rows)]


def _bags(kind: str, learn: bool, largest: int) -> Call:
    torch.manual_seed(0)
    layer = HopfieldPooling(SIZE).to(device())
    # sizes spread evenly over the orders of magnitude; the total stays when the largest bag grows
    sizes = torch.logspace(torch.tensor(SMALLEST).log10(), torch.tensor(LARGEST).log10(), BAGS - 1).long().tolist()
    bags = [torch.randn(n, SIZE, device=device()) for n in (*sizes, largest)]
    together = Bags.from_list(bags)

    def padded() -> Tensor:
        rows, mask = textbook.pad(bags)
        return textbook.pool(layer, rows, mask)

    run = {"padded": padded, "hopfield": lambda: layer(together)}[kind]
    return _backward(run, *layer.parameters()) if learn else torch.no_grad()(run)


def bags() -> tuple[dict[str, Any], list[str]]:
    """Bags of very different sizes."""
    numbers: dict[str, Any] = {}
    rows = []
    for largest in (LARGEST, 4 * LARGEST):
        for learn in (False, True):
            seconds = side_by_side({k: _bags(k, learn, largest) for k in ("padded", "hopfield")}, rounds=5)
            memory = {k: extra_memory(_bags, k, learn, largest) for k in seconds}
            what = "with gradients of parameters" if learn else "forward"
            numbers[f"largest {largest}, {what}"] = {"seconds": seconds, "extra_mib": memory}
            rows.append(
                [
                    f"{largest:,}",
                    what,
                    f"{seconds['padded'] * 1e3:.0f} ms",
                    f"{seconds['hopfield'] * 1e3:.1f} ms",
                    f"{seconds['padded'] / seconds['hopfield']:.0f}",
                    f"{memory['padded']:.0f} / {memory['hopfield']:.0f}",
                ]
            )
    columns = ["largest bag", "what", "textbook, padded to the longest", "Bags", "times faster", "extra MiB"]
    title = f"Pooling {BAGS} bags of {SMALLEST} to {LARGEST:,} instances (one of them growing), {SIZE} numbers each"
    return {"bags": numbers}, [table(title, columns, rows)]


def _lookup(kind: str, learn: bool) -> Call:
    torch.manual_seed(0)
    layer = HopfieldLayer(WIDTH, patterns=PATTERNS).to(device()).train(learn)
    state = torch.randn(BATCH, 1, WIDTH, device=device())

    def run() -> Tensor:
        return layer(state) if kind == "hopfield" else textbook.look_up(layer.hopfield, state, layer.patterns)

    return _backward(run, *layer.parameters()) if learn else torch.no_grad()(run)


def lookup() -> tuple[dict[str, Any], list[str]]:
    """Learned patterns looked up by a batch of single states."""
    numbers: dict[str, Any] = {}
    rows = []
    for learn in (False, True):
        seconds = side_by_side({k: _lookup(k, learn) for k in ("per sample", "hopfield")}, rounds=5)
        memory = {k: extra_memory(_lookup, k, learn) for k in seconds}
        what = "with gradients" if learn else "evaluation, projected patterns kept"
        numbers[what] = {"seconds": seconds, "extra_mib": memory}
        rows.append(
            [
                what,
                f"{seconds['per sample'] * 1e3:.0f} ms",
                f"{seconds['hopfield'] * 1e3:.1f} ms",
                f"{seconds['per sample'] / seconds['hopfield']:.0f}",
                f"{memory['per sample']:.0f} / {memory['hopfield']:.0f}",
            ]
        )
    columns = ["", "patterns projected per sample", "HopfieldLayer", "times faster", "extra MiB"]
    title = f"Lookup of {BATCH} states of {WIDTH} in {PATTERNS} patterns"
    return {"lookup": numbers}, [table(title, columns, rows)]


def main() -> None:
    """Run all of them."""
    numbers: dict[str, Any] = {}
    tables: list[str] = []
    for part in (attention, heads, pooling, bags, lookup):
        more, texts = part()
        numbers |= more
        tables += texts
    write("layers", numbers, tables)
