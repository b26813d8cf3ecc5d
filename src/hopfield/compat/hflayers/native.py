"""From the original's layers to those of `hopfield.nn`."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from hopfield import nn as native
from hopfield.compat.hflayers.activation import as_steps, as_tol
from hopfield.errors import HopfieldError
from hopfield.nn.hopfield import Options
from hopfield.nn.source import Source

if TYPE_CHECKING:
    from hopfield.compat.hflayers.layers import Hopfield, HopfieldLayer, HopfieldPooling

Module = TypeVar("Module", bound=nn.Module)


class Activation(nn.Module):
    """A function of torch by name, as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, rows: Tensor) -> Tensor:
        """The function of every entry."""
        return getattr(torch, self.name)(rows)  # type: ignore[no-any-return]  # found by name

    def extra_repr(self) -> str:
        """The name."""
        return self.name


def _options(layer: Hopfield, state_size: int | None, stored_size: int | None, value_size: int | None) -> Options:
    """The keyword arguments of the native layer."""
    core = layer.association_core
    projected = {
        "state": not core.query_as_static,
        "stored": not core.key_as_static,
        "value": not core.value_as_static,
        "output": not core.disable_out_projection,
    }
    scaling = layer._scaling
    options: Options = {
        "stored_size": stored_size,
        "value_size": value_size,
        "heads": core.num_heads,
        "head_size": core.head_dim or state_size,
        "head_value_size": core.pattern_dim if projected["value"] else None,
        "output_size": core.out_dim if projected["output"] else None,
        "beta": native.LearnedBeta(scaling) if isinstance(scaling, nn.Parameter) else scaling,
        "steps": as_steps(layer.update_steps_max, core.num_heads),
        "tol": as_tol(layer.update_steps_eps),
        "norm": None,
        "project": [name for name, there in projected.items() if there],
        "connect_values": core.value_as_connected and not core.key_as_static,
        "bias": core.in_proj_bias is not None or (core.out_proj is not None and core.out_proj.bias is not None),
        "extra": ["bias"] * (core.bias_k is not None) + ["zero"] * core.add_zero_attn,
        "dropout": core.dropout,
        "batch_first": layer.batch_first,
    }
    return options


@torch.no_grad()
def _fill(result: native.Hopfield, layer: Hopfield) -> None:
    """Copy parameters and norms."""
    core = layer.association_core

    def copy(target: nn.Linear | None, source: Source) -> None:
        if target is not None and source.weight is not None:
            target.weight.copy_(source.weight)
            if source.bias is not None:
                target.bias.copy_(source.bias)

    state, stored, value = core.sources()
    copy(result.project_state, state)
    copy(result.project_stored, stored)
    copy(result.project_value, value)
    result.norm_state = deepcopy(layer.norm_state_pattern)
    result.norm_stored = deepcopy(layer.norm_stored_pattern)
    result.norm_value = deepcopy(layer.norm_pattern_projection)
    if core.normalize_pattern:
        affine = core.p_norm_weight is not None
        norm = nn.LayerNorm(result.head_size, eps=core.normalize_pattern_eps, elementwise_affine=affine)
        if core.p_norm_weight is not None and core.p_norm_bias is not None:
            norm.to(core.p_norm_weight)
            norm.weight.copy_(core.p_norm_weight)
            norm.bias.copy_(core.p_norm_bias)
        result.head_norm = norm
    for target, extra in ((result.extra_pattern, core.bias_k), (result.extra_value, core.bias_v)):
        if target is not None and extra is not None:
            target.copy_(extra.view_as(target))
    output: list[nn.Module] = [] if core.out_proj is None else [deepcopy(core.out_proj)]
    if layer._activation_name is not None:
        output.append(Activation(layer._activation_name))
    result.project_output = nn.Sequential(*output) if len(output) > 1 else next(iter(output), None)  # type: ignore[assignment]  # None for no projection


def _sizes(layer: Hopfield, size: int | None) -> tuple[int, int, int]:
    """Sizes of state patterns, stored patterns and pattern projections."""
    core = layer.association_core
    if core.head_dim is None or core.embed_dim is None or core.kdim is None or core.vdim is None:
        if size is None:
            raise HopfieldError("a layer without projections does not know its size: to_native(size=...)")
        return size, size, size
    state = core.head_dim if core.query_as_static else core.embed_dim
    stored = core.head_dim if core.key_as_static else core.kdim
    return state, stored, layer._value_size() or core.vdim


def _like(result: Module, layer: nn.Module) -> Module:
    """The data type, device and mode of the layer."""
    tensor = next((tensor for tensor in (*layer.parameters(), *layer.buffers())), None)
    return (result if tensor is None else result.to(tensor)).train(layer.training)


def native_hopfield(layer: Hopfield, size: int | None) -> native.Hopfield:
    """`Hopfield.to_native`."""
    state, stored, value = _sizes(layer, size)
    result = _like(native.Hopfield(state, **_options(layer, state, stored, value)), layer)
    _fill(result, layer)
    return result


def native_pooling(pooling: HopfieldPooling) -> native.HopfieldPooling:
    """`HopfieldPooling.to_native`."""
    layer = pooling.hopfield
    states = pooling.pooling_weights.detach().flatten(0, 1)
    state, stored, value = _sizes(layer, states.shape[-1])
    trainable = pooling.pooling_weights.requires_grad
    options = _options(layer, state, stored, value)
    result = _like(native.HopfieldPooling(state, states=states, trainable=trainable, **options), layer)
    _fill(result.hopfield, layer)
    return result


def native_layer(lookup: HopfieldLayer) -> native.HopfieldLayer:
    """`HopfieldLayer.to_native`."""
    layer, targets = lookup.hopfield, lookup.target_weights
    patterns = lookup.lookup_weights.detach().flatten(0, 1)
    state, stored, value = _sizes(layer, patterns.shape[-1])
    if layer._value_size() is None:
        value = (patterns if targets is None else targets).shape[-1]
    result = _like(
        native.HopfieldLayer(
            state,
            patterns=patterns,
            targets=None if targets is None else targets.detach().flatten(0, 1),
            trainable=lookup.lookup_weights.requires_grad,
            trainable_targets=targets is not None and targets.requires_grad,
            **_options(layer, state, stored, value),
        ),
        layer,
    )
    _fill(result.hopfield, layer)
    return result
