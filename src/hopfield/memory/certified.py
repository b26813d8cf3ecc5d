"""What can be asked of an association beside its mean: weights, energies, the patterns that weigh most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.kernels.streaming import blocks, tiles
from hopfield.core.kernels.streaming import scores as scores_of
from hopfield.core.ranking import count_of
from hopfield.core.separation import Softmax1, TopK
from hopfield.core.separation.base import finite
from hopfield.core.separation.gather import largest
from hopfield.memory.aside import Heavy, portions
from hopfield.memory.bounded import Bounded
from hopfield.memory.bounds import unit
from hopfield.memory.precision import full_precision
from hopfield.memory.scored import scores_by_block
from hopfield.memory.stored import Stored

# how many of the largest weights are looked at before all are
_LEADING = 256
# weights in memory at once when all are looked at
_WEIGHTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Certified(Bounded):
    """One association of states with a memory, within a tolerance."""

    @full_precision()
    def weights(self) -> Tensor:
        """All weights, (L, N)."""
        self.stored.check()
        problem = self._problem(None, self.states.dtype)
        empty = self.states.new_zeros(self.states.shape[0], 0)
        own = torch.cat([empty, *(scores_of(problem, block)[0] for block in blocks(problem))], -1)
        whole = self.stored.peers.columns(own)
        return self.separation.weights(whole)

    def potential(self) -> Tensor:
        """Ω*(s), (L,)."""
        return self.answer.level.to(self.states.dtype)

    def energy(self) -> Tensor:
        """Of the states that went in, (L,)."""
        rise = (self._ground() - finite(self.answer.level)) / self._number()
        return (rise + self.states.double().square().sum(-1) / 2 + self._peak()).to(self.states.dtype)

    def energy_bound(self) -> Tensor:
        """How far `energy` can be from the exact one, (L,)."""
        energy = self.energy().double().abs()
        height = self._peak().abs() + self.states.double().square().sum(-1)
        rounding = unit(self.states.dtype) * energy + 1e-14 * (height + energy)
        stored = self.stored
        moved = stored.height_error if self.mask is None else Stored.height_slack(stored.norm, stored.slack)
        return (self.answer.level_bound / self._number() + moved + rounding).to(self.states.dtype)

    @full_precision()
    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The k largest weights and their patterns, (L, k) each."""
        self.stored.check()
        if not self.separation.sparse:
            scores, which = self._largest(k)
            level = finite(self.answer.level)
            return torch.exp(scores - level.unsqueeze(-1)).to(self.states.dtype), which
        size = k
        while True:  # until all that have weight are among them
            scores, which = self._largest(size)
            if size == self.count or bool((self.separation.floor(scores) > scores[:, -1:]).all()):
                return self.separation.weights(scores)[:, :k].to(self.states.dtype), which[:, :k]
            size = min(self.count, 4 * size)

    def _largest(self, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores, float64, descending, and their patterns, (L, k) each."""
        own = min(k, self.stored.patterns.count)
        scores, which = self._largest_here(own)
        peers = self.stored.peers
        scores, which = peers.gathered(scores, -math.inf), peers.gathered(which + peers.offset(), 0.0)
        if peers.size == 1:
            return scores, which
        best, order = scores.topk(k, -1)
        return best, which.gather(-1, order)

    def _largest_here(self, k: int) -> tuple[Tensor, Tensor]:
        """The same of the patterns that are here."""
        states = torch.arange(self.states.shape[0], device=self.states.device)
        scores = torch.empty(states.shape[0], k, dtype=torch.float64, device=states.device)
        which = torch.empty(states.shape[0], k, dtype=torch.int64, device=states.device)
        others = states
        found = self._search(TopK(max(1, k)), self.stored.norm)
        if not k:
            return scores, which
        if found is not None:
            search, plan = found
            few, others = states[plan.serves], states[~plan.serves]
            if few.numel():
                search, plan = search.of(few), plan.of(few)
                rough, near = search.collect(search.visits(plan.wanted), plan.level)
                scores[few], which[few] = self._of(few)._ranked(Heavy(near, rough > -math.inf), k)
        if others.numel():
            problem = self._of(others)._problem(None, self.states.dtype)
            for rows in tiles(problem):
                part, at = problem.rows(rows), others[rows]
                best = largest(partial(scores_by_block, part), k)
                scores[at], which[at] = self._of(at)._ranked(Heavy(best[1][0], best[0][0] > -math.inf), k)
        return scores, which

    def _ranked(self, candidates: Heavy, k: int) -> tuple[Tensor, Tensor]:
        """The k largest scores among at least as many candidates."""
        found, which = [], []
        states = torch.arange(self.states.shape[0], device=self.states.device)
        for part in portions(candidates.alive.sum(-1), self.stored.patterns.width):
            own = Heavy(candidates.which[part], candidates.alive[part])
            scores = self._of(states[part])._scores_of(own, self.stored.patterns)[1]
            best, order = scores.topk(min(k, scores.shape[1]), -1)
            missing = (0, k - best.shape[1])  # where fewer take part
            found.append(F.pad(best, missing, value=-math.inf))
            which.append(F.pad(own.which.gather(-1, order), missing))
        return torch.cat(found), torch.cat(which)

    def support(self, mass: float) -> Tensor:
        """The smallest number of patterns that carry the share `mass` of the weight, int64 (L,)."""
        result = torch.zeros(self.states.shape[0], dtype=torch.int64, device=self.states.device)
        if not self.count:
            return result
        few = min(_LEADING, self.count)
        weights = self.top(few)[0]
        result = count_of(weights, mass * self._total(weights))
        more = (result > few).nonzero().flatten()
        for part in more.split(max(1, _WEIGHTS // self.count)):
            weights = self._of(part).weights().sort(-1, descending=True).values
            result[part] = count_of(weights, mass * weights.sum(-1, keepdim=True))
        return result

    def _total(self, weights: Tensor) -> Tensor:
        """The sum of all weights, (L, 1)."""
        if self.separation.sums_to_one:
            return (weights[..., :1] > 0).to(weights.dtype)
        assert isinstance(self.separation, Softmax1), "the one whose weights do not"
        return -torch.expm1(-self.answer.level).unsqueeze(-1).to(weights.dtype)

    def _ground(self) -> Tensor:
        """Ω* of scores that are 0, (1 or L,)."""
        zeros = torch.zeros(1, self.count, dtype=torch.float64, device=self.states.device)
        if self.mask is not None:
            alive = self.stored.peers.columns(self.mask)
            zeros = zeros.expand(alive.shape[0], -1).masked_fill(~alive, -math.inf)
        ground = self.separation.potential(zeros)
        return finite(ground)

    def _peak(self) -> Tensor:
        """The largest ½|x|² + b of those that take part, (1 or L,)."""
        stored = self.stored
        stored.check()
        if self.mask is None:
            return torch.full((1,), stored.height, dtype=torch.float64, device=self.states.device)
        heights = [torch.full((self.mask.shape[0],), -math.inf, dtype=torch.float64, device=self.states.device)]
        for block in blocks(self._problem(None, self.states.dtype)):
            height = stored.patterns[:, block][0].double().square().sum(-1) / 2
            height = height if stored.bias is None else height + stored.bias[block]
            heights.append(height.expand(self.mask.shape[0], -1).masked_fill(~self.mask[:, block], -math.inf).amax(-1))
        peak = stored.peers.highest(torch.stack(heights).amax(0))
        return finite(peak)
