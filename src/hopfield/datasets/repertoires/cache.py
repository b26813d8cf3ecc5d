"""Parsed repertoires on disk, to be mapped into memory instead of parsed again.

A cache is a folder with three files: the rows and the counts of all repertoires as .npy files, whose names contain a
checksum of what they hold, and `repertoires.json`, the index. The index has the settings, the path, size and time of
change of each source, and checksums of the two other files in blocks of 16 MiB; it is written last, by renaming, so
that a cache is there as a whole or not at all. What does not agree with the index, or an index that does not agree
with the sources, counts as no cache. Opening verifies at most 512 MiB of each file: the first block, the last, and
blocks evenly spread between them; so smaller files are verified completely.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from hopfield.datasets.repertoires.parse import Parsed, Settings
from hopfield.errors import HopfieldError

VERSION = 1
"""Of the parser and of the files: a cache of another version is made anew."""
BLOCK = 1 << 24
VERIFIED = 32
"""How many blocks of a file are verified at opening, at most."""
INDEX = "repertoires.json"
_DAY = 86400.0

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Flat:
    """The sequences of several repertoires, one after the other."""

    rows: np.ndarray
    """uint8 (total, 1 + L)"""
    counts: np.ndarray
    """int32 (total,)"""
    sizes: np.ndarray
    """int64 (B,)"""
    dropped: np.ndarray
    """int64 (B,)"""


def identity(files: list[Path], settings: Settings) -> dict[str, Any]:
    """What a cache must agree with: the settings, and path, size and time of change of every source.

    Raises:
        HopfieldError: a source that cannot be looked at.
    """
    try:
        states = [file.stat() for file in files]
    except OSError as error:
        raise HopfieldError(f"cannot read the sequences: {error}") from error
    sources = [[str(file.resolve()), s.st_size, s.st_mtime_ns] for file, s in zip(files, states, strict=True)]
    return {"format": "hopfield repertoires", "version": VERSION, "settings": asdict(settings), "sources": sources}


def open_cache(folder: Path, wanted: dict[str, Any]) -> Flat | None:
    """What a cache holds, mapped into memory; None if there is none, or not the one that is wanted, or a damaged one.

    Args:
        folder: where the cache is.
        wanted: the `identity` of what it must hold.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index.pop("checksum") != _checksum(index) or any(index[key] != value for key, value in wanted.items()):
            return None
        for entry in index["files"].values():
            path = folder / entry["name"]
            blocks = _spread(len(entry["blocks"]))
            if path.stat().st_size != entry["size"] or _digests(path, blocks) != [entry["blocks"][i] for i in blocks]:
                return None
        rows, counts = (
            np.load(folder / index["files"][name]["name"], mmap_mode="c", allow_pickle=False)
            for name in ("rows", "counts")
        )
        sizes, dropped = np.array(index["sizes"], np.int64), np.array(index["dropped"], np.int64)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        return None
    return Flat(rows, counts, sizes, dropped)


def write_cache(folder: Path, wanted: dict[str, Any], parsed: Iterable[Parsed], progress: Progress) -> None:
    """Write a cache in place of whatever cache is there, holding one repertoire at a time in memory.

    Args:
        folder: where to write; it is made if need be.
        wanted: the `identity` of what is written.
        parsed: the repertoires, parsed when they are asked for.
        progress: told of every repertoire that was joined to the others.

    Raises:
        HopfieldError: the folder cannot be written to, or parsing a repertoire failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".partial-*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
            _build(folder, Path(name), wanted, parsed, progress)
    except OSError as error:
        raise HopfieldError(f"cannot write the cache {folder}: {error}; choose another folder") from error


def _build(folder: Path, partial: Path, wanted: dict[str, Any], parsed: Iterable[Parsed], progress: Progress) -> None:
    # the length of the rows is known when all are parsed: until then each repertoire has a file of its own
    shapes, dropped = [], []
    with (partial / "counts").open("wb") as file:
        for i, one in enumerate(parsed):
            np.save(partial / f"{i}.npy", one.rows, allow_pickle=False)
            file.write(one.counts.astype("<i4").tobytes())
            shapes.append(one.rows.shape)
            dropped.append(one.dropped)
    sizes = [n for n, _ in shapes]
    total, width = sum(sizes), max(width for _, width in shapes)
    with (partial / "rows.npy").open("wb") as file:
        _head(file, np.dtype(np.uint8), (total, width))
        for i, (n, _) in enumerate(shapes):
            part = partial / f"{i}.npy"
            rows = np.zeros((n, width), np.uint8)
            rows[:, : shapes[i][1]] = np.load(part, allow_pickle=False)
            file.write(rows.tobytes())
            part.unlink()
            progress("join", i + 1, len(sizes))
    with (partial / "counts.npy").open("wb") as file, (partial / "counts").open("rb") as counts:
        _head(file, np.dtype("<i4"), (total,))
        while text := counts.read(BLOCK):
            file.write(text)
    old = _files_of(folder)
    files = {}
    for name in ("rows", "counts"):
        path = partial / f"{name}.npy"
        blocks = _digests(path)
        kept = f"{name}-{_checksum(blocks)[:16]}.npy"
        files[name] = {"name": kept, "size": path.stat().st_size, "blocks": blocks}
        path.replace(folder / kept)
    index = wanted | {"files": files, "sizes": sizes, "dropped": dropped}
    (partial / INDEX).write_text(json.dumps(index | {"checksum": _checksum(index)}), encoding="utf-8")
    (partial / INDEX).replace(folder / INDEX)
    for name in old - {entry["name"] for entry in files.values()}:
        with contextlib.suppress(OSError):  # some systems do not part with a file that is mapped: it stays behind
            (folder / name).unlink()


def _head(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)


def _files_of(folder: Path) -> set[str]:
    """The names of the files of the cache that is there, if any."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = {str(entry["name"]) for entry in index["files"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    return {name for name in names if Path(name).name == name and name.startswith(("rows-", "counts-"))}


def _spread(count: int) -> list[int]:
    """The blocks to verify, of so many: all, or some evenly spread ones."""
    if count <= VERIFIED:
        return list(range(count))
    return [i * (count - 1) // (VERIFIED - 1) for i in range(VERIFIED)]


def _digests(path: Path, blocks: list[int] | None = None) -> list[str]:
    """The checksums of some blocks of a file; None: of all."""
    blocks = list(range(-(-path.stat().st_size // BLOCK))) if blocks is None else blocks
    found = []
    with path.open("rb") as file:
        for i in blocks:
            file.seek(i * BLOCK)
            found.append(blake2b(file.read(BLOCK), digest_size=16).hexdigest())
    return found


def _checksum(data: Any) -> str:
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).hexdigest()
