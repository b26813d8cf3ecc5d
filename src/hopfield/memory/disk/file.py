"""An associative memory over one file of patterns, which is read and never written."""

from __future__ import annotations

import json
import math
import mmap
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.files import digest
from hopfield.memory.disk.column import Column, map_file
from hopfield.memory.disk.folder import Manifest
from hopfield.memory.disk.memory import DiskMemory
from hopfield.memory.disk.rows import DiskRows
from hopfield.memory.disk.segment import DTYPES, read_header
from hopfield.memory.index.groups import GROUP, Index
from hopfield.memory.rows import largest_norm
from hopfield.memory.storage import MEMORY
from hopfield.memory.stored import Stored
from hopfield.progress import Progress

# rows that are looked through at once
_ROWS = 1 << 16
_SOFTMAX = {"name": "Softmax", "parameters": {}}


class FileMemory(DiskMemory):
    """An associative memory over a .npy file (N, d), or over a file that `AssociativeMemory.save` wrote.

    The whole file is read through when it is opened, for what bounds need to know of it.
    """

    def _read(self) -> None:
        path = self.folder
        found = _read_npy(path) if path.suffix == ".npy" else _read_memory(path)
        columns, description = found
        patterns, values, bias = columns["patterns"], columns.get("values"), columns.get("bias")
        biases = None if bias is None else bias.read(0, bias.shape[0])[:, 0].double()
        norm, peak = _surveyed("patterns", patterns, biases)
        value_norm = norm if values is None else _surveyed("values", values)[0]
        dtype = torch.float64 if patterns.dtype == torch.float64 else torch.float32
        rows = DiskRows([patterns], patterns.shape[1], None, dtype, norm, 0.0, self._limit)
        own = None if values is None else DiskRows([values], values.shape[1], None, dtype, value_norm, 0.0, self._limit)
        self._manifest = Manifest(
            size=patterns.shape[1],
            storage=f"{patterns.dtype}".removeprefix("torch."),
            values=None if values is None else values.shape[1],
            bias=bias is not None,
            beta=description["beta"],
            separation=description["separation"],
        )
        self._live = None
        self._kept = Stored(
            rows,
            own,
            biases,
            None,
            norm,
            value_norm,
            float(biases.abs().amax()) if biases is not None and len(biases) else 0.0,
            peak,
            0.0,
            0.0,
        )

    def _writing(self, **_: bool) -> NoReturn:
        raise HopfieldError(
            f"{self.folder} is only read: make a memory that can change of it, with "
            f"AssociativeMemory.build(folder, (memory[i : i + 100_000] for i in range(0, {len(self)}, 100_000)))"
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Refused: the memory is in its file already."""
        raise HopfieldError(f"the memory is kept in {self.folder} already, which is only read: copy it to {path}")

    def build_index(self, *, size: int = GROUP, seed: int = 0, progress: Progress | None = None) -> None:
        """Group the patterns by k-means, for as long as the memory is open."""
        made = Index.of(self._kept.patterns, size=size, seed=seed, progress=progress)
        self._kept = self._kept.with_index(made)


def _read_npy(path: Path) -> tuple[dict[str, Column], dict[str, Any]]:
    mapped = map_file(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (OSError, ValueError) as error:
        raise HopfieldError(f"{path} is damaged, truncated or no .npy file: {error}") from error
    kinds = {"<f2": torch.float16, "<f4": torch.float32, "<f8": torch.float64}
    if len(shape) != 2 or fortran or dtype.str not in kinds:
        raise HopfieldError(
            f"{path} must hold patterns (N, d), row by row, of float16, float32 or float64; it holds {dtype} of shape "
            f"{shape}{', column by column' if fortran else ''}; convert it with numpy and save it anew"
        )
    if len(mapped) < offset + shape[0] * shape[1] * dtype.itemsize:
        raise HopfieldError(f"{path} is truncated: it has {len(mapped)} bytes, too few for {shape} of {dtype}")
    return {"patterns": Column(path, mapped, offset, shape, kinds[dtype.str])}, {"beta": 1.0, "separation": _SOFTMAX}


def _read_memory(path: Path) -> tuple[dict[str, Column], dict[str, Any]]:
    header = read_header(path, MEMORY)
    mapped = map_file(path)
    tensors = {name: _mapped(mapped, header.base, entry) for name, entry in header.tensors.items()}
    if digest(tensors, header.metadata) != header.metadata.get("sha256"):
        raise HopfieldError(f"{path} is damaged: its contents do not have the checksum they were written with")
    columns = {}
    for name, entry in header.tensors.items():
        shape = entry["shape"] if len(entry["shape"]) == 2 else [*entry["shape"], 1]
        columns[name] = Column(
            path, mapped, header.base + entry["data_offsets"][0], tuple(shape), DTYPES[entry["dtype"]]
        )
    return columns, {name: json.loads(header.metadata[name]) for name in ("beta", "separation")}


def _mapped(mapped: mmap.mmap, base: int, entry: dict[str, Any]) -> Tensor:
    start, end = entry["data_offsets"]
    dtype = DTYPES[entry["dtype"]]
    if start == end:
        return torch.zeros(entry["shape"], dtype=dtype)
    count = (end - start) // dtype.itemsize
    return torch.frombuffer(mapped, dtype=dtype, count=count, offset=base + start).view(entry["shape"])


def _surveyed(name: str, column: Column, bias: Tensor | None = None) -> tuple[float, float]:
    """The largest norm, of rows that are all finite, and the largest ½|x|² + b."""
    most, peak = 0.0, -math.inf
    for start in range(0, column.shape[0], _ROWS):
        stop = min(start + _ROWS, column.shape[0])
        rows = column.read(start, stop)
        dtype = torch.promote_types(rows.dtype, torch.float32)
        own = largest_norm(rows, dtype)
        if not own**2 < torch.finfo(dtype).max:
            norms = torch.linalg.vector_norm(rows, dim=-1, dtype=dtype)
            wrong = (~norms.square().isfinite()).nonzero().flatten().tolist() or [int(norms.argmax())]
            raise HopfieldError(
                f"{column.path}: {name} must be finite, and their squared norms too; the one at index "
                f"{start + wrong[0]} is not"
            )
        most = max(most, own)
        height = rows.double().square().sum(-1) / 2
        peak = max(peak, float((height if bias is None else height + bias[start:stop]).amax()))
        column.release(start, stop)
    return most, peak if column.shape[0] else 0.0
