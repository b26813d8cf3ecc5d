"""Softmax and its relatives: weights exp(s - Ω*(s)) on a set of patterns."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hopfield.core.separation.base import Blocks, Curvature, Normalizer, Potential, Streamable, finite
from hopfield.core.separation.gather import above, largest
from hopfield.errors import HopfieldError


def _log_sum_exp(blocks: Iterable[Tensor]) -> Normalizer:
    """(log Σ exp(s), m, log Σ exp(s - m)), m the largest score; (-inf, 0, 0) for a row of -inf. Entries (*batch, 1).

    The first is the sum of the others, which loses the last one where scores are large.
    """
    top: Tensor | None = None
    total: Tensor | None = None
    for scores in blocks:
        block = scores.amax(-1, keepdim=True)
        risen = block if top is None else torch.maximum(top, block)
        reference = finite(risen)
        part = torch.exp(scores - reference).sum(-1, keepdim=True)
        total = part if top is None or total is None else part + total * torch.exp(top - reference)
        top = risen
    assert top is not None, "a pass over the patterns yields at least one block"
    assert total is not None
    reference = finite(top)
    return top + torch.log(total), reference, torch.where(top == -math.inf, 0.0, torch.log(total))


class Exponential(Streamable):
    """Weights exp(s - Ω*(s)) on a set of patterns: softmax and its relatives."""

    @property
    def exponential(self) -> bool:
        """The curvature is diag(p) - p pᵀ."""
        return True

    def potential(self, scores: Tensor) -> Tensor:
        """The log-sum-exp of the scores that take part."""
        value: Tensor = Potential.apply(scores, self._value, self.weights)
        return value

    @abstractmethod
    def _value(self, scores: Tensor) -> Tensor:
        """Ω*(s) without regard to gradients."""

    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """exp(s - Ω*)."""
        _, reference, rest = normalizer[:3]
        return torch.exp(scores - reference - rest)

    def curvature_at(self, scores: Tensor, normalizer: Normalizer) -> Curvature:
        """Diag(p) - p pᵀ."""
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
        return _log_sum_exp(blocks())


@dataclass(frozen=True)
class Softmax1(Exponential):
    """Softmax with a null pattern of score 0: p_i = exp(s_i) / (1 + Σ_j exp(s_j)), Ω*(s) = log(1 + Σ_j exp(s_j)).

    The weights sum to less than 1: a state that resembles nothing retrieves (nearly) nothing. Known as
    outlier-efficient (Hu et al. 2024, "Outlier-efficient Hopfield layers for large transformer-based models").
    """

    @property
    def sums_to_one(self) -> bool:
        """Not with a null pattern."""
        return False

    def weights(self, scores: Tensor) -> Tensor:
        """exp(s_i) / (1 + Σ_j exp(s_j))."""
        null = torch.zeros_like(scores[..., :1]) if scores.shape[-1] else scores.new_zeros((*scores.shape[:-1], 1))
        return torch.softmax(torch.cat([null, scores], -1), -1)[..., 1:]

    def _value(self, scores: Tensor) -> Tensor:
        level = torch.logsumexp(scores, -1)
        return torch.logaddexp(level, torch.zeros_like(level))

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """The log-sum-exp together with the null pattern's score 0."""

        def with_null() -> Iterator[Tensor]:
            for scores in blocks():
                yield scores
            yield torch.zeros_like(scores[..., :1])

        return _log_sum_exp(with_null())


@dataclass(frozen=True)
class TopK(Exponential):
    """Softmax over the k largest scores, 0 elsewhere; Ω* is the largest log-sum-exp of any k scores.

    Scores that tie with the k-th largest share the places left evenly, so that the order of the patterns never matters;
    Ω* has a kink there, and these weights are one of its subgradients.

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
    def margin(self) -> float | None:
        """0 for k = 1 (any lead suffices); unknown otherwise."""
        return 0.0 if self.k == 1 else None

    @property
    def sparse(self) -> bool:
        """Only k patterns have weight, or those that tie with the k-th."""
        return True

    def floor(self, scores: Tensor) -> Tensor:
        """The k-th largest score."""
        if scores.shape[-1] < self.k:
            return super().floor(scores)
        return scores.topk(self.k, -1).values[..., -1:]

    def _kept(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The largest score (*batch, 1), and those that take part in Ω* less the largest (*batch, N)."""
        fixed = scores.detach()
        best = fixed.topk(min(self.k, scores.shape[-1]), -1).values
        top, cut = finite(best[..., :1]), best[..., -1:]
        return top, _cut_off(scores, top, cut, _share((fixed,), cut, self.k))

    def weights(self, scores: Tensor) -> Tensor:
        """Softmax over the scores that reach the k-th largest."""
        return Softmax().weights(self._kept(scores)[1]) if scores.shape[-1] else scores

    def _value(self, scores: Tensor) -> Tensor:
        if scores.shape[-1] == 0:
            return torch.logsumexp(scores, -1)
        top, kept = self._kept(scores)
        return top.squeeze(-1) + torch.logsumexp(kept, -1)

    def normalizer(self, blocks: Blocks) -> Normalizer:
        """That of softmax for the scores kept, the largest score, the k-th largest, the logarithm of its share."""
        best = largest(blocks, self.k)[0]
        top, cut = finite(best[..., :1]), best[..., -1:]
        # of a row with fewer than k finite scores all of them
        collected = above(blocks, finite(cut, torch.finfo(cut.dtype).min))
        near: Blocks = blocks if collected is None else (lambda: (collected[0],))
        share = _share(near(), cut, self.k)
        level, reference, rest = _log_sum_exp(_cut_off(scores, top, cut, share) for scores in near())
        return top + level, reference, rest, top, cut, share

    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """exp(s - Ω*) where the score reaches the k-th largest."""
        return super().weights_at(_cut_off(scores, *normalizer[3:]), normalizer)


def _share(blocks: Iterable[Tensor], cut: Tensor, k: int) -> Tensor:
    """Of k places in a row, how many the scores that tie with the k-th largest get each: its logarithm (*batch, 1)."""
    higher = tied = torch.zeros_like(cut)
    for scores in blocks:
        higher = higher + (scores > cut).sum(-1, keepdim=True)
        tied = tied + (scores == cut).sum(-1, keepdim=True)
    # a row of fewer than k finite scores has a place for each
    return torch.where(cut == -math.inf, 0.0, torch.log(((k - higher) / tied).clamp(max=1.0)))


def _cut_off(scores: Tensor, top: Tensor, cut: Tensor, share: Tensor) -> Tensor:
    """Scores less the largest, those that tie with the cut by their share lower, -inf below the cut."""
    # in this order, for a large score would swallow the share
    return (scores - top + torch.where(scores == cut, share, 0.0)).masked_fill(scores < cut, -math.inf)
