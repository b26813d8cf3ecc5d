"""`AssociativeMemory`: the core's functions with everything remembered, and what may be stored."""

import math

import pytest
import torch

from hopfield import AssociativeMemory, energy, retrieve
from hopfield.errors import HopfieldError
from hopfield.separation import Entmax, Softmax
from tests.core.catalogue import close, each_separation, examples, generator, integer, normal, yes

NAN, INF = math.nan, math.inf


def memory(g, count=6, size=4, **options):
    return AssociativeMemory(normal(g, count, size), **options)


def full_memory(g, count=6, **options):
    """With values and biases."""
    return memory(g, count, values=normal(g, count, 2), bias=normal(g, count), beta=1.5, **options)


def contents(memory):
    return [memory.patterns, memory.values, memory.bias]


def same(one, other):
    for left, right in zip(contents(one), contents(other), strict=True):
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert torch.equal(left, right)


# ------------------------------------------------------------------------------------------------------------ retrieval


@each_separation
@pytest.mark.parametrize("steps", [2, None])
def test_it_retrieves_as_the_core_does(separation, steps):
    g = generator(0)
    store = full_memory(g, separation=separation)
    query = normal(g, 5, 4)
    found = store.retrieve(query, steps=steps, tol=1e-4, max_steps=50, trajectory=True)
    expected = retrieve(
        query,
        store.patterns,
        store.values,
        beta=1.5,
        bias=store.bias,
        separation=separation,
        steps=steps,
        tol=1e-4,
        max_steps=50,
        trajectory=True,
    )
    for name in ("state", "values", "energy", "trajectory"):
        close(getattr(found, name), getattr(expected, name))
    assert torch.equal(found.steps, expected.steps)
    assert torch.equal(found.converged, expected.converged)
    states = normal(g, 3, 4)
    close(store.energy(states), energy(states, store.patterns, beta=1.5, bias=store.bias, separation=separation))


@examples(10)
def test_queries_of_any_leading_dimensions(seed):
    g = generator(seed)
    store = full_memory(g)
    lead = tuple(integer(g, 0 if yes(g, chance=0.1) else 1, 3) for _ in range(integer(g, 0, 3)))
    query = normal(g, *lead, 4)
    found = store.retrieve(query, trajectory=True)
    assert found.state.shape == (*lead, 4)
    assert found.values.shape == (*lead, 2)
    assert found.steps.shape == found.converged.shape == found.energy.shape == found.support().shape == lead
    assert found.top(3)[0].shape == found.top(3)[1].shape == (*lead, 3)
    assert found.trajectory.shape[1:] == (*lead, 4)
    assert store.energy(query).shape == lead
    flat = store.retrieve(query.reshape(-1, 4), trajectory=True)
    close(found.state.reshape(-1, 4), flat.state)
    close(found.energy.reshape(-1), flat.energy)
    close(found.trajectory.reshape(len(found.trajectory), -1, 4), flat.trajectory)
    close(found.top(3)[0].reshape(-1, 3), flat.top(3)[0])


def test_a_stored_pattern_comes_back():
    patterns = torch.nn.functional.normalize(normal(generator(1), 20, 32), dim=-1)
    labels = torch.eye(20).double()
    store = AssociativeMemory(patterns, values=labels, beta=64.0)
    found = store.retrieve(patterns + 0.05 * normal(generator(2), 20, 32))
    assert bool(found.converged.all())
    assert torch.equal(found.values.argmax(-1), torch.arange(20))
    assert torch.equal(found.top(1)[1].squeeze(-1), torch.arange(20))
    torch.testing.assert_close(found.state, patterns, rtol=0, atol=1e-6)


def test_queries_are_converted():
    store = AssociativeMemory(torch.eye(3).double())
    assert store.retrieve(torch.tensor([1, 0, 0])).state.dtype == torch.float64
    assert store.retrieve(torch.tensor([1.0, 0, 0], dtype=torch.float16)).state.dtype == torch.float64
    half = AssociativeMemory(torch.eye(3).half())
    assert half.retrieve(torch.eye(3).double(), steps=1).state.dtype == torch.float16
    assert half.energy(torch.eye(3).double()).dtype == torch.float32


@examples(20)
def test_a_masked_pattern_is_a_removed_pattern(seed):
    g = generator(seed)
    store, query, mask = full_memory(g), normal(g, 2, 3, 4), yes(g, 6)
    without = AssociativeMemory(store.patterns[mask], values=store.values[mask], bias=store.bias[mask], beta=1.5)
    found, expected = store.retrieve(query, mask=mask), without.retrieve(query)
    close(found.values, expected.values)
    close(found.energy, expected.energy)
    assert torch.equal(found.steps, expected.steps)
    for shape in ((6,), (1, 6), (3, 6), (2, 1, 6), (2, 3, 6), (1, 3, 1), (2, 3, 1), (1,)):
        each = yes(g, *shape)
        found = store.retrieve(query, mask=each, steps=3)
        rows = each.expand(2, 3, 6)
        for at in ((0, 0), (0, 2), (1, 1)):
            close(found.values[at], store.retrieve(query[at], mask=rows[at], steps=3).values)
    if bool(mask.any()):
        assert bool(mask[store.retrieve(query, mask=mask).top(1)[1]].all())


def test_an_empty_memory():
    store = AssociativeMemory(torch.zeros(0, 3), values=torch.zeros(0, 2), bias=torch.zeros(0))
    assert len(store) == 0
    found = store.retrieve(torch.ones(2, 3))
    assert found.state.tolist() == [[0.0] * 3] * 2
    assert found.values.tolist() == [[0.0] * 2] * 2
    assert found.support().tolist() == [0, 0]
    for shape in ((0,), (2, 0), (1, 1)):
        masked = store.retrieve(torch.ones(2, 3), mask=torch.ones(shape, dtype=torch.bool))
        assert masked.state.tolist() == [[0.0] * 3] * 2
    assert store.energy(torch.ones(2, 3)).tolist() == [1.5, 1.5]
    store.add(torch.ones(3), values=torch.ones(2), bias=torch.tensor(0.5))
    assert len(store) == 1
    assert store.retrieve(torch.ones(3)).state.tolist() == [1.0] * 3


def test_patterns_can_be_learned():
    patterns = normal(generator(3), 5, 3).requires_grad_()
    beta = torch.tensor(0.5).double().requires_grad_()
    store = AssociativeMemory(patterns, beta=beta)
    for steps in (2, None):
        state = store.retrieve(torch.zeros(2, 3), steps=steps).state
        gradients = torch.autograd.grad(state.square().sum() + store.energy(state.detach()).sum(), [patterns, beta])
        assert all(bool(part.isfinite().all()) and bool((part != 0).any()) for part in gradients)


def test_what_it_says_of_itself():
    store = memory(generator(4), separation="entmax", beta=torch.tensor([2.5]))
    assert repr(store) == (
        "AssociativeMemory(6 patterns of size 4, beta=2.5, separation=Entmax(alpha=1.5), float64 on cpu)"
    )
    assert len(store) == 6
    assert store.separation == Entmax()
    assert store.beta.shape == ()
    assert AssociativeMemory(torch.zeros(2, 3)).separation == Softmax()


def test_to_another_type():
    store = full_memory(generator(5), separation="sparsemax")
    moved = store.to(torch.float32)
    assert [part.dtype for part in contents(moved)] == [torch.float32] * 3
    assert (moved.beta, moved.separation) == (store.beta, store.separation)
    assert store.patterns.dtype == torch.float64
    same(store.to("cpu"), store)
    with pytest.raises(HopfieldError, match=r"patterns must be of a floating-point dtype, got torch\.int64"):
        store.to(torch.int64)


# ---------------------------------------------------------------------------------------------------------- adding


@examples(20)
def test_adding_is_storing_from_the_start(seed):
    g = generator(seed)
    whole = full_memory(g, 7)
    first = integer(g, 0, 7)
    grown = AssociativeMemory(whole.patterns[:first], values=whole.values[:first], bias=whole.bias[:first], beta=1.5)
    if yes(g):
        grown.add(whole.patterns[first:], values=whole.values[first:], bias=whole.bias[first:])
    else:
        for row in range(first, 7):
            grown.add(whole.patterns[row], values=whole.values[row], bias=whole.bias[row])
    same(grown, whole)


def test_what_is_out_of_range_in_the_type_of_the_memory_is_not_added():
    store = AssociativeMemory(torch.zeros(1, 2).half())
    with pytest.raises(HopfieldError, match="patterns must be finite; 1 of 1 rows"):
        store.add(torch.tensor([1e5, 0.0]))
    assert len(store) == 1


def test_what_is_added_takes_the_type_of_the_memory():
    store = AssociativeMemory(torch.zeros(1, 2), values=torch.zeros(1, 1).half(), bias=torch.zeros(1).double())
    store.add(torch.ones(2, 2).double(), values=torch.ones(2, 1), bias=torch.ones(2))
    assert [part.dtype for part in contents(store)] == [torch.float32, torch.float16, torch.float64]
    store.add(torch.ones(2), values=torch.ones(1, 1), bias=torch.ones(1))
    assert len(store) == 4


FULL = {"values": torch.zeros(2, 2), "bias": torch.zeros(2)}
WRONG_ADDITIONS = [
    ([1.0], FULL, r"patterns must be a tensor \(N, size\), got list; use torch.as_tensor"),
    (torch.zeros(2, 5), FULL, r"the memory stores patterns of size 4, got size 5 \(shape \(2, 5\)\)"),
    (torch.zeros(5), FULL, r"the memory stores patterns of size 4, got size 5 \(shape \(1, 5\)\)"),
    (torch.zeros(2, 2, 4), FULL, r"patterns must be of shape \(N, size\), one row per pattern; got \(2, 2, 4\)"),
    (torch.zeros(2, 4).long(), FULL, "patterns must be of a floating-point dtype, got torch.int64"),
    (torch.full((2, 4), NAN), FULL, "patterns must be finite; 2 of 2 rows have NaN or infinity, the first at index 0"),
    (
        torch.full((2, 4), 1e300, dtype=torch.float64),
        FULL,
        "patterns are too large: their squared norms overflow torch.float64",
    ),
    (torch.zeros(2, 4), {"bias": FULL["bias"]}, "the memory has values: pass values= for the new patterns as well"),
    (torch.zeros(2, 4), {"values": FULL["values"]}, "the memory has bias: pass bias= for the new patterns as well"),
    (torch.zeros(2, 4), FULL | {"values": torch.zeros(3, 2)}, r"values must be of shape \(2, size\), .* got \(3, 2\)"),
    (torch.zeros(2, 4), FULL | {"values": torch.zeros(2, 3)}, r"stores values of size 2, got shape \(2, 3\)"),
    (torch.zeros(2, 4), FULL | {"values": [[0.0]]}, r"values must be a tensor \(2, size\), got list"),
    (torch.zeros(2, 4), FULL | {"values": torch.full((2, 2), INF)}, "values must be finite; 2 of 2 rows"),
    (torch.zeros(2, 4), FULL | {"bias": torch.zeros(3)}, r"bias must be a tensor of shape \(2,\), .* got \(3,\)"),
    (torch.zeros(2, 4), FULL | {"bias": torch.full((2,), -INF)}, "bias must be finite; to leave a pattern out, remove"),
    (torch.zeros(4), {"values": [0.0], "bias": torch.zeros(1)}, r"values must be a tensor \(1, size\), got list"),
    (torch.zeros(4), {"values": torch.zeros(2), "bias": 0.5}, r"bias must be a tensor of shape \(1,\), .* got float"),
    (torch.zeros(4), {"values": torch.zeros(2), "bias": torch.zeros(2)}, r"bias must be .* shape \(1,\), .* \(2,\)"),
]


@pytest.mark.parametrize(("patterns", "options", "text"), WRONG_ADDITIONS)
def test_what_cannot_be_added_changes_nothing(patterns, options, text):
    store, untouched = full_memory(generator(6)), full_memory(generator(6))
    with pytest.raises(HopfieldError, match=text):
        store.add(patterns, **options)
    same(store, untouched)


@pytest.mark.parametrize("name", ["values", "bias"])
def test_what_the_memory_does_not_have_cannot_be_added(name):
    store = memory(generator(7))
    with pytest.raises(HopfieldError, match=f"the memory has no {name}, but {name} came with the new patterns"):
        store.add(torch.zeros(2, 4), **{name: FULL[name]})
    assert len(store) == 6


# ------------------------------------------------------------------------------------------------------------- removing


@pytest.mark.parametrize(
    ("indices", "left"),
    [
        (0, [1, 2, 3, 4, 5]),
        (-1, [0, 1, 2, 3, 4]),
        ([], [0, 1, 2, 3, 4, 5]),
        ([1, 1, -5], [0, 2, 3, 4, 5]),
        (range(2, 5), [0, 1, 5]),
        ({3, 5}, [0, 1, 2, 4]),
        ((i for i in (0, 2)), [1, 3, 4, 5]),
        (torch.tensor(2), [0, 1, 3, 4, 5]),
        (torch.tensor([4, 0], dtype=torch.int32), [1, 2, 3, 5]),
        (torch.arange(6), []),
        (torch.tensor([1, 2]).numpy(), [0, 3, 4, 5]),
        (torch.tensor([], dtype=torch.int64), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_removing(indices, left):
    store, before = full_memory(generator(8)), full_memory(generator(8))
    store.remove(indices)
    assert len(store) == len(left)
    for kept, all_of_it in zip(contents(store), contents(before), strict=True):
        assert torch.equal(kept, all_of_it[left])


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        (6, "index 6 is outside the memory of 6 patterns"),
        ([0, -7], "index -7 is outside the memory of 6 patterns"),
        (torch.tensor(9), "index 9 is outside the memory of 6 patterns"),
        (1.5, r"remove needs integer indices, got torch.float32 of shape \(\)"),
        ([0.0], r"remove needs integer indices, got torch.float32 of shape \(1,\)"),
        (
            torch.ones(6, dtype=torch.bool),
            r"got torch.bool of shape \(6,\); for a mask use mask.nonzero\(\)",
        ),
        (True, "remove needs integer indices, got torch.bool"),
        ([[0], [1]], r"remove needs integer indices, got torch.int64 of shape \(2, 1\)"),
        ("first", "remove needs integer indices, got 'first'"),
        (["first"], r"remove needs integer indices, got \['first'\]"),
        (None, "remove needs integer indices, got None"),
        (torch.zeros(0), r"remove needs integer indices, got torch.float32 of shape \(0,\)"),
    ],
)
def test_what_cannot_be_removed_changes_nothing(indices, text):
    store, untouched = full_memory(generator(9)), full_memory(generator(9))
    with pytest.raises(HopfieldError, match=text):
        store.remove(indices)
    same(store, untouched)


def test_a_removed_pattern_was_never_there():
    g = generator(10)
    store, query = full_memory(g), normal(g, 3, 4)
    without = AssociativeMemory(store.patterns[1:], values=store.values[1:], bias=store.bias[1:], beta=1.5)
    store.remove(0)
    close(store.retrieve(query).values, without.retrieve(query).values)
    close(store.energy(query), without.energy(query))


# --------------------------------------------------------------------------------------------------------------- errors

X = torch.zeros(3, 2)
WITH_NAN = torch.tensor([[0.0, 0.0], [0.0, 0.0], [NAN, 0.0]])


@pytest.mark.parametrize(
    ("patterns", "options", "text"),
    [
        ([[0.0]], {}, r"patterns must be a tensor \(N, size\), got list; use torch.as_tensor"),
        (X[0], {}, r"patterns must be of shape \(N, size\), one row per pattern; got \(2,\)"),
        (X[None], {}, r"patterns must be of shape \(N, size\), one row per pattern; got \(1, 3, 2\)"),
        (X.long(), {}, "patterns must be of a floating-point dtype, got torch.int64; use patterns.float"),
        (
            WITH_NAN,
            {},
            "patterns must be finite; 1 of 3 rows have NaN or infinity, the first at index 2; drop or repair",
        ),
        (X - INF, {}, "patterns must be finite; 3 of 3 rows have NaN or infinity, the first at index 0"),
        (X + 1e20, {}, "patterns are too large: their squared norms overflow torch.float32; scale them down"),
        (X.to(torch.float8_e4m3fn), {}, "patterns must be of a floating-point dtype, got torch.float8_e4m3fn"),
        (X, {"bias": torch.zeros(3).long()}, "bias must be of a floating-point dtype, got torch.int64; use bias.float"),
        (X, {"values": X[:2]}, r"values must be of shape \(3, size\), one row per pattern; got \(2, 2\)"),
        (X, {"values": X[:, 0]}, r"values must be of shape \(3, size\), one row per pattern; got \(3,\)"),
        (X, {"values": X.long()}, "values must be of a floating-point dtype, got torch.int64; use values.float"),
        (X, {"values": WITH_NAN}, "values must be finite; 1 of 3 rows"),
        (X, {"bias": torch.zeros(2)}, r"bias must be a tensor of shape \(3,\), one per pattern; got \(2,\)"),
        (X, {"bias": X}, r"bias must be a tensor of shape \(3,\), one per pattern; got \(3, 2\)"),
        (X, {"bias": 0.0}, r"bias must be a tensor of shape \(3,\), one per pattern; got float"),
        (X, {"bias": WITH_NAN[:, 0]}, "bias must be finite; to leave a pattern out, remove it"),
        (X, {"beta": 0.0}, "beta must be a finite number above 0 or a tensor of such, got 0.0"),
        (X, {"beta": torch.tensor(-1.0)}, "beta must be finite and above 0 everywhere, got a tensor with -1.0"),
        (
            X,
            {"beta": torch.ones(3, 1)},
            r"one beta, got a tensor of shape \(3, 1\); for one per query use hopfield.ret",
        ),
        (X, {"separation": "hard"}, "unknown separation 'hard'; expected one of softmax"),
    ],
)
def test_errors_of_construction(patterns, options, text):
    with pytest.raises(HopfieldError, match=text):
        AssociativeMemory(patterns, **options)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ([0.0, 0.0], r"query must be a tensor \(\*batch, d\), got list; use torch.as_tensor"),
        (torch.zeros(()), r"query must be \(\*batch, 2\) to match the stored patterns, got shape \(\)"),
        (torch.zeros(2, 3), r"query must be \(\*batch, 2\) to match the stored patterns, got shape \(2, 3\)"),
        (torch.tensor([0.0, NAN]), r"query has entries that are not finite \(NaN or infinity\); replace them first"),
        (torch.tensor([0.0, INF]), "query has entries that are not finite"),
        (
            torch.tensor([0.0, 1e300], dtype=torch.float64),
            "if they are only too large for torch.float32, take a .* wider dtype",
        ),
    ],
)
def test_errors_of_queries(query, text):
    store = AssociativeMemory(X)
    for function in (store.retrieve, store.energy):
        with pytest.raises(HopfieldError, match=text):
            function(query)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (torch.ones(4, dtype=torch.bool), r"= \(2, 3\), True for .* take part; got torch.bool of shape \(4,\)"),
        (torch.ones(3, 3, dtype=torch.bool), r"broadcast to \(\*batch, N\) = \(2, 3\), .* of shape \(3, 3\)"),
        (torch.ones(1, 2, 3, dtype=torch.bool), r"broadcast to \(\*batch, N\) = \(2, 3\), .* of shape \(1, 2, 3\)"),
        (torch.tensor(True), r"mask must be bool and broadcast to .* got torch.bool of shape \(\)"),
        (torch.ones(3), r"mask must be bool and broadcast to .* got torch.float32 of shape \(3,\)"),
        ([True, False, True], "mask must be a tensor .* got list"),
    ],
)
def test_errors_of_masks(mask, text):
    with pytest.raises(HopfieldError, match=text):
        AssociativeMemory(X).retrieve(torch.zeros(2, 2), mask=mask)


def test_errors_of_the_core_come_through():
    with pytest.raises(HopfieldError, match="steps must be an integer of at least 1, got 0"):
        AssociativeMemory(X).retrieve(X, steps=0)
