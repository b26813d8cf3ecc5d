"""One association of states with a memory: its scores, how far these may be off, and where an index looks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from hopfield.core.kernels.streaming import Problem, blocks
from hopfield.core.kernels.streaming import scores as scores_of
from hopfield.core.separation import Streamable
from hopfield.memory.aside import Heavy
from hopfield.memory.bounds import product_terms, score_error
from hopfield.memory.index.search import PLANNING, Plan, Search
from hopfield.memory.peers import Weighed
from hopfield.memory.rows import Rows
from hopfield.memory.stored import Stored
from hopfield.memory.sums import summation_error


class Answer(NamedTuple):
    """What an association gave, one row per state."""

    mean: Tensor
    """(L, d or v), of the data type of the states."""
    level: Tensor
    """The potential Ω*, float64 (L,)."""
    bound: Tensor
    """How far the mean can be from the exact one, float64 (L,)."""
    level_bound: Tensor
    """The same for the potential, (L,)."""
    visited: Tensor
    """Share of the patterns that were looked at, (L,)."""


class Wanted(NamedTuple):
    """The rows whose mean is wanted."""

    name: str
    rows: Rows
    norm: float
    slack: float


def scores_by_block(problem: Problem) -> Iterator[Tensor]:
    """The scores of one pass over the patterns."""
    return (scores_of(problem, block) for block in blocks(problem))


# in how many parts products are summed at most, of so many terms at least, and how near to the tolerance that must come
_PARTS, _TERMS, _NEAR = 8, 64, 3.0

T = TypeVar("T", Answer, Weighed, Heavy)


def joined(parts: list[T], states: list[Tensor]) -> T:
    """What was found for some states each, in the order of the states."""
    back = torch.cat([some for some in states if some.numel()] or states[:1]).argsort()
    made: T = type(parts[0])(*(torch.cat(entry)[back] for entry in zip(*parts, strict=True)))
    return made


def mended(found: T, kept: Tensor, again: Callable[[Tensor], T]) -> T:
    """What was found, and, for the states for which that will not do, what is found again."""
    if bool(kept.all()):
        return found
    few, others = kept.nonzero().flatten(), (~kept).nonzero().flatten()
    own: T = type(found)(*(entry[few] for entry in found))
    return joined([own, again(others)], [few, others])


@dataclass(frozen=True, eq=False)
class Scored:
    """One association of states with a memory, within a tolerance.

    Attributes:
        stored: the memory.
        states: ξ, (L, d), of the data type of the patterns.
        beta: β, a number or a scalar tensor.
        mask: bool, (1 or L, N), or None.
        separation: how scores become weights.
        tolerance: the largest error of a mean that will do; infinite where any will.
        parts: in how many parts products in single precision are summed.
    """

    stored: Stored
    states: Tensor
    beta: float | Tensor
    mask: Tensor | None
    separation: Streamable
    tolerance: float
    parts: int = 1

    def at(self, states: Tensor, rows: Tensor | None = None) -> Self:
        """The same for other states, which are those of some rows of the mask."""
        mask = self.mask if rows is None or self.mask is None or self.mask.shape[0] == 1 else self.mask[rows]
        return replace(self, states=states, mask=mask)

    @torch.no_grad()
    def in_parts(self, norm: float) -> Self:
        """The same with products in as few parts as keep the tolerance of a mean of vectors of up to some norm.

        In one part where no number of them comes near it: then patterns that weigh much have to be set aside for it.
        """
        most = min(_PARTS, self.stored.patterns.width // _TERMS)
        if not math.isfinite(self.tolerance) or self.states.dtype != torch.float32 or most < 2:
            return self
        made = self
        while (moved := float(made._moved(norm).max())) > self.tolerance and made.parts < most:
            made = replace(self, parts=min(2 * made.parts, most))
        chosen = made.parts if moved <= _NEAR * self.tolerance else 1
        # the same everywhere
        agreed = int(self.stored.peers.highest(torch.tensor([float(chosen)], device=self.states.device)))
        return made if agreed == made.parts else replace(self, parts=agreed)

    def detached(self) -> Self:
        """The same without gradients."""
        beta = self.beta.detach() if isinstance(self.beta, Tensor) else self.beta
        return replace(self, states=self.states.detach(), beta=beta)

    def _of(self, rows: Tensor) -> Self:
        """The association of some of the states, in their order."""
        # all of them keep what is known of them
        return self if len(rows) == len(self.states) else self.at(self.states[rows], rows)

    @property
    def count(self) -> int:
        """N."""
        return self.stored.peers.count(self.stored.patterns.count)

    def _number(self) -> float:
        return float(self.beta)

    def _all_visited(self) -> Tensor:
        return torch.ones(self.states.shape[0], device=self.states.device)

    def _problem(self, rows: Rows | None, dtype: torch.dtype) -> Problem:
        """The association in the form of the streaming kernels."""
        stored = self.stored
        bias = None if stored.bias is None else (stored.bias.to(dtype) * self.beta)[None, None]
        return Problem(
            (self.states.to(dtype) * self.beta).unsqueeze(0).contiguous(),
            stored.patterns.operand,
            None if rows is None else rows.operand,
            bias,
            None if self.mask is None else self.mask.unsqueeze(0),
            self.parts if dtype == torch.float32 else 1,
        )

    def _scores_of(self, candidates: Heavy, rows: Rows) -> tuple[Tensor, Tensor]:
        """Candidates' rows (L, w, v) and scores (L, w), float64; -inf where there is none."""
        stored = self.stored
        patterns = stored.patterns.gathered(candidates.which).double()
        values = patterns if rows is stored.patterns else rows.gathered(candidates.which).double()
        scores = torch.bmm(patterns, self.states.double().unsqueeze(-1)).squeeze(-1)
        if stored.bias is not None and len(stored.bias):
            scores = scores + stored.bias[candidates.which]
        scores = (self.beta * scores).masked_fill(~candidates.alive, -math.inf)
        return values, scores

    def _search(self, separation: Streamable, norm: float) -> tuple[Search, Plan] | None:
        """Where each state looks for the patterns that decide its weights; None without an index."""
        stored = self.stored
        if not (separation.sparse or math.isfinite(self.tolerance)):
            return None
        tensors = (stored.patterns.operand, None if stored.values is None else stored.values.operand, stored.bias)
        learned = any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in tensors)
        # scores of groups depend on β through their states alone
        if stored.bias is not None and not separation.sparse and isinstance(self.beta, Tensor):
            learned |= self.beta.requires_grad
        learning = torch.is_grad_enabled() and learned
        share = min(0.25, self.tolerance / (4 * norm) if norm else 1.0) / stored.peers.size
        with torch.no_grad():
            agree = stored.peers.highest if separation.sparse else stored.peers.log_sum_exp
            # groups are compared in single precision, and visited without gradients of what is stored
            sound = bool(self._score_error(torch.float32).isfinite().all())
            if stored.index is None or not len(stored.index) or learning or not sound:
                for part in self.states.split(PLANNING):  # the others may plan
                    agree(part.new_full((part.shape[0], 1), -math.inf))
                return None
            bias = None if stored.bias is None else stored.bias.double() * self._number()
            states = self.states.detach() * self._number()
            search = Search(stored.index, stored.patterns, states, bias, self.mask, self.parts)
            error = self._score_error(self.states.dtype)
            return search, search.plan(error, separation, share, agree)

    def _score_error(self, dtype: torch.dtype) -> Tensor:
        """How far scores computed in a data type may be from those of the patterns that were stored, float64 (L,)."""
        stored = self.stored
        length = self._length
        width = stored.patterns.width
        terms = self._terms if dtype == torch.float32 or self.parts == 1 else math.inf
        rounded = score_error(self._number(), length, stored.norm, stored.bias_size, width, dtype, terms)
        total: Tensor = rounded + self._number() * length * stored.slack
        # what overflows is off by anything
        within = (self._highest_score() < torch.finfo(dtype).max / 16) & (
            length * self._number() < torch.finfo(dtype).max / 16
        )
        return torch.where(within, total, math.inf)

    def _moved(self, norm: float) -> Tensor:
        """How far single precision may take a mean of vectors of up to some norm, float64 (L,)."""
        return self._score_error(torch.float32) * norm + summation_error(torch.float32, norm, 0.0)

    def _highest_score(self) -> Tensor:
        """A bound of the size of all scores, float64 (L,)."""
        stored = self.stored
        return self._number() * torch.clamp(self._length * stored.norm + stored.bias_size, min=stored.bias_size)

    @cached_property
    def _terms(self) -> Tensor | float:
        """As how many terms the products with each state round, (L,), where the tolerance may depend on that."""
        stored = self.stored
        error = score_error(self._number(), self._length, stored.norm, 0.0, stored.patterns.width, torch.float32)
        moved = error * max(stored.norm, stored.value_norm)
        if self.parts == 1 and bool((moved <= self.tolerance / 2).all()):
            return math.inf
        return product_terms(self.states.detach(), self.parts)

    @cached_property
    def _length(self) -> Tensor:
        """|ξ|, or a little more, float64 (L,)."""
        length: Tensor = torch.linalg.vector_norm(self.states.detach(), dim=-1, dtype=torch.float64)
        return length * (1 + 1e-6)
