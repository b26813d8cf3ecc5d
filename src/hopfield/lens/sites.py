"""Where attentions are found in a model, and how they are listened to and changed.

Three ways lead into an attention, by what calls it:

* `interface`: models of the transformers library look their attention function up by name;
* `functions`: everything that calls `F.scaled_dot_product_attention`, and `nn.MultiheadAttention`;
* `layers`: the layers of this library.

All three turn a call into a `Call` and hand it to `attend`, which asks the attachments to the module that made it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.lens.call import Call


class Listener:
    """What is attached to the attentions of a model; `site` is the name of the module that attends."""

    def edit(self, site: str, call: Call) -> Call:
        """The call that is to be made in place of this one, or this one itself."""
        return call

    def read(self, site: str, call: Call) -> None:
        """Look at a call, as it is after all edits."""


class Attachment:
    """A listener on the attentions of a model, until `close`.

    Args:
        model: whose attentions it listens to, those of all modules inside.
        listener: what it tells of them.

    Raises:
        HopfieldError: a compiled or scripted model, a kernel that keeps its scores to itself.
    """

    def __init__(self, model: nn.Module, listener: Listener) -> None:
        from hopfield.lens import functions, interface

        _refuse_compiled(model)
        self.listener = listener
        self.names = weakref.WeakKeyDictionary({module: name for name, module in model.named_modules()})
        self._undo: list[Callable[[], None]] = []
        try:
            inside = interface.open_(model, self._undo)
            functions.watch(model, inside, self._undo)
        except BaseException:
            self.close()
            raise
        _attached.append(self)

    def close(self) -> None:
        """Listen no more, and leave the model as it was. May be called repeatedly."""
        if self in _attached:
            _attached.remove(self)
        while self._undo:
            self._undo.pop()()


_attached: list[Attachment] = []


def attend(
    module: nn.Module, make: Callable[[], Call], original: Callable[[], Tensor], suffix: str = ""
) -> tuple[Tensor, Call | None]:
    """What comes out of the heads of a module's attention, after all edits and readings, (B, h, L, v).

    Args:
        module: which attends.
        make: the call, made only if anybody listens.
        original: what the module computes without edits.
        suffix: tells several attentions of one module apart.

    Returns:
        The result, and the call after all edits if anybody listens.
    """
    found = listeners(module)
    if not found:
        return original(), None
    call = made = make()
    for listener, site in found:
        call = listener.edit(site + suffix, call)
    if reads_now():
        for listener, site in found:
            listener.read(site + suffix, call)
    return original() if call is made else call.run(), call


def listeners(module: nn.Module) -> list[tuple[Listener, str]]:
    """Who listens to a module, and under which name."""
    return [(a.listener, a.names[module]) for a in _attached if module in a.names]


def reads_now() -> bool:
    """Whether a call is one of the model, and not one that a checkpoint repeats for a gradient."""
    return torch._C._current_graph_task_id() == -1


def _refuse_compiled(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise HopfieldError(f"expected a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise HopfieldError(f"{where} is scripted (TorchScript): its attention cannot be read; give the original")
        if isinstance(module, torch._dynamo.OptimizedModule):
            raise HopfieldError(
                f"{where} is compiled: its attention cannot be read; give the model that was compiled (._orig_mod)"
            )
