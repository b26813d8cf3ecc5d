"""The memory as users meet it: what it stores, what comes back, and what it refuses."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hopfield
from hopfield import AssociativeMemory, HopfieldError
from tests.core.catalogue import close, each_separation, generator, normal

seeds = st.integers(0, 2**31)


def made(g: torch.Generator, count: int = 9, size: int = 4, **settings) -> AssociativeMemory:
    return AssociativeMemory(normal(g, count, size), **settings)


@each_separation
@given(seed=seeds)
def test_it_is_the_functions_with_batches_of_any_shape(separation, seed):
    g = generator(seed)
    patterns, values, bias = normal(g, 9, 4), normal(g, 9, 2), 0.1 * normal(g, 9)
    memory = AssociativeMemory(patterns, values=values, bias=bias, beta=1.5, separation=separation)
    query = normal(g, 2, 3, 4)
    options = {"beta": 1.5, "bias": bias, "separation": separation}
    found = memory.retrieve(query, steps=2)
    expected = hopfield.retrieve(query, patterns, values, steps=2, **options)
    close(found.state, expected.state)
    close(found.values, expected.values)
    close(found.energy, expected.energy)
    close(memory.energy(query), hopfield.energy(query, patterns, **options))
    assert torch.equal(found.steps, torch.full((2, 3), 2))
    weights, indices = found.top(3)
    assert weights.shape == indices.shape == (2, 3, 3)
    assert found.support().shape == (2, 3)
    one = memory.retrieve(query[1, 2], steps=2)
    assert one.state.shape == (4,)
    assert one.steps.shape == one.converged.shape == one.energy.shape == ()
    close(one.state, found.state[1, 2])


def test_no_queries_and_no_patterns():
    g = generator(0)
    assert made(g).retrieve(torch.zeros(0, 4).double()).state.shape == (0, 4)
    empty = AssociativeMemory(torch.zeros(0, 4), values=torch.zeros(0, 2))
    found = empty.retrieve(torch.ones(3, 4))
    assert torch.equal(found.state, torch.zeros(3, 4))
    assert torch.equal(found.values, torch.zeros(3, 2))
    assert found.converged.all()
    assert torch.isfinite(found.energy).all()
    assert torch.equal(found.support(), torch.zeros(3, dtype=torch.int64))


def test_stored_patterns_come_back():
    g = generator(1)
    memory = AssociativeMemory(normal(g, 50, 64).float(), beta=4.0)
    found = memory.retrieve(memory.patterns + 0.2 * normal(g, 50, 64).float())
    assert found.converged.all()
    assert torch.equal(found.top(1)[1].flatten(), torch.arange(50))
    assert torch.equal(found.support(), torch.ones(50, dtype=torch.int64))


def test_queries_take_the_patterns_data_type():
    memory = AssociativeMemory(torch.randn(5, 4, dtype=torch.float64))
    assert memory.retrieve(torch.randn(2, 4)).state.dtype == torch.float64
    assert memory.to(torch.bfloat16).retrieve(torch.randn(2, 4)).state.dtype == torch.bfloat16
    assert memory.patterns.dtype == torch.float64


@given(seed=seeds)
def test_a_mask_is_a_deletion(seed):
    g = generator(seed)
    memory = made(g, beta=2.0)
    mask = torch.rand(9, generator=g) < 0.6
    query = normal(g, 2, 3, 4)
    kept = AssociativeMemory(memory.patterns[mask], beta=2.0)
    close(memory.retrieve(query, mask=mask).state, kept.retrieve(query).state)
    each = torch.rand(2, 1, 9, generator=g) < 0.6
    found = memory.retrieve(query, mask=each, steps=3).state
    for row in range(2):
        close(found[row], memory.retrieve(query[row], mask=each[row, 0], steps=3).state)


@given(seed=seeds)
def test_add_and_remove_are_storing_from_the_start(seed):
    g = generator(seed)
    patterns, values, bias = normal(g, 8, 4), normal(g, 8, 2), normal(g, 8)
    memory = AssociativeMemory(patterns[:5], values=values[:5], bias=bias[:5])
    memory.add(patterns[5:7], values=values[5:7], bias=bias[5:7])
    memory.add(patterns[7], values=values[7], bias=bias[7])
    assert len(memory) == 8
    for stored, whole in ((memory.patterns, patterns), (memory.values, values), (memory.bias, bias)):
        assert torch.equal(stored, whole)
    memory.remove([0, -1])
    memory.remove(torch.tensor([2]))
    memory.remove(0)
    rest = [2, 4, 5, 6]
    for stored, whole in ((memory.patterns, patterns), (memory.values, values), (memory.bias, bias)):
        assert torch.equal(stored, whole[rest])
    memory.remove([])
    assert len(memory) == 4


def test_repr_says_what_it_is():
    memory = AssociativeMemory(torch.zeros(3, 2), beta=0.5, separation="sparsemax")
    assert repr(memory) == "AssociativeMemory(3 patterns of size 2, beta=0.5, separation=Sparsemax(), float32 on cpu)"


NAN = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [0.0, float("inf")]])


@pytest.mark.parametrize(
    ("arguments", "settings", "text"),
    [
        ((NAN,), {}, "patterns must be finite; 2 of 3 rows have NaN or infinity, the first at index 1"),
        ((torch.zeros(3),), {}, r"patterns must be of shape \(N, size\), one row per pattern; got \(3,\)"),
        ((torch.zeros(3, 2, dtype=torch.int64),), {}, "floating-point dtype, got torch.int64; use patterns.float"),
        (([[0.0]],), {}, r"patterns must be a tensor \(N, size\), got list; use torch.as_tensor"),
        ((torch.zeros(3, 2),), {"values": torch.zeros(2, 2)}, r"values must be of shape \(3, size\)"),
        ((torch.zeros(3, 2),), {"bias": torch.zeros(2)}, r"bias must be a tensor of shape \(3,\), one per pattern"),
        ((torch.zeros(3, 2),), {"bias": torch.full((3,), -torch.inf)}, "bias must be finite"),
        ((torch.zeros(3, 2),), {"beta": 0.0}, "beta must be a finite number above 0"),
        ((torch.zeros(3, 2),), {"beta": float("nan")}, "beta must be a finite number above 0"),
        ((torch.zeros(3, 2),), {"beta": -1}, "beta must be a finite number above 0"),
        ((torch.zeros(3, 2),), {"beta": torch.ones(3)}, r"one beta, got a tensor of shape \(3,\)"),
        ((torch.zeros(3, 2),), {"separation": "softmux"}, "unknown separation 'softmux'; expected one of softmax,"),
    ],
)
def test_bad_memories_are_refused(arguments, settings, text):
    with pytest.raises(HopfieldError, match=text):
        AssociativeMemory(*arguments, **settings)


@pytest.mark.parametrize(
    ("query", "options", "text"),
    [
        (torch.zeros(2, 5), {}, r"query must be \(\*batch, 4\) to match the stored patterns, got shape \(2, 5\)"),
        (torch.zeros(()), {}, r"query must be \(\*batch, 4\)"),
        ([0.0] * 4, {}, "query must be a tensor"),
        (torch.full((4,), torch.nan), {}, "query has entries that are not finite"),
        (torch.zeros(2, 4), {"steps": 0}, "steps must be an integer of at least 1, got 0"),
        (torch.zeros(2, 4), {"max_steps": 0}, "max_steps must be an integer of at least 1"),
        (torch.zeros(2, 4), {"tol": 0.0}, "tol must be above 0"),
        (
            torch.zeros(2, 4),
            {"mask": torch.ones(8, dtype=torch.bool)},
            r"mask must be bool and broadcast to .*\(2, 9\)",
        ),
        (torch.zeros(2, 4), {"mask": torch.ones(9)}, "mask must be bool"),
    ],
)
def test_bad_queries_are_refused(query, options, text):
    with pytest.raises(HopfieldError, match=text):
        made(generator(0)).retrieve(query, **options)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((torch.zeros(2, 5),), "stores patterns of size 4, got size 5"),
        ((torch.full((2, 4), torch.nan),), "patterns must be finite"),
        ((torch.zeros(2, 4), torch.zeros(2, 2)), "has no values, but values came"),
    ],
)
def test_bad_additions_change_nothing(arguments, text):
    memory = made(generator(0))
    with pytest.raises(HopfieldError, match=text):
        memory.add(arguments[0], values=arguments[1] if len(arguments) > 1 else None)
    assert len(memory) == 9
    labelled = AssociativeMemory(torch.zeros(3, 4), values=torch.zeros(3, 2))
    with pytest.raises(HopfieldError, match="pass values= for the new patterns"):
        labelled.add(torch.zeros(1, 4))
    with pytest.raises(HopfieldError, match="stores values of size 2"):
        labelled.add(torch.zeros(1, 4), values=torch.zeros(1, 3))
    assert len(labelled) == 3


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        (9, "index 9 is outside the memory of 9 patterns"),
        ([0, -10], "index -10 is outside"),
        (0.5, "integer indices"),
        (torch.ones(9, dtype=torch.bool), "for a mask use"),
    ],
)
def test_bad_removals_change_nothing(indices, text):
    memory = made(generator(0))
    with pytest.raises(HopfieldError, match=text):
        memory.remove(indices)
    assert len(memory) == 9


def test_top_and_support_refuse_what_makes_no_sense():
    found = made(generator(0)).retrieve(torch.zeros(2, 4))
    with pytest.raises(HopfieldError, match=r"between 1 and the number of patterns, 9; got 10"):
        found.top(10)
    with pytest.raises(HopfieldError, match=r"mass must lie in \(0, 1\], got 0"):
        found.support(0)
