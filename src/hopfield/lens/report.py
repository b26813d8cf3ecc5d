"""What a lens has seen: numbers for every head, as objects, as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.lens.rows import QUANTITIES
from hopfield.lens.settle import LANDINGS

CLASSES = ("I", "II", "III", "IV")
"""From the global average to the single pattern."""
BOUNDS = (1 / 2, 1 / 8, 1 / 32)
"""Share k/N that a head of class I, II and III exceeds."""
_PERCENT = (5, 25, 75, 95)


@dataclass(frozen=True)
class Landing:
    """Where some rows of a head end if its update is repeated until they stand still."""

    updates: float
    """Median of the updates made."""
    moved: float
    """Median distance of the last state from the query, in lengths of the longest key."""
    pattern: float
    """Share of the rows that end at a single pattern (k = 1),"""
    metastable: float
    """in a metastable state,"""
    average: float
    """at the global average (k > N/2),"""
    moving: float
    """and that still moved after 64 updates."""


@dataclass(frozen=True)
class Head:
    """One head. Medians are those of a sample of its rows, the lower one of two."""

    layer: str
    head: int
    regime: str | None
    """The class, I to IV; None where no row attends to enough keys, or the head is replaced by an average."""
    k: float
    """Median of the number of keys that carry the mass."""
    share: float
    """Median of k/N."""
    spread: tuple[float, float, float, float]
    """Quantiles of k at 5, 25, 75 and 95 %."""
    classes: tuple[float, float, float, float]
    """Shares of the rows that are in class I to IV."""
    entropy: float
    energy: float
    frobenius: float
    spectral: float
    """Medians."""
    landing: Landing | None
    """Where further updates lead; None if no row was followed."""


@dataclass(frozen=True)
class LayerReading:
    """What was gathered of one attention: numbers of all rows, and a sample of them."""

    name: str
    heads: int
    rows: int
    """Rows seen, in each head."""
    by_class: Tensor = field(repr=False)
    """Rows in class I to IV, int64 (h, 4), of those that attend to enough keys."""
    means: Tensor = field(repr=False)
    """Means over all rows of k, attended, entropy, energy, frobenius and spectral, (h, 6)."""
    sample: Tensor = field(repr=False)
    """These six of some rows, or of all that were seen, (n, h, 6)."""
    landings: Tensor = field(repr=False)
    """Updates, distance, k, N and 1 or 0 for convergence, of the rows that were followed, (m, h, 5)."""

    def of(self, quantity: str) -> Tensor:
        """One quantity of the sampled rows, (n, h): k, attended, entropy, energy, frobenius or spectral."""
        if quantity not in QUANTITIES:
            raise HopfieldError(f"unknown quantity {quantity!r}; expected one of {', '.join(QUANTITIES)}")
        return self.sample[..., QUANTITIES.index(quantity)]

    def regimes(self) -> list[str | None]:
        """The class of every head: that of the median of k/N, by counting rows."""
        total = self.by_class.sum(-1, keepdim=True)
        # the first class in which, or in those before, more than half of the rows are
        reached = 2 * self.by_class.cumsum(-1) > total
        last = reached.long().argmax(-1)
        return [CLASSES[i] if n else None for i, n in zip(last.tolist(), total.flatten().tolist(), strict=True)]

    def read(self) -> list[Head]:
        """The heads one by one."""
        return [self._head(head, regime) for head, regime in enumerate(self.regimes())]

    def _head(self, head: int, regime: str | None) -> Head:
        rows = self.sample[:, head]
        medians = dict(zip(QUANTITIES, rows.nanmedian(0).values.tolist(), strict=True))
        percent = torch.tensor([p / 100 for p in _PERCENT], dtype=torch.float64)
        counted = max(int(self.by_class[head].sum()), 1)
        return Head(
            layer=self.name,
            head=head,
            regime=regime,
            k=medians["k"],
            share=float((rows[:, 0] / rows[:, 1]).nanmedian()),
            spread=_four(torch.nanquantile(rows[:, 0], percent, interpolation="lower").tolist()),
            classes=_four([n / counted for n in self.by_class[head].tolist()]),
            entropy=medians["entropy"],
            energy=medians["energy"],
            frobenius=medians["frobenius"],
            spectral=medians["spectral"],
            landing=_landing(self.landings[:, head]),
        )


@dataclass(frozen=True, repr=False)
class HeadReport:
    """What a `HeadLens` has gathered. `print` shows a table, `hopfield.plot.heads` a picture.

    Attributes:
        layers: the attentions in the order of their first call.
        mass: the share of the weights that counts as all.
        least: fewest keys of a row that counts for the class.
    """

    layers: tuple[LayerReading, ...]
    mass: float
    least: int

    @property
    def heads(self) -> list[Head]:
        """All heads, layer after layer."""
        return [head for layer in self.layers for head in layer.read()]

    def __getitem__(self, layer: str | int) -> LayerReading:
        """A layer by its name or its number.

        Raises:
            HopfieldError: there is none.
        """
        if isinstance(layer, int) and -len(self.layers) <= layer < len(self.layers):
            return self.layers[layer]
        for found in self.layers:
            if found.name == layer:
                return found
        names = ", ".join(found.name for found in self.layers)
        raise HopfieldError(f"no layer {layer!r}; there are {names}, by number 0 to {len(self.layers) - 1}")

    def __iter__(self) -> Iterator[LayerReading]:
        """The layers."""
        return iter(self.layers)

    def find(
        self, regimes: str | Collection[str] = CLASSES, layers: slice | Collection[int | str] | int | str | None = None
    ) -> list[Head]:
        """The heads of some classes in some layers, ready for `replace_heads`.

        Args:
            regimes: class or classes, of I, II, III, IV.
            layers: numbers or names of layers, one of them, or a slice: `slice(2)` for the first two; default all.

        Raises:
            HopfieldError: unknown classes or layers.
        """
        wanted = {regimes} if isinstance(regimes, str) else set(regimes)
        if not wanted <= set(CLASSES):
            raise HopfieldError(f"classes are {', '.join(CLASSES)}, got {', '.join(sorted(wanted - set(CLASSES)))}")
        if layers is None or isinstance(layers, slice):
            chosen = self.layers[layers or slice(None)]
        else:
            chosen = tuple(self[layer] for layer in ([layers] if isinstance(layers, int | str) else layers))
        return [head for layer in chosen for head in layer.read() if head.regime in wanted]

    def counts(self) -> list[dict[str, int]]:
        """How many heads of each layer are in each class."""
        return [{name: layer.regimes().count(name) for name in CLASSES} for layer in self.layers]

    def rows(self) -> Iterator[list[str]]:
        """The table, head after head as words, after a line of titles."""
        yield ["layer", "head", "class", "k", "k/N", "k 5-95 %", "entropy", "energy", "|J|_F", "|J|_2", "ends at"]
        for head in self.heads:
            yield [
                head.layer or "(model)",
                str(head.head),
                head.regime or "-",
                f"{head.k:.0f}",
                f"{head.share:.3f}",
                f"{head.spread[0]:.0f}-{head.spread[3]:.0f}",
                f"{head.entropy:.2f}",
                f"{head.energy:.3g}",
                f"{head.frobenius:.3g}",
                f"{head.spectral:.3g}",
                _most(head.landing),
            ]

    def __str__(self) -> str:
        table = [["-" if "nan" in cell else cell for cell in row] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in table]
        if any(not layer.by_class.any() for layer in self.layers):
            lines.append(f"no class: no row attends to {self.least} keys or more (least=)")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the samples, in JSON's terms; numbers that there are not are None."""
        layers = [{"name": layer.name, "heads": layer.heads, "rows": layer.rows} for layer in self.layers]
        heads = [plain(asdict(head)) for head in self.heads]
        return {"mass": self.mass, "least": self.least, "layers": layers, "heads": heads}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _landing(rows: Tensor) -> Landing | None:
    """Where rows (m, 5) end; those that are NaN attend to nothing."""
    rows = rows[~rows[:, 0].isnan()]
    if not len(rows):
        return None
    found = dict(zip(LANDINGS, rows.unbind(-1), strict=True))
    still, k = found["settled"] > 0, found["k"]
    pattern = still & (k == 1)
    average = still & ~pattern & (k > BOUNDS[0] * found["attended"])
    shares = [float(which.double().mean()) for which in (pattern, still & ~pattern & ~average, average, ~still)]
    return Landing(float(found["updates"].median()), float(found["moved"].median()), *shares)


def _most(landing: Landing | None) -> str:
    """Where most rows end, in words."""
    if landing is None:
        return "-"
    name = max(("pattern", "metastable", "average", "moving"), key=lambda name: getattr(landing, name))
    return f"{name} {getattr(landing, name):.0%} after {landing.updates:.0f}"


def _four(numbers: list[float]) -> tuple[float, float, float, float]:
    first, second, third, fourth = numbers
    return first, second, third, fourth


def plain(value: Any) -> Any:
    """The same in JSON's terms, which know neither NaN nor infinity: None."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
