"""The experiments one by one, small: what they count must be what happened."""

import itertools
import math

import pytest
import torch

from hopfield.core.association import associate
from hopfield.datasets.images import load_images
from hopfield.errors import HopfieldError
from hopfield.experiments.retrieval import betas, networks, one_step_error, recovery, spurious, trade
from hopfield.experiments.retrieval.betas import choose_six
from hopfield.experiments.retrieval.common import (
    crossing,
    flip_entries,
    log_grid,
    on_sphere,
    random_signs,
    seeded,
    store_images,
)
from hopfield.experiments.retrieval.error import error_without_cancellation
from hopfield.experiments.retrieval.networks import black_and_white
from hopfield.theory import global_fixed_point, well_separated
from tests.experiments.tours import blocks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_stored_images_are_centred_of_equal_norm_and_just_well_separated() -> None:
    stored = store_images(blocks(30).images, 20, generator())
    assert stored.patterns.shape == (20, 48)
    torch.testing.assert_close(stored.pixels, blocks(30).images[stored.rows].flatten(1).double())
    torch.testing.assert_close(stored.patterns.norm(dim=1), torch.full((20,), 48**0.5, dtype=torch.float64))
    torch.testing.assert_close(stored.query(stored.pixels), stored.patterns)
    beta = stored.beta_stored()
    assert bool(well_separated(stored.patterns, beta * (1 + 1e-9)).all())
    assert not bool(well_separated(stored.patterns, beta * (1 - 1e-6)).all())
    assert bool(global_fixed_point(stored.patterns, stored.beta_global()).unique)


def test_repeated_and_rescaled_images_are_stored_once() -> None:
    few = blocks(4).images
    stored = store_images(torch.cat([few, few, few + 1e-5]), 12, generator())
    assert len(stored.patterns) == 4
    assert stored.separation > 0


def test_hidden_pixels_take_no_part_in_a_query() -> None:
    stored = store_images(blocks().images, 8, generator())
    known = torch.arange(48) < 24
    first, second = stored.pixels.clone(), stored.pixels.clone()
    second[:, 24:] = 0.7
    torch.testing.assert_close(stored.query(first, known), stored.query(second, known))
    assert bool((stored.query(first, known)[:, 24:] == 0).all())


def test_undamaged_images_are_all_recovered() -> None:
    found = recovery(blocks(), stored=10, noise=0.0, flipped=0.0)
    for damage in found.numbers.damages[1:]:
        assert damage.damage == 0
        assert damage.recovered == damage.recovered_one_step == damage.converged == 1
        assert damage.another == damage.between == damage.confused == 0
        assert damage.energy_found <= damage.energy_query + 1e-9


def test_recovery_counts_every_query_once_and_shows_what_it_says() -> None:
    found = recovery(blocks(40), stored=30, noise=1.5, flipped=0.4, show=6)
    for damage in found.numbers.damages:
        assert damage.recovered + damage.another + damage.between == pytest.approx(1)
        assert damage.worst_recovered < found.numbers.tolerance
        right = abs(found.pictures[f"recovered {damage.name}"] - found.pictures["stored"]).max((1, 2)) < 0.1
        assert right.tolist() == damage.examples
    assert any(damage.recovered < 1 for damage in found.numbers.damages)


def test_six_betas_on_the_digits_pass_through_all_kinds() -> None:
    found = betas(load_images("digits"), stored=100)
    numbers = found.numbers
    steps = numbers.steps
    assert len(steps) == 6
    assert [step.beta for step in steps] == sorted(step.beta for step in steps)
    assert steps[0].beta == pytest.approx(numbers.beta_global)
    assert steps[-1].beta == pytest.approx(numbers.beta_stored)
    kinds = [step.kind for step in steps]
    assert kinds[0] == "global"
    assert "metastable" in kinds
    assert kinds[-1] == "pattern"
    assert steps[0].support > steps[-1].support == 1
    assert steps[-1].heaviest == numbers.target
    assert steps[-1].error < 1e-3
    assert all(step.converged and step.residual < 1e-4 for step in steps)
    for step in steps:
        assert len(step.energies) == step.steps + 1
        assert all(after <= before + 1e-9 for before, after in itertools.pairwise(step.energies))
    assert found.pictures["once"].shape == found.pictures["found"].shape == (6, 8, 8)


@pytest.mark.parametrize(
    ("kinds", "supports", "expected"),
    [
        (
            ["global"] * 3 + ["metastable"] * 4 + ["pattern"] * 5,
            [9, 9, 9, 8, 4, 3, 2, 1, 1, 1, 1, 1],
            [0, 3, 4, 6, 7, 11],
        ),
        (["global"] * 6 + ["pattern"] * 6, [9] * 6 + [1] * 6, [0, 1, 3, 6, 8, 11]),
        (["pattern"] * 4, [1] * 4, [0, 1, 2, 3]),
    ],
)
def test_the_six_are_the_ends_and_what_changes(kinds: list[str], supports: list[int], expected: list[int]) -> None:
    assert choose_six(kinds, supports) == expected


def test_the_classical_network_collapses_where_the_others_hold() -> None:
    found = networks(size=64, flipped=3, most=60, points=4, draws=2, queries=20, asked=40, every=30)
    classical = found.curve("classical")
    assert classical.recovered[0] == 1
    assert classical.recovered[-1] < 0.1
    assert classical.half is not None
    assert 0.5 < classical.half / found.classical_capacity < 3
    for name in ("quartic", "exponential", "continuous"):
        assert found.curve(name).recovered == [1.0] * len(found.curve(name).stored)
        assert found.curve(name).half is None
    assert found.curve("continuous").updates == [1.0] * len(classical.stored)
    assert found.every is not None
    assert found.every.recovered == {"exponential": 30, "continuous": 30}


def test_a_hopeless_network_is_not_tried_further() -> None:
    small = {"size": 24, "most": 200, "points": 9, "draws": 1, "queries": 5, "asked": 5, "every": 0}
    early, late = networks(**small, hopeless=1), networks(**small, hopeless=None)
    first, second = early.curve("classical"), late.curve("classical")
    assert len(first.stored) < len(second.stored) == len(late.curve("exponential").stored)
    assert first.recovered[-1] == 0
    assert first.recovered == second.recovered[: len(first.recovered)]


def test_black_and_white_images_are_signs_and_different() -> None:
    pool = black_and_white(torch.cat([blocks().images, blocks().images]), 5)
    assert set(pool.unique().tolist()) == {-1.0, 1.0}
    assert len(pool) <= 16
    assert len(torch.unique(pool, dim=0)) == len(pool)
    with pytest.raises(HopfieldError, match="differ in black and white at 5 x 5 pixels, got 1"):
        black_and_white(torch.zeros(4, 8, 8), 5)


def test_ends_of_the_classical_network_bear_their_names() -> None:
    found = spurious(blocks(), side=6, counts=(3, 20), draws=3, starts=20)
    for ending in found.numbers.endings:
        assert all(sum(shares) == pytest.approx(1) for shares in ending.shares)
    assert found.numbers.ending("random", "hidden").stored == [3, 20]
    assert found.numbers.ending("images", "random").stored == [3]
    stored, examples = found.pictures["stored"], found.pictures["examples"]
    assert len(examples) == len(found.numbers.examples) <= 8
    for example, picture in zip(found.numbers.examples, examples, strict=True):
        if example.kind == "other":
            continue
        members = [(int(part), -1 if part[0] == "-" else 1) for part in example.name.split()[1:]]
        mixed = sum(sign * stored[abs(index)] for index, sign in members)
        assert (torch.as_tensor(mixed).sign() == torch.as_tensor(picture)).all()


def test_errors_without_cancellation_are_those_of_the_update() -> None:
    memory = on_sphere(20, 8, generator())
    index = torch.arange(5)
    query = memory[index] + 0.1 * on_sphere(5, 8, generator(1))
    direct = (associate(query, memory, beta=6.0) - memory[index]).norm(dim=1)
    torch.testing.assert_close(error_without_cancellation(memory, 6.0, query, index), direct)


def test_no_error_exceeds_the_bound_of_theorem_5() -> None:
    found = one_step_error(stored=30, sizes=(4, 16), patterns=10, points=6, seed=3)
    assert found.violations == found.wide_violations == 0
    assert found.points > 0
    assert found.wide_points > 0
    for curve in found.curves:
        for separation, measured, fixed, bound in zip(
            curve.separation, curve.measured, curve.fixed_point, curve.bound, strict=True
        ):
            assert max(measured, fixed) <= bound
            assert bound == pytest.approx(2 * math.e * 29 * math.exp(-separation))
    assert found.tightest >= 1


def test_more_patterns_and_smaller_beta_cost_updates_and_error() -> None:
    found = trade(size=12, strengths=(8.0, 40.0), most=400, points=4, queries=20, limit=300)
    low, high = found.curves
    assert low.error[0] < low.error[-1]
    assert high.error[-1] < low.error[-1]
    assert high.updates[-1] < low.updates[-1]
    assert low.recovered[-1] == 0
    assert low.breaks is not None
    assert high.recovered == [1.0] * len(found.stored)
    assert high.breaks is None
    assert all(before >= after for before, after in itertools.pairwise(found.separation))


def test_small_helpers() -> None:
    assert log_grid(2, 200, 3) == [2, 20, 200]
    assert log_grid(5, 5, 4) == [5]
    assert crossing([2, 4, 8], [1.0, 0.75, 0.25]) == 6
    assert crossing([2, 4], [0.2, 0.1]) == 2
    assert crossing([2, 4], [1.0, 0.5]) is None
    states = random_signs(7, 20, generator())
    assert ((flip_entries(states, 3, generator()) != states).sum(1) == 3).all()
    draws = {float(torch.rand((), generator=seeded(0, part))) for part in range(5)}
    assert len(draws) == 5
