"""Sparse associations, with a bound on their error: over the candidates that groups or passes find, or by passes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.kernels.streaming import stream, tiles
from hopfield.core.separation import Streamable, TopK
from hopfield.core.separation.gather import above, maxima
from hopfield.errors import HopfieldError
from hopfield.memory.aside import Heavy, portions
from hopfield.memory.bounds import accumulation, sparse_change, unit
from hopfield.memory.scored import Answer, Scored, Wanted, joined, scores_by_block


@dataclass(frozen=True, eq=False)
class Sparse(Scored):
    """One association by a sparse map."""

    def found(self, wanted: Wanted) -> Answer:
        """Over the patterns that reach a floor, which groups or two passes find; over all where these are too many."""
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
            return self._by_passes(wanted)
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
        return joined(padded, [few, others]), torch.where(plan.serves, plan.visited, 1.0)

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

    def _over(self, candidates: Heavy, wanted: Wanted) -> Answer:
        values, scores = self._scores_of(candidates, wanted.rows)
        values, scores = self.stored.peers.gathered(values, 0.0), self.stored.peers.gathered(scores, -math.inf)
        weights = self.separation.weights(scores)  # (L, w)
        mean = torch.bmm(weights.unsqueeze(-2), values).squeeze(-2)
        level = self.separation.potential(scores)
        with torch.no_grad():
            error = self._score_error(torch.float64)
            size = torch.linalg.vector_norm(mean, dim=-1)
            bound = self._error(error, size, scores, values, wanted.norm) + wanted.slack
            bound += accumulation(scores.shape[1] + 8, torch.float64) * wanted.norm + unit(self.states.dtype) * size
            bound = torch.where(level == -math.inf, 0.0, bound + torch.finfo(self.states.dtype).tiny)
            level_bound = torch.where(level == -math.inf, 0.0, error + 1e-14 * level.abs())
        return Answer(mean.to(self.states.dtype), level, bound, level_bound, self._all_visited())

    def _by_passes(self, wanted: Wanted) -> Answer:
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

    def _error(self, error: Tensor, size: Tensor, scores: Tensor, values: Tensor, norm: float) -> Tensor:
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
