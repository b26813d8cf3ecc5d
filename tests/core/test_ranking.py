"""Which patterns carry the weight: `Retrieval.top` and `Retrieval.support` against whole sorted rows."""

import math
from unittest import mock

import pytest
import torch

from hopfield import association_weights, retrieve
from hopfield.core import ranking
from hopfield.errors import HopfieldError
from tests.core.catalogue import (
    Inputs,
    close,
    computing,
    each_case,
    each_way,
    examples,
    generator,
    integer,
    normal,
    one_of,
    some_inputs,
    sums_to_one,
    uniform,
)


def with_ties(g, x):
    """The same with every pattern a few times over, in numbers whose scores are exact, so that they do tie."""
    again = torch.randint(0, x.patterns.shape[-2], (integer(g, 1, 12),), generator=g)

    def exact(number):
        eighths = (8 * torch.as_tensor(number)).round().double() / 8
        return eighths if isinstance(number, torch.Tensor) else float(eighths)

    def take(tensor):
        return tensor if tensor is None or tensor.dim() == 0 or tensor.shape[-1] == 1 else tensor[..., again]

    bias = None if x.bias is None else take(exact(x.bias))
    beta = exact(x.beta) + 0.125
    return Inputs(exact(x.query), exact(x.patterns)[..., again, :], None, beta, bias, take(x.mask))


def smallest_count(weights, mass):
    """How many of the largest weights carry the share `mass`, up to rounding; 0 for a row without any."""
    row = weights.sort(descending=True).values.tolist()
    total, carried = sum(row), 0.0
    if total == 0:
        return 0
    for count, weight in enumerate(row, 1):
        carried += weight
        if carried >= mass * total * (1 - 1e-14):
            return count
    raise AssertionError("all of them carry everything")


@each_case
@examples(10)
def test_top_is_the_largest_of_all_weights(separation, way, seed):
    g = generator(seed)
    x = with_ties(g, some_inputs(g, own_values=False))
    k = integer(g, 1, x.patterns.shape[-2])
    with computing(way):
        found = retrieve(x.query, x.patterns, separation=separation, steps=1, **x.options)
        weights, indices = found.top(k)
    every = association_weights(x.query, x.patterns, separation=separation, **x.options)
    every = every.expand(*found.steps.shape, every.shape[-1])
    close(weights, every.topk(k, -1).values)
    close(every.gather(-1, indices), weights)
    assert all(row.unique().numel() == k for row in indices.reshape(-1, k)), "no pattern twice"


@each_case
@examples(10)
def test_support_is_counted_on_sorted_weights(separation, way, seed):
    g = generator(seed)
    x = with_ties(g, some_inputs(g, own_values=False))
    mass = one_of(g, 0.5, 0.9, 1.0, uniform(g, 0.01, 1))
    every = association_weights(x.query, x.patterns, separation=separation, **x.options).flatten(0, -2)
    expected = [smallest_count(row, mass) for row in every]
    for few, entries in ((256, 1 << 24), (2, 1 << 24), (256, 5)):
        with computing(way), mock.patch.multiple(ranking, _FEW=few, _ENTRIES=entries):
            found = retrieve(x.query, x.patterns, separation=separation, steps=1, **x.options)
            counts = found.support(mass)
        assert counts.dtype == torch.int64
        assert counts.shape == found.steps.shape
        assert counts.flatten().tolist() == expected


@each_way
def test_equal_weights_count_as_equal(way):
    patterns = torch.ones(10, 3)
    with computing(way):
        found = retrieve(torch.zeros(2, 3), patterns, steps=1)
        for count in range(1, 11):
            assert found.support(count / 10).tolist() == [count, count]


@pytest.mark.parametrize("separation", ["softmax", "softmax1"])
@pytest.mark.parametrize("count", [300, 5000])
def test_wide_supports(separation, count):
    """More patterns than are looked at first."""
    found = retrieve(torch.zeros(40, 3), torch.ones(count, 3), separation=separation, steps=1)
    for mass in (0.5, 0.9, 1.0):
        assert found.support(mass).tolist() == [round(mass * count)] * 40
    weights, indices = found.top(count)
    assert bool((indices.sort(-1).values == torch.arange(count)).all())
    close(weights, torch.full_like(weights, 1 / (count + (separation == "softmax1"))), 1e3)


@each_case
def test_rows_with_few_or_no_patterns(separation, way):
    g = generator(1)
    mask = torch.zeros(4, 20, dtype=torch.bool)
    mask[0] = True
    mask[1, [3, 17]] = True
    mask[2, 8] = True
    query, patterns = normal(g, 4, 3), normal(g, 20, 3)
    with computing(way):
        found = retrieve(query, patterns, mask=mask, separation=separation, steps=1)
        weights, indices = found.top(5)
        counts = found.support(1.0)
    for row, left in enumerate((20, 2, 1, 0)):
        assert int((weights[row] > 0).sum()) <= left
        assert int(counts[row]) <= left
        assert bool(mask[row, indices[row][weights[row] > 0]].all())
        total = float(weights[row].sum())
        if row in {1, 2} and sums_to_one(separation):
            assert total == pytest.approx(1)
    assert weights[3].tolist() == [0.0] * 5


@each_case
def test_top_of_scores_too_large_for_their_sum(separation, way):
    patterns = torch.tensor([[1e4, 0.0], [1e4, 0.0], [0.0, 1.0], [1.0, 1.0]])
    with computing(way):
        found = retrieve(patterns[:1], patterns, beta=1e6, separation=separation, steps=1)
        weights, indices = found.top(3)
        counts = found.support(0.9)
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0]]))
    assert set(indices[0, :2].tolist()) == {0, 1}
    assert counts.tolist() == [2]


def test_they_look_at_the_last_association():
    g = generator(2)
    query, patterns, values = normal(g, 3, 4), normal(g, 6, 4), normal(g, 6, 2)
    found = retrieve(query, patterns, values, steps=3, trajectory=True)
    before = association_weights(found.trajectory[-2], patterns)
    close(found.top(6)[0], before.sort(-1, descending=True).values)
    close((found.top(6)[0].unsqueeze(-1) * values[found.top(6)[1]]).sum(-2), found.values)
    rest = retrieve(query, patterns)
    close(rest.top(1)[0].squeeze(-1), association_weights(rest.state, patterns).amax(-1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@each_way
def test_half_precision(dtype, way):
    g = generator(3)
    query, patterns = normal(g, 3, 4).to(dtype), normal(g, 30, 4).to(dtype)
    exact = retrieve(query.float(), patterns.float(), steps=1)
    with computing(way):
        found = retrieve(query, patterns, steps=1)
        weights, indices = found.top(4)
        counts = found.support()
    assert weights.dtype == dtype
    assert torch.equal(counts, exact.support()), "counted in float32"
    torch.testing.assert_close(weights.float(), exact.top(4)[0], rtol=torch.finfo(dtype).eps, atol=1e-6)
    if dtype == torch.float16:
        assert torch.equal(indices, exact.top(4)[1])


def test_they_need_no_gradients():
    patterns = normal(generator(4), 5, 3).requires_grad_()
    found = retrieve(torch.zeros(2, 3).double(), patterns, steps=2)
    assert not found.top(2)[0].requires_grad


@pytest.mark.parametrize("k", [0, 6, -1, 1.5, True, "2"])
def test_errors_of_top(k):
    found = retrieve(torch.zeros(2, 3), torch.zeros(5, 3), steps=1)
    with pytest.raises(
        HopfieldError, match=rf"k must be an integer between 1 and the number of patterns, 5; got {k!r}"
    ):
        found.top(k)


def test_a_memory_without_patterns_has_no_top():
    found = retrieve(torch.zeros(2, 3), torch.zeros(0, 3), steps=1)
    with pytest.raises(HopfieldError, match="between 1 and the number of patterns, 0; got 1"):
        found.top(1)
    assert found.support().tolist() == [0, 0]


@pytest.mark.parametrize("mass", [0, -0.5, 1.01, math.nan])
def test_errors_of_support(mass):
    found = retrieve(torch.zeros(2, 3), torch.zeros(5, 3), steps=1)
    with pytest.raises(HopfieldError, match=rf"support\(mass\): mass must lie in \(0, 1\], got {mass}"):
        found.support(mass)
