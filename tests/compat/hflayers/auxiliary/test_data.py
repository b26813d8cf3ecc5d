"""The original's toy data sets: the same numbers for the same seeds, and nothing else touched."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hopfield.compat.hflayers.auxiliary.data import BitPatternSet, LatchSequenceSet
from hopfield.errors import HopfieldError

seeds = st.integers(0, 2**32 - 1)


def bit_patterns_of_the_original(bags, instances, signals, per_bag, fraction, bits, seed_signals, seed_data):
    """The draws of the original in their order, from the global generator."""
    torch.manual_seed(seed_signals)
    secret = torch.randint(0, 2, (signals, bits))
    while True:
        secret = torch.unique(secret, dim=0)
        secret = secret[secret.sum(1) > 0]
        if len(secret) == signals:
            break
        secret = torch.cat([secret, torch.randint(0, 2, (signals - len(secret), bits))])
    torch.manual_seed(seed_data)
    data = torch.randint(0, 2, (bags, instances, bits))
    known = {(0,) * bits, *map(tuple, secret.tolist())}
    while True:
        wrong = torch.tensor([[tuple(pattern) in known for pattern in bag] for bag in data.tolist()])
        if not wrong.any():
            break
        data[wrong] = torch.randint(0, 2, (int(wrong.sum()), bits))
    positive = min(bags, max(1, math.ceil(bags * fraction)))
    for i in range(positive):
        places = []
        for _ in range(per_bag):
            place = int(torch.randint(0, instances, (1,)))
            while place in places:
                place = int(torch.randint(0, instances, (1,)))
            places.append(place)
            data[i, place] = secret[torch.randint(0, signals, (1,))[0]]
    return data, torch.tensor([1] * positive + [0] * (bags - positive)), secret


@settings(max_examples=30)
@given(seed=seeds)
def test_bit_patterns_are_those_of_the_original(seed):
    def number(low, high):
        return int(torch.randint(low, high + 1, (), generator=generator))

    generator = torch.Generator().manual_seed(seed)
    bits = number(2, 9)
    instances = number(1, 12)
    signals = number(1, min(8, 2**bits - 2))
    arguments = (number(1, 9), instances, signals, number(0, instances), number(1, 10) / 10, bits)
    both = (number(0, 2**40), number(0, 2**40))
    before = torch.get_rng_state()
    made = BitPatternSet(*arguments, torch.float32, *both)
    assert torch.equal(torch.get_rng_state(), before)
    data, targets, secret = bit_patterns_of_the_original(*arguments, *both)
    assert torch.equal(made.bags, data)
    assert torch.equal(made.targets, targets)
    assert torch.equal(made.signals, secret)


def test_bit_patterns_with_the_defaults():
    made = BitPatternSet(num_bags=30, num_instances=16, num_signals=8)
    data, targets, secret = bit_patterns_of_the_original(30, 16, 8, 1, 0.5, 8, 43, 44)
    assert torch.equal(made.bags, data)
    assert torch.equal(made.signals, secret)
    assert len(made) == made.num_bags == 30
    assert (made.num_instances, made.num_bits) == (16, 8)
    assert (made.num_signals, made.num_signals_per_bag) == (8, 1)
    assert (made.num_targets_high, made.num_targets_low) == (15, 15)
    assert made.initial_seed == 44
    item = made[29]
    assert item.keys() == {"data", "target"}
    assert item["data"].dtype == item["target"].dtype == torch.float32
    assert torch.equal(item["data"], data[29].float())
    assert torch.equal(item["target"], targets[29].float())
    assert item["target"].shape == ()


def test_only_planted_signals_are_in_the_data():
    made = BitPatternSet(40, 10, 5, num_signals_per_bag=3, fraction_targets=0.3, num_bits=4, dtype=torch.float64)
    assert made[0]["data"].dtype == torch.float64
    found = (made.bags[:, :, None] == made.signals).all(-1).any(-1).sum(1)  # (bags,)
    assert found.tolist() == (3 * made.targets).tolist()
    assert made.num_targets_high == int(made.targets.sum()) == 12
    assert made.bags.any(-1).all()


def test_latch_sequences_are_those_of_the_original():
    before = torch.get_rng_state()
    made = LatchSequenceSet(50, 7, 5, torch.float64, 99)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    characters = torch.randint(2, 5, (50, 7))
    targets = torch.randint(0, 2, (50,))
    characters[:, 0] = targets
    assert torch.equal(made.targets, targets)
    data = torch.stack([made[i]["data"] for i in range(50)])
    assert data.dtype == made[0]["target"].dtype == torch.float64
    assert data.shape == (50, 7, 5)
    assert torch.equal(data.argmax(-1), characters)
    assert torch.equal(data.sum(-1), torch.ones(50, 7, dtype=torch.float64))
    assert torch.equal(torch.stack([made[i]["target"] for i in range(50)]), targets.double())


def test_latch_sequences_with_the_defaults():
    made = LatchSequenceSet(3)
    assert len(made) == made.num_samples == 3
    assert (made.num_instances, made.num_characters, made.initial_seed) == (20, 6, 43)
    assert made[0]["data"].dtype == torch.float32
    assert torch.equal(made[2]["data"], LatchSequenceSet(3, seed=43)[2]["data"])


@pytest.mark.parametrize("made", [BitPatternSet(6, 4, 3), LatchSequenceSet(6, 4)], ids=["bits", "latch"])
def test_they_are_data_sets(made):
    batches = list(DataLoader(made, batch_size=4))
    assert [len(batch["target"]) for batch in batches] == [4, 2]
    assert torch.equal(batches[1]["data"][1], made[5]["data"])
    assert torch.equal(copy.deepcopy(made)[5]["data"], made[5]["data"])
    assert torch.equal(made[-1]["data"], made[5]["data"])
    with pytest.raises(IndexError):
        made[6]
    assert len(list(made)) == 6


def test_what_is_given_out_is_a_copy():
    bits, latch = BitPatternSet(3, 4, 2), LatchSequenceSet(3)
    for made, names in ((bits, ("bags", "targets", "signals")), (latch, ("targets",))):
        for name in names:
            before = getattr(made, name)
            getattr(made, name).fill_(7)
            assert torch.equal(getattr(made, name), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_bags": 0}, "num_bags must be an integer of at least 1, got 0"),
        ({"num_instances": 2.0}, "num_instances must be an integer of at least 1, got 2.0"),
        ({"num_signals": 0}, "num_signals must be an integer of at least 1, got 0"),
        ({"num_bits": True}, "num_bits must be an integer of at least 1, got True"),
        ({"num_signals_per_bag": -1}, "num_signals_per_bag must be an integer of at least 0, got -1"),
        ({"num_signals_per_bag": 6}, "num_signals_per_bag must be at most num_instances = 5, .* got 6"),
        ({"fraction_targets": 0.0}, "fraction_targets must be a number above 0 and at most 1, got 0.0"),
        ({"fraction_targets": "half"}, "fraction_targets must be a number above 0 and at most 1, got 'half'"),
        ({"num_bits": 2, "num_signals": 3}, r"less than 2\*\*num_bits - 1 = 3, .* got 3; use more bits"),
        ({"seed_signals": 1.5}, "seed_signals must be an integer, got 1.5"),
        ({"seed_data": None}, "seed_data must be an integer, got None"),
    ],
    ids=repr,
)
def test_wrong_bit_patterns(options, message):
    with pytest.raises(HopfieldError, match=message):
        BitPatternSet(**{"num_bags": 4, "num_instances": 5, "num_signals": 2} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be an integer of at least 1, got 0"),
        ({"num_instances": 0}, "num_instances must be an integer of at least 1, got 0"),
        ({"num_characters": 2}, "num_characters must be an integer of at least 3: two for the targets, .* got 2"),
        ({"seed": "a"}, "seed must be an integer, got 'a'"),
    ],
    ids=repr,
)
def test_wrong_latch_sequences(options, message):
    with pytest.raises(HopfieldError, match=message):
        LatchSequenceSet(**{"num_samples": 4} | options)
