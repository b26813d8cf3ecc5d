"""An associative memory in main (or accelerator) memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hopfield.core.energy import energy
from hopfield.core.retrieval import Retrieval, retrieve
from hopfield.core.separation import Separation, Softmax, Streamable, resolve
from hopfield.errors import HopfieldError
from hopfield.memory import storage
from hopfield.memory.certified import Certified
from hopfield.memory.checks import check_bias, check_kept, check_mask, check_rows, check_scalar
from hopfield.memory.index.groups import GROUP, Index
from hopfield.memory.loop import retrieve as certified_retrieve
from hopfield.memory.marks import Mark
from hopfield.memory.rows import TensorRows
from hopfield.memory.stored import Stored
from hopfield.progress import Progress

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from hopfield.memory.disk.memory import DiskMemory
    from hopfield.memory.sharded.memory import ShardedMemory


class AssociativeMemory:
    """Stored patterns x_i with their inverse temperature, separation function and, if given, values and biases.

    Retrieval repeats ξ ← Xᵀ ∇Ω*(β (Xξ + b)) from a query ξ; for softmax this is Eq. 3 of Ramsauer et al. 2021. Data
    type and device follow the patterns; queries are converted to them.

    Args:
        patterns: x, (N, d), finite, of a floating-point dtype; N may be 0. Kept as they are, not copied.
        values: (N, v), what a retrieval returns beside the state (labels, say); the patterns themselves if None.
        beta: inverse temperature β > 0; default 1.
        separation: a name or an object of `hopfield.separation`.
        bias: b, (N,), added to the similarities; -|x|²/2 makes them Euclidean.

    Raises:
        HopfieldError: patterns that are not a finite floating-point matrix, values or bias with another number of
            rows, beta not above 0, an unknown separation.
    """

    _bounded = False
    """Whether every retrieval comes with its error bound, with a tolerance or without."""

    def __init__(
        self,
        patterns: Tensor,
        *,
        values: Tensor | None = None,
        beta: float | Tensor = 1.0,
        separation: str | Separation = "softmax",
        bias: Tensor | None = None,
    ) -> None:
        self.patterns = check_rows("patterns", patterns, None)
        self.values = None if values is None else check_rows("values", values, self.patterns)
        self.bias = None if bias is None else check_bias(bias, self.patterns)
        self.beta = check_scalar(beta)
        self.separation = resolve(separation)
        self._measured: Stored | None = None
        self._index: tuple[Mark, Index] | None = None

    def __len__(self) -> int:
        """The number of stored patterns N."""
        return self.patterns.shape[0]

    def __repr__(self) -> str:
        count, size = self.patterns.shape
        kind = f"{self.patterns.dtype}".removeprefix("torch.")
        return (
            f"AssociativeMemory({count} patterns of size {size}, beta={float(self.beta):g}, "
            f"separation={self.separation!r}, {kind} on {self.patterns.device})"
        )

    @property
    def size(self) -> int:
        """The size d of a pattern."""
        return self.patterns.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the patterns."""
        return self.patterns.dtype

    @property
    def device(self) -> torch.device:
        """Where the patterns are."""
        return self.patterns.device

    def retrieve(
        self,
        query: Tensor,
        *,
        mask: Tensor | None = None,
        steps: int | None = None,
        tol: float = 1e-6,
        max_steps: int = 1000,
        trajectory: bool = False,
        tolerance: float | None = None,
    ) -> Retrieval:
        """Retrieve from queries, each until it stops moving, or for a fixed number of updates.

        With a `tolerance` every update is certified: `Retrieval.error_bound` is a proved bound on how far each result
        is from that of the exact update in real arithmetic, and no larger than the tolerance. An index
        (`build_index`) then lets each query look at few patterns where β is large enough for few to matter;
        `Retrieval.visited` says how many it looked at. Results are of float32 at least, in its full precision whatever
        autocast and `torch.set_float32_matmul_precision` allow.

        Args:
            query: (*batch, d), finite.
            mask: bool, broadcasts to (*batch, N); True takes part. None: all patterns do.
            steps: number of updates; None: until |ξ' - ξ| < tol.
            tol: see `hopfield.retrieve`.
            max_steps: updates after which a query gives up.
            trajectory: keep the states on the way.
            tolerance: the largest error of a state (and of values) that will do, in their own units, above 0; 1e-4 of
                the patterns' norm, say. None: as exact as the data type.

        Returns:
            A `Retrieval` with entries of shape (*batch, ...).

        Raises:
            HopfieldError: a query of another size than the patterns or with entries that are not finite, a mask of
                another shape or dtype; a tolerance that is not above 0, or that the data type cannot keep; otherwise
                as `hopfield.retrieve`.
        """
        if self._bounded or tolerance is not None:
            states = self._states(query, torch.promote_types(self.dtype, torch.float32))
            within = math.inf if tolerance is None else tolerance
            loop = partial(certified_retrieve, steps=steps, tol=tol, max_steps=max_steps, trajectory=trajectory)
            return self._retrieved(states, mask, within, loop).reshape(states.shape[:-1])
        states = self._states(query)
        found = retrieve(
            states.reshape(-1, states.shape[-1]),
            self.patterns,
            self.values,
            beta=self.beta,
            bias=self.bias,
            mask=None if mask is None else self._mask(mask, states.shape[:-1]),
            separation=self.separation,
            steps=steps,
            tol=tol,
            max_steps=max_steps,
            trajectory=trajectory,
        )
        return found.reshape(states.shape[:-1])

    def energy(self, state: Tensor) -> Tensor:
        """Energy of states (*batch, d) -> (*batch,); see `hopfield.energy`."""
        if self._bounded:
            states = self._states(state, torch.promote_types(self.dtype, torch.float32))
            return self._certified(states, None, math.inf).energy().reshape(states.shape[:-1])
        states = self._states(state)
        flat = states.reshape(-1, states.shape[-1])
        result = energy(flat, self.patterns, beta=self.beta, bias=self.bias, separation=self.separation)
        return result.reshape(states.shape[:-1])

    def add(self, patterns: Tensor, *, values: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Store further patterns (n, d), or one (d,), with their values and biases if the memory has any.

        Raises:
            HopfieldError: another size than the stored patterns, entries that are not finite, values or biases
                missing or superfluous. Nothing is stored then.
        """
        patterns, values, bias = self._checked(patterns, values, bias)
        patterns = check_rows("patterns", patterns.to(self.patterns), None)
        groups = None if self._index is None else self._stored().index
        self.patterns = torch.cat([self.patterns, patterns])
        if groups is not None:
            self._index = (Mark(self.patterns), groups.joined(Index.of(TensorRows(patterns.detach()))))
        if self.values is not None and values is not None:
            self.values = torch.cat([self.values, values.to(self.values)])
        if self.bias is not None and bias is not None:
            self.bias = torch.cat([self.bias, bias.to(self.bias)])

    def remove(self, indices: int | Iterable[int] | Tensor) -> None:
        """Forget the patterns at these indices; the patterns behind them move up.

        Raises:
            HopfieldError: an index outside -N ... N-1, or not an integer. Nothing is forgotten then.
        """
        keep = check_kept(indices, len(self), self.device)
        groups = None if self._index is None else self._stored().index
        self.patterns = self.patterns[keep]
        if groups is not None:
            self._index = (Mark(self.patterns), groups.kept(keep))
        self.values = None if self.values is None else self.values[keep]
        self.bias = None if self.bias is None else self.bias[keep]

    @property
    def index(self) -> Index | None:
        """The groups of near patterns that `build_index` made, or None."""
        return None if self._index is None else self._index[1]

    def build_index(self, *, size: int = GROUP, seed: int = 0, progress: Progress | None = None) -> None:
        """Group the patterns by k-means, for retrievals with a tolerance that look at few of them.

        The patterns stay where they are; the groups take 8 bytes a pattern, and less than a hundredth of the patterns.
        What is added later gets groups of its own: build the index again when that has become much.

        Args:
            size: patterns in a group, on average.
            seed: of k-means.
            progress: called with what is being done, how much is done, and of how much.

        Raises:
            HopfieldError: neither faiss (`hopfield[index]`) nor scikit-learn (`hopfield[learn]`) is installed.
        """
        made = Index.of(TensorRows(self.patterns.detach()), size=size, seed=seed, progress=progress)
        self._index = (Mark(self.patterns), made)

    def to(self, target: torch.device | torch.dtype | str) -> AssociativeMemory:
        """The same memory on another device or in another floating-point dtype; this one stays as it is."""
        made = AssociativeMemory(
            self.patterns.to(target),
            values=None if self.values is None else self.values.to(target),
            beta=self.beta,
            separation=self.separation,
            bias=None if self.bias is None else self.bias.to(target),
        )
        if self._index is not None and made.patterns.dtype == self.patterns.dtype:  # rounding would move patterns
            made._index = (Mark(made.patterns), self._index[1].to(made.patterns.device))
        return made

    def save(self, path: str | PathLike[str]) -> None:
        """Write the memory to one safetensors file, whole or not at all: a failure leaves an older file as it was.

        Raises:
            HopfieldError: the file cannot be written, or the separation function is not one of this package.
        """
        storage.save(path, self.patterns, self.values, self.bias, float(self.beta), self.separation)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> AssociativeMemory:
        """Read a memory that `save` wrote.

        Raises:
            HopfieldError: the file is missing, damaged, truncated, of another kind, or of a later format.
        """
        patterns, values, bias, beta, separation = storage.load(path)
        return cls(patterns, values=values, beta=beta, separation=separation, bias=bias)

    @staticmethod
    def open(
        path: str | PathLike[str],
        *,
        beta: float | Tensor | None = None,
        separation: str | Separation | None = None,
        memory_limit: int = 1 << 28,
    ) -> DiskMemory:
        """Open a memory whose patterns stay on disk and are read as they are needed.

        Args:
            path: a folder that `build` made; or a file that `save` wrote or a .npy file of patterns (N, d), which are
                only read, and read once from beginning to end when they are opened.
            beta: in place of the one it was built or saved with (1 for a .npy file).
            separation: in place of the one it was built or saved with (softmax for a .npy file).
            memory_limit: bytes of the files that this process holds in its memory at once, about; default 256 MiB.

        Raises:
            HopfieldError: there is no such memory; a file of it is missing, truncated, damaged, foreign or of a later
                format (a damaged pattern is found when it is read).
        """
        from hopfield.memory.disk.file import FileMemory
        from hopfield.memory.disk.memory import DiskMemory

        if not Path(path).exists():
            raise HopfieldError(f"there is no memory at {path}: there is no such file or folder")
        kind = FileMemory if Path(path).is_file() else DiskMemory
        return kind(Path(path), beta=beta, separation=separation, memory_limit=memory_limit)

    @staticmethod
    def build(
        path: str | PathLike[str],
        blocks: Iterable[Tensor | dict[str, Tensor]],
        *,
        storage: str = "float32",
        beta: float | Tensor = 1.0,
        separation: str | Separation = "softmax",
        memory_limit: int = 1 << 28,
        progress: Progress | None = None,
    ) -> DiskMemory:
        """Make a memory on disk of patterns that come block by block, and may be more than fit into memory.

        Interrupted or killed, the same call goes on where it stopped: blocks that are stored already are compared and
        passed over. What was stored by then can be opened (and is `unfinished`). A process that is killed loses the
        last 64 MiB at most. Once it is finished, the same call changes nothing, and other blocks are refused.

        Args:
            path: folder for the memory; made if it is not there.
            blocks: patterns (n, d), or dicts of `patterns` (n, d), `values` (n, v) and `bias` (n,).
            storage: how patterns are kept: "float32"; "bfloat16" in half the space; "int8" with a factor per pattern,
                in about a quarter. What rounding changes is counted in the error bounds of retrievals.
            beta: inverse temperature β > 0.
            separation: a name or an object of `hopfield.separation`.
            memory_limit: see `open`.
            progress: called with what is being done, how much is done, and of how much.

        Raises:
            HopfieldError: patterns that are not finite floating-point matrices of one size; no blocks; an unknown
                storage; the folder holds something else, or fewer or more patterns than came; it cannot be written,
                the disk is full, or another process writes.
        """
        from hopfield.memory.disk.build import build

        return build(
            path,
            blocks,
            storage=storage,
            beta=beta,
            separation=separation,
            memory_limit=memory_limit,
            progress=progress,
        )

    @staticmethod
    def sharded(
        patterns: Tensor | AssociativeMemory,
        *,
        values: Tensor | None = None,
        beta: float | Tensor | None = None,
        separation: str | Separation | None = None,
        bias: Tensor | None = None,
        queries: str = "same",
        group: ProcessGroup | None = None,
        timeout: float = 60.0,
    ) -> ShardedMemory:
        """A memory of which each process holds a part; the processes, started by torchrun, answer together.

        Each update exchanges O(queries x d) numbers. The number of patterns may differ between processes, and be 0.

        Args:
            patterns: those of this process, (n, d); or a memory, with its values, β, separation and bias: with an
                index, or on disk.
            values: as for any memory.
            beta: as for any memory (1 if None); the same everywhere.
            separation: as for any memory (softmax if None); the same everywhere.
            bias: as for any memory.
            queries: "same": all processes pass the same queries. "own": each passes its own, as in data-parallel
                training.
            group: the processes; None for all.
            timeout: seconds after which a process that does not answer is lost. The others then raise an error that
                names it, at once if all of them have noticed, or after as many seconds again.

        Raises:
            HopfieldError: torch.distributed is not initialised; parts that do not fit together; a process does not
                answer within the timeout.
        """
        from hopfield.memory.sharded.memory import ShardedMemory

        if isinstance(patterns, AssociativeMemory):
            if any(given is not None for given in (values, bias, beta, separation)):
                raise HopfieldError(
                    "a memory has its values, biases, beta and separation already: pass patterns, or the memory alone"
                )
            return ShardedMemory(patterns, queries, group, timeout)
        local = AssociativeMemory(
            patterns,
            values=values,
            beta=1.0 if beta is None else beta,
            separation="softmax" if separation is None else separation,
            bias=bias,
        )
        return ShardedMemory(local, queries, group, timeout)

    def _checked(
        self, patterns: Tensor, values: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Patterns to add, with what belongs to them, as matrices."""
        single = isinstance(patterns, Tensor) and patterns.dim() == 1
        patterns = check_rows("patterns", patterns.unsqueeze(0) if single else patterns, None)
        if patterns.shape[1] != self.size:
            raise HopfieldError(
                f"the memory stores patterns of size {self.size}, got size {patterns.shape[1]} "
                f"(shape {tuple(patterns.shape)})"
            )
        stored = self._stored()
        for name, own, new in (("values", stored.values, values), ("bias", stored.bias, bias)):
            if (own is None) != (new is None):
                raise HopfieldError(
                    f"the memory has no {name}, but {name} came with the new patterns"
                    if own is None
                    else f"the memory has {name}: pass {name}= for the new patterns as well"
                )
        if stored.values is not None and values is not None:
            values = values.unsqueeze(0) if single and isinstance(values, Tensor) and values.dim() == 1 else values
            values = check_rows("values", values, patterns)
            if values.shape[1] != stored.values.width:
                raise HopfieldError(
                    f"the memory stores values of size {stored.values.width}, got shape {tuple(values.shape)}"
                )
        if bias is not None:
            bias = bias.unsqueeze(0) if single and isinstance(bias, Tensor) and bias.dim() == 0 else bias
            bias = check_bias(bias, patterns)
        return patterns, values, bias

    def _mask(self, mask: Tensor, lead: torch.Size) -> Tensor:
        return check_mask(mask, lead, len(self)).to(self.device)

    def _retrieved(
        self, states: Tensor, mask: Tensor | None, tolerance: float, loop: Callable[[Certified], Retrieval]
    ) -> Retrieval:
        """A certified retrieval from states (*batch, d), one entry for each of them in order."""
        return loop(self._certified(states, mask, tolerance))

    def _certified(self, states: Tensor, mask: Tensor | None, tolerance: float) -> Certified:
        if not (isinstance(tolerance, Real) and tolerance > 0):
            raise HopfieldError(f"tolerance must be a number above 0, got {tolerance!r}")
        separation = self.separation
        if not isinstance(separation, Streamable):
            raise HopfieldError(
                f"nothing is proved of the separation function {type(separation).__name__}: leave the tolerance out, "
                "or take one of hopfield.separation"
            )
        soft = separation.exponential and not separation.sparse and separation.sums_to_one
        return Certified(
            stored=self._stored(),
            states=states.reshape(-1, states.shape[-1]),
            beta=self.beta,
            mask=None if mask is None else self._mask(mask, states.shape[:-1]),
            separation=Softmax() if soft else separation,
            tolerance=float(tolerance),
        )

    def _stored(self) -> Stored:
        """What certified associations need to know, measured anew where the tensors have changed."""
        tensors = (self.patterns, self.values, self.bias)
        if self._measured is None or not all(map(Mark.still, self._measured.marks, tensors)):
            self._measured = Stored.of_tensors(*tensors)
        if self._index is None:
            return self._measured
        if not self._index[0].still(self.patterns):
            raise HopfieldError("the patterns were changed since the index was built: call build_index() again")
        return self._measured.with_index(self._index[1])

    def _states(self, query: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        if not isinstance(query, Tensor):
            raise HopfieldError(f"query must be a tensor (*batch, d), got {type(query).__name__}; use torch.as_tensor")
        size = self.size
        if query.dim() == 0 or query.shape[-1] != size:
            raise HopfieldError(
                f"query must be (*batch, {size}) to match the stored patterns, got shape {tuple(query.shape)}"
            )
        query = query.to(self.device, self.dtype if dtype is None else dtype)
        if not bool(torch.isfinite(query).all()):
            raise HopfieldError(
                "query has entries that are not finite (NaN or infinity); replace them first, or, if they are only "
                f"too large for {query.dtype}, take a memory of a wider dtype"
            )
        return query
