"""What a pass sets aside: heavy patterns, their portions, and the reference that lets it forget about maxima."""

import math

import pytest
import torch

from hopfield.core.kernels.online import LOG2E
from hopfield.memory import aside
from hopfield.memory.aside import Aside, Keeper
from hopfield.memory.scan import _even
from hopfield.memory.sums import CarefulSoftmax
from tests.core.catalogue import examples, generator, normal, yes


def asking(level, light, *, known=None, highest=None, norm=1.0, least=1e-12):
    """What is asked of a pass, in powers of two."""
    level = torch.as_tensor(level).double() / LOG2E
    nothing = torch.full_like(level, -math.inf)
    known = nothing if known is None else torch.as_tensor(known).double() / LOG2E
    highest = torch.full_like(level, 1e9) if highest is None else torch.as_tensor(highest).double() / LOG2E
    return Aside(level, known, torch.full_like(level, light), highest, least, norm)


@pytest.mark.parametrize("kind", ["sharp", "even", "mixed"])
@pytest.mark.parametrize("fixed", [True, False])
@examples(12)
def test_what_is_set_aside_and_what_is_left_are_all(fixed, kind, seed):
    g = generator(seed)
    count, states = 4096 * 3 + int(torch.randint(0, 700, (), generator=g)), 6
    scale = {"sharp": 20.0, "even": 1.0, "mixed": 10 ** (2 * torch.rand(states, 1, generator=g) - 1)}[kind]
    scores = (scale * normal(g, states, count)).float()
    whole = torch.exp2(scores.double()).sum(-1)
    asked = asking(whole.log2() - 3 * torch.rand(states, generator=g), 0.3)
    online = CarefulSoftmax(torch.zeros(1, states, 2), 2, null=False, reference=whole.log2().float() if fixed else None)
    keeper = Keeper(asked, count, torch.float32)
    kept = torch.zeros_like(scores).double()
    left_out = torch.zeros(count, dtype=torch.bool)
    for own in _even(slice(start, min(start + 1024, count)) for start in range(0, count, 1024)):
        start, block = own.start, scores[:, own].unsqueeze(0).clone()
        if keeper.leaves_out(block, start, online):
            left_out[own] = True
            continue
        weights = online.powers(block)
        sums = keeper.thinned(weights, start, online)
        online.count(sums)
        assert torch.allclose(sums.sum(-1), weights.sum(-1), rtol=1e-5)
        kept[:, own] = (weights * torch.exp2(online.reference))[0].double()
    parts, rest = keeper.found(online)
    heavy = torch.zeros_like(scores, dtype=torch.bool)
    for part, found in parts:
        for row, which, alive in zip(range(part.start, part.stop), found.which, found.alive, strict=True):
            assert not heavy[row, which[alive]].any()  # each once
            heavy[row, which[alive]] = True
    exact = torch.exp2(scores.double())
    light = exact.masked_fill(heavy | left_out, 0.0)
    # what is less than 2^-74 of the whole may count as that
    assert bool(((kept - light).abs() <= 1e-4 * light + 2.0**-74 * whole.unsqueeze(-1)).all())
    assert bool((exact.masked_fill(heavy | ~left_out, 0.0).sum(-1).log2() <= rest + 1e-6).all())
    if kind == "sharp":
        assert bool((light.sum(-1) <= 0.35 * whole).all())


def test_of_even_weights_all_but_a_bounded_share_is_left(monkeypatch):
    monkeypatch.setattr(aside, "_MANY", 1 << 10)
    scores = torch.zeros(4, 1 << 14)
    online = CarefulSoftmax(torch.zeros(1, 4, 2), 2, null=False, reference=None)
    keeper = Keeper(asking(torch.full((4,), 14.0), 0.01), scores.shape[1], torch.float32)
    for start in range(0, scores.shape[1], 256):
        block = scores[None, :, start : start + 256].clone()
        assert not keeper.leaves_out(block, start, online)
        online.count(keeper.thinned(online.powers(block), start, online))
    assert sum(int(found.alive.sum()) for _, found in keeper.found(online)[0]) <= 3 * scores.numel() / 256


@pytest.mark.parametrize("fixed", [True, False])
def test_what_takes_no_part_is_never_set_aside(fixed):
    scores = normal(generator(0), 3, 4096).float()
    scores[0], scores[1, :4000] = -math.inf, -math.inf
    reference = torch.tensor([40.0, 60.0, 12.0]) if fixed else None
    online = CarefulSoftmax(torch.zeros(1, 3, 2), 2, null=False, reference=reference)
    keeper = Keeper(asking([-math.inf, -math.inf, 12.0], 0.5), scores.shape[1], torch.float32)
    for start in range(0, scores.shape[1], 1024):
        block = scores[None, :, start : start + 1024].clone()
        assert not keeper.leaves_out(block, start, online)  # all of the last one matter
        online.count(keeper.thinned(online.powers(block), start, online))
    for part, found in keeper.found(online)[0]:
        for row, which, alive in zip(range(part.start, part.stop), found.which, found.alive, strict=True):
            assert bool((scores[row, which[alive]] > -math.inf).all())


def test_the_reference_is_such_that_nothing_overflows_and_nothing_that_matters_vanishes():
    level = [10.0, 20.0]
    assert asking(level, 1.0).reference(torch.float32) is None  # nothing is known
    zero = asking(level, 1.0, known=level, highest=[90.0, 40.0]).reference(torch.float32)
    assert zero.tolist() == [0.0, 0.0]
    known = asking(level, 1.0, known=level, highest=[115.0, 40.0]).reference(torch.float32)
    assert known.tolist() == pytest.approx(level)
    low = asking(level, 1.0, known=[-40.0, 20.0], highest=[45.0, 40.0]).reference(torch.float32)
    assert low.tolist() == pytest.approx([-40.0, 20.0])  # 0 would make all weights of the first vanish
    assert asking(level, 1.0, known=level, highest=[130.0, 40.0]).reference(torch.float32) is None
    assert asking(level, 1.0, known=level, highest=[115.0, 40.0], norm=1e9).reference(torch.float32) is None
    nan = asking(level, 1.0, known=level, highest=[math.nan, 40.0])
    assert nan.reference(torch.float32) is None


@examples(30)
def test_portions_are_all_states_in_parts_that_fit(seed):
    g = generator(seed)
    counts = (10 ** (6 * torch.rand(40, generator=g))).long() * yes(g, 40, chance=0.8)
    parts = list(aside.portions(counts, 3))
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == 40
    for part in parts:
        size = (part.stop - part.start) * int(counts[part].max()) * 3
        assert part.stop - part.start == 1 or size <= aside._ENTRIES
    assert not list(aside.portions(counts[:0]))


@pytest.mark.parametrize(("highest", "known", "spread"), [(20.0, 5.0, False), (60.0, 50.0, False), (90.0, 50.0, True)])
def test_scores_that_cannot_lie_far_apart_are_known_to_lie_near(highest, known, spread):
    one = torch.ones(3, dtype=torch.float64)
    aside = Aside(known * one, known * one, one, highest * one, 1e-9, 1.0)
    assert aside.spread(torch.float32, aside.reference(torch.float32)) == spread
    assert aside.spread(torch.float64, aside.reference(torch.float64)) is False
    far = aside._replace(known=-math.inf * one)
    assert aside.spread(torch.float32, far.reference(torch.float32)) == (highest > 20)
