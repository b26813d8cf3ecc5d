"""How few weights carry a mass: searched for, and sorted."""

from unittest import mock

import pytest
import torch

from hopfield.lens import mass as mass_
from hopfield.lens.mass import fewest
from hopfield.lens.workspace import Workspace
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform, yes


def some_rows(g, rows=200):
    """Weights (n, N) that sum to 1, from equal to one for all, some equal, some 0; and how many count."""
    size = integer(g, 1, 70)
    scores = normal(g, rows, size) * 10 ** uniform(g, -3, 1.5)
    if bool(yes(g, chance=0.4)):
        scores = scores.round()
    counted = torch.rand(rows, size, generator=g) < one_of(g, 1.0, 1.0, 0.5)
    counted[:, :1] |= ~counted.any(-1, keepdim=True)
    weights = scores.masked_fill(~counted, -torch.inf).softmax(-1)
    return weights, counted.sum(-1, keepdim=True)


def entropy_of(weights):
    return torch.special.entr(weights).sum(-1, keepdim=True)


@examples(150)
def test_k_weights_carry_the_mass_and_one_less_does_not(seed):
    g = generator(seed)
    weights, attended = some_rows(g)
    dtype = one_of(g, torch.float64, torch.float32)
    weights = weights.to(dtype)
    mass = one_of(g, 0.9, 0.9, uniform(g, 0.01, 1.0), 1.0)
    with mock.patch.object(mass_, "_FEW", one_of(g, 0, 0, 1 << 19)):
        k = fewest(weights, mass, entropy_of(weights), attended, Workspace())
    assert k.shape == attended.shape
    assert (k >= 1).all()
    assert (k <= attended).all()
    carried = weights.double().sort(-1, descending=True).values.cumsum(-1)
    carried = torch.cat([torch.zeros_like(carried[:, :1]), carried], -1)
    rounding = 40 * torch.finfo(dtype).eps
    assert (carried.gather(-1, k.long()) >= mass - rounding).all()
    assert (carried.gather(-1, k.long() - 1) <= mass + rounding).all()


@pytest.mark.parametrize("width", [0.01, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("mass", [0.5, 0.9, 0.99])
def test_the_search_leaves_few_rows_to_be_sorted(width, mass):
    weights = (width * torch.randn(2000, 500, generator=generator(0))).softmax(-1)
    left = []

    def sorted_out(rows, *rest):
        left.append(len(rows))
        return mass_sorted_out(rows, *rest)

    mass_sorted_out = mass_._sorted_out
    attended = torch.full((2000, 1), 500)
    with mock.patch.object(mass_, "_sorted_out", sorted_out):
        found = fewest(weights, mass, entropy_of(weights), attended, Workspace())
        with mock.patch.object(mass_, "_FEW", 1 << 30):
            expected = fewest(weights, mass, entropy_of(weights), attended, Workspace())
    assert torch.equal(found, expected)
    assert left[0] <= 0.1 * 2000
    assert left[1] == 2000


def test_rows_of_nothing_do_no_harm():
    weights = torch.randn(40, 60, generator=generator(0)).softmax(-1)
    attended = torch.full((40, 1), 60)
    alone = fewest(weights, 0.9, entropy_of(weights), attended, Workspace())
    weights[::3] = torch.nan
    with mock.patch.object(mass_, "_FEW", 0):
        found = fewest(weights, 0.9, entropy_of(weights), attended, Workspace())
    kept = torch.arange(40) % 3 != 0
    assert torch.equal(found[kept], alone[kept])


@pytest.mark.parametrize("few", [0, 1 << 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_mass(dtype, few):
    weights = torch.randn(50, 3000, generator=generator(0), dtype=dtype).mul(3).softmax(-1)
    attended = torch.full((50, 1), 3000)
    with mock.patch.object(mass_, "_FEW", few):
        for tiny in (1e-300, 1e-9):
            assert (fewest(weights, tiny, entropy_of(weights), attended, Workspace()) == 1).all()
        assert (fewest(weights, 1.0, entropy_of(weights), attended, Workspace()) == 3000).all()
        nearly = fewest(weights, 1 - 1e-4, entropy_of(weights), attended, Workspace())
    exact = fewest(weights.double(), 1 - 1e-4, entropy_of(weights), attended, Workspace())
    assert ((nearly - exact).abs() <= 1).all()
