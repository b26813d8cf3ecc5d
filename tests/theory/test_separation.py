import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from hopfield import theory
from hopfield.core.energy import update
from hopfield.errors import HopfieldError
from hopfield.theory import separation as module
from tests.theory.memories import any_memory, generator, in_ball, iterate, naive_separation, normal, separated_memory

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25)


@few
@given(seeds, st.sampled_from([1, 5, 30, 1 << 22]))
def test_separation_equals_the_double_loop(seed, block):
    patterns, _ = any_memory(generator(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_ENTRIES", block)
        found = theory.pattern_separation(patterns)
    torch.testing.assert_close(found, naive_separation(patterns), rtol=1e-12, atol=1e-12)


@few
@given(seeds)
def test_separation_is_half_the_squared_distance_for_equal_norms(seed):
    patterns = torch.nn.functional.normalize(normal(generator(seed), 9, 4), dim=-1)
    distances = torch.cdist(patterns, patterns).fill_diagonal_(math.inf)
    torch.testing.assert_close(theory.pattern_separation(patterns), distances.amin(1).square() / 2)


def test_separation_of_chosen_patterns_keeps_the_shape_of_the_index():
    patterns = normal(generator(1), 6, 3)
    every = theory.pattern_separation(patterns)
    index = torch.tensor([[4, 0], [4, 2]])
    assert torch.equal(theory.pattern_separation(patterns, index), every[index])
    assert torch.equal(theory.pattern_separation(patterns, 3), every[3])
    assert theory.pattern_separation(patterns, 3).shape == ()
    assert torch.equal(theory.pattern_separation(patterns, [5, 1]), every[[5, 1]])


def test_separation_of_special_memories():
    assert theory.pattern_separation(torch.ones(1, 3)).tolist() == [math.inf]
    large = 1e4 * torch.randn(40, 64)
    assert theory.pattern_separation(torch.cat([large, large])).tolist() == [0.0] * 80
    # a long pattern in the same direction takes the short one's place
    assert theory.pattern_separation(torch.tensor([[1.0], [3.0]])).tolist() == [-2.0, 6.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_separation_of_half_precision_is_float32(dtype):
    patterns = torch.randn(5, 8).to(dtype)
    found = theory.pattern_separation(patterns)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), naive_separation(patterns.double()), rtol=1e-5, atol=1e-5)


def test_separation_has_the_gradient_of_the_double_loop():
    patterns = normal(generator(2), 7, 4).requires_grad_()
    cotangent = normal(generator(3), 7)
    found = torch.autograd.grad(theory.pattern_separation(patterns), patterns, cotangent)
    torch.testing.assert_close(found, torch.autograd.grad(naive_separation(patterns), patterns, cotangent))


class Largest(TorchDispatchMode):
    """Size of the largest tensor that any operation makes."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.entries = max(self.entries, result.numel())
        return result


def test_separation_never_holds_all_dot_products():
    patterns = torch.randn(4000, 2)
    with Largest() as largest:
        theory.pattern_separation(patterns)
    assert 4000 < largest.entries <= module._BLOCK_ENTRIES < 4000**2


def test_sphere_and_required_separation_are_the_formulas():
    patterns = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    assert float(theory.sphere_radius(patterns, 3.0)) == pytest.approx(1 / (3 * 3 * 2))
    required = 2 / (3 * 3) + math.log(2 * 2 * 3 * 3 * 4) / 3
    assert float(theory.required_separation(patterns, 3.0)) == pytest.approx(required)
    # the separations are 4, 1, 1
    assert 1 < required < 4
    assert theory.well_separated(patterns, 3.0).tolist() == [True, False, False]


def test_well_separated_at_the_threshold_of_two_opposite_patterns():
    # u = beta M² has to meet 1 + ln(4 u) ≤ 2 u, that is u ≥ 1.3392 or u ≤ 0.1099
    patterns = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert theory.well_separated(patterns, 1.3391).tolist() == [False, False]
    assert theory.well_separated(patterns, 1.3393).tolist() == [True, True]


def test_a_tiny_beta_does_not_count_as_well_separated():
    # Δ = 2 meets the inequality, but all iterations lead to the one global fixed point
    patterns = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert float(theory.required_separation(patterns, 0.05)) < 2
    assert bool(theory.global_fixed_point(patterns, 0.05).unique)
    assert theory.well_separated(patterns, 0.05).tolist() == [False, False]


def test_a_single_pattern_is_always_well_separated():
    assert theory.well_separated(torch.tensor([[0.5, 2.0]]), 1e-3).tolist() == [True]


@few
@given(seeds)
def test_spheres_of_well_separated_patterns_are_mapped_into_themselves_and_hold_one_fixed_point(seed):
    g = generator(seed)
    patterns, beta = separated_memory(g)
    assert bool(theory.well_separated(patterns, beta).all())
    radius = theory.sphere_radius(patterns, beta)
    gaps = torch.cdist(patterns, patterns).fill_diagonal_(math.inf)
    assert float(gaps.min()) > 2 * float(radius)

    start = in_ball(g, patterns.expand(5, -1, -1), radius)  # five points around every pattern
    state = start
    for _ in range(4):
        state = update(state, patterns, beta=beta)
        distance = torch.linalg.vector_norm(state - patterns, dim=-1)
        assert bool((distance <= radius * (1 + 1e-9)).all())
    end = iterate(state, patterns, beta)
    torch.testing.assert_close(end, end[:1].expand_as(end), rtol=0, atol=1e-9 * float(radius))
    moved = torch.linalg.vector_norm(update(end, patterns, beta=beta) - end, dim=-1)
    assert bool((moved <= 1e-10 * radius).all())


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ([[1.0, 2.0]], r"patterns must be a tensor \(N, d\), got list"),
        (torch.ones(3), r"matrix \(N, d\).*got shape \(3,\)"),
        (torch.ones(2, 3, 4), r"got shape \(2, 3, 4\); for a batch of memories, call once for each"),
        (torch.ones(0, 4), r"N, d ≥ 1.*got shape \(0, 4\)"),
        (torch.ones(2, 2, dtype=torch.long), r"patterns must be real floating point, got dtype torch.int64"),
        (torch.tensor([[1.0, math.nan], [math.inf, 0.0]]), r"patterns must be finite, got 2 entries NaN or infinite"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        theory.pattern_separation,
        lambda patterns: theory.sphere_radius(patterns, 1.0),
        lambda patterns: theory.required_separation(patterns, 1.0),
        lambda patterns: theory.well_separated(patterns, 1.0),
        lambda patterns: theory.retrieval_error_bound(patterns, 1.0),
        lambda patterns: theory.contraction_bound(patterns, 1.0),
        lambda patterns: theory.global_fixed_point(patterns, 1.0),
        lambda patterns: theory.metastable_state(patterns, [0], 1.0),
    ],
)
def test_bad_patterns_are_refused(function, patterns, text):
    with pytest.raises(HopfieldError, match=text):
        function(patterns)


@pytest.mark.parametrize("beta", [0, -1.0, math.nan, math.inf, torch.tensor(-2.0)])
@pytest.mark.parametrize(
    "function",
    [theory.sphere_radius, theory.required_separation, theory.well_separated, theory.retrieval_error_bound,
     theory.contraction_bound, theory.global_fixed_point],
)  # fmt: skip
def test_bad_beta_is_refused(function, beta):
    with pytest.raises(HopfieldError, match=r"beta must be positive and finite, got"):
        function(torch.eye(3), beta)


def test_beta_of_another_type_is_refused():
    with pytest.raises(HopfieldError, match="beta must be a single positive number, got str"):
        theory.sphere_radius(torch.eye(3), "1")
    with pytest.raises(HopfieldError, match="beta must be a single positive number, got Tensor"):
        theory.sphere_radius(torch.eye(3), torch.ones(2))


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (3, r"index must lie in 0 … 2, got 3 … 3"),
        ([0, -1], r"index must lie in 0 … 2, got -1 … 0"),
        (torch.tensor([0.0]), r"index must hold integers, .* got dtype torch.float32"),
        (torch.tensor([True, False, True]), r"index must hold integers, .* got dtype torch.bool"),
    ],
)
def test_bad_index_is_refused(index, text):
    with pytest.raises(HopfieldError, match=text):
        theory.pattern_separation(torch.eye(3), index)
