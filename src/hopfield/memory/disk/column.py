"""A matrix in a file, mapped into memory and read in parts."""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path

import torch
from torch import Tensor

from hopfield.errors import HopfieldError

# bytes that one checksum covers
_CHUNK = 1 << 16


class Column:
    """A matrix (n, d) in a mapped file: float32, float64, float16, bfloat16, or int8 times a number per row.

    Args:
        path: the file.
        mapped: the same, mapped.
        offset: where the matrix starts, in bytes.
        shape: (n, d).
        dtype: of the numbers in the file.
        scale: what each row is multiplied by, float32 (n,), or None.
        checks: checksums of the matrix, chunk by chunk, int64, or None.
    """

    def __init__(
        self,
        path: Path,
        mapped: mmap.mmap,
        offset: int,
        shape: tuple[int, int],
        dtype: torch.dtype,
        scale: Tensor | None = None,
        checks: Tensor | None = None,
    ) -> None:
        self.path, self.shape, self.offset, self.dtype = path, shape, offset, dtype
        self._mapped = mapped
        count = shape[0] * shape[1]
        raw = (
            torch.frombuffer(mapped, dtype=dtype, count=count, offset=offset) if count else torch.zeros(0, dtype=dtype)
        )
        self._raw = raw.view(shape)
        self._scale = scale
        self._checks = checks
        self._unchecked = None if checks is None else torch.ones(checks.shape[0], dtype=torch.bool)
        self._row = shape[1] * raw.element_size()
        self._rows = rows_per_chunk(self._row)

    def raw(self, start: int, stop: int) -> Tensor:
        """Rows start to stop as they are in the file."""
        if self._unchecked is not None and stop > start:
            self._check(torch.arange(start // self._rows, (stop - 1) // self._rows + 1))
        return self._raw[start:stop]

    def read(self, start: int, stop: int) -> Tensor:
        """Rows start to stop, times their scale: (stop - start, d)."""
        rows = self.raw(start, stop)
        return rows if self._scale is None else rows * self._scale[start:stop, None]

    def take(self, indices: Tensor) -> Tensor:
        """The rows at some indices, (m, d)."""
        if self._unchecked is not None:
            self._check((indices // self._rows).unique())
        rows = self._raw.index_select(0, indices)
        return rows if self._scale is None else rows * self._scale[indices].unsqueeze(-1)

    def expect(self, start: int, stop: int) -> None:
        """Have rows read from the disk in the background."""
        self._advise(start, stop, "MADV_WILLNEED")

    def release(self, start: int, stop: int) -> None:
        """Take rows out of this process's memory; the system may keep them for the next time."""
        self._advise(start, stop, "MADV_DONTNEED")

    def _advise(self, start: int, stop: int, advice: str) -> None:
        if stop <= start or not hasattr(mmap, advice):
            return
        first = (self.offset + start * self._row) // mmap.PAGESIZE * mmap.PAGESIZE
        self._mapped.madvise(getattr(mmap, advice), first, self.offset + stop * self._row - first)

    def _check(self, chunks: Tensor) -> None:
        """Compare checksums of what is read for the first time."""
        assert self._unchecked is not None
        assert self._checks is not None
        for chunk in chunks[self._unchecked[chunks]].tolist():
            start = self.offset + chunk * self._rows * self._row
            stop = min(start + self._rows * self._row, self.offset + self.shape[0] * self._row)
            if zlib.crc32(memoryview(self._mapped)[start:stop]) != int(self._checks[chunk]):
                raise HopfieldError(
                    f"{self.path} is damaged: rows {chunk * self._rows} and following do not have the checksum that "
                    "they were written with; restore the file from a copy"
                )
            self._unchecked[chunk] = False


def rows_per_chunk(row: int) -> int:
    """How many rows of so many bytes one checksum covers."""
    return max(1, _CHUNK // max(1, row))


def checksums(matrix: Tensor) -> Tensor:
    """Of a matrix (n, d), chunk by chunk, int64."""
    if not matrix.numel():
        return torch.zeros(0, dtype=torch.int64)
    data = matrix.contiguous().view(torch.uint8).numpy()
    step = rows_per_chunk(data.shape[1])
    return torch.tensor([zlib.crc32(data[start : start + step].data) for start in range(0, data.shape[0], step)])


def map_file(path: Path) -> mmap.mmap:
    """A file as memory; what is written there stays in this process.

    Raises:
        HopfieldError: the file cannot be opened, or is empty.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HopfieldError(f"cannot open {path}: {reason}") from error
