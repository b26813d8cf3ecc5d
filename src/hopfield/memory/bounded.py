"""Associations with a bound on their error: over the candidates that an index finds, or by a pass over all patterns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.kernels.streaming import Problem, blocks, stream, tiles
from hopfield.core.kernels.streaming import scores as scores_of
from hopfield.core.separation import Softmax1, Streamable, TopK
from hopfield.core.separation.base import finite
from hopfield.core.separation.gather import above, maxima
from hopfield.errors import HopfieldError
from hopfield.memory.aside import Aside, Heavy, portions
from hopfield.memory.bounds import (
    accumulation,
    left_out_error,
    mean_error,
    product_terms,
    score_error,
    sparse_change,
    unit,
)
from hopfield.memory.guess import Guess
from hopfield.memory.index.mean import group_mean
from hopfield.memory.index.search import PLANNING, Plan, Search, taken
from hopfield.memory.peers import Weighed
from hopfield.memory.rows import Rows
from hopfield.memory.scan import Weigh, scan
from hopfield.memory.stored import Stored
from hopfield.memory.sums import Sums, summation_error

# states of which is seen what nearest groups tell; of how many one must gain, and how much, for all to look
_TRIED, _ONE_OF, _GAIN = 16, 4, 2.5
# share of the weight that a pass leaves out at most
_LEAST = 2.0**-10
# patterns that weigh this share of the whole are weighed in double precision where that is needed; less than this where
# the tolerance is less than one such part of what scores are off by
_HEAVY, _EASE = 2.0**-12, 20
# times which is tried first
_FEWER = 16
# weights relative to the largest below which some are set to 0, or to this, in single and in double precision
_FAINT, _FAINTEST = 2.0**-100, 2.0**-990
# part of a tolerance that a pass plans with, and more of it where it nearly suffices: weights are even there, and
# patterns less far from their mean than is reckoned with
_MARGIN, _EVEN = 0.82, 0.16


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


class _Wanted(NamedTuple):
    """The rows whose mean is wanted."""

    name: str
    rows: Rows
    norm: float
    slack: float


def scores_by_block(problem: Problem) -> Iterator[Tensor]:
    """The scores of one pass over the patterns."""
    return (scores_of(problem, block) for block in blocks(problem))


T = TypeVar("T", Answer, Weighed, Heavy)


def _joined(parts: list[T], states: list[Tensor]) -> T:
    """What was found for some states each, in the order of the states."""
    back = torch.cat([some for some in states if some.numel()] or states[:1]).argsort()
    made: T = type(parts[0])(*(torch.cat(entry)[back] for entry in zip(*parts, strict=True)))
    return made


@dataclass(frozen=True, eq=False)
class Bounded:
    """One association of states with a memory, within a tolerance.

    Attributes:
        stored: the memory.
        states: ξ, (L, d), of the data type of the patterns.
        beta: β, a number or a scalar tensor.
        mask: bool, (1 or L, N), or None.
        separation: how scores become weights.
        tolerance: the largest error of a mean that will do; infinite where any will.
    """

    stored: Stored
    states: Tensor
    beta: float | Tensor
    mask: Tensor | None
    separation: Streamable
    tolerance: float

    def at(self, states: Tensor, rows: Tensor | None = None) -> Self:
        """The same for other states, which are those of some rows of the mask."""
        mask = self.mask if rows is None or self.mask is None or self.mask.shape[0] == 1 else self.mask[rows]
        return replace(self, states=states, mask=mask)

    def detached(self) -> Self:
        """The same without gradients."""
        beta = self.beta.detach() if isinstance(self.beta, Tensor) else self.beta
        return replace(self, states=self.states.detach(), beta=beta)

    # -------------------------------------------------------------------------------------------------- the association

    @property
    def count(self) -> int:
        """N."""
        return self.stored.peers.count(self.stored.patterns.count)

    def update(self) -> Answer:
        """The next states."""
        return self._kept(self._patterns())

    def recall(self) -> Answer:
        """The values under the weights; the next states for a memory without values."""
        if self.stored.values is None:
            return self.update()
        return self._kept(_Wanted("values", self.stored.values, self.stored.value_norm, self.stored.value_slack))

    @cached_property
    def answer(self) -> Answer:
        """`update` without gradients, once."""
        with torch.no_grad():
            return self._answer(self._patterns())

    def _patterns(self) -> _Wanted:
        return _Wanted("patterns", self.stored.patterns, self.stored.norm, self.stored.slack)

    def _kept(self, wanted: _Wanted) -> Answer:
        """The association, if the tolerance can be kept."""
        answer = self._answer(wanted)
        self._check(answer.bound, wanted)
        return answer

    def _answer(self, wanted: _Wanted) -> Answer:
        if not self.states.shape[0]:
            none = torch.zeros(0, dtype=torch.float64, device=self.states.device)
            mean = self.states.sum() * self.states.new_zeros(0, wanted.rows.width)
            return Answer(mean, none, none, none, self._all_visited())
        peers = self.stored.peers
        beta = peers.entered(self.beta) if isinstance(self.beta, Tensor) else self.beta
        return replace(self, states=peers.entered(self.states), beta=beta)._found(wanted)

    def _found(self, wanted: _Wanted) -> Answer:
        peers = self.stored.peers
        if self.separation.sparse:
            answer = self._sparse(wanted)
        else:
            answer = self._bounded(peers.merged(self._near(wanted)), wanted, self.states.dtype)
            # in double precision, and with a level that is known, where that was not enough; each state by itself
            kept = answer.bound <= self.tolerance
            if not bool(kept.all()):
                few, others = kept.nonzero().flatten(), (~kept).nonzero().flatten()
                rest = self._of(others)
                known = (answer.level - answer.level_bound)[others].nan_to_num(nan=-math.inf)
                passed = peers.merged(rest._pass(wanted, torch.float64, Guess(known, known)))
                careful = rest._bounded(passed, wanted, torch.float64)
                answer = _joined([Answer(*(entry[few] for entry in answer)), careful], [few, others])
        return answer

    def _of(self, rows: Tensor) -> Self:
        """The association of some of the states."""
        return self.at(self.states[rows], rows)

    def _check(self, bound: Tensor, wanted: _Wanted) -> None:
        worst = float(bound.max()) if bound.numel() else 0.0
        if not worst <= self.tolerance:
            amount = f"{worst:.3g}" if math.isfinite(worst) else "any amount, so large are the numbers"
            kept = "" if self.stored.slack == 0 else " and the rounding of the patterns where they are kept"
            raise HopfieldError(
                f"the tolerance {self.tolerance:g} cannot be kept for the mean of the {wanted.name}: rounding to "
                f"{self.states.dtype}{kept} may change it by {amount}; allow more than that, or store "
                "the patterns more precisely"
            )

    # ------------------------------------------------------------------------------------------------------- by groups

    def _search(self, separation: Streamable, norm: float) -> tuple[Search, Plan] | None:
        """Where each state looks for the patterns that decide its weights; None without an index."""
        stored = self.stored
        if not (separation.sparse or math.isfinite(self.tolerance)):
            return None
        tensors = (stored.patterns.operand, None if stored.values is None else stored.values.operand, stored.bias)
        learned = any(isinstance(tensor, Tensor) and tensor.requires_grad for tensor in tensors)
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
            search = Search(stored.index, stored.patterns, self.states.detach() * self._number(), bias, self.mask)
            error = self._score_error(self.states.dtype)
            return search, search.plan(error, separation, share, agree)

    def _near(self, wanted: _Wanted) -> Weighed:
        """Softmax in the data type of the states, by groups where these serve, over all patterns for other states."""
        found = self._search(self.separation, wanted.norm)
        if found is None:
            return self._pass(wanted, self.states.dtype, self._guess())
        search, plan = found
        few, others = plan.serves.nonzero().flatten(), (~plan.serves).nonzero().flatten()
        parts = []
        if few.numel():
            parts.append(self._of(few)._by_groups(search.of(few), plan.of(few), wanted))
        if others.numel() or not parts:
            rest = self._of(others)
            guess = rest._guess().at_least(plan.level[others, 0])
            parts.append(rest._pass(wanted, self.states.dtype, rest._seen(search.of(others), guess, wanted.norm)))
        return _joined(parts, [few, others])

    def _by_groups(self, search: Search, plan: Plan, wanted: _Wanted) -> Weighed:
        """Softmax over groups; states for which that takes it set more aside."""
        share = self._heavy(wanted.norm)
        found = self._over_groups(search, plan, wanted, _FEWER * share)
        with torch.no_grad():
            # what other processes hold belongs to the whole
            known = found._replace(level=torch.maximum(found.level, plan.level[:, 0]))
            kept = self._bounded(known, wanted, self.states.dtype).bound <= self.tolerance
        if bool(kept.all()):
            return found
        few, others = kept.nonzero().flatten(), (~kept).nonzero().flatten()
        again = self._of(others)._over_groups(search.of(others), plan.of(others), wanted, share[others])
        return _joined([Weighed(*(entry[few] for entry in found)), again], [few, others])

    def _over_groups(self, search: Search, plan: Plan, wanted: _Wanted, share: Tensor) -> Weighed:
        search = replace(search, states=self.states * self.beta)
        found = group_mean(
            search, plan, wanted.rows, self._weigher(wanted), null=self._null(), share=share.unsqueeze(-1)
        )
        return Weighed(*found, plan.visited)

    def _weigher(self, wanted: _Wanted) -> Weigh:
        """Sums over patterns that were set aside, in float64 and some states at a time: they stay in a cache."""

        def weigh(heavy: Heavy, states: slice) -> tuple[Sums, Tensor]:
            own = torch.arange(self.states.shape[0], device=self.states.device)[states]
            parts = []
            for part in portions(heavy.alive.sum(-1), self.stored.patterns.width):
                values, scores = self._of(own[part])._scores_of(heavy.of(part), wanted.rows)
                top = scores.detach().amax(-1, keepdim=True)
                weights = torch.exp(scores - finite(top))
                parts.append((weights.sum(-1), torch.bmm(weights.unsqueeze(-2), values).squeeze(-2), top))
            total, mixed, reference = (torch.cat(entry) for entry in zip(*parts, strict=True))
            return Sums(total, mixed), reference

        return weigh

    def _heavy(self, norm: float) -> Tensor:
        """Which share of the whole makes a pattern weigh much, (L,): less where less error is to be had.

        The error grows with what patterns weigh together that are not weighed in double precision.
        """
        with torch.no_grad():
            scale = _EASE * self.tolerance / (self._score_error(self.states.dtype) * norm).clamp(min=1e-300)
        return (_HEAVY * scale).clamp(min=1e-18, max=_HEAVY)

    def _null(self) -> bool:
        # one of all has the null pattern
        return isinstance(self.separation, Softmax1) and self.stored.peers.rank == 0

    def _bounded(self, found: Weighed, wanted: _Wanted, dtype: torch.dtype) -> Answer:
        """What was weighed in a data type, with its bounds."""
        with torch.no_grad():
            size = torch.linalg.vector_norm(found.mean, dim=-1)
            rough, fine = self._score_error(dtype), self._score_error(torch.float64)
            bound = self._soft_bound(rough, fine, found, wanted, dtype)
            level_bound = torch.maximum(rough, fine) + summation_error(dtype, 0.0, 1.0) + 1e-14 * found.level.abs()
            rest = found.rest - found.level + level_bound
            bound = bound + left_out_error(torch.sigmoid(rest), size + bound, wanted.norm)
            level_bound = level_bound + F.softplus(rest)
            lost = self._lost(rough, fine, dtype)
            bound, level_bound = bound + 2 * wanted.norm * lost.clamp(max=1.0), level_bound + lost
            # where scores are off by so much, none may have been found for that
            nothing = (found.level == -math.inf) & (found.rest == -math.inf) & (lost < 1)
            bound, level_bound = (torch.where(nothing, 0.0, entry) for entry in (bound, level_bound))
            # scores that overflow say nothing
            bound, level_bound = (torch.where(rough.isfinite(), entry, math.inf) for entry in (bound, level_bound))
        return Answer(found.mean.to(self.states.dtype), found.level, bound, level_bound, found.visited)

    def _soft_bound(self, rough: Tensor, fine: Tensor, found: Weighed, wanted: _Wanted, dtype: torch.dtype) -> Tensor:
        size, part = (torch.linalg.vector_norm(mean, dim=-1) for mean in (found.mean, found.part))
        summed = summation_error(dtype, wanted.norm, size) * found.light
        summed = summed + summation_error(torch.float64, wanted.norm, size)
        # Σ p |x - m|² = Σ p |x|² - 2 m Σ p x + p |m|² over the light ones; m and Σ p x are off by what was summed
        scatter = found.light * (1 + 1e-3) * (wanted.norm**2 + (size + summed).square())
        scatter = scatter - 2 * (found.mean * found.part).sum(-1) + 2 * summed * (size + part + summed)
        moved = mean_error(rough, fine, found.light, scatter, size - summed, wanted.norm)
        smallest = torch.finfo(self.states.dtype).tiny
        bound: Tensor = moved + summed + wanted.slack + unit(self.states.dtype) * (size + summed) + smallest
        return bound

    def _lost(self, rough: Tensor, fine: Tensor, dtype: torch.dtype) -> Tensor:
        """What patterns can weigh at most, to the whole, whose weights are too small for a data type, (L,)."""
        rough, fine = (2 * error.clamp(max=340.0) for error in (rough, fine))
        least = {torch.float32: _FAINT, torch.float64: _FAINTEST}[dtype]
        return self.count * (least * torch.exp(rough) + _FAINTEST * torch.exp(fine))

    # --------------------------------------------------------------------------------------------------- by candidates

    def _sparse(self, wanted: _Wanted) -> Answer:
        """A sparse map over the patterns that reach a floor, which groups or two passes find."""
        peers = self.stored.peers
        with torch.no_grad():
            sound = bool(self._score_error(self.states.dtype).isfinite().all())
            candidates, visited = self._candidates() if sound else (None, self._all_visited())
            visited = visited * self.stored.patterns.count / max(1, self.count)
            visited = peers.gathered(visited.unsqueeze(-1), 0.0).sum(-1)
            missing = torch.tensor([float(candidates is None)], device=self.states.device)
            lacking = bool(peers.highest(missing) > 0)
        if lacking and peers.size > 1:
            raise HopfieldError(
                f"{self.separation!r} gives weight to so many patterns that they cannot be sent between processes: "
                "raise beta, or use softmax"
            )
        if candidates is None or lacking:
            return self._sparse_pass(wanted)
        own = candidates.alive.sum(-1).max() if candidates.alive.numel() else torch.zeros((), device=self.states.device)
        most = int(peers.highest(own.reshape(1).float()))
        # the same parts everywhere
        counts = torch.full(self.states.shape[:1], most)
        states = torch.arange(self.states.shape[0], device=self.states.device)
        parts = [
            self._of(states[part])._over(candidates.of(part), wanted)
            for part in portions(counts, self.stored.patterns.width)
        ]
        return Answer(*(torch.cat(entry) for entry in zip(*parts, strict=True)))._replace(visited=visited)

    def _candidates(self) -> tuple[Heavy | None, Tensor]:
        """The patterns here that can have weight (None if they are too many), and the share that was looked at."""
        found = self._search(self.separation, self.stored.norm)
        if found is None:
            return self._candidates_by_passes(self.separation), self._all_visited()
        search, plan = found
        few, others = plan.serves.nonzero().flatten(), (~plan.serves).nonzero().flatten()
        parts = []
        if few.numel():
            own, where = search.of(few), plan.of(few)
            scores, which = own.collect(own.visits(where.wanted), where.level)
            parts.append(Heavy(which, scores > -math.inf))
        if others.numel() or not parts:
            passed = self._of(others)._candidates_by_passes(self.separation)
            if passed is None:
                return None, self._all_visited()
            parts.append(passed)
        width = max(part.which.shape[1] for part in parts)
        padded = [Heavy(*(F.pad(entry, (0, width - entry.shape[1])) for entry in part)) for part in parts]
        return _joined(padded, [few, others]), torch.where(plan.serves, plan.visited, 1.0)

    def _over(self, candidates: Heavy, wanted: _Wanted) -> Answer:
        values, scores = self._scores_of(candidates, wanted.rows)
        values, scores = self.stored.peers.gathered(values, 0.0), self.stored.peers.gathered(scores, -math.inf)
        weights = self.separation.weights(scores)  # (L, w)
        mean = torch.bmm(weights.unsqueeze(-2), values).squeeze(-2)
        level = self.separation.potential(scores)
        with torch.no_grad():
            error = self._score_error(torch.float64)
            size = torch.linalg.vector_norm(mean, dim=-1)
            bound = self._sparse_error(error, size, scores, values, wanted.norm) + wanted.slack
            bound += accumulation(scores.shape[1] + 8, torch.float64) * wanted.norm + unit(self.states.dtype) * size
            bound = torch.where(level == -math.inf, 0.0, bound + torch.finfo(self.states.dtype).tiny)
            level_bound = torch.where(level == -math.inf, 0.0, error + 1e-14 * level.abs())
        return Answer(mean.to(self.states.dtype), level, bound, level_bound, self._all_visited())

    def _scores_of(self, candidates: Heavy, rows: Rows) -> tuple[Tensor, Tensor]:
        """Candidates' rows (L, w, v) and scores (L, w), float64; -inf where there is none."""
        stored = self.stored
        patterns = taken(stored.patterns, candidates.which).double()
        values = patterns if rows is stored.patterns else taken(rows, candidates.which).double()
        scores = torch.bmm(patterns, self.states.double().unsqueeze(-1)).squeeze(-1)
        if stored.bias is not None and len(stored.bias):
            scores = scores + stored.bias[candidates.which]
        scores = (self.beta * scores).masked_fill(~candidates.alive, -math.inf)
        return values, scores

    def _sparse_error(self, error: Tensor, size: Tensor, scores: Tensor, values: Tensor, norm: float) -> Tensor:
        """How far the mean moves when scores are off by up to `error`."""
        floor = self.separation.floor(scores)
        near = scores >= floor - 4 * error.unsqueeze(-1)
        bound = sparse_change(self.separation, error, near.sum(-1)) * (norm + size)
        if isinstance(self.separation, TopK):
            # which of those that nearly tie with the last one take part is not known
            tied = near & (scores <= floor + 4 * error.unsqueeze(-1)) & (floor > -math.inf)
            last = torch.where(scores == floor, 1.0, 0.0).argmax(-1)
            apart = (values - values[torch.arange(len(last), device=last.device), last].unsqueeze(-2)).norm(dim=-1)
            weight = torch.where(tied, torch.exp(scores - scores.amax(-1, keepdim=True)), 0.0).sum(-1)
            bound = bound + 2 * weight.clamp(max=1.0) * torch.where(tied, apart, 0.0).amax(-1)
        return bound.clamp(max=2 * norm)

    # -------------------------------------------------------------------------------------------------------- by a pass

    def _pass(self, wanted: _Wanted, dtype: torch.dtype, guess: Guess) -> Weighed:
        """Softmax over all patterns."""
        with torch.no_grad():
            aside = self._aside(wanted, dtype, guess)
        found = scan(self._problem(wanted.rows, dtype), self._weigher(wanted), null=self._null(), aside=aside)
        with torch.no_grad():
            found = found._replace(rest=found.rest + self._score_error(dtype))
        return Weighed(*found, self._all_visited())

    def _aside(self, wanted: _Wanted, dtype: torch.dtype, guess: Guess) -> Aside:
        """What is to be set aside where single precision would not do, and what may be left out."""
        light = torch.full_like(guess.level, math.inf)
        if dtype != torch.float64:
            error = self._score_error(dtype) * wanted.norm + summation_error(dtype, wanted.norm, 0.0)
            light = self.tolerance / error.clamp(min=1e-300)
            light = torch.where(light < 1, (light * (_MARGIN + _EVEN * light)).clamp(min=1e-9), light)
        least = unit(dtype)
        if math.isfinite(self.tolerance) and wanted.norm:
            least = max(least, min(_LEAST, self.tolerance / (32 * wanted.norm)))
        least = least / (max(1, self.count) * self.stored.peers.size)
        return Aside(guess.level, guess.known, light, self._highest_score(), least, wanted.norm)

    def _guess(self) -> Guess:
        with torch.no_grad():
            dtype = self.states.dtype
            problem, null = self._problem(None, dtype), isinstance(self.separation, Softmax1)
            return Guess.of(problem, self._score_error(dtype), null=null)

    def _seen(self, search: Search, guess: Guess, norm: float) -> Guess:
        """With what the nearest groups show of the level, if that is more than was guessed for some of a few states."""
        with torch.no_grad():
            error = self._score_error(self.states.dtype)
            # a pass that sets nothing aside makes no use of it
            if not bool((error * norm > self.tolerance / 2).any()):
                return guess
            few = torch.arange(0, len(error), max(1, len(error) // _TRIED), device=error.device)
            shown = search.of(few).level(error[few], self.separation)
            if bool((shown > guess.level[few] + _GAIN).sum() * _ONE_OF < len(few)):
                return guess
            return guess.at_least(search.level(error, self.separation))

    def _sparse_pass(self, wanted: _Wanted) -> Answer:
        """Over all patterns again and again, in double precision, where too many have weight to be collected."""
        mean, level = (entry.squeeze(0) for entry in stream(self._problem(wanted.rows, torch.float64), self.separation))
        with torch.no_grad():
            error = self._score_error(torch.float64)
            size = torch.linalg.vector_norm(mean, dim=-1)
            many = torch.full_like(size, self.stored.patterns.count)
            bound = sparse_change(self.separation, error, many) * (wanted.norm + size)
            bound = bound.clamp(max=2 * wanted.norm) + wanted.slack + unit(self.states.dtype) * size
            bound += accumulation(self.stored.patterns.count, torch.float64) * wanted.norm
            bound = torch.where(error.isfinite(), bound + torch.finfo(self.states.dtype).tiny, math.inf)
            nothing = (level == -math.inf) & error.isfinite()
            bound, error = (torch.where(nothing, 0.0, entry) for entry in (bound, error + 1e-14 * level.abs()))
        return Answer(mean.to(self.states.dtype), level.double(), bound, error, self._all_visited())

    def _candidates_by_passes(self, separation: Streamable) -> Heavy | None:
        if not self.stored.patterns.count:
            nothing = torch.zeros(self.states.shape[0], 1, dtype=torch.int64, device=self.states.device)
            return Heavy(nothing, nothing > 0)
        problem = self._problem(None, self.states.dtype)
        entries = []
        for rows in tiles(problem):
            part = problem.rows(rows)
            error = self._score_error(self.states.dtype)[rows].view(1, -1, 1)
            few = separation.k if isinstance(separation, TopK) else 1

            passed = partial(scores_by_block, part)
            floor = separation.floor(maxima(passed, few)) - 4 * error
            # where fewer take part than could have weight, all of them are candidates
            floor = floor.clamp(min=torch.finfo(floor.dtype).min)
            collected = above(passed, floor)
            if collected is None:
                return None
            entries.append(collected)
        width = max(found.shape[-1] for found, _ in entries)
        pads = [(0, width - found.shape[-1]) for found, _ in entries]
        found = torch.cat([F.pad(entry[0][0], pad, value=-math.inf) for entry, pad in zip(entries, pads, strict=True)])
        patterns = torch.cat([F.pad(entry[1][0], pad) for entry, pad in zip(entries, pads, strict=True)])
        return Heavy(patterns, found > -math.inf)

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
        )

    def _all_visited(self) -> Tensor:
        return torch.ones(self.states.shape[0], device=self.states.device)

    def _number(self) -> float:
        return float(self.beta)

    def _score_error(self, dtype: torch.dtype) -> Tensor:
        """How far scores computed in a data type may be from those of the patterns that were stored, float64 (L,)."""
        stored = self.stored
        length = self._length
        width = stored.patterns.width
        rounded = score_error(self._number(), length, stored.norm, stored.bias_size, width, dtype, self._terms)
        total: Tensor = rounded + self._number() * length * stored.slack
        # what overflows is off by anything
        within = (self._highest_score() < torch.finfo(dtype).max / 16) & (
            length * self._number() < torch.finfo(dtype).max / 16
        )
        return torch.where(within, total, math.inf)

    def _highest_score(self) -> Tensor:
        """A bound of the size of all scores, float64 (L,)."""
        stored = self.stored
        return self._number() * torch.clamp(self._length * stored.norm + stored.bias_size, min=stored.bias_size)

    @cached_property
    def _terms(self) -> Tensor | float:
        """As how many terms the products with each state round, (L,), where the tolerance may depend on that."""
        stored = self.stored
        size = self._number() * self._length * stored.norm * max(stored.norm, stored.value_norm)
        error = accumulation(stored.patterns.width + 8, torch.float32) * size
        return product_terms(self.states.detach()) if bool((error > self.tolerance / 2).any()) else math.inf

    @cached_property
    def _length(self) -> Tensor:
        """|ξ|, or a little more, float64 (L,)."""
        length: Tensor = torch.linalg.vector_norm(self.states.detach(), dim=-1, dtype=torch.float64)
        return length * (1 + 1e-6)
