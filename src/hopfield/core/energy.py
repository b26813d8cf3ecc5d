"""Energy, update and Jacobian of the Hopfield network, for every separation function."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.core.association import associate
from hopfield.core.separation import Separation, Streamable, resolve
from hopfield.core.separation.base import finite
from hopfield.core.task import Task, check_beta


def update(
    state: Tensor,
    patterns: Tensor,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
) -> Tensor:
    """One update ξ' = Xᵀ ∇Ω*(β (Xξ + b)); for softmax Eq. 3 of Ramsauer et al. 2021, X the rows of `patterns`.

    It is one step of the concave-convex procedure on `energy`, so the energy never rises, and the result lies in the
    convex hull of the patterns.

    Args:
        state: ξ, (*batch, L, d) or (d,).
        patterns: (*batch, N, d).
        beta: inverse temperature above 0, a number or a tensor that broadcasts to (*batch, L, 1).
        bias: b, broadcasts to (*batch, L, N).
        mask: bool, broadcasts to (*batch, L, N); True takes part.
        separation: a name or an object of `hopfield.separation`.

    Returns:
        The next state, of the shape of `state` broadcast with the batch of the patterns.

    Raises:
        HopfieldError: as `associate`.
    """
    return associate(state, patterns, beta=beta, bias=bias, mask=mask, separation=separation)


def energy(
    state: Tensor,
    patterns: Tensor,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
) -> Tensor:
    """Energy E(ξ) = -Ω*(s)/β + ½|ξ|² + Ω*(0)/β + max_i (½|x_i|² + b_i), s_i = β (ξ·x_i + b_i).

    For softmax without bias it is Eq. 2 of Ramsauer et al. 2021, -lse(β, Xξ) + ½|ξ|² + ln(N)/β + ½M², M the largest
    norm of a pattern. The constants keep E ≥ 0 for every separation function of this package (with a bias too, where
    b_i ≥ -½|x_i|² holds or the weights sum to 1); E ≤ 2M² holds for states in the convex hull of the patterns only
    (the paper omits the restriction). Masked patterns count nowhere; with no pattern left E = ½|ξ|².

    Args:
        state: ξ, (*batch, L, d) or (d,).
        patterns: (*batch, N, d).
        beta: inverse temperature above 0, a number or a tensor that broadcasts to (*batch, L, 1).
        bias: b, broadcasts to (*batch, L, N).
        mask: bool, broadcasts to (*batch, L, N); True takes part.
        separation: a name or an object of `hopfield.separation`.

    Returns:
        Energies (*batch, L), or a scalar for a single state, in float32 or wider.

    Raises:
        HopfieldError: as `associate`.
    """
    separation = resolve(separation)
    beta = check_beta(beta)
    single = isinstance(state, Tensor) and state.dim() == 1
    state = state.unsqueeze(0) if single else state
    result = task_energy(Task.of(state, patterns, None, beta, bias, mask, separation))
    return result.squeeze(-1) if single else result


def task_energy(task: Task) -> Tensor:
    """`energy` of a checked task: (*batch, L)."""
    potential = task.potential()
    beta = task.beta.to(potential.dtype).squeeze(-1) if isinstance(task.beta, Tensor) else task.beta
    alive, height = _alive(task)
    ground = task.separation.potential(torch.where(alive, 0.0, -math.inf).to(potential.dtype))
    peak = height.amax(-1) if height.shape[-1] else height.new_zeros(height.shape[:-1])
    peak = finite(peak)
    empty = potential == -math.inf
    rise = torch.where(empty, 0.0, ground) - torch.where(empty, 0.0, potential)
    return rise / beta + task.query.to(potential.dtype).square().sum(-1) / 2 + peak


def _alive(task: Task) -> tuple[Tensor, Tensor]:
    """Which patterns take part, and ½|x|² + b of those (-inf for the others); both broadcast to (*batch, L, N)."""
    height = task.patterns.to(task.compute_dtype).square().sum(-1).unsqueeze(-2) / 2
    alive = torch.ones_like(height, dtype=torch.bool)
    if task.mask is not None:
        alive = alive & task.mask
    if task.bias is not None:
        alive = alive & (task.bias != -math.inf)
        height = height + task.bias
    return alive, torch.where(alive, height, -math.inf)


def jacobian(
    state: Tensor,
    patterns: Tensor,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
) -> Tensor:
    """Jacobian of the update, J = β Xᵀ ∇²Ω*(s) X = I - ∇²E; for softmax β Xᵀ (diag(p) - p pᵀ) X, β times a covariance.

    Symmetric and positive semidefinite. Ramsauer et al. 2021, Lemma A2 and Eq. 57 (there X holds patterns in columns).

    Args:
        state: ξ, (*batch, L, d) or (d,).
        patterns: (*batch, N, d).
        beta: inverse temperature above 0, a number or a tensor that broadcasts to (*batch, L, 1).
        bias: b, broadcasts to (*batch, L, N).
        mask: bool, broadcasts to (*batch, L, N); True takes part.
        separation: a name or an object of `hopfield.separation`.

    Returns:
        (*batch, L, d, d), or (d, d) for a single state.

    Raises:
        HopfieldError: as `associate`.
    """
    separation = resolve(separation)
    beta = check_beta(beta)
    single = isinstance(state, Tensor) and state.dim() == 1
    task = Task.of(state.unsqueeze(0) if single else state, patterns, None, beta, bias, mask, separation)
    scores = task.scores()  # (*batch, L, N)
    rows = task.patterns.to(scores.dtype).unsqueeze(-3)  # (*batch, 1, N, d)
    if isinstance(separation, Streamable) and scores.shape[-1]:
        result = _closed_form(separation, scores, rows)
    else:
        columns = rows.mT.expand(*scores.shape[:-1], *rows.mT.shape[-2:])  # (*batch, L, d, N)
        result = separation.hessian_product(scores.unsqueeze(-2), columns) @ rows
    factor = task.beta.to(scores.dtype).unsqueeze(-1) if isinstance(task.beta, Tensor) else task.beta
    result = (factor * result).to(task.dtype)
    return result.squeeze(-3) if single else result


def _closed_form(separation: Streamable, scores: Tensor, rows: Tensor) -> Tensor:
    """Xᵀ ∇²Ω* X (*batch, L, d, d) from the curvature's diagonal and two directions."""
    normalizer = separation.normalizer(lambda: (scores,))
    curvature = separation.curvature_at(scores, normalizer)
    if separation.sums_to_one:
        # the Hessian maps constants to zero; about the mean the difference of two large terms becomes a small sum
        rows = rows - (separation.weights_at(scores, normalizer).unsqueeze(-2) @ rows)
    spread = (rows * curvature.diagonal.unsqueeze(-1)).mT @ rows
    along_w = rows.mT @ curvature.diagonal.unsqueeze(-1)  # (*batch, L, d, 1)
    along_a = rows.mT @ curvature.direction.unsqueeze(-1)
    coefficient = curvature.coefficient
    coefficient = coefficient.unsqueeze(-1) if isinstance(coefficient, Tensor) else coefficient
    return spread - along_w @ along_a.mT - along_a @ along_w.mT + coefficient * (along_a @ along_a.mT)
