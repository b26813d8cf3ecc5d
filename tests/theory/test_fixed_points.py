import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopfield import theory
from hopfield.core import energy
from hopfield.core.association import association_weights
from hopfield.core.energy import jacobian, update
from hopfield.errors import HopfieldError
from tests.theory.memories import any_memory, clustered_memory, generator, in_ball, iterate, normal, uniform

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25)


def spectral(matrices):
    return torch.linalg.matrix_norm(matrices, ord=2)


def below(small, large):
    """Whether small ≤ large everywhere, up to rounding."""
    return bool((small <= large * (1 + 1e-9) + 1e-13).all())


def test_jacobian_is_that_of_the_core():
    assert theory.jacobian is energy.jacobian


# Lemma A3


@few
@given(seeds)
def test_lemma_a3_there_is_one_fixed_point_for_all_starts(seed):
    g = generator(seed)
    patterns, _ = any_memory(g)
    patterns = patterns + uniform(g, 0, 2)
    beta = uniform(g, 0.3, 0.95) / float((patterns - patterns.mean(0)).norm(dim=1).max()) ** 2
    found = theory.global_fixed_point(patterns, beta)
    assert bool(found.unique)
    ends = iterate(20 * normal(g, 6, patterns.shape[1]), patterns, beta)
    torch.testing.assert_close(ends, ends[:1].expand_as(ends), rtol=0, atol=1e-10 * float(patterns.abs().max()))


@few
@given(seeds)
def test_lemma_a3_bounds_jacobian_and_weights(seed):
    g = generator(seed)
    patterns, beta = any_memory(g)
    patterns = patterns + uniform(g, -2, 2)
    found = theory.global_fixed_point(patterns, beta)
    states = 3 * normal(g, 8, patterns.shape[1])
    assert below(spectral(jacobian(states, patterns, beta=beta)), found.contraction)
    hull = torch.softmax(3 * normal(g, 8, len(patterns)), -1) @ patterns
    assert below(association_weights(hull, patterns, beta=beta), found.weight)
    spread = (patterns - patterns.mean(0)).norm(dim=1).max()
    exponent = 2 * beta * spread * (spread + patterns.mean(0).norm())
    torch.testing.assert_close(found.weight, (exponent.exp() / len(patterns)).clamp(max=1))
    torch.testing.assert_close(found.contraction, beta * spread**2)


def test_lemma_a3_is_tight_for_two_opposite_patterns():
    patterns = torch.tensor([[2.0], [-2.0]], dtype=torch.float64)
    assert float(spectral(jacobian(torch.zeros(1, dtype=torch.float64), patterns, beta=0.24))) == pytest.approx(0.96)
    below_one, above_one = theory.global_fixed_point(patterns, 0.24), theory.global_fixed_point(patterns, 0.26)
    assert float(below_one.contraction) == pytest.approx(0.96)
    assert bool(below_one.unique)
    assert float(iterate(patterns, patterns, 0.24).abs().max()) < 1e-9
    assert bool(theory.global_fixed_point(patterns, 0.2499).unique)
    # a little more, and each pattern has a fixed point of its own
    assert not bool(above_one.unique)
    ends = iterate(patterns, patterns, 0.26)
    assert float(ends[0]) > 0.5
    assert float(ends[1]) < -0.5


def test_the_mean_of_centred_patterns_is_a_fixed_point():
    patterns = normal(generator(1), 7, 3)
    patterns -= patterns.mean(0)
    mean = theory.global_fixed_point(patterns, 2.0).mean
    torch.testing.assert_close(update(mean, patterns, beta=2.0), mean)


# Lemmas A8-A12


@few
@given(seeds, st.booleans())
def test_metastable_state_holds_exactly_one_fixed_point(seed, level):
    g = generator(seed)
    patterns, members, beta = clustered_memory(g, level=level)
    found = theory.metastable_state(patterns, members, beta)
    assert bool(found.holds)
    start = in_ball(g, found.mean.expand(12, -1), found.radius)
    state = start
    for _ in range(4):
        outside = 1 - association_weights(state, patterns, beta=beta)[:, members].sum(-1)
        assert below(outside, found.outside)
        state = update(state, patterns, beta=beta)
        assert below((state - found.mean).norm(dim=1), found.radius)
    end = iterate(state, patterns, beta)
    torch.testing.assert_close(end, end[:1].expand_as(end), rtol=0, atol=1e-10)
    if level:  # an average of the members, and no single one of them
        kinds = theory.fixed_point_kind(end, patterns, beta=beta, global_share=1.0)
        assert set(kinds.labels) == {"metastable"}
        assert kinds.size.unique().tolist() == [len(members)]
        assert bool(torch.isin(kinds.index, members).all())


@few
@given(seeds, st.booleans())
def test_metastable_bounds_hold_for_any_state(seed, clustered):
    g = generator(seed)
    if clustered:
        patterns, members, beta = clustered_memory(g)
    else:
        patterns, beta = any_memory(g)
        members = torch.randperm(len(patterns), generator=g)[: 1 + len(patterns) // 2]
    states = patterns.norm(dim=1).max() * normal(g, 10, patterns.shape[1])
    outside = (1 - association_weights(states, patterns, beta=beta)[:, members].sum(-1)).clamp(0, 1)
    found = theory.metastable_bounds(patterns, members, outside, beta)
    assert below(spectral(jacobian(states, patterns, beta=beta)), found.jacobian)
    mean = patterns[members].mean(0)
    assert below((update(states, patterns, beta=beta) - mean).norm(dim=1), found.error)
    spread, norm = (patterns[members] - mean).norm(dim=1).max(), patterns.norm(dim=1).max()
    jac = beta * ((1 - outside) * spread**2 + 2 * outside * (2 - outside) * norm**2)
    torch.testing.assert_close(found.jacobian, jac)
    torch.testing.assert_close(found.error, spread + 2 * outside * norm)


def test_metastable_state_is_the_formula():
    patterns = torch.tensor([[2.0, 0.1], [2.0, -0.1], [-1.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
    beta, norm = 30.0, math.sqrt(5)
    found = theory.metastable_state(patterns, [1, 0], beta)
    assert found.mean.tolist() == [2.0, 0.0]
    assert float(found.spread) == pytest.approx(0.1)
    assert float(found.radius) == pytest.approx(1 / 3)
    assert float(found.separation) == pytest.approx(4 - 2)
    required = 2 * norm / 3 - math.log((1 - 0.3) / (2 * beta * 2 * norm * 2 * norm)) / beta
    assert float(found.required) == pytest.approx(required)
    assert bool(found.holds)
    assert float(found.outside) == pytest.approx(2 * math.exp(-beta * (2 - 2 * norm / 3)))
    mask = torch.tensor([True, True, False, False])
    assert all(map(torch.equal, theory.metastable_state(patterns, mask, beta), found))


def test_metastable_state_needs_a_small_spread_and_a_large_separation():
    patterns = torch.tensor([[2.0, 0.1], [2.0, -0.1], [-1.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
    # beta m_max² ≥ 1: members are told apart
    sharp = theory.metastable_state(patterns, [0, 1], 101.0)
    assert not bool(sharp.holds)
    assert float(sharp.required) == math.inf
    # not similar to each other more than to the others
    mixed = theory.metastable_state(patterns, [0, 2], 0.1)
    assert float(mixed.separation) < float(mixed.required) < math.inf
    assert not bool(mixed.holds)
    assert float(mixed.outside) == 1


@pytest.mark.parametrize(("beta", "holds"), [(0.24, True), (0.26, False)])
def test_metastable_state_of_all_patterns_is_the_global_fixed_point(beta, holds):
    patterns = torch.tensor([[2.0], [-2.0]], dtype=torch.float64)
    found = theory.metastable_state(patterns, [0, 1], beta)
    assert bool(found.holds) is holds is bool(theory.global_fixed_point(patterns, beta).unique)
    assert (float(found.separation), float(found.outside)) == (math.inf, 0)


def test_metastable_state_of_a_single_member_never_holds_but_where_there_is_no_other():
    patterns = torch.eye(3, dtype=torch.float64)
    found = theory.metastable_state(patterns, [1], 5.0)
    assert (float(found.spread), float(found.required), bool(found.holds)) == (0, math.inf, False)
    assert bool(theory.metastable_state(patterns[:1], [0], 5.0).holds)
    zero = theory.metastable_state(torch.zeros(3, 2), [0, 1], 1.0)
    assert (float(zero.required), bool(zero.holds)) == (math.inf, False)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([], "members must name at least one pattern, got none"),
        (torch.zeros(3, dtype=torch.bool), "members must name at least one pattern, got none"),
        ([0, 0], r"members must be distinct row numbers, .* or bool \(3,\), got shape \(2,\) with 1 distinct ones"),
        ([[0, 1]], r"members must be distinct .* got shape \(1, 2\)"),
        ([0, 3], "members must lie in 0 … 2, got 0 … 3"),
        ([0.5], "members must hold integers"),
        (torch.ones(2, dtype=torch.bool), "members must hold integers, .* got dtype torch.bool"),
    ],
)
def test_bad_members_are_refused(members, text):
    with pytest.raises(HopfieldError, match=text):
        theory.metastable_state(torch.eye(3), members, 1.0)
    with pytest.raises(HopfieldError, match=text):
        theory.metastable_bounds(torch.eye(3), members, 0.0, 1.0)


@pytest.mark.parametrize("outside", [-0.1, 1.5, math.nan])
def test_bad_weight_outside_is_refused(outside):
    with pytest.raises(HopfieldError, match=r"outside must lie in \[0, 1\], got"):
        theory.metastable_bounds(torch.eye(3), [0], outside, 1.0)


# Kinds


def three_kinds():
    """A cluster of 3 around (1, 0, ...), and 9 orthogonal patterns."""
    patterns = torch.eye(12, dtype=torch.float64)
    patterns[:3] = patterns[0] + 0.01 * patterns[:3]
    return patterns


def test_the_three_kinds_of_fixed_points():
    patterns = three_kinds()
    start = torch.stack([patterns[7], patterns[1]])
    found = theory.fixed_point_kind(iterate(start, patterns, 30.0), patterns, beta=30.0)
    assert found.labels == ["pattern", "metastable"]
    assert found.size.tolist() == [1, 3]
    assert found.index.tolist()[0] == 7
    assert found.index.tolist()[1] in (0, 1, 2)
    assert float(found.weight[0]) > 0.99
    assert 1 / 3 < float(found.weight[1]) < 1 / 2
    assert float(found.residual.max()) < 1e-12
    found = theory.fixed_point_kind(iterate(start, patterns, 0.1), patterns, beta=0.1)
    assert found.labels == ["global", "global"]
    assert found.size.tolist() == [11, 11]
    assert [theory.KINDS[code] for code in found.kind.tolist()] == found.labels


def test_a_stored_pattern_is_of_kind_pattern():
    patterns = 4 * torch.eye(5, dtype=torch.float64)
    assert bool(theory.well_separated(patterns, 1.0).all())
    found = theory.fixed_point_kind(iterate(patterns, patterns, 1.0), patterns)
    assert found.labels == ["pattern"] * 5
    assert found.index.tolist() == [0, 1, 2, 3, 4]


def test_shapes_of_kinds():
    patterns = three_kinds()
    single = theory.fixed_point_kind(patterns[7], patterns, beta=30.0)
    assert single.labels == "pattern"
    assert single.kind.shape == single.size.shape == single.index.shape == single.residual.shape == ()
    batch = theory.fixed_point_kind(patterns.reshape(2, 6, 12), patterns, beta=30.0)
    assert batch.labels == [["metastable"] * 3 + ["pattern"] * 3, ["pattern"] * 6]
    memories = torch.stack([patterns, patterns.flip(0)])
    each = theory.fixed_point_kind(patterns[:1].expand(2, 1, -1), memories, beta=30.0)
    assert each.labels == [["metastable"], ["metastable"]]
    assert (each.index < 3).tolist() == [[True], [False]]


def test_sizes_count_up_to_the_mass_with_rounding():
    # weights 1/10 each: nine of them carry 0.9
    patterns = torch.eye(10)
    found = theory.fixed_point_kind(torch.zeros(10), patterns)
    assert int(found.size) == 9
    assert found.labels == "global"
    assert int(theory.fixed_point_kind(torch.zeros(10), patterns, mass=0.45).size) == 5
    # half of the patterns is not more than half
    assert theory.fixed_point_kind(torch.zeros(10), patterns, mass=0.45).labels == "metastable"
    assert theory.fixed_point_kind(torch.zeros(10), patterns, mass=0.55).labels == "global"
    assert theory.fixed_point_kind(torch.zeros(10), patterns, global_share=1.0).labels == "metastable"
    assert theory.fixed_point_kind(torch.zeros(10), patterns, mass=0.1).labels == "pattern"


def test_residual_tells_whether_it_is_a_fixed_point():
    patterns = three_kinds()
    state = patterns[7] + 0.5
    found = theory.fixed_point_kind(state, patterns, beta=30.0)
    torch.testing.assert_close(found.residual, (state - update(state, patterns, beta=30.0)).norm())


@pytest.mark.parametrize("how", ["mask", "row of a mask", "bias"])
def test_masked_patterns_are_deleted_patterns(how):
    patterns, keep = three_kinds(), torch.arange(12) < 5
    state = torch.zeros(12, dtype=torch.float64)
    arguments = {
        "mask": {"mask": keep},
        "row of a mask": {"mask": keep.unsqueeze(0)},
        "bias": {"bias": torch.where(keep, 0.0, -math.inf).double()},
    }[how]
    for share, label in ((0.9, "global"), (1.0, "metastable")):  # all 5 of 5, though 5 < 12/2
        for states, expected in ((state, label), (state.expand(2, -1), [label, label])):
            found = theory.fixed_point_kind(states, patterns, **arguments, global_share=share)
            deleted = theory.fixed_point_kind(states, patterns[:5], global_share=share)
            assert found.labels == deleted.labels == expected
            assert torch.equal(found.size, deleted.size)


def test_nothing_to_attend_to_is_no_kind():
    patterns = three_kinds()
    for found in (
        theory.fixed_point_kind(patterns[:2], patterns, mask=torch.zeros(12, dtype=torch.bool)),
        theory.fixed_point_kind(patterns[:2], patterns[:0]),
        # all weight goes to the softmax's 1
        theory.fixed_point_kind(patterns[:2], patterns, beta=10.0, bias=torch.tensor(-5.0), separation="softmax1"),
    ):
        assert found.labels == ["none", "none"]
        assert found.size.tolist() == [0, 0]
        assert found.index.tolist() == [-1, -1]
        assert bool(found.weight.isfinite().all())
        assert bool(found.residual.isfinite().all())


def test_kinds_of_other_separation_functions():
    patterns = three_kinds()
    state = torch.stack([patterns[7], patterns[:3].mean(0), torch.zeros(12, dtype=torch.float64)])
    found = theory.fixed_point_kind(state, patterns, beta=30.0, separation="sparsemax")
    assert found.labels == ["pattern", "metastable", "global"]
    found = theory.fixed_point_kind(state[:2], patterns, beta=30.0, separation="softmax1")
    assert found.labels == ["pattern", "metastable"]


def test_kinds_in_half_precision():
    patterns = three_kinds().half()
    found = theory.fixed_point_kind(patterns[7], patterns, beta=30.0)
    assert found.labels == "pattern"
    assert found.residual.dtype == found.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mass": 1.0}, "mass must lie strictly between 0 and 1, got 1.0"),
        ({"mass": math.nan}, "mass must lie strictly between 0 and 1, got nan"),
        ({"global_share": 0.0}, r"global_share must lie in \(0, 1\], got 0.0"),
        ({"beta": -1.0}, "beta must be"),
        ({"beta": math.nan}, "beta must be"),
        ({"patterns": torch.full((3, 3), math.nan)}, "patterns must be finite, got 9 entries"),
        ({"patterns": [[1.0]]}, "patterns must be a tensor, got list"),
        ({"state": torch.full((3,), math.inf)}, "state must be finite, got 3 entries"),
        ({"state": torch.ones(3, dtype=torch.int64)}, "state must be real floating point, got dtype torch.int64"),
        ({"state": torch.ones(4)}, "must have the same size"),
        ({"patterns": torch.ones(3)}, r"patterns must be \(\*batch, N, d\)"),
        ({"separation": "softmin"}, "unknown separation 'softmin'"),
    ],
)
def test_bad_arguments_of_kinds_are_refused(change, text):
    arguments = {"state": torch.ones(3), "patterns": torch.eye(3)} | change
    with pytest.raises(HopfieldError, match=text):
        theory.fixed_point_kind(**arguments)
