"""An associative memory whose patterns stay on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from hopfield.core.separation import Separation, Streamable, resolve
from hopfield.errors import HopfieldError
from hopfield.memory import storage as descriptions
from hopfield.memory.associative import AssociativeMemory
from hopfield.memory.checks import check_kept, check_scalar
from hopfield.memory.disk.folder import (
    Manifest,
    Writer,
    open_segment,
    read_index,
    read_manifest,
    read_removed,
    writing,
)
from hopfield.memory.disk.rows import DiskRows
from hopfield.memory.disk.segment import Encoded
from hopfield.memory.index.groups import GROUP, Index
from hopfield.memory.stored import Stored
from hopfield.progress import Progress

MEMORY_LIMIT = 1 << 28
"""Bytes of the files that a process holds in its memory at once, by default."""


class DiskMemory(AssociativeMemory):
    """An associative memory in a folder; `AssociativeMemory.open` opens it, `AssociativeMemory.build` makes it.

    Patterns are read as they are needed, so that memory does not grow with their number. Every retrieval is certified:
    `Retrieval.error_bound` counts in what rounding the patterns for the disk has changed.
    """

    _bounded = True

    def __init__(
        self,
        folder: Path,
        *,
        beta: float | Tensor | None = None,
        separation: str | Separation | None = None,
        memory_limit: int = MEMORY_LIMIT,
    ) -> None:
        self.folder = folder
        if not isinstance(memory_limit, int) or isinstance(memory_limit, bool) or memory_limit < 1:
            raise HopfieldError(f"memory_limit must be a number of bytes, 1 or more, got {memory_limit!r}")
        self._limit = memory_limit
        self._read()
        self.beta = self._manifest.beta if beta is None else check_scalar(beta)
        self.separation = (
            descriptions.separation_of(self._manifest.separation) if separation is None else resolve(separation)
        )
        if not isinstance(self.separation, Streamable):
            raise HopfieldError(
                f"a memory on disk is passed over in blocks, which the separation function "
                f"{type(self.separation).__name__} cannot do: take one of hopfield.separation"
            )

    def _read(self) -> None:
        """Open the files that the manifest names, which another process may be replacing."""
        for attempt in range(3):
            manifest = read_manifest(self.folder)
            try:
                self._open(manifest)
            except HopfieldError:
                if attempt < 2 and read_manifest(self.folder).generation != manifest.generation:
                    continue
                if manifest.index is None or (self.folder / manifest.index[0]).exists():
                    raise
                warnings.warn(
                    f"the index of the memory at {self.folder} is gone, and it is opened without: build_index() makes "
                    "another",
                    stacklevel=4,
                )
                self._open(replace(manifest, index=None))
            return

    def _open(self, manifest: Manifest) -> None:
        segments = [open_segment(self.folder, manifest, extent) for extent in manifest.segments]
        removed = read_removed(self.folder, manifest)
        live = None
        if len(removed):
            keep = torch.ones(manifest.rows, dtype=torch.bool)
            keep[removed] = False
            live = keep.nonzero().flatten()

        def most(name: str) -> float:
            return max((getattr(extent, name) for extent in manifest.segments), default=0.0)

        slack, value_slack = most("slack"), most("value_slack")
        norm, value_norm = most("norm") + slack, most("value_norm") + value_slack
        rows = DiskRows(
            [segment.patterns for segment in segments], manifest.size, live, torch.float32, norm, slack, self._limit
        )
        values = None
        if manifest.values is not None:
            own = [segment.values for segment in segments if segment.values is not None]
            values = DiskRows(own, manifest.values, live, torch.float32, value_norm, value_slack, self._limit)
        bias = None
        if manifest.bias:
            whole = torch.cat(
                [torch.zeros(0).double(), *(segment.bias for segment in segments if segment.bias is not None)]
            )
            bias = whole if live is None else whole[live]
        # removed patterns may have been the highest
        peak = most("peak") if live is None else None
        index = read_index(self.folder, manifest)
        if index is not None and manifest.index is not None:
            index = _completed(index, manifest, rows, live)
        self._manifest, self._live = manifest, live
        value_norm = norm if values is None else value_norm
        self._kept = Stored(
            rows,
            values,
            bias,
            index,
            norm,
            value_norm,
            most("bias_size"),
            peak,
            slack,
            slack if values is None else value_slack,
            0.0 if live is None else Stored.height_slack(norm, slack),
        )

    # --------------------------------------------------------------------------------------------- what a memory shows

    def __len__(self) -> int:
        """The number of stored patterns N."""
        return self._kept.patterns.count

    def __repr__(self) -> str:
        return (
            f"AssociativeMemory({len(self)} patterns of size {self.size}, beta={float(self.beta):g}, "
            f"separation={self.separation!r}, {self._manifest.storage} in {self.folder}"
            f"{', unfinished' if self.unfinished else ''})"
        )

    def __getitem__(self, indices: int | slice | Tensor) -> Tensor:
        """Patterns as they are kept, float32: one (d,), or some (n, d)."""
        places = torch.arange(len(self))[indices]
        found = self._kept.patterns.take(places.reshape(-1))
        return found.reshape(*places.shape, self.size)

    @property
    def size(self) -> int:
        """The size d of a pattern."""
        return self._manifest.size

    @property
    def dtype(self) -> torch.dtype:
        """Of states and results: float32."""
        return self._kept.patterns.dtype

    @property
    def device(self) -> torch.device:
        """The processor."""
        return self._kept.patterns.device

    @property
    def storage(self) -> str:
        """How patterns are kept: float32, bfloat16 or int8."""
        return self._manifest.storage

    @property
    def unfinished(self) -> bool:
        """Whether `AssociativeMemory.build` was broken off: the same call goes on; a change makes it final."""
        return self._manifest.unfinished

    @property
    def index(self) -> Index | None:
        """The groups of near patterns that `build_index` made, or None."""
        return self._kept.index

    def _stored(self) -> Stored:
        return self._kept

    # ------------------------------------------------------------------------------------------------ what changes it

    def add(self, patterns: Tensor, *, values: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Store further patterns (n, d), or one (d,), with their values and biases if the memory has any.

        Once it returns they are on the disk. What was there before is not written again, but for small parts.

        Raises:
            HopfieldError: as for any memory; the disk is full or cannot be written, another process writes or has
                written. Nothing is stored then.
        """
        patterns, values, bias = self._checked(patterns, values, bias)
        with self._writing() as writer:
            self._open(writer.added(Encoded.of(self.storage, patterns, values, bias)))

    def remove(self, indices: int | Iterable[int] | Tensor) -> None:
        """Forget the patterns at these indices; the patterns behind them move up. The files keep their space.

        Raises:
            HopfieldError: as for any memory; the disk is full or cannot be written, another process writes or has
                written. Nothing is forgotten then.
        """
        keep = check_kept(indices, len(self), self.device)
        gone = (~keep).nonzero().flatten()
        places = gone if self._live is None else self._live[gone]
        with self._writing() as writer:
            removed = torch.cat([read_removed(self.folder, self._manifest), places]).sort().values
            self._open(writer.removed(removed))

    def build_index(self, *, size: int = GROUP, seed: int = 0, progress: Progress | None = None) -> None:
        """Group the patterns by k-means and keep the groups with them; see `AssociativeMemory.build_index`."""
        whole = self._open_whole()
        made = Index.of(whole, size=size, seed=seed, progress=progress)
        with self._writing() as writer:
            self._open(writer.indexed(made, whole.count))

    def _writing(self, *, building: bool = False) -> AbstractContextManager[Writer]:
        return writing(self.folder, self._manifest, building=building)

    def _compare(self, start: int, patterns: Tensor) -> None:
        """Refuse patterns that are not those that are stored from `start` on."""
        kept = self._kept.patterns.take(torch.arange(start, start + len(patterns))).double()
        apart = torch.linalg.vector_norm(patterns.double() - kept, dim=-1)
        wrong = (apart > self._kept.patterns.slack * (1 + 1e-6) + 1e-30).nonzero().flatten()
        if len(wrong):
            raise HopfieldError(
                f"the memory at {self.folder} holds other patterns, the first at index {start + int(wrong[0])}: name "
                "another folder, or give the same blocks to go on (if nothing was added or removed since)"
            )

    def _open_whole(self) -> DiskRows:
        """All rows of the segments, removed ones too."""
        segments = [open_segment(self.folder, self._manifest, extent) for extent in self._manifest.segments]
        own = self._kept
        columns = [segment.patterns for segment in segments]
        return DiskRows(columns, self.size, None, self.dtype, own.norm, own.patterns.slack, self._limit)

    def to(self, target: torch.device | torch.dtype | str) -> AssociativeMemory:
        """Refused: the patterns stay on disk."""
        raise HopfieldError(f"the patterns stay in {self.folder}: load some with memory[...] to have them on {target}")

    def save(self, path: str | PathLike[str]) -> None:
        """Refused: the memory is in its folder already."""
        raise HopfieldError(f"the memory is kept in {self.folder} already: copy the folder to {path} to have it twice")


def _completed(index: Index, manifest: Manifest, rows: DiskRows, live: Tensor | None) -> Index:
    """An index that covers the first rows of the segments, for all that count: later ones get groups of their own."""
    assert manifest.index is not None
    covered = manifest.index[1]
    before = covered
    if live is not None:
        keep = torch.zeros(covered, dtype=torch.bool)
        keep[live[live < covered]] = True
        before = int(keep.sum())
        index = index.kept(keep)
    if before == rows.count:
        return index
    return index.joined(Index.of(rows.part(before, rows.count)))
