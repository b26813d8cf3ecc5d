"""One table of sequences, parsed block by block with operations on bytes: no Python object for each sequence.

A block is about a megabyte of whole lines. The positions of its separators give where each field begins and
ends; the letters of all sequences are then gathered at once, and so are the digits of all counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from hopfield.datasets.repertoires.sequences import ALPHABET, CODES, levels_of
from hopfield.errors import HopfieldError

BLOCK = 1 << 20
"""How many bytes are parsed at a time: what is made of them should stay in the processor's cache."""
LONGEST = 1000
"""A sequence of more letters is taken for a mistake: it would make the rows of all others as long."""
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_MOST = np.iinfo(np.int32).max


class Parsed(NamedTuple):
    """What one table holds."""

    rows: np.ndarray
    """uint8 (n, 1 + L): abundance level, then the codes of the letters"""
    counts: np.ndarray
    """int32 (n,)"""
    dropped: int
    """how many sequences were left out"""


@dataclass(frozen=True)
class Settings:
    """What to read of a table."""

    sequence_column: str
    count_column: str | None
    unknown: str
    """"drop" or "error": what to do with a sequence that is empty or has other letters than `ALPHABET`."""


@dataclass(frozen=True)
class _Layout:
    path: Path
    separator: int
    width: int
    sequence: int
    count: int | None
    drop: bool


def parse(path: Path, settings: Settings) -> Parsed:
    """The sequences and counts of a table.

    Raises:
        HopfieldError: a file that cannot be read, columns that are not there, or a line that is not as it should be;
            the message names the file and the line.
    """
    blocks: list[Parsed] = []
    try:
        with path.open("rb") as file:
            texts = _texts(file)
            head, _, rest = next(texts, b"").partition(b"\n")
            layout = _layout(path, head, settings)
            line = 2
            for text in chain([rest] if rest else [], texts):
                blocks.append(_block(text, line, layout))
                line += text.count(b"\n")
    except OSError as error:
        raise HopfieldError(f"cannot read {path}: {error}") from error
    length = max((block.rows.shape[1] for block in blocks), default=1)
    rows = np.zeros((sum(len(block.rows) for block in blocks), length), np.uint8)
    counts = np.zeros(len(rows), np.int32)
    n = 0
    for block in blocks:
        rows[n : n + len(block.rows), : block.rows.shape[1]] = block.rows
        counts[n : n + len(block.rows)] = block.counts
        n += len(block.rows)
    return Parsed(rows, counts, sum(block.dropped for block in blocks))


def _texts(file: BinaryIO) -> Iterator[bytes]:
    """The file in blocks of whole lines; what follows the last whole line of a block is carried over to the next."""
    tail: list[bytes] = []
    while text := file.read(BLOCK):
        end = text.rfind(b"\n") + 1
        if end:
            yield b"".join([*tail, text[:end]])
            tail = []
        tail.append(text[end:])
    if any(tail):
        yield b"".join([*tail, b"\n"])


def _layout(path: Path, head: bytes, settings: Settings) -> _Layout:
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    names = [name.strip().strip('"') for name in head.decode("utf-8-sig", "replace").split(separator)]
    wanted = [settings.sequence_column] + ([] if settings.count_column is None else [settings.count_column])
    for name in wanted:
        if names.count(name) != 1:
            what = "is not there" if name not in names else "is there more than once"
            hint = "; count_column=None counts every sequence once" if name == settings.count_column else ""
            raise HopfieldError(f"{path} must have the column {name!r}, which {what}; its columns are {names}{hint}")
    places = [names.index(name) for name in wanted]
    count = places[1] if len(places) == 2 else None
    return _Layout(path, ord(separator), len(names), places[0], count, settings.unknown == "drop")


def _block(block: bytes, line: int, layout: _Layout) -> Parsed:
    """What a block of whole lines holds, the first of which is line number `line` of its file."""
    text = np.frombuffer(block + bytes(LONGEST), np.uint8)
    marks = np.flatnonzero((text == _NEWLINE) | (text == layout.separator))  # where fields end
    last = np.flatnonzero(text[marks] == _NEWLINE)  # the last field of each line (lines,)
    first = np.concatenate([[0], last[:-1] + 1])
    stop = marks[last]
    begin = np.concatenate([[0], stop[:-1] + 1])
    stop = stop - ((stop > begin) & (text[stop - 1] == _RETURN))
    number = np.arange(line, line + len(last))
    blank = (first == last) & (stop == begin)
    if blank.any():
        last, first, stop, begin, number = (lines[~blank] for lines in (last, first, stop, begin, number))
    wrong = (last - first >= layout.width) | (last - first < max(layout.sequence, layout.count or 0))
    if wrong.any():
        i = int(wrong.argmax())
        raise HopfieldError(
            f"{layout.path}, line {number[i]}: expected {layout.width} columns as in the first line, "
            f"got {last[i] - first[i] + 1}; mend or remove the line"
        )

    def field(column: int) -> tuple[np.ndarray, np.ndarray]:
        place = first + column
        start = begin if column == 0 else marks[place - 1] + 1
        end = np.where(place == last, stop, marks[place])
        if _QUOTE in block:
            quoted = (end - start >= 2) & (text[start] == _QUOTE) & (text[end - 1] == _QUOTE)
            start, end = start + quoted, end - quoted
        return start, end

    start, end = field(layout.sequence)
    sizes = end - start
    longest = int(sizes.max(initial=0))
    if longest > LONGEST:
        raise HopfieldError(
            f"{layout.path}, line {number[sizes.argmax()]}: a sequence has {longest} letters, "
            f"and at most {LONGEST} are allowed; choose another sequence_column, or remove the line"
        )
    rows = np.zeros((len(sizes), 1 + longest), np.uint8)
    inside = np.arange(longest) < sizes[:, None]  # (n, L)
    if longest:
        rows[:, 1:] = CODES[np.lib.stride_tricks.sliding_window_view(text, longest)[start]]
        rows[:, 1:] *= inside
    good = (np.count_nonzero(rows, axis=1) == sizes) & (sizes > 0)
    dropped = len(good) - int(np.count_nonzero(good))
    if dropped and not layout.drop:
        i = int((~good).argmax())
        _refuse(text[start[i] : end[i]].tobytes(), f"{layout.path}, line {number[i]}")
    if layout.count is None:
        counts = np.ones(len(rows), np.int32)
    else:
        start, end = field(layout.count)
        if dropped:
            start, end, number = start[good], end[good], number[good]
        counts = _integers(text, start, end, number, layout.path)
    if dropped:
        rows, counts = rows[good, : 1 + int(sizes[good].max(initial=0))], counts[: len(rows) - dropped]
    rows[:, 0] = levels_of(counts)
    return Parsed(rows, counts, dropped)


def _refuse(sequence: bytes, where: str) -> None:
    advice = 'remove it, or leave out all such sequences with unknown="drop"'
    if not sequence:
        raise HopfieldError(f"{where}: the sequence is empty; {advice}")
    text = sequence.decode("utf-8", "replace")
    letter = next(letter for letter in text if letter.upper() not in ALPHABET)
    raise HopfieldError(f"{where}: expected letters of {ALPHABET}, got {letter!r} in {text!r}; {advice}")


def _integers(text: np.ndarray, start: np.ndarray, end: np.ndarray, number: np.ndarray, path: Path) -> np.ndarray:
    """The positive integers, int32 (n,), that are written from start to end; "6.0" is one of them."""
    given = end
    end = end - 2 * ((end - start > 2) & (text[end - 1] == ord("0")) & (text[end - 2] == ord(".")))
    sizes = end - start
    values = np.zeros(len(start), np.int64)
    good = (sizes > 0) & (sizes <= 10)
    for place in range(int(sizes[good].max(initial=0))):
        digits = text[start + np.minimum(place, sizes)] - ord("0")  # what is no digit wraps around to above 9
        written = sizes > place
        good &= ~written | (digits <= 9)
        values = np.where(written, values * 10 + digits, values)
    good &= (values >= 1) & (values <= _MOST)
    if not good.all():
        i = int((~good).argmax())
        got = text[start[i] : given[i]].tobytes().decode("utf-8", "replace")
        raise HopfieldError(
            f"{path}, line {number[i]}: expected a count, an integer from 1 to {_MOST}, got {got!r}; "
            "mend it, or remove the line"
        )
    return values.astype(np.int32)
