"""Bags of similar size, padded together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hopfield.errors import HopfieldError


class Group(NamedTuple):
    """Bags of similar size, padded to the largest of them: b bags of up to n instances."""

    indices: Tensor
    """Which bags these are, (b,) int64, on the CPU."""
    instances: Tensor
    """Their instances, (b, n, *shape). What stands at padded positions is another instance of the same bag."""
    mask: Tensor | None
    """True for instances, False for padding, (b, n); None if all these bags have n instances."""
    rows: Tensor | None
    """Where each stands in the flat instances, (b, n) int64; None if `instances` is a view, starting at `start`."""
    start: int
    """The flat position of the first instance of a view."""
    total: int
    """The number of flat instances of all bags."""

    def take(self, flat: Tensor) -> Tensor:
        """Another flat tensor (total, *shape) with one row per instance, laid out like `instances`: (b, n, *shape).

        A view where `instances` is one. The gradient of each call is as large as `flat`; to differentiate through many
        tensors and groups, join the tensors first: `bags.with_instances(torch.cat([...], -1))`.
        """
        if flat.dim() < 1 or flat.shape[0] != self.total:
            raise HopfieldError(
                f"flat must have one row per instance of all bags, ({self.total}, *shape); got {tuple(flat.shape)}"
            )
        b, n = self.instances.shape[:2]
        if n == 0:
            return flat.new_empty((b, 0, *flat.shape[1:]))
        if self.rows is None:
            return unflatten(flat.narrow(0, self.start, b * n), b, n)  # (b, n, *shape)
        return unflatten(flat.index_select(0, self.rows.flatten()), b, n)  # (b, n, *shape)


def plan(offsets: Tensor, waste: float, slack: int, alone: int | None) -> list[Tensor]:
    """Which bags to put together, (b,) each; see `Bags.groups`."""
    sizes, order = offsets.diff().sort(stable=True)
    sizes_ = sizes.numpy()
    empty = int(np.searchsorted(sizes_, 1))
    shared = len(sizes_) if alone is None else max(empty, int(np.searchsorted(sizes_, alone)))
    cuts = [
        0,
        empty,
        *(empty + cut for cut in _cuts(sizes_[empty:shared], waste, slack)),
        *range(shared + 1, len(sizes_) + 1),
    ]
    return [part for part in order.tensor_split(cuts[1:-1]) if len(part)] if len(sizes_) else []


def grouped(instances: Tensor, offsets: Tensor, plan: list[Tensor]) -> Iterator[Group]:
    """The groups of a plan; see `Bags.groups`."""
    layouts = (_layout(instances, offsets, indices) for indices in plan)
    if not (torch.is_grad_enabled() and instances.requires_grad):
        for group in layouts:
            yield group._replace(instances=group.take(instances))
        return
    # one gather and one split for all, for the gradient of each is as large as all instances
    groups = list(layouts)
    areas = [group.instances.shape[:2].numel() for group in groups]
    copies = [i for i, group in enumerate(groups) if group.rows is not None]
    views = sorted((i for i, a in enumerate(areas) if groups[i].rows is None and a), key=lambda i: groups[i].start)
    flat: dict[int, Tensor] = {}
    if copies:
        rows = torch.cat([rows.flatten() for group in groups if (rows := group.rows) is not None])
        parts = instances.index_select(0, rows).split([areas[i] for i in copies])
        flat.update(zip(copies, parts, strict=True))
    if views:
        cuts = [cut for i in views for cut in (groups[i].start, groups[i].start + areas[i])]
        # not `tensor_split`, which is many slices
        parts = instances.split(np.diff([0, *cuts, instances.shape[0]]).tolist())[1::2]
        flat.update(zip(views, parts, strict=True))
    for i, group in enumerate(groups):
        b, n = group.instances.shape[:2]
        yield group._replace(instances=unflatten(flat.pop(i), b, n)) if i in flat else group


def _layout(instances: Tensor, offsets: Tensor, indices: Tensor) -> Group:
    """The group of these bags, (b,), but with instances that are none: (b, n, *shape) of no memory."""
    starts, ends = offsets[indices], offsets[indices + 1]
    sizes = ends - starts
    b, n, start = len(indices), int(sizes[-1]), int(starts[0])
    equal = int(sizes[0]) == n
    shape = instances.shape[1:]
    nothing = instances.new_empty(()).expand(b, n, *shape)
    if equal and (n == 0 or torch.equal(starts, start + n * torch.arange(b))):
        return Group(indices, nothing, None, None, start, instances.shape[0])
    starts, sizes = send(starts, instances.device).unsqueeze(1), send(sizes, instances.device).unsqueeze(1)
    within = torch.arange(n, device=instances.device)
    # padding repeats the last instance of the bag itself: a NaN of another bag must not come near
    rows = starts + (within if equal else torch.minimum(within, sizes - 1))  # (b, n)
    return Group(indices, nothing, None if equal else within < sizes, rows, 0, instances.shape[0])


def _cuts(sizes: np.ndarray, waste: float, slack: int) -> list[int]:
    """Where to cut ascending sizes, none of them 0, into few groups with little padding: the end of each group."""
    distinct, counts = np.unique(sizes, return_counts=True)
    bags, real = np.append(0, counts.cumsum()), np.append(0, (counts * distinct).cumsum())
    # a size that most instances share is a group by itself: it needs no mask, and often no copy
    common = np.flatnonzero((2 * np.diff(real) > real[-1]) & (real[-1] > slack))
    barriers = {*common.tolist(), *(common + 1).tolist(), len(distinct)}
    cuts, first, spare = [], 0, float(slack)
    while first < len(distinct):
        # cutting within equal sizes never helps, so a group is a run of distinct sizes: the longest that is allowed
        stop = min(barrier for barrier in barriers if barrier > first)
        here = real[first + 1 : stop + 1] - real[first]
        padding = (bags[first + 1 : stop + 1] - bags[first]) * distinct[first:stop] - here
        last = int(np.flatnonzero(padding <= waste * here + spare)[-1])
        spare -= max(0.0, float(padding[last] - waste * here[last]))
        first += last + 1
        cuts.append(int(bags[first]))
    return cuts


def send(small: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without waiting for what a GPU has yet to compute."""
    return small.to(device, non_blocking=device.type == "cuda")


def unflatten(flat: Tensor, b: int, n: int) -> Tensor:
    """(b n, *shape) as (b, n, *shape), a view."""
    return torch.unflatten(flat, 0, (b, n))
