"""More than one update, another inverse temperature or another separation function in the attentions of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from hopfield.core.retrieval import check_loop
from hopfield.core.separation import Separation, resolve
from hopfield.core.task import check_beta
from hopfield.errors import HopfieldError
from hopfield.lens import layers as own
from hopfield.lens.call import Call
from hopfield.lens.sites import Edit, check_names, place_of
from hopfield.nn import Hopfield

UNCHANGED = object()
# attribute of a layer of this library with what its attributes were, and the values they were given since
_SWAPS = "_hopfield_swaps"
_HOMES = ("_modules", "_buffers", "_parameters")


class Updates(Edit):
    """Attentions that retrieve, until `undo`; also a context manager. Made by `set_updates`."""

    def __init__(self, model: nn.Module, sites: Collection[str] | None, changes: dict[str, Any]) -> None:
        modules = dict(model.named_modules()) if sites is None else {name: place_of(model, name) for name in sites}
        mine = {name for name, module in modules.items() if isinstance(module, own.KINDS)}
        self._sites = sites
        self._changes = changes
        super().__init__(model, () if sites is None else set(sites) - mine)
        # once each: the layer within a pooling is a module of its own
        for target in {_layer(modules[name]) for name in mine}:
            for key, value in changes.items():
                self._undo.append(_swap(target, key, value))

    def edit(self, site: str, call: Call) -> Call:
        """The same with other steps, scale or separation function."""
        self.seen(site)
        if self._sites is not None and site not in self._sites:
            return call
        names = {"beta": "scale"}
        return replace(call, **{names.get(key, key): value for key, value in self._changes.items()})


def _layer(module: nn.Module) -> Hopfield:
    assert isinstance(module, own.KINDS)
    return module if isinstance(module, Hopfield) else module.hopfield


def _swap(module: nn.Module, name: str, value: Any) -> Callable[[], None]:
    """Give a layer of this library another attribute, which may have been a module or a buffer; what undoes it."""
    swaps = module.__dict__.setdefault(_SWAPS, {})
    if name not in swaps:
        before = getattr(module, name)
        homes = {kind: list(getattr(module, kind)) for kind in _HOMES if name in getattr(module, kind)}
        for kind in homes:
            del getattr(module, kind)[name]
        swaps[name] = (before, homes, [])
    entry = [value]
    swaps[name][-1].append(entry)
    setattr(module, name, value)
    return partial(_restore, module, name, entry)


def _restore(module: nn.Module, name: str, entry: list[Any]) -> None:
    """Take a value out: what counts then is the last of the others, or what there was before all of them."""
    before, homes, entries = module.__dict__[_SWAPS][name]
    entries[:] = [other for other in entries if other is not entry]
    if entries:
        setattr(module, name, entries[-1][0])
        return
    delattr(module, name)
    if not homes:
        setattr(module, name, before)
    for kind, order in homes.items():
        home = getattr(module, kind)
        home[name] = before
        for other in order[order.index(name) + 1 :]:  # as a state_dict had them
            home[other] = home.pop(other)
    del module.__dict__[_SWAPS][name]
    if not module.__dict__[_SWAPS]:
        del module.__dict__[_SWAPS]


def set_updates(
    model: nn.Module,
    *,
    steps: int | object | None = UNCHANGED,
    beta: float | object = UNCHANGED,
    separation: str | Separation | object = UNCHANGED,
    layers: Collection[str] | None = None,
) -> Updates:
    """Turn the attentions of a model into Hopfield retrievals of several steps, or with sparse weights.

    An attention is one update of its queries, ξ ← Kᵀ softmax(β K ξ), that reads values in place of keys. With n steps a
    query is updated n - 1 times among the keys before it reads the values (Ramsauer et al. 2021, Sec. 3). With one
    step, softmax and the model's own β its outputs are those of the model, to rounding. A model that was trained with
    one step is another with several: it may need training. Of several `set_updates` the last one counts for what it
    says, and its `undo` brings the ones before back.

    Args:
        model: a model that a `HeadLens` can read; the layers of this library in it get the same settings.
        steps: updates, at least 1; None: until the states stand still. Default: as it is.
        beta: inverse temperature in place of the model's scale, above 0. Default: as it is.
        separation: name or object of a separation function in place of softmax. Default: as it is.
        layers: names of the attentions, as a `HeadLens` reports them; default all. A name of a module that attends
            under another name is refused when the module is called.

    Returns:
        `Updates`, whose `undo` brings the model back; also a context manager.

    Raises:
        HopfieldError: nothing to change, wrong values, unknown layers, a model whose attention cannot be read.
    """
    changes: dict[str, Any] = {}
    if steps is not UNCHANGED:
        check_loop(steps, 1e-6, 1)  # type: ignore[arg-type]  # which it checks
        changes["steps"] = steps
    if beta is not UNCHANGED:
        changes["beta"] = check_beta(beta)  # type: ignore[arg-type]  # which it checks
    if separation is not UNCHANGED:
        changes["separation"] = resolve(separation)  # type: ignore[arg-type]  # which it checks
    if not changes:
        raise HopfieldError("set_updates changes nothing: give steps, beta or separation")
    if isinstance(layers, str):
        layers = (layers,)
    if layers is not None:
        if not isinstance(layers, Collection):
            raise HopfieldError(f"layers must be names of attentions, those of a HeadLens report; got {layers!r}")
        check_names(model, layers)
    return Updates(model, layers, changes)
