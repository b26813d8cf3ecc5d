"""What comes into `Bags`: tensors, arrays, sizes, ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopfield.errors import HopfieldError


def as_tensor(name: str, given: Any, expected: str) -> Tensor:
    """A tensor or array, or a sequence of integers, as a tensor."""
    if hasattr(given, "to_numpy"):  # a table or a column of one
        given = given.to_numpy()
    if isinstance(given, Tensor):
        return given
    refuse_masks(name, given)
    try:
        if isinstance(given, np.ndarray):
            native = given.astype(given.dtype.newbyteorder("="), copy=False)
            return torch.from_numpy(np.require(native, requirements=["C", "W"]))
        if isinstance(given, Sequence) and all(isinstance(entry, int | np.integer) for entry in given):
            return torch.tensor([int(entry) for entry in given], dtype=torch.int64)
    except TypeError as error:
        raise HopfieldError(f"{name} must be an array of numbers {expected}, got dtype {given.dtype}") from error
    raise HopfieldError(f"{name} must be a tensor {expected}, got {type(given).__name__}; use torch.as_tensor")


def is_integer(tensor: Tensor) -> bool:
    """Whether a tensor holds integers."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def offsets_of(sizes: Sequence[int] | np.ndarray | Tensor) -> Tensor:
    """0 and the running sum of sizes (B,): (B + 1,) int64 on the CPU."""
    sizes = torch.as_tensor(sizes, dtype=torch.int64, device="cpu")
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def check_alike(name: str, tensor: Tensor, other: str, model: Tensor) -> None:
    """Refuse to join what differs in shape, dtype or device."""
    for what, a, b in (
        ("shape of an instance", tuple(tensor.shape[1:]), tuple(model.shape[1:])),
        ("dtype", tensor.dtype, model.dtype),
        ("device", tensor.device, model.device),
    ):
        if a != b:
            raise HopfieldError(f"bags must agree in the {what}: {other} has {b}, {name} has {a}; convert one of them")


def ids_of(groups: Any) -> np.ndarray:
    """Ids of bags as an array of integers or strings."""
    if isinstance(groups, Tensor):
        # numpy knows no bfloat16
        groups = (groups.double() if groups.is_floating_point() else groups).detach().cpu().numpy()
    refuse_masks("groups", groups)
    ids = np.asarray(groups)
    if not ids.size:
        return np.zeros(ids.shape, np.int64)
    if ids.dtype.kind in "UST" and isinstance(groups, Sequence) and not all(isinstance(g, str | bytes) for g in groups):
        raise HopfieldError("groups must be all integers or all strings, got a mixture; use [str(g) for g in groups]")
    if ids.dtype.kind == "O" and all(isinstance(g, str) for g in ids.flat):
        ids = ids.astype(np.str_)  # a column of strings of a table
    if ids.dtype.kind not in "biuUST":
        raise HopfieldError(f"groups must be integers or strings, got an array of {ids.dtype}; convert the ids first")
    return ids


def refuse_masks(name: str, given: Any) -> None:
    """Refuse an array of numpy with a mask, which would not be looked at."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise HopfieldError(f"{name} must have no masked entries; leave them out, or fill them in with .filled(value)")
