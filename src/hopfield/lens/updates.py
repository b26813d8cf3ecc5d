"""More than one update, another inverse temperature or another separation function in the attentions of a model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from torch import nn

from hopfield.core.retrieval import check_loop
from hopfield.core.separation import Separation, resolve
from hopfield.core.task import check_beta
from hopfield.errors import HopfieldError
from hopfield.lens import layers as own
from hopfield.lens.call import Call
from hopfield.lens.sites import Attachment, Listener

UNCHANGED = object()


class Updates(Listener):
    """Attentions that retrieve, until `undo`; also a context manager. Made by `set_updates`."""

    def __init__(self, model: nn.Module, layers: Collection[str] | None, changes: dict[str, Any]) -> None:
        self._layers = layers
        self._changes = changes
        self._undo: list[Callable[[], None]] = []
        self._attachment = Attachment(model, self)
        for name, module in model.named_modules():
            if isinstance(module, own.KINDS) and (layers is None or name in layers):
                for key, value in changes.items():
                    self._swap(module, key, value)

    def undo(self) -> None:
        """Let the attentions do what they did before. May be called repeatedly."""
        self._attachment.close()
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.undo()

    def edit(self, site: str, call: Call) -> Call:
        """The same with other steps, scale or separation function."""
        if self._layers is not None and site not in self._layers:
            return call
        names = {"beta": "scale"}
        return replace(call, **{names.get(key, key): value for key, value in self._changes.items()})

    def _swap(self, module: nn.Module, name: str, value: Any) -> None:
        """Give a layer of this library another attribute, which may have been a module or a buffer."""
        before = getattr(module, name)
        homes = [home for home in (module._modules, module._buffers, module._parameters) if name in home]
        for home in homes:
            del home[name]
        setattr(module, name, value)

        def back() -> None:
            delattr(module, name)
            for home in homes:
                home[name] = before
            if not homes:
                setattr(module, name, before)

        self._undo.append(back)


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
    step, softmax and the model's own β its outputs are those of the model, to rounding.

    Args:
        model: a model that a `HeadLens` can read; the layers of this library in it get the same settings.
        steps: updates, at least 1; None: until the states stand still. Default: as it is.
        beta: inverse temperature in place of the model's scale, above 0. Default: as it is.
        separation: name or object of a separation function in place of softmax. Default: as it is.
        layers: names of the attentions, as a `HeadLens` reports them; default all.

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
        unknown = sorted(set(layers) - {name for name, _ in model.named_modules()})
        if unknown:
            raise HopfieldError(
                f"no module {', '.join(map(repr, unknown))} in {type(model).__name__}; "
                "the names are those of a HeadLens report"
            )
    return Updates(model, layers, changes)
