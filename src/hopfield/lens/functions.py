"""Calls of `F.scaled_dot_product_attention`, by whichever module, and of `nn.MultiheadAttention`."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hopfield.lens import layers
from hopfield.lens.call import Call, parted, scale_of
from hopfield.lens.sites import attend, listeners

# modules with hooks: how many attachments there are, and how to take the hooks off
_watched: weakref.WeakKeyDictionary[nn.Module, tuple[int, list[Any]]] = weakref.WeakKeyDictionary()


@dataclass
class _Frame:
    module: nn.Module
    calls: int = 0
    crossed: bool | None = None
    call: Call | None = None


class _Thread(threading.local):
    """The modules that run at the moment, the innermost last."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.mode: _Mode | None = None


_thread = _Thread()


def watch(model: nn.Module, apart: list[nn.Module], undo: list[Callable[[], None]]) -> None:
    """Listen to the functions that the modules of a model call, but for the models `apart` within it."""
    left_out = {inner for outer in apart for inner in outer.modules()}
    for module in model.modules():
        # what has no modules inside and belongs to torch calls no attention
        leaf = type(module).__module__.startswith("torch.nn.modules") and not any(True for _ in module.children())
        if module in left_out or leaf:
            continue
        count, handles = _watched.get(module, (0, []))
        if not count:
            handles = [
                module.register_forward_pre_hook(_enter, prepend=True),
                module.register_forward_hook(_leave, always_call=True),
            ]
            if isinstance(module, layers.KINDS):
                handles.append(module.register_forward_hook(layers.read, with_kwargs=True))
        _watched[module] = (count + 1, handles)
        undo.append(partial(_unwatch, module))


def _unwatch(module: nn.Module) -> None:
    count, handles = _watched[module]
    if count > 1:
        _watched[module] = (count - 1, handles)
        return
    del _watched[module]
    for handle in handles:
        handle.remove()


def _enter(module: nn.Module, _: Any) -> None:
    _thread.frames.append(_Frame(module))
    if _thread.mode is None:
        _thread.mode = _Mode()
        _thread.mode.__enter__()


def _leave(module: nn.Module, _: Any, __: Any) -> None:
    # a hook that failed on the way in may have left frames behind
    while _thread.frames and _thread.frames.pop().module is not module:
        pass
    if not _thread.frames and _thread.mode is not None:
        mode, _thread.mode = _thread.mode, None
        mode.__exit__(None, None, None)


class _Mode(TorchFunctionMode):
    """Sees the functions of torch that are called."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        module = _thread.frames[-1].module if _thread.frames else None
        # the layers of this library are read as wholes
        if module is not None and not isinstance(module, layers.KINDS) and listeners(module):
            if func is F.scaled_dot_product_attention:
                return _attention(*args, **kwargs)
            if func is F.multi_head_attention_forward:
                return _multi_head(*args, **kwargs)
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

    def original() -> Tensor:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )

    def make() -> Call:
        mask, bias = parted(attn_mask if attn_mask is None or query.dim() != 3 else attn_mask.unsqueeze(-3), key)
        q, k, v = (_four(t, query.dim()) for t in (query, key, value))
        return Call(
            query=q,
            key=k,
            value=v,
            scale=scale_of(query, scale),
            mask=mask,
            bias=bias,
            causal=is_causal,
            crossed=frame.crossed,
            dropout=dropout_p,
        )

    result, frame.call = attend(frame.module, make, original, suffix)
    return result.reshape(*query.shape[:-1], value.shape[-1])


def _four(tensor: Tensor, dims: int) -> Tensor:
    """(B, h, rows, size), of which a tensor of two or three dimensions has one head."""
    if dims < 4:
        tensor = tensor.unsqueeze(-3)
    return tensor.reshape(-1, *tensor.shape[-3:])


def _multi_head(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """`F.multi_head_attention_forward`, which attends by the function above where it is not to return its weights.

    Where it is, they are computed beside (before dropout).
    """
    frame = _thread.frames[-1]
    frame.crossed = key is not query
    given = _signature.bind(query, key, value, *args, **kwargs)
    wanted = given.arguments.get("need_weights", True)
    average = given.arguments.get("average_attn_weights", True)
    given.arguments["need_weights"] = False
    frame.call = None
    result, _ = _body(*given.args, **given.kwargs)
    if not wanted or frame.call is None:
        return result, None
    weights = frame.call.weights()  # (B, h, L, N)
    weights = weights.mean(1) if average else weights
    return result, weights if query.dim() == 3 else weights.squeeze(0)


_signature = inspect.signature(F.multi_head_attention_forward)
# the same code, which neither asks for modes again nor attends behind our back
_body = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _: False, "scaled_dot_product_attention": _attention},
    argdefs=F.multi_head_attention_forward.__defaults__,
)
