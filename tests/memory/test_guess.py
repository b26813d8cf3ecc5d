"""What a few patterns tell: a lower bound, and a guess near the truth where all are alike."""

import math

import pytest
import torch

from hopfield.core.kernels.streaming import Problem
from hopfield.memory import guess as guess_
from hopfield.memory.guess import Guess
from hopfield.separation import Softmax, Softmax1
from tests.core.catalogue import examples, normal, yes
from tests.memory.certificates import KINDS, exact, some


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(guess_, "_PIECE", 16)
    monkeypatch.setattr(guess_, "_OF", 4)


def guessed(query, patterns, beta, error, bias=None, mask=None, *, null=False):
    scaled = None if bias is None else (beta * bias)[None, None]
    problem = Problem(beta * query[None], patterns[None], None, scaled, None if mask is None else mask[None])
    return Guess.of(problem, torch.full((len(query),), error).double(), null=null)


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@examples(10)
def test_what_is_known_is_true(small, kind, null, seed):
    g, patterns, query = some(kind, seed, count=2500 + seed % 97, states=7)
    bias = normal(g, len(patterns)).to(patterns.dtype) if seed % 3 else None
    mask = yes(g, *((1,) if seed % 5 else (7,)), len(patterns), chance=0.3) if seed % 2 else None
    beta = float(10 ** (3 * torch.rand((), generator=g) - 1))
    found = guessed(query, patterns, beta, 1e-3 * beta, bias, mask, null=null)
    separation = Softmax1() if null else Softmax()
    level = torch.tensor(
        exact(query, patterns, patterns, beta, bias=bias, mask=mask, separation=separation)[1].astype(float)
    )
    assert bool((found.known <= level).all())
    assert bool((found.level >= found.known).all())
    raised = found.at_least(level)
    assert torch.equal(raised.known, torch.maximum(found.known, level))
    assert bool((raised.level >= level).all())


def test_near_the_truth_where_all_are_alike(small):
    _, patterns, query = some("uniform", 3, count=20000, states=7)
    level = torch.tensor(exact(query, patterns, patterns, 1.0)[1].astype(float))
    assert torch.allclose(guessed(query, patterns, 1.0, 0.0).level, level, atol=0.2)


def test_nothing_of_few_patterns_or_where_none_is_alive(small):
    _, patterns, query = some("uniform", 3, count=900, states=2)
    assert guessed(query, patterns, 1.0, 0.0).level.tolist() == [-math.inf] * 2
    _, patterns, query = some("uniform", 3, count=3000, states=2)
    mask = torch.zeros(1, len(patterns), dtype=torch.bool)
    assert guessed(query, patterns, 1.0, 0.0, mask=mask).known.tolist() == [-math.inf] * 2
    assert guessed(query, patterns, 1.0, 0.0, mask=mask, null=True).known.tolist() == [0.0] * 2
