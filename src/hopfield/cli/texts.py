"""Texts, as models of transformers read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.progress import Progress

# letters of text that become tokens at once
_BLOCK = 1_000_000


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        HopfieldError: no file, not UTF-8, nothing in it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise HopfieldError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HopfieldError(
            f"{path} is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); save it as UTF-8"
        ) from error
    if not text.strip():
        raise HopfieldError(f"{path} is empty; give a file with text")
    return text


def sequences_of(
    texts: Sequence[str], tokenizer: Any, *, length: int, number: int, progress: Progress | None = None
) -> Tensor:
    """Sequences of equal length, spread evenly over texts, with the special tokens that the tokenizer adds to each.

    Args:
        texts: which are cut into pieces one after the other, from the beginning; what is left at the end is dropped.
        tokenizer: of transformers.
        length: tokens of a sequence, special ones included.
        number: how many sequences; fewer if the texts make no more.
        progress: told of letters.

    Returns:
        int64 (at most number, length).

    Raises:
        HopfieldError: texts too short for one sequence, or a length without room for text.
    """
    before, behind = _frame(tokenizer)
    room = length - len(before) - len(behind)
    if room < 1:
        raise HopfieldError(f"--length must be above the {length - room} tokens that the tokenizer adds, got {length}")
    pieces: list[list[int]] = []
    total, done, most = sum(map(len, texts)), 0, 0
    for text in texts:
        tokens: list[int] = []
        for block in _blocks(text):
            tokens += tokenizer(block, add_special_tokens=False, verbose=False)["input_ids"]
            done += len(block)
            if progress is not None:
                progress("making tokens", done, total)
        most = max(most, len(tokens))
        pieces += [tokens[i : i + room] for i in range(0, len(tokens) - room + 1, room)]
    if not pieces:
        raise HopfieldError(
            f"the text is too short: it has {most} tokens, and a sequence of --length {length} takes {room}; give more "
            "text, or a smaller --length"
        )
    number = min(number, len(pieces))
    chosen = [pieces[i * len(pieces) // number] for i in range(number)]
    return torch.tensor([[*before, *piece, *behind] for piece in chosen])


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and behind a text."""
    own = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(own) + 1):
        if whole[start : start + len(own)] == own:
            return whole[:start], whole[start + len(own) :]
    return [], []


def _blocks(text: str) -> Iterator[str]:
    """A text in parts of whole lines."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + _BLOCK) + 1
        if start + _BLOCK >= len(text) or not end:
            end = min(start + _BLOCK, len(text))
        yield text[start:end]
        start = end
