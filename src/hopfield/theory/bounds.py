"""How far one update, or a fixed point, can be from a stored pattern, and how strongly an update contracts.

All bounds are for softmax association and hold for every memory and every state, whether or not patterns are well
separated; where they are not, the bounds are merely too large to say anything. They are computed in the patterns' dtype
(at least float32): take float64 where the last digits matter. Notation and source: see `hopfield.theory.separation`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.association import association_weights
from hopfield.core.energy import update
from hopfield.errors import HopfieldError
from hopfield.theory.checks import Index, check_index, check_patterns, check_points, check_positive
from hopfield.theory.separation import largest_norm, lengths, separation_of, sphere_radius


class MarginBound(NamedTuple):
    """What `margin_bound` found, for each query.

    Attributes:
        pattern: number i of the pattern that the entries below are about.
        margin: ξ·x_i - max_{j≠i} ξ·x_j.
        epsilon: (N-1) exp(-β margin).
        weight: lower bound 1 - ε of the association weight p_i.
        error: upper bound 2 ε M of |f(ξ) - x_i|.
    """

    pattern: Tensor
    margin: Tensor
    epsilon: Tensor
    weight: Tensor
    error: Tensor


def retrieval_error_bound(
    patterns: Tensor,
    beta: float,
    query: Tensor | None = None,
    fixed_point: Tensor | None = None,
    index: Index = None,
) -> Tensor:
    """Largest possible distance between a pattern x_i and what is retrieved for it.

    With a query ξ, a fixed point x_i* or both, and r = max{|ξ - x_i|, |x_i* - x_i|} over those given,

        |f(ξ) - x_i|, |x_i* - x_i| ≤ 2 (N-1) M exp(-β (Δ_i - 2 r M)).

    With neither, the simplified form

        |f(ξ) - x_i|, |x_i* - x_i| ≤ 2 e (N-1) M exp(-β Δ_i)

    for all ξ and x_i* no farther from x_i than 1/(2 β M), the largest r it allows. Where x_i is `well_separated` and
    N ≥ 2 this covers the whole sphere S_i, so it bounds the error of every iteration started there.
    Source: theorem 5 = theorem A9. The paper demands both ξ and x_i*; its proof uses for f(ξ) only the distance of ξ
    and for x_i* only that of x_i*, so one is enough to bound its own error. (Misprint: the line for ε in the appendix
    has a stray factor M.)

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        query: ξ, shape (*batch, d).
        fixed_point: x_i*, shape (*batch, d), broadcast against `query`; for example the state from `hopfield.retrieve`.
        index: the patterns i, integers that broadcast to *batch. Default: with points, the pattern nearest to the query
            (to the fixed point if there is no query); without, all patterns.

    Returns:
        The bound, shape *batch; without points (N,), or the shape of `index`.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    norm = largest_norm(memory)
    if query is None and fixed_point is None:
        separation = separation_of(memory, check_index(index, memory))
        return 2 * (len(memory) - 1) * norm * torch.exp(1 - beta * separation)
    named = {"query": query, "fixed_point": fixed_point}
    points = _check_together({name: point for name, point in named.items() if point is not None}, memory)
    rows = _nearest(points[0], memory) if index is None else _broadcast(check_index(index, memory), points[0])
    radius = torch.stack([_distance(point, memory[rows]) for point in points]).amax(0)
    return 2 * norm * _epsilon(memory, rows, radius, beta)


def one_update_bound(patterns: Tensor, beta: float, query: Tensor, fixed_point: Tensor, index: Index = None) -> Tensor:
    """Largest possible distance to a fixed point after one update.

        |f(ξ) - x_i*| ≤ 2 β N M² (N-1) exp(-β (Δ_i - 2 max{|ξ - x_i|, |x_i* - x_i|} M)) |ξ - x_i*|

    The factor in front of |ξ - x_i*| is `contraction_bound` for that maximum; it bounds the spectral norm of the mean
    Jacobian between ξ and x_i*. The bound holds for any fixed point, and decays exponentially with the separation.
    Source: theorem 4 = theorem A8.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        query: ξ, shape (*batch, d).
        fixed_point: x_i*, shape (*batch, d), broadcast against `query`.
        index: the patterns i, integers that broadcast to *batch; default the pattern nearest to each query.

    Returns:
        The bound, shape *batch.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    start, end = _check_together({"query": query, "fixed_point": fixed_point}, memory)
    rows = _nearest(start, memory) if index is None else _broadcast(check_index(index, memory), start)
    radius = torch.maximum(_distance(start, memory[rows]), _distance(end, memory[rows]))
    return _product(_contraction(memory, rows, radius, beta), _distance(start, end))


def contraction_bound(
    patterns: Tensor, beta: float, radius: float | Tensor | None = None, index: Index = None
) -> Tensor:
    """Bound of the Jacobian's spectral norm in the ball of a given radius r around each pattern.

        ‖J(ξ)‖₂ ≤ 2 β N M² (N-1) exp(-β (Δ_i - 2 r M))   for all |ξ - x_i| ≤ r

    Below 1 (Eq. 183) the update is a contraction in the ball. With the default r = 1/(β N M) that is so for the
    `well_separated` patterns.
    Source: theorem 4 and lemma A2 (‖J‖₂ ≤ 2 β N M² ε where some pattern has weight p_i ≥ 1 - ε).

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        radius: r, a number or a tensor that broadcasts against the patterns looked at; default `sphere_radius`.
        index: patterns to look at, an int or integers of any shape; default all.

    Returns:
        The bound, shape (N,), or that of `index` (broadcast with `radius`).

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    rows = check_index(index, memory)
    if radius is None:
        radius = sphere_radius(memory, beta)
    radius = torch.as_tensor(radius, dtype=memory.dtype, device=memory.device)
    if not bool((radius >= 0).all()):
        raise HopfieldError(f"radius must not be negative or NaN, got a smallest entry of {float(radius.min())}.")
    return _contraction(memory, rows, radius, beta)


def jacobian_norm_bound(patterns: Tensor, beta: float, query: Tensor) -> Tensor:
    """Bound of the Jacobian's spectral norm at given states, from their association weights p.

        ‖J(ξ)‖₂ ≤ 2 β ‖X‖₂² m ≤ 2 β N M² m,   m = max_i p_i (1 - p_i)

    The first of the two is returned; X is the matrix of all patterns. Where one pattern has weight p_i ≥ 1 - ε with
    ε ≤ ½, m ≤ ε (1 - ε). As m ≤ ¼, the bound never exceeds β ‖X‖₂²/2.
    Source: lemma A2. (The paper states m ≤ ε (1 - ε) without ε ≤ ½; beyond that only m ≤ ¼ is left of it.)

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        query: ξ, shape (*batch, d).

    Returns:
        The bound, shape *batch. The norm itself is `torch.linalg.matrix_norm(jacobian(...), 2)`.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    state = check_points("query", query, memory)
    weights = association_weights(state.reshape(-1, state.shape[-1]), memory, beta=beta)
    heaviest, row = weights.max(-1, keepdim=True)
    # m belongs to the heaviest pattern; the rest is summed up, as 1 - p_i would lose it where p_i is nearly 1.
    rest = weights.scatter(-1, row, 0.0).sum(-1)
    gram = memory.mT @ memory if memory.shape[1] <= len(memory) else memory @ memory.mT
    largest: Tensor = torch.linalg.eigvalsh(gram)[-1]
    return (2 * beta * largest * heaviest.squeeze(-1) * rest).reshape(state.shape[:-1])


def margin_bound(patterns: Tensor, beta: float, query: Tensor, index: Index = None) -> MarginBound:
    """What the dot products of a query alone say about its association: p_i ≥ 1 - ε and |f(ξ) - x_i| ≤ 2 ε M.

        ε = (N-1) exp(-β c),   c = ξ·x_i - max_{j≠i} ξ·x_j

    Tighter than `retrieval_error_bound`, which follows from it by c ≥ Δ_i - 2 |ξ - x_i| M.
    Source: lemma A4.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        query: ξ, shape (*batch, d).
        index: the patterns i, integers that broadcast to *batch; default the one with the largest dot product.

    Returns:
        `MarginBound` with fields pattern, margin, epsilon, weight, error, each of shape *batch.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    state = check_points("query", query, memory)
    scores = state @ memory.mT
    rows = scores.argmax(-1) if index is None else _broadcast(check_index(index, memory), state)
    if len(memory) == 1:
        margin = torch.full_like(scores[..., 0], math.inf)
    else:
        rival = scores.scatter(-1, rows.unsqueeze(-1), -math.inf).argmax(-1)
        margin = (state * (memory[rows] - memory[rival])).sum(-1)
    epsilon = (len(memory) - 1) * torch.exp(-beta * margin)
    return MarginBound(rows, margin, epsilon, 1 - epsilon, 2 * epsilon * largest_norm(memory))


def residual_error_bound(
    patterns: Tensor, beta: float, query: Tensor, *, contraction: float | None = None, index: Index = None
) -> Tensor:
    """Largest possible distance to the fixed point after one update, known without the fixed point.

        |f(ξ) - x_i*| ≤ κ/(1-κ) |ξ - f(ξ)|

    where κ < 1 bounds the Jacobian's norm between ξ and x_i*. By default κ is `contraction_bound`, and the answer is
    +inf unless ξ lies in the sphere S_i of a pattern with κ < 1, as those that are `well_separated` have; the sphere
    then holds the fixed point as well. To bound the error of an iteration, take the state before its last step as ξ.
    Source: theorem 4, the a-posteriori form of Banach's fixed point theorem.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.
        query: ξ, shape (*batch, d).
        contraction: another κ > 0, one that is known to hold everywhere between ξ and the fixed point, for example
            `global_fixed_point(...).contraction`; then spheres are not asked about, and κ ≥ 1 gives +inf.
        index: the patterns i, integers that broadcast to *batch; default the pattern nearest to each query.

    Returns:
        The bound, shape *batch.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    state = check_points("query", query, memory)
    flat = state.reshape(-1, state.shape[-1])
    residual = _distance(flat, update(flat, memory, beta=beta)).reshape(state.shape[:-1])
    if contraction is None:
        rows = _nearest(state, memory) if index is None else _broadcast(check_index(index, memory), state)
        radius = sphere_radius(memory, beta)
        inside = _distance(state, memory[rows]) <= radius
        # κ < 1 is also the condition of lemma A5, by which the fixed point lies in the sphere.
        kappa = torch.where(inside, _contraction(memory, rows, radius, beta), math.inf)
    else:
        kappa = torch.full_like(residual, check_positive("contraction", contraction))
    return torch.where(kappa < 1, kappa / (1 - kappa) * residual, math.inf)


def _epsilon(memory: Tensor, rows: Tensor, radius: Tensor, beta: float) -> Tensor:
    """(N-1) exp(-β (Δ_i - 2 r M)), which bounds the weight beside pattern i of all states within r of it."""
    slack = separation_of(memory, rows) - 2 * radius * largest_norm(memory)
    return (len(memory) - 1) * torch.exp(-beta * slack)


def _contraction(memory: Tensor, rows: Tensor, radius: Tensor, beta: float) -> Tensor:
    return _product(_epsilon(memory, rows, radius, beta), 2 * beta * len(memory) * largest_norm(memory).square())


def _product(factor: Tensor, distance: Tensor) -> Tensor:
    """Product in which a distance of 0 beats a factor of inf."""
    return torch.where(distance == 0, 0.0, factor * distance)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    return lengths(first - second)


def _nearest(points: Tensor, memory: Tensor) -> Tensor:
    """Row number of the pattern nearest to each point."""
    flat = points.reshape(-1, points.shape[-1])
    return torch.cdist(flat, memory, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1).reshape(points.shape[:-1])


def _broadcast(rows: Tensor, points: Tensor) -> Tensor:
    """One row number for each point."""
    try:
        return rows.broadcast_to(points.shape[:-1])
    except RuntimeError as error:
        raise HopfieldError(
            f"index must broadcast to one row number for each point, shape {tuple(points.shape[:-1])}, "
            f"got {tuple(rows.shape)}."
        ) from error


def _check_together(named: dict[str, Tensor], memory: Tensor) -> list[Tensor]:
    """Points of one common shape."""
    points = [check_points(name, point, memory) for name, point in named.items()]
    try:
        return list(torch.broadcast_tensors(*points))
    except RuntimeError as error:
        shapes = " and ".join(f"{name} {tuple(point.shape)}" for name, point in named.items())
        raise HopfieldError(f"query and fixed_point must broadcast together, got {shapes}.") from error
