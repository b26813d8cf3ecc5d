"""Visits show each state all patterns of its groups, each once, and nothing else."""

import math

import pytest
import torch

from hopfield.memory.index import Index, visits
from hopfield.memory.index.visits import Pairs
from hopfield.memory.rows import TensorRows
from tests.core.catalogue import examples, generator, normal
from tests.memory.certificates import KINDS, patterns_of


def asked(index, states, share, g):
    """Pairs of states and groups, each with some probability, in order of the states."""
    return Pairs(*(torch.rand(states, len(index), generator=g) < share).nonzero(as_tuple=True))


def seen(index, states, rows, bias, pairs):
    """The scores of all visits, (L, N), and how often each was shown."""
    scores, often = torch.full((len(states), rows.count), math.nan), torch.zeros(len(states), rows.count)
    for visit in visits.walk(index, states, rows, bias, pairs):
        assert visit.which.shape == (visit.scores.shape[0], visit.scores.shape[2])
        assert visit.states.shape == visit.scores.shape[:2]
        tile, state, pattern = (visit.scores > -math.inf).nonzero(as_tuple=True)
        at = visit.states[tile, state], visit.which[tile, pattern]
        often.index_put_(at, torch.ones(len(tile)), accumulate=True)
        scores[at] = visit.scores[tile, state, pattern].to(scores.dtype)
    return scores, often


@pytest.mark.parametrize("limits", [None, (4, 300, 8)], ids=["at once", "in parts"])
@examples(60)
def test_each_pattern_of_each_group_is_seen_once(limits, seed):
    g = generator(seed)
    count, many = (int(torch.randint(1, most, (), generator=g)) for most in (600, 40))
    patterns = patterns_of(KINDS[seed % len(KINDS)], count, 5, g).float()
    index = Index.of(TensorRows(patterns), size=1 + seed % 200)
    states = normal(g, many, 5).float()
    bias = normal(g, count).float() if seed % 2 else None
    pairs = asked(index, many, float(torch.rand((), generator=g)), g)
    with pytest.MonkeyPatch.context() as patch:
        if limits is not None:
            patch.setattr(visits, "_LISTED", limits[0])
            patch.setattr(visits, "_SCORES", limits[1])
            patch.setattr(visits, "_STATES", limits[2])
        scores, often = seen(index, states, TensorRows(patterns), bias, pairs)
    group = torch.empty(count, dtype=torch.int64)
    group[index.order] = torch.repeat_interleave(torch.arange(len(index)), index.sizes)
    wanted = torch.zeros(many, len(index))
    wanted[pairs.states, pairs.groups] = 1
    assert torch.equal(often, wanted[:, group])
    whole = states @ patterns.mT + (0.0 if bias is None else bias)
    torch.testing.assert_close(scores[often > 0], whole[often > 0], rtol=1e-4, atol=1e-5)


def test_states_just_above_a_power_of_two_are_all_seen():
    patterns = patterns_of("uniform", 20, 3, generator(0)).float()
    index, states = Index.of(TensorRows(patterns), size=20), torch.ones(2**13 + 1, 3)
    many = torch.arange(len(states))
    _, often = seen(index, states, TensorRows(patterns), None, Pairs(many, torch.zeros_like(many)))
    assert bool((often == 1).all())


def test_no_pairs_are_no_visits():
    patterns = patterns_of("clustered", 50, 4, generator(0)).float()
    index, none = Index.of(TensorRows(patterns), size=8), torch.zeros(0, dtype=torch.int64)
    assert not list(visits.walk(index, patterns[:3], TensorRows(patterns), None, Pairs(none, none)))


def test_patterns_of_groups_that_one_state_looks_at_share_tiles():
    patterns = patterns_of("uniform", 1000, 4, generator(0)).float()
    index = Index.of(TensorRows(patterns), size=10)
    every = torch.arange(len(index))
    made = list(visits.walk(index, patterns[:1], TensorRows(patterns), None, Pairs(torch.zeros_like(every), every)))
    assert sum(visit.which.shape[0] for visit in made) == math.ceil(1000 / visits.TILE)
