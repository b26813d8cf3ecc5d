"""The attention interface of the transformers library."""

from __future__ import annotations

import inspect
import re
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.lens.call import Call, parted, scale_of
from hopfield.lens.sites import Token, attend, hidden

_PREFIX = "hopfield_"
# configurations whose attention goes through here, the name to go back to, and for whom
_opened: dict[int, tuple[Any, str | None, set[Token]]] = {}
# what may come with a call and changes its scores in ways that are no association
_FOREIGN = {
    "softcap": "caps its scores",
    "s_aux": "has attention sinks",
    "sinks": "has attention sinks",
    "head_mask": "scales the weights of its heads",
}
_HEAD_MASKS = ("head_mask", "decoder_head_mask", "cross_attn_head_mask")
# how modules that attend from one sequence to another are called
_CROSSING = re.compile(r"cross|enc_?dec|encoder_(decoder_)?att", re.IGNORECASE)
_crossing: weakref.WeakSet[nn.Module] = weakref.WeakSet()


class _Name(str):
    """The name of an attention that goes through here, equal to that of the original: some models compare it.

    Not for transformers 4, whose models look up only what is not called "eager".
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str(self) == other or str(self).removeprefix(_PREFIX) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(str(self))


def open_(model: nn.Module, token: Token, undo: list[Callable[[], None]]) -> list[nn.Module]:
    """Lead the attentions of all models of transformers inside `model` through `attend`.

    Returns:
        The models that are led so, and single modules of such.
    """
    transformers = sys.modules.get("transformers")
    if transformers is None:  # then no model can be one of its
        return []
    found: list[nn.Module] = []
    covered: set[nn.Module] = set()
    for name, module in model.named_modules():
        whole = isinstance(module, transformers.PreTrainedModel) and _looks_up(module)
        if not (whole or (module not in covered and _is_part(module))):
            continue
        _open_config(name or type(module).__name__, module.config, token)
        undo.append(partial(_close_config, module.config, token))
        found.append(module)
        covered.update(module.modules())
        if whole:
            hook = module.register_forward_pre_hook(_refuse_head_mask, with_kwargs=True)
            undo.append(hook.remove)
        for path, inner in module.named_modules(prefix="" if whole else name):
            if _CROSSING.search(".".join(path.split(".")[-2:])):
                _crossing.add(inner)
    return found


def _looks_up(model: nn.Module) -> bool:
    """Whether a model has modules that look their attention function up by name."""
    return any(map(_is_part, model.modules()))


def _is_part(module: nn.Module) -> bool:
    """Whether a module looks its attention function up: it comes from a file with the interface, and has a choice."""
    return hasattr(getattr(module, "config", None), "_attn_implementation_internal") and hasattr(
        sys.modules.get(type(module).__module__), "ALL_ATTENTION_FUNCTIONS"
    )


def _refuse_head_mask(module: nn.Module, _: Any, given: dict[str, Any]) -> None:
    """Transformers 5 has no head masks, and lets them pass without effect."""
    names = [name for name in _HEAD_MASKS if given.get(name) is not None]
    if names and id(module.config) in _opened and not set(names) & set(inspect.signature(module.forward).parameters):
        raise HopfieldError(
            f"{type(module).__name__} takes no {' and '.join(names)} (transformers 5 has none), and would ignore "
            f"{'them' if len(names) > 1 else 'it'}: use hopfield.lens.replace_heads"
        )


def _open_config(name: str, config: Any, token: Token) -> None:
    if id(config) not in _opened:
        original = config._attn_implementation
        if (original or "eager").startswith(_PREFIX):  # the copy of a model that was listened to
            original = original.removeprefix(_PREFIX)
        config._attn_implementation_internal = _register(name, original or "eager")
        _opened[id(config)] = (config, original, set())
    _opened[id(config)][2].add(token)


def _close_config(config: Any, token: Token) -> None:
    # that of a copy is not known
    name = str(config._attn_implementation or "eager")
    _, original, tokens = _opened.get(id(config), (config, name.removeprefix(_PREFIX), set()))
    tokens.discard(token)
    if not tokens:
        _opened.pop(id(config), None)
        config._attn_implementation_internal = original


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
                return result

            def make() -> Call:
                return _call(module, original, query, key, value, mask, options)

            result, call = attend(module, make, run, lambda heads: heads.transpose(1, 2).contiguous())
            if call is not None and original == "eager":
                with hidden():
                    weights = call.weights()
            return result, weights

        AttentionInterface.register(name, attention)
        if original in ALL_MASK_ATTENTION_FUNCTIONS.valid_keys():
            AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[original])
    return _Name(name) if hasattr(AttentionInterface, "get_interface") else name


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
    by_name = module in _crossing or "cross" in type(module).__name__.casefold()
    if by_name or getattr(module, "is_cross_attention", False) is True:
        return True
    # in a decoder all but cross-attention is causal
    decodes = getattr(module, "is_decoder", False) is True and getattr(module, "is_causal", None) is False
    return True if decodes else None
