"""Memory that is used again and again: new memory costs as much time as the arithmetic in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Workspace:
    """Tensors by name, that hold whatever they held when they were last asked for."""

    def __init__(self) -> None:
        self._bytes: dict[tuple[str, torch.device], Tensor] = {}
        self._turn = False

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A contiguous tensor."""
        size, key = math.prod(shape) * dtype.itemsize, (name, device)
        room = self._bytes.get(key)
        if room is None or room.numel() < size:
            with torch.inference_mode(False):  # what is made in it could not be written to outside of it
                room = self._bytes[key] = torch.empty(size, dtype=torch.uint8, device=device)
        return room[:size].view(dtype).view(shape)

    def like(self, name: str, other: Tensor) -> Tensor:
        """A contiguous tensor with shape, dtype and device of another."""
        return self.get(name, other.shape, other.dtype, other.device)

    def some(self, rows: Tensor, which: Tensor) -> Tensor:
        """Some of the rows (n, N), by their numbers; they last until the call after the next."""
        self._turn = not self._turn
        room = self.get(f"some {self._turn}", (len(which), rows.shape[-1]), rows.dtype, rows.device)
        return torch.index_select(rows, 0, which, out=room)

    def clear(self) -> None:
        """Give all of it back."""
        self._bytes.clear()
