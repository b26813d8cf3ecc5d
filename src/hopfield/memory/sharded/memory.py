"""An associative memory of which several processes hold a part each."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hopfield.core.retrieval import Association, Retrieval
from hopfield.core.separation import Streamable
from hopfield.errors import HopfieldError
from hopfield.memory.associative import AssociativeMemory
from hopfield.memory.certified import Certified
from hopfield.memory.checks import check_kept
from hopfield.memory.index.groups import GROUP, Index
from hopfield.memory.sharded.group import Group
from hopfield.memory.stored import Stored
from hopfield.progress import Progress

QUERIES = ("same", "own")


class ShardedMemory(AssociativeMemory):
    """An associative memory over several processes; `AssociativeMemory.sharded` makes it.

    All processes call what it has, in the same order, and get results with their `error_bound`. With `queries="same"`
    they pass the same queries and get the same results, and gradients are those of a loss that all compute alike. With
    `queries="own"` each passes its own and gets its own; a gradient of queries, beta and patterns is then that of the
    sum of the losses of all. A pattern's index counts those of the processes before.
    """

    _bounded = True

    def __init__(self, local: AssociativeMemory, queries: str, group: dist.ProcessGroup | None, timeout: float) -> None:
        if queries not in QUERIES:
            raise HopfieldError(f"unknown queries {queries!r}; expected one of {', '.join(QUERIES)}")
        if not isinstance(local.separation, Streamable):
            raise HopfieldError(
                f"a memory over several processes needs a separation function of hopfield.separation, got "
                f"{type(local.separation).__name__}"
            )
        self.local = local
        self.beta, self.separation = local.beta, local.separation
        self._queries = queries
        self._group = Group(group, timeout, local.device)
        self._refresh()

    def _refresh(self) -> None:
        """Agree on what the parts are together."""
        own = self.local._stored()
        wide = torch.promote_types(self.local.dtype, torch.float32)
        said = {
            "size of patterns": self.local.size,
            "data type": zlib.crc32(str(wide).encode()),
            "beta": self.local.beta.item() if isinstance(self.local.beta, Tensor) else self.local.beta,
            "separation": zlib.crc32(repr(self.local.separation).encode()),
            "size of values": -1 if own.values is None else own.values.width,
            "bias": float(own.bias is not None),
            "kind of queries": QUERIES.index(self._queries),
        }
        mine = torch.tensor(list(said.values()), dtype=torch.float64, device=self.local.device)
        for rank, theirs in enumerate(self._group.collected(mine)):
            differs = [name for name, equal in zip(said, (theirs == mine).tolist(), strict=True) if not equal]
            if differs:
                raise HopfieldError(
                    f"processes {self._group.rank} and {rank} have memories of another {differs[0]}: all parts of a "
                    "memory need the same"
                )
        count = len(self.local)
        self._group.set_counts(count)
        numbers = [
            own.norm,
            own.value_norm,
            own.bias_size,
            own.height if count else -math.inf,
            own.slack,
            own.value_slack,
            own.height_error,
        ]
        highest = self._group.highest(torch.tensor(numbers, dtype=torch.float64, device=self.local.device)).tolist()
        self._numbers = [0.0 if number == -math.inf else number for number in highest]

    def _stored(self) -> Stored:
        norm, value_norm, bias_size, peak, slack, value_slack, height_error = self._numbers
        return replace(
            self.local._stored(),
            norm=norm,
            value_norm=value_norm,
            bias_size=bias_size,
            peak=peak,
            slack=slack,
            value_slack=value_slack,
            height_error=height_error,
            peers=self._group,
        )

    def __len__(self) -> int:
        """The number of patterns of all processes N."""
        return self._group.count(len(self.local))

    def __repr__(self) -> str:
        return (
            f"AssociativeMemory({len(self)} patterns of size {self.size} over {self._group.size} processes, "
            f"{len(self.local)} of them here, beta={float(self.beta):g}, separation={self.separation!r})"
        )

    @property
    def size(self) -> int:
        """The size d of a pattern."""
        return self.local.size

    @property
    def dtype(self) -> torch.dtype:
        """Of the patterns."""
        return self.local.dtype

    @property
    def device(self) -> torch.device:
        """Where the patterns of this process are."""
        return self.local.device

    @property
    def index(self) -> Index | None:
        """The groups of the patterns of this process, or None."""
        return self.local.index

    def _retrieved(
        self, states: Tensor, mask: Tensor | None, tolerance: float, loop: Callable[[Certified], Retrieval]
    ) -> Retrieval:
        flat = states.reshape(-1, states.shape[-1])
        self._check_settings({"tolerance": tolerance, **getattr(loop, "keywords", {})})
        if self._queries == "same":
            self._check_same(flat)
            return super()._retrieved(states, mask, tolerance, loop)
        if mask is not None and mask.dim() > 1:
            raise HopfieldError('with queries="own" a mask must be (N,), one for all queries of all processes')
        whole, rows = self._group.all_queries(flat)
        return self._own(super()._retrieved(whole, mask, tolerance, loop), rows)

    def _certified(self, states: Tensor, mask: Tensor | None, tolerance: float) -> Certified:
        start = self._group.offset()
        whole = None if mask is None else self._mask(mask, states.shape[:-1])
        here = None if whole is None else whole.expand(-1, len(self))[:, start : start + len(self.local)]
        return replace(super()._certified(states, None, tolerance), mask=here)

    def _check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse to go on where the processes would not make the same updates."""
        mine = torch.tensor([zlib.crc32(repr(value).encode()) for value in settings.values()], device=self.device)
        for rank, theirs in enumerate(self._group.collected(mine)):
            for name, equal in zip(settings, (theirs == mine).tolist(), strict=True):
                if not equal:
                    raise HopfieldError(
                        f"processes {self._group.rank} and {rank} pass different {name} ({settings[name]!r} here): "
                        "pass the same everywhere"
                    )

    def _check_same(self, flat: Tensor) -> None:
        count = torch.tensor([flat.shape[0]], device=self.device)
        counts = [int(part) for part in self._group.collected(count)]
        apart = len(set(counts)) > 1
        if not apart and flat.numel():
            both = self._group.highest(torch.stack([flat.detach(), -flat.detach()]))
            apart = bool((both[0] + both[1] > 0).any())
        if apart:
            raise HopfieldError(
                'the processes pass different queries: pass the same everywhere, or make the memory with queries="own"'
            )

    def _own(self, found: Retrieval, rows: slice) -> Retrieval:
        bound, visited, path = found.error_bound, found.visited, found.trajectory
        state = self._group.own(found.state, rows)
        return replace(
            found,
            state=state,
            values=state if found.values is found.state else self._group.own(found.values, rows),
            steps=found.steps[rows],
            converged=found.converged[rows],
            trajectory=None if path is None else path[:, rows],
            _last=_Rows(found._last, rows),
            _found=_Rows(found._found, rows),
            error_bound=None if bound is None else bound[rows],
            visited=None if visited is None else visited[rows],
        )

    # ------------------------------------------------------------------------------------------------ what changes it

    def add(self, patterns: Tensor, *, values: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Store further patterns in this process; each process passes its own, of which there may be none (0, d).

        Raises:
            HopfieldError: as for any memory; a process does not answer within the timeout.
        """
        self.local.add(patterns, values=values, bias=bias)
        self._refresh()

    def remove(self, indices: int | Iterable[int] | Tensor) -> None:
        """Forget the patterns at these indices, which all processes pass alike.

        Raises:
            HopfieldError: as for any memory; a process does not answer within the timeout.
        """
        keep = check_kept(indices, len(self), self.device)
        start = self._group.offset()
        self.local.remove((~keep[start : start + len(self.local)]).nonzero().flatten())
        self._refresh()

    def build_index(self, *, size: int = GROUP, seed: int = 0, progress: Progress | None = None) -> None:
        """Group the patterns of this process; see `AssociativeMemory.build_index`."""
        self.local.build_index(size=size, seed=seed, progress=progress)

    def to(self, target: torch.device | torch.dtype | str) -> AssociativeMemory:
        """Refused: each process holds a part."""
        raise HopfieldError(f"each process holds a part of the memory: make one of memory.local.to({target!r})")

    def save(self, path: str | PathLike[str]) -> None:
        """Refused: each process holds a part."""
        raise HopfieldError(f"each process holds a part of the memory: save memory.local, not all to {path}")


class _Rows:
    """An association of the queries of all processes, of which some are one's own."""

    def __init__(self, whole: Association, rows: slice) -> None:
        self._whole, self._rows = whole, rows

    @property
    def count(self) -> int:
        return self._whole.count

    def weights(self) -> Tensor:
        return self._whole.weights()[self._rows]

    def potential(self) -> Tensor:
        return self._whole.potential()[self._rows]

    def energy(self) -> Tensor:
        return self._whole.energy()[self._rows]

    def energy_bound(self) -> Tensor | None:
        bound = self._whole.energy_bound()
        return None if bound is None else bound[self._rows]

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        weights, patterns = self._whole.top(k)
        return weights[self._rows], patterns[self._rows]

    def support(self, mass: float) -> Tensor:
        return self._whole.support(mass)[self._rows]
