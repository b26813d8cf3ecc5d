"""Patterns and queries from the user's files, for the command line: arrays in, arrays out; images in, images out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hopfield.datasets.images import load_array, load_images, read_npy, save_image
from hopfield.errors import HopfieldError


@dataclass(frozen=True)
class Kind:
    """What patterns are: what is needed to read queries like them, and to name and write what is retrieved."""

    size: int
    """d"""
    dtype: torch.dtype
    names: list[str] | None = None
    """What each pattern is called; None: its index."""
    shape: tuple[int, int] | None = None
    """Height and width if the patterns are images."""

    def name(self, index: int) -> str:
        """What a pattern is called: its file's name or its index."""
        return str(index) if self.names is None else self.names[index]

    def write(self, folder: Path, name: str, state: Tensor) -> Path:
        """Write a retrieved state (d,) as recovered-NAME, whole or not at all: a PNG for images, else a .npy file."""
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
        path = folder / f"recovered-{stem}{'.npy' if self.shape is None else '.png'}"
        partial = folder / f".partial-{path.name}"
        try:
            if self.shape is not None:
                save_image(partial, state.reshape(self.shape))
            else:
                wide = torch.promote_types(state.dtype, torch.float32)  # numpy knows no bfloat16
                np.save(partial, state.to(wide).numpy(), allow_pickle=False)
            partial.replace(path)
        except OSError as error:
            raise HopfieldError(f"cannot write to {path}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return path


def load_patterns(path: Path) -> tuple[Tensor, Kind]:
    """Patterns (N, d) from a .npy file, or from a folder of images, and what they are.

    Raises:
        HopfieldError: a missing path, a folder without images, a damaged file, an array that is not (N, d), or that
            has entries that are not finite.
    """
    if path.suffix == ".npy":
        patterns = load_array(path)
        if patterns.dim() != 2:
            raise HopfieldError(f"{path} must hold patterns as an array (N, d), got shape {tuple(patterns.shape)}")
        return patterns, Kind(patterns.shape[1], patterns.dtype)
    found = load_images(path)
    patterns = found.images.flatten(1)
    height, width = found.images.shape[1:]
    return patterns, Kind(patterns.shape[1], patterns.dtype, list(found.names), (height, width))


def load_queries(paths: list[Path], kind: Kind) -> tuple[list[str], Tensor]:
    """Queries (L, d) from .npy files or images, with a name for each.

    Raises:
        HopfieldError: as `load_patterns`; also images for stored arrays, or a size other than that of the patterns.
    """
    names: list[str] = []
    states: list[Tensor] = []
    size = kind.size
    for path in paths:
        if path.suffix == ".npy":
            array = load_array(path)
            array = array.unsqueeze(0) if array.dim() == 1 else array
        elif kind.shape is None:
            raise HopfieldError(f"the stored patterns are arrays, so queries must be .npy files; got {path}")
        else:
            array = load_images(path, size=kind.shape).images.flatten(1)
        if array.dim() != 2 or array.shape[1] != size:
            raise HopfieldError(
                f"{path} holds queries of shape {tuple(array.shape)}; the stored patterns have size {size}, "
                f"so ({size},) or (L, {size}) is expected"
            )
        states.append(array.to(kind.dtype))
        names += [path.name] if len(array) == 1 else [f"{path.name}[{row}]" for row in range(len(array))]
    return names, torch.cat(states)


def load_mask(path: Path) -> Tensor:
    """A mask of patterns, bool (N,) or (L, N), from a .npy file.

    Raises:
        HopfieldError: a missing or damaged file, or an array that is not bool.
    """
    mask = read_npy(path)
    if mask.dtype != np.bool_:
        raise HopfieldError(
            f"{path} must hold a mask of dtype bool, True for patterns that take part; got {mask.dtype}"
        )
    return torch.from_numpy(np.array(mask))
