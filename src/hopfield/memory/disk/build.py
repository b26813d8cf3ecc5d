"""Making a memory on disk of blocks of patterns, and going on where that was broken off."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from itertools import chain
from os import PathLike
from pathlib import Path

from torch import Tensor

from hopfield.core.separation import Separation, resolve
from hopfield.errors import HopfieldError
from hopfield.memory import storage as descriptions
from hopfield.memory.checks import check_rows, check_scalar
from hopfield.memory.disk import folder as folders
from hopfield.memory.disk.folder import Manifest, Writer
from hopfield.memory.disk.memory import DiskMemory
from hopfield.memory.disk.segment import Encoded
from hopfield.progress import Progress

# bytes of patterns that are gathered before they are written
_PORTION = 1 << 26

Block = Tensor | dict[str, Tensor]


def build(
    path: str | PathLike[str],
    blocks: Iterable[Block],
    *,
    storage: str,
    beta: float | Tensor,
    separation: str | Separation,
    memory_limit: int,
    progress: Progress | None,
) -> DiskMemory:
    """`AssociativeMemory.build`."""
    if isinstance(blocks, Tensor):
        raise HopfieldError("blocks must be an iterable of blocks (n, d), got one tensor: pass [patterns]")
    description = descriptions.described(resolve(separation))
    if description is None:
        raise HopfieldError("a memory on disk needs a separation function of hopfield.separation, which has a name")
    coming = iter(blocks)
    first = next(coming, None)
    if first is None:
        raise HopfieldError("build needs at least one block of patterns, got none")
    patterns, values, bias = _parts(first)
    patterns = check_rows("patterns", patterns, None)
    wanted = Manifest(
        size=patterns.shape[1],
        storage=storage,
        values=None if values is None else check_rows("values", values, patterns).shape[1],
        bias=bias is not None,
        beta=float(check_scalar(beta)),
        separation=description,
        unfinished=True,
    )
    memory = _started(Path(path), wanted, memory_limit)
    # no one else writes until it is built
    with memory._writing(building=True) if memory.unfinished else nullcontext() as writer:
        builder = _Builder(memory, writer, progress)
        try:
            for block in chain([first], coming):
                builder.take(block)
        finally:  # what came before an interruption is kept
            builder.write()
        builder.finish()
    return memory


class _Builder:
    """Compares blocks with what a memory holds, and stores what is new.

    Args:
        memory: what was stored before.
        writer: of it; None where it was finished.
        progress: told how many patterns came.
    """

    def __init__(self, memory: DiskMemory, writer: Writer | None, progress: Progress | None) -> None:
        self._memory, self._writer, self._progress = memory, writer, progress
        self._seen = 0
        self._waiting: list[Encoded] = []

    def take(self, block: Block) -> None:
        """One block."""
        memory = self._memory
        patterns, values, bias = memory._checked(*_parts(block))
        known = min(len(patterns), max(0, len(memory) - self._seen))
        if known:
            memory._compare(self._seen, patterns[:known])
        self._seen += len(patterns)
        if known < len(patterns):
            if self._writer is None:
                raise HopfieldError(
                    f"the memory at {memory.folder} was finished with {len(memory)} patterns, and more came: go on "
                    "with add, or name another folder"
                )
            own, values, bias = (None if part is None else part[known:] for part in (patterns, values, bias))
            assert own is not None
            self._waiting.append(Encoded.of(memory.storage, own, values, bias))
        if sum(part.bytes() for part in self._waiting) >= _PORTION:
            self.write()
        if self._progress is not None:
            self._progress("storing patterns", self._seen, self._seen)

    def write(self) -> None:
        """Store what waits."""
        if self._waiting and self._writer is not None:
            whole = self._waiting[0]
            for part in self._waiting[1:]:
                whole = whole.plus(part)
            self._memory._open(self._writer.added(whole))
            self._waiting = []

    def finish(self) -> None:
        """All blocks came."""
        memory = self._memory
        if self._seen < len(memory):
            raise HopfieldError(
                f"the memory at {memory.folder} holds {len(memory)} patterns, and only {self._seen} came: name another "
                "folder, or give the same blocks"
            )
        if self._writer is not None:
            memory._open(self._writer.finished())


def _parts(block: Block) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Patterns, values and biases of a block."""
    if isinstance(block, dict):
        unknown = sorted(set(block) - {"patterns", "values", "bias"})
        if unknown or "patterns" not in block:
            raise HopfieldError(
                f"a block as a dict has patterns, and values or bias if the memory has any; got {sorted(block)}"
            )
        return block["patterns"], block.get("values"), block.get("bias")
    return block, None, None


def _started(folder: Path, wanted: Manifest, memory_limit: int) -> DiskMemory:
    """A memory to go on building: a new one, or one with the same properties."""
    if not (folder / folders.MANIFEST).exists():
        folders.create(folder, wanted)
    memory = DiskMemory(folder, memory_limit=memory_limit)
    for name in ("size", "storage", "values", "bias", "beta", "separation"):
        own, new = getattr(memory._manifest, name), getattr(wanted, name)
        if own != new:
            raise HopfieldError(
                f"there is another memory at {folder}: its {name} is {own}, not {new}; name another folder"
            )
    if memory._manifest.removed is not None:
        raise HopfieldError(f"the memory at {folder} has had patterns removed: go on with add, or name another folder")
    return memory
