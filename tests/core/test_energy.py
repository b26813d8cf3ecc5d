"""Energy, update and Jacobian: the formulas of the paper, descent, bounds, and how they hang together."""

import math

import pytest
import torch
from hypothesis import assume

from hopfield import energy, jacobian, update
from hopfield.errors import HopfieldError
from hopfield.separation import Softmax, Softmax1
from tests.core.catalogue import (
    SLOW,
    Inputs,
    close,
    computing,
    each_case,
    each_separation,
    each_wrong_input,
    examples,
    generator,
    integer,
    normal,
    smooth,
    some_inputs,
    sums_to_one,
    textbook,
    uniform,
    ways,
    yes,
)


def memory(g):
    """Patterns, states and beta of any size; often with equal patterns and states between them."""
    N, d = integer(g, 1, 7), integer(g, 1, 4)
    if yes(g):
        patterns, states = torch.randint(-1, 2, (N, d), generator=g), torch.randint(-2, 3, (6, d), generator=g)
        return states.double(), patterns.double(), math.exp(uniform(g, -2, 2))
    return 2 * normal(g, 6, d), normal(g, N, d), math.exp(uniform(g, -2, 2))


def in_hull(g, patterns):
    return torch.softmax(4 * normal(g, 6, len(patterns)), -1) @ patterns


# ------------------------------------------------------------------------------------------------------------- formulas


@examples(20)
def test_softmax_energy_is_that_of_the_paper(seed):
    states, X, beta = memory(generator(seed))
    lse = torch.exp(beta * states @ X.T).sum(-1).log() / beta
    largest = X.square().sum(-1).max()
    expected = -lse + states.square().sum(-1) / 2 + math.log(len(X)) / beta + largest / 2
    close(energy(states, X, beta=beta), expected, 1 + float(largest))


@each_separation
@examples(10)
def test_energy_is_the_potential_of_the_scores_every_way(separation, seed):
    x = some_inputs(generator(seed), own_values=False)
    _, _, potential = textbook(separation, x)
    full = x.whole()
    beta = full.beta.squeeze(-1)
    ground = separation.potential(torch.zeros(()).double().expand(full.mask.shape).masked_fill(~full.mask, -math.inf))
    height = full.patterns.square().sum(-1).unsqueeze(-2) / 2 + full.bias
    highest = height.masked_fill(~full.mask, -math.inf).amax(-1)
    expected = (ground - potential) / beta + full.query.square().sum(-1) / 2 + highest
    expected = torch.where(full.mask.any(-1), expected, full.query.square().sum(-1) / 2)
    for way in ways(separation):
        with computing(way):
            close(energy(x.query, x.patterns, separation=separation, **x.options), expected)


@each_case
@examples(5)
def test_gradient_of_the_energy_is_state_less_update(separation, way, seed):
    g = generator(seed)
    states, X = normal(g, 3, 3).requires_grad_(), normal(g, 6, 3)
    options = {"beta": torch.exp(normal(g, 3, 1)), "bias": normal(g, 6), "mask": yes(g, 3, 6), "separation": separation}
    with computing(way):
        (gradient,) = torch.autograd.grad(energy(states, X, **options).sum(), states)
        close(gradient, (states - update(states, X, **options)).detach())


@each_case
def test_energy_is_differentiable_in_everything(separation, way):
    g = generator(3)
    x = Inputs(normal(g, 2, 2), normal(g, 3, 2), None, torch.tensor([[0.7], [1.3]]).double(), normal(g, 3))
    while not smooth(separation, x.beta * (x.query @ x.patterns.T + x.bias)):
        x = Inputs(normal(g, 2, 2), normal(g, 3, 2), None, x.beta, x.bias)
    x = x.learning()

    def function(query, patterns, beta, bias):
        return energy(query, patterns, beta=beta, bias=bias, separation=separation)

    with computing(way):
        leaves = (x.query, x.patterns, x.beta, x.bias)
        assert torch.autograd.gradcheck(function, leaves, fast_mode=separation in SLOW)


def test_shapes_and_types():
    g = generator(0)
    states, patterns = normal(g, 2, 3, 4, 5), normal(g, 3, 6, 5)
    assert energy(states, patterns).shape == (2, 3, 4)
    assert jacobian(states, patterns).shape == (2, 3, 4, 5, 5)
    assert energy(states[0, 0, 0], patterns[0]).shape == ()
    assert jacobian(states[0, 0, 0], patterns[0]).shape == (5, 5)
    assert energy(states[0, 0, 0], patterns).shape == (3,)
    assert jacobian(states[0, 0, 0], patterns).shape == (3, 5, 5)
    close(energy(states[1, 2, 3], patterns[2]), energy(states, patterns)[1, 2, 3])
    half = energy(states.half(), patterns.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, energy(states.half().float(), patterns.half().float()))
    assert jacobian(states.half(), patterns.half()).dtype == torch.float16


@pytest.mark.parametrize("function", [energy, jacobian])
@each_wrong_input
def test_errors(function, query, patterns, options, text):
    with pytest.raises(HopfieldError, match=text):
        function(query, patterns, **options)


# --------------------------------------------------------------------------------------------------- bounds and descent


@each_separation
@examples(20)
def test_energy_is_never_negative(separation, seed):
    g = generator(seed)
    states, X, beta = memory(g)
    slack = 1e-9 * (1 + float(X.square().sum(-1).max()))
    bias = 3 * normal(g, len(X)) if sums_to_one(separation) else -X.square().sum(-1) / 2 * uniform(g, -1, 1)
    mask = yes(g, 6, len(X))
    for points in (states, X, in_hull(g, X)):
        assert float(energy(points, X, beta=beta, separation=separation).min()) >= -slack
        assert float(energy(points, X, beta=beta, bias=bias, separation=separation).min()) >= -slack
    for options in ({"mask": mask}, {"mask": mask, "bias": bias}):
        assert float(energy(states, X, beta=beta, separation=separation, **options).min()) >= -slack


@examples(20)
def test_softmax_energy_in_the_hull_is_at_most_twice_the_largest_square(seed):
    g = generator(seed)
    _, X, beta = memory(g)
    largest = float(X.square().sum(-1).max())
    found = energy(torch.cat([X, in_hull(g, X)]), X, beta=beta)
    assert float(found.max()) <= 2 * largest + 1e-9
    assert float(found.max()) <= math.log(len(X)) / beta + largest / 2 + 1e-9


def test_outside_the_hull_the_upper_bound_does_not_hold():
    assert float(energy(torch.tensor([10.0, 10.0]), torch.eye(2))) == pytest.approx(90.5)


def test_energy_is_zero_where_all_patterns_are_one():
    x = torch.tensor([1.0, -2.0])
    for separation in ("softmax", "sparsemax", "entmax", "normmax", "top1"):
        assert float(energy(x, x.expand(5, 2), separation=separation)) == pytest.approx(0, abs=1e-6)
        assert float(energy(x + 1, x.expand(5, 2), separation=separation)) > 0.1


@each_separation
@examples(20)
def test_energy_falls_by_half_the_square_of_the_step(separation, seed):
    g = generator(seed)
    states, X, beta = memory(g)
    options = {"beta": beta, "separation": separation}
    if yes(g):
        options |= {"beta": torch.exp(normal(g, 6, 1)), "bias": normal(g, len(X)), "mask": yes(g, 6, len(X))}
    before = energy(states, X, **options)
    for _ in range(3):
        following = update(states, X, **options)
        after = energy(following, X, **options)
        fall = before - after - (following - states).square().sum(-1) / 2
        assert float(fall.min()) >= -1e-9 * (1 + float(before.abs().max()))
        states, before = following, after


@each_separation
def test_with_no_pattern_left_the_energy_is_half_the_square(separation):
    states = normal(generator(1), 3, 4)
    half = states.square().sum(-1) / 2
    nobody = torch.zeros(3, 7, dtype=torch.bool)
    patterns = normal(generator(2), 7, 4)
    close(energy(states, patterns[:0], separation=separation), half)
    close(energy(states, patterns, mask=nobody, separation=separation), half)
    nobody[1] = True
    mixed = energy(states.requires_grad_(), patterns, mask=nobody, separation=separation)
    close(mixed[::2].detach(), half[::2])
    close(mixed[1], energy(states[1], patterns, separation=separation))
    (gradient,) = torch.autograd.grad(mixed.sum(), states)
    close(gradient[::2], states.detach()[::2])


@each_case
def test_energy_stays_finite(separation, way):
    patterns = 1e4 * torch.nn.functional.normalize(normal(generator(4), 8, 5), dim=-1).float()
    states = torch.cat([patterns[:2], 0.1 * patterns[2:3], torch.zeros(1, 5)])
    for dtype, beta in ((torch.float32, 1e6), (torch.float16, 1e6), (torch.bfloat16, torch.tensor(1e6))):
        with computing(way):
            found = energy(states.to(dtype), patterns.to(dtype), beta=beta, separation=separation)
        assert bool(found.isfinite().all())
        torch.testing.assert_close(found[:2], torch.zeros(2), rtol=0, atol=1e8 * 1e-2)


# ------------------------------------------------------------------------------------------------------------- Jacobian


@each_separation
@examples(10)
def test_jacobian_is_the_derivative_of_the_update(separation, seed):
    g = generator(seed)
    state, X, beta = normal(g, 3), normal(g, integer(g, 1, 6), 3), math.exp(uniform(g, -1, 1))
    assume(smooth(separation, beta * X @ state))
    found = jacobian(state, X, beta=beta, separation=separation)
    size = 1 + float(found.abs().max())
    close(
        found, torch.autograd.functional.jacobian(lambda s: update(s, X, beta=beta, separation=separation), state), size
    )
    hessian = torch.autograd.functional.hessian(lambda s: energy(s, X, beta=beta, separation=separation), state)
    close(found, torch.eye(3).double() - hessian, size)
    close(found, found.T, size)
    assert float(torch.linalg.eigvalsh(found).min()) >= -1e-9 * size


def test_softmax_jacobian_is_beta_times_the_covariance():
    g = generator(5)
    state, X, beta = normal(g, 3), normal(g, 6, 3), 0.8
    p = torch.softmax(beta * X @ state, -1)
    close(jacobian(state, X, beta=beta), beta * X.T @ (torch.diag(p) - torch.outer(p, p)) @ X)


@each_separation
@examples(5)
def test_jacobian_of_every_arrangement(separation, seed):
    g = generator(seed)
    x = some_inputs(g, own_values=False)
    full = x.whole()
    scores = full.beta * (full.query @ full.patterns.mT + full.bias)
    assume(all(smooth(separation, row[kept]) for row, kept in zip(
        scores.flatten(0, -2), full.mask.flatten(0, -2), strict=True) if kept.any()))  # fmt: skip
    found = jacobian(x.query, x.patterns, separation=separation, **x.options)
    for at in torch.cartesian_prod(*(torch.arange(size) for size in found.shape[:-2])).reshape(-1, found.dim() - 2):
        *batch, state = at.tolist()
        here = (*batch, state)
        kept, beta, bias = full.mask[here], float(full.beta[here]), full.bias[here]
        X = full.patterns[tuple(batch)]
        alone = jacobian(full.query[here], X[kept], beta=beta, bias=bias[kept], separation=separation)
        close(found[here], alone, 1 + float(alone.abs().max()))


@each_separation
def test_with_no_pattern_left_the_jacobian_is_zero(separation):
    states, patterns = normal(generator(6), 2, 3), normal(generator(7), 5, 3)
    zero = torch.zeros(2, 3, 3).double()
    close(jacobian(states, patterns[:0], separation=separation), zero)
    close(jacobian(states, patterns, mask=torch.zeros(5, dtype=torch.bool), separation=separation), zero)


@pytest.mark.parametrize("separation", ["softmax", "sparsemax", "entmax", "normmax"])
def test_jacobian_of_patterns_far_from_the_origin_is_precise(separation):
    g = generator(8)
    X, state = 500 + normal(g, 20, 4).float(), 0.01 * normal(g, 4).float()
    exact = jacobian(state.double(), X.double(), separation=separation)
    torch.testing.assert_close(jacobian(state, X, separation=separation).double(), exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("separation", [Softmax(), Softmax1()], ids=repr)
def test_jacobian_is_differentiable(separation):
    g = generator(9)
    state, X, beta = normal(g, 2), normal(g, 4, 2), torch.tensor(0.8).double()
    leaves = [tensor.requires_grad_() for tensor in (state, X, beta)]
    assert torch.autograd.gradcheck(lambda s, x, b: jacobian(s, x, beta=b, separation=separation), leaves)
