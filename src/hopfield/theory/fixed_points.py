"""What kind of fixed point a state is, and when the global average or the average of a subset is one.

Three kinds (figure A.1 of the paper): near a single pattern that is well separated, near the mean of a subset of
similar patterns (a metastable state), near the mean of all patterns. Notation and source: see
`hopfield.theory.separation`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hopfield.core.association import association_weights
from hopfield.core.energy import update
from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.theory.checks import check_finite, check_index, check_patterns, check_positive
from hopfield.theory.separation import largest_norm, lengths

KINDS = ("none", "pattern", "metastable", "global")
Labels = str | list["Labels"]


@dataclass(frozen=True)
class FixedPointKind:
    """What `fixed_point_kind` found; every tensor has one entry for each state.

    Attributes:
        kind: number of the kind in `KINDS`, int64.
        size: how many patterns, the heaviest first, carry `mass` of the association, int64; 0 for kind "none".
        index: the heaviest pattern, int64; -1 for kind "none".
        weight: the share of the association it carries.
        residual: |ξ - f(ξ)|, 0 at a fixed point.
    """

    kind: Tensor
    size: Tensor
    index: Tensor
    weight: Tensor
    residual: Tensor

    @property
    def labels(self) -> Labels:
        """The kinds as words: one for a single state, otherwise nested lists of the shape of `kind`."""
        return _words(self.kind.tolist())


class GlobalFixedPoint(NamedTuple):
    """What `global_fixed_point` found.

    Attributes:
        mean: m_x, the mean of all patterns, shape (d,).
        spread: m_max = max_i |x_i - m_x|, shape ().
        contraction: β m_max², which bounds the Jacobian's spectral norm everywhere, shape ().
        unique: whether that is below 1, bool ().
        weight: bound of the largest association weight of all states in the convex hull of the patterns, shape ().
    """

    mean: Tensor
    spread: Tensor
    contraction: Tensor
    unique: Tensor
    weight: Tensor


class MetastableState(NamedTuple):
    """What `metastable_state` found; all but `mean` of shape ().

    Attributes:
        mean: m_x, the mean of the members, shape (d,).
        spread: m_max, the largest distance of a member from it.
        radius: 1/(β m_max), radius of the sphere S_m around m_x.
        separation: Δ_m = m_x·m_x - max_j m_x·x_j over the patterns j that are no members; +inf if there are none.
        required: the separation asked for; +inf where β m_max² ≥ 1.
        outside: bound (N-l) exp(-β (Δ_m - 2 M/(β m_max))), at most 1, of the weight γ outside the members in S_m.
        holds: whether separation ≥ required, bool: S_m then holds exactly one fixed point.
    """

    mean: Tensor
    spread: Tensor
    radius: Tensor
    separation: Tensor
    required: Tensor
    outside: Tensor
    holds: Tensor


class MetastableBounds(NamedTuple):
    """What `metastable_bounds` found.

    Attributes:
        jacobian: bound β ((1-γ) m_max² + 2 γ (2-γ) M²) of the Jacobian's spectral norm.
        error: bound m_max + 2 γ M of |f(ξ) - m_x|.
    """

    jacobian: Tensor
    error: Tensor


def fixed_point_kind(
    state: Tensor,
    patterns: Tensor,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
    mass: float = 0.9,
    global_share: float = 0.5,
) -> FixedPointKind:
    """Kind of the fixed point at each state: a single pattern, a metastable state, or the global average.

    Let k be the smallest number of patterns whose association weights sum to `mass` of the total. The kind is

    - "pattern" if k = 1: one pattern carries that mass alone;
    - "global" if k > `global_share` N, where N counts the patterns that take part (not masked, bias above -inf);
    - "metastable" otherwise;
    - "none" if the weights sum to at most 1 - `mass`: nothing takes part, or the separation function (softmax1) gives
      that much weight to nothing.

    k is the paper's measure of attention heads, and k > N/2 its class I (section 4). The state is judged as it is, not
    iterated: pass the state of `hopfield.retrieve`, and see from `residual` whether it is a fixed point. It is an
    attracting one if the spectral norm of its `jacobian` is below 1.

    Args:
        state: ξ, shape (d,) or (*batch, L, d).
        patterns: the memory, (*batch, N, d).
        beta: inverse temperature β.
        bias: per-pattern bias, as for `hopfield.update`.
        mask: True where a pattern takes part, as for `hopfield.update`.
        separation: name of the separation function, or the function itself.
        mass: the share of the weights that counts as all, in (0, 1).
        global_share: the share of the patterns from which on an average is global, in (0, 1].

    Returns:
        `FixedPointKind` with fields kind, size, index, weight, residual, each (*batch, L), or () for a state (d,).

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    if not 0 < mass < 1:
        raise HopfieldError(f"mass must lie strictly between 0 and 1, got {mass}.")
    if not 0 < global_share <= 1:
        raise HopfieldError(f"global_share must lie in (0, 1], got {global_share}.")
    check_finite("state", state)
    check_finite("patterns", patterns)
    weights = association_weights(state, patterns, beta=beta, bias=bias, mask=mask, separation=separation)
    moved = update(state, patterns, beta=beta, bias=bias, mask=mask, separation=separation)
    wide = torch.promote_types(weights.dtype, torch.float32)
    count = _taking_part(weights, bias, mask)
    if weights.shape[-1] == 0:  # no maximum to find
        weights = weights.new_zeros(*weights.shape[:-1], 1)
    weights = weights.to(wide)
    total = weights.sum(-1)
    heaviest, index = weights.max(-1)
    # Rounding must not ask for one more pattern where a sum reaches the mass exactly.
    needed = mass * (1 - 16 * torch.finfo(wide).eps) * total.unsqueeze(-1)
    short = weights.sort(-1, descending=True).values.cumsum(-1) < needed
    size = short.sum(-1) + 1
    none = total <= 1 - mass
    kind = torch.where(size > global_share * count, 3, 2)
    kind = kind.masked_fill(size == 1, 1).masked_fill(none, 0)
    return FixedPointKind(
        kind=kind,
        size=size.masked_fill(none, 0),
        index=index.masked_fill(none, -1),
        weight=torch.where(total > 0, heaviest / total, 0.0),
        residual=lengths(state.to(wide) - moved.to(wide)),
    )


def global_fixed_point(patterns: Tensor, beta: float) -> GlobalFixedPoint:
    """When all patterns are averaged: the only fixed point there is, if β m_max² < 1.

    With m_x the mean of all patterns and m_max = max_i |x_i - m_x|, ‖J(ξ)‖₂ ≤ β m_max² for every ξ. Below 1 the update
    is a contraction of the whole space: there is exactly one fixed point, and every iteration converges to it. In the
    convex hull of the patterns, where every update leads,

        max_i p_i ≤ exp(2 β m_max (m_max + |m_x|)) / N.

    For centred patterns, m_x = 0, the mean itself is a fixed point at any β.
    Source: lemma A3 (the paper's main text points to "lemma A7" for it).

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.

    Returns:
        `GlobalFixedPoint` with fields mean, spread, contraction, unique, weight (cut off at 1).

    Raises:
        HopfieldError: patterns are no finite floating-point matrix, or beta is not positive and finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    mean, spread = _centre(memory)
    contraction = beta * spread.square()
    reach = spread + lengths(mean)
    weight = (torch.exp(2 * beta * spread * reach) / len(memory)).clamp(max=1.0)
    return GlobalFixedPoint(mean, spread, contraction, contraction < 1, weight)


def metastable_state(patterns: Tensor, members: Sequence[int] | Tensor, beta: float) -> MetastableState:
    """When a subset of l similar patterns is averaged: a fixed point near its mean m_x.

    With m_max the largest distance of a member from m_x, the sphere S_m = {ξ : |ξ - m_x| ≤ 1/(β m_max)} is mapped into
    itself by a contraction, so that it holds exactly one fixed point to which every iteration from inside converges, if
    β m_max² < 1 and

        Δ_m ≥ 2 M/(β m_max) - ln((1 - β m_max²) / (2 β (N-l) M max{m_max, 2 M})) / β,

    where Δ_m = m_x·m_x - max m_x·x_j over the patterns that are no members. If all patterns are members only
    β m_max² < 1 is left, as in `global_fixed_point`. The fixed point need not weigh the members equally: S_m reaches
    beyond them, and a member with a larger norm may take most of the weight. The conditions are sufficient, not
    necessary; a single member, or members that are all equal, have m_max = 0 and never meet them: `well_separated` is
    for these.
    Source: lemmas A8, A10-A12. (The paper also allows β m_max² = 1, where its logarithm does not exist.)

    Args:
        patterns: the memory (N, d).
        members: row numbers of the subset (l,), distinct; or bool (N,).
        beta: inverse temperature β.

    Returns:
        `MetastableState` with fields mean, spread, radius, separation, required, outside, holds.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    inside = _check_members(members, memory)
    mean, spread = _centre(memory[inside])
    norm = largest_norm(memory)
    others = memory[~inside]
    room = (1 - beta * spread.square()).clamp(min=0)
    if len(others):
        separation = ((mean - others) @ mean).amin()
        limit = room / (2 * beta * len(others) * norm * torch.maximum(spread, 2 * norm))
        required = (2 * norm / (beta * spread) - limit.log() / beta).nan_to_num(nan=math.inf, posinf=math.inf)
        exponent = 2 * norm / spread - beta * separation + math.log(len(others))
        outside = exponent.nan_to_num(nan=math.inf, posinf=math.inf).exp().clamp(max=1.0)
    else:
        separation = torch.full_like(norm, math.inf)
        required = torch.where(room > 0, -separation, separation)
        outside = torch.zeros_like(norm)
    holds = (separation >= required) & (room > 0)
    return MetastableState(mean, spread, 1 / (beta * spread), separation, required, outside, holds)


def metastable_bounds(
    patterns: Tensor, members: Sequence[int] | Tensor, outside: float | Tensor, beta: float
) -> MetastableBounds:
    """What the weight γ outside a subset of patterns says about a state, wherever the state is.

        ‖J(ξ)‖₂ ≤ β ((1-γ) m_max² + 2 γ (2-γ) M²),   |f(ξ) - m_x| ≤ m_max + 2 γ M

    with m_x the mean of the members and m_max their largest distance from it.
    Source: lemma A8 (Jacobian), lemma A9 (distance).

    Args:
        patterns: the memory (N, d).
        members: row numbers of the subset (l,), distinct; or bool (N,).
        outside: γ = Σ p_i over the patterns that are no members, a number or tensor of any shape.
        beta: inverse temperature β.

    Returns:
        `MetastableBounds` with fields jacobian, error, each of the shape of `outside`.

    Raises:
        HopfieldError: an argument has a wrong shape, dtype or range, or is not finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    _, spread = _centre(memory[_check_members(members, memory)])
    norm = largest_norm(memory)
    gamma = torch.as_tensor(outside, dtype=memory.dtype, device=memory.device)
    if not bool(((gamma >= 0) & (gamma <= 1)).all()):
        raise HopfieldError(f"outside must lie in [0, 1], got {float(gamma.min())} … {float(gamma.max())}.")
    jacobian = beta * ((1 - gamma) * spread.square() + 2 * gamma * (2 - gamma) * norm.square())
    return MetastableBounds(jacobian, spread + 2 * gamma * norm)


def _centre(memory: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the rows, and the largest distance of a row from it."""
    mean = memory.mean(0)
    return mean, largest_norm(memory - mean)


def _check_members(members: Sequence[int] | Tensor, memory: Tensor) -> Tensor:
    """The subset as bool (N,)."""
    rows = torch.as_tensor(members, device=memory.device)
    if rows.numel() == 0:
        rows = rows.bool().new_zeros(len(memory))
    if rows.dtype == torch.bool and rows.shape == memory.shape[:1]:
        inside = rows
    else:
        rows = check_index(rows, memory, "members")
        inside = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
        inside[rows] = True
        if rows.ndim != 1 or int(inside.sum()) != len(rows):
            raise HopfieldError(
                f"members must be distinct row numbers, shape (l,), or bool ({len(memory)},), "
                f"got shape {tuple(rows.shape)} with {int(inside.sum())} distinct ones."
            )
    if not bool(inside.any()):
        raise HopfieldError("members must name at least one pattern, got none.")
    return inside


def _taking_part(weights: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """How many patterns take part, for each state."""
    part = torch.ones_like(weights, dtype=torch.bool)
    if mask is not None:
        part = part & mask
    if bias is not None:
        part = part & (bias > -math.inf)
    return part.reshape(weights.shape).sum(-1)  # a single state may come with a mask (1, N)


def _words(codes: int | list[int]) -> Labels:
    return KINDS[codes] if isinstance(codes, int) else [_words(code) for code in codes]
