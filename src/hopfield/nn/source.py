"""How an input enters an association: normalised, then projected; several inputs in one matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.core.kernels.matmul import linear
from hopfield.errors import HopfieldError

Norm = str | Callable[[int], nn.Module] | None
"""A norm by name, a function from a size to a module, or None for none."""


def _plain(size: int) -> nn.Module:
    return nn.LayerNorm(size, elementwise_affine=False)


NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "layer_plain": _plain, "rms": nn.RMSNorm}
"""Norms by name: layer normalisation with and without its affine part, and root-mean-square normalisation."""


def make_norm(norm: Norm, size: int, argument: str = "norm") -> nn.Module | None:
    """The module for a norm over the last dimension.

    Raises:
        HopfieldError: an unknown name; the message lists the valid ones.
    """
    if norm is None:
        return None
    if isinstance(norm, str):
        if norm not in NORMS:
            raise HopfieldError(
                f"unknown {argument} {norm!r}; expected one of {', '.join(NORMS)}, None, "
                "or a function from a size to a module, such as torch.nn.LayerNorm"
            )
        return NORMS[norm](size)
    if isinstance(norm, nn.Module) or not callable(norm):
        raise HopfieldError(
            f"{argument} must be a name ({', '.join(NORMS)}), None, or a function from a size to a module, "
            f"got {type(norm).__name__}"
        )
    return norm(size)


def hooked(module: nn.Module) -> bool:
    """Whether something waits for the module to be called."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(len(kind) > 0 for kind in hooks)


@dataclass(frozen=True)
class Source:
    """How an input enters the association: normalised, then projected to all heads. None leaves a part out."""

    norm: nn.Module | None = None
    weight: Tensor | None = None
    """(h k, size)"""
    bias: Tensor | None = None
    """(h k,)"""
    module: nn.Module | None = None
    """A projection that is not a plain matrix, in place of `weight` and `bias`."""

    @classmethod
    def of(cls, norm: nn.Module | None, projection: nn.Module | None) -> Source:
        """From modules; a plain linear one is taken apart, so that it can be merged with others."""
        if projection is None:
            return cls(norm)
        if type(projection) is nn.Linear and not hooked(projection):
            return cls(norm, projection.weight, projection.bias)
        return cls(norm, module=projection)

    @property
    def projects(self) -> bool:
        """Whether there is a projection."""
        return self.weight is not None or self.module is not None

    def __call__(self, rows: Tensor) -> Tensor:
        """(*batch, n, size) -> (*batch, n, h k), or of the same size without a projection."""
        if self.norm is not None:
            rows = self.norm(rows)
        if self.module is not None:
            rows = self.module(rows)
        return rows if self.weight is None else linear(rows, self.weight, self.bias)

    @property
    def statistics(self) -> tuple[str, float] | None:
        """The norm without its affine part: its kind and epsilon; None if it is of another make."""
        norm = self.norm
        if norm is None:
            return "none", 0.0
        if type(norm) is nn.LayerNorm and len(norm.normalized_shape) == 1 and not hooked(norm):
            return "layer", norm.eps
        return None

    def absorbed(self) -> Source:
        """The same without norm, for inputs that are normalised already: its affine part goes into the projection.

        W (g ∘ ŷ + c) + b = (W ∘ g) ŷ + (W c + b).
        """
        weight, bias = self.weight, self.bias
        if self.norm is None or weight is None:
            return self
        scale, shift = self._affine()
        if shift is not None:
            moved = (weight * shift).sum(-1)
            bias = moved if bias is None else bias + moved
        return Source(None, weight if scale is None else weight * scale, bias)

    def _affine(self) -> tuple[Tensor | None, Tensor | None]:
        """Scale and shift of the norm."""
        scale, shift = getattr(self.norm, "weight", None), getattr(self.norm, "bias", None)
        return scale if isinstance(scale, Tensor) else None, shift if isinstance(shift, Tensor) else None

    def folded_into(self, heads: Tensor) -> Tensor:
        """States whose products with normalised rows are those of `heads` with the projected rows, up to a constant.

        (*batch, h, L, k) -> (*batch, h, L, size): Wᵀ ξ, or g ∘ ξ without a projection.
        """
        source = self.absorbed()
        if source.weight is None:
            scale, shift = self._affine()
            result = heads if scale is None else heads * scale
        else:
            shift = source.bias
            result = _by_head(heads, source.weight.reshape(heads.shape[-3], -1, source.weight.shape[-1]))
        # what all scores of a state share has a gradient of zero, not none: DistributedDataParallel waits for it
        return result + 0.0 * shift.sum() if shift is not None and shift.requires_grad else result

    def behind(self, mean: Tensor) -> Tensor:
        """What the source makes of weighted means of normalised rows, (*batch, h, L, size) -> (*batch, h, L, k)."""
        source = self.absorbed()
        if source.weight is None:
            scale, shift = self._affine()
            mean = mean if scale is None else mean * scale
            return mean if shift is None else mean + shift
        heads = mean.shape[-3]
        result = _by_head(mean, source.weight.reshape(heads, -1, source.weight.shape[-1]).mT)
        return result if source.bias is None else result + source.bias.reshape(heads, 1, -1)

    def after(self, first: Source) -> Source:
        """This projection after another one, which has no norm of its own: W' (W y + b) + b'."""
        if first.module is not None or self.module is not None:
            raise HopfieldError(
                "connect_values needs plain linear projections: leave project_stored and project_value torch.nn.Linear"
            )
        if first.weight is None:
            return self
        if self.weight is None:
            return replace(self, weight=first.weight, bias=first.bias)
        bias = self.bias
        if first.bias is not None:
            moved = self.weight @ first.bias
            bias = moved if bias is None else bias + moved
        return replace(self, weight=self.weight @ first.weight, bias=bias)


def _by_head(rows: Tensor, matrices: Tensor) -> Tensor:
    """(*batch, h, L, a) times one matrix (h, a, b) per head: (*batch, h, L, b).

    One product of all rows per head. A matrix broadcast over the batch would be as many tiny products.
    """
    if rows.dim() == 3:
        return rows @ matrices
    flat = rows.movedim(-3, 0)  # (h, *batch, L, a)
    result: Tensor = (flat.flatten(1, -2) @ matrices).unflatten(1, flat.shape[1:-1])
    return result.movedim(0, -3)


def normalized(rows: Tensor, statistics: tuple[str, float]) -> Tensor:
    """Rows under a norm without affine part."""
    kind, epsilon = statistics
    return F.layer_norm(rows, rows.shape[-1:], eps=epsilon) if kind == "layer" else rows


def project(inputs: Sequence[Tensor], sources: Sequence[Source]) -> list[Tensor]:
    """Every input through its source; one that serves several is normalised once and projected in one product."""
    results: list[Tensor | None] = [None] * len(inputs)
    for index, (rows, source) in enumerate(zip(inputs, sources, strict=True)):
        if results[index] is not None:
            continue
        statistics = source.statistics
        same = [index]
        if source.weight is not None and statistics is not None:
            same += [
                other
                for other in range(index + 1, len(inputs))
                if inputs[other] is rows
                and sources[other].weight is not None
                and sources[other].statistics == statistics
            ]
        if len(same) == 1 or statistics is None:
            results[index] = source(rows)
            continue
        parts = _together(rows, [sources[other] for other in same], statistics)
        for other, part in zip(same, parts, strict=True):
            results[other] = part
    return [result for result in results if result is not None]


def _together(rows: Tensor, sources: Sequence[Source], statistics: tuple[str, float]) -> tuple[Tensor, ...]:
    sources = [source.absorbed() for source in sources]
    weights = [source.weight for source in sources if source.weight is not None]
    bias = None
    if any(source.bias is not None for source in sources):
        bias = torch.cat(
            [
                weight.new_zeros(weight.shape[0]) if source.bias is None else source.bias
                for source, weight in zip(sources, weights, strict=True)
            ]
        )
    result = linear(normalized(rows, statistics), torch.cat(weights), bias)
    return torch.split(result, [weight.shape[0] for weight in weights], -1)
