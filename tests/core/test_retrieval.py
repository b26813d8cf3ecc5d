"""The loop: fixed numbers of updates, retrieval until states stand still, and what is told about it."""

import math
import warnings

import pytest
import torch

from hopfield import Retrieval, associate, energy, retrieve, update
from hopfield.core.retrieval import _Workload
from hopfield.errors import HopfieldError
from hopfield.separation import Softmax, Sparsemax, TopK
from tests.core.catalogue import (
    LAYOUTS,
    SEPARATIONS,
    Inputs,
    close,
    computing,
    each_case,
    each_separation,
    each_way,
    each_wrong_input,
    examples,
    generator,
    integer,
    normal,
    some_inputs,
    ways,
    yes,
)

both_ends = pytest.mark.parametrize("steps", [3, None], ids=["steps", "converged"])


def run(separation, x, **options):
    return retrieve(x.query, x.patterns, x.values, separation=separation, **(x.options | options))


def same(one: Retrieval, other: Retrieval) -> None:
    close(one.state, other.state)
    close(one.values, other.values)
    close(one.energy, other.energy)
    assert torch.equal(one.steps, other.steps)
    assert torch.equal(one.converged, other.converged)


def some_paces(g, layout=((), ())):
    """Inputs whose queries converge after very different numbers of updates: each has its own beta."""
    lead, memory = layout
    L, N, d = 5, 6, 3
    batch = torch.broadcast_shapes(lead, memory)
    beta = torch.tensor([0.01, 0.5, 1.0, 2.0, 30.0]).double()[torch.randperm(5, generator=g), None]
    return Inputs(
        normal(g, *lead, L, d),
        normal(g, *memory, N, d),
        normal(g, *memory, N, 2),
        beta.expand(*batch, L, 1) * torch.exp(0.1 * normal(g, *batch, L, 1)),
        normal(g, *batch, L, N),
        yes(g, *batch, L, N, chance=0.8),
    )


# ------------------------------------------------------------------------------------------------------- what is found


@each_separation
@examples(5)
def test_steps_are_updates(separation, seed):
    g = generator(seed)
    x = some_inputs(g)
    steps = integer(g, 1, 4)
    states = [x.query.expand(*x.batch(), *x.query.shape[-2:])]
    for _ in range(steps):
        states.append(update(states[-1], x.patterns, separation=separation, **x.options))
    last = associate(states[-2], x.patterns, x.values, separation=separation, **x.options)
    for way in ways(separation):
        with computing(way):
            found = run(separation, x, steps=steps)
            close(found.state, states[-1])
            close(found.values, last)
            close(found.energy, energy(states[-1], x.patterns, separation=separation, **x.options))
        assert torch.equal(found.steps, torch.full(found.state.shape[:-1], steps))
        moved = torch.linalg.vector_norm(states[-1] - states[-2], dim=-1)
        assert torch.equal(found.converged, moved <= 1e-6)
        assert found.trajectory is None


@each_case
@examples(4)
def test_until_converged_each_state_stops_at_its_first_small_step(separation, way, seed):
    x = some_inputs(generator(seed))
    with computing(way):
        found = run(separation, x, trajectory=True, tol=1e-4)
    path, steps = found.trajectory, found.steps
    moved = torch.linalg.vector_norm(path.diff(dim=0), dim=-1)
    count = torch.arange(1, len(moved) + 1).reshape(-1, *[1] * steps.dim())
    assert bool(found.converged.all())
    assert len(path) == int(steps.max()) + 1
    assert bool((moved[count < steps] > 1e-4).all())
    assert bool((moved[count.expand_as(moved) == steps] <= 1e-4).all())
    assert bool((moved[count.expand_as(moved) > steps] == 0).all()), "whoever has finished stays"
    close(path[0], x.query.expand_as(path[0]))
    close(path[-1], found.state)
    for before, after, still in zip(path, path[1:], moved <= 1e-4, strict=False):
        following = update(before, x.patterns, separation=separation, **x.options)
        close(after[~still], following[~still])
    close(found.values, found.state if x.values is None else associate(
        found.state, x.patterns, x.values, separation=separation, **x.options))  # fmt: skip
    close(found.energy, energy(found.state, x.patterns, separation=separation, **x.options))


@each_case
@examples(4)
def test_energy_never_rises_on_the_way(separation, way, seed):
    x = some_inputs(generator(seed))
    with computing(way):
        path = run(separation, x, trajectory=True, max_steps=6).trajectory
        energies = torch.stack([energy(state, x.patterns, separation=separation, **x.options) for state in path])
    fall = energies[:-1] - energies[1:] - path.diff(dim=0).square().sum(-1) / 2
    assert float(fall.min()) >= -1e-9 * (1 + float(energies.abs().max()))


@pytest.mark.parametrize("separation", [s for s in SEPARATIONS if s.margin is not None], ids=repr)
@examples(10)
def test_one_update_retrieves_exactly_where_the_margin_is_met(separation, seed):
    g = generator(seed)
    patterns = normal(g, integer(g, 2, 8), 4)
    target = patterns[integer(g, 0, len(patterns) - 1)]
    query = target + 0.1 * normal(g, 4)
    lead = (target - patterns)[(patterns != target).any(-1)] @ query
    if float(lead.min()) <= 1e-3:
        return
    found = retrieve(
        query, patterns, beta=(separation.margin + 1e-6) / float(lead.min()), separation=separation, steps=1
    )
    close(found.state, target)
    if separation.margin > 0:
        loose = retrieve(
            query, patterns, beta=0.8 * separation.margin / float(lead.min()), separation=separation, steps=1
        )
        assert float((loose.state - target).abs().max()) > 1e-6


# ------------------------------------------------------------------------------------------------ one among many


@each_case
@pytest.mark.parametrize(("lead", "memory"), [((2,), ()), ((2,), (2,))], ids=["shared", "each"])
def test_no_answer_depends_on_its_neighbours(separation, way, lead, memory):
    x = some_paces(generator(1), (lead, memory)).whole()
    with computing(way):
        together = run(separation, x, trajectory=True, max_steps=16)
        for here in ((0, 1), (1, 4)):
            memory = x.patterns[here[0]], x.values[here[0]]
            one = Inputs(x.query[here], *memory, x.beta[here], x.bias[here], x.mask[here])
            alone = run(separation, one, trajectory=True, max_steps=16)
            close(together.state[here], alone.state)
            close(together.values[here], alone.values)
            close(together.energy[here], alone.energy)
            assert together.steps[here] == alone.steps
            assert together.converged[here] == alone.converged
            close(together.trajectory[(slice(len(alone.trajectory)), *here)], alone.trajectory)
    if separation == Softmax():
        assert int(together.steps.max()) >= 3 * int(together.steps.min()), "else nothing is put to the test"


@pytest.mark.parametrize("memory", [(), (3,)], ids=["shared", "each"])
def test_states_that_stand_leave_the_work(memory, monkeypatch):
    x = some_paces(generator(2), ((3,), memory))
    beta = x.beta.clone()
    beta[0], beta[1] = 0.01, 0.02  # two batch elements that finish soon
    sizes = []
    drop = _Workload.drop

    def record(self, done):
        sizes.append(self.size())
        drop(self, done)

    monkeypatch.setattr(_Workload, "drop", record)
    steps = retrieve(x.query, x.patterns, beta=beta).steps
    whole = steps.flatten() if memory == () else steps.amax(-1)
    assert sizes[0] == len(whole)
    assert sizes == sorted(sizes, reverse=True)
    for number, size in enumerate(sizes):
        left = int((whole > number).sum())
        # patterns would have to be copied, so batch elements leave when half of them have finished
        assert size == left if memory == () else left <= size <= max(2 * left, 1) or number == 0
    assert len(sizes) == int(steps.max())


@pytest.mark.parametrize("separation", [Softmax(), Sparsemax(), SEPARATIONS[-1]], ids=repr)
@both_ends
@pytest.mark.parametrize(("lead", "memory"), LAYOUTS, ids=repr)
def test_every_arrangement_of_batches(separation, steps, lead, memory):
    g = generator(3)
    x = some_inputs(g, layout=(lead, memory))
    found = run(separation, x, steps=steps, trajectory=True)
    batch = (*x.batch(), x.query.shape[-2])
    d = x.query.shape[-1]
    assert found.state.shape == (*batch, d)
    assert found.values.shape == (*batch, d if x.values is None else x.values.shape[-1])
    assert found.steps.shape == found.converged.shape == found.energy.shape == batch
    assert found.steps.dtype == torch.int64
    assert found.converged.dtype == torch.bool
    assert found.trajectory.shape == (int(found.steps.max()) + 1, *batch, d)
    full = x.whole()
    for row in range(full.query.shape[:-2].numel()):
        b = torch.unravel_index(torch.tensor(row), full.query.shape[:-2])
        values = None if full.values is None else full.values[b]
        alone = Inputs(full.query[b], full.patterns[b], values, full.beta[b], full.bias[b], full.mask[b])
        expected = run(separation, alone, steps=steps)
        close(found.state[b], expected.state)
        close(found.values[b], expected.values)
        assert torch.equal(found.steps[b], expected.steps)


@both_ends
def test_a_single_state(steps):
    g = generator(4)
    query, patterns, values = normal(g, 3), normal(g, 5, 3), normal(g, 5, 2)
    found = retrieve(query, patterns, values, steps=steps, trajectory=True)
    whole = retrieve(query[None], patterns, values, steps=steps, trajectory=True)
    assert found.state.shape == (3,)
    assert found.values.shape == (2,)
    assert found.steps.shape == found.converged.shape == found.energy.shape == found.support().shape == ()
    assert found.top(2)[0].shape == (2,)
    close(found.state, whole.state[0])
    close(found.trajectory, whole.trajectory[:, 0])
    several = retrieve(query, torch.stack([patterns, -patterns]), values, steps=steps)
    assert several.state.shape == (2, 3)
    assert several.top(4)[1].shape == (2, 4)
    close(several.state[0], found.state)
    close(several.state[1], retrieve(query, -patterns, values, steps=steps).state)


@both_ends
def test_no_queries_at_all(steps):
    for query, patterns in (((0, 3), (5, 3)), ((2, 0, 3), (2, 5, 3)), ((0, 4, 3), (0, 5, 3)), ((0, 4, 3), (5, 3))):
        found = retrieve(torch.zeros(query), torch.zeros(patterns), steps=steps)
        assert found.state.shape == found.values.shape == query
        assert found.steps.shape == found.energy.shape == found.support().shape == query[:-1]
        assert found.top(2)[0].shape == (*query[:-1], 2)


@each_case
@both_ends
def test_nothing_to_attend_to(separation, way, steps):
    g = generator(5)
    nobody = torch.zeros(5, dtype=torch.bool)
    nowhere = torch.full((5,), -math.inf).double()
    cases = [
        Inputs(normal(g, 2, 3), normal(g, 0, 3), normal(g, 0, 2)),
        Inputs(normal(g, 2, 2, 3), normal(g, 2, 0, 3)),
        Inputs(normal(g, 2, 3), normal(g, 5, 3), normal(g, 5, 2), mask=nobody),
        Inputs(normal(g, 2, 2, 3), normal(g, 2, 5, 3), bias=nowhere),
    ]
    for x in cases:
        x.patterns.requires_grad_()
        with computing(way):
            found = run(separation, x, steps=steps)
            close(found.state.detach(), torch.zeros_like(found.state))
            close(found.values.detach(), torch.zeros_like(found.values))
            close(found.energy.detach(), torch.zeros_like(found.energy))
            assert torch.equal(found.support(), torch.zeros_like(found.steps))
            assert bool(found.converged.all())
            (gradient,) = torch.autograd.grad(found.state.sum() + found.values.sum(), x.patterns)
        close(gradient, torch.zeros_like(gradient))


@each_way
def test_an_empty_batch_element_does_not_touch_the_others(way):
    g = generator(6)
    query, patterns, mask = normal(g, 3, 2, 4), normal(g, 3, 7, 4), yes(g, 3, 1, 7, chance=0.7)
    mask[1] = False
    with computing(way):
        found = retrieve(query, patterns, mask=mask)
        for b in (0, 2):
            close(found.state[b], retrieve(query[b], patterns[b], mask=mask[b]).state)
    close(found.state[1], torch.zeros(2, 4).double())
    # the first update moves there, the second one finds it standing
    assert torch.equal(found.steps[1], torch.tensor([2, 2]))


# ---------------------------------------------------------------------------------------------------- limits and types


def test_a_query_gives_up_after_max_steps():
    x = some_paces(generator(7))
    short, long = (retrieve(x.query, x.patterns, beta=x.beta, max_steps=limit) for limit in (4, 1000))
    assert torch.equal(short.converged, long.steps <= 4)
    assert torch.equal(short.steps, long.steps.clamp(max=4))
    assert not bool(short.converged.all())
    close(short.state, retrieve(x.query, x.patterns, beta=x.beta, max_steps=4, trajectory=True).trajectory[-1])


def test_a_smaller_tolerance_takes_more_steps():
    x = some_paces(generator(8))
    counts = [retrieve(x.query, x.patterns, beta=x.beta, tol=tol).steps for tol in (1e-2, 1e-6, 1e-12)]
    assert bool((counts[0] <= counts[1]).all() & (counts[1] <= counts[2]).all())
    assert int(counts[2].sum()) > int(counts[0].sum())


@each_separation
def test_tolerances_below_rounding_do_not_run_forever(separation):
    x = some_paces(generator(9)).to(torch.float32)
    patterns = 100 * x.patterns
    found = retrieve(x.query, patterns, beta=1e-3 * x.beta, separation=separation, tol=1e-30)
    assert bool(found.converged.all())
    assert int(found.steps.max()) < 1000


def test_patterns_are_fixed_points_of_the_nearest_pattern():
    patterns = torch.nn.functional.normalize(normal(generator(10), 6, 4), dim=-1)
    found = retrieve(patterns + 0.01, patterns, separation=TopK(1))
    close(found.state, patterns)
    assert torch.equal(found.steps, torch.full((6,), 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@each_case
def test_half_precision_is_iterated_in_float32(dtype, separation, way):
    g = generator(11)
    query, patterns, values = (t.to(dtype) for t in (normal(g, 2, 3, 4), 2 * normal(g, 7, 4), normal(g, 7, 2)))
    with computing(way):
        exact = retrieve(query.float(), patterns.float(), values.float(), separation=separation)
        found = retrieve(query, patterns, values, separation=separation, trajectory=True)
        steps = retrieve(query, patterns, values, separation=separation, steps=2)
    eps = torch.finfo(dtype).eps
    for tensor in (found.state, found.values, found.trajectory, steps.state, steps.values):
        assert tensor.dtype == dtype
    assert found.energy.dtype == torch.float32
    assert torch.equal(found.steps, exact.steps)
    assert bool(found.converged.all())
    torch.testing.assert_close(found.state.float(), exact.state, rtol=eps, atol=4 * eps)
    torch.testing.assert_close(found.trajectory[-1], found.state)


@each_case
def test_large_beta_and_long_patterns_stay_finite(separation, way):
    patterns = (1e4 * torch.nn.functional.normalize(normal(generator(12), 8, 6), dim=-1)).float()
    query = torch.cat([patterns[:3] + 10, 0.1 * patterns[3:4], torch.zeros(1, 6)])
    for dtype in (torch.float32, torch.float16):
        with computing(way):
            found = retrieve(query.to(dtype), patterns.to(dtype), beta=1e6, separation=separation)
        assert bool(found.state.isfinite().all() & found.energy.isfinite().all())
        assert bool(found.converged.all())
        torch.testing.assert_close(found.state[:4], patterns[:4].to(dtype), rtol=1e-3, atol=1.0)


@each_case
def test_same_inputs_same_numbers(separation, way):
    x = some_paces(generator(13)).to(torch.float32)
    with computing(way):
        one, other = (run(separation, x, max_steps=5) for _ in range(2))
        for name in ("state", "values", "steps", "converged", "energy"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_the_query_is_left_as_it_is():
    g = generator(14)
    query, patterns = normal(g, 4, 3), normal(g, 6, 3)
    before = query.clone()
    found = retrieve(query, patterns, trajectory=True)
    assert torch.equal(query, before)
    found.state.zero_()
    assert torch.equal(query, before)


def test_the_result_is_frozen_and_says_what_it_is():
    found = retrieve(torch.zeros(2, 3), torch.eye(3), steps=1)
    with pytest.raises(AttributeError):
        found.state = torch.zeros(2, 3)
    assert repr(found).startswith("Retrieval((2,) states of 3, 1 steps")
    assert "_last" not in repr(found)
    close(found.reshape(torch.Size((1, 2))).energy[0], found.energy)


# --------------------------------------------------------------------------------------------------------------- errors


@each_wrong_input
@both_ends
def test_errors_of_inputs(query, patterns, options, text, steps):
    with pytest.raises(HopfieldError, match=text):
        retrieve(query, patterns, steps=steps, **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0; steps=None iterates until the state stops"),
        ({"steps": 1.5}, "steps must be an integer of at least 1, got 1.5"),
        ({"steps": True}, "steps must be an integer of at least 1, got True"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1, got 0$"),
        ({"max_steps": 2.0}, "max_steps must be an integer of at least 1, got 2.0"),
        ({"tol": 0.0}, "tol must be above 0, got 0.0"),
        ({"tol": -1e-3}, "tol must be above 0, got -0.001"),
        ({"tol": math.nan}, "tol must be above 0, got nan"),
    ],
)
def test_errors_of_options(options, text):
    with pytest.raises(HopfieldError, match=text):
        retrieve(torch.zeros(2, 3), torch.zeros(5, 3), **options)


def test_gradients_of_queries_that_did_not_converge_are_warned_about():
    g = generator(15)
    query, patterns = normal(g, 4, 3), normal(g, 6, 3).requires_grad_()
    with pytest.warns(RuntimeWarning, match=r"\d of 4 queries did not converge; .* raise max_steps, or .*steps=n"):
        retrieve(query, patterns, max_steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retrieve(query, patterns.detach(), max_steps=1)
        with torch.no_grad():
            retrieve(query, patterns, max_steps=1)
        retrieve(query, patterns, steps=1)


def test_a_retrieval_introduces_itself_in_a_line():
    query, patterns = torch.randn(2, 3, 4), torch.randn(5, 4)
    assert repr(retrieve(query, patterns, steps=2)).startswith("Retrieval((2, 3) states of 4, 2 steps, ")
    found = retrieve(query, patterns)
    assert repr(found).endswith("6 of 6 converged)")
    assert found == found  # noqa: PLR0124 - by identity: tensors have no single truth
    assert repr(retrieve(query[:0], patterns)) == "Retrieval((0, 3) states of 4)"
