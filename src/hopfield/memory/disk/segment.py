"""Some patterns of a memory on disk, with their values and biases: one safetensors file that is never changed."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.files import Kind
from hopfield.memory.disk.column import Column, checksums, map_file
from hopfield.memory.rows import largest_norm

SEGMENT = Kind("hopfield.AssociativeMemory.segment", 1, "part of a memory", "AssociativeMemory.build")
STORAGES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""How patterns may be kept."""
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8}
_SMALL = {
    "bias": torch.float64,
    "checks.patterns": torch.int64,
    "checks.values": torch.int64,
    "scale": torch.float32,
}


@dataclass(frozen=True)
class Extent:
    """What the manifest knows of a segment.

    Attributes:
        file: its name.
        rows: how many patterns it has.
        digest: checksum of all but the patterns and the values, which have checksums of their own among these.
        norm: the largest norm of a pattern as it came, or a little more.
        slack: how far a pattern may be from what it was when it came.
        value_norm: the largest norm of a value.
        value_slack: how far a value may be from what it was.
        bias_size: the largest |b|.
        peak: the largest ½|x|² + b.
    """

    file: str
    rows: int
    digest: str
    norm: float
    slack: float
    value_norm: float
    value_slack: float
    bias_size: float
    peak: float


@dataclass(frozen=True)
class Encoded:
    """Patterns as they are kept, with what is known of them; the extent has no name and no digest yet."""

    tensors: dict[str, Tensor]
    extent: Extent

    @classmethod
    def of(cls, storage: str, patterns: Tensor, values: Tensor | None, bias: Tensor | None) -> Encoded:
        """Patterns (n, d), values (n, v) and biases (n,), rounded as the storage asks."""
        patterns = patterns.double()
        tensors: dict[str, Tensor] = {}
        if storage == "int8":
            scale = (patterns.abs().amax(-1) / 127).float() if patterns.numel() else torch.zeros(len(patterns))
            divisor = torch.where(scale > 0, scale, 1.0).double().unsqueeze(-1)
            tensors["patterns"] = (patterns / divisor).round().clamp(-127, 127).to(torch.int8)
            tensors["scale"] = scale
            kept = (tensors["patterns"] * scale.unsqueeze(-1)).double()
        else:
            tensors["patterns"] = patterns.to(STORAGES[storage])
            kept = tensors["patterns"].double()
        value_norm = value_slack = bias_size = 0.0
        height = patterns.square().sum(-1) / 2
        if values is not None:
            tensors["values"] = values.float()
            value_norm, value_slack = (
                largest_norm(rows, torch.float64)
                for rows in (values.double(), values.double() - tensors["values"].double())
            )
        if bias is not None:
            tensors["bias"] = bias.double()
            height = height + bias.double()
            bias_size = float(bias.abs().amax()) if len(bias) else 0.0
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise HopfieldError(
                    f"{name} are too large for {tensor.dtype}, in which they would be kept; scale them down"
                )
        peak = float(height.amax()) if len(height) else -math.inf
        extent = Extent(
            "",
            len(patterns),
            "",
            largest_norm(patterns, torch.float64),
            largest_norm(patterns - kept, torch.float64),
            value_norm,
            value_slack,
            bias_size,
            peak,
        )
        return cls(tensors, extent)

    def plus(self, other: Encoded) -> Encoded:
        """Both, one behind the other."""
        one, two = self.extent, other.extent
        most = {
            name: max(getattr(one, name), getattr(two, name))
            for name in ("norm", "slack", "value_norm", "value_slack", "bias_size", "peak")
        }
        tensors = {name: torch.cat([tensor, other.tensors[name]]) for name, tensor in self.tensors.items()}
        return Encoded(tensors, replace(one, rows=one.rows + two.rows, **most))

    def bytes(self) -> int:
        """How much it takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def write(self, folder: Path, name: str) -> Extent:
        """Write it, whole or not at all."""
        checks = {
            f"checks.{own}": checksums(self.tensors[own]) for own in ("patterns", "values") if own in self.tensors
        }
        tensors = self.tensors | checks
        SEGMENT.write(folder / name, tensors, {})
        return replace(self.extent, file=name, digest=_digest(tensors))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in _SMALL:
        if name in tensors:
            total.update(f"{name} {tuple(tensors[name].shape)}".encode())
            total.update(tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


class Segment:
    """A segment that is open.

    Raises:
        HopfieldError: the file is missing, truncated, damaged, of another kind or of a later format.
    """

    def __init__(
        self, folder: Path, extent: Extent, size: int, storage: str, values: int | None, *, bias: bool
    ) -> None:
        path = folder / extent.file
        header = read_header(path, SEGMENT)
        mapped = map_file(path)
        base = header.base
        found = {name: (tuple(entry["shape"]), entry["dtype"]) for name, entry in header.tensors.items()}
        names = {dtype: name for name, dtype in DTYPES.items()}
        rows = extent.rows
        wanted: dict[str, tuple[tuple[int, ...], str]] = {"patterns": ((rows, size), names[STORAGES[storage]])}
        wanted |= {"scale": ((rows,), "F32")} if storage == "int8" else {}
        wanted |= {} if values is None else {"values": ((rows, values), "F32")}
        wanted |= {"bias": ((rows,), "F64")} if bias else {}
        if {name: found.get(name) for name in wanted} != wanted:
            raise HopfieldError(f"{path} is damaged, or of another memory: it should hold {wanted}, and holds {found}")

        def small(name: str) -> Tensor:
            entry = header.tensors[name]
            count, offset = entry["shape"][0], base + entry["data_offsets"][0]
            if not count:
                return torch.zeros(0, dtype=_SMALL[name])
            return torch.frombuffer(mapped, dtype=_SMALL[name], count=count, offset=offset).clone()

        own = {name: small(name) for name in _SMALL if name in header.tensors}
        if _digest(own) != extent.digest:
            raise HopfieldError(f"{path} is damaged: its contents do not have the checksum they were written with")
        self.extent = extent
        self.bias = own.get("bias")
        self._scale = own.get("scale")
        self.patterns = Column(
            path,
            mapped,
            base + header.tensors["patterns"]["data_offsets"][0],
            (rows, size),
            STORAGES[storage],
            own.get("scale"),
            own["checks.patterns"],
        )
        self.values = None
        if values is not None:
            offset = base + header.tensors["values"]["data_offsets"][0]
            self.values = Column(path, mapped, offset, (rows, values), torch.float32, None, own["checks.values"])

    def encoded(self) -> Encoded:
        """All of it, to be written again."""
        rows = self.extent.rows
        tensors = {"patterns": self.patterns.raw(0, rows), "scale": self._scale, "bias": self.bias}
        tensors["values"] = None if self.values is None else self.values.raw(0, rows)
        return Encoded({name: tensor for name, tensor in tensors.items() if tensor is not None}, self.extent)


@dataclass(frozen=True)
class Header:
    """Where the tensors of a safetensors file are."""

    tensors: dict[str, Any]
    metadata: dict[str, str]
    base: int
    """Where the data starts, in bytes."""


def read_header(path: Path, kind: Kind) -> Header:
    """The header of a file of some kind, whose length fits what it says.

    Raises:
        HopfieldError: the file is missing, truncated, damaged, of another kind or of a later format.
    """
    if not path.is_file():
        raise HopfieldError(f"no {kind.noun} at {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        with path.open("rb") as raw:
            (length,) = struct.unpack("<Q", raw.read(8))
            tensors = json.loads(raw.read(length))
    except (OSError, ValueError, struct.error, safetensors.SafetensorError) as error:
        raise HopfieldError(f"{path} is damaged, truncated or no safetensors file: {error}") from error
    kind.check(path, metadata)
    tensors.pop("__metadata__", None)
    return Header(tensors, metadata, 8 + length)
