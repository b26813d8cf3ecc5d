"""The inequalities behind the error bounds."""

import math

import pytest
import torch

from hopfield.memory import bounds
from hopfield.separation import Entmax, Normmax, Sparsemax, TopK
from tests.core.catalogue import examples, generator, normal


@examples(60)
def test_a_mean_moves_no_more_than_its_bound(seed):
    g = generator(seed)
    count, size = 30, 4
    rows = normal(g, count, size)
    scores = 3 * normal(g, count)
    rough, fine = (float(10 ** (4 * torch.rand((), generator=g) - 3)) for _ in range(2))
    fine = min(fine, rough)
    light = torch.rand(count, generator=g) < 0.5
    error = torch.where(light, rough, fine) * torch.where(torch.rand(count, generator=g) < 0.5, 1.0, -1.0)
    p, q = torch.softmax(scores, -1), torch.softmax(scores + error, -1)
    moved = float((q @ rows - p @ rows).norm())
    mean, norm = (p @ rows).norm(), float(rows.norm(dim=-1).max())
    scatter = (p * (rows - p @ rows).square().sum(-1))[light].sum().reshape(1)
    as_tensor = torch.tensor([rough]).double(), torch.tensor([fine]).double()
    bound = bounds.mean_error(*as_tensor, p[light].sum().reshape(1), scatter, mean.reshape(1), norm)
    assert moved <= float(bound) + 1e-12
    assert float(bound) <= 2 * norm
    one = torch.ones(1).double()
    alike = bounds.mean_error(as_tensor[0], as_tensor[0], one, one * norm**2, mean[None], norm)
    assert float(bound) <= float(alike) + 1e-12


SPARSE = [Sparsemax(), Entmax(1.2), Entmax(), Entmax(3), Normmax(), Normmax(1.5), Normmax(4)]


@pytest.mark.parametrize("separation", SPARSE, ids=repr)
@examples(40)
def test_sparse_weights_change_no_more_than_their_bound(separation, seed):
    g = generator(seed)
    scores = normal(g, 20) * float(10 ** (torch.rand((), generator=g)))
    error = float(10 ** (4 * torch.rand((), generator=g) - 5))
    other = scores + error * (2 * torch.rand(20, generator=g).double() - 1)
    one, two = separation.weights(scores), separation.weights(other)
    support = torch.tensor([int(((one > 0) | (two > 0)).sum())])
    bound = bounds.sparse_change(separation, torch.tensor([error]).double(), support)
    assert float((one - two).abs().sum()) <= float(bound) + 1e-9


def test_no_bound_is_made_up():
    assert bounds.sparse_change(object(), torch.ones(1), torch.ones(1)).isinf().all()
    assert float(bounds.sparse_change(TopK(2), torch.zeros(1), torch.ones(1))) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@examples(20)
def test_sums_of_products_are_off_by_no_more_than_their_bound(dtype, seed):
    g = generator(seed)
    count = int(torch.randint(2, 500, (), generator=g))
    one, two = normal(g, count), normal(g, count)
    exact = math.fsum((one.to(dtype).double() * two.to(dtype).double()).tolist()) if dtype == torch.float32 else None
    if exact is not None:
        found = float(one.to(dtype) @ two.to(dtype))
        size = float(one.abs() @ two.abs())
        assert abs(found - exact) <= bounds.accumulation(count, dtype) * size * (1 + 1e-6)
    assert bounds.accumulation(count, dtype) == pytest.approx(count * bounds.unit(dtype), rel=1e-3)


def sizes_of_sums(products, g):
    """What all sums in some order, of some order of terms, are in size, together."""
    parts, total = list(products[torch.randperm(len(products), generator=g)]), 0.0
    chain = bool(torch.rand((), generator=g) < 0.5)
    while len(parts) > 1:
        at = 0 if chain else int(torch.randint(0, len(parts) - 1, (), generator=g))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        total += abs(float(parts[at]))
    return total


@pytest.mark.parametrize("entries", ["even", "normal", "few"])
@examples(30)
def test_whatever_order_products_are_summed_in_they_count_as_no_more_terms(entries, seed):
    g = generator(seed)
    size = int(torch.randint(1, 40, (), generator=g))
    one = {"even": torch.ones(size).double(), "normal": normal(g, size), "few": normal(g, size) ** 9}[entries]
    terms = float(bounds.product_terms(one[None]))
    assert 1 <= terms <= size
    for two in (normal(g, size), one, normal(g, size).sign() * one, normal(g, size) ** 5):
        products = one * two
        rounded = sizes_of_sums(products, g) + float(products.abs().sum())
        assert rounded <= terms * float(one.norm() * two.norm()) * (1 + 1e-12)


def sizes_of_sums_in_parts(products, parts, g):
    """The same of sums in parts that are added one behind the other."""
    pieces = products.chunk(parts)
    sums = torch.stack([piece.sum() for piece in pieces]).cumsum(0)
    return sum(sizes_of_sums(piece, g) for piece in pieces) + float(sums[1:].abs().sum())


@pytest.mark.parametrize("entries", ["even", "normal", "few"])
@examples(30)
def test_products_in_parts_count_as_no_more_terms(entries, seed):
    g = generator(seed)
    size, parts = int(torch.randint(8, 60, (), generator=g)), int(torch.randint(2, 6, (), generator=g))
    one = {"even": torch.ones(size).double(), "normal": normal(g, size), "few": normal(g, size) ** 9}[entries]
    terms = float(bounds.product_terms(one[None], parts))
    assert 1 <= terms <= size
    for two in (normal(g, size), one, normal(g, size).sign() * one, normal(g, size) ** 5):
        products = one * two
        rounded = sizes_of_sums_in_parts(products, parts, g) + float(products.abs().sum())
        assert rounded <= terms * float(one.norm() * two.norm()) * (1 + 1e-12)


def test_products_in_parts_count_as_fewer_terms():
    even = torch.ones(1, 512)
    assert float(bounds.product_terms(even, 8)) < float(bounds.product_terms(even)) / 6
    assert float(bounds.product_terms(torch.eye(64)[:1], 4)) == 16 + 3
    assert float(bounds.product_terms(torch.full((1, 64), 1e-200, dtype=torch.float64), 4)) < 16 + 3
    assert float(bounds.product_terms(torch.zeros(1, 64), 4)) == 64


def test_sums_of_even_entries_count_least_and_those_of_one_entry_most():
    assert float(bounds.product_terms(torch.ones(1, 64))) < 0.7 * 64  # two thirds, the integral of a root
    assert float(bounds.product_terms(torch.eye(64)[:1])) == 64
    # neither what underflows nor nothing at all
    assert float(bounds.product_terms(torch.full((1, 9), 1e-200, dtype=torch.float64))) < 8
    assert float(bounds.product_terms(torch.zeros(1, 9))) == 9


def test_more_terms_than_the_data_type_can_count_have_no_bound():
    assert bounds.accumulation(1 << 12, torch.float16) == math.inf
