"""Matrix products in the two shapes that an association needs, on the fastest library at hand.

On x86 processors with AVX-512, PyTorch's float32 products go to MKL, which on processors of other makers than Intel
uses half the vector width; oneDNN, shipped in the same build, uses all of it. Which one runs depends on the machine
and the shapes alone, never on the data.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# below this many multiplications the two are level, and the plain product has less overhead
_WORTHWHILE = 1 << 20


@cache
def _onednn() -> bool:
    """Whether oneDNN's product is there and wider than the default."""
    wide = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return wide and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _level() -> bool:
    """Whether PyTorch's default is as fast as oneDNN's product: on Intel's own processors."""
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "Intel" in str(told.get("cpu_name", ""))


@cache
def keep_buffers() -> None:
    """Let the C library keep the memory of freed blocks of scores for the next ones.

    glibc returns a freed block to the system, to be mapped and cleared page by page the next time, unless it is smaller
    than the largest one freed so far (32 MiB at most). Freeing one such block, never touched, therefore saves most of
    the time of a pass over a large memory. Other C libraries do not mind.
    """
    torch.empty((31 << 20,), dtype=torch.uint8)


def _fits(left: Tensor, right: Tensor, size: int) -> bool:
    return (
        left.dtype == torch.float32
        and left.device.type == "cpu"
        and size >= _WORTHWHILE
        and left.is_contiguous()
        and not torch.compiler.is_compiling()
        and right.dtype == torch.float32
        and _onednn()
    )


def similarities(
    states: Tensor, patterns: Tensor, bias: Tensor | None = None, *, parts: int = 1, out: Tensor | None = None
) -> Tensor:
    """Q Kᵀ + bias without gradients. (B, L, d), (B, N, d), (N,) -> (B, L, N).

    Summed in parts of d / `parts` terms, which rounds less. Written to `out`, (B, L, N), where that costs nothing:
    oneDNN always takes new memory.
    """
    batch, rows, width = states.shape
    columns = patterns.shape[1]
    if parts > 1:
        first, *others = zip(states.chunk(parts, 2), patterns.chunk(parts, 2), strict=True)
        result = similarities(*first, bias, out=out)
        for left, right in others:
            result += torch.bmm(left, right.mT)
        return result
    if batch == 1 and _fits(states, patterns, rows * columns * width) and (out is None or not _level()):
        flat = torch.ops.mkldnn._linear_pointwise(states[0], patterns[0], bias, "none", [], "")
        return flat.unsqueeze(0)  # type: ignore[no-any-return]  # torch.ops is untyped
    if bias is None:
        return torch.bmm(states, patterns.mT, out=out)
    return torch.baddbmm(bias, states, patterns.mT, out=out)


def mix(weights: Tensor, values: Tensor) -> Tensor:
    """P V without gradients. (B, L, N), (B, N, v) -> (B, L, v)."""
    batch, rows, columns = weights.shape
    # a single row gains sooner
    size = rows * columns * values.shape[2] * (4 if rows == 1 else 1)
    if batch == 1 and _fits(weights, values, size):
        flat = torch.ops.mkldnn._linear_pointwise(weights[0], values[0].mT, None, "none", [], "")
        return flat.unsqueeze(0)  # type: ignore[no-any-return]  # torch.ops is untyped
    return torch.bmm(weights, values)


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear`: rows Wᵀ + bias, (*batch, n, d), (k, d), (k,) -> (*batch, n, k)."""
    size = weight.numel() * (rows.numel() // max(1, rows.shape[-1]))
    recorded = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or traced()
    if not recorded and _fits(rows, weight, size):
        flat = torch.ops.mkldnn._linear_pointwise(rows.flatten(0, -2), weight, bias, "none", [], "")
        return flat.view(*rows.shape[:-1], -1)  # type: ignore[no-any-return]  # torch.ops is untyped
    return F.linear(rows, weight, bias)


def traced() -> bool:
    """Whether operations are compiled, exported or transformed, which asks for those that never look at numbers."""
    return torch.compiler.is_compiling() or transformed()


def transformed() -> bool:
    """Whether operations are transformed by `torch.func`, which does not know those that are fused."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
