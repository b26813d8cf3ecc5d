"""Products with rows at indices, and sums over them, are those of the gathered rows."""

import pytest
import torch

from hopfield.memory import rows as module
from hopfield.memory.rows import TensorRows
from tests.core.catalogue import examples, generator, normal


def close(found, wanted):
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["whole", "with gaps", "transposed"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("other", [torch.float32, torch.float64], ids=str)
@examples(20)
def test_products_and_sums(kind, dtype, other, seed):
    g = generator(seed)
    tiles, q, n, width, count = (int(torch.randint(1, most, (), generator=g)) for most in (6, 5, 140, 9, 50))
    shape = {"whole": (count, width), "with gaps": (count, width + 3), "transposed": (width, count)}[kind]
    tensor = normal(g, *shape).to(dtype)
    tensor = tensor.mT if kind == "transposed" else tensor[:, :width]
    which = torch.randint(count, (tiles, n), generator=g)
    gathered = tensor.double()[which]
    states, weights = normal(g, tiles, q, width).to(other), torch.rand(tiles, q, n, generator=g).to(other)
    with pytest.MonkeyPatch.context() as patch:
        if seed % 2:
            patch.setattr(module, "_ENTRIES", 2 * n * width)
        products, sums = TensorRows(tensor).products(states, which), TensorRows(tensor).sums(weights, which)
    assert products.dtype == sums.dtype == other
    close(products, states.double() @ gathered.mT)
    close(sums, weights.double() @ gathered)


def test_of_no_rows_and_no_tiles():
    none = torch.zeros(0, 4, dtype=torch.int64)
    for rows in (TensorRows(torch.zeros(0, 3)), TensorRows(torch.ones(5, 3))):
        assert rows.products(torch.zeros(0, 2, 3), none).shape == (0, 2, 4)
        assert rows.sums(torch.zeros(0, 2, 4), none).shape == (0, 2, 3)
    # padding
    padded = torch.zeros(2, 4, dtype=torch.int64)
    assert not TensorRows(torch.zeros(0, 3)).products(torch.ones(2, 1, 3), padded).any()
    assert not TensorRows(torch.zeros(0, 3)).sums(torch.ones(2, 1, 4), padded).any()
