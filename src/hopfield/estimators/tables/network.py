"""The network behind the estimators of tables: rows in a learned space, and a lookup among labelled ones."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.core.association import associate, association_weights
from hopfield.core.retrieval import retrieve
from hopfield.core.separation import Separation

Similarity = Literal["euclidean", "dot"]


class RowEmbedding(nn.Module):
    """Rows of encoded columns in the space where they are compared: √β (W₀ x + W₂ silu(W₁ x + b₁)).

    The scale √β is learned, so that states and patterns compared with β = 1 are compared with a learned β. While
    training, columns and hidden units drop out at random, for all rows alike, so that distances stay comparable; and
    normal noise is added to the columns.

    Args:
        columns: which column of the table each encoded column comes from, (D,): they drop out together.
        count: how many columns the table has.
        active: how many of the encoded columns there are, but for filling.
        width: size e of the space.
        hidden: size of the hidden layer.
        column_dropout: share of the columns that drop out.
        dropout: share of the hidden units that drop out.
        noise: standard deviation of the noise.
        prototypes: rows (P, D) at which learned patterns begin; they come before all others. None: no such patterns.
    """

    def __init__(
        self,
        columns: Tensor,
        count: int,
        *,
        active: int,
        width: int,
        hidden: int,
        column_dropout: float,
        dropout: float,
        noise: float,
        prototypes: Tensor | None = None,
    ) -> None:
        super().__init__()
        size = len(columns)
        spread = max(active, 1) ** -0.5
        # as tensors, for the networks of a stack have rates of their own
        self.column_dropout = nn.Buffer(torch.tensor(column_dropout))
        self.dropout = nn.Buffer(torch.tensor(dropout))
        self.noise = nn.Buffer(torch.tensor(noise))
        self.columns = nn.Buffer(columns)
        self._count = count
        self.linear = nn.Parameter(torch.randn(size, width) * spread)
        self.inner = nn.Parameter(torch.randn(size, hidden) * spread)
        self.inner_bias = nn.Parameter(torch.zeros(hidden))
        self.outer = nn.Parameter(torch.randn(hidden, width) * hidden**-0.5)
        # the mean squared distance of two rows is then about 4
        self.log_beta = nn.Parameter(torch.tensor(math.log(2 / width)))
        self.prototypes = None if prototypes is None else nn.Parameter(prototypes.clone())

    def forward(self, rows: Tensor) -> Tensor:
        """(n, D) -> (n, e), or (P + n, e) with prototypes."""
        if self.training:
            rows = rows + self.noise * torch.randn_like(rows)
        if self.prototypes is not None:
            rows = torch.cat([self.prototypes, rows])
        parameters: tuple[Tensor, Tensor, Tensor] = (self.linear, self.inner, self.outer)
        linear, inner, outer = parameters
        if self.training:
            kept = self._kept(self._count, self.column_dropout)[self.columns].unsqueeze(1)
            linear, inner = linear * kept, inner * kept
            outer = outer * self._kept(len(outer), self.dropout).unsqueeze(1)
        units = F.silu(torch.addmm(self.inner_bias, rows, inner))
        return (rows @ linear + units @ outer) * (0.5 * self.log_beta).exp()

    @staticmethod
    def _kept(count: int, dropout: Tensor) -> Tensor:
        """0 for what drops out, else a factor that makes up for that: (count,)."""
        return (torch.rand(count, device=dropout.device) >= dropout).to(dropout.dtype) / (1 - dropout)


def vote(
    states: Tensor,
    patterns: Tensor,
    values: Tensor,
    *,
    mask: Tensor | None,
    similarity: Similarity,
    separation: str | Separation,
    steps: int,
) -> Tensor:
    """The means of values under the association weights: (M, L, e), (M, N, e), (M, N, v) -> (M, L, v).

    Args:
        states: rows that ask.
        patterns: rows that are asked.
        values: what is known of them.
        mask: bool (M, 1, N), True for patterns that take part.
        similarity: "euclidean", weights fall with the squared distance, or "dot".
        separation: how similarities become weights.
        steps: updates of the states, the last of which gives the means.
    """
    if steps > 1:
        bias = _bias(patterns, similarity)
        return retrieve(states, patterns, values, bias=bias, mask=mask, separation=separation, steps=steps).values
    if similarity == "euclidean":
        # the bias as one more entry, times 1: there are faster ways to compute scores without a bias
        states = F.pad(states, (0, 1), value=1.0)
        patterns = torch.cat([patterns, _half_square(patterns)], -1)
    size = values.shape[-1]
    if torch.is_grad_enabled() and size < states.shape[-1]:
        # fused kernels want values as wide as the states; without gradients, where it matters that a row gives the
        # same wherever it stands among others, to the last bit, the scores are computed whole
        values = F.pad(values, (0, states.shape[-1] - size))
    return associate(states, patterns, values, mask=mask, separation=separation)[..., :size]


def weights(
    states: Tensor, patterns: Tensor, *, similarity: Similarity, separation: str | Separation, steps: int
) -> Tensor:
    """The association weights behind `vote`, (M, L, N)."""
    bias = _bias(patterns, similarity)
    if steps == 1:
        return association_weights(states, patterns, bias=bias, separation=separation)
    return retrieve(states, patterns, bias=bias, separation=separation, steps=steps).weights


def _bias(patterns: Tensor, similarity: Similarity) -> Tensor | None:
    """Makes ξ·x the negative half of the squared distance, but for what all patterns have in common: (M, 1, N)."""
    return None if similarity == "dot" else _half_square(patterns).mT


def _half_square(patterns: Tensor) -> Tensor:
    """-|x|²/2, (M, N, 1)."""
    return -0.5 * patterns.square().sum(-1, keepdim=True)
