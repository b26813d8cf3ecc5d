"""The certified pass: what it sets aside, what it leaves out, and how much of that it holds at once."""

import math

import pytest
import torch

from hopfield import AssociativeMemory
from hopfield.core.kernels import streaming
from hopfield.memory import aside
from hopfield.memory import guess as guess_
from hopfield.memory.guess import Guess
from hopfield.memory.scan import _even
from hopfield.memory.soft import Soft
from hopfield.memory.sums import WEIGHTS
from hopfield.separation import Softmax, Softmax1
from tests.core.catalogue import examples, normal, yes
from tests.memory.certificates import KINDS, distance, exact, some

each_separation = pytest.mark.parametrize("separation", [Softmax(), Softmax1()], ids=repr)


@pytest.fixture
def seen(monkeypatch):
    """Passes of many blocks, with a guess beforehand; whether each block was left out, and what was set aside."""
    monkeypatch.setattr(streaming, "_TILE", 1 << 12)
    monkeypatch.setattr(guess_, "_PIECE", 16)
    monkeypatch.setattr(guess_, "_OF", 4)
    take, found = aside.Keeper.leaves_out, aside.Keeper.found
    seen = {"left out": [], "aside": 0.0}

    def watched(self, *args):
        result = take(self, *args)
        seen["left out"].append(result)
        return result

    def counted(self, *args):
        seen["aside"] = max(seen["aside"], self._taken * aside._FULL / (self._scores + aside._MANY))
        return found(self, *args)

    monkeypatch.setattr(aside.Keeper, "leaves_out", watched)
    monkeypatch.setattr(aside.Keeper, "found", counted)
    return seen


def holds(memory, query, wanted, tolerance, **options):
    found = memory.retrieve(query, steps=1, tolerance=tolerance, **options)
    error = distance(found.values, wanted)
    assert bool((error <= found.error_bound).all()), float((error - found.error_bound).max())
    assert float(found.error_bound.max()) <= tolerance
    return found


@each_separation
@pytest.mark.parametrize("kind", KINDS)
@examples(12)
def test_the_bound_holds_over_many_blocks(seen, kind, separation, seed):
    g, patterns, query = some(kind, seed, count=3000 + 64 * (seed % 3), states=9)
    query = query * 10 ** (2 * torch.rand(9, 1, generator=g) - 1)  # even and sharp ones together
    values = normal(g, len(patterns), 5).to(patterns.dtype) if seed % 2 else patterns
    bias = normal(g, len(patterns)).to(patterns.dtype) if seed % 3 else None
    mask = yes(g, *((1,) if seed % 5 else (9,)), len(patterns), chance=0.7) if seed % 4 else None
    beta = float(10 ** (4 * torch.rand((), generator=g) - 1))
    tolerance = float(10 ** (-1 - 3 * torch.rand((), generator=g))) * float(values.norm(dim=-1).max())
    memory = AssociativeMemory(
        patterns, values=None if values is patterns else values, bias=bias, beta=beta, separation=separation
    )
    wanted = exact(query, patterns, values, beta, bias=bias, mask=mask, separation=separation)[0]
    states = exact(query, patterns, patterns, beta, bias=bias, mask=mask, separation=separation)[0]
    tolerance = max(tolerance, 1e-4 * float(patterns.norm(dim=-1).max()))
    found = holds(memory, query, wanted, tolerance, mask=mask)
    assert bool((distance(found.state, states) <= found.error_bound).all())


@each_separation
@examples(20)
def test_the_bound_holds_where_masks_leave_little(seen, separation, seed):
    g, patterns, query = some(KINDS[seed % 4], seed, count=3000 + seed % 97, states=16)
    mask = torch.ones(16, len(patterns), dtype=torch.bool)
    mask[:2] = False
    mask[0, -9:] = True  # nothing else is alive, or nothing at all
    mask[2] = yes(g, len(patterns), chance=0.02)
    mask[3, : len(patterns) // 2] = False
    mask = mask[2:3] if seed % 3 == 0 else mask
    beta = float(10 ** (3 * torch.rand((), generator=g) - 1))
    tolerance = float(10 ** (-4 - 2 * torch.rand((), generator=g))) * float(patterns.norm(dim=-1).max())
    wanted = exact(query, patterns, patterns, beta, mask=mask, separation=separation)[0]
    holds(AssociativeMemory(patterns, beta=beta, separation=separation), query, wanted, tolerance, mask=mask)


@pytest.mark.parametrize("off", [-1e9, -30.0, 3.0, 30.0, 1e9])
@pytest.mark.parametrize("beta", [1.0, 30.0, 1000.0])
@each_separation
def test_a_wrong_guess_costs_time_alone(seen, monkeypatch, separation, beta, off):
    _, patterns, query = some("uniform", 3, count=3000, states=9)
    nothing = torch.full((9,), -math.inf).double()
    guess = Guess(torch.full_like(nothing, off), nothing)
    monkeypatch.setattr(Soft, "_guess", lambda self: guess)
    wanted = exact(query, patterns, patterns, beta, separation=separation)[0]
    holds(AssociativeMemory(patterns, beta=beta, separation=separation), query, wanted, 1e-4)


def test_blocks_that_do_not_matter_are_left_out(seen):
    _, patterns, query = some("uniform", 1, count=4000, states=9)
    query = patterns[:9] + 0 * query
    for beta, fewest, most in ((1000.0, 0.9, 1.0), (0.1, 0.0, 0.0)):
        seen["left out"].clear()
        holds(AssociativeMemory(patterns, beta=beta), query, exact(query, patterns, patterns, beta)[0], 1e-4)
        assert fewest <= sum(seen["left out"]) / len(seen["left out"]) <= most


def test_what_is_set_aside_is_bounded_where_much_would_have_to_be(seen, monkeypatch):
    monkeypatch.setattr(aside, "_MANY", 1 << 12)
    _, patterns, query = some("uniform", 2, count=30000, states=8)
    sharp = 1000 * patterns[:8] / patterns[:8].norm(dim=-1, keepdim=True)
    query = torch.cat([sharp, 1e-3 * query])  # those that are even would set all aside
    wanted = exact(query, patterns, patterns, 3.0)[0]
    holds(AssociativeMemory(patterns, beta=3.0), query, wanted, 3e-7 * float(patterns.norm(dim=-1).max()))
    assert 0.5 <= seen["aside"] <= 3


def test_aside_of_nothing():
    memory = AssociativeMemory(torch.zeros(0, 3), beta=1.0)
    found = memory.retrieve(torch.ones(2, 3), steps=1, tolerance=1e-3)
    assert torch.equal(found.state, torch.zeros(2, 3))
    assert not found.error_bound.any()
    assert math.isfinite(float(found.visited.max()))


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 1024, 1025])
def test_blocks_are_even_but_for_what_is_left_of_them(count):
    found = list(_even(slice(start, min(start + 256, count)) for start in range(0, count, 256)))
    assert [i for block in found for i in range(count)[block]] == list(range(count))
    assert all((own := block.stop - block.start) % WEIGHTS == 0 or 0 < own < WEIGHTS for block in found)
