"""Softmax associations: by groups that an index finds, or by a pass over all patterns; with a bound on their error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.separation import Softmax1
from hopfield.core.separation.base import finite
from hopfield.memory.aside import Aside, Heavy, portions
from hopfield.memory.bounds import left_out_error, mean_error, unit
from hopfield.memory.guess import Guess
from hopfield.memory.index.mean import group_mean
from hopfield.memory.index.search import Plan, Search
from hopfield.memory.peers import Weighed
from hopfield.memory.scan import Weigh, scan
from hopfield.memory.scored import Answer, Scored, Wanted, joined, mended
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
_FAINT, _FAINTEST = 2.0**-74, 2.0**-940
# patterns of a small memory, and multiplications in scores with it that are no more work than what else there is to do
_SMALL, _WORK = 1 << 14, 1 << 28
# part of a tolerance that a pass plans with, and more of it where it nearly suffices: weights are even there, and
# patterns less far from their mean than is reckoned with
_MARGIN, _EVEN = 0.82, 0.16


@dataclass(frozen=True, eq=False)
class Soft(Scored):
    """One association by softmax or softmax1."""

    def found(self, wanted: Wanted) -> Answer:
        """The association; within the tolerance, if that can be."""
        if self._small(wanted):
            return self._careful(wanted, self.states.new_full(self.states.shape[:1], -math.inf, dtype=torch.float64))
        answer = self._bounded(self.stored.peers.merged(self._near(wanted)), wanted, self.states.dtype)
        # where that was not enough, each state by itself, with a level that is known
        known = (answer.level - answer.level_bound).nan_to_num(nan=-math.inf)

        def again(others: Tensor) -> Answer:
            return self._of(others)._careful(wanted, known[others])

        return mended(answer, answer.bound <= self.tolerance, again)

    def _careful(self, wanted: Wanted, known: Tensor) -> Answer:
        """In double precision, given what the log-sum-exp is not below, (L,)."""
        passed = self._pass(wanted, torch.float64, Guess(known, known))
        return self._bounded(self.stored.peers.merged(passed), wanted, torch.float64)

    def _small(self, wanted: Wanted) -> bool:
        """Whether single precision is not enough, and to do all in double precision less work than to mend that."""
        stored, states = self.stored, self.states.shape[0]
        if stored.index is not None or stored.peers.size > 1 or self.states.dtype == torch.float64:
            return False
        if stored.patterns.count > _SMALL or states * stored.patterns.count * stored.patterns.width > _WORK:
            return False
        with torch.no_grad():
            return bool((self._moved(wanted.norm) > self.tolerance).any())

    def _near(self, wanted: Wanted) -> Weighed:
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
        return joined(parts, [few, others])

    def _by_groups(self, search: Search, plan: Plan, wanted: Wanted) -> Weighed:
        """Softmax over groups; states for which that takes it set more aside."""
        share = self._heavy(wanted.norm)
        found = self._over_groups(search, plan, wanted, _FEWER * share)
        with torch.no_grad():
            # what other processes hold belongs to the whole
            known = found._replace(level=torch.maximum(found.level, plan.level[:, 0]))
            kept = self._bounded(known, wanted, self.states.dtype).bound <= self.tolerance

        def again(others: Tensor) -> Weighed:
            return self._of(others)._over_groups(search.of(others), plan.of(others), wanted, share[others])

        return mended(found, kept, again)

    def _over_groups(self, search: Search, plan: Plan, wanted: Wanted, share: Tensor) -> Weighed:
        search = replace(search, states=self.states * self.beta)
        found = group_mean(
            search, plan, wanted.rows, self._weigher(wanted), null=self._null(), share=share.unsqueeze(-1)
        )
        return Weighed(*found, plan.visited)

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

    def _guess(self) -> Guess:
        with torch.no_grad():
            dtype = self.states.dtype
            problem, null = self._problem(None, dtype), isinstance(self.separation, Softmax1)
            return Guess.of(problem, self._score_error(dtype), null=null)

    def _pass(self, wanted: Wanted, dtype: torch.dtype, guess: Guess) -> Weighed:
        """Softmax over all patterns."""
        with torch.no_grad():
            aside = self._aside(wanted, dtype, guess)
        found = scan(self._problem(wanted.rows, dtype), self._weigher(wanted), null=self._null(), aside=aside)
        with torch.no_grad():
            found = found._replace(rest=found.rest + self._score_error(dtype))
        return Weighed(*found, self._all_visited())

    def _aside(self, wanted: Wanted, dtype: torch.dtype, guess: Guess) -> Aside:
        """What is to be set aside where single precision would not do, and what may be left out."""
        light = torch.full_like(guess.level, math.inf)
        if dtype != torch.float64:
            light = self.tolerance / self._moved(wanted.norm).clamp(min=1e-300)
            light = torch.where(light < 1, (light * (_MARGIN + _EVEN * light)).clamp(min=1e-9), light)
        least = unit(dtype)
        if math.isfinite(self.tolerance) and wanted.norm:
            least = max(least, min(_LEAST, self.tolerance / (32 * wanted.norm)))
        least = least / (max(1, self.count) * self.stored.peers.size)
        return Aside(guess.level, guess.known, light, self._highest_score(), least, wanted.norm)

    def _weigher(self, wanted: Wanted) -> Weigh:
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

    def _bounded(self, found: Weighed, wanted: Wanted, dtype: torch.dtype) -> Answer:
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

    def _soft_bound(self, rough: Tensor, fine: Tensor, found: Weighed, wanted: Wanted, dtype: torch.dtype) -> Tensor:
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
