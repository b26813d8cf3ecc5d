"""Enriched motifs against a count of patterns in plain Python, and what must not matter to them."""

from collections import Counter
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
import torch

from hopfield.bags import Bags
from hopfield.datasets import simulate_repertoires
from hopfield.datasets.repertoires import ALPHABET, encode
from hopfield.errors import HopfieldError
from hopfield.estimators import HopfieldBagClassifier, shared_motif
from hopfield.estimators.motifs import enriched_motifs
from tests.core.catalogue import examples, generator, integer

SMALL = {"letters": 2, "longest": 3}


def some_rows(g, count, longest, letters):
    """Encoded sequences of all lengths from 0 to `longest`."""
    rows = torch.randint(1, letters + 1, (count, 1 + longest), generator=g)
    rows[:, 1:].masked_fill_(torch.arange(longest) >= torch.randint(0, longest + 1, (count, 1), generator=g), 0)
    return rows.to(torch.uint8)


def some_data(seed, classes=2, sets=1, bags=12, sequences=6):
    """Bags of 0 to so many sequences of a few letters, their classes, and sets to learn from that have all of them."""
    g = generator(seed)
    longest = integer(g, 1, 9)
    rows = [some_rows(g, integer(g, 0, sequences), longest, 3) for _ in range(bags)]
    targets = torch.arange(bags) % classes
    training = torch.rand(sets, bags, generator=g) < 0.6
    training[:, :classes] = True
    return Bags.from_list(rows), targets, training


def patterns(row, letters, longest):
    """All patterns of some letters, the first and the last at the ends, at all places of a sequence."""
    sequence = [code for code in row.tolist()[1:] if code]
    for first in range(len(sequence)):
        for span in range(letters, min(longest, len(sequence) - first) + 1):
            for inner in combinations(range(1, span - 1), letters - 2):
                places = {0, *inner, span - 1}
                yield tuple(sequence[first + place] if place in places else 0 for place in range(span))


def gaps(pattern):
    return tuple(code > 0 for code in pattern)


def textbook(bags, targets, training, letters, longest):
    """z of every pattern that was seen four times, for one set to learn from."""
    chosen = training.nonzero().flatten().tolist()
    counts = [Counter(pattern for row in bags[i] for pattern in patterns(row, letters, longest)) for i in chosen]
    classes = targets[training].tolist()
    result = {}
    for pattern in set().union(*counts):
        windows = [sum(n for other, n in count.items() if gaps(other) == gaps(pattern)) for count in counts]
        shares = [count[pattern] / max(n, 1) for count, n in zip(counts, windows, strict=True)]
        rate, usual = np.mean(shares), np.mean(windows)
        z = []
        for label in set(classes):
            own = [share for share, other in zip(shares, classes, strict=True) if other == label]
            rest = [share for share, other in zip(shares, classes, strict=True) if other != label]
            variance = sum(np.var(part) / max(len(part) - 1, 1) for part in (own, rest))  # unbiased
            poisson = rate / max(usual, 1) * (1 / len(own) + 1 / len(rest))
            z.append((np.mean(own) - np.mean(rest)) / sqrt(max(variance, poisson)))
        if sum(count[pattern] for count in counts) >= 4:
            result[pattern] = max(z)
    return result


def check(found, expected, number):
    """What was found are the best, up to ties."""
    best = sorted((z for z in expected.values() if z > 1e-9), reverse=True)[:number]
    found = [motif for motif in found if expected[motif] > 1e-9]
    assert len(set(found)) == len(found)
    np.testing.assert_allclose([expected[motif] for motif in found], best, rtol=1e-9)


def names(motifs):
    return ["".join(("?" + ALPHABET)[code] for code in motif) for motif in motifs]


# --------------------------------------------------------------------------------------------------------- the textbook


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("size", [{"letters": 2, "longest": 2}, SMALL, {"letters": 2, "longest": 5}], ids=str)
@examples(5)
def test_the_textbook(seed, size, classes):
    bags, targets, training = some_data(seed, classes, sets=3)
    for number in (1, 10):
        for found, row in zip(enriched_motifs(bags, targets, training, number, **size), training, strict=True):
            check(found, textbook(bags, targets, row, **size), number)


@pytest.mark.parametrize("size", [{"letters": 3, "longest": 3}, {"letters": 3, "longest": 5}], ids=str)
def test_the_textbook_with_three_letters(size):
    bags, targets, training = some_data(1, sequences=20)
    (found,) = enriched_motifs(bags, targets, training, 12, **size)
    assert found
    check(found, textbook(bags, targets, training[0], **size), 12)


def test_parts_of_an_implanted_motif_are_found():
    data = simulate_repertoires(30, 300, motifs=("SFENW",), rate=0.05, seed=0)
    (found,) = enriched_motifs(data.bags, torch.from_numpy(data.labels), torch.ones(1, 30).bool(), 5)
    assert set(names(found)) == {"SFEN", "FENW", "S?ENW", "SF?NW", "SFE?W"}


def test_every_class_may_have_motifs():
    g = generator(2)
    bags = Bags.from_list([some_rows(g, 40, 9, 20) for _ in range(30)])
    targets = torch.arange(30) % 3
    for bag, label in zip(bags, targets.tolist(), strict=True):
        bag[:15, 1:3] = 5 + label  # these are views
        bag[:15, 3:] = 0
    (found,) = enriched_motifs(bags, targets, torch.ones(1, 30).bool(), 3, **SMALL)
    assert set(found) == {(5, 5), (6, 6), (7, 7)}


# ----------------------------------------------------------------------------------------------- what must not matter


@examples(10)
def test_nothing_outside_a_training_set_matters(seed):
    g = generator(seed)
    bags, targets, training = some_data(seed, sets=3)
    expected = enriched_motifs(bags, targets, training, 8, **SMALL)
    longest = bags.instances.shape[1] - 1
    for row, motifs in zip(training, expected, strict=True):
        rows = [bag if inside else some_rows(g, 30, longest, 20) for bag, inside in zip(bags, row, strict=True)]
        changed = torch.where(row, targets, 1 - targets)
        together = enriched_motifs(Bags.from_list(rows), changed, torch.stack([row, row | True]), 8, **SMALL)
        assert together[0] == motifs
        assert enriched_motifs(bags, targets, row[None], 8, **SMALL) == [motifs]


@examples(10)
def test_the_order_of_bags_and_sequences_does_not_matter(seed):
    g = generator(seed)
    bags, targets, training = some_data(seed, classes=3, sets=2)
    order = torch.randperm(len(bags), generator=g)
    other = Bags.from_list([bags[i][torch.randperm(len(bags[i]), generator=g)] for i in order.tolist()])
    found = enriched_motifs(other, targets[order], training[:, order], 8, **SMALL)
    for motifs, row in zip(found, training, strict=True):
        check(motifs, textbook(bags, targets, row, **SMALL), 8)


def test_counts_types_padding_and_pieces_do_not_matter(monkeypatch):
    bags, targets, training = some_data(3, sets=2, sequences=20)
    expected = enriched_motifs(bags, targets, training, 8, **SMALL)
    assert all(expected)
    wide = torch.cat([255 - bags.instances[:, :1], bags.instances[:, 1:], torch.zeros(bags.total, 2).byte()], 1)
    assert enriched_motifs(bags.with_instances(wide), targets, training, 8, **SMALL) == expected
    assert enriched_motifs(bags.to(torch.int64), targets, training, 8, **SMALL) == expected
    monkeypatch.setattr("hopfield.estimators.motifs._ROWS", 2)
    assert enriched_motifs(bags, targets, training, 8, **SMALL) == expected


def test_empty_bags_and_sequences_without_patterns_count_as_bags():
    row = torch.tensor([[0, 4, 5, 6]], dtype=torch.uint8)
    nothing = torch.zeros(2, 4, dtype=torch.uint8)  # all padding
    short = torch.tensor([[0, 4, 0, 0]], dtype=torch.uint8)
    bags = Bags.from_list([row.repeat(5, 1), row[:0], torch.cat([row, nothing]), short, nothing, short])
    targets, training = torch.tensor([1, 0, 1, 0, 1, 0]), torch.ones(1, 6).bool()
    expected = textbook(bags, targets, training[0], **SMALL)
    (found,) = enriched_motifs(bags, targets, training, 9, **SMALL)
    assert set(found) == set(expected) == {(4, 5), (5, 6), (4, 0, 6)}
    check(found, expected, 9)


@pytest.mark.parametrize(
    "row", [torch.zeros(1, 5), torch.tensor([[9, 1, 0, 0, 0]]), torch.ones(1, 2), torch.zeros(0, 5)], ids=str
)
def test_without_patterns_there_are_no_motifs(row):
    bags = Bags.from_list([row.byte()] * 4)
    targets = torch.tensor([0, 1, 0, 1])
    assert enriched_motifs(bags, targets, torch.ones(2, 4).bool(), 3, **SMALL) == [[], []]


def test_classes_that_are_alike_have_no_motifs():
    bags = Bags.from_list([some_rows(generator(4), 9, 6, 3)] * 4)
    targets = torch.tensor([0, 1, 0, 1])
    assert enriched_motifs(bags, targets, torch.ones(1, 4).bool(), 3, **SMALL) == [[]]


@pytest.mark.parametrize("number", [0, 1, 399, 400, 10**6])
def test_any_number_of_motifs(number):
    bags, targets, training = some_data(5, sequences=20)
    (most,) = enriched_motifs(bags, targets, training, 10**6, **SMALL)
    assert 3 < len(most) <= 18  # three letters, two gaps
    (found,) = enriched_motifs(bags, targets, training, number, **SMALL)
    assert len(found) == min(number, len(most))
    assert found == most[:number]


def test_what_was_seen_too_rarely_says_nothing():
    row = torch.tensor([[0, 4, 5]], dtype=torch.uint8)
    other = torch.tensor([[0, 1, 1]], dtype=torch.uint8).repeat(9, 1)
    for times in (3, 4):
        bags = Bags.from_list([torch.cat([row.repeat(times, 1), other[times:]]), other, other, other])
        (found,) = enriched_motifs(bags, torch.tensor([1, 0, 0, 0]), torch.ones(1, 4).bool(), 9, **SMALL)
        assert ((4, 5) in found) == (times == 4)


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(3, 6), "sequences must be integers"),
        (torch.ones(3, 1).byte(), "sequences must be integers"),
        (torch.ones(3, 2, 6).byte(), "sequences must be integers"),
        (torch.full((3, 6), 21).byte(), "letters must be 1 … 20, and 0 for padding; got 21"),
        (torch.full((3, 6), -1), "letters must be 1 … 20, and 0 for padding; got -1"),
    ],
    ids=["floats", "no letters", "dimensions", "letters", "negative"],
)
def test_rows_that_make_no_sense(rows, message):
    with pytest.raises(HopfieldError, match=message):
        enriched_motifs(Bags(rows, [0, 1, 3]), torch.tensor([0, 1]), torch.ones(1, 2).bool(), 3)


def test_heavy_sequences_are_aligned_by_what_they_share():
    data = simulate_repertoires(30, 100, motifs=("CRWQM",), rate=0.1, seed=3)
    model = HopfieldBagClassifier.for_sequences(random_state=0).fit(data.bags, data.labels)
    generator = np.random.default_rng(0)
    rest = ["".join(generator.choice(list("ADEFG"), 5)) for _ in range(40)]
    letters = encode([text[: i % 6] + "CRWQM" + text[i % 6 :] for i, text in enumerate(rest)])
    bags = Bags.from_list([torch.cat([torch.zeros(len(letters), 1, dtype=torch.uint8), letters], 1)])
    counts = shared_motif(model, bags)
    assert counts.shape == (9, 20)
    best = "".join(ALPHABET[place.argmax()] if place.max() > 30 else "." for place in counts)
    assert best.strip(".") == "CRWQM"
    assert shared_motif(model, bags, most=7).sum(1).max() == 7
    with pytest.raises(HopfieldError, match="no sequences in these bags"):
        shared_motif(model, bags.keep(torch.zeros(40, dtype=torch.bool)))


def test_only_sequences_have_motifs():
    model = HopfieldBagClassifier(epochs=1, n_estimators=1).fit([np.eye(2), np.ones((1, 2))], [0, 1])
    with pytest.raises(HopfieldError, match="this one has Standardize"):
        shared_motif(model, Bags.from_list([torch.eye(2)]))
