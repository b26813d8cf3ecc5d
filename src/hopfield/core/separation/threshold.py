"""Sparse maps: weights [z - τ]_+^e with a threshold τ below which a pattern has no weight at all."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hopfield.core.separation.base import Blocks, Curvature, Normalizer, Potential, Streamable, finite
from hopfield.core.separation.exponential import Softmax
from hopfield.core.separation.gather import above, maxima
from hopfield.errors import HopfieldError


def _top(scores: Tensor) -> Tensor:
    """The largest score of each row, 0 for a row without a finite one. (*batch, N) -> (*batch, 1)."""
    top = scores.detach().amax(-1, keepdim=True)
    return finite(top)


def _power(base: Tensor, exponent: float) -> Tensor:
    """base ** exponent on the support base > 0, and 0 off it, with zero gradient there for every exponent."""
    support = base > 0
    return torch.where(support, torch.where(support, base, 1.0) ** exponent, 0.0)


class _Threshold(Streamable):
    """Maps p ∝ [z - τ]_+^e of shifted scores z = c (s - max s), with the threshold τ the root of Σ_i [z_i - τ]_+^r = 1.

    As z ≤ 0 with equality somewhere, -1 ≤ τ < 0, and only patterns with z > -1 can be in the support.
    """

    @property
    @abstractmethod
    def scale(self) -> float:
        """The factor c on the scores."""

    @property
    @abstractmethod
    def power(self) -> float:
        """The exponent e of the weights."""

    @property
    @abstractmethod
    def root(self) -> float:
        """The exponent r of the equation for the threshold."""

    # sorting gives the root in closed form for these r
    _SORTED: ClassVar[tuple[float, float]] = (1.0, 2.0)

    def weights(self, scores: Tensor) -> Tensor:
        """[z - τ]_+^e, normalised."""
        if scores.shape[-1] == 0:
            return scores
        dead = scores.detach().amax(-1, keepdim=True) == -math.inf
        z = self._shifted(scores.masked_fill(dead, 0.0), _top(scores))
        with torch.no_grad():
            tau = self._threshold(z.detach())
            inside = (z.detach() - tau).clamp(min=0.0)
            slope = self.root * _power(inside, self.root - 1).sum(-1, keepdim=True)
        # a Newton step from the root stays there, and its derivative is the root's by the implicit function theorem
        tau = tau + (_power((z - tau).clamp(min=0.0), self.root).sum(-1, keepdim=True) - 1) / slope
        if self.root != 1 and torch.is_grad_enabled() and z.requires_grad:
            # and another one makes its second and third derivative right; the value stays, to be that without gradients
            inside = (z - tau).clamp(min=0.0)
            slope = self.root * _power(inside, self.root - 1).sum(-1, keepdim=True)
            step = (_power(inside, self.root).sum(-1, keepdim=True) - 1) / slope
            tau = tau + (step - step.detach())
        weights = _power((z - tau).clamp(min=0.0), self.power)
        return (weights / weights.sum(-1, keepdim=True)).masked_fill(dead, 0.0)

    def potential(self, scores: Tensor) -> Tensor:
        """Ω*(s) = pᵀs + H(p)."""
        value: Tensor = Potential.apply(scores, self._value, self.weights)
        return value

    def _value(self, scores: Tensor) -> Tensor:
        if scores.shape[-1] == 0:
            return torch.logsumexp(scores, -1)
        top = _top(scores)
        weights = self.weights(scores)
        inner = torch.where(weights > 0, weights * (scores - top), 0.0).sum(-1)
        value = top.squeeze(-1) + inner + self._entropy(weights)
        return torch.where(scores.amax(-1) == -math.inf, -math.inf, value)

    @abstractmethod
    def _entropy(self, weights: Tensor) -> Tensor:
        """H(p), zero where one pattern has all the weight. (*batch, N) -> (*batch,)."""

    @abstractmethod
    def _entropy_from_sums(self, mass: Tensor, energy: Tensor) -> Tensor:
        """H(p) of p = u / mass from Σ u^e = mass and Σ u^(e+1) = energy, where u = [z - τ]_+."""

    def _shifted(self, scores: Tensor, top: Tensor) -> Tensor:
        # below -1 nothing counts, so the clamp changes no weight and keeps masked scores finite
        return (self.scale * (scores - top)).clamp(min=-2.0)

    @property
    def sparse(self) -> bool:
        """Below the threshold there is no weight."""
        return True

    def floor(self, scores: Tensor) -> Tensor:
        """The threshold of these scores: more scores have a higher one."""
        top = scores.amax(-1, keepdim=True)
        bound = self._threshold(self._shifted(scores, _top(scores))).clamp(min=-1.0)
        # a little lower, for rounding
        return top + (bound - 64 * torch.finfo(top.dtype).eps) / self.scale

    def _threshold(self, z: Tensor) -> Tensor:
        """The root τ for z (*batch, N) with a largest entry of 0 -> (*batch, 1)."""
        if self.root not in self._SORTED:

            def sums(tau: Tensor) -> tuple[Tensor, Tensor]:
                return self._sums(z, tau)

            return self._solve(sums, z[..., :1], z.shape[-1], steps=50)
        descending = z.sort(-1, descending=True).values
        rank = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
        mean = descending.cumsum(-1) / rank
        if self.root == 1.0:
            candidates = mean - 1 / rank
        else:
            variance = (descending.square().cumsum(-1) / rank - mean.square()).clamp(min=0.0)
            candidates = mean - (1 / rank - variance).clamp(min=0.0).sqrt()
        size = (candidates < descending).sum(-1, keepdim=True).clamp(min=1)
        return candidates.gather(-1, size - 1)

    def _sums(self, z: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        """Σ [z - τ]_+^r and its negated derivative in τ."""
        inside = (z - tau).clamp(min=0.0)
        value = _power(inside, self.root).sum(-1, keepdim=True)
        return value, self.root * _power(inside, self.root - 1).sum(-1, keepdim=True)

    def _solve(
        self, sums: Callable[[Tensor], tuple[Tensor, Tensor]], like: Tensor, count: int, steps: int, early: bool = False
    ) -> Tensor:
        """Newton's method inside a shrinking bracket; for r ≥ 1 the sum is convex and it climbs from the left."""
        low = torch.full_like(like, -1.0)
        high = torch.full_like(like, -(count ** (-1.0 / self.root)))
        tau = low
        for _ in range(steps):
            value, slope = sums(tau)
            low = torch.where(value >= 1, tau, low)
            high = torch.where(value < 1, tau, high)
            newton = tau + (value - 1) / slope.clamp(min=torch.finfo(slope.dtype).tiny)
            following = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
            there = (value - 1).abs() <= 32 * torch.finfo(tau.dtype).eps  # as near as the sum can tell
            tau = torch.where(there, tau, following)
            if early and bool(there.all()):
                break
        return tau

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """(Ω*, max s, τ, Σ[z - τ]^e, Σ w): one pass for a lower bound of τ, one to collect the scores above it.

        The bound is the threshold over maxima of groups of scores: fewer scores, lower threshold. Where too many
        scores are above it, the root is found by Newton's method with a pass for every step.
        """
        some = maxima(blocks, 1)
        top = some.amax(-1, keepdim=True)
        dead = top == -math.inf
        top = torch.where(dead, 0.0, top)
        collected = above(blocks, self.floor(some))
        near: Blocks = blocks if collected is None else (lambda: (collected[0],))

        def shifted() -> Iterator[Tensor]:
            return (self._shifted(scores, top) for scores in near())

        def sums(tau: Tensor) -> tuple[Tensor, Tensor]:
            parts = [self._sums(z, tau) for z in shifted()]
            return sum_of(value for value, _ in parts), sum_of(slope for _, slope in parts)

        if collected is None:
            tau = self._solve(sums, top, sum(z.shape[-1] for z in blocks()), steps=100, early=True)
        else:
            tau = self._threshold(next(shifted())).clamp(min=-1.0)
        totals: list[list[Tensor]] = [[], [], [], []]
        for z in shifted():
            inside = (z - tau).clamp(min=0.0)
            unscaled = _power(inside, self.power)
            slopes = self.scale * self.power * _power(inside, self.power - 1)
            parts = (unscaled, _power(inside, self.power + 1), unscaled * z / self.scale, slopes)
            for total, part in zip(totals, parts, strict=True):
                total.append(part.sum(-1, keepdim=True))
        mass, energy, inner, slope = (sum_of(total) for total in totals)
        mass = torch.where(mass == 0, 1.0, mass)
        value = torch.where(dead, -math.inf, top + inner / mass + self._entropy_from_sums(mass, energy))
        return value, top, tau, mass, slope / mass

    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """[z - τ]_+^e / Σ."""
        _, top, tau, mass, _ = normalizer
        return _power((self._shifted(scores, top) - tau).clamp(min=0.0), self.power) / mass

    def _slopes_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """W = c e [z - τ]_+^(e-1) / Σ, the derivative of each weight in its own score at a fixed threshold."""
        _, top, tau, mass, _ = normalizer
        inside = (self._shifted(scores, top) - tau).clamp(min=0.0)
        return self.scale * self.power * _power(inside, self.power - 1) / mass


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Add tensors of one shape."""
    return torch.stack(list(tensors)).sum(0)


class _Tsallis(_Threshold):
    """Ω*(s) = max_p pᵀs + (1 - Σ p^α) / (α(α - 1)): sparsemax (α = 2) and α-entmax."""

    alpha: float

    @property
    def scale(self) -> float:
        """α - 1."""
        return self.alpha - 1

    @property
    def power(self) -> float:
        """1 / (α - 1)."""
        return 1 / (self.alpha - 1)

    @property
    def root(self) -> float:
        """1 / (α - 1), so that the weights sum to one by themselves."""
        return 1 / (self.alpha - 1)

    def _entropy(self, weights: Tensor) -> Tensor:
        return (1 - _power(weights, self.alpha).sum(-1)) / (self.alpha * (self.alpha - 1))

    def _entropy_from_sums(self, mass: Tensor, energy: Tensor) -> Tensor:
        # p^α = u^(e α) / mass^α and e α = e + 1
        return (1 - energy / mass**self.alpha) / (self.alpha * (self.alpha - 1))

    def curvature_at(self, scores: Tensor, normalizer: Normalizer) -> Curvature:
        """Diag(w) - w wᵀ / Σw with w = p^(2 - α) on the support."""
        slopes = self._slopes_at(scores, normalizer)
        total = normalizer[4].clamp(min=torch.finfo(slopes.dtype).tiny)
        return Curvature(slopes, slopes / total, total)


@dataclass(frozen=True)
class Sparsemax(_Tsallis):
    """Sparsemax, the Euclidean projection of the scores on the simplex: p = [s - τ]_+ with Σ p = 1.

    Ω*(s) = max_p pᵀs + ½(1 - |p|²); retrieval margin 1. Martins & Astudillo 2016; as a Hopfield network Hu et al. 2023,
    "On sparse modern Hopfield model".
    """

    alpha: ClassVar[float] = 2.0  # type: ignore[misc]  # a constant here

    @property
    def margin(self) -> float | None:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Entmax(_Tsallis):
    """α-entmax: p = [(α-1)s - τ]_+^(1/(α-1)) with Σ p = 1; Ω*(s) = max_p pᵀs + (1 - Σ p^α) / (α(α-1)).

    α = 1 is softmax and α = 2 sparsemax; at 1.5 and 2 the threshold comes exactly from a sort, elsewhere from a
    bracketed Newton iteration to rounding. Retrieval margin 1/(α - 1). Peters et al. 2019, "Sparse
    sequence-to-sequence models"; as a Hopfield network Santos et al. 2024.

    Args:
        alpha: finite, at least 1; default 1.5.

    Raises:
        HopfieldError: alpha is below 1, infinite or NaN.
    """

    alpha: float = 1.5

    def __post_init__(self) -> None:
        if not (isinstance(self.alpha, int | float) and 1 <= self.alpha < math.inf):
            raise HopfieldError(f"Entmax: alpha must be a finite number of at least 1, got {self.alpha!r}")

    @property
    def margin(self) -> float | None:
        """1 / (α - 1); none for α = 1."""
        return None if self.alpha == 1 else 1 / (self.alpha - 1)

    @property
    def exponential(self) -> bool:
        """True for α = 1, which is softmax."""
        return self.alpha == 1

    @property
    def sparse(self) -> bool:
        """Not for α = 1."""
        return self.alpha != 1

    def floor(self, scores: Tensor) -> Tensor:
        """As for every threshold map; none for α = 1."""
        return Softmax().floor(scores) if self.alpha == 1 else super().floor(scores)

    def weights(self, scores: Tensor) -> Tensor:
        """[(α-1)s - τ]_+^(1/(α-1))."""
        return Softmax().weights(scores) if self.alpha == 1 else super().weights(scores)

    def _value(self, scores: Tensor) -> Tensor:
        return torch.logsumexp(scores, -1) if self.alpha == 1 else super()._value(scores)

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """As for every threshold map; the log-sum-exp for α = 1."""
        return Softmax().normalizer(blocks) if self.alpha == 1 else super().normalizer(blocks)

    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """As for every threshold map; softmax for α = 1."""
        soft = self.alpha == 1
        return Softmax().weights_at(scores, normalizer) if soft else super().weights_at(scores, normalizer)

    def curvature_at(self, scores: Tensor, normalizer: Normalizer) -> Curvature:
        """As for every Tsallis map; softmax for α = 1."""
        soft = self.alpha == 1
        return Softmax().curvature_at(scores, normalizer) if soft else super().curvature_at(scores, normalizer)


@dataclass(frozen=True)
class Normmax(_Threshold):
    """α-normmax: Ω*(s) = max_p pᵀs + 1 - |p|_α; p ∝ [s - τ]_+^(1/(α-1)) with Σ [s - τ]_+^(α/(α-1)) = 1.

    Its supports are flatter than entmax's: weights of patterns retrieved together are nearly equal. Retrieval margin 1.
    Blondel et al. 2020, "Learning with Fenchel-Young losses"; as a Hopfield network Santos et al. 2024.

    Args:
        alpha: finite, above 1; default 2.

    Raises:
        HopfieldError: alpha is not above 1, infinite or NaN.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        if not (isinstance(self.alpha, int | float) and 1 < self.alpha < math.inf):
            raise HopfieldError(f"Normmax: alpha must be a finite number above 1, got {self.alpha!r}")

    @property
    def margin(self) -> float | None:
        """1."""
        return 1.0

    @property
    def scale(self) -> float:
        """1."""
        return 1.0

    @property
    def power(self) -> float:
        """1 / (α - 1)."""
        return 1 / (self.alpha - 1)

    @property
    def root(self) -> float:
        """α / (α - 1), the exponent of the dual norm."""
        return self.alpha / (self.alpha - 1)

    def _entropy(self, weights: Tensor) -> Tensor:
        return 1 - _power(weights, self.alpha).sum(-1) ** (1 / self.alpha)

    def _entropy_from_sums(self, mass: Tensor, energy: Tensor) -> Tensor:
        return 1 - energy ** (1 / self.alpha) / mass

    def curvature_at(self, scores: Tensor, normalizer: Normalizer) -> Curvature:
        """Diag(w) - w pᵀ - p wᵀ + (Σw) p pᵀ with w = e [s - τ]_+^(e-1) / Σ."""
        weights = self.weights_at(scores, normalizer)
        return Curvature(self._slopes_at(scores, normalizer), weights, normalizer[4])
