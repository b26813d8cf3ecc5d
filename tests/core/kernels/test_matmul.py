"""Matrix products are the same on whichever library."""

import pytest
import torch

from hopfield.core.kernels import matmul
from hopfield.core.kernels.matmul import mix, similarities
from tests.core.catalogue import generator, normal

# on both sides of the size from which oneDNN is asked, contiguous and not, one memory and several
SHAPES = [(1, 3, 5, 4), (2, 3, 5, 4), (1, 64, 300, 64), (1, 1, 20000, 64), (1, 300, 300, 12), (2, 64, 300, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_those_of_float64(shape, dtype):
    batch, rows, columns, size = shape
    g = generator(0)
    states, patterns, row = normal(g, batch, rows, size), normal(g, batch, columns, size), normal(g, columns)
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    q, x, b = states.to(dtype), patterns.to(dtype), row.to(dtype)
    exact = states @ patterns.mT
    torch.testing.assert_close(similarities(q, x).double(), exact, **tolerance)
    torch.testing.assert_close(similarities(q, x, b).double(), exact + row, **tolerance)
    torch.testing.assert_close(similarities(q, x.mT.contiguous().mT).double(), exact, **tolerance)
    weights = torch.softmax(exact, -1)
    torch.testing.assert_close(mix(weights.to(dtype), x).double(), weights @ patterns, **tolerance)


def test_without_onednn_the_products_are_the_same(monkeypatch):
    g = generator(1)
    states, patterns = normal(g, 1, 64, 64).float(), normal(g, 1, 2000, 64).float()
    here = similarities(states, patterns), mix(similarities(states, patterns), patterns)
    monkeypatch.setattr(matmul, "_onednn", lambda: False)
    there = similarities(states, patterns), mix(similarities(states, patterns), patterns)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-3)
