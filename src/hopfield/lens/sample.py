"""A sample of bounded size of a stream of unknown length."""

from __future__ import annotations

import torch
from torch import Tensor


class Sample:
    """Items that were drawn at random from all that came, each with the same chance; all of them while they fit.

    Every item gets a random key, and the items with the largest keys stay. A quantile of m items has a rank that is off
    by more than √(ln(2/α) / (2 m)) with probability α at most: 1.5 % for m = 8192 and α = 5 % (Dvoretzky-Kiefer-
    Wolfowitz).
    """

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self.size = size
        self.seen = 0
        self._generator = generator
        self._keys = torch.empty(0, dtype=torch.float64)
        self._items: list[Tensor] = []

    def add(self, items: Tensor) -> None:
        """Take in items (n, ...), which are copied to the processor in float64."""
        self.seen += len(items)
        keys = torch.rand(len(items), generator=self._generator, dtype=torch.float64)
        if len(self._keys) >= self.size:
            chosen = keys > self._keys.min()
            keys, items = keys[chosen], items[chosen.to(items.device)]
        self._keys = torch.cat([self._keys, keys])
        self._items.append(items.to("cpu", torch.float64, copy=True))
        if len(self._keys) > 2 * self.size:
            self._settle()

    def items(self) -> Tensor:
        """The items of the sample (at most size, ...); None came: a tensor without rows."""
        self._settle()
        return self._items[0] if self._items else torch.empty(0, dtype=torch.float64)

    def _settle(self) -> None:
        if not self._items:
            return
        items = torch.cat(self._items)
        if len(self._keys) > self.size:
            self._keys, kept = self._keys.topk(self.size)
            items = items[kept]
        self._items = [items]
