"""Retrieval whose updates are certified."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hopfield.core.gradients import fixed_point, unroll
from hopfield.core.retrieval import Retrieval, check_loop, stands, until_converged, warn_of_moving
from hopfield.memory.certified import Certified
from hopfield.memory.rows import TensorRows
from hopfield.memory.scored import Answer

# relative tolerance of the linear system behind the implicit gradient
_ADJOINT = 1e-6


def retrieve(first: Certified, steps: int | None, tol: float, max_steps: int, *, trajectory: bool) -> Retrieval:
    """Update the states of an association until they stand still, or a number of times.

    Raises:
        HopfieldError: steps or max_steps below 1, tol not above 0; the tolerance cannot be kept.
    """
    check_loop(steps, tol, max_steps)
    path: list[Tensor] | None = [first.states.detach()] if trajectory else None
    if steps is None:
        work = _Moving(first)
        state, counts, converged = until_converged(work, tol, max_steps, path)
        origin = state = _with_gradient(first, state, converged)
        bound, visited = work.bound, work.visited
    else:
        origin = first.states
        if path is None:
            origin = unroll(lambda *inputs: _next(first, *inputs).mean, steps - 1, origin, *_parameters(first))
        else:
            for _ in range(steps - 1):
                origin = first.at(origin).update().mean
                path.append(origin.detach())
        answer = first.at(origin).update()
        state, bound, visited = answer.mean, answer.bound, answer.visited
        counts = torch.full(origin.shape[:-1], steps, device=origin.device)
        converged = stands(origin, state, tol)
        if path is not None:
            path.append(state.detach())
    last = first.at(origin)
    values = state
    if first.stored.values is not None:
        recalled = last.recall()
        values, bound = recalled.mean, torch.maximum(bound, recalled.bound)
    return Retrieval(
        state=state,
        values=values,
        steps=counts,
        converged=converged,
        trajectory=None if path is None else torch.stack(path),
        _last=last.detached(),
        _found=first.at(state).detached(),
        error_bound=bound,
        visited=visited,
    )


def _parameters(first: Certified) -> tuple[Tensor | None, ...]:
    """What has gradients beside the states: β, and patterns in memory."""
    rows = first.stored.patterns
    patterns = rows.tensor if isinstance(rows, TensorRows) and rows.tensor.requires_grad else None
    return first.beta if isinstance(first.beta, Tensor) else None, patterns


def _next(first: Certified, state: Tensor, beta: Tensor | None, patterns: Tensor | None) -> Answer:
    at = first.at(state)
    if beta is not None:
        at = replace(at, beta=beta)
    if patterns is not None:
        at = replace(at, stored=replace(at.stored, patterns=TensorRows(patterns)))
    return at.update()


def _with_gradient(first: Certified, state: Tensor, converged: Tensor) -> Tensor:
    parameters = _parameters(first)
    learning = any(tensor is not None and tensor.requires_grad for tensor in (first.states, *parameters))
    if not (torch.is_grad_enabled() and learning):
        return state
    warn_of_moving(converged)
    return fixed_point(lambda *inputs: _next(first, *inputs).mean, _ADJOINT, state, first.states, *parameters)


class _Moving:
    """The states that still move, and what is known of the last update of each."""

    def __init__(self, first: Certified) -> None:
        self.first = first
        self.start = first.states.detach()
        count = self.start.shape[0]
        self.bound = torch.zeros(count, dtype=torch.float64, device=self.start.device)
        self.visited = torch.zeros(count, device=self.start.device)
        self._left = torch.arange(count, device=self.start.device)

    def size(self) -> int:
        return self._left.numel()

    def step(self, states: Tensor) -> Tensor:
        answer = self.first.at(states, self._left).update()
        self.put(self.bound, answer.bound)
        self.put(self.visited, answer.visited)
        return answer.mean

    def take(self, tensor: Tensor) -> Tensor:
        return tensor[self._left]

    def put(self, tensor: Tensor, part: Tensor) -> None:
        tensor[self._left] = part.to(tensor.dtype)

    def drop(self, done: Tensor) -> None:
        self._left = self._left[~self.take(done)]
