"""A small file system of its own, full and then read-only: what cannot be written is refused and changes nothing.

Run as `unshare --user --map-root-user --mount python -m tests.memory.disk.full FOLDER`.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from hopfield import AssociativeMemory
from hopfield.errors import HopfieldError

SIZE = 64


def patterns_of(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed))


def refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(HopfieldError, match=f"(?i){words}"):
        call()


def unchanged(folder: Path, kept: torch.Tensor) -> None:
    """The memory and the file next to it are as they were, and answer."""
    opened = AssociativeMemory.open(folder / "memory")
    assert torch.equal(opened[:], kept)
    assert int(opened.retrieve(3 * kept[7]).top(1)[1]) == 7
    assert torch.equal(AssociativeMemory.load(folder / "saved.safetensors").patterns, kept[:100])


def main(folder: Path) -> None:
    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(folder)], check=True)

    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs")
    kept = patterns_of(2000, 1)
    AssociativeMemory.build(folder / "memory", [kept])
    AssociativeMemory(kept[:100]).save(folder / "saved.safetensors")
    opened = AssociativeMemory.open(folder / "memory")
    many = patterns_of(40_000, 2)
    refused(lambda: opened.add(many), "no space")
    assert torch.equal(opened[:], kept)
    refused(lambda: AssociativeMemory(many).save(folder / "saved.safetensors"), "no space")
    refused(lambda: AssociativeMemory(many).save(folder / "new.safetensors"), "no space")
    assert sorted(path.name for path in folder.iterdir()) == ["memory", "saved.safetensors"]
    unchanged(folder, kept)
    refused(lambda: AssociativeMemory.build(folder / "other", many.split(1000)), "no space")
    unchanged(folder, kept)
    # to the last byte
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    for call in (
        lambda: opened.add(kept[:1]),
        lambda: opened.remove(0),
        opened.build_index,
        lambda: AssociativeMemory.build(folder / "third", [kept]),
    ):
        refused(call, "no space")
        unchanged(folder, kept)
    (folder / "filler").unlink()
    opened.add(kept[:1])
    opened.remove(2000)
    unchanged(folder, kept)
    mount("-o", "remount,ro")
    opened = AssociativeMemory.open(folder / "memory")
    for call in (
        lambda: opened.add(kept[:1]),
        lambda: opened.remove(0),
        opened.build_index,
        lambda: AssociativeMemory.build(folder / "fourth", [kept]),
        lambda: AssociativeMemory(kept).save(folder / "saved.safetensors"),
    ):
        refused(call, "read-only")
        unchanged(folder, kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
