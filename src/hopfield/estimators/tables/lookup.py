"""Networks that embed rows, together with the memory of each: what rows are looked up in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.separation import Separation
from hopfield.estimators.stack import Stack
from hopfield.estimators.tables.network import Similarity, vote, weights

# rows that are embedded at once for the memory
_ROWS = 1 << 13
# rows that are looked up at once, always as many, so that no answer depends on how many came with it; and the weights
# that they may have
_BLOCK, _WEIGHTS = 256, 1 << 23


@dataclass(frozen=True)
class Rule:
    """How a state becomes a vote.

    Attributes:
        similarity: "euclidean" or "dot".
        separation: how similarities become weights.
        steps: number of updates.
    """

    similarity: Similarity
    separation: str | Separation
    steps: int

    def vote(self, states: Tensor, patterns: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(M, L, e), (M, N, e), (M, N, v) -> (M, L, v)."""
        return vote(
            states,
            patterns,
            values,
            mask=mask,
            similarity=self.similarity,
            separation=self.separation,
            steps=self.steps,
        )

    def weights(self, states: Tensor, patterns: Tensor) -> Tensor:
        """(M, L, e), (M, N, e) -> (M, L, N)."""
        return weights(states, patterns, similarity=self.similarity, separation=self.separation, steps=self.steps)


@dataclass(frozen=True)
class Lookup:
    """M networks in F groups of as many; all networks of a group are given the same rows, and their votes averaged.

    Attributes:
        stack: the networks.
        patterns: the memory of each, (M, N, e).
        values: what is known of the patterns, (M, N, v), or (1, N, v) for all alike.
        rule: how states become votes.
        mask: bool (M, 1, N), True for patterns that take part; None: all.
    """

    stack: Stack
    patterns: Tensor
    values: Tensor
    rule: Rule
    mask: Tensor | None = None

    def votes(self, rows: Tensor) -> Tensor:
        """The mean votes on rows (F, n, D): (F, n, v), on the CPU."""
        groups = len(rows)

        def mean(states: Tensor) -> Tensor:
            found: Tensor = self.rule.vote(states, self.patterns, self.values, self.mask).unflatten(0, (groups, -1))
            return found.mean(1)

        return torch.cat(list(self._in_blocks(rows, mean)), 1)

    def nearest(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest weights of rows (n, D), the mean over all networks, and the patterns that have them: (n, k)."""
        means = self._in_blocks(rows.unsqueeze(0), lambda s: self.rule.weights(s, self.patterns).mean(0, True))
        best = [mean[0].topk(min(k, mean.shape[2])) for mean in means]
        largest, indices = (torch.cat(parts) for parts in zip(*best, strict=True))
        return largest, indices

    def _in_blocks(self, rows: Tensor, what: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """What comes of rows (F, n, D) in the spaces of the networks, block by block: (F, block, *shape)."""
        block = max(1, min(_BLOCK, _WEIGHTS // (self.stack.members * max(1, self.patterns.shape[1]))))
        with torch.no_grad():
            for part in rows.split(block, 1):
                filled = F.pad(part, (0, 0, 0, block - part.shape[1]))
                yield what(embed(self.stack, filled))[:, : part.shape[1]].cpu()

    def extended(self, rows: Tensor, values: Tensor, own: Tensor) -> Lookup:
        """The same with more patterns, made of rows (n, D), with their values (n, v).

        Args:
            rows: encoded rows.
            values: theirs.
            own: the values of the patterns that are there, (1, N, v); perhaps with more columns than before.
        """
        patterns = torch.cat([self.patterns, embed(self.stack, rows.unsqueeze(0))], 1)
        values = torch.cat([own, values.to(own).unsqueeze(0)], 1)
        return Lookup(self.stack, patterns, values, self.rule)


def embed(stack: Stack, rows: Tensor) -> Tensor:
    """Rows (F, n, D) in the space of each network, without gradients: (M, n, e)."""
    device = stack.parameters[0].device
    each = stack.members // len(rows)

    def piece(part: Tensor) -> Tensor:
        spread = part.to(device).unsqueeze(1).expand(-1, each, -1, -1).flatten(0, 1)
        embedded = stack(each=(spread,))
        return embedded[:, embedded.shape[1] - part.shape[1] :]  # what comes before are prototypes

    with torch.no_grad():
        return torch.cat([piece(part) for part in rows.split(_ROWS, 1)], 1)


def embedded_prototypes(stack: Stack, size: int) -> Tensor:
    """The learned patterns of every network, (M, P, e), which embed rows of this size."""
    with torch.no_grad():
        return stack(each=(torch.zeros(stack.members, 0, size, device=stack.parameters[0].device),))
