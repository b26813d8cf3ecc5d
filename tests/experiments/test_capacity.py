import json
import math
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopfield import theory
from hopfield.core.retrieval import retrieve
from hopfield.errors import HopfieldError
from hopfield.experiments import capacity
from hopfield.experiments.capacity import MeasuredPoint, bound_curve, measure, random_patterns, stored
from tests.theory.memories import generator, integer, separated_memory, uniform

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25)
LIGHT = {"trials": 10, "limit": 64, "checked": 32}


# --------------------------------------------------------------------------------------------------------- definition 1
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_apart_patterns_are_stored(dtype):
    assert stored(5 * torch.eye(6, dtype=dtype), 1.0).tolist() == [True] * 6


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.1, 0.3, 0.35])
def test_coincident_and_near_patterns_are_not_stored_and_others_are(angle):
    patterns = 5 * torch.eye(6, dtype=torch.float64)
    patterns[1, :2] = 5 * torch.tensor([math.cos(angle), math.sin(angle)])
    assert stored(patterns, 1.0).tolist() == [False, False, True, True, True, True]
    assert stored(patterns, 1.0, [5, 0]).tolist() == [True, False]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_nothing_is_stored_where_all_leads_to_one_global_fixed_point(count):
    patterns = random_patterns(count, 8, 1.0, generator(0))
    assert not stored(patterns, 0.01).any()
    assert stored(patterns, 100.0).all()


def test_a_single_pattern_is_always_stored_and_zeros_never():
    assert stored(torch.zeros(1, 3), 1.0).tolist() == [True]
    assert stored(torch.ones(1, 3), 1e-6).tolist() == [True]
    assert not stored(torch.zeros(4, 3), 1.0).any()


def test_the_random_points_matter():
    """A pattern on the line that parts two basins stays between two others; all around it leads away."""
    patterns = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 0.1]], dtype=torch.float64)
    middle = retrieve(patterns[2], patterns, beta=1.0)
    assert abs(float(middle.state[0])) < 1e-9  # it stays on the line by symmetry alone
    assert stored(patterns, 1.0, generator=generator(0)).tolist() == [True, True, False]


@few
@given(seeds)
def test_what_the_lemmas_prove_stored_is_found_stored(seed):
    g = generator(seed)
    patterns, beta = separated_memory(g)
    assert theory.well_separated(patterns, beta).all()
    assert stored(patterns, beta, generator=g).all()


@few
@given(seeds)
def test_stored_depends_on_beta_times_squared_radius_and_not_on_the_order(seed):
    g = generator(seed)
    patterns = random_patterns(integer(g, 2, 30), integer(g, 4, 12), uniform(g, 0.5, 3), g)
    result = stored(patterns, 1.0, generator=generator(1))
    order = torch.randperm(len(patterns), generator=g)
    assert torch.equal(stored(patterns[order], 1.0, generator=generator(1)), result[order])
    assert torch.equal(stored(2 * patterns, 0.25, generator=generator(1)), result)


def test_index_keeps_its_shape_and_blocks_change_nothing(monkeypatch):
    patterns = random_patterns(30, 6, 2.0, generator(0))
    whole = stored(patterns, 1.0)
    assert 0 < int(whole.sum()) < 30
    index = torch.tensor([[3, 4], [29, 0]])
    assert torch.equal(stored(patterns, 1.0, index), whole[index])
    assert stored(patterns, 1.0, index[:0]).shape == (0, 2)
    assert stored(patterns, 1.0, 7).shape == ()
    monkeypatch.setattr(capacity, "_BLOCK_ENTRIES", 100)
    assert torch.equal(stored(patterns, 1.0), whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), 1.0), "patterns must be one memory"),
        ((torch.eye(3), 0.0), "beta must be positive"),
        ((torch.eye(3), 1.0, [3]), "index must lie in 0 … 2"),
    ],
)
def test_stored_refuses(arguments, message):
    with pytest.raises(HopfieldError, match=message):
        stored(*arguments)


def test_the_patterns_most_in_danger_fail_first():
    """`measure` checks part of a large memory: of the patterns that fail, some are at the head of its order."""
    for seed, dim, radius, count in ((0, 8, 2.0, 200), (1, 12, 1.0, 100), (2, 6, 3.0, 150)):
        patterns = random_patterns(count, dim, radius, generator(seed))
        good = stored(patterns, 1.0, generator=generator(0))
        assert 0 < int((~good).sum()) < count / 2
        assert not good[capacity._most_endangered(patterns, 1.0)[:8]].all()


def test_random_patterns_lie_on_the_sphere():
    patterns = random_patterns(500, 5, 3.0, generator(0))
    torch.testing.assert_close(patterns.norm(dim=-1), torch.full((500,), 6.0, dtype=torch.float64))
    assert float(patterns.mean(0).norm()) < 0.6  # all directions


# ------------------------------------------------------------------------------------------------ bound and measurement
def test_bound_curve_is_theorem_3():
    curve = bound_curve(1, 3, 0.001, [2, 20])
    assert [point.dim for point in curve] == [2, 20]
    assert curve[1].patterns == pytest.approx(7.41297, abs=5e-6)
    assert curve[1].c == pytest.approx(3.1546108, abs=5e-8)
    assert [point.holds for point in curve] == [False, True]
    (beyond,) = bound_curve(1, 3, 0.001, [10_000])
    assert beyond.patterns is None
    assert math.isfinite(beyond.log_patterns)


def test_the_measured_number_is_never_below_the_bound():
    """Nor is the number that the lemmas prove; the theorem follows from them."""
    for radius, dims in ((2.0, [16, 20, 24]), (3.0, [10, 14])):
        found = measure(radius=radius, failure=0.2, dims=dims, **LIGHT)
        bounds = bound_curve(1, radius, 0.2, dims)
        assert any(bound.holds for bound in bounds)
        for point, bound in zip(found.points, bounds, strict=True):
            if bound.holds:
                assert min(bound.patterns, LIGHT["limit"]) <= point.surely <= point.patterns


@pytest.mark.parametrize("radius", [2.0, 3.0])
def test_the_measured_number_grows_exponentially(radius):
    found = measure(radius=radius, trials=30, limit=200, checked=32)
    numbers = [point.patterns for point in found.points]
    assert all(after >= 0.8 * before for before, after in pairwise(numbers))
    assert [point.at_least for point in found.points] == [False] * (len(numbers) - 1) + [True]
    assert found.growth is not None
    assert found.growth.base > 1.5
    assert found.growth.r_squared > 0.9
    assert found.growth.dims == [point.dim for point in found.points if point.patterns >= 2][: len(found.growth.dims)]


def test_larger_radius_and_beta_store_more():
    def count(**arguments: float) -> int:
        return measure(dims=[7], **LIGHT, **arguments).points[0].patterns

    assert count(radius=1.0) < count(radius=2.0)
    assert count(radius=1.0, beta=4.0) == count(radius=2.0)


def test_what_a_point_tells():
    found = measure(radius=2.0, failure=0.1, dims=[2, 6, 12], **LIGHT)
    for point in found.points:
        assert point.failures <= 1
        assert point.failures / 10 < point.failure_bound < 0.4
        assert point.checked == min(point.patterns, 32)
        assert point.at_least is (point.fails_at is None) is (point.patterns == 64)
        assert point.fails_at is None or 1 <= point.fails_at - point.patterns <= max(1, point.patterns // 16)
    assert found.points[-1].at_least
    assert found.growth is None  # of two dimensions


def test_a_small_number_for_a_low_beta_is_one():
    (point,) = measure(beta=1e-3, dims=[4], **LIGHT).points
    assert (point.patterns, point.fails_at, point.surely) == (1, 2, 1)


def test_same_seed_same_numbers_and_threads_are_left_alone():
    threads = torch.get_num_threads()
    arguments = {"dims": [4, 5, 6], **LIGHT}
    first = measure(seed=3, **arguments)
    torch.rand(5)
    assert measure(seed=3, **arguments) == first
    assert measure(seed=4, **arguments).points != first.points
    assert torch.get_num_threads() == threads


def test_progress_is_told():
    told: list[tuple[str, int, int]] = []
    measure(dims=[3, 4], **LIGHT, progress=lambda *what: told.append(what))
    assert told[0] == ("d = 3, 2 patterns", 0, 2)
    assert {done for _, done, _ in told} == {0, 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"failure": 1.0}, "failure = 1 lets every number of patterns pass"),
        ({"failure": 0.0}, "failure must be a probability"),
        ({"beta": -1.0}, "beta must be positive"),
        ({"dims": [1]}, "dim must be an integer of at least 2, got 1"),
        ({"trials": 0}, "trials must be an integer of at least 1, got 0"),
        ({"limit": 1}, "limit must be an integer of at least 2"),
        ({"checked": 0.5}, "checked must be an integer of at least 1, got 0.5"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
)
def test_measure_refuses(arguments, message):
    with pytest.raises(HopfieldError, match=message):
        measure(**arguments)


def test_run_gathers_what_the_command_shows():
    found = capacity.run(beta=1, dim=20, radius=3, failure=0.001)
    assert found.bound.dim == 20
    assert found.bound in found.curve
    assert found.measured is None
    assert json.loads(json.dumps(found.numbers(), allow_nan=False))["bound"]["patterns"] == found.bound.patterns


def test_measured_numbers_are_ready_for_json():
    found = measure(dims=[3, 4, 5], **LIGHT)
    assert json.loads(json.dumps(asdict(found), allow_nan=False)) == asdict(found)


# ----------------------------------------------------------------------------------------------------------- arithmetic
@pytest.mark.parametrize(
    ("failures", "trials", "bound"), [(0, 20, 0.139108), (2, 20, 0.282619), (4, 40, 0.214398), (3, 3, 1.0)]
)
def test_failure_bound_is_clopper_pearson(failures, trials, bound):
    assert capacity._failure_bound(failures, trials) == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("border", [1, 2, 3, 15, 16, 40, 99, 100, 150])
def test_the_search_finds_the_border(border):
    tried: list[int] = []

    def failures(count: int) -> int:
        tried.append(count)
        return 0 if count <= border else 5

    count, failed, fails_at = capacity._largest(failures, 4, 100)
    assert max(tried) <= 100
    assert failed == 0
    if border >= 100:
        assert (count, fails_at) == (100, None)
    else:
        assert count <= border < fails_at <= count + max(1, count // 16)


def test_the_fit_of_exact_exponential_growth():
    def point(dim: int, count: int, at_least: bool = False) -> MeasuredPoint:
        return MeasuredPoint(dim, count, at_least, None if at_least else count + 1, 0, 0.1, count, 1)

    points = [point(2, 1), point(3, 4), point(4, 8), point(5, 16), point(6, 16, at_least=True)]
    growth = capacity._fit_growth(points)
    assert growth.base == pytest.approx(2)
    assert growth.r_squared == pytest.approx(1)
    assert growth.dims == [3, 4, 5]
    assert capacity._fit_growth(points[:3]) is None
    assert capacity._fit_growth([point(dim, 3) for dim in (2, 3, 4)]).rate == pytest.approx(0)
