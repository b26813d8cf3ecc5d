"""Where attentions are found in a model, and how they are listened to and changed.

Three ways lead into an attention, by what calls it:

* `interface`: models of the transformers library look their attention function up by name;
* `functions`: everything that calls `F.scaled_dot_product_attention`, and `nn.MultiheadAttention`;
* `layers`: the layers of this library.

All three turn a call into a `Call` and hand it to `attend`, which asks the attachments to the module that made it.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.lens.call import Call

# attribute of modules whose attention is changed: by whom, and under which name
_EDITS = "_hopfield_edits"


class Listener:
    """What is attached to the attentions of a model; `site` is the name of the module that attends."""

    edits = False
    """Whether it changes calls; then copies of the model do as the model does."""

    def edit(self, site: str, call: Call) -> Call:
        """The call that is to be made in place of this one, or this one itself."""
        return call

    def read(self, site: str, call: Call) -> None:
        """Look at a call, as it is after all edits."""


class Token:
    """Stands for an attachment; that of a copy is another."""


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

        refuse_compiled(model)
        self.listener = listener
        self.names = weakref.WeakKeyDictionary({module: name for name, module in model.named_modules()})
        self._undo: list[Callable[[], None]] = []
        token = Token()
        try:
            inside = interface.open_(model, token, self._undo)
            functions.watch(model, token, inside, self._undo)
        except BaseException:
            self.close()
            raise
        if listener.edits:
            # with the modules, so that copies of them are changed, too
            for module, name in self.names.items():
                module.__dict__.setdefault(_EDITS, []).append((listener, name))
                self._undo.append(partial(_drop, module, listener))
        else:
            _attached.append(self)

    def close(self) -> None:
        """Listen no more, and leave the model as it was. May be called repeatedly."""
        if self in _attached:
            _attached.remove(self)
        while self._undo:
            self._undo.pop()()

    def __getstate__(self) -> dict[str, Any]:
        """Without the weak references, which only readers need."""
        return {**self.__dict__, "names": {}}


_attached: list[Attachment] = []


def _drop(module: nn.Module, listener: Listener) -> None:
    left = [(other, name) for other, name in edits(module) if other is not listener]
    if left:
        module.__dict__[_EDITS] = left
    else:
        module.__dict__.pop(_EDITS, None)


class Edit(Listener):
    """A change of attentions, until `undo`; also a context manager.

    Args:
        model: whose attentions are changed.
        expected: names of attentions that are to be changed; the module of a name must attend when it is called.
    """

    edits = True

    def __init__(self, model: nn.Module, expected: Collection[str]) -> None:
        self.model = model
        self._missed = set(expected)
        self._attachment = Attachment(model, self)
        self._undo: list[Callable[[], None]] = [self._attachment.close]
        for name in {module_of(name) for name in expected}:
            hook = partial(self._all_seen, name)
            self._undo.append(model.get_submodule(name).register_forward_hook(hook).remove)

    def undo(self) -> None:
        """Bring the model back to what it was. May be called repeatedly."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(self.model).__name__}; undo() takes it back>"

    def seen(self, site: str) -> None:
        """Note that an attention was called."""
        self._missed.discard(site)

    def _all_seen(self, name: str, *_: Any) -> None:
        missed = sorted(site for site in self._missed if module_of(site) == name)
        if missed and reads_now():
            raise HopfieldError(
                f"{', '.join(map(repr, missed))} was to be changed, but attention of that name was not called when the "
                "module was: the names are those that a HeadLens reports"
            )


def restore(model: nn.Module) -> None:
    """Undo all that `replace_heads` and `set_updates` did to a model and that still holds, the newest first."""
    for module in model.modules():
        for listener, _ in reversed(edits(module)):
            if isinstance(listener, Edit):
                listener.undo()


def edits(module: nn.Module) -> list[tuple[Listener, str]]:
    """Who changes what a module computes, and under which name."""
    return list(module.__dict__.get(_EDITS, ()))


def module_of(site: str) -> str:
    """The name of the module of an attention: "name#2" is the second attention of a call of "name"."""
    return site.partition("#")[0]


def place_of(model: nn.Module, site: str) -> nn.Module:
    """The module of an attention."""
    return model.get_submodule(module_of(site))


def check_names(model: nn.Module, sites: Collection[str]) -> None:
    """Refuse names that no attention of a model can have, and models that cannot be listened to."""
    refuse_compiled(model)
    modules = dict(model.named_modules())
    for site in sites:
        if not isinstance(site, str):
            raise HopfieldError(f"layers go by their names, those of a HeadLens report; got {site!r}")
        module = modules.get(module_of(site))
        if module is None:
            raise HopfieldError(
                f"no module {site!r} in {type(model).__name__}; the names are those of a HeadLens report"
            )
        if type(module).forward is nn.Module.forward:
            raise HopfieldError(
                f"{site!r} is a {type(module).__name__}, which nobody calls; the names are those of a HeadLens report"
            )


class _Thread(threading.local):
    busy = False


_thread = _Thread()


@contextmanager
def hidden() -> Iterator[None]:
    """Within it no attention is one of the model: it belongs to another that is seen, or to a reading."""
    before, _thread.busy = _thread.busy, True
    try:
        yield
    finally:
        _thread.busy = before


def is_hidden() -> bool:
    """Whether an attention that is called now is none of the model."""
    return _thread.busy


def attend(
    module: nn.Module,
    make: Callable[[], Call],
    original: Callable[[], Tensor],
    arrange: Callable[[Tensor], Tensor],
    suffix: str = "",
) -> tuple[Tensor, Call | None]:
    """What comes out of the heads of a module's attention, after all edits and readings.

    Args:
        module: which attends.
        make: the call, made only if anybody listens.
        original: what the module computes without edits.
        arrange: puts the result of a call, (B, h, L, v), in the form of the original.
        suffix: tells several attentions of one module apart.

    Returns:
        The result, and the call where it was changed.
    """
    with hidden():
        found = listeners(module)
        if not reads_now():
            found = [(listener, site) for listener, site in found if listener.edits]
        if not found:
            return original(), None
        call = made = make()
        for listener, site in found:
            call = listener.edit(site + suffix, call)
        read(found, call, suffix)
        return (original(), None) if call is made else (arrange(call.run()), call)


def read(found: list[tuple[Listener, str]], call: Call, suffix: str = "") -> None:
    """Show a call to all who read."""
    readers = [(listener, site) for listener, site in found if not listener.edits]
    if readers:
        if _under_the_compiler():
            raise HopfieldError(
                "a lens does not see into a compiled model: call the model itself, not what torch.compile returned"
            )
        with torch.no_grad():
            call = call.last()
        for listener, site in readers:
            listener.read(site + suffix, call)


def _under_the_compiler() -> bool:
    """Whether torch.compile runs the model, in pieces of which this is one that it does not compile."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    running = getattr(compiler, "get_eval_frame_callback", None)
    return torch.compiler.is_compiling() or (running is not None and callable(running()))


def edited(module: nn.Module) -> bool:
    """Whether anybody changes what a module computes."""
    return bool(edits(module))


def listeners(module: nn.Module) -> list[tuple[Listener, str]]:
    """Who listens to a module, and under which name."""
    readers = [(a.listener, a.names[module]) for a in _attached if module in a.names]
    return [*edits(module), *readers]


def reads_now() -> bool:
    """Whether a call is one of the model, and not one that a checkpoint repeats for a gradient."""
    return torch._C._current_graph_task_id() == -1


def check_module(model: nn.Module) -> None:
    """Refuse what is no module."""
    if not isinstance(model, nn.Module):
        raise HopfieldError(f"expected a torch.nn.Module, got {type(model).__name__}")


def refuse_compiled(model: nn.Module) -> None:
    """Refuse what runs without its modules."""
    check_module(model)
    compiler = sys.modules.get("torch._dynamo.eval_frame")  # slow to import, and not there before it has compiled
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise HopfieldError(f"{where} is scripted (TorchScript): its attention cannot be read; give the original")
        if compiler is not None and isinstance(module, compiler.OptimizedModule):
            raise HopfieldError(
                f"{where} is compiled: its attention cannot be read; give the model that was compiled (._orig_mod)"
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise HopfieldError(
                f"{where} is compiled (by .compile()): its attention cannot be read; give a model that is not"
            )
