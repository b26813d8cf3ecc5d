"""The folder of a memory on disk: what is in it, and how that changes without ever being in between.

A manifest names the files that count: segments of patterns in order, one file of removed patterns, one index. Files are
never changed. To change the memory, new files are written and flushed, then a new manifest takes the place of the old
one in one step; files that no manifest names are left-overs, and deleted by the next writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.files import Kind
from hopfield.memory.disk.segment import STORAGES, Encoded, Extent, Segment
from hopfield.memory.index.groups import Index

MANIFEST = "memory.json"
_FORMAT, _VERSION = "hopfield.AssociativeMemory.folder", 1
_REMOVED = Kind("hopfield.AssociativeMemory.removed", 1, "list of removed patterns", "AssociativeMemory.remove")
_INDEX = Kind("hopfield.AssociativeMemory.index", 1, "index of a memory", "AssociativeMemory.build_index")
# segments up to this many bytes are joined with those that are added
_JOINED = 1 << 26


@dataclass(frozen=True)
class Manifest:
    """What a memory on disk consists of.

    Attributes:
        size: d.
        storage: how patterns are kept.
        values: v, or None.
        bias: whether each pattern has a bias.
        beta: the inverse temperature.
        separation: the separation function, as `hopfield.memory.storage` describes it.
        segments: the files of patterns.
        removed: the file that lists removed patterns, or None.
        index: the file with the index, and how many patterns from the first on it covers, or None.
        generation: counts the changes.
        unfinished: whether `build` has not come to the end of its blocks.
    """

    size: int
    storage: str
    values: int | None
    bias: bool
    beta: float
    separation: dict[str, Any]
    segments: tuple[Extent, ...] = ()
    removed: str | None = None
    index: tuple[str, int] | None = None
    generation: int = 0
    unfinished: bool = False

    @property
    def rows(self) -> int:
        """How many patterns the segments hold, removed ones too."""
        return sum(extent.rows for extent in self.segments)

    def files(self) -> set[str]:
        """All that count."""
        own = {extent.file for extent in self.segments} | {MANIFEST, "lock"}
        return own | ({self.removed} if self.removed else set()) | ({self.index[0]} if self.index else set())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a memory.

    Raises:
        HopfieldError: there is none, or it is damaged, of another kind or of a later format.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise HopfieldError(
            f"no memory at {folder}: it has no {MANIFEST}; make one with AssociativeMemory.build"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise HopfieldError(f"cannot read {path}: {error}") from error
    try:
        content = json.loads(text)
        digest = content.pop("sha256")
        kind, version = content.pop("format"), content.pop("version")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise HopfieldError(f"{path} is damaged, or not of a memory ({error!r})") from error
    if kind != _FORMAT:
        raise HopfieldError(f"{path} is not of a memory written by AssociativeMemory.build")
    if isinstance(version, int) and version > _VERSION:
        raise HopfieldError(
            f"{path} has format version {version}, this release reads up to {_VERSION}; update hopfield to read it"
        )
    if digest != _digest(content):
        raise HopfieldError(f"{path} is damaged: its contents do not have the checksum they were written with")
    content["segments"] = tuple(Extent(**extent) for extent in content["segments"])
    content["index"] = None if content["index"] is None else tuple(content["index"])
    return Manifest(**content)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content = json.loads(json.dumps(asdict(manifest)))
    whole = {"format": _FORMAT, "version": _VERSION, "sha256": _digest(content)} | content
    partial = folder / f".{MANIFEST}.partial"
    try:
        _flush(folder)  # what the manifest names lasts before it does
        with partial.open("w", encoding="utf-8") as file:
            json.dump(whole, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / MANIFEST)
        _flush(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise HopfieldError(f"cannot write the memory to {folder}: {error.strerror}") from error


def _flush(folder: Path) -> None:
    """Make names of files last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Writer:
    """Changes to a memory on disk, of which one process at a time makes some.

    Args:
        folder: of the memory.
        manifest: what it was when this process read it.
        building: whether more is to come before it is finished.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, building: bool) -> None:
        self._folder, self._manifest, self._building = folder, manifest, building

    def _name(self, kind: str) -> str:
        return f"{kind}-{self._manifest.generation + 1:08d}.safetensors"

    def added(self, new: Encoded) -> Manifest:
        """The manifest with further patterns; small segments before them are joined with them."""
        manifest = self._manifest
        segments = list(manifest.segments)
        while segments and segments[-1].rows <= 2 * new.extent.rows:
            before = open_segment(self._folder, manifest, segments[-1]).encoded()
            if before.bytes() + new.bytes() > _JOINED:
                break
            new = before.plus(new)
            segments.pop()
        extent = new.write(self._folder, self._name("patterns"))
        return self._commit(replace(manifest, segments=(*segments, extent), unfinished=self._building))

    def removed(self, places: Tensor) -> Manifest:
        """The manifest without the patterns at these rows of the segments, int64, ascending: all that are removed."""
        name = self._name("removed")
        _REMOVED.write(self._folder / name, {"places": places}, {})
        return self._commit(replace(self._manifest, removed=name, unfinished=False))

    def finished(self) -> Manifest:
        """The manifest of a memory that was built."""
        return self._commit(replace(self._manifest, unfinished=False))

    def indexed(self, index: Index, rows: int) -> Manifest:
        """The manifest with an index over the first rows of the segments."""
        name = self._name("index")
        tensors = {"order": index.order, "starts": index.starts, "centres": index.centres, "radii": index.radii}
        _INDEX.write(self._folder / name, tensors, {})
        return self._commit(replace(self._manifest, index=(name, rows)))

    def _commit(self, manifest: Manifest) -> Manifest:
        manifest = replace(manifest, generation=manifest.generation + 1)
        _write_manifest(self._folder, manifest)
        used = manifest.files()
        for path in self._folder.iterdir():
            own = path.name.startswith(("patterns-", "removed-", "index-")) or path.name.endswith(".partial")
            if own and path.name not in used:
                path.unlink(missing_ok=True)
        self._manifest = manifest
        return manifest


@contextlib.contextmanager
def writing(folder: Path, manifest: Manifest, *, building: bool = False) -> Iterator[Writer]:
    """The one writer of a memory, if the memory is still what the manifest says.

    Raises:
        HopfieldError: another process writes, or has written since; the folder cannot be written.
    """
    try:
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise HopfieldError(f"cannot write the memory at {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HopfieldError(
                f"another process (or another part of this one) is writing the memory at {folder}: wait for it"
            ) from error
        if (folder / MANIFEST).exists() and read_manifest(folder).generation != manifest.generation:
            raise HopfieldError(
                f"another process (or another part of this one) has changed the memory at {folder} since it was "
                "opened: open it again"
            )
        yield Writer(folder, manifest, building=building)


def create(folder: Path, manifest: Manifest) -> Manifest:
    """Make the folder of a memory without patterns.

    Raises:
        HopfieldError: an unknown storage; the folder cannot be made or written, or holds something else.
    """
    if manifest.storage not in STORAGES:
        raise HopfieldError(f"unknown storage {manifest.storage!r}; expected one of {', '.join(STORAGES)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [path.name for path in folder.iterdir() if path.name != "lock" and not path.name.endswith(".partial")]
    except OSError as error:
        raise HopfieldError(f"cannot make the folder {folder}: {error.strerror}") from error
    if foreign:
        raise HopfieldError(f"{folder} is not empty: it holds {foreign[0]}; name another folder for the memory")
    with writing(folder, manifest):
        _write_manifest(folder, manifest)
    return manifest


def open_segment(folder: Path, manifest: Manifest, extent: Extent) -> Segment:
    """One of a memory's segments."""
    return Segment(folder, extent, manifest.size, manifest.storage, manifest.values, bias=manifest.bias)


def read_removed(folder: Path, manifest: Manifest) -> Tensor:
    """Which rows of the segments were removed, int64, ascending."""
    if manifest.removed is None:
        return torch.zeros(0, dtype=torch.int64)
    return _REMOVED.read(folder / manifest.removed, lambda tensors, _: tensors.pop("places"))


def read_index(folder: Path, manifest: Manifest) -> Index | None:
    """The index, over the first rows of the segments."""
    if manifest.index is None:
        return None
    names = ("order", "starts", "centres", "radii")

    def make(tensors: dict[str, Tensor], _: dict[str, Any]) -> Index:
        order, starts, centres, radii = (tensors.pop(name) for name in names)
        return Index(order, starts, centres, radii)

    try:
        return _INDEX.read(folder / manifest.index[0], make)
    except HopfieldError as error:
        raise HopfieldError(f"{error}; once it is deleted the memory opens, and build_index() makes another") from error
