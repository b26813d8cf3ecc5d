"""How far a computed association can be from the exact one: rounding, patterns that were rounded, patterns left out.

The exact association is that of the patterns as they were stored, in real arithmetic. Lengths are in the units of the
patterns (or values) whose mean is taken; scores are compared in natural logarithms.

Rounding follows the standard model of floating-point arithmetic: an inner product of n terms is off by at most
n u / (1 - n u) times that of the absolute values, in whatever order it is summed (Higham 2002, "Accuracy and stability
of numerical algorithms", Sec. 3.1), u half a unit in the last place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hopfield.core.separation import Entmax, Normmax, Separation, Sparsemax, TopK


def unit(dtype: torch.dtype) -> float:
    """Unit roundoff u."""
    return torch.finfo(dtype).eps / 2


def accumulation(terms: int, dtype: torch.dtype) -> float:
    """γ_n = n u / (1 - n u): the relative error of a sum of n products."""
    product = terms * unit(dtype)
    return product / (1 - product) if product < 1 else math.inf


def product_terms(vectors: Tensor, parts: int = 1) -> Tensor:
    """As how many terms, float64 (L,), inner products with vectors ξ (L, d) round: τ ≤ d, |error| ≤ u τ |x| |ξ|.

    In whatever order d products are summed, the sums are of d terms at most, of d - 1, ..., of two, and each is rounded
    by u of its size. A sum of k terms is no larger than |x| times the length of the k largest entries of ξ, by Cauchy
    and Schwarz; and the products together are rounded by u |x| |ξ|. What is of second order lies within γ_d τ / d.

    Summed in parts that count as τ_p each, of the entries ξ_p, and are added one to the other, they count as
    √(Σ τ_p² |ξ_p|²) / |ξ| and one more for each but the first, likewise.
    """
    if parts > 1:
        vectors = vectors.double()
        pieces = (vectors / vectors.abs().amax(-1, keepdim=True)).chunk(parts, -1)
        lengths = torch.stack([piece.norm(dim=-1) for piece in pieces])
        own = torch.stack([product_terms(piece) for piece in pieces])
        several: Tensor = (own * lengths).square().sum(0).sqrt() / lengths.square().sum(0).sqrt() + len(pieces) - 1
        return several.nan_to_num(nan=math.inf).clamp(max=vectors.shape[-1])
    sizes = vectors.abs().sort(-1, descending=True).values.double()
    lengths = (sizes / sizes[..., :1]).square().cumsum(-1).sqrt()
    terms: Tensor = 1 + lengths[..., 1:].sum(-1) / lengths[..., -1]
    return terms.nan_to_num(nan=math.inf).clamp(max=vectors.shape[-1])


def score_error(
    beta: Tensor | float,
    length: Tensor,
    norm: float,
    bias: float,
    width: int,
    dtype: torch.dtype,
    terms: Tensor | float = math.inf,
) -> Tensor:
    """How far rounding can take a score β (x·ξ + b), for |ξ| = `length`, |x| ≤ `norm`, |b| ≤ `bias`, d = `width`.

    The product has d terms, or counts as `terms` if that is less; scaling, the bias and the subtraction of a reference
    round up to eight times more.
    """
    share = torch.as_tensor(terms).clamp(max=width).add(8).div(width + 8)
    return accumulation(width + 8, dtype) * beta * (share * length * norm + bias)


def mean_error(rough: Tensor, fine: Tensor, light: Tensor, scatter: Tensor, mean: Tensor, norm: float) -> Tensor:
    """How far a softmax mean moves when scores are off, of some patterns by up to `rough`, of the others by `fine`.

    With weights p_i e^ε_i / Z the mean m moves by Σ p_i (e^ε_i - c) (x_i - m) / Z for any c. Where all |ε_i| ≤ δ, with
    c = cosh δ and Z ≥ e^-δ, that is at most e^δ sinh δ Σ p_i |x_i - m|; in any case, with c = 1, the sum of
    (e^δ - 1) Σ p_i |x_i - m| over both kinds, divided by Z. And (Σ p_i |x_i - m|)² ≤ p Σ p_i |x_i - m|² for patterns
    that weigh p together, and Σ p_i |x_i - m|² ≤ norm² - |m|² for all.

    Args:
        rough: δ of the light patterns, (L,).
        fine: δ of the others, (L,).
        light: what the light patterns weigh together, as computed, (L,).
        scatter: Σ p_i |x_i - m|² over these, or more, (L,).
        mean: |m|, or less, (L,).
        norm: bound of |x_i|.
    """
    spread = (norm**2 - mean.clamp(min=0.0).square()).clamp(min=0.0).sqrt()
    rough, fine = torch.maximum(rough, fine).clamp(max=300.0), fine.clamp(max=300.0)
    same = torch.special.expm1(2 * rough) / 2 * spread
    share = (light * (1 + 1e-3)).clamp(max=1.0)
    apart = (share * scatter.clamp(min=0.0)).sqrt()
    moved = torch.special.expm1(rough) * apart + torch.special.expm1(fine) * spread
    left = 1 + share * torch.special.expm1(-rough) + torch.special.expm1(-fine)
    moved = torch.where(left > 0, moved / left.clamp(min=1e-300), math.inf)
    bound: Tensor = torch.minimum(same, moved).nan_to_num(nan=math.inf)
    return torch.clamp(bound, max=2 * norm)


def left_out_error(share: Tensor, mean: Tensor, norm: float) -> Tensor:
    """How far patterns that carry up to a `share` of the weight can move the mean of the others: share (norm + |m|)."""
    return share * (norm + mean)


def sparse_change(separation: Separation, score: Tensor, support: Tensor) -> Tensor:
    """Bound of Σ |p_i - p'_i| for a sparse map when scores are off by up to `score`.

    By (p - p')·(s - s') ≥ (p - p')·(g - g') for gradients g of -H at p, and how convex -H is on k patterns, v = p - p':

    * entmax: v·(g - g') ≥ |v|₁² / k^(α-1) for α ≤ 2, ≥ |v|₁^α / ((α-1) k^(α-1)) for α ≥ 2;
    * normmax: by the moduli of convexity of the norms, (α-1) ε² / 8 for α ≤ 2 and ε^α / (α 2^α) for α ≥ 2, of the unit
      vectors p / |p|, which are at least |v|₁ / (2 k^(1-1/α)) apart;
    * top-k: that of softmax, where it is certain which patterns take part.

    Args:
        separation: the map.
        score: δ, (L,).
        support: k, how many patterns can have weight in one or the other, (L,).
    """
    if isinstance(separation, Sparsemax):
        return support * score
    if isinstance(separation, Entmax):
        order = separation.alpha - 1
        return support**order * score if order <= 1 else support * (order * score) ** (1 / order)
    if isinstance(separation, Normmax):
        alpha = separation.alpha
        if alpha <= 2:
            return 8 * support ** (3 - 3 / alpha) * score / (alpha - 1)
        return 4 * (alpha * score) ** (1 / (alpha - 1)) * support ** (1 + 1 / alpha)
    if isinstance(separation, TopK):
        change: Tensor = torch.special.expm1(2 * score.clamp(max=300.0))
        return change
    return torch.full_like(score, math.inf)
