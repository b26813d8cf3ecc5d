"""What a few patterns tell of an association before all of them are passed over."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hopfield.core.kernels.streaming import Problem, stream
from hopfield.core.separation import Softmax

# samples of so many pieces at least and at most, one pattern of so many
_SAMPLES, _PIECE, _PIECES, _OF = 4, 128, (4, 16), 16


class Guess(NamedTuple):
    """What is thought of an association, float64, (L,) each."""

    level: Tensor
    """The log-sum-exp, rather too low; -inf where nothing is."""
    known: Tensor
    """What it is not below in any case."""

    @classmethod
    def of(cls, problem: Problem, error: Tensor, *, null: bool) -> Guess:
        """That from samples, of a problem with B = 1.

        Args:
            problem: the states, multiplied by beta, and the patterns.
            error: how far scores may be off, (L,).
            null: whether there is a pattern of score and value 0.
        """
        count = problem.patterns.shape[1]
        pieces = min(_PIECES[1], count // (_OF * _PIECE * _SAMPLES))
        level = known = torch.full_like(error, -math.inf)
        if pieces >= _PIECES[0]:
            starts = torch.linspace(0, count - _PIECE, pieces * _SAMPLES).long().tolist()
            samples = [_some(problem, starts[sample::_SAMPLES]) for sample in range(_SAMPLES)]
            levels = torch.cat([stream(sample, Softmax())[1] for sample in samples]).double()
            # one sample may hold, by chance, a pattern that outweighs all others
            level = levels.sort(0).values[-2] + math.log(count / (pieces * _PIECE))
            known = levels.amax(0) - error - 1e-3
        if null:
            level, known = level.clamp(min=0.0), known.clamp(min=0.0)
        return cls(torch.maximum(level, known), known)

    def at_least(self, known: Tensor) -> Guess:
        """The same where more is known of the log-sum-exp."""
        return Guess(torch.maximum(self.level, known), torch.maximum(self.known, known))


def _some(problem: Problem, starts: list[int]) -> Problem:
    """The problem with the patterns behind some places, and no values."""

    def some(rows: Any, axis: int) -> Any:
        if rows is None or rows.shape[axis] == 1:
            return rows
        slices = [slice(start, start + _PIECE) for start in starts]
        return torch.cat([rows[:, own] if axis == 1 else rows[..., own] for own in slices], axis)

    patterns, bias, mask = some(problem.patterns, 1), some(problem.bias, 2), some(problem.mask, 2)
    return problem._replace(patterns=patterns.to(problem.states.dtype), values=None, bias=bias, mask=mask)
