"""What a memory refuses: patterns, values, biases, β, masks and indices that do not fit."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from hopfield.core.task import broadcast, check_beta
from hopfield.errors import HopfieldError

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_rows(name: str, tensor: Tensor, like: Tensor | None) -> Tensor:
    """A finite floating-point matrix, with one row for each row of `like`."""
    rows = "N" if like is None else str(like.shape[0])
    if not isinstance(tensor, Tensor):
        raise HopfieldError(f"{name} must be a tensor ({rows}, size), got {type(tensor).__name__}; use torch.as_tensor")
    if tensor.dim() != 2 or (like is not None and tensor.shape[0] != like.shape[0]):
        raise HopfieldError(f"{name} must be of shape ({rows}, size), one row per pattern; got {tuple(tensor.shape)}")
    if not tensor.shape[1]:
        raise HopfieldError(f"{name} must have at least one entry each, got shape {tuple(tensor.shape)}")
    if tensor.dtype not in _DTYPES:
        raise HopfieldError(
            f"{name} must be of a floating-point dtype, got {tensor.dtype}; use {name}.float() (float16, bfloat16, "
            "float32 and float64 will do)"
        )
    finite = torch.isfinite(tensor).all(-1)
    if not bool(finite.all()):
        wrong = (~finite).nonzero().flatten().tolist()
        raise HopfieldError(
            f"{name} must be finite; {len(wrong)} of {tensor.shape[0]} rows have NaN or infinity, the first at index "
            f"{wrong[0]}; drop or repair them"
        )
    if like is None and not bool(
        torch.isfinite(torch.linalg.vector_norm(tensor, dim=-1, dtype=_wide(tensor)).square()).all()
    ):
        raise HopfieldError(f"{name} are too large: their squared norms overflow {_wide(tensor)}; scale them down")
    return tensor


def check_bias(bias: Tensor, patterns: Tensor) -> Tensor:
    """Finite biases, one per pattern."""
    if not isinstance(bias, Tensor) or bias.shape != patterns.shape[:1]:
        came = tuple(bias.shape) if isinstance(bias, Tensor) else type(bias).__name__
        raise HopfieldError(f"bias must be a tensor of shape ({patterns.shape[0]},), one per pattern; got {came}")
    if bias.dtype not in _DTYPES:
        raise HopfieldError(f"bias must be of a floating-point dtype, got {bias.dtype}; use bias.float()")
    if not bool(torch.isfinite(bias).all()):
        raise HopfieldError("bias must be finite; to leave a pattern out, remove it")
    return bias.to(patterns.device)


def check_scalar(beta: float | Tensor) -> float | Tensor:
    """A single inverse temperature."""
    beta = check_beta(beta)
    if isinstance(beta, Tensor) and beta.numel() != 1:
        raise HopfieldError(
            f"a memory has one beta, got a tensor of shape {tuple(beta.shape)}; for one per query use hopfield.retrieve"
        )
    return beta.reshape(()) if isinstance(beta, Tensor) else beta


def check_mask(mask: Tensor, lead: torch.Size, count: int) -> Tensor:
    """The mask as (1 or L, N), for L states in a batch of shape `lead`."""
    if not isinstance(mask, Tensor):
        raise HopfieldError(
            f"mask must be a tensor that broadcasts to (*batch, N), got {type(mask).__name__}; use torch.as_tensor"
        )
    fits = mask.dim() > 0 and broadcast(mask.shape, (*lead, count)) == (*lead, count)
    if not fits or mask.dtype != torch.bool:
        raise HopfieldError(
            f"mask must be bool and broadcast to (*batch, N) = {(*lead, count)}, True for patterns that take part; "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    width = mask.shape[-1]
    return mask.reshape(1, width) if mask.dim() == 1 else mask.expand(*lead, width).reshape(lead.numel(), width)


def check_kept(indices: int | Iterable[int] | Tensor, count: int, device: torch.device) -> Tensor:
    """Which of N patterns are left without those at these indices, bool (N,)."""
    try:
        listed = list(indices) if isinstance(indices, Iterable) and not isinstance(indices, Tensor) else indices
        index = torch.as_tensor(listed)
    except (TypeError, ValueError, RuntimeError) as error:
        raise HopfieldError(f"remove needs integer indices, got {indices!r}") from error
    if not isinstance(indices, Tensor) and index.numel() == 0:
        index = index.long()
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool or index.dim() > 1:
        raise HopfieldError(
            f"remove needs integer indices, got {index.dtype} of shape {tuple(index.shape)}; "
            "for a mask use mask.nonzero().flatten()"
        )
    index = index.long()
    outside = (index < -count) | (index >= count)
    if bool(outside.any()):
        wrong = int(index.reshape(-1)[outside.reshape(-1)][0])
        raise HopfieldError(f"index {wrong} is outside the memory of {count} patterns")
    keep = torch.ones(count, dtype=torch.bool, device=device)
    keep[index.to(keep.device)] = False
    return keep


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
