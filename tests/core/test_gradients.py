"""Gradients through the loop: through n updates in constant memory, and through a fixed point."""

import math
import warnings
import weakref

import pytest
import torch
from hypothesis import assume

from hopfield import retrieve, update
from hopfield.core.gradients import _conjugate_gradients, fixed_point, unroll
from hopfield.errors import HopfieldError
from tests.core.catalogue import (
    SEPARATIONS,
    Inputs,
    close,
    computing,
    each_case,
    each_separation,
    examples,
    generator,
    integer,
    normal,
    smooth,
    some_inputs,
    uniform,
    ways,
)


def turn(state, matrix, offset, factor):
    """Some smooth update with parameters, one of which may be missing."""
    moved = torch.tanh(state @ matrix if offset is None else state @ matrix + offset)
    return moved * factor


def plain(step, steps, state, *parameters):
    for _ in range(steps):
        state = step(state, *parameters)
    return state


def gradients(result, leaves):
    loss = (result * torch.linspace(0.5, 1.5, result.numel()).to(result).reshape(result.shape)).sum()
    return torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)


# ------------------------------------------------------------------------------------------------------------ n updates


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 40])
@pytest.mark.parametrize("learns", ["all", "state", "matrix", "no offset"])
def test_unrolled_gradients_are_those_of_autograd(steps, learns):
    g = generator(steps)
    inputs = {"state": normal(g, 3, 4), "matrix": normal(g, 4, 4), "offset": normal(g, 4), "factor": normal(g, 1)}
    if learns == "no offset":
        inputs["offset"] = None
    leaves = [
        t.requires_grad_() for name, t in inputs.items() if t is not None and learns in {"all", "no offset", name}
    ]
    result = unroll(turn, steps, *inputs.values())
    expected = plain(turn, steps, *inputs.values())
    close(result.detach(), expected.detach())
    if expected.requires_grad:
        for one, other in zip(gradients(result, leaves), gradients(expected, leaves), strict=True):
            close(one, other)


def test_a_loop_nobody_learns_from_keeps_nothing():
    g = generator(1)
    state, matrix = normal(g, 2, 3), normal(g, 3, 3)
    assert not unroll(turn, 5, state, matrix, None, 1.0 * torch.ones(1)).requires_grad
    with torch.no_grad():
        assert not unroll(turn, 5, state, matrix.requires_grad_(), None, torch.ones(1)).requires_grad


class Live:
    """Counts what is alive: tensors kept by autograd, and states made by an update."""

    def __init__(self):
        self.now = self.most = self.made = 0

    def add(self, thing):
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(thing, self.drop)

    def drop(self):
        self.now -= 1


class Kept:
    def __init__(self, tensor):
        self.tensor = tensor


def counted(loop, steps):
    """The most tensors kept by autograd and the most states alive at once, and the updates made."""
    kept, states = Live(), Live()
    g = generator(2)
    state, matrix = normal(g, 2, 3).requires_grad_(), normal(g, 3, 3).requires_grad_()

    def step(state, matrix):
        result = torch.tanh(state @ matrix)
        states.add(result)
        states.made += 1
        return result

    def pack(tensor):
        box = Kept(tensor)
        kept.add(box)
        return box

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        loop(step, steps, state, matrix).sum().backward()
    return kept.most, states.most, states.made


def test_memory_does_not_grow_with_the_number_of_updates():
    few, many = counted(unroll, 20), counted(unroll, 400)
    assert many[0] <= few[0] <= 12
    assert many[1] <= few[1] + 2 <= 12
    assert many[2] <= 20 * 400, "updates are repeated, but not each for every other one"
    assert counted(plain, 400)[0] >= 800, "this is how it grows without"


def test_retrieval_of_any_number_of_steps_keeps_the_same_tensors():
    g = generator(3)
    query, patterns = normal(g, 4, 3), normal(g, 6, 3).requires_grad_()
    most = {}
    for steps in (2, 8, 64):
        live = Live()

        def pack(tensor, live=live):
            box = Kept(tensor)
            live.add(box)
            return box

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
            retrieve(query, patterns, steps=steps).state.sum().backward()
        most[steps] = live.most
    assert most[64] == most[8]
    assert most[64] <= 2 * most[2]


@each_separation
@examples(5)
def test_retrieval_of_n_steps_has_the_gradients_of_n_updates(separation, seed):
    g = generator(seed)
    x = some_inputs(g, own_values=False).learning()
    steps = integer(g, 2, 5)
    start = x.query.expand(*x.batch(), *x.query.shape[-2:])
    expected = plain(lambda s: update(s, x.patterns, separation=separation, **x.options), steps, start)
    of_expected = gradients(expected, x.tensors)
    size = 1 + max(float(part.abs().max()) for part in of_expected)
    assume(size < 1e4)
    for way in ways(separation):
        with computing(way):
            for path in (False, True):
                found = retrieve(x.query, x.patterns, separation=separation, steps=steps, trajectory=path, **x.options)
                close(found.state.detach(), expected.detach())
                for one, other in zip(gradients(found.state, x.tensors), of_expected, strict=True):
                    torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9 * size)
                if path:
                    assert not found.trajectory.requires_grad


def test_values_and_energy_of_a_retrieval_are_differentiable():
    g = generator(4)
    query, patterns, values = (normal(g, *shape).requires_grad_() for shape in ((2, 2), (4, 2), (4, 1)))

    def results(query, patterns, values):
        found = retrieve(query, patterns, values, steps=3)
        return found.values, found.energy

    assert torch.autograd.gradcheck(results, (query, patterns, values))


def test_second_derivatives_through_updates_are_those_of_autograd():
    g = generator(5)
    inputs = normal(g, 2, 3), 0.5 * normal(g, 4, 3)
    beta = torch.tensor(0.8, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(
        lambda query, patterns, beta: retrieve(query, patterns, beta=beta, steps=4).state,
        tuple(tensor.requires_grad_() for tensor in (*inputs, beta)),
    )


def test_second_derivatives_through_a_fixed_point_are_refused():
    g = generator(5)
    patterns = normal(g, 4, 3).requires_grad_()
    state = retrieve(normal(g, 2, 3), 0.3 * patterns).state
    with pytest.raises(HopfieldError, match="no second derivatives through a fixed point"):
        torch.autograd.grad(state.square().sum(), patterns, create_graph=True)
    with pytest.raises(HopfieldError, match=r"no second derivatives .* number of updates \(steps=n\)"):
        torch.autograd.grad(retrieve(torch.zeros(2, 3).double(), patterns).state.sum(), patterns, create_graph=True)


# --------------------------------------------------------------------------------------------------------- fixed points


@examples(20)
def test_the_gradient_of_a_linear_fixed_point_is_exact(seed):
    g = generator(seed)
    d = integer(g, 1, 6)
    vectors, _ = torch.linalg.qr(normal(g, d, d))
    A = vectors @ torch.diag(torch.linspace(-0.9, 0.9, d).double()) @ vectors.T
    A, b = (A + A.T) / 2, normal(g, 3, d).requires_grad_()
    inverse = torch.linalg.inv(torch.eye(d).double() - A)
    state = fixed_point(lambda s, b: s @ A + b, 1e-12, (b @ inverse).detach(), torch.zeros_like(b), b)
    weight = normal(g, 3, d)
    (gradient,) = torch.autograd.grad((state * weight).sum(), b)
    close(gradient, weight @ inverse, 10)


def test_tiny_and_huge_gradients_are_solved_for_as_well():
    A = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    target = torch.tensor([[1e-30, -1e-30], [1.0, 2.0], [1e30, 1e30], [0.0, 0.0]])
    found = _conjugate_gradients(lambda v: v @ A, target, 1e-6)
    torch.testing.assert_close(found, target @ torch.linalg.inv(A), rtol=1e-4, atol=0)


@examples(20)
def test_conjugate_gradients_solve_every_system_by_itself(seed):
    g = generator(seed)
    d = integer(g, 1, 8)
    roots = normal(g, 5, d, d) * torch.tensor([1e-3, 1.0, 1.0, 10.0, 1.0]).double()[:, None, None]
    A = roots @ roots.mT + torch.eye(d).double()
    target = normal(g, 5, d)
    target[1] = 0
    found = _conjugate_gradients(lambda v: (A @ v.unsqueeze(-1)).squeeze(-1), target, 1e-10)
    torch.testing.assert_close(found, torch.linalg.solve(A, target), rtol=1e-6, atol=1e-8)
    assert bool((found[1] == 0).all())


def contracting(separation, g):
    """A memory whose retrievals contract, none of whose weights is about to vanish or appear."""
    for _ in range(200):
        query, patterns, bias = normal(g, 2, 2), 0.5 * normal(g, 4, 2), 0.3 * normal(g, 4)
        beta = torch.full((2, 1), uniform(g, 0.3, 0.6)).double()
        options = {"beta": beta, "bias": bias, "separation": separation}
        found = retrieve(query, patterns, tol=1e-13, max_steps=24, **options)
        if bool(found.converged.all()):
            scores = beta * (found.state @ patterns.T + bias)
            if smooth(separation, scores):
                return query, patterns, beta, bias
    raise AssertionError("no such memory found")


@each_case
def test_the_implicit_gradient_passes_gradcheck(separation, way):
    query, patterns, beta, bias = contracting(separation, generator(6))

    def state(patterns, beta, bias):
        options = {"beta": beta, "bias": bias, "separation": separation}
        return retrieve(query, patterns, tol=1e-13, adjoint_tol=1e-12, **options).state

    leaves = [tensor.requires_grad_() for tensor in (patterns, beta, bias)]
    with computing(way):
        assert torch.autograd.gradcheck(state, leaves, fast_mode=True, check_undefined_grad=False)


@each_separation
@examples(5)
def test_the_implicit_gradient_is_that_of_many_updates(separation, seed):
    g = generator(seed)
    query, patterns, beta, bias = contracting(separation, g)
    leaves = [tensor.requires_grad_() for tensor in (patterns, beta, bias)]
    options = {"beta": beta, "bias": bias, "separation": separation}
    values = normal(g, 4, 3)
    implicit = retrieve(query, patterns, values, tol=1e-13, adjoint_tol=1e-12, **options)
    # from there, for the state has no part in it; all steps kept
    unrolled = retrieve(implicit.state.detach(), patterns, values, steps=24, trajectory=True, **options)
    for name in ("state", "values", "energy"):
        found = gradients(getattr(implicit, name), leaves), gradients(getattr(unrolled, name), leaves)
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_starting_state_has_no_part_in_a_fixed_point():
    query, patterns, *_ = contracting(SEPARATIONS[0], generator(7))
    query.requires_grad_()
    for memory in (patterns, patterns.requires_grad_()):
        (gradient,) = torch.autograd.grad(retrieve(query, memory).state.sum(), query)
        assert bool((gradient == 0).all())


def test_an_implicit_gradient_in_every_arrangement():
    g = generator(8)
    for lead, memory in (((2,), ()), ((2,), (2,)), ((2, 1), (1, 2))):
        query, patterns = normal(g, *lead, 3, 2), (0.7 * normal(g, *memory, 4, 2)).requires_grad_()
        implicit = retrieve(query, patterns, tol=1e-13, adjoint_tol=1e-12)
        unrolled = retrieve(implicit.state.detach(), patterns, steps=200, trajectory=True)
        for one, other in zip(
            gradients(implicit.state, [patterns]), gradients(unrolled.state, [patterns]), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------------------------------------------------- warnings

ROCKING = torch.tensor([[1.0], [-1.0]]).double()  # with beta > 1 the origin is a fixed point that repels


def test_fixed_points_where_the_update_does_not_contract_are_warned_about():
    patterns = ROCKING.clone().requires_grad_()
    found = retrieve(torch.zeros(1, 1).double(), patterns, beta=4.0)
    assert bool(found.converged.all())
    with pytest.warns(RuntimeWarning, match="does not contract at 1 of 1 fixed points; lower beta, .*steps=n"):
        found.state.sum().backward()
    assert bool(patterns.grad.isfinite().all())


def test_a_tolerance_that_is_not_reached_is_warned_about():
    row = torch.arange(12).double()
    hilbert = 1 / (row + row[:, None] + 1)  # all but singular
    b = torch.ones(2, 12).double().requires_grad_()
    state = fixed_point(lambda s, b: s - s @ hilbert + b, 1e-13, torch.zeros(2, 12).double(), torch.zeros(2, 12), b)
    with pytest.warns(RuntimeWarning, match="adjoint tolerance 1e-13 was not reached for 2 of 2; .*loosen adjoint_tol"):
        state.sum().backward()


def test_one_bad_fixed_point_does_not_touch_the_others():
    states, beta = torch.tensor([[0.0], [0.9], [-0.2]]).double(), torch.tensor([[4.0], [4.0], [0.5]]).double()
    gradient = []
    for rows in (slice(0, 3), slice(1, 3)):
        patterns = ROCKING.clone().requires_grad_()
        found = retrieve(states[rows], patterns, beta=beta[rows], tol=1e-12).state
        gradient.append(torch.autograd.grad(found[-2:].square().sum(), patterns)[0])
    torch.testing.assert_close(*gradient)


def test_no_warning_where_all_is_well():
    query, patterns, beta, bias = contracting(SEPARATIONS[0], generator(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = Inputs(query, patterns, None, beta, bias).learning()
        retrieve(x.query, x.patterns, **x.options).state.sum().backward()
    assert not math.isnan(float(x.patterns.grad.sum()))
