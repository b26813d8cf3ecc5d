"""Softmax and its relatives: weights exp(s - Ω*(s)) on a set of patterns."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hopfield.core.separation.base import Blocks, Curvature, Normalizer, Potential, Streamable
from hopfield.core.separation.gather import above, largest
from hopfield.errors import HopfieldError


def _log_sum_exp(scores: Tensor) -> Tensor:
    """log Σ exp(s), keeping the last dimension; -inf for a row of -inf."""
    return torch.logsumexp(scores, -1, keepdim=True)


class Exponential(Streamable):
    """Weights exp(s - Ω*(s)) on a set of patterns: softmax and its relatives."""

    exponential: ClassVar[bool] = True

    def potential(self, scores: Tensor) -> Tensor:
        value: Tensor = Potential.apply(scores, self._value, self.weights)
        return value

    @abstractmethod
    def _value(self, scores: Tensor) -> Tensor:
        """Ω*(s) without regard to gradients."""

    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        level = normalizer[0]
        return torch.exp(scores - torch.where(level == -math.inf, 0.0, level))

    def curvature_at(self, scores: Tensor, normalizer: Normalizer) -> Curvature:
        weights = self.weights_at(scores, normalizer)
        return Curvature(weights, weights, 1.0)


@dataclass(frozen=True)
class Softmax(Exponential):
    """Softmax: p_i = exp(s_i) / Σ_j exp(s_j), Ω*(s) = log Σ_j exp(s_j) (Ramsauer et al. 2021, Eq. 2 and 3)."""

    def weights(self, scores: Tensor) -> Tensor:
        """exp(s_i) / Σ_j exp(s_j); zeros for a row of -inf."""
        if scores.shape[-1] == 0:
            return scores
        dead = scores.detach().amax(-1, keepdim=True) == -math.inf
        return torch.softmax(scores.masked_fill(dead, 0.0), -1).masked_fill(dead, 0.0)

    def _value(self, scores: Tensor) -> Tensor:
        return torch.logsumexp(scores, -1)

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """The log-sum-exp, merged over blocks."""
        level: Tensor | None = None
        for scores in blocks():
            block = _log_sum_exp(scores)
            level = block if level is None else torch.logaddexp(level, block)
        assert level is not None, "a pass over the patterns yields at least one block"
        return (level,)


@dataclass(frozen=True)
class Softmax1(Exponential):
    """Softmax with a null pattern of score 0: p_i = exp(s_i) / (1 + Σ_j exp(s_j)), Ω*(s) = log(1 + Σ_j exp(s_j)).

    The weights sum to less than 1: a state that resembles nothing retrieves (nearly) nothing. Known as
    outlier-efficient (Hu et al. 2024, "Outlier-efficient Hopfield layers for large transformer-based models").
    """

    sums_to_one: ClassVar[bool] = False

    def weights(self, scores: Tensor) -> Tensor:
        """exp(s_i) / (1 + Σ_j exp(s_j))."""
        null = torch.zeros_like(scores[..., :1]) if scores.shape[-1] else scores.new_zeros((*scores.shape[:-1], 1))
        return torch.softmax(torch.cat([null, scores], -1), -1)[..., 1:]

    def _value(self, scores: Tensor) -> Tensor:
        level = torch.logsumexp(scores, -1)
        return torch.logaddexp(level, torch.zeros_like(level))

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """The log-sum-exp together with the null pattern's score 0."""
        (level,) = Softmax().normalizer(blocks)
        return (torch.logaddexp(level, torch.zeros_like(level)),)


@dataclass(frozen=True)
class TopK(Exponential):
    """Softmax over the k largest scores, 0 elsewhere; Ω* is the largest log-sum-exp of any k scores.

    Scores that tie with the k-th largest all take part, so that the order of the patterns never matters; where
    several tie, Ω* has a kink and the weights are those of the tied set.

    Args:
        k: how many patterns take part, at least 1. With k = 1 one update returns the most similar pattern.

    Raises:
        HopfieldError: k is not an integer of at least 1.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.k, int) or isinstance(self.k, bool) or self.k < 1:
            raise HopfieldError(f"TopK: k must be an integer of at least 1, got {self.k!r}")

    @property
    def margin(self) -> float | None:  # type: ignore[override]  # depends on k
        """0 for k = 1 (any lead suffices); unknown otherwise."""
        return 0.0 if self.k == 1 else None

    def _kept(self, scores: Tensor, cut: Tensor) -> Tensor:
        return scores.masked_fill(scores < cut, -math.inf)

    def _cut(self, scores: Tensor) -> Tensor:
        """The k-th largest score of each row. (*batch, N) -> (*batch, 1)."""
        return scores.detach().topk(min(self.k, scores.shape[-1]), -1).values[..., -1:]

    def weights(self, scores: Tensor) -> Tensor:
        """Softmax over the scores that reach the k-th largest."""
        return Softmax().weights(self._kept(scores, self._cut(scores))) if scores.shape[-1] else scores

    def _value(self, scores: Tensor) -> Tensor:
        if scores.shape[-1] == 0:
            return torch.logsumexp(scores, -1)
        return torch.logsumexp(self._kept(scores, self._cut(scores)), -1)

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """The log-sum-exp of the scores kept, and the k-th largest score."""
        cut = largest(blocks, self.k)[0][..., -1:]
        collected = above(blocks, cut)
        kept: Blocks = blocks if collected is None else (lambda: (collected[0],))
        (level,) = Softmax().normalizer(lambda: (self._kept(scores, cut) for scores in kept()))
        return level, cut

    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """exp(s - Ω*) where the score reaches the k-th largest."""
        return super().weights_at(self._kept(scores, normalizer[1]), normalizer)
