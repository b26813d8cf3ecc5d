"""Processes that hold parts of a memory and answer together, over torch.distributed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hopfield.core.separation.base import finite
from hopfield.errors import HopfieldError
from hopfield.memory.peers import Peers, Weighed

_IDENTITY = itertools.count()
# seconds between looks at who has answered
_LOOK = 0.05


class Group(Peers):
    """The processes of a torch.distributed group; all of them call everything, in the same order.

    Args:
        group: the process group; None for the default one.
        timeout: seconds after which a process that does not answer is lost.
        device: of the tensors that are exchanged.
    """

    def __init__(self, group: dist.ProcessGroup | None, timeout: float, device: torch.device) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise HopfieldError(
                "a memory over several processes needs torch.distributed: start them with torchrun, and call "
                'torch.distributed.init_process_group("gloo") ("nccl" for tensors on GPUs) first'
            )
        if not timeout > 0:
            raise HopfieldError(f"timeout must be a number of seconds above 0, got {timeout!r}")
        self._group, self.timeout, self.device = group, timeout, device
        self.size, self.rank = dist.get_world_size(group), dist.get_rank(group)
        self._name = f"hopfield/{next(_IDENTITY)}"
        self._calls = 0
        self._counts = [0] * self.size

    # ------------------------------------------------------------------------------------------------------ exchanges

    def _together(self, what: Callable[[], Any]) -> None:
        """One exchange, in which a lost process is noticed and named."""
        self._calls += 1
        try:
            work = what()
            if work is not None:
                work.wait(timedelta(seconds=self.timeout))
        except (RuntimeError, ValueError) as error:
            raise self._lost() from error

    def _lost(self) -> HopfieldError:
        """Who does not answer: all that notice say so, and wait for the others to say so too."""
        silent = set(range(self.size)) - {self.rank}
        deadline = time.monotonic() + self.timeout
        where = ""
        try:
            store = dist.distributed_c10d._get_default_store()
            store.set(f"{self._name}/{self._calls}/{self.rank}", "noticed")
            while silent and time.monotonic() < deadline:
                silent = {rank for rank in silent if not store.check([f"{self._name}/{self._calls}/{rank}"])}
                time.sleep(_LOOK)
        except (RuntimeError, ValueError):
            silent, where = {0}, ", which keeps the list of all"
        names = ", ".join(map(str, sorted(silent))) or "unknown"
        return HopfieldError(
            f"process {names}{where} of {self.size} is lost: it did not answer process {self.rank} within "
            f"{self.timeout:g} s: it was stopped, met an error of its own, or called something else. Start them all "
            "again; a memory on disk is as it was"
        )

    def reduced(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
        """The sum (or another reduction) of a tensor over all processes."""
        result = tensor.detach().clone().contiguous()
        self._together(lambda: dist.all_reduce(result, operation, group=self._group, async_op=True))
        return result

    def collected(self, tensor: Tensor) -> list[Tensor]:
        """A tensor of one shape, from every process."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        own = tensor.detach().contiguous()
        self._together(lambda: dist.all_gather(parts, own, group=self._group, async_op=True))
        return parts

    def set_counts(self, own: int) -> None:
        """Tell all how many patterns are here."""
        parts = self.collected(torch.tensor([own], device=self.device))
        self._counts = [int(part) for part in parts]

    # --------------------------------------------------------------------------------------------------------- as Peers

    def count(self, own: int) -> int:
        """The patterns of all, as they were told."""
        return sum(self._counts)

    def offset(self) -> int:
        """The patterns of the processes before this one."""
        return sum(self._counts[: self.rank])

    def entered(self, tensor: Tensor) -> Tensor:
        """The same tensor, whose gradient is summed over all."""
        result: Tensor = _Entered.apply(tensor, self)
        return result

    def highest(self, tensor: Tensor) -> Tensor:
        """The largest of each entry over all."""
        return self.reduced(tensor, dist.ReduceOp.MAX)

    def log_sum_exp(self, level: Tensor) -> Tensor:
        """log Σ exp of each entry over all."""
        top = self.highest(level)
        base = finite(top)
        return base + self.reduced(torch.exp(level - base)).log()

    def merged(self, found: Weighed) -> Weighed:
        """The mean and level of all patterns: two exchanges, of O(L) and of O(L v) numbers."""
        with torch.no_grad():
            tops = self.highest(torch.stack([found.level, found.rest]).double())
            top, least = finite(tops)
            weight = torch.exp(found.level - top)
            share = self._counts[self.rank] / max(1, sum(self._counts))
            parts = [
                weight,
                weight * found.light,
                torch.exp(found.rest - least),
                found.visited * share,
            ]
            sums = [weight.unsqueeze(-1) * found.mean, weight.unsqueeze(-1) * found.part]
            exchanged = self.reduced(torch.cat([torch.stack(parts, -1).double(), *sums], -1))
            total, light, rest, visited = exchanged[:, : len(parts)].unbind(-1)
            whole = torch.where(total == 0, 1.0, total)
            mean, part = (exchanged[:, len(parts) :] / whole.unsqueeze(-1)).chunk(2, -1)
            level = top + total.log()
        mean, level = _Merged.apply(found.mean, found.level, mean, level)
        return Weighed(mean, level, light / whole, part, least + rest.log(), visited)

    def gathered(self, tensor: Tensor, fill: float) -> Tensor:
        """(L, w, ...) of all along w, each padded to the widest."""
        width = int(self.highest(torch.tensor([float(tensor.shape[1])], device=self.device)))
        missing = width - tensor.shape[1]
        pad = [0, 0] * (tensor.dim() - 2) + [0, missing]
        result: Tensor = _Gathered.apply(torch.nn.functional.pad(tensor, pad, value=fill), self)
        return result

    def columns(self, tensor: Tensor) -> Tensor:
        """(L, n) of all, one column per pattern."""
        whole = self.gathered(tensor.to(torch.float64), 0.0).unflatten(1, (self.size, -1))
        parts = [whole[:, rank, : self._counts[rank]] for rank in range(self.size)]
        return torch.cat(parts, 1).to(tensor.dtype)

    # ------------------------------------------------------------------------------------------- queries of its own

    def all_queries(self, query: Tensor) -> tuple[Tensor, slice]:
        """The queries (L, d) of all processes, which may have different numbers of them, and where one's own are."""
        counts = [int(part) for part in self.collected(torch.tensor([query.shape[0]], device=self.device))]
        start = sum(counts[: self.rank])
        own = slice(start, start + counts[self.rank])
        result: Tensor = _Queries.apply(query, self, sum(counts), own)
        return result, own

    def own(self, tensor: Tensor, rows: slice) -> Tensor:
        """Some rows of what all have, for whose gradient all are needed."""
        if not tensor.is_floating_point():
            return tensor[rows]
        result: Tensor = _Own.apply(tensor, self, rows)
        return result


class _Entered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.group.reduced(grads[0]), None


class _Merged(torch.autograd.Function):
    """mean = Σ w_r mean_r and level = log Σ exp(level_r), w_r = exp(level_r - level), as known from the exchange."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, own_level: Tensor, mean: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(own, own_level, mean, level)
        return mean.clone(), level.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        own, own_level, mean, level = ctx.saved_tensors
        weight = torch.exp(own_level - finite(level))
        along = (grads[0] * (own - mean)).sum(-1) + grads[1]
        return weight.unsqueeze(-1) * grads[0], weight * along, None, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.width = group, tensor.shape[1]
        return torch.cat(group.collected(tensor), 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        start = ctx.group.rank * ctx.width
        return grads[0][:, start : start + ctx.width], None


class _Queries(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, group: Group, count: int, rows: slice) -> Tensor:
        ctx.rows = rows
        whole = query.new_zeros(count, query.shape[1])
        whole[rows] = query
        return group.reduced(whole)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0][ctx.rows], None, None, None


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group, rows: slice) -> Tensor:
        ctx.group, ctx.rows, ctx.shape = group, rows, tensor.shape
        return tensor[rows].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        whole = grads[0].new_zeros(ctx.shape)
        whole[ctx.rows] = grads[0]
        return ctx.group.reduced(whole), None, None
