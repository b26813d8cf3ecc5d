"""Batches of bags and samples of instances."""

import pytest
import torch

from hopfield.bags import Bags
from hopfield.estimators.batches import pieces, sample, weighted_loss
from tests.core.catalogue import examples, generator, integer, normal


def some_bags(sizes):
    offsets = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    return Bags(torch.arange(sum(sizes)), offsets)


@examples(30)
def test_pieces_hold_every_bag_once_and_no_more_instances_than_asked(seed):
    g = generator(seed)
    bags = some_bags([integer(g, 0, 9) for _ in range(integer(g, 1, 12))])
    order, size = torch.randperm(len(bags), generator=g), integer(g, 1, 20)
    parts = list(pieces(bags, size, order))
    assert torch.cat(parts).equal(order)
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        total = int(bags.sizes[part].clamp_min(1).sum())
        assert total <= size or len(part) == 1
        if following is not None:  # as many as fit
            assert total + max(1, int(bags.sizes[following[0]])) > size


@examples(30)
def test_a_sample_is_of_different_instances_bag_by_bag(seed):
    g = generator(seed)
    bags = some_bags([integer(g, 0, 9) for _ in range(integer(g, 1, 12))])
    dropout, members = integer(g, 1, 9) / 10, integer(g, 1, 3)
    offsets, rows = sample(bags, members, dropout)
    if not bags.total:
        assert offsets is None
        assert rows is None
        return
    assert rows.shape == (members, int(offsets[-1]))
    segments = bags.segments()
    for own in rows:
        assert len(own.unique()) == len(own)
        assert segments[own].equal(torch.repeat_interleave(torch.arange(len(bags)), offsets.diff()))
    expected = bags.sizes * (1 - dropout)
    assert ((offsets.diff() - expected).abs() < 1).logical_or(offsets.diff() == 1).all()
    assert (offsets.diff() >= bags.sizes.clamp_max(1)).all()


def test_every_instance_is_sampled_as_often_as_any_other():
    bags = some_bags([5, 3, 1, 0, 8])
    counts = torch.zeros(bags.total)
    for _ in range(400):
        _, rows = sample(bags, 3, 0.4)
        counts += torch.bincount(rows.flatten(), minlength=bags.total)
    share = counts / 1200
    assert share[8] == 1  # alone in its bag
    assert ((share - 0.6).abs() < 0.06)[torch.arange(17) != 8].all()
    assert sample(bags, 3, 0.0) == (None, None)


def test_members_see_different_instances():
    _, rows = sample(some_bags([50]), 2, 0.5)
    assert not rows[0].sort().values.equal(rows[1].sort().values)


@pytest.mark.parametrize("classes", [1, 3])
def test_the_loss_is_a_weighted_sum_of_cross_entropies(classes):
    g = generator(1)
    logits, weights = normal(g, 2, 5, classes), torch.rand(2, 5, generator=g)
    targets = torch.tensor([0, 1, 1, 0, 2 if classes == 3 else 1])
    full = torch.cat([torch.zeros_like(logits), logits], -1) if classes == 1 else logits
    expected = -(torch.log_softmax(full, -1)[:, torch.arange(5), targets] * weights).sum(1)
    torch.testing.assert_close(weighted_loss(logits, targets, weights, 0.0), expected)
    spread = -(torch.log_softmax(full, -1).mean(-1) * weights).sum(1)  # the labels are any class alike
    for share in (0.1, 0.5):
        smooth = weighted_loss(logits, targets, weights, share)
        torch.testing.assert_close(smooth, (1 - share) * expected + share * spread)
