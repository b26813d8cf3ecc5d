"""A sample of bounded size of a stream."""

import math

import pytest
import torch

from hopfield.lens.sample import Sample
from tests.core.catalogue import examples, generator, integer, one_of


def stream(g, total):
    """Numbers from 0 on, in pieces of any size."""
    start = 0
    while start < total:
        size = min(integer(g, 0, one_of(g, 2, 10, 60)), total - start)
        yield torch.arange(start, start + size).double().unsqueeze(-1).expand(size, 2)
        start += size


@examples(30)
def test_all_are_kept_in_order_while_they_fit(seed):
    g = generator(seed)
    size = integer(g, 1, 80)
    total = integer(g, 0, size)
    sample = Sample(size, generator(seed))
    for items in stream(g, total):
        sample.add(items)
    assert sample.seen == total
    assert sample.items().shape[:1] == (total,)
    if total:
        assert torch.equal(sample.items(), torch.arange(total).double().unsqueeze(-1).expand(total, 2))


@examples(30)
def test_some_are_kept_when_more_come(seed):
    g = generator(seed)
    size, total = integer(g, 1, 20), integer(g, 21, 300)
    sample, again = Sample(size, generator(seed)), Sample(size, generator(seed))
    for items in stream(g, total):
        sample.add(items)
        again.add(items)
        assert sample.items().shape == (min(size, sample.seen), 2)  # may be asked for at any time
        held = sum(len(items) for items in again._items)
        assert held == len(again._keys) <= 2 * size
    kept = sample.items()[:, 0]
    assert len(kept.unique()) == size
    assert kept.min() >= 0
    assert kept.max() < total
    assert torch.equal(kept.sort().values, again.items()[:, 0].sort().values)


@pytest.mark.parametrize(("piece", "runs"), [(1, 100), (7, 400), (100, 1500)])
def test_every_item_has_the_same_chance(piece, runs):
    size, total = 10, 100
    counts, g = torch.zeros(total, dtype=torch.float64), generator(1)
    for _ in range(runs):
        sample = Sample(size, g)
        for start in range(0, total, piece):
            sample.add(torch.arange(start, min(start + piece, total)).double())
        counts[sample.items().long()] += 1
    expected = runs * size / total
    # drawn without putting back: the variance of a count is that of a binomial
    chi2 = ((counts - expected) ** 2).sum() / (expected * (1 - size / total))
    # 99 degrees of freedom; six standard deviations
    assert 99 - 6 * math.sqrt(2 * 99) < chi2 < 99 + 6 * math.sqrt(2 * 99)


def test_items_are_copies_in_float64_on_the_processor():
    sample = Sample(3, generator(0))
    items = torch.ones(2, 2, dtype=torch.float64)
    sample.add(items)
    sample.add(torch.ones(1, 2, dtype=torch.bfloat16))
    items.zero_()
    assert sample.items().dtype == torch.float64
    assert torch.equal(sample.items(), torch.ones(3, 2).double())


def test_nothing_came():
    sample = Sample(3, generator(0))
    assert sample.items().shape == (0,)
    sample.add(torch.empty(0, 4))
    assert sample.items().shape == (0, 4)
