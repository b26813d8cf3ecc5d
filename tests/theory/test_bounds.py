import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hopfield import theory
from hopfield.core.association import association_weights
from hopfield.core.energy import jacobian, update
from hopfield.errors import HopfieldError
from tests.theory.memories import (
    any_memory,
    generator,
    in_ball,
    integer,
    iterate,
    naive_separation,
    normal,
    separated_memory,
    uniform,
)

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=25)

# Two opposite patterns, M = 2. f(ξ) = tanh(beta 2 ξ) 2, and all inequalities are equalities up to 1 + exp(-2 beta M²).
PAIR = torch.tensor([[2.0], [-2.0]], dtype=torch.float64)


def distance(first, second):
    return torch.linalg.vector_norm(first - second, dim=-1)


def spectral(matrices):
    return torch.linalg.matrix_norm(matrices, ord=2)


def below(small, large):
    """Whether small ≤ large everywhere, up to rounding."""
    return bool((small <= large * (1 + 1e-9) + 1e-13).all())


# Theorem 5


@few
@given(seeds)
def test_theorem_5_bounds_the_retrieval_error_of_separated_patterns(seed):
    g = generator(seed)
    patterns, beta = separated_memory(g)
    radius = theory.sphere_radius(patterns, beta)
    query = in_ball(g, patterns.expand(4, -1, -1), radius)
    fixed_point = iterate(patterns, patterns, beta)
    index = torch.arange(len(patterns))

    bound = theory.retrieval_error_bound(patterns, beta, query, fixed_point)
    assert torch.equal(bound, theory.retrieval_error_bound(patterns, beta, query, fixed_point, index))
    assert below(distance(update(query, patterns, beta=beta), patterns), bound)
    assert below(distance(fixed_point, patterns), bound)
    # lemma A5: this is what keeps an update in the sphere
    assert below(bound, radius)

    simple = theory.retrieval_error_bound(patterns, beta)
    assert below(distance(update(query, patterns, beta=beta), patterns), simple)
    assert below(distance(fixed_point, patterns), simple)
    # r M is at most 1/(2 beta) in the simple form
    assert below(bound, simple)


@few
@given(seeds)
def test_theorem_5_holds_for_any_state_and_any_pattern(seed):
    g = generator(seed)
    patterns, beta = any_memory(g)
    index = torch.randint(len(patterns), (6,), generator=g)
    query = patterns[index] + uniform(g, 0, 2) * normal(g, 6, patterns.shape[1])
    bound = theory.retrieval_error_bound(patterns, beta, query, index=index)
    assert below(distance(update(query, patterns, beta=beta), patterns[index]), bound)


def test_theorem_5_is_the_formula():
    g = generator(5)
    patterns, query, fixed_point = normal(g, 5, 3), normal(g, 3), normal(g, 3)
    norm = patterns.norm(dim=1).max()
    separation = naive_separation(patterns)[2]
    far = torch.maximum(distance(query, patterns[2]), distance(fixed_point, patterns[2]))
    expected = 2 * 4 * norm * torch.exp(-0.3 * (separation - 2 * far * norm))
    torch.testing.assert_close(theory.retrieval_error_bound(patterns, 0.3, query, fixed_point, 2), expected)
    swapped = theory.retrieval_error_bound(patterns, 0.3, fixed_point=query, query=fixed_point, index=2)
    torch.testing.assert_close(swapped, expected)
    simple = 2 * math.e * 4 * norm * torch.exp(-0.3 * naive_separation(patterns))
    torch.testing.assert_close(theory.retrieval_error_bound(patterns, 0.3), simple)
    torch.testing.assert_close(theory.retrieval_error_bound(patterns, 0.3, index=[1, 1]), simple[[1, 1]])


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_theorem_5_is_tight_for_two_opposite_patterns(beta):
    error = distance(update(PAIR, PAIR, beta=beta), PAIR)
    bound = theory.retrieval_error_bound(PAIR, beta, PAIR)
    torch.testing.assert_close(bound, error * (1 + math.exp(-8 * beta)), rtol=1e-4, atol=0)
    if beta < 2:  # else 2 - error has lost its digits
        torch.testing.assert_close(bound, error * (1 + math.exp(-8 * beta)), rtol=1e-9, atol=0)


def test_points_choose_the_nearest_pattern_and_keep_their_shape():
    patterns = 5 * torch.eye(4, dtype=torch.float64)
    query = patterns[torch.tensor([[1, 3, 0], [2, 2, 1]])] + 0.1
    for function in (theory.retrieval_error_bound, theory.residual_error_bound):
        found = function(patterns, 1.0, query)
        assert found.shape == (2, 3)
        torch.testing.assert_close(found, function(patterns, 1.0, query, index=[[1, 3, 0], [2, 2, 1]]))
    assert theory.retrieval_error_bound(patterns, 1.0, query[0, 0], query).shape == (2, 3)
    assert theory.retrieval_error_bound(patterns, 1.0, fixed_point=query[0, 0]).shape == ()
    # with another pattern meant, the bound is another
    other = theory.retrieval_error_bound(patterns, 1.0, query, index=0)
    assert float(other[0, 0]) > 1e3 * float(theory.retrieval_error_bound(patterns, 1.0, query)[0, 0])


def test_a_single_pattern_is_retrieved_without_error():
    pattern, query = torch.ones(1, 3), torch.randn(2, 3)
    assert theory.retrieval_error_bound(pattern, 1.0).tolist() == [0.0]
    assert theory.retrieval_error_bound(pattern, 1.0, query).tolist() == [0.0, 0.0]
    assert theory.one_update_bound(pattern, 1.0, query, pattern).tolist() == [0.0, 0.0]
    assert theory.margin_bound(pattern, 1.0, query).weight.tolist() == [1.0, 1.0]
    assert theory.jacobian_norm_bound(pattern, 1.0, query).tolist() == [0.0, 0.0]


# Theorem 4


@few
@given(seeds)
def test_theorem_4_bounds_one_update_of_separated_patterns(seed):
    g = generator(seed)
    patterns, beta = separated_memory(g)
    radius = theory.sphere_radius(patterns, beta)
    fixed_point = iterate(patterns, patterns, beta)
    query = in_ball(g, patterns.expand(4, -1, -1), 2 * radius)  # also outside the sphere
    bound = theory.one_update_bound(patterns, beta, query, fixed_point, torch.arange(len(patterns)))
    assert below(distance(update(query, patterns, beta=beta), fixed_point), bound)

    inside = in_ball(g, patterns, radius)
    assert below(spectral(jacobian(inside, patterns, beta=beta)), theory.contraction_bound(patterns, beta))
    assert bool((theory.contraction_bound(patterns, beta) <= 1).all())
    bound = theory.one_update_bound(patterns, beta, inside, fixed_point)
    assert below(bound, distance(inside, fixed_point))  # the update contracts


@few
@given(seeds)
def test_theorem_4_holds_for_any_fixed_point(seed):
    g = generator(seed)
    patterns, _ = any_memory(g)
    # an update that contracts everywhere leads to the only fixed point, near no pattern
    beta = uniform(g, 0.3, 0.9) / float(theory.global_fixed_point(patterns, 1.0).contraction)
    fixed_point = iterate(patterns[0], patterns, beta)
    query = in_ball(g, patterns, uniform(g, 0, 1))
    index = torch.arange(len(patterns))
    bound = theory.one_update_bound(patterns, beta, query, fixed_point, index)
    assert below(distance(update(query, patterns, beta=beta), fixed_point), bound)
    factor = theory.contraction_bound(
        patterns, beta, torch.maximum(distance(query, patterns), distance(fixed_point, patterns))
    )
    torch.testing.assert_close(bound, factor * distance(query, fixed_point))


@few
@given(seeds)
def test_contraction_bound_holds_in_balls_of_any_radius(seed):
    g = generator(seed)
    patterns, beta = any_memory(g)
    radius = uniform(g, 0, 1)
    states = in_ball(g, patterns.expand(3, -1, -1), radius)
    bound = theory.contraction_bound(patterns, beta, radius)
    assert below(spectral(jacobian(states, patterns, beta=beta)), bound)
    assert torch.equal(theory.contraction_bound(patterns, beta, radius, 0), bound[0])


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_theorem_4_is_tight_for_two_opposite_patterns(beta):
    norm = spectral(jacobian(PAIR, PAIR, beta=beta))
    bound = theory.contraction_bound(PAIR, beta, 0.0)
    torch.testing.assert_close(bound, norm * (1 + math.exp(-8 * beta)) ** 2, rtol=1e-9, atol=0)


def test_one_update_from_the_fixed_point_stays_there():
    # the factor overflows, the distance is zero
    patterns = 1e3 * torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    point = torch.tensor([500.0, 500.0], dtype=torch.float64)
    assert theory.contraction_bound(patterns, 1.0, 1e3).tolist() == [math.inf, math.inf]
    assert float(theory.one_update_bound(patterns, 1.0, point, point)) == 0
    assert float(theory.one_update_bound(patterns, 1.0, point + 1, point)) == math.inf


# Lemma A2


@few
@given(seeds)
def test_lemma_a2_bounds_the_jacobian(seed):
    g = generator(seed)
    patterns, beta = any_memory(g)
    query = normal(g, 2, 5, patterns.shape[1])
    bound = theory.jacobian_norm_bound(patterns, beta, query)
    assert bound.shape == (2, 5)
    assert below(spectral(jacobian(query, patterns, beta=beta)), bound)
    weights = association_weights(query, patterns, beta=beta)
    largest = float(torch.linalg.matrix_norm(patterns, 2)) ** 2
    torch.testing.assert_close(bound, 2 * beta * largest * (weights * (1 - weights)).amax(-1), rtol=1e-7, atol=1e-9)
    assert below(bound, torch.full_like(bound, beta * largest / 2))


@pytest.mark.parametrize("beta", [0.1, 1.0, 10.0])
def test_lemma_a2_is_tight_for_two_opposite_patterns_even_where_a_weight_rounds_to_1(beta):
    # ‖J‖ = beta M² / cosh²(beta M²), M² = 4
    expected = torch.full((2,), 4 * beta / math.cosh(4 * beta) ** 2, dtype=torch.float64)
    torch.testing.assert_close(theory.jacobian_norm_bound(PAIR, beta, PAIR), expected, rtol=1e-9, atol=0)


# Lemma A4


@few
@given(seeds)
def test_lemma_a4_bounds_weight_and_error_of_any_state_and_pattern(seed):
    g = generator(seed)
    patterns, beta = any_memory(g)
    query = normal(g, 2, 5, patterns.shape[1]) * patterns.norm(dim=1).max()
    for index in (None, integer(g, 0, len(patterns) - 1)):
        found = theory.margin_bound(patterns, beta, query, index)
        weight = association_weights(query, patterns, beta=beta).gather(-1, found.pattern.unsqueeze(-1)).squeeze(-1)
        assert below(found.weight, weight)
        assert below(distance(update(query, patterns, beta=beta), patterns[found.pattern]), found.error)
    scores = query @ patterns.mT
    chosen = theory.margin_bound(patterns, beta, query)
    assert torch.equal(chosen.pattern, scores.argmax(-1))
    two = scores.topk(2).values
    torch.testing.assert_close(chosen.margin, two[..., 0] - two[..., 1])


@few
@given(seeds)
def test_lemma_a4_says_something_and_more_than_theorem_5_in_the_sphere(seed):
    g = generator(seed)
    patterns, beta = separated_memory(g)
    query = in_ball(g, patterns, theory.sphere_radius(patterns, beta))
    found = theory.margin_bound(patterns, beta, query, torch.arange(len(patterns)))
    assert bool((found.weight > 0).all())
    assert below(found.error, theory.retrieval_error_bound(patterns, beta, query))
    torch.testing.assert_close(found.weight, 1 - found.epsilon)
    torch.testing.assert_close(found.error, 2 * found.epsilon * patterns.norm(dim=1).max())


def test_lemma_a4_is_tight_for_two_opposite_patterns():
    found = theory.margin_bound(PAIR, 0.7, PAIR)
    weight = association_weights(PAIR, PAIR, beta=0.7).diagonal()
    torch.testing.assert_close(found.epsilon, (1 - weight) / weight)
    torch.testing.assert_close(found.error, distance(update(PAIR, PAIR, beta=0.7), PAIR) / weight)


# The error from the residual


@few
@given(seeds)
def test_residual_bounds_the_distance_to_the_fixed_point(seed):
    g = generator(seed)
    patterns, beta = separated_memory(g)
    beta *= 1.05  # at the threshold itself the update need not contract
    fixed_point = iterate(patterns, patterns, beta)
    query = in_ball(g, patterns.expand(3, -1, -1), 0.99 * theory.sphere_radius(patterns, beta))
    bound = theory.residual_error_bound(patterns, beta, query)
    assert bool(bound.isfinite().all())
    moved = update(query, patterns, beta=beta)
    assert below(distance(moved, fixed_point), bound)
    kappa = theory.contraction_bound(patterns, beta)
    torch.testing.assert_close(bound, kappa / (1 - kappa) * distance(query, moved))


@few
@given(seeds)
def test_residual_bounds_the_distance_where_the_update_contracts_everywhere(seed):
    g = generator(seed)
    patterns, _ = any_memory(g)
    beta = uniform(g, 0.3, 0.9) / float(theory.global_fixed_point(patterns, 1.0).contraction)
    kappa = theory.global_fixed_point(patterns, beta).contraction
    query = 3 * normal(g, 5, patterns.shape[1])
    bound = theory.residual_error_bound(patterns, beta, query, contraction=kappa)
    moved = update(query, patterns, beta=beta)
    assert below(distance(moved, iterate(moved, patterns, beta)), bound)
    torch.testing.assert_close(bound, kappa / (1 - kappa) * distance(query, moved))


def test_residual_says_nothing_where_nothing_is_known():
    patterns = 5 * torch.eye(4, dtype=torch.float64)
    radius = float(theory.sphere_radius(patterns, 1.0))
    step = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    query = torch.stack([patterns[0] + 0.99 * radius * step, patterns[0] + 1.01 * radius * step])
    assert theory.residual_error_bound(patterns, 1.0, query).isfinite().tolist() == [True, False]
    # not well separated
    assert theory.residual_error_bound(patterns, 0.1, patterns).tolist() == [math.inf] * 4
    assert theory.residual_error_bound(patterns, 1.0, query, contraction=1.0).tolist() == [math.inf] * 2


# Arguments


def test_float16_is_computed_in_float32():
    patterns = (3 * torch.eye(4)).half()
    for found in (
        theory.retrieval_error_bound(patterns, 1.0, patterns),
        theory.contraction_bound(patterns, 1.0),
        theory.margin_bound(patterns, 1.0, patterns).error,
        theory.jacobian_norm_bound(patterns, 1.0, patterns),
        theory.residual_error_bound(patterns, 1.0, patterns),
    ):
        assert found.dtype == torch.float32
        assert bool(found.isfinite().all())


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ([1.0, 2.0, 3.0], r"query must be a tensor \(\*batch, d\), got list"),
        (torch.ones(2, 4), r"query must have shape \(\*batch, 3\).*got \(2, 4\)"),
        (torch.tensor(1.0), r"query must have shape \(\*batch, 3\).*got \(\)"),
        (torch.ones(3, dtype=torch.int32), r"query must be real floating point, got dtype torch.int32"),
        (torch.tensor([1.0, math.nan, 0.0]), r"query must be finite, got 1 entries"),
        (torch.ones(3, device="meta"), r"query must be on the device of the patterns, cpu, got meta"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        lambda query: theory.retrieval_error_bound(torch.eye(3), 1.0, query),
        lambda query: theory.one_update_bound(torch.eye(3), 1.0, query, torch.ones(3)),
        lambda query: theory.jacobian_norm_bound(torch.eye(3), 1.0, query),
        lambda query: theory.margin_bound(torch.eye(3), 1.0, query),
        lambda query: theory.residual_error_bound(torch.eye(3), 1.0, query),
    ],
)
def test_bad_queries_are_refused(function, query, text):
    with pytest.raises(HopfieldError, match=text):
        function(query)


def test_other_bad_arguments_are_refused():
    patterns = torch.eye(3)
    with pytest.raises(HopfieldError, match=r"broadcast together, got query \(2, 3\) and fixed_point \(4, 3\)"):
        theory.retrieval_error_bound(patterns, 1.0, torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(HopfieldError, match=r"one row number for each point, shape \(2,\), got \(3,\)"):
        theory.margin_bound(patterns, 1.0, torch.ones(2, 3), [0, 1, 2])
    with pytest.raises(HopfieldError, match="index must lie in 0 … 2, got 7 … 7"):
        theory.retrieval_error_bound(patterns, 1.0, torch.ones(2, 3), index=7)
    with pytest.raises(HopfieldError, match="radius must not be negative or NaN, got a smallest entry of -1"):
        theory.contraction_bound(patterns, 1.0, -1.0)
    with pytest.raises(HopfieldError, match="contraction must be positive and finite, got 0"):
        theory.residual_error_bound(patterns, 1.0, torch.ones(3), contraction=0)
