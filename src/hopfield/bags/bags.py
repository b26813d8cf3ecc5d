"""Many sets ("bags") of instances, stored flat, and cheap ways to compute with bags of different sizes.

Padding every bag to the longest wastes time and memory where sizes differ. `Bags.groups` pads together only bags of
similar size, so that the cost grows with the number of instances; bags that lie in memory as a block are not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.bags.collate import collate
from hopfield.bags.groups import Group, grouped, plan, send, unflatten
from hopfield.bags.inputs import as_tensor, check_alike, ids_of, is_integer, offsets_of
from hopfield.errors import HopfieldError


@dataclass(frozen=True, eq=False, repr=False)
class Bags:
    """Many sets of instances: one flat tensor of instances, and where each bag begins. It never changes.

    Iterating gives the instances of each bag; an integer index gives those of one bag, any other index (a slice, a
    list, a tensor or array of positions or of bools) gives `Bags`.

    Example:
        >>> bags = Bags.from_list([torch.ones(2, 3), torch.zeros(0, 3), torch.ones(4, 3)])
        >>> bags
        Bags(3 bags of 0 to 4 instances, median 2, 6 in all; shape (3,), torch.float32, cpu)
        >>> bags[2].shape, len(bags[[0, 2]])
        (torch.Size([4, 3]), 2)
        >>> sums = torch.zeros(len(bags), 3)
        >>> for group in bags.groups():
        ...     padding = 0 if group.mask is None else ~group.mask.unsqueeze(-1)
        ...     sums[group.indices] = (group.instances * (1 - 1 * padding)).sum(1)
        >>> sums[:, 0].tolist()
        [2.0, 0.0, 4.0]

    Args:
        instances: all instances, one bag after the other, (total, *shape) of any dtype; mostly (total, d).
        offsets: where each bag begins, and the end of the last, (B + 1,) integers: bag i is
            `instances[offsets[i]:offsets[i + 1]]`. It is kept on the CPU, so that sizes are known without waiting for
            an accelerator.

    Raises:
        HopfieldError: offsets that are not integers, do not start at 0, decrease, or do not end at total.
    """

    instances: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        instances = as_tensor("instances", self.instances, "(total, *shape)")
        offsets = as_tensor("offsets", self.offsets, "(B + 1,) of integers")
        if instances.dim() < 1:
            raise HopfieldError("instances must be (total, *shape), got a single number; a bag is a row of instances")
        if offsets.dim() != 1 or len(offsets) < 1 or not is_integer(offsets):
            raise HopfieldError(
                f"offsets must be integers (B + 1,): the start of each bag and the end of the last; "
                f"got shape {tuple(offsets.shape)} of {offsets.dtype}"
            )
        offsets = offsets.detach().to("cpu", torch.int64)
        if offsets[0] != 0:
            raise HopfieldError(f"offsets must start at 0, got {int(offsets[0])}; put a 0 before the ends of the bags")
        wrong = (offsets.diff() < 0).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise HopfieldError(
                f"offsets must not decrease, got {int(offsets[i])} and then {int(offsets[i + 1])} at position {i + 1}; "
                "sort the instances bag by bag (Bags.from_groups does)"
            )
        if offsets[-1] != instances.shape[0]:
            raise HopfieldError(
                f"offsets must end at the number of instances, {instances.shape[0]}, got {int(offsets[-1])}; "
                "to leave out the last instances, cut them off first"
            )
        object.__setattr__(self, "instances", instances)
        object.__setattr__(self, "offsets", offsets)

    # ---------------------------------------------------------------------------------------------- other ways to begin

    @classmethod
    def from_list(cls, bags: Iterable[Tensor | np.ndarray]) -> Bags:
        """Bags from one tensor or array (n_i, *shape) each, all of one shape, dtype and device.

        Raises:
            HopfieldError: no bags at all (their shape would be unknown), or bags that do not fit together.
        """
        tensors = [as_tensor(f"bag {i}", bag, "(n, *shape)") for i, bag in enumerate(bags)]
        if not tensors:
            raise HopfieldError(
                "from_list needs at least one bag to know the shape of an instance, got none; "
                "use Bags(torch.empty(0, d), [0]) for no bags"
            )
        for i, bag in enumerate(tensors):
            if bag.dim() < 1:
                raise HopfieldError(f"bag {i} must be (n, *shape), got a single number; use bag.reshape(1, -1)")
            check_alike(f"bag {i}", bag, "bag 0", tensors[0])
        return cls(torch.cat(tensors), offsets_of([len(bag) for bag in tensors]))

    @classmethod
    def from_padded(cls, padded: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None) -> Bags:
        """Bags from a padded tensor (B, N, *shape) and a mask (B, N), True for what takes part; None: everything.

        Raises:
            HopfieldError: a tensor without two leading dimensions, or a mask of another shape or dtype.
        """
        padded = as_tensor("padded", padded, "(B, N, *shape)")
        if padded.dim() < 2:
            raise HopfieldError(f"padded must be (B, N, *shape), got shape {tuple(padded.shape)}")
        B, N = padded.shape[:2]
        if mask is None:
            return cls(padded.flatten(0, 1), torch.arange(B + 1) * N)
        mask = as_tensor("mask", mask, "(B, N) of bool")
        if mask.dtype != torch.bool:
            raise HopfieldError(f"mask must be of dtype bool (True takes part), got {mask.dtype}; use mask.bool()")
        if mask.shape != (B, N):
            raise HopfieldError(f"mask must be (B, N) = {(B, N)} like padded, got shape {tuple(mask.shape)}")
        return cls(padded[mask.to(padded.device)], offsets_of(mask.sum(1)))

    @classmethod
    def from_groups(cls, instances: Tensor | np.ndarray, groups: Tensor | np.ndarray | Sequence[int | str]) -> Bags:
        """Bags from instances (total, *shape) and the id of the bag of each, (total,) integers or strings.

        The ids may come in any order. Bags are in ascending order of id, so `torch.unique(groups)` or
        `numpy.unique(groups)` gives the id of each bag; within a bag the order is kept.

        Raises:
            HopfieldError: not one id per instance, or ids that are neither integers nor strings.
        """
        instances = as_tensor("instances", instances, "(total, *shape)")
        ids = ids_of(groups)
        if instances.dim() < 1 or ids.shape != (len(instances),):
            raise HopfieldError(
                f"groups must have one id per instance, (total,); got {ids.shape} "
                f"for instances of shape {tuple(instances.shape)}"
            )
        _, which = np.unique(ids, return_inverse=True)
        sizes = np.bincount(which) if len(which) else np.zeros(0, np.int64)
        if np.any(np.diff(which) < 0):
            order = torch.from_numpy(np.argsort(which, kind="stable"))
            instances = instances.index_select(0, send(order, instances.device))
        return cls(instances, offsets_of(sizes))

    @classmethod
    def cat(cls, parts: Iterable[Bags]) -> Bags:
        """All bags of several `Bags`, one after the other.

        Raises:
            HopfieldError: nothing to join, or instances of different shapes, dtypes or devices.
        """
        parts = list(parts)
        if not parts:
            raise HopfieldError("cat needs at least one Bags to know the shape of an instance, got none")
        for i, part in enumerate(parts):
            if not isinstance(part, Bags):
                raise HopfieldError(f"cat joins Bags, got {type(part).__name__} at position {i}; use Bags.from_list")
            check_alike(f"part {i}", part.instances, "part 0", parts[0].instances)
        return cls(torch.cat([part.instances for part in parts]), offsets_of(torch.cat([part.sizes for part in parts])))

    @staticmethod
    def collate(samples: Sequence[Any]) -> Any:
        """Join samples to a batch: the `collate_fn` of a `torch.utils.data.DataLoader` whose data set holds bags.

        Args:
            samples: bags (n_i, *shape), which give `Bags`; or tuples (bag, target, ...), which give (Bags, targets,
                ...); or dicts with the bag under "data", or else under "bag", which give a dict with `Bags` there.
                Everything but the bags is joined by `torch.utils.data.default_collate`.

        Raises:
            HopfieldError: no samples, samples of another kind, or entries that do not fit together.
        """
        return collate(samples, Bags.from_list)

    # ------------------------------------------------------------------------------------------------------- what it is

    @property
    def sizes(self) -> Tensor:
        """The number of instances of each bag, (B,) int64, on the CPU."""
        return self.offsets.diff()

    @property
    def total(self) -> int:
        """The number of instances of all bags."""
        return self.instances.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the instances are."""
        return self.instances.device

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the instances."""
        return self.instances.dtype

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        count, sizes = len(self), self.sizes
        what = f"shape {tuple(self.instances.shape[1:])}, {self.dtype}, {self.device}"
        if not count:
            return f"Bags(0 bags; {what})"
        least, most = int(sizes.min()), int(sizes.max())
        spread = f"{least}" if least == most else f"{least} to {most}"
        middle = "" if least == most else f" median {int(sizes.median())},"
        bags = "1 bag" if count == 1 else f"{count} bags"
        return f"Bags({bags} of {spread} instances,{middle} {self.total} in all; {what})"

    # ------------------------------------------------------------------------------------------------------ parts of it

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | Sequence[bool] | np.ndarray | Tensor) -> Bags: ...

    def __getitem__(self, index: Any) -> Tensor | Bags:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                offsets = self.offsets[start : max(start, stop) + 1]
                first, last = int(offsets[0]), int(offsets[-1])
                return Bags(self.instances[first:last], offsets - first)
            return self._select(torch.tensor(range(start, stop, step), dtype=torch.int64))
        if not isinstance(index, Tensor | np.ndarray | Sequence) or getattr(index, "ndim", 1) == 0:
            return self._bag(index)
        return self._select(self._positions(index))

    def __iter__(self) -> Iterator[Tensor]:
        # one split has one gradient, where many slices would each have one as large as all instances
        return iter(self.instances.split(self.sizes.tolist()) if len(self) else ())

    def _bag(self, index: Any) -> Tensor:
        try:
            i = int(index.__index__())
        except (AttributeError, TypeError) as error:
            raise HopfieldError(
                "the index of bags must be an integer, a slice, or a list, tensor or array of positions or bools; "
                f"got {index!r}"
            ) from error
        if not -len(self) <= i < len(self):
            raise IndexError(f"there are {len(self)} bags, got index {i}")
        i %= len(self)
        return self.instances[int(self.offsets[i]) : int(self.offsets[i + 1])]

    def _positions(self, index: Sequence[int] | Sequence[bool] | np.ndarray | Tensor) -> Tensor:
        """The positions (b,) of the bags that an index names, none of them negative, on the CPU."""
        if not isinstance(index, Tensor | np.ndarray):
            index = np.array(index, dtype=None if len(index) else np.int64)
        index = as_tensor("the index of bags", index, "(b,) of positions or (B,) of bools").cpu()
        if index.dim() != 1 or not (is_integer(index) or index.dtype == torch.bool):
            raise HopfieldError(
                f"the index of bags must be positions (b,) or bools ({len(self)},), "
                f"got shape {tuple(index.shape)} of {index.dtype}"
            )
        if index.dtype == torch.bool:
            if len(index) != len(self):
                raise HopfieldError(f"an index of bools must have one for each of {len(self)} bags, got {len(index)}")
            return index.nonzero().squeeze(1)
        index = index.to(torch.int64)
        wrong = (index < -len(self)) | (index >= len(self))
        if wrong.any():
            raise IndexError(f"there are {len(self)} bags, got index {int(index[wrong][0])}")
        return torch.where(index < 0, index + len(self), index)

    def _select(self, positions: Tensor) -> Bags:
        offsets = offsets_of(self.sizes[positions])
        total = int(offsets[-1])
        shifts = send(self.offsets[positions] - offsets[:-1], self.device)
        sizes = send(offsets.diff(), self.device)
        rows = torch.repeat_interleave(shifts, sizes, output_size=total) + torch.arange(total, device=self.device)
        return Bags(self.instances.index_select(0, rows), offsets)

    # ----------------------------------------------------------------------------------------- the same bags, otherwise

    def with_instances(self, instances: Tensor) -> Bags:
        """The same bags of other instances, one for each of these, (total, *shape): an embedding, say.

        Raises:
            HopfieldError: another number of instances.
        """
        instances = as_tensor("instances", instances, f"({self.total}, *shape)")
        if instances.dim() < 1 or instances.shape[0] != self.total:
            raise HopfieldError(
                f"the new instances must be as many as the old, ({self.total}, *shape); got {tuple(instances.shape)}"
            )
        return Bags(instances, self.offsets)

    def keep(self, mask: Tensor) -> Bags:
        """The same bags with only the instances where `mask`, bool (total,), is True.

        Raises:
            HopfieldError: a mask of another shape or dtype.
        """
        mask = as_tensor("mask", mask, f"({self.total},) of bool")
        if mask.dtype != torch.bool or mask.shape != (self.total,):
            raise HopfieldError(
                f"mask must be bool ({self.total},), True for the instances to keep; "
                f"got {mask.dtype} {tuple(mask.shape)}"
            )
        before = F.pad(mask.cumsum(0).cpu(), (1, 0))  # how many are kept before each instance
        return Bags(self.instances[mask], before[self.offsets])

    def map(self, function: Callable[[Tensor], Tensor]) -> Bags:
        """The same bags after a module or function of all instances at once, (total, *shape) to (total, *other)."""
        return self.with_instances(function(self.instances))

    def to(self, *args: Any, **kwargs: Any) -> Bags:
        """The same bags with the instances on another device or of another dtype; arguments as of `Tensor.to`."""
        return self.with_instances(self.instances.to(*args, **kwargs))

    def pin_memory(self) -> Bags:
        """The same bags in page-locked memory, from which `to("cuda", non_blocking=True)` need not wait."""
        return self.with_instances(self.instances.pin_memory())

    def is_pinned(self) -> bool:
        """Whether the instances are in page-locked memory."""
        return self.instances.is_pinned()

    def detach(self) -> Bags:
        """The same bags, cut off from the gradient."""
        return self.with_instances(self.instances.detach())

    # ------------------------------------------------------------------------------------------------ computing with it

    def segments(self) -> Tensor:
        """The bag of each instance, (total,) int64, on the device of the instances."""
        sizes = send(self.sizes, self.device)
        return torch.repeat_interleave(torch.arange(len(self), device=self.device), sizes, output_size=self.total)

    def to_padded(self, size: int | None = None, fill: float = 0.0) -> tuple[Tensor, Tensor]:
        """All bags padded to one size.

        Args:
            size: the number of positions N of each bag; None: that of the largest bag.
            fill: what stands at padded positions.

        Returns:
            The padded instances (B, N, *shape) and the mask (B, N), True for instances; both on their device.

        Raises:
            HopfieldError: a bag that is larger than `size`.
        """
        sizes = self.sizes
        largest = int(sizes.max()) if len(self) else 0
        N = largest if size is None else size
        if isinstance(N, bool) or not isinstance(N, int) or largest > N:
            raise HopfieldError(
                f"size must be an integer of at least {largest}, the size of the largest bag, got {size!r}; "
                "for fewer, leave out instances first"
            )
        # instance j of bag i goes to i N + j, which is its flat position and the padding before it
        padding = send(torch.arange(len(self)) * N - self.offsets[:-1], self.device)
        places = padding[self.segments()] + torch.arange(self.total, device=self.device)
        flat = self.instances.new_full((len(self) * N, *self.instances.shape[1:]), fill)
        padded = unflatten(flat.index_copy(0, places, self.instances), len(self), N)  # (B, N, *shape)
        return padded, torch.arange(N, device=self.device) < send(sizes, self.device).unsqueeze(1)

    def groups(self, waste: float = 0.25, *, slack: int = 4096, alone: int | None = None) -> Iterator[Group]:
        """The bags in groups of similar size, padded together: the cheap way to compute with bags of any sizes.

        Every bag is in exactly one group, the smallest first; bags without instances are one group with n == 0. All
        groups together have at most (1 + waste) total + slack positions, and there are few of them: their number
        grows with the logarithm of the largest size. A group of one bag, or of equally large bags that follow one
        another, is a view of the instances and costs no copy. Without gradients each group is made when it is
        reached; with gradients all are made at once, so that the gradient is one pass over the instances.

        Args:
            waste: how much padding is allowed, as a fraction of the number of instances; 0: none beyond `slack`, and
                then nearly as many groups as there are different sizes.
            slack: how many positions of padding are allowed anyway, so that many tiny bags end in few groups.
            alone: bags of at least this many instances are each a group, and so are never copied; None: none are.

        Raises:
            HopfieldError: waste or slack below 0, alone below 1.
        """
        for name, value, least in (("waste", waste, 0), ("slack", slack, 0), ("alone", alone, 1)):
            if value is not None and not least <= value < float("inf"):
                raise HopfieldError(f"{name} must be a finite number of at least {least}, got {value!r}")
        return grouped(self.instances, self.offsets, plan(self.offsets, waste, slack, alone))
