"""Patterns that stay on disk and are read as they are needed."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from hopfield.memory.disk.column import Column
from hopfield.memory.rows import Rows


class DiskRows(Rows):
    """The rows of matrices in files, one behind the other.

    Args:
        columns: the matrices.
        width: d.
        live: which rows count, int64 (N,), ascending; None for all.
        dtype: float32 or float64.
        norm: the largest norm of a row that was stored, or a little more.
        slack: how far rows in the files may be from those.
        limit: bytes of the files that may be in this process's memory at once.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        width: int,
        live: Tensor | None,
        dtype: torch.dtype,
        norm: float,
        slack: float,
        limit: int,
    ) -> None:
        self._columns = list(columns)
        self._starts = [0, *itertools.accumulate(column.shape[0] for column in columns)]
        self._live = live
        self._norm, self._limit = norm, limit
        self.slack = slack
        count = self._starts[-1] if live is None else live.shape[0]
        self.shape = torch.Size((1, count, width))
        self.dtype = dtype
        self.device = torch.device("cpu")
        # the last block, which is often asked for twice
        self._last: tuple[tuple[int, int], Tensor] | None = None
        self._read = 0

    def norm(self) -> float:
        """The largest norm."""
        return self._norm

    def __getitem__(self, key: tuple[slice, slice]) -> Tensor:
        start, stop, _ = key[1].indices(self.count)
        if self._last is None or self._last[0] != (start, stop):
            self._last = (start, stop), self._block(start, stop).unsqueeze(0)
        return self._last[1]

    def part(self, start: int, stop: int) -> DiskRows:
        """Rows start to stop by themselves."""
        live = torch.arange(start, stop) if self._live is None else self._live[start:stop]
        return DiskRows(self._columns, self.width, live, self.dtype, self._norm, self.slack, self._limit)

    def take(self, indices: Tensor) -> Tensor:
        """The rows at some indices."""
        if not self.count:  # indices are padding
            return torch.zeros(indices.shape[0], self.width, dtype=self.dtype)
        places = indices if self._live is None else self._live[indices]
        if len(self._columns) == 1:
            return self._columns[0].take(places).to(self.dtype)
        result = torch.empty(places.shape[0], self.width, dtype=self.dtype)
        owner = torch.bucketize(places, torch.tensor(self._starts[1:]), right=True)
        for number in owner.unique().tolist():
            own = (owner == number).nonzero().flatten()
            result[own] = self._columns[number].take(places[own] - self._starts[number]).to(self.dtype)
        return result

    def _block(self, start: int, stop: int) -> Tensor:
        if start >= stop:
            return torch.zeros(0, self.width, dtype=self.dtype)
        first, last = (start, stop) if self._live is None else (int(self._live[start]), int(self._live[stop - 1]) + 1)
        for column, begin, end in self._pieces(last, last + (last - first)):
            column.expect(begin, end)
        parts = [column.read(begin, end).to(self.dtype) for column, begin, end in self._pieces(first, last)]
        block = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self._live is not None and last - first > stop - start:
            block = block[self._live[start:stop] - first]
        self._bound(first, last)
        return block

    def _bound(self, first: int, last: int) -> None:
        """Keep what this process holds of the files within the limit: what is behind the block can go."""
        self._read += (last - first) * self.width * 8
        if self._read > self._limit // 2:
            for column, begin, end in self._pieces(0, first):
                column.release(begin, end)
            self._read = 0

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[Column, int, int]]:
        """What rows start to stop are in each column."""
        number = bisect.bisect_right(self._starts, start) - 1
        while start < min(stop, self._starts[-1]):
            end = min(stop, self._starts[number + 1])
            if end > start:
                yield self._columns[number], start - self._starts[number], end - self._starts[number]
            start, number = end, number + 1
