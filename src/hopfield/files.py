"""safetensors files of tensors and a description in JSON: written whole or not at all, and checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from hopfield.errors import HopfieldError

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        format: its name, in the file.
        version: the newest version of it that is read, and the one that is written.
        noun: what it holds, for people: "memory".
        writer: what writes it, for people: "AssociativeMemory.save".
    """

    format: str
    version: int
    noun: str
    writer: str

    def write(self, path: str | PathLike[str], tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Write to a temporary file beside `path`, flush it to disk, and move it into place.

        Raises:
            HopfieldError: the file cannot be written.
        """
        present = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        metadata = {name: json.dumps(value) for name, value in description.items()}
        metadata |= {"format": self.format, "version": str(self.version)}
        metadata["sha256"] = digest(present, metadata)
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
            reason = getattr(error, "strerror", None) or error  # without the name of the temporary file
            raise HopfieldError(f"cannot write the {self.noun} to {path}: {reason}") from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def read(self, path: str | PathLike[str], make: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> T:
        """What `make` builds from the tensors and the description.

        `make` takes what it uses out of the tensors; what is left is foreign.

        Raises:
            HopfieldError: a missing, foreign, newer or damaged file; whatever `make` raises of bad input.
        """
        path = Path(path)
        if not path.is_file():
            raise HopfieldError(f"no {self.noun} file at {path}")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                self.check(path, metadata)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            if digest(tensors, metadata) != metadata["sha256"]:
                raise HopfieldError(f"{path} is damaged: its contents do not have the checksum they were written with")
            own = ("format", "version", "sha256")
            made = make(tensors, {name: json.loads(text) for name, text in metadata.items() if name not in own})
            if tensors:
                raise HopfieldError(f"{path} is damaged: a {self.noun} has no {', '.join(sorted(tensors))}")
        except HopfieldError:
            raise
        except (OSError, safetensors.SafetensorError) as error:
            raise HopfieldError(f"{path} is damaged, truncated or no safetensors file: {error}") from error
        except (
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
            RuntimeError,
        ) as error:
            raise HopfieldError(
                f"{path} is damaged: its description of the {self.noun} cannot be read ({error!r})"
            ) from error
        return made

    def check(self, path: Path, metadata: dict[str, str]) -> None:
        """Refuse metadata of another kind, or of a later version."""
        if metadata.get("format") != self.format:
            raise HopfieldError(
                f"{path} is a safetensors file but not a {self.noun} written by {self.writer}; make a {self.noun} of "
                f"what it holds and write that with {self.writer}"
            )
        if not metadata.get("version", "").isdecimal():
            raise HopfieldError(f"{path} is damaged: it states no format version")
        version = int(metadata["version"])
        if version > self.version:
            raise HopfieldError(
                f"{path} has format version {version}, this release reads up to {self.version}; "
                "update hopfield to read it"
            )


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """A checksum of the description and of the tensors with their names, shapes and data types."""
    total = hashlib.sha256()
    total.update(json.dumps([(name, text) for name, text in sorted(metadata.items()) if name != "sha256"]).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():  # what has no numbers cannot be viewed as bytes
            total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
