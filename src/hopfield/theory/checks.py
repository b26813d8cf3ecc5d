"""What the functions of the theory demand of their arguments; everything else is refused with a `HopfieldError`."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from hopfield.errors import HopfieldError

Index = int | Sequence[int] | Tensor | None


def check_finite(name: str, tensor: Tensor) -> None:
    """A floating-point tensor without NaN and infinities."""
    if not isinstance(tensor, Tensor):
        raise HopfieldError(f"{name} must be a tensor, got {type(tensor).__name__}; use torch.as_tensor.")
    if not tensor.is_floating_point():
        raise HopfieldError(f"{name} must be real floating point, got dtype {tensor.dtype}; convert with .float().")
    if not bool(tensor.isfinite().all()):
        raise HopfieldError(f"{name} must be finite, got {int((~tensor.isfinite()).sum())} entries NaN or infinite.")


def check_patterns(patterns: Tensor) -> Tensor:
    """The memory as a finite matrix (N, d) with N, d ≥ 1; half precision is widened to float32."""
    if not isinstance(patterns, Tensor):
        raise HopfieldError(f"patterns must be a tensor (N, d), got {type(patterns).__name__}; use torch.as_tensor.")
    if patterns.ndim != 2 or 0 in patterns.shape:
        raise HopfieldError(
            f"patterns must be one memory, a matrix (N, d) with N, d ≥ 1 and one pattern a row, "
            f"got shape {tuple(patterns.shape)}; for a batch of memories, call once for each."
        )
    check_finite("patterns", patterns)
    # A bound rounded to half precision bounds nothing.
    return patterns.to(torch.promote_types(patterns.dtype, torch.float32))


def check_points(name: str, points: Tensor, memory: Tensor) -> Tensor:
    """Vectors (*batch, d) beside the patterns of `memory`, in its dtype."""
    if not isinstance(points, Tensor):
        raise HopfieldError(f"{name} must be a tensor (*batch, d), got {type(points).__name__}; use torch.as_tensor.")
    if points.ndim < 1 or points.shape[-1] != memory.shape[-1]:
        raise HopfieldError(
            f"{name} must have shape (*batch, {memory.shape[-1]}), the size of the patterns at its end, "
            f"got {tuple(points.shape)}."
        )
    if points.device != memory.device:
        raise HopfieldError(f"{name} must be on the device of the patterns, {memory.device}, got {points.device}.")
    check_finite(name, points)
    return points.to(memory.dtype)


def check_index(index: Index, memory: Tensor, name: str = "index") -> Tensor:
    """Row numbers of `memory` as an integer tensor of any shape; None stands for all rows."""
    count = len(memory)
    if index is None:
        return torch.arange(count, device=memory.device)
    rows = torch.as_tensor(index, device=memory.device)
    if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise HopfieldError(f"{name} must hold integers, the row numbers of patterns, got dtype {rows.dtype}.")
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise HopfieldError(f"{name} must lie in 0 … {count - 1}, got {int(rows.min())} … {int(rows.max())}.")
    return rows.long()


def check_positive(name: str, value: float) -> float:
    """A positive, finite number (a tensor of one element will do)."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, Real):
        raise HopfieldError(f"{name} must be a single positive number, got {type(value).__name__}.")
    if not 0 < value < math.inf:
        raise HopfieldError(f"{name} must be positive and finite, got {value}.")
    return float(value)


def check_failure(failure: float) -> float:
    """A probability in (0, 1]."""
    if not isinstance(failure, Real) or not 0 < failure <= 1:
        raise HopfieldError(f"failure must be a probability with 0 < failure ≤ 1, got {failure}.")
    return float(failure)


def check_dim(dim: int) -> int:
    """The size of the patterns: an integer of at least 2, since d - 1 divides."""
    if not isinstance(dim, Integral) or dim < 2:
        raise HopfieldError(f"dim must be an integer of at least 2, got {dim}.")
    return int(dim)
