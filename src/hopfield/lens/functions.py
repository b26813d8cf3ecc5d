"""Calls of `F.scaled_dot_product_attention`, by whichever module, and of `nn.MultiheadAttention`."""

from __future__ import annotations

import inspect
import math
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from hopfield.core.task import Task, broadcast
from hopfield.errors import HopfieldError
from hopfield.lens import layers
from hopfield.lens.call import Call, parted, scale_of
from hopfield.lens.sites import Token, attend, edited, hidden, is_hidden, listeners

# attribute of modules with hooks: how to take them off
_HOOKS = "_hopfield_hooks"
_KERNELS = Task.__module__
# modules with hooks, and for whom
_watched: weakref.WeakKeyDictionary[nn.Module, set[Token]] = weakref.WeakKeyDictionary()


@dataclass
class _Frame:
    module: nn.Module
    calls: int = 0
    crossed: bool | None = None
    call: Call | None = None
    """The last one, where it was changed"""
    weighs: bool = False
    """Whether its weights are wanted, too,"""
    weights: Tensor | None = None
    """and these, (B h, L, N)"""


class _Thread(threading.local):
    """The modules that run at the moment, the innermost last."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.mode: _Mode | None = None


_thread = _Thread()


def watch(model: nn.Module, token: Token, apart: list[nn.Module], undo: list[Callable[[], None]]) -> None:
    """Listen to the functions that the modules of a model call, but for transformers' own within the models `apart`."""
    left_out = {inner for outer in apart for inner in outer.modules() if _home(inner).startswith("transformers.")}
    for module in model.modules():
        if isinstance(module, layers.KINDS):  # read as wholes
            left_out.update(inner for inner in module.modules() if not isinstance(inner, layers.KINDS))
    for module in model.modules():
        # what has no modules inside and belongs to torch calls no attention
        leaf = _home(module).startswith("torch.nn.modules") and not any(True for _ in module.children())
        if leaf or isinstance(module, nn.Sequential) or module in left_out:
            continue
        if _HOOKS not in module.__dict__:
            handles = [
                module.register_forward_pre_hook(_enter, prepend=True),
                module.register_forward_hook(_leave, always_call=True),
            ]
            if isinstance(module, layers.KINDS):
                handles.append(module.register_forward_hook(layers.look, with_kwargs=True))
            module.__dict__[_HOOKS] = handles  # with the module, so that copies know theirs
        _watched.setdefault(module, set()).add(token)
        undo.append(partial(_unwatch, module, token))


def _home(module: nn.Module) -> str:
    return type(module).__module__


def _unwatch(module: nn.Module, token: Token) -> None:
    tokens = _watched.get(module, set())
    tokens.discard(token)
    if tokens or edited(module):
        return
    _watched.pop(module, None)
    for handle in module.__dict__.pop(_HOOKS, ()):
        handle.remove()
    # an interrupt, of which hooks are not told, may have left frames behind
    _thread.frames[:] = [frame for frame in _thread.frames if frame.module is not module]
    if not _thread.frames:
        _end()


def _enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    if module not in _watched and not edited(module):
        return  # a copy of one that was listened to
    if isinstance(module, nn.TransformerEncoderLayer) and inputs and inputs[0].is_nested:
        raise HopfieldError(
            f"{type(module).__name__} got a nested tensor, which torch's fast path makes of padded ones and whose "
            "attention cannot be read: attach to the whole nn.TransformerEncoder, or build it with "
            "enable_nested_tensor=False"
        )
    _thread.frames.append(_Frame(module))
    if _thread.mode is None:
        _thread.mode = _Mode()
        _thread.mode.__enter__()


def _leave(module: nn.Module, _: Any, __: Any) -> None:
    if not any(frame.module is module for frame in _thread.frames):
        return
    # a hook that failed on the way in may have left frames behind
    while _thread.frames.pop().module is not module:
        pass
    if not _thread.frames:
        _end()


def _end() -> None:
    mode = _thread.mode
    if mode is not None and _get_current_function_mode() is mode:
        _thread.mode = None
        mode.__exit__(None, None, None)


class _Mode(TorchFunctionMode):
    """Sees the functions of torch that are called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = func is F.scaled_dot_product_attention or func is F.multi_head_attention_forward
        # what this library computes by attention, and what it does not, depends on sizes: it is never seen
        if known and _thread.frames and not is_hidden() and sys._getframe(1).f_globals.get("__name__") != _KERNELS:
            frame = _thread.frames[-1]
            if not isinstance(frame.module, layers.KINDS) and listeners(frame.module):
                run = _attention if func is F.scaled_dot_product_attention else _multi_head
                return run(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    frame = _thread.frames[-1]
    suffix = f"#{frame.calls + 1}" if frame.calls else ""
    frame.calls += 1
    if query.is_nested:
        raise HopfieldError(
            f"{type(frame.module).__name__} attends over nested tensors, whose scores cannot be read: give padded ones"
        )

    def original() -> Tensor:
        if frame.weighs:
            result, frame.weights = _weighed(query, key, value, attn_mask, dropout_p)
            return result
        options: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
        output: Tensor = F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **options)
        return output

    dims = max(query.dim(), key.dim(), value.dim())
    q, k, v = (_at_least(tensor, max(dims, 4), 3 if dims < 4 else 0) for tensor in (query, key, value))
    batch = broadcast(q.shape[:-3], k.shape[:-3], v.shape[:-3]) or q.shape[:-3]

    def four(tensor: Tensor) -> Tensor:
        return tensor.expand(*batch, *tensor.shape[-3:]).flatten(0, -4)

    def make() -> Call:
        mask = attn_mask
        if mask is not None:
            mask = _at_least(mask, max(dims, 4), 3 if dims < 4 else 0)
            mask = four(mask) if dims > 4 else mask
        taken, bias = parted(mask, k)
        return Call(
            query=four(q),
            key=four(k),
            value=four(v),
            scale=scale_of(query, scale),
            mask=taken,
            bias=bias,
            causal=is_causal,
            crossed=frame.crossed,
            dropout=dropout_p,
        )

    def arrange(result: Tensor) -> Tensor:
        sizes = (*batch, result.shape[1]) if dims > 3 else batch[: dims - 2]
        return result.reshape(*sizes, *result.shape[-2:])

    result, frame.call = attend(frame.module, make, original, arrange, suffix)
    return result


def _at_least(tensor: Tensor, dims: int, place: int) -> Tensor:
    """A tensor with more dimensions of one entry, before the last two (place = 3) or before all."""
    if place and tensor.dim() == place:
        tensor = tensor.unsqueeze(-place)
    while tensor.dim() < dims:
        tensor = tensor.unsqueeze(0)
    return tensor


def _multi_head(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """`F.multi_head_attention_forward`, which attends by the function above, weights or not."""
    frame = _thread.frames[-1]
    given = _signature.bind(query, key, value, *args, **kwargs)
    given.apply_defaults()
    arguments = given.arguments
    wanted, average = arguments["need_weights"], arguments["average_attn_weights"]
    arguments["need_weights"] = False
    if wanted and arguments["attn_mask"] is not None:  # then the mask counts, not the hint
        arguments["is_causal"] = False
    frame.crossed, frame.weighs, frame.weights, frame.call = not _same(query, key), wanted, None, None
    try:
        result, _ = _body(*given.args, **given.kwargs)
        if not wanted:
            return result, None
        if frame.call is None:
            assert frame.weights is not None
            weights = frame.weights.unflatten(0, (-1, arguments["num_heads"]))  # (B, h, L, N)
        else:
            with hidden():
                weights = frame.call.weights()
    finally:
        frame.crossed, frame.weighs, frame.weights, frame.call = None, False, None, None
    weights = weights.mean(1) if average else weights
    return result, weights if query.dim() == 3 else weights.squeeze(0)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one; `nn.MultiheadAttention` may have transposed both."""
    return one is other or (
        one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()
    )


def _weighed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> tuple[Tensor, Tensor]:
    """What `F.multi_head_attention_forward` computes for its weights: values (B, h, L, v), weights (B h, L, N)."""
    q, k, v = (tensor.flatten(0, 1) for tensor in (query, key, value))
    q = q * math.sqrt(1.0 / q.shape[-1])
    if mask is None:
        weights = torch.bmm(q, k.transpose(-2, -1))
    else:
        weights = torch.baddbmm(mask.flatten(0, 1), q, k.transpose(-2, -1))
    weights = F.softmax(weights, dim=-1)
    if dropout > 0:
        weights = F.dropout(weights, p=dropout)
    return torch.bmm(weights, v).unflatten(0, query.shape[:2]), weights


_signature = inspect.signature(F.multi_head_attention_forward)
# the same code, which neither asks for modes again nor attends behind our back
_body = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _: False, "scaled_dot_product_attention": _attention},
    argdefs=F.multi_head_attention_forward.__defaults__,
)
