"""The loop: update states until they stop moving, or a given number of times, and tell what happened."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from hopfield.core.energy import task_energy
from hopfield.core.gradients import fixed_point, unroll
from hopfield.core.kernels.matmul import traced
from hopfield.core.ranking import support, top
from hopfield.core.separation import Separation, resolve
from hopfield.core.task import Task, check_beta
from hopfield.errors import HopfieldError


class Association(Protocol):
    """One association of states with a memory, of which numbers can be asked: one row per state, in order."""

    @property
    def count(self) -> int:
        """The number of patterns N."""

    def weights(self) -> Tensor:
        """All weights, (..., N)."""

    def potential(self) -> Tensor:
        """Ω*(s)."""

    def energy(self) -> Tensor:
        """The energy of the states that went into it."""

    def energy_bound(self) -> Tensor | None:
        """How far that may be from the exact energy, where it is known."""

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The k largest weights and their patterns, (..., k) each."""

    def support(self, mass: float) -> Tensor:
        """The smallest number of patterns that carry the share `mass` of the weight."""


@dataclass(frozen=True)
class _Whole:
    """The association of a task."""

    task: Task

    @property
    def count(self) -> int:
        return self.task.patterns.shape[-2]

    def weights(self) -> Tensor:
        return self.task.weights()

    def potential(self) -> Tensor:
        return self.task.potential()

    def energy(self) -> Tensor:
        return task_energy(self.task)

    def energy_bound(self) -> Tensor | None:
        return None

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        return top(self.task, k)

    def support(self, mass: float) -> Tensor:
        return support(self.task, mass)


@dataclass(frozen=True, eq=False, repr=False)
class Retrieval:
    """What a retrieval found, one entry per query. `energy`, `top` and `support` are computed when asked for.

    Attributes:
        state: the states after the last update, (*batch, d).
        values: the values under the weights of the last association, (*batch, v); the state itself for a memory
            without values.
        steps: updates made, int64 (*batch,).
        converged: whether the last update moved the state by less than the tolerance, bool (*batch,).
        trajectory: all states from the query on, (updates + 1, *batch, d), if asked for; finished queries stay where
            they are.
        error_bound: for a retrieval with a tolerance, and of a memory on disk or over several processes: how far
            `state` can be from what the exact update makes of the state before it, proved for every query, (*batch,);
            with values, the larger of this and the same of them. None otherwise.
        visited: in the same case, the share of the patterns that the last update looked at, (*batch,).
    """

    state: Tensor
    values: Tensor
    steps: Tensor
    converged: Tensor
    trajectory: Tensor | None
    # the last association; its query went into it
    _last: Association = field(repr=False)
    # the same at the final state
    _found: Association = field(repr=False)
    error_bound: Tensor | None = None
    visited: Tensor | None = None

    def __repr__(self) -> str:
        """The numbers that matter, in a line."""
        count, size = self.steps.numel(), self.state.shape[-1]
        if count == 0 or self.steps.device.type == "meta":
            return f"Retrieval({tuple(self.steps.shape)} states of {size})"
        least, most = int(self.steps.min()), int(self.steps.max())
        steps = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"Retrieval({tuple(self.steps.shape)} states of {size}, {steps} steps, "
            f"{int(self.converged.sum())} of {count} converged)"
        )

    @property
    def last(self) -> Task:
        """The last association as it was computed; its query is the state that went into it."""
        assert isinstance(self._last, _Whole), "for retrievals from tensors"
        return self._last.task

    @cached_property
    def weights(self) -> Tensor:
        """The weights of the last association, (*batch, N); the whole matrix is made."""
        weights = self._last.weights()
        return weights.reshape(*self.steps.shape, weights.shape[-1])

    @cached_property
    def potential(self) -> Tensor:
        """The potential Ω*(s) of the last association, for softmax the log-sum-exp of the scores; (*batch,)."""
        return self._last.potential().reshape(self.steps.shape)

    @cached_property
    def energy(self) -> Tensor:
        """Energy of the final states, (*batch,)."""
        return self._found.energy().reshape(self.steps.shape)

    @cached_property
    def energy_bound(self) -> Tensor | None:
        """Where there is an `error_bound`, how far `energy` can be from the exact one, (*batch,)."""
        bound = self._found.energy_bound()
        return None if bound is None else bound.reshape(self.steps.shape)

    def reshape(self, lead: torch.Size) -> Retrieval:
        """The same with the queries arranged in other dimensions."""
        path, bound, visited = self.trajectory, self.error_bound, self.visited
        return replace(
            self,
            state=self.state.reshape(*lead, self.state.shape[-1]),
            values=self.values.reshape(*lead, self.values.shape[-1]),
            steps=self.steps.reshape(lead),
            converged=self.converged.reshape(lead),
            trajectory=None if path is None else path.reshape(path.shape[0], *lead, path.shape[-1]),
            error_bound=None if bound is None else bound.reshape(lead),
            visited=None if visited is None else visited.reshape(lead),
        )

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The k patterns with the largest weights in the last association.

        Returns:
            weights (*batch, k), descending, and the patterns' indices (*batch, k).

        Raises:
            HopfieldError: k below 1 or above the number of patterns.
        """
        count = self._last.count
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= count:
            raise HopfieldError(
                f"top(k): k must be an integer between 1 and the number of patterns, {count}; got {k!r}"
            )
        with torch.no_grad():
            weights, indices = self._last.top(k)
        return weights.reshape(*self.steps.shape, k), indices.reshape(*self.steps.shape, k)

    def support(self, mass: float = 0.9) -> Tensor:
        """k, the smallest number of patterns that carry a share `mass` of the weight of the last association.

        With mass 0.9 it is the k of Ramsauer et al. 2021, Sec. 4. int64 (*batch,); 0 where nothing has weight.

        Raises:
            HopfieldError: mass outside (0, 1].
        """
        if not 0 < mass <= 1:
            raise HopfieldError(f"support(mass): mass must lie in (0, 1], got {mass}")
        with torch.no_grad():
            return self._last.support(mass).reshape(self.steps.shape)


def retrieve(
    query: Tensor,
    patterns: Tensor,
    values: Tensor | None = None,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
    steps: Steps = None,
    tol: float = 1e-6,
    max_steps: int = 1000,
    trajectory: bool = False,
    adjoint_tol: float = 1e-6,
) -> Retrieval:
    """Retrieve from stored patterns: ξ ← Xᵀ ∇Ω*(β (Xξ + b)), repeated (Ramsauer et al. 2021, Eq. 3, Theorems 1 and 2).

    Every query stops by itself and then leaves the work. Gradients: with `steps=n` through the n updates, in memory
    that does not grow with n (some updates are repeated in the backward pass); with `steps=None` through the fixed
    point by the implicit function theorem, in which the starting state has no part.

    Args:
        query: states ξ, (*batch, L, d), or a single state (d,).
        patterns: (*batch, N, d); (N, d) is one memory for all.
        values: (*batch, N, v), what is returned for the patterns; the patterns themselves if None.
        beta: inverse temperature above 0: a number, or a tensor that broadcasts to (*batch, L, 1).
        bias: b, broadcasts to (*batch, L, N).
        mask: bool, broadcasts to (*batch, L, N); True takes part.
        separation: a name or an object of `hopfield.separation`.
        steps: number of updates, at least 1; `steps=1` is one association. None: until the state stops moving. A
            sequence gives each head its own, for queries (*batch, h, L, d).
        tol: a query has converged once |ξ' - ξ| < tol, or is as small as rounding of |ξ'| allows.
        max_steps: with steps=None, the number of updates after which a query gives up (`converged` is then False).
        trajectory: also return all states on the way (without gradients).
        adjoint_tol: relative tolerance of the linear system behind the implicit gradient.

    Returns:
        A `Retrieval`.

    Raises:
        HopfieldError: as `associate`; steps or max_steps below 1, tol not above 0.

    Warns:
        RuntimeWarning: in the backward pass, where the implicit gradient cannot be trusted; and here, where it is
            wanted of queries that did not converge.
    """
    separation = resolve(separation)
    beta = check_beta(beta)
    check_loop(steps, tol, max_steps)
    single = isinstance(query, Tensor) and query.dim() == 1
    task = Task.of(query.unsqueeze(0) if single else query, patterns, values, beta, bias, mask, separation)
    if isinstance(steps, Sequence):
        if not task.batch or task.batch[-1] != len(steps):
            raise HopfieldError(
                f"one number of steps per head needs queries (*batch, {len(steps)}, L, d), got {tuple(query.shape)} "
                f"with patterns {tuple(patterns.shape)}"
            )
        if trajectory:
            raise HopfieldError("a trajectory needs one number of steps for all heads, got one for each")
    path: list[Tensor] | None = [] if trajectory else None
    found = retrieve_task(task, values is not None, steps, tol, max_steps, adjoint_tol, path)
    return found.reshape(task.batch) if single else found


Steps = int | None | Sequence[int | None]
"""Updates: a number, None for until convergence, or one of these per head, the last batch dimension."""


def retrieve_task(
    task: Task,
    with_values: bool,
    steps: Steps,
    tol: float,
    max_steps: int,
    adjoint_tol: float,
    path: list[Tensor] | None = None,
) -> Retrieval:
    """`retrieve` for a checked task, which keeps its states in `path` if that is given."""
    task = _with_start(task)
    walk = replace(task, values=task.patterns, dropout=0.0)
    parts = [_settle(part, count, tol, max_steps, adjoint_tol, path) for part, count in _parts(walk, steps)]
    origin = _joined([part[0] for part in parts], -3)
    counts, converged, stays = (_joined([part[index] for part in parts], -2) for index in (1, 2, 3))
    state = origin
    if any(count is not None for count in (steps if isinstance(steps, Sequence) else [steps])):
        state = torch.where(stays.unsqueeze(-1), origin, _next(walk, origin))
        converged = torch.where(stays, converged, stands(origin, state, tol))
        if path is not None:
            path.append(state.detach())
    result = replace(task, query=origin).run(want_potential=False)[0] if with_values else state
    return Retrieval(
        state=state,
        values=result,
        steps=counts,
        converged=converged,
        trajectory=None if path is None else torch.stack(path),
        _last=_Whole(replace(walk, query=origin)),
        _found=_Whole(replace(walk, query=state)),
    )


def associate_task(task: Task, steps: Steps, tol: float, max_steps: int, adjoint_tol: float) -> Tensor:
    """The values of `retrieve_task` alone, without the last state."""
    if steps != 1:
        task = _with_start(task)
        walk = replace(task, values=task.patterns, dropout=0.0)
        parts = [_settle(part, count, tol, max_steps, adjoint_tol, None) for part, count in _parts(walk, steps)]
        task = replace(task, query=_joined([part[0] for part in parts], -3))
    return task.run(want_potential=False)[0]


def _with_start(task: Task) -> Task:
    return replace(task, query=task.query.expand(*task.batch, *task.query.shape[-2:]))


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _parts(task: Task, steps: Steps) -> list[tuple[Task, int | None]]:
    """The task cut into runs of heads that take the same number of steps."""
    if not isinstance(steps, Sequence):
        return [(task, steps)]
    ends = [i for i in range(1, len(steps)) if steps[i] != steps[i - 1]]
    cuts = zip([0, *ends], [*ends, len(steps)], strict=True)
    return [(task.heads(slice(start, end)), steps[start]) for start, end in cuts]


def _settle(
    walk: Task, steps: int | None, tol: float, max_steps: int, adjoint_tol: float, path: list[Tensor] | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The state that goes into the last association, updates with that one, convergence, and whether it stays there.

    Without a number of steps it is a fixed point and stays; with one, the convergence is still to be seen.
    """
    if path is not None:
        path.append(walk.query.detach())
    if steps is None:
        if traced():
            raise HopfieldError(
                "steps=None looks at the states to know when to stop: it cannot be compiled, exported or transformed; "
                "use a number of steps"
            )
        passed: list[Tensor] | None = None if path is None else []
        found, counts, converged = until_converged(_Workload(walk), tol, max_steps, passed)
        shape = walk.query.shape
        origin = found.reshape(shape).to(walk.dtype)
        counts, converged = counts.reshape(shape[:-1]), converged.reshape(shape[:-1])
        if path is not None and passed is not None:
            path += [state.reshape(shape).to(walk.dtype) for state in passed]
        return (
            _with_implicit_gradient(walk, origin, converged, adjoint_tol),
            counts,
            converged,
            torch.ones_like(converged),
        )
    origin = _repeat(walk, steps - 1, path)
    counts = torch.full(origin.shape[:-1], steps, device=origin.device)
    no = torch.zeros_like(counts, dtype=torch.bool)
    return origin, counts, no, no


def check_loop(steps: Steps, tol: float, max_steps: int) -> None:
    """Refuse what cannot steer a loop."""
    if isinstance(steps, Sequence) and not isinstance(steps, str):
        if not steps:
            raise HopfieldError("steps must hold one entry per head, got none")
        for count in steps:
            _check_count("steps", count)
    else:
        _check_count("steps", steps)
    _check_count("max_steps", max_steps)
    if not tol > 0:
        raise HopfieldError(f"tol must be above 0, got {tol}")


def _check_count(name: str, count: int | None) -> None:
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        until = "; steps=None iterates until the state stops moving" if name == "steps" else ""
        raise HopfieldError(f"{name} must be an integer of at least 1, got {count!r}{until}")


def _next(task: Task, state: Tensor, *parameters: Tensor | None) -> Tensor:
    """One update; `parameters`, if given, stand for patterns, bias and a tensor beta."""
    if parameters:
        patterns, bias, beta = parameters
        assert patterns is not None
        task = replace(task, patterns=patterns, values=patterns, bias=bias, beta=task.beta if beta is None else beta)
    return replace(task, query=state).run(want_potential=False)[0]


def _parameters(task: Task) -> tuple[Tensor | None, ...]:
    return task.patterns, task.bias, task.beta if isinstance(task.beta, Tensor) else None


def stands(before: Tensor, after: Tensor, tol: float) -> Tensor:
    """Whether the update moved the state by less than the tolerance or by no more than rounding, (*batch, L)."""
    before, after = before.detach(), after.detach()
    rounding = 8 * torch.finfo(after.dtype).eps
    wide = torch.promote_types(after.dtype, torch.float32)
    moved = torch.linalg.vector_norm(after.to(wide) - before.to(wide), dim=-1)
    size = torch.linalg.vector_norm(after.to(wide), dim=-1)
    stands: Tensor = (moved <= torch.maximum(rounding * size, torch.full_like(size, tol))) & moved.isfinite()
    return stands


def _repeat(task: Task, steps: int, path: list[Tensor] | None) -> Tensor:
    if path is None:
        return unroll(lambda state, *p: _next(task, state, *p), steps, task.query, *_parameters(task))
    state = task.query
    for _ in range(steps):
        state = _next(task, state)
        path.append(state.detach())
    return state


def _with_implicit_gradient(task: Task, state: Tensor, converged: Tensor, tol: float) -> Tensor:
    parameters = _parameters(task)
    if not (torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in (task.query, *parameters))):
        return state
    warn_of_moving(converged)
    return fixed_point(lambda state, *p: _next(task, state, *p), tol, state, task.query, *parameters)


def warn_of_moving(converged: Tensor) -> None:
    """Say that implicit gradients are not right where states still move."""
    if not bool(converged.all()):
        warnings.warn(
            f"{int((~converged).sum())} of {converged.numel()} queries did not converge; their implicit gradients are "
            "not those of a fixed point: raise max_steps, or differentiate through a fixed number of steps (steps=n)",
            RuntimeWarning,
            stacklevel=4,
        )


class Workload(Protocol):
    """States that are updated until each of them stands still, of which some still move."""

    start: Tensor
    """All states before the first update, (..., d)."""

    def size(self) -> int:
        """How much still moves; 0 ends the loop."""

    def step(self, states: Tensor) -> Tensor:
        """One update of those that move."""

    def take(self, tensor: Tensor) -> Tensor:
        """The entries of those that move."""

    def put(self, tensor: Tensor, part: Tensor) -> None:
        """Write the entries of those that move."""

    def drop(self, done: Tensor) -> None:
        """Let what is done leave."""


@torch.no_grad()
def until_converged(
    work: Workload, tol: float, max_steps: int, path: list[Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """States, updates made and convergence; the states after each update go into `path`."""
    state = work.start.clone()
    steps = torch.zeros(state.shape[:-1], dtype=torch.int64, device=state.device)
    done = torch.zeros_like(steps, dtype=torch.bool)
    for _ in range(max_steps):
        if not work.size():
            break
        before = work.take(state)
        after = work.step(before)
        running = ~work.take(done)
        after = torch.where(running.unsqueeze(-1), after, before)
        work.put(state, after)
        work.put(steps, work.take(steps) + running)
        work.put(done, ~running | stands(before, after, tol))
        if path is not None:
            path.append(state.clone())
        work.drop(done)
    return state, steps, done


class _Workload:
    """The part of a task that still moves: single states where one memory serves all, else whole batch elements."""

    def __init__(self, task: Task) -> None:
        states = task.query.shape[-2]
        batch = task.batch.numel()
        self.shared = task.shared
        size = (1, batch * states) if self.shared else (batch, states)

        def three(tensor: Tensor, columns: int) -> Tensor:
            """(*batch, L, columns), up to broadcasting, as (B, L, columns) with rows kept as few as they are."""
            if tensor.dim() < 2 or tensor.shape[:-1].numel() == 1:
                return tensor.reshape(1, 1, columns)
            rows = states if self.shared else tensor.shape[-2]
            return tensor.expand(*task.batch, rows, columns).reshape(size[0], size[1] if self.shared else rows, columns)

        def memory(tensor: Tensor) -> Tensor:
            if self.shared:
                return tensor.reshape(1, *tensor.shape[-2:])
            return tensor.expand(*task.batch, *tensor.shape[-2:]).reshape(batch, *tensor.shape[-2:])

        def row(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else three(tensor, tensor.shape[-1] if tensor.dim() else 1)

        query = three(task.query.to(task.compute_dtype), task.query.shape[-1])
        patterns = memory(task.patterns)
        beta = row(task.beta) if isinstance(task.beta, Tensor) else task.beta
        assert beta is not None
        self.task = Task.of(query, patterns, None, beta, row(task.bias), row(task.mask), task.separation)
        self._whole = self.task
        self._dim = 1 if self.shared else 0
        self._left = torch.arange(query.shape[self._dim], device=query.device)
        self.start = query

    def step(self, states: Tensor) -> Tensor:
        return _next(self.task, states)

    def size(self) -> int:
        return self._left.numel()

    def take(self, tensor: Tensor) -> Tensor:
        return tensor.index_select(self._dim, self._left)

    def put(self, tensor: Tensor, part: Tensor) -> None:
        tensor.index_copy_(self._dim, self._left, part.to(tensor.dtype))

    def drop(self, done: Tensor) -> None:
        """Let what has finished leave; whole batch elements only when half of them have, as patterns are copied."""
        finished = self.take(done).all(1 - self._dim)
        count = int(finished.sum())
        if count == 0 or (not self.shared and count < self.size() and 2 * count < self.size()):
            return
        self._left = self._left[~finished]
        whole = self._whole

        def select(tensor: Tensor) -> Tensor:
            return tensor if tensor.shape[self._dim] == 1 else self.take(tensor)

        patterns = whole.patterns if self.shared else self.take(whole.patterns)
        self.task = replace(
            whole,
            query=self.take(whole.query),
            patterns=patterns,
            values=patterns,
            beta=select(whole.beta) if isinstance(whole.beta, Tensor) else whole.beta,
            bias=None if whole.bias is None else select(whole.bias),
            mask=None if whole.mask is None else select(whole.mask),
            batch=torch.Size((1 if self.shared else self.size(),)),
        )
