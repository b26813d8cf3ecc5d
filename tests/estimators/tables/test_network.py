import pytest
import torch

from hopfield.estimators.stack import Stack
from hopfield.estimators.tables.network import RowEmbedding, vote, weights
from hopfield.separation import TopK

HOW = [
    {"similarity": similarity, "separation": separation, "steps": steps}
    for similarity in ("euclidean", "dot")
    for separation in ("softmax", "sparsemax", TopK(3))
    for steps in (1, 3)
]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embedding(**different):
    torch.manual_seed(0)
    options = {"width": 4, "hidden": 6, "column_dropout": 0.0, "dropout": 0.0, "noise": 0.0} | different
    return RowEmbedding(torch.tensor([0, 1, 1, 2]), 3, active=4, **options)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("size", [1, 3, 9])
def test_votes_are_the_means_under_the_weights(how, size):
    states, patterns, values = drawn(2, 5, 4), drawn(2, 7, 4, seed=1), drawn(2, 7, size, seed=2)
    found = vote(states, patterns, values, mask=None, **how)
    torch.testing.assert_close(found, weights(states, patterns, **how) @ values, rtol=1e-9, atol=1e-9)


def test_weights_fall_with_the_squared_distance():
    states, patterns = drawn(1, 5, 4), drawn(1, 7, 4, seed=1)
    found = weights(states, patterns, similarity="euclidean", separation="softmax", steps=1)
    torch.testing.assert_close(found, torch.softmax(-0.5 * torch.cdist(states, patterns).square(), -1))


@pytest.mark.parametrize("how", HOW)
def test_a_masked_pattern_is_a_deleted_pattern(how):
    states, patterns, values = drawn(2, 5, 4), drawn(2, 7, 4, seed=1), drawn(2, 7, 3, seed=2)
    mask = torch.arange(7) < 5
    found = vote(states, patterns, values, mask=mask.expand(2, 1, 7), **how)
    torch.testing.assert_close(found, vote(states, patterns[:, :5], values[:, :5], mask=None, **how))


def test_the_formula_of_the_embedding():
    network, rows = embedding().eval(), torch.randn(5, 4)
    inner = rows @ network.inner + network.inner_bias
    wanted = rows @ network.linear + inner * torch.sigmoid(inner) @ network.outer
    torch.testing.assert_close(network(rows), wanted * network.log_beta.exp().sqrt())


def test_encoded_columns_of_a_column_drop_out_together_and_for_all_rows():
    network = embedding(column_dropout=0.5, hidden=1).train()
    with torch.no_grad():
        network.outer.zero_()
        network.log_beta.zero_()
        network.linear.copy_(torch.eye(4))
    seen = torch.stack([network(torch.ones(3, 4)) for _ in range(64)])
    assert (seen == seen[:, :1]).all()
    assert (seen[..., 1] == seen[..., 2]).all()
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    assert len(seen[:, 0].unique(dim=0)) == 8  # columns drop out one by one


def test_nothing_is_random_in_evaluation():
    network = embedding(column_dropout=0.5, dropout=0.5, noise=1.0).eval()
    rows = torch.randn(5, 4)
    assert torch.equal(network(rows), network(rows))


def test_networks_of_a_stack_have_rates_of_their_own():
    stack = Stack([embedding(noise=noise) for noise in (0.0, 3.0)]).train()
    rows = torch.randn(5, 4)
    quiet, loud = (stack(rows)[i] for i in range(2))
    torch.testing.assert_close(quiet, stack.member(0).eval()(rows))
    assert (loud - stack.member(1).eval()(rows)).abs().max() > 0.1


def test_prototypes_come_first_and_are_learnt():
    start = torch.randn(2, 4)
    network = embedding(prototypes=start).eval()
    rows = torch.randn(5, 4)
    torch.testing.assert_close(network(rows), embedding().eval()(torch.cat([start, rows])))
    network(rows).sum().backward()
    assert network.prototypes.grad.abs().sum() > 0
