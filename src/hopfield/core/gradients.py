"""Gradients through the retrieval loop: through n steps in constant memory, and through a fixed point."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import traced
from hopfield.errors import HopfieldError

Update = Callable[..., Tensor]
"""update(state, *parameters) -> next state; parameters may be None."""
Parameters = tuple[Tensor | None, ...]

# states kept for recomputation; between them the loop is run again, at most a few times for hundreds of steps
_KEPT_STATES = 4


def _pull_back(
    update: Update, state: Tensor, parameters: Parameters, grad: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor, list[Tensor | None]]:
    """The vector-Jacobian products of one update, in its state and in the wanted parameters."""
    with torch.enable_grad():
        leaf = state.detach().requires_grad_()
        leaves = [
            p.detach().requires_grad_() if p is not None and want else p
            for p, want in zip(parameters, wanted, strict=True)
        ]
        inputs = [leaf, *(p for p, want in zip(leaves, wanted, strict=True) if want and p is not None)]
        grads = torch.autograd.grad(update(leaf, *leaves), inputs, grad, allow_unused=True)
    rest = iter(grads[1:])
    of_state = torch.zeros_like(state) if grads[0] is None else grads[0]
    return of_state, [next(rest) if want else None for want in wanted]


class _Unrolled(torch.autograd.Function):
    """n updates whose backward pass keeps `_KEPT_STATES` states at most and recomputes the others."""

    @staticmethod
    def forward(ctx: Any, update: Update, steps: int, state: Tensor, *parameters: Tensor | None) -> Tensor:
        ctx.update, ctx.steps = update, steps
        ctx.save_for_backward(state, *parameters)
        return _advance(update, state, parameters, steps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        state, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again: keep everything after all
            return None, None, *_through_all(ctx, state, tuple(parameters), grads[0])
        wanted = ctx.needs_input_grad[3:]
        totals: list[Tensor | None] = [None] * len(parameters)

        def through(start: Tensor, steps: int, kept: int, grad: Tensor) -> Tensor:
            """Pull `grad` back over `steps` updates from `start`."""
            if steps == 1:
                grad, of_parameters = _pull_back(ctx.update, start, tuple(parameters), grad, wanted)
                for index, part in enumerate(of_parameters):
                    if part is not None:
                        total = totals[index]
                        totals[index] = part.clone() if total is None else total.add_(part)
                return grad
            if kept == 0:
                for step in range(steps - 1, -1, -1):
                    grad = through(_advance(ctx.update, start, tuple(parameters), step), 1, 0, grad)
                return grad
            # an equal share for each state that may still be kept
            ahead = -(-steps // (kept + 1))
            middle = _advance(ctx.update, start, tuple(parameters), ahead)
            grad = through(middle, steps - ahead, kept - 1, grad)
            del middle
            return through(start, ahead, kept, grad)

        grad = through(state, ctx.steps, _KEPT_STATES, grads[0])
        return None, None, grad, *totals


def _through_all(ctx: Any, state: Tensor, parameters: Parameters, grad: Tensor) -> list[Tensor | None]:
    """The gradients of the updates, themselves differentiable."""
    result = state
    for _ in range(ctx.steps):
        result = ctx.update(result, *parameters)
    wanted = ctx.needs_input_grad[2:]
    inputs = [t for t, want in zip((state, *parameters), wanted, strict=True) if want and t is not None]
    found = iter(torch.autograd.grad(result, inputs, grad, create_graph=True, allow_unused=True))
    return [next(found) if want else None for want in wanted]


def _advance(update: Update, state: Tensor, parameters: Parameters, steps: int) -> Tensor:
    with torch.no_grad():
        for _ in range(steps):
            state = update(state, *parameters)
    return state


def unroll(update: Update, steps: int, state: Tensor, *parameters: Tensor | None) -> Tensor:
    """`steps` updates of a state, differentiable in it and in the parameters with memory that does not grow with them.

    Backward repeats a part of the updates instead of keeping what each of them made.
    """
    if steps == 0:
        return state
    tensors = [tensor for tensor in (state, *parameters) if tensor is not None]
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if steps == 1 or not learning or traced():
        for _ in range(steps):
            state = update(state, *parameters)
        return state
    result: Tensor = _Unrolled.apply(update, steps, state, *parameters)
    return result


class _FixedPoint(torch.autograd.Function):
    """A fixed point ξ = f(ξ, θ); its derivative in θ by the implicit function theorem, zero in the starting state."""

    @staticmethod
    def forward(
        ctx: Any, update: Update, tol: float, state: Tensor, start: Tensor, *parameters: Tensor | None
    ) -> Tensor:
        ctx.update, ctx.tol = update, tol
        ctx.save_for_backward(state, *parameters)
        return state.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the result would lose terms in silence
            raise HopfieldError(
                "no second derivatives through a fixed point: differentiate a fixed number of updates (steps=n)"
            )
        state, *parameters = ctx.saved_tensors
        fixed = tuple(parameters)
        none = (False,) * len(fixed)

        def hessian(vector: Tensor) -> Tensor:
            """(I - J) v, with J symmetric."""
            return vector - _pull_back(ctx.update, state, fixed, vector, none)[0]

        adjoint = _conjugate_gradients(hessian, grads[0], ctx.tol)
        _, of_parameters = _pull_back(ctx.update, state, fixed, adjoint, ctx.needs_input_grad[4:])
        of_start = torch.zeros_like(state) if ctx.needs_input_grad[3] else None
        return None, None, None, of_start, *of_parameters


def fixed_point(update: Update, tol: float, state: Tensor, start: Tensor, *parameters: Tensor | None) -> Tensor:
    """Give a state that is a fixed point its derivative in the parameters: solve (I - J) u = g, then pull u back.

    In the starting state, of the same shape, it is zero. The Jacobian J of an update is symmetric and I - J is the
    Hessian of the energy, positive definite at a minimum, so conjugate gradients solve the system for all
    states at once to the relative tolerance `tol`.

    Warns:
        RuntimeWarning: I - J is not positive definite at some state (the update does not contract there, so the
            fixed point is not a stable one), or the tolerance was not reached.
    """
    result: Tensor = _FixedPoint.apply(update, tol, state, start, *parameters)
    return result


def _conjugate_gradients(apply: Callable[[Tensor], Tensor], target: Tensor, tol: float) -> Tensor:
    """Solve A u = g for every state (last dimension) by itself; A symmetric positive definite."""

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(-1, keepdim=True)

    # squares of tiny gradients would vanish
    scale = target.abs().amax(-1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1.0)
    residual = target / scale
    solution = torch.zeros_like(target)
    direction = residual.clone()
    size = dot(residual, residual)
    goal = tol**2 * size
    curved = torch.ones_like(size, dtype=torch.bool)
    # exact arithmetic needs d steps; rounding a few more
    for _ in range(2 * target.shape[-1] + 10):
        active = (size > goal) & curved
        if not bool(active.any()):
            break
        image = apply(direction)
        curvature = dot(direction, image)
        curved = curved & ((curvature > 0) | ~active)
        active = active & curved
        step = torch.where(active, size / torch.where(active, curvature, 1.0), 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        following = dot(residual, residual)
        direction = torch.where(
            active, residual + following / torch.where(active, size, 1.0) * direction, torch.zeros_like(direction)
        )
        size = torch.where(active, following, size)
    failed = int((~curved).sum())
    missed = int(((size > goal) & curved).sum())
    if failed or missed:
        reasons = []
        if failed:
            reasons.append(f"the update does not contract at {failed} of {size.numel()} fixed points")
        if missed:
            reasons.append(f"the adjoint tolerance {tol:g} was not reached for {missed} of {size.numel()}")
        warnings.warn(
            f"implicit gradient unreliable: {' and '.join(reasons)}; lower beta, loosen adjoint_tol, "
            "or differentiate through a fixed number of steps (steps=n)",
            RuntimeWarning,
            stacklevel=2,
        )
    return solution * scale
