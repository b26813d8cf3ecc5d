"""How the columns of a table become numbers between which distances mean something."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from hopfield.estimators.tables.reading import Table

# standard deviations beyond which a number counts as that many
_LIMIT = 3.0
# columns of numbers with at most so many different ones are encoded as categories as well
_FEW = 12
# of a column's categories, as many are told apart, the most frequent ones
_MOST = 256


@dataclass(frozen=True)
class Column:
    """How one column is encoded.

    Attributes:
        number: whether it holds numbers.
        mean: of the numbers that are not missing.
        scale: their standard deviation; 0 if they are all the same.
        values: what is told apart, each by an encoded column of its own: categories, or numbers where they are few. A
            number between two of these is encoded as something between the two.
        shares: how frequent each of these is.
        missing: how frequent it is that nothing is known; 0: no column tells.
        weight: what standardised numbers are multiplied by.
    """

    number: bool
    mean: float
    scale: float
    values: tuple[Any, ...]
    shares: tuple[float, ...]
    missing: float
    weight: float = 1.0

    @classmethod
    def of(cls, table: Table, index: int, *, number: bool) -> Self:
        """Fitted to a column of a table."""
        count = len(table)
        if not number:
            seen = Counter(value for value in table.categories(index) if value is not None)
            values, counts = zip(*seen.most_common(_MOST), strict=True) if seen else ((), ())
            shares = tuple(n / count for n in counts)
            return cls(False, 0.0, 0.0, values, shares, 1 - sum(seen.values()) / count)
        numbers = table.numbers(index)
        known = numbers[~np.isnan(numbers)]
        missing = 1 - len(known) / count
        if not len(known):
            return cls(True, 0.0, 0.0, (), (), missing)
        most = float(np.abs(known).max()) or 1.0
        shrunk = known / most  # so that squares of tiny numbers are not 0
        mean, deviation = float(shrunk.mean()) * most, float(shrunk.std())
        scale = deviation * most if deviation > 1e-14 else 0.0  # a constant, but for rounding
        different, frequency = np.unique(known, return_counts=True)
        if not 3 <= len(different) <= _FEW:
            different, frequency = different[:0], frequency[:0]
        return cls(True, mean, scale, tuple(different.tolist()), tuple((frequency / count).tolist()), missing)

    @property
    def width(self) -> int:
        """The number of encoded columns."""
        return self.number + len(self.values) + (self.missing > 0)

    def encode(self, table: Table, index: int) -> np.ndarray:
        """(n, width): 0 is the mean of the rows that were learnt from, and what is missing or new."""
        parts = []
        if self.number:
            numbers = table.numbers(index)
            absent = np.isnan(numbers)
            centred = np.where(absent, 0, numbers - self.mean) / (self.scale or math.inf)
            parts.append((self.weight * centred.clip(-_LIMIT, _LIMIT))[:, None].astype(np.float32))
            shown = _between(np.where(absent, 0, numbers), np.array(self.values)) if self.values else None
        else:
            place = {value: i for i, value in enumerate(self.values)}
            given = table.categories(index)
            absent = np.array([value is None for value in given])
            which = np.array([place.get(value, -1) for value in given])
            shown = which[:, None] == np.arange(len(self.values))
        if shown is not None:
            hot = shown - np.array(self.shares, np.float32)
            parts.append(np.where(shown.any(1, keepdims=True) & ~absent[:, None], hot, np.float32(0)))
        if self.missing:
            parts.append(absent[:, None] - np.float32(self.missing))
        return np.concatenate(parts, 1, dtype=np.float32) if parts else np.zeros((len(table), 0), np.float32)


def _between(numbers: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """How near each number (n,) is to the two of the ascending knots (K,) that it lies between: (n, K), of sum 1.

    It is 1 at a knot, and falls off linearly to the next ones. A number beyond the last knot counts as that.
    """
    inside = numbers.clip(knots[0], knots[-1])
    above = np.searchsorted(knots, inside, side="right").clip(1, len(knots) - 1)
    share = (inside - knots[above - 1]) / (knots[above] - knots[above - 1])
    near = np.zeros((len(numbers), len(knots)), np.float32)
    rows = np.arange(len(numbers))
    near[rows, above], near[rows, above - 1] = share, 1 - share
    return near


class Columns:
    """All columns of a table.

    Args:
        columns: how each is encoded.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)

    @classmethod
    def of(cls, table: Table, categorical: Sequence[bool], *, shared_scale: bool = False) -> Self:
        """Fitted to a table.

        Args:
            table: the rows to learn from.
            categorical: whether each column holds categories.
            shared_scale: whether one standard deviation, that of all numbers, serves all columns of numbers, and few
                different ones are not told apart, so that distances between rows stay in proportion.
        """
        columns = [Column.of(table, j, number=not category) for j, category in enumerate(categorical)]
        most = max((column.scale for column in columns), default=0.0)
        if not shared_scale or most == 0:
            return cls(columns)
        shares = [column.scale / most for column in columns]  # squares of numbers of any size
        mean = math.sqrt(sum(share**2 for share in shares) / sum(share > 0 for share in shares))
        return cls(
            [
                replace(column, weight=share / mean, values=(), shares=()) if column.number else column
                for column, share in zip(columns, shares, strict=True)
            ]
        )

    @property
    def origins(self) -> Tensor:
        """Which column every encoded column comes from, int64 (D,)."""
        widths = torch.tensor([column.width for column in self.columns])
        return torch.repeat_interleave(torch.arange(len(self.columns)), widths)

    def encode(self, table: Table) -> Tensor:
        """Encoded rows, float32 (n, D)."""
        parts = [column.encode(table, j) for j, column in enumerate(self.columns)]
        return torch.from_numpy(np.concatenate(parts, 1))

    def describe(self) -> list[dict[str, Any]]:
        """Everything as JSON has it."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def described(cls, description: Sequence[dict[str, Any]]) -> Self:
        """What `describe` described."""
        return cls([Column(**d | {"values": tuple(d["values"]), "shares": tuple(d["shares"])}) for d in description])
