"""Memories as files."""

from __future__ import annotations

import dataclasses
from os import PathLike
from typing import Any

from torch import Tensor

from hopfield.core import separation as functions
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.files import Kind

MEMORY = Kind("hopfield.AssociativeMemory", 1, "memory", "AssociativeMemory.save")
_KINDS = {kind.__name__: kind for kind in (type(make()) for make in functions.NAMES.values())}


def save(
    path: str | PathLike[str],
    patterns: Tensor,
    values: Tensor | None,
    bias: Tensor | None,
    beta: float,
    separation: Separation,
) -> None:
    """Write a memory: whole, or not at all."""
    description = described(separation)
    if description is None:
        raise HopfieldError(
            f"cannot save a memory with the separation function {type(separation).__name__}: only those of "
            "hopfield.separation have a name in the file; save memory.patterns yourself"
        )
    tensors = {"patterns": patterns, "values": values, "bias": bias}
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    MEMORY.write(path, present, {"beta": beta, "separation": description})


def load(path: str | PathLike[str]) -> tuple[Tensor, Tensor | None, Tensor | None, float, Separation]:
    """Read patterns, values, bias, beta and separation."""

    def make(
        tensors: dict[str, Tensor], description: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None, Tensor | None, float, Separation]:
        separation = separation_of(description["separation"])
        patterns, values, bias = tensors.pop("patterns"), tensors.pop("values", None), tensors.pop("bias", None)
        return patterns, values, bias, description["beta"], separation

    return MEMORY.read(path, make)


def described(separation: Separation) -> dict[str, Any] | None:
    """A separation function of this library as JSON; None for any other."""
    kind = type(separation).__name__
    if _KINDS.get(kind) is not type(separation):
        return None
    return {"name": kind, "parameters": dataclasses.asdict(separation)}  # type: ignore[call-overload]  # dataclasses all


def separation_of(description: dict[str, Any]) -> Separation:
    """The separation function that `described` wrote down."""
    made: Separation = _KINDS[description["name"]](**description["parameters"])
    return made
