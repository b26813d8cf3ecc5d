"""The attention interface of the transformers library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.lens.call import Call, parted, scale_of
from hopfield.lens.sites import attend

_PREFIX = "hopfield_"
# configurations whose attention goes through here: how many attachments there are, and the name to go back to
_opened: dict[int, tuple[Any, str | None, int]] = {}
# what may come with a call and changes its scores in ways that are no association
_FOREIGN = {"softcap": "caps its scores", "s_aux": "has attention sinks", "sinks": "has attention sinks"}


def open_(model: nn.Module, undo: list[Callable[[], None]]) -> list[nn.Module]:
    """Lead the attentions of all models of transformers inside `model` through `attend`.

    Returns:
        The models that are led so.
    """
    transformers = sys.modules.get("transformers")
    if transformers is None:  # then no model can be one of its
        return []
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, transformers.PreTrainedModel) and _looks_up(module)
    ]
    for name, module in found:
        _open_config(name or type(module).__name__, module.config, undo)
    return [module for _, module in found]


def _looks_up(model: Any) -> bool:
    """Whether a model looks its attention function up by name."""
    check = getattr(type(model), "_can_set_attn_implementation", None)
    if check is not None:
        return bool(check())
    return bool(getattr(model, "_supports_attention_backend", False) or getattr(model, "_supports_sdpa", False))


def _open_config(name: str, config: Any, undo: list[Callable[[], None]]) -> None:
    key = id(config)
    if key in _opened:
        _, original, count = _opened[key]
    else:
        original, count = config._attn_implementation, 0
        if (original or "eager").startswith(_PREFIX):  # the copy of a model that was listened to
            original = original.removeprefix(_PREFIX)
        config._attn_implementation_internal = _register(name, original or "eager")
    _opened[key] = (config, original, count + 1)

    def close() -> None:
        config, original, count = _opened[key]
        if count > 1:
            _opened[key] = (config, original, count - 1)
        else:
            del _opened[key]
            config._attn_implementation_internal = original

    undo.append(close)


def _register(where: str, original: str) -> str:
    """The name under which an attention function goes through `attend`, registered with its mask function."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if original != "eager" and ("flash" in original or "flex" in original or "paged" in original or "/" in original):
        raise HopfieldError(
            f"{where} uses the attention {original!r}, a kernel that keeps its scores to itself; "
            'load the model with attn_implementation="sdpa", or call model.set_attn_implementation("sdpa")'
        )
    name = _PREFIX + original
    if name not in ALL_ATTENTION_FUNCTIONS.valid_keys():

        def attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
            function = _eager(module) if original == "eager" else ALL_ATTENTION_FUNCTIONS[original]
            weights = None

            def run() -> Tensor:
                nonlocal weights
                result: Tensor
                result, weights = function(module, query, key, value, mask, **options)
                return result.transpose(1, 2)

            def make() -> Call:
                return _call(module, original, query, key, value, mask, options)

            return attend(module, make, run)[0].transpose(1, 2).contiguous(), weights

        AttentionInterface.register(name, attention)
        if original in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys():
            AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[original])
    return name


def _eager(module: nn.Module) -> Callable[..., Any]:
    """A model's own attention function, which it defines beside its modules."""
    for kind in type(module).__mro__:
        function = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if function is not None:
            return function  # type: ignore[no-any-return]  # found by name
    raise HopfieldError(
        f"{type(module).__name__} has no attention function of its own to fall back on; "
        'load the model with attn_implementation="sdpa"'
    )


def _call(
    module: nn.Module, original: str, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: dict[str, Any]
) -> Call:
    for option, what in _FOREIGN.items():
        if options.get(option) is not None:
            raise HopfieldError(
                f"{type(module).__name__} {what} ({option}), so that its weights are not the softmax of q·k: "
                "it cannot be read as a Hopfield network; attach to other models, or to modules of this one without"
            )
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    causal = bool(causal) and original != "eager" and mask is None and query.shape[-2] > 1
    if causal and key.shape[-2] > query.shape[-2]:  # a cache that is still empty behind
        key, value = key[..., : query.shape[-2], :], value[..., : query.shape[-2], :]
    taken, bias = parted(mask, key)
    if options.get("position_bias") is not None:
        more = options["position_bias"][..., : key.shape[-2]]
        bias = more if bias is None else bias + more
    return Call(
        query=query,
        key=key,
        value=value,
        scale=scale_of(query, options.get("scaling")),
        mask=taken,
        bias=bias,
        causal=causal,
        crossed=_crossed(module),
        dropout=float(options.get("dropout") or 0.0),
    )


def _crossed(module: nn.Module) -> bool | None:
    name = type(module).__name__.casefold()
    if "cross" in name or getattr(module, "is_cross_attention", False) is True:
        return True
    return None
