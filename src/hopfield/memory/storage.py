"""Memories as safetensors files: written whole or not at all, and checked when read."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from hopfield.core import separation as functions
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError

FORMAT = "hopfield.AssociativeMemory"
VERSION = 1
_KINDS = {kind.__name__: kind for kind in (type(make()) for make in functions.NAMES.values())}


def save(
    path: str | PathLike[str],
    patterns: Tensor,
    values: Tensor | None,
    bias: Tensor | None,
    beta: float,
    separation: Separation,
) -> None:
    """Write to a temporary file beside `path`, flush it to disk, and move it into place."""
    kind = type(separation).__name__
    if _KINDS.get(kind) is not type(separation):
        raise HopfieldError(
            f"cannot save a memory with the separation function {kind}: only those of hopfield.separation have a name "
            "in the file; save memory.patterns yourself"
        )
    tensors = {"patterns": patterns, "values": values, "bias": bias}
    present = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items() if tensor is not None
    }
    parameters = dataclasses.asdict(separation)  # type: ignore[call-overload]  # all of them are dataclasses
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "beta": json.dumps(beta),
        "separation": json.dumps({"name": kind, "parameters": parameters}),
        "sha256": _digest(present),
    }
    path = Path(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        save_file(present, temporary, metadata=metadata)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise HopfieldError(f"cannot write the memory to {path}: {error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def load(path: str | PathLike[str]) -> tuple[Tensor, Tensor | None, Tensor | None, float, Separation]:
    """Read patterns, values, bias, beta and separation."""
    path = Path(path)
    if not path.is_file():
        raise HopfieldError(f"no memory file at {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _check_format(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        if _digest(tensors) != metadata["sha256"]:
            raise HopfieldError(f"{path} is damaged: its contents do not have the checksum they were written with")
        beta = json.loads(metadata["beta"])
        separation = _separation(json.loads(metadata["separation"]))
        patterns = tensors.pop("patterns")
        values, bias = tensors.pop("values", None), tensors.pop("bias", None)
        if tensors:
            raise HopfieldError(f"{path} is damaged: a memory has no {', '.join(sorted(tensors))}")
    except HopfieldError:
        raise
    except (OSError, safetensors.SafetensorError) as error:
        raise HopfieldError(f"{path} is damaged, truncated or no safetensors file: {error}") from error
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise HopfieldError(f"{path} is damaged: its description of the memory cannot be read ({error!r})") from error
    return patterns, values, bias, beta, separation


def _digest(tensors: dict[str, Tensor]) -> str:
    """A checksum of the tensors with their names, shapes and data types."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _check_format(path: Path, metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise HopfieldError(f"{path} is a safetensors file but not a memory written by AssociativeMemory.save")
    if not metadata.get("version", "").isdecimal():
        raise HopfieldError(f"{path} is damaged: it states no format version")
    version = int(metadata["version"])
    if version > VERSION:
        raise HopfieldError(
            f"{path} has format version {version}, this release reads up to {VERSION}; update hopfield to read it"
        )


def _separation(description: dict[str, Any]) -> Separation:
    made: Separation = _KINDS[description["name"]](**description["parameters"])
    return made
