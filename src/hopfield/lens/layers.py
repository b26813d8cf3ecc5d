"""The layers of this library, which are read as wholes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.core.task import Task
from hopfield.lens.call import Call
from hopfield.lens.sites import hidden, listeners, read, reads_now
from hopfield.nn import Hopfield, HopfieldLayer, HopfieldPooling

KINDS = (Hopfield, HopfieldLayer, HopfieldPooling)


def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
    """After its forward: retrieve once more, and hand on the last association."""
    found = [(listener, site) for listener, site in listeners(module) if not listener.edits]
    if not (found and reads_now()):
        return
    assert isinstance(module, KINDS)
    layer = module if isinstance(module, Hopfield) else module.hopfield
    devices = [p.device for p in module.parameters() if p.is_cuda][:1]
    # dropout draws numbers, which are the model's
    draws = layer.training and layer.dropout > 0
    with hidden(), torch.no_grad(), torch.random.fork_rng(devices, enabled=draws):
        for task, within in _tasks(module, args, kwargs):
            read(found, _call(task, within))


def _tasks(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[Task, int | None]]:
    """The last associations of a call, and how many of their patterns, if any, are the tokens of the states."""
    assert isinstance(module, KINDS)
    first = args[0] if args else kwargs.get("stored")
    if isinstance(first, Bags):
        yield from ((task, None) for task in _of_bags(module, *args, **kwargs))
        return
    task = module.retrieve(*args, **kwargs)[1].last
    within = None
    if isinstance(module, Hopfield):
        given = dict(zip(("state", "stored"), args, strict=False)) | kwargs
        if given.get("stored") is None or given["stored"] is given["state"]:
            within = task.query.shape[-2]
    yield task, within


def _of_bags(
    module: nn.Module, stored: Bags, value: Tensor | Bags | None = None, *, stored_mask: Tensor | None = None, **_: Any
) -> Iterator[Task]:
    """The associations of bags, group by group."""
    assert isinstance(module, HopfieldPooling)
    values = value.instances if isinstance(value, Bags) else value
    for group in stored.groups():
        mask = group.mask
        if stored_mask is not None:
            taken = group.take(stored_mask.expand(stored.total))
            mask = taken if mask is None else mask & taken
        rows = [group.instances] if values is None else [group.instances, group.take(values)]
        if not module.hopfield.batch_first:
            rows = [row.transpose(0, 1) for row in rows]
        yield module.retrieve(*rows, stored_mask=mask)[1].last


def _call(task: Task, within: int | None) -> Call:
    batch = task.batch  # (*batch, h)

    def four(tensor: Tensor) -> Tensor:
        return tensor.expand(*batch, *tensor.shape[-2:]).reshape(-1, *batch[-1:], *tensor.shape[-2:])

    return Call(
        query=four(task.query),
        key=four(task.patterns),
        value=four(task.values),
        scale=task.beta,
        mask=None if task.mask is None else four(task.mask),
        bias=None if task.bias is None else four(task.bias) * task.beta,
        crossed=within is None,
        separation=task.separation,
    )
