"""Norms of the softmax Jacobian from weights alone, against the matrices."""

import pytest
import torch

from hopfield.lens.spectrum import jacobian_norms
from hopfield.lens.workspace import Workspace
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform


def norms(weights):
    heaviest = weights.amax(-1, keepdim=True)
    return jacobian_norms(weights.clone(), heaviest, Workspace()).squeeze(-1)


def expected(weights):
    """(2, n), of the matrices."""
    p = weights.double()
    jacobian = torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)
    return torch.stack([torch.linalg.matrix_norm(jacobian), torch.linalg.eigvalsh(jacobian)[..., -1]])


def some_weights(g):
    """From nearly equal to far apart, the heaviest often several times."""
    size = integer(g, 1, 40)
    scores = normal(g, 30, size) * 10 ** uniform(g, -4, 1)
    top = scores.amax(-1, keepdim=True)
    for _ in range(integer(g, 0, 3)):  # twins of the heaviest, or of the second
        scores[torch.arange(30), torch.randint(size, (30,), generator=g)] = (top - one_of(g, 0.0, 0.3, 1e-7))[:, 0]
    return scores.softmax(-1)


@examples(150)
def test_norms_are_those_of_the_matrix(seed):
    weights = some_weights(generator(seed))
    torch.testing.assert_close(norms(weights), expected(weights), rtol=1e-6, atol=1e-13)


@examples(60)
def test_in_single_precision_too(seed):
    weights = some_weights(generator(seed)).float()
    weights /= weights.sum(-1, keepdim=True)
    torch.testing.assert_close(norms(weights).double(), expected(weights), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 500])
def test_equal_weights_and_one_that_has_all(dtype, size):
    equal = torch.full((1, size), 1 / size, dtype=dtype)
    frobenius, spectral = norms(equal)[:, 0].tolist()
    assert frobenius == pytest.approx((size - 1) ** 0.5 / size, rel=1e-5, abs=1e-7)
    assert spectral == pytest.approx(0.0 if size == 1 else 1 / size, rel=1e-5, abs=1e-7)
    one = torch.zeros(1, size, dtype=dtype)
    one[0, size // 2] = 1
    assert norms(one)[:, 0].tolist() == [0.0, 0.0]


def test_rows_that_settle_late_are_as_exact():
    """Rows leave the work when they are done; those that stay are the hard ones."""
    g = generator(0)
    easy, hard = torch.softmax(normal(g, 300, 60), -1), torch.softmax(1e-3 * normal(g, 7, 60), -1)
    weights = torch.cat([easy, hard])[torch.randperm(307, generator=g)]
    torch.testing.assert_close(norms(weights), expected(weights), rtol=1e-7, atol=1e-13)
