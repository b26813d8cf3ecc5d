"""Separation functions: how the scores of the stored patterns become weights.

A separation function is given by its convex potential Ω* on scores s (*batch, N); its weights are the gradient,
p = ∇Ω*(s). Softmax is Ω* = log-sum-exp; the sparse maps are Ω*(s) = max_p pᵀs + H(p) over the simplex for other
entropies H (Santos et al. 2024, "Hopfield-Fenchel-Young networks"). A new one is a small class with `weights` and
`potential`; the rest of the library asks for nothing more. What it adds beyond these makes it faster:

* `hessian_product` in closed form (the default differentiates `weights`);
* the methods of `Streamable`, which let an association pass over blocks of patterns without the whole score matrix.

Everywhere: a score of -inf (a masked pattern) gets weight 0, and a row with nothing but -inf gets zeros, never NaN.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Blocks = Callable[[], Iterable[Tensor]]
"""Yields the scores of one pass over the patterns, block by block: each (*batch, L, block)."""


def finite(scores: Tensor, otherwise: float = 0.0) -> Tensor:
    """The scores, 0 (or something else) in place of -inf."""
    return torch.where(scores == -math.inf, otherwise, scores)


class Separation(ABC):
    """A separation function: weights p = ∇Ω*(s) and potential Ω*(s) over the last dimension of the scores s."""

    @property
    def margin(self) -> float | None:
        """Retrieval margin m: one update returns x_i if β(ξ·x_i - ξ·x_j) ≥ m for all j ≠ i. None: no such m."""
        return None

    @abstractmethod
    def weights(self, scores: Tensor) -> Tensor:
        """Weights p = ∇Ω*(s): non-negative, of sum 1 (Softmax1: below 1). scores (*batch, N) -> (*batch, N)."""

    @abstractmethod
    def potential(self, scores: Tensor) -> Tensor:
        """Potential Ω*(s), whose gradient is `weights`. scores (*batch, N) -> (*batch,)."""

    def hessian_product(self, scores: Tensor, vector: Tensor) -> Tensor:
        """∇²Ω*(s) g for g broadcast against s: (*batch, N), (*batch, N) -> (*batch, N). The Hessian is symmetric."""
        scores, vector = torch.broadcast_tensors(scores, vector)
        with torch.enable_grad():
            leaf = scores.detach().requires_grad_()
            (product,) = torch.autograd.grad(self.weights(leaf), leaf, vector)
        return product


class Curvature(NamedTuple):
    """The Hessian of a potential in closed form, ∇²Ω* = diag(w) - w aᵀ - a wᵀ + c a aᵀ."""

    diagonal: Tensor
    """w (*batch, N)"""
    direction: Tensor
    """a (*batch, N)"""
    coefficient: Tensor | float
    """c (*batch, 1)"""

    def apply(self, vector: Tensor) -> Tensor:
        """∇²Ω* g for g (*batch, N)."""
        along_w = (self.diagonal * vector).sum(-1, keepdim=True)
        along_a = (self.direction * vector).sum(-1, keepdim=True)
        return self.combine(vector, along_w, along_a)

    def combine(self, vector: Tensor, along_w: Tensor, along_a: Tensor) -> Tensor:
        """The same where wᵀg and aᵀg (*batch, 1) over all patterns are known and N is one block of them."""
        return self.diagonal * (vector - along_a) + self.direction * (self.coefficient * along_a - along_w)


Normalizer = tuple[Tensor, ...]
"""What a row's weights need to know of the whole row; each entry (*batch, 1), the potential first."""


class Streamable(Separation):
    """A separation function whose weights are elementwise once a few numbers per row, its normalizer, are known."""

    @property
    def exponential(self) -> bool:
        """Whether the curvature is diag(p) - p pᵀ, so that gradients need no further pass over the patterns."""
        return False

    @property
    def sums_to_one(self) -> bool:
        """Whether the weights of a row with any finite score sum to 1."""
        return True

    @property
    def sparse(self) -> bool:
        """Whether patterns of low scores have no weight at all."""
        return False

    def floor(self, scores: Tensor) -> Tensor:
        """The score below which a pattern has no weight in any row that holds these scores, (*batch, 1).

        -inf where there is none: everywhere for what is not sparse.
        """
        return scores.new_full((*scores.shape[:-1], 1), -math.inf)

    @abstractmethod
    def normalizer(self, blocks: Blocks) -> Normalizer:
        """Find the normalizer exactly by one or more passes over blocks of scores."""

    @abstractmethod
    def weights_at(self, scores: Tensor, normalizer: Normalizer) -> Tensor:
        """The weights of a block of scores, given the normalizer of their rows."""

    @abstractmethod
    def curvature_at(self, scores: Tensor, normalizer: Normalizer) -> Curvature:
        """The curvature restricted to a block of scores, given the normalizer of their rows."""

    def hessian_product(self, scores: Tensor, vector: Tensor) -> Tensor:
        """∇²Ω*(s) g in closed form; see `Curvature`."""
        if scores.shape[-1] == 0:
            return torch.zeros_like(scores + vector)
        return self.curvature_at(scores, self.normalizer(lambda: (scores,))).apply(vector)


class Potential(torch.autograd.Function):
    """A potential whose derivative is, by Danskin's theorem, the weights; differentiable as often as they are."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, value: Callable[[Tensor], Tensor], weights: Callable[[Tensor], Tensor]) -> Tensor:
        """The potential's value."""
        return value(scores)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the scores."""
        scores, _, ctx.weights = inputs
        ctx.save_for_backward(scores)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The weights, times what comes from above."""
        (scores,) = ctx.saved_tensors
        return grads[0].unsqueeze(-1) * ctx.weights(scores), None, None
