"""Matrix products on whichever library: the same numbers as the plain product."""

import itertools
import math

import pytest
import torch

from hopfield.core.kernels import matmul
from hopfield.core.kernels.matmul import _fits, mix, similarities
from tests.core.catalogue import generator, normal

# below and above the number of multiplications from which another library is used
SHAPES = [(1, 5, 7, 3), (3, 5, 7, 3), (1, 1, 4096, 300), (1, 130, 140, 64), (2, 130, 140, 64), (1, 1024, 1, 1025)]


@pytest.fixture(params=[None, False], ids=["machine", "plain"])
def library(request, monkeypatch):
    """What this machine has, and a machine without."""
    if request.param is not None:
        monkeypatch.setattr(matmul, "_onednn", lambda: request.param)


def like(actual, expected, *, atol=1e-4):
    torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-5, atol=atol)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_similarities(library, shape, dtype, parts):
    batch, rows, columns, width = shape
    g = generator(0)
    states, patterns = normal(g, batch, rows, width).to(dtype), normal(g, batch, columns, width).to(dtype)
    bias, memory = normal(g, columns).to(dtype), torch.empty(batch, rows, columns, dtype=dtype)
    like(similarities(states, patterns, parts=parts), states @ patterns.mT)
    like(similarities(states, patterns, bias, parts=parts), states @ patterns.mT + bias)
    like(similarities(states, patterns, bias, parts=parts, out=memory), states @ patterns.mT + bias)
    assert similarities(states, patterns, parts=parts).dtype == dtype


@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_similarities_in_memory_that_is_there(library, level, shape, monkeypatch):
    monkeypatch.setattr(matmul, "_level", lambda: level)
    batch, rows, columns, width = shape
    g = generator(3)
    states, patterns = normal(g, batch, rows, width).float(), normal(g, batch, columns, width).float()
    bias = normal(g, columns).float()
    memory = torch.full((batch, rows, columns), math.nan)
    like(similarities(states, patterns, out=memory), states @ patterns.mT)
    found = similarities(states, patterns, bias, out=memory)
    like(found, states @ patterns.mT + bias)
    if level or not matmul._fits(states, patterns, rows * columns * width):
        assert found.data_ptr() == memory.data_ptr()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_mix(library, shape, dtype):
    batch, rows, columns, width = shape
    g = generator(1)
    weights, values = normal(g, batch, rows, columns).to(dtype), normal(g, batch, columns, width).to(dtype)
    like(mix(weights, values), weights @ values, atol=2e-5 * columns**0.5)
    assert mix(weights, values).dtype == dtype


def test_pieces_of_larger_tensors(library):
    g = generator(2)
    states, patterns = normal(g, 1, 200, 64).float(), normal(g, 1, 600, 64).float()
    bias = normal(g, 600).float()
    for rows, block in itertools.product((slice(0, 200), slice(20, 150)), (slice(0, 600), slice(100, 433))):
        part, some = states[:, rows], patterns[:, block]
        like(similarities(part, some, bias[block]), part @ some.mT + bias[block])
        weights = torch.softmax(part @ some.mT, -1)
        like(mix(weights, some), weights @ some)
    turned = patterns.mT.contiguous().mT
    like(similarities(states, turned), states @ patterns.mT)
    like(mix(torch.softmax(states @ turned.mT, -1), turned), torch.softmax(states @ patterns.mT, -1) @ patterns)
    upright = states.mT.contiguous().mT
    like(similarities(upright, patterns), states @ patterns.mT)


def test_inputs_are_left_as_they_are(library):
    g = generator(3)
    states, patterns, bias = normal(g, 1, 200, 64).float(), normal(g, 1, 600, 64).float(), normal(g, 600).float()
    before = [tensor.clone() for tensor in (states, patterns, bias)]
    similarities(states, patterns, bias).exp2_()
    assert all(torch.equal(one, other) for one, other in zip(before, (states, patterns, bias), strict=True))


def test_the_other_library_is_used_for_large_contiguous_float32_only(monkeypatch):
    monkeypatch.setattr(matmul, "_onednn", lambda: True)
    states, patterns = torch.zeros(1, 4, 8), torch.zeros(1, 5, 8)
    large = matmul._WORTHWHILE
    assert _fits(states, patterns, large)
    assert not _fits(states, patterns, large - 1)
    assert not _fits(states.double(), patterns.double(), large)
    assert not _fits(states, patterns.double(), large)
    assert not _fits(states.mT, patterns, large)
    assert not _fits(states.to("meta"), patterns.to("meta"), large)
    monkeypatch.setattr(matmul, "_onednn", lambda: False)
    assert not _fits(states, patterns, large)
