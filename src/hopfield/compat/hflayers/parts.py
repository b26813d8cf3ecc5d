"""Small pieces of the layers: norms, activations, properties, and checks of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hopfield.errors import HopfieldError


def norm(what: str, size: int | None, wanted: bool, affine: bool, eps: float) -> nn.LayerNorm | None:
    """Layer normalisation of an input, or None."""
    if affine and not wanted:
        raise HopfieldError(f"normalize_{what}_affine has no effect without normalize_{what}: set both, or neither")
    if not wanted:
        return None
    if size is None:
        raise HopfieldError(
            f"normalize_{what} needs the size of the {what.replace('_', ' ')}: give it, or set it False"
        )
    return nn.LayerNorm(size, elementwise_affine=affine, eps=eps)


def activation(name: str | None) -> Callable[[Tensor], Tensor] | None:
    """The function of torch by that name."""
    if name is None:
        return None
    function = getattr(torch, name, None) if isinstance(name, str) else None
    try:
        fits = not isinstance(function, type) and function(torch.zeros(2)).shape == (2,)  # type: ignore[misc]  # what is not callable is caught below
    except (AttributeError, RuntimeError, TypeError):
        fits = False
    if not fits:
        raise HopfieldError(
            f"unknown activation {name!r}; expected a function of torch such as relu, tanh, sigmoid, selu"
        )
    return function


def of_core(name: str, doc: str) -> Any:
    """An attribute of the association core as a property."""
    return property(lambda layer: getattr(layer.association_core, name), doc=doc)


def of_norm(name: str) -> tuple[Any, Any]:
    """Whether there is a norm, and whether it has scale and shift, as properties."""

    def affine(layer: Any) -> bool:
        module = getattr(layer, name)
        return module is not None and bool(module.elementwise_affine)

    return (
        property(lambda layer: getattr(layer, name) is not None, doc="Whether there is a normalisation."),
        property(affine, doc="Whether that has scale and shift."),
    )


def described(data: Any) -> str:
    """What came, in a few words."""
    if isinstance(data, Tensor):
        return f"a tensor {tuple(data.shape)}"
    return f"a {type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else f"a {type(data).__name__}"


def check_input(name: str, rows: Tensor, size: int | None) -> None:
    """Refuse what is not a floating-point tensor of three dimensions, the last of this size."""
    if not isinstance(rows, Tensor) or rows.dim() != 3 or (size is not None and rows.shape[2] != size):
        wanted = "size" if size is None else size
        raise HopfieldError(
            f"the {name} must be a tensor of three dimensions, the last {wanted}; got {described(rows)} "
            "(several inputs are one tuple: stored pattern, state pattern, pattern projection)"
        )
    if not rows.is_floating_point():
        raise HopfieldError(f"the {name} must be of a floating-point dtype, got {rows.dtype}; use .float()")
