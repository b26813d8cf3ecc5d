import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hopfield.binary import (
    BinaryNetwork,
    ClassicalHopfield,
    DenseHopfield,
    Exponential,
    Interaction,
    Polynomial,
    RectifiedPolynomial,
    StateName,
    classical_capacity,
    count_kinds,
    exponential_log_capacity,
    mixture_states,
    name_states,
    polynomial_log_capacity,
)
from hopfield.errors import HopfieldError

pytestmark = pytest.mark.unit

seeds = given(seed=st.integers(0, 2**31 - 1))
examples = settings(deadline=None, max_examples=25)

Field = Callable[[list[list[int]], list[int], int], Fraction | Decimal]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_states(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).mul(2).sub(1).to(torch.float32)


def with_flips(states: Tensor, count: int, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(states.shape, generator=generator).argsort(-1) < count
    return torch.where(flipped, -states, states)


class Case(NamedTuple):
    """A network, and the textbook's field of one unit, in exact arithmetic."""

    build: Callable[[Tensor], BinaryNetwork]
    field: Field


def dyadic_bias(dim: int) -> Tensor:
    return (torch.arange(dim) % 5 - 2) / 8


def classical_field(zero_diagonal: bool, biased: bool) -> Field:
    def field(patterns: list[list[int]], state: list[int], j: int) -> Fraction:
        d = len(state)
        total = Fraction(0)
        for k in range(d):
            if k == j and zero_diagonal:
                continue
            total += Fraction(sum(x[j] * x[k] for x in patterns), d) * state[k]
        return total - (Fraction(j % 5 - 2, 8) if biased else 0)

    return field


def dense_field(F: Callable[[int], Fraction | Decimal]) -> Field:
    def field(patterns: list[list[int]], state: list[int], j: int) -> Fraction | Decimal:
        total = F(0) * 0
        with localcontext() as context:
            context.prec = 60
            for x in patterns:
                rest = sum(x[k] * state[k] for k in range(len(state)) if k != j)
                total += F(x[j] + rest) - F(-x[j] + rest)
        # What 60 digits cannot tell from nothing is an exact tie.
        return total if abs(total) > Decimal("1e-40") else total * 0

    return field


def exact_exp(beta: str) -> Callable[[int], Decimal]:
    return lambda z: (Decimal(beta) * z).exp()


# Powers, betas and sizes are small enough that no vote is so weak beside the others that it counts as a tie.
CASES = {
    "classical": Case(ClassicalHopfield, classical_field(True, False)),
    "classical with self-connections": Case(
        lambda X: ClassicalHopfield(X, zero_diagonal=False), classical_field(False, False)
    ),
    "classical with bias": Case(
        lambda X: ClassicalHopfield(X, bias=dyadic_bias(X.shape[1])), classical_field(True, True)
    ),
    **{
        f"power {n}": Case(lambda X, n=n: DenseHopfield(X, interaction=n), dense_field(lambda z, n=n: Fraction(z) ** n))
        for n in (2, 3, 4, 9, 12)
    },
    "rectified power 3": Case(
        lambda X: DenseHopfield(X, interaction=RectifiedPolynomial(3)),
        dense_field(lambda z: Fraction(max(z, 0)) ** 3),
    ),
    "exp": Case(DenseHopfield, dense_field(exact_exp("1"))),
    "exp, beta 0.25": Case(lambda X: DenseHopfield(X, interaction=Exponential(0.25)), dense_field(exact_exp("0.25"))),
    "exp, beta 1.5": Case(lambda X: DenseHopfield(X, interaction=Exponential(1.5)), dense_field(exact_exp("1.5"))),
}
every_network = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def sign_or_keep(field: Fraction | Decimal, old: int) -> int:
    return old if field == 0 else (1 if field > 0 else -1)


def as_ints(states: Tensor) -> list[list[int]]:
    return [[int(unit) for unit in state] for state in states]


# ------------------------------------------------------------------------------------------------- the rules, literally
@every_network
@seeds
@settings(deadline=None, max_examples=12)
def test_update_is_the_textbook_formula(case: Case, seed: int) -> None:
    generator = rng(seed)
    count, dim = (int(torch.randint(low, high, (), generator=generator)) for low, high in ((1, 8), (1, 8)))
    patterns, states = random_states(generator, count, dim), random_states(generator, 3, dim)
    X = as_ints(patterns)
    expected = [[sign_or_keep(case.field(X, s, j), s[j]) for j in range(dim)] for s in as_ints(states)]
    assert as_ints(case.build(patterns).update(states)) == expected


@every_network
@seeds
@settings(deadline=None, max_examples=12)
def test_a_sweep_is_the_textbook_formula_unit_by_unit(case: Case, seed: int) -> None:
    generator = rng(seed)
    patterns, states = random_states(generator, 6, 7), random_states(generator, 3, 7)
    X, expected = as_ints(patterns), as_ints(states)
    order = torch.randperm(7, generator=rng(seed)).tolist()
    for state in expected:
        for j in order:
            state[j] = sign_or_keep(case.field(X, state, j), state[j])
    result = case.build(patterns).retrieve(states, mode="asynchronous", max_steps=1, generator=rng(seed))
    assert as_ints(result.state) == expected


@seeds
@examples
def test_classical_energy_and_weights_are_the_textbook_formula(seed: int) -> None:
    generator = rng(seed)
    for count in (2, 9):  # through the overlaps, and through W
        patterns, s = random_states(generator, count, 6).double(), random_states(generator, 6).double()
        bias = torch.randn(6, generator=generator, dtype=torch.float64)
        W = sum(torch.outer(x, x) for x in patterns) / 6
        network = ClassicalHopfield(patterns, zero_diagonal=False, bias=bias)
        torch.testing.assert_close(network.weights, W)
        torch.testing.assert_close(network.energy(s), -0.5 * s @ W @ s + bias @ s)
        hollow = ClassicalHopfield(patterns, bias=bias)
        torch.testing.assert_close(hollow.weights, W - torch.diag(W.diagonal()))
        torch.testing.assert_close(hollow.energy(s), network.energy(s) + count / 2)


@seeds
@examples
def test_dense_energy_is_the_sum_of_the_interaction(seed: int) -> None:
    generator = rng(seed)
    X, s = random_states(generator, 5, 9).double(), random_states(generator, 4, 9).double()
    overlaps = s @ X.T
    torch.testing.assert_close(DenseHopfield(X, interaction=3).energy(s) * 9**3, -(overlaps**3).sum(-1))
    rectified = DenseHopfield(X, interaction=RectifiedPolynomial(4)).energy(s)
    torch.testing.assert_close(rectified * 9**4, -(overlaps.clamp_min(0) ** 4).sum(-1))
    exponential = DenseHopfield(X, interaction=Exponential(0.5)).energy(s)
    torch.testing.assert_close(-torch.exp(-exponential), -torch.exp(0.5 * overlaps).sum(-1))


@seeds
@examples
def test_the_exponential_update_is_the_modern_update_behind_a_threshold(seed: int) -> None:
    generator = rng(seed)
    X, s = random_states(generator, 40, 20).double(), random_states(generator, 6, 20).double()
    agreement = s * (torch.softmax(s @ X.T, -1) @ X)
    clear = (agreement - math.tanh(1)).abs() > 1e-9
    kept = DenseHopfield(X).update(s) == s
    assert torch.equal(kept[clear], agreement[clear] > math.tanh(1))


@seeds
@examples
def test_the_quadratic_dense_network_is_the_classical_one_without_self_connections(seed: int) -> None:
    # The difference rule leaves out the unit itself: F(z) = z^2 makes it 4 d sgn(W s), with W_jj = 0. Its energy has
    # the self-terms, which are constant: E / d^2 = (2 / d) (-1/2 s^T W s) with W_jj = N / d.
    generator = rng(seed)
    X, s = random_states(generator, 6, 12), random_states(generator, 8, 12)
    dense, hollow, full = (
        DenseHopfield(X, interaction=2),
        ClassicalHopfield(X),
        ClassicalHopfield(X, zero_diagonal=False),
    )
    assert torch.equal(dense.update(s), hollow.update(s))
    for mode in ("synchronous", "asynchronous"):
        ours, theirs = dense.retrieve(s, mode=mode), hollow.retrieve(s, mode=mode)
        assert torch.equal(ours.state, theirs.state)
        assert torch.equal(ours.cycle, theirs.cycle)
    torch.testing.assert_close(dense.energy(s), full.energy(s) * 2 / 12)


def test_self_connections_change_the_quadratic_update() -> None:
    X, s = torch.ones(1, 2), torch.tensor([1.0, -1.0])
    assert DenseHopfield(X, interaction=2).update(s).tolist() == [-1, 1]
    assert ClassicalHopfield(X, zero_diagonal=False).update(s).tolist() == [1, -1]


def test_a_unit_without_a_vote_keeps_its_state() -> None:
    X = torch.tensor([[1, 1], [1, -1]])  # W is zero off the diagonal
    every_state = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    for network in (ClassicalHopfield(X), DenseHopfield(X, interaction=2)):
        result = network.retrieve(every_state)
        assert torch.equal(result.state, every_state)
        assert result.converged.all()


def test_an_exponential_tie_is_not_decided_by_rounding() -> None:
    # Without unit 0 both patterns overlap the state equally, so exp(m + 1) - exp(m - 1) cancels, whatever the order.
    for dim in range(2, 60):
        X = torch.ones(2, dim)
        X[1, 0] = -1
        states = torch.ones(2, dim)
        states[1, 0] = -1
        assert torch.equal(DenseHopfield(X).update(states), states)


def test_a_bias_acts_in_the_units_of_the_scaled_weights() -> None:
    X = torch.ones(1, 4)  # the field of each unit in the state of ones is 3/4
    for bias, unit in ((0.74, 1.0), (0.76, -1.0)):
        assert ClassicalHopfield(X, bias=torch.full((4,), bias)).update(X[0]).tolist() == [unit] * 4


# --------------------------------------------------------------------------------------------------------- the dynamics
@every_network
@seeds
@settings(deadline=None, max_examples=8)
def test_energy_never_rises_asynchronously_and_the_end_is_a_fixed_point(case: Case, seed: int) -> None:
    generator = rng(seed)
    network, states = case.build(random_states(generator, 20, 16)), random_states(generator, 10, 16)
    moved = 0
    for order in (None, generator):
        now = states
        for _ in range(5):
            result = network.retrieve(now, mode="asynchronous", max_steps=1, generator=order)
            changed = (result.state != now).any(-1)
            before = network.energy(now)
            slack = 1e-12 * (1 + before.abs())
            assert (result.energy <= before + slack).all()
            torch.testing.assert_close(result.energy, network.energy(result.state))
            assert torch.equal(result.converged, ~changed)
            moved += int(changed.sum())
            now = result.state
        end = network.retrieve(states, mode="asynchronous", generator=order)
        assert end.converged.all()
        assert not end.cycle.any()
        assert torch.equal(network.update(end.state), end.state)
    assert moved  # or nothing was tried


@every_network
@seeds
@settings(deadline=None, max_examples=5)
def test_a_batch_equals_a_loop(case: Case, seed: int) -> None:
    generator = rng(seed)
    network, states = case.build(random_states(generator, 9, 12)), random_states(generator, 2, 4, 12)
    for options in ({}, {"mode": "asynchronous"}, {"mode": "asynchronous", "generator": None}):

        def run(query: Tensor, options: dict = options) -> list[Tensor]:
            chosen = {**options, "generator": rng(seed)} if "generator" in options else options
            result = network.retrieve(query, **chosen)
            return [result.state, result.energy, result.steps, result.converged, result.cycle]

        batch = run(states)
        for a in range(2):
            for b in range(4):
                for together, alone in zip(batch, run(states[a, b]), strict=True):
                    torch.testing.assert_close(together[a, b], alone)


@pytest.mark.parametrize("interaction", ["exp", 3])
def test_blocks_of_queries_change_nothing(interaction: str | int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = rng(0)
    network, states = (
        DenseHopfield(random_states(generator, 30, 20), interaction=interaction),
        random_states(generator, 23, 20),
    )
    whole = [network.retrieve(states), network.retrieve(states, mode="asynchronous")]
    monkeypatch.setattr("hopfield.binary.dense._BLOCK", 30 * 5)
    parts = [network.retrieve(states), network.retrieve(states, mode="asynchronous")]
    for one, many in zip(whole, parts, strict=True):
        assert torch.equal(one.state, many.state)
        torch.testing.assert_close(one.energy, many.energy)


def test_a_two_cycle_is_found_and_flagged_for_its_query_alone() -> None:
    network = ClassicalHopfield(torch.ones(1, 2))  # W = [[0, 1/2], [1/2, 0]]: (1, -1) -> (-1, 1) -> (1, -1)
    queries = torch.tensor([[1, -1], [1, 1], [-1, -1]])
    result = network.retrieve(queries)
    assert result.cycle.tolist() == [True, False, False]
    assert result.converged.tolist() == [False, True, True]
    assert result.steps.tolist() == [2, 0, 0]
    assert result.energy.tolist() == [0.5, -0.5, -0.5]
    assert network.update(result.state[0]).tolist() == [-1, 1]
    alone = network.retrieve(queries[0], mode="asynchronous")
    assert (alone.state.tolist(), bool(alone.converged), int(alone.steps)) == ([-1, -1], True, 1)


def test_too_few_steps_are_neither_converged_nor_a_cycle() -> None:
    network = ClassicalHopfield(torch.ones(1, 2))
    result = network.retrieve(torch.tensor([1.0, -1.0]), max_steps=1)
    assert (bool(result.converged), bool(result.cycle), int(result.steps)) == (False, False, 1)
    assert result.state.tolist() == [-1, 1]


@seeds
@examples
def test_the_synchronous_classical_network_ends_in_a_fixed_point_or_a_two_cycle(seed: int) -> None:
    generator = rng(seed)
    network = ClassicalHopfield(random_states(generator, 6, 8), bias=dyadic_bias(8))
    result = network.retrieve(random_states(generator, 40, 8), max_steps=300)
    assert (result.converged ^ result.cycle).all()
    again = network.update(network.update(result.state))
    assert torch.equal(again, result.state)
    assert torch.equal((network.update(result.state) == result.state).all(-1), result.converged)


def test_a_generator_draws_a_new_order_for_every_sweep_and_none_keeps_the_order_of_the_units() -> None:
    network, query = ClassicalHopfield(torch.ones(1, 2)), torch.tensor([1, -1])
    ends = {tuple(network.retrieve(query, mode="asynchronous", generator=rng(k)).state.tolist()) for k in range(20)}
    assert ends == {(1, 1), (-1, -1)}  # unit 1 first, and unit 0 first
    assert network.retrieve(query, mode="asynchronous").state.tolist() == [-1, -1]
    generator = rng(0)
    before = generator.get_state()
    network.retrieve(query, mode="asynchronous", generator=generator, max_steps=1)
    assert not torch.equal(generator.get_state(), before)


@every_network
@seeds
@settings(deadline=None, max_examples=5)
def test_patterns_and_query_negated_negate_the_retrieval(case: Case, seed: int) -> None:
    generator = rng(seed)
    X, s = random_states(generator, 8, 12), random_states(generator, 10, 12)
    network, mirror = case.build(X), case.build(-X)
    if isinstance(network, ClassicalHopfield):
        mirror.bias = -mirror.bias
    for mode in ("synchronous", "asynchronous"):
        assert torch.equal(mirror.retrieve(-s, mode=mode).state, -network.retrieve(s, mode=mode).state)


@seeds
@examples
def test_even_interactions_do_not_see_the_sign_of_patterns_and_odd_ones_see_only_it(seed: int) -> None:
    generator = rng(seed)
    X, s = random_states(generator, 8, 12), random_states(generator, 10, 12)
    for build in (ClassicalHopfield, CASES["power 2"].build, CASES["power 4"].build):
        for mode in ("synchronous", "asynchronous"):
            result = build(X).retrieve(s, mode=mode).state
            assert torch.equal(build(-X).retrieve(s, mode=mode).state, result)
            assert torch.equal(build(X).retrieve(-s, mode=mode).state, -result)
    odd = CASES["power 3"].build
    torch.testing.assert_close(odd(-X).energy(s), -odd(X).energy(s))
    assert torch.equal(odd(-X).update(-s), -odd(X).update(s))


# ------------------------------------------------------------------------------------------------- storage and recovery
@every_network
@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
def test_stored_patterns_far_below_capacity_are_fixed_points_and_attract(case: Case, mode: str) -> None:
    generator = rng(3)
    X = random_states(generator, 5, 400)
    network = case.build(X)
    stored = network.retrieve(X, mode=mode)
    assert torch.equal(stored.state, X)
    assert stored.converged.all()
    assert not stored.steps.any()
    found = network.retrieve(with_flips(X, 40, generator), mode=mode)
    assert torch.equal(found.state, X)
    assert (found.steps > 0).all()


@pytest.mark.parametrize("interaction", ["exp", 70, RectifiedPolynomial(300)])
def test_ten_thousand_units_stay_finite(interaction: Interaction | int) -> None:
    generator = rng(0)
    X = random_states(generator, 12, 10_000)
    network = DenseHopfield(X, interaction=interaction)
    for mode in ("synchronous", "asynchronous"):
        result = network.retrieve(with_flips(X[:2], 3000, generator), mode=mode)
        assert torch.equal(result.state, X[:2])
        assert torch.isfinite(result.energy).all()
        assert result.steps.tolist() == [1, 1]
    expected = -10_000.0 if interaction == "exp" else -1.0
    torch.testing.assert_close(network.energy(X[0]), torch.tensor(expected, dtype=torch.float64))
    assert torch.isfinite(network.energy(random_states(generator, 5, 10_000))).all()


def test_the_classical_network_collapses_where_the_exponential_one_recalls_ten_thousand() -> None:
    generator = rng(1)
    X = random_states(generator, 10_000, 64)
    queries = with_flips(X[:64], 4, generator)

    def recalled(network: BinaryNetwork, mode: str) -> float:
        count = min(len(network), 64)
        return float((network.retrieve(queries[:count], mode=mode).state == X[:count]).all(-1).double().mean())

    for mode in ("synchronous", "asynchronous"):
        assert recalled(ClassicalHopfield(X[:3]), mode) == 1
        assert recalled(ClassicalHopfield(X[:18]), mode) < 0.2  # twice 0.138 d
        assert recalled(ClassicalHopfield(X[:64]), mode) == 0
        assert recalled(DenseHopfield(X), mode) == 1
        assert recalled(DenseHopfield(X[:64], interaction=3), mode) > 0.9


def test_classical_capacity() -> None:
    capacity = classical_capacity(4096)
    assert capacity.one_stable == pytest.approx(246.22, abs=0.01)
    assert capacity.all_stable == pytest.approx(123.11, abs=0.01)
    assert capacity.small_errors == pytest.approx(565.248)


def test_polynomial_capacity() -> None:
    assert math.exp(polynomial_log_capacity(100, 2)) == pytest.approx(classical_capacity(100).one_stable)
    assert math.exp(polynomial_log_capacity(100, 4)) == pytest.approx(100**3 / (2 * (5 * 3 * 1) * math.log(100)))
    assert 709 < polynomial_log_capacity(10**6, 80) < math.inf  # the number itself would overflow


def test_exponential_capacity() -> None:
    assert math.exp(exponential_log_capacity(20)) == pytest.approx(2**10 + 1)
    a = 1 - 2 * 0.1
    alpha = ((1 + a) * math.log(1 + a) + (1 - a) * math.log(1 - a)) / 4
    assert math.exp(exponential_log_capacity(60, 0.1)) == pytest.approx(math.exp(alpha * 60) + 1)
    assert exponential_log_capacity(10**5) == pytest.approx(10**5 / 2 * math.log(2))


# ------------------------------------------------------------------------------------------------------ spurious states
def test_mixtures_of_three_are_fixed_points_and_are_named() -> None:
    X = random_states(rng(5), 6, 1000).to(torch.int8)
    mixtures = mixture_states(X)
    assert mixtures.states.shape == (8 * 20, 1000)
    assert mixtures.states.dtype == torch.int8
    weighted = mixtures.signs[:, :, None] * X[mixtures.members]
    assert torch.equal(mixtures.states, torch.sign(weighted.sum(1)))
    assert len(torch.unique(mixtures.states, dim=0)) == 160
    network = ClassicalHopfield(X)
    result = network.retrieve(mixtures.states)
    assert result.converged.all()
    assert not result.steps.any()
    names = name_states(X, result.state)
    for name, members, signs in zip(names, mixtures.members.tolist(), mixtures.signs.tolist(), strict=True):
        assert name == StateName("mixture", tuple(members), tuple(signs))
    # They are spurious: they lie above the patterns, and the exponential network has none of them.
    assert result.energy.min() > network.energy(X).max()
    modern = DenseHopfield(X).retrieve(mixtures.states, mode="asynchronous")
    assert count_kinds(name_states(X, modern.state))["mixture"] == 0


@seeds
@examples
def test_the_named_mixture_is_the_state(seed: int) -> None:
    # Small d, so that other triples make the same state, and patterns are far from uncorrelated.
    X = random_states(rng(seed), 5, 9)
    mixtures = mixture_states(X)
    for state, name in zip(mixtures.states, name_states(X, mixtures.states), strict=True):
        assert name.kind != "other"
        total = sum(sign * X[member] for sign, member in zip(name.signs, name.members, strict=True))
        assert torch.equal(torch.sign(total), state)
    everything = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 9)
    made = {tuple(row) for row in torch.cat((mixtures.states, X, -X)).tolist()}
    for state, name in zip(everything.tolist(), name_states(X, everything), strict=True):
        assert (name.kind == "other") == (tuple(state) not in made)


def test_patterns_negatives_and_other_states_are_named_and_counted() -> None:
    generator = rng(2)
    X = random_states(generator, 4, 100)
    five = torch.sign(X.sum(0) + random_states(generator, 100))
    states = torch.stack((X[2], -X[1], torch.sign(X[0] - X[2] + X[3]), five)).reshape(2, 2, 100)
    names = name_states(X, states)
    assert [str(name) for name in names] == ["pattern +2", "negative -1", "mixture +0 -2 +3", "other"]
    assert count_kinds([*names, names[0]]) == {"pattern": 2, "negative": 1, "mixture": 1, "other": 1}
    assert count_kinds([]) == {"pattern": 0, "negative": 0, "mixture": 0, "other": 0}
    assert name_states(X, states[:0]) == []


def test_only_the_nearest_patterns_are_tried_as_members() -> None:
    X = random_states(rng(0), 300, 2000)
    chosen = mixture_states(X, triples=[(7, 130, 288)])
    assert chosen.states.shape == (8, 2000)
    for few in (3, 128):
        names = name_states(X, chosen.states, candidates=few)
        assert [(name.members, list(name.signs)) for name in names] == [
            ((7, 130, 288), s) for s in chosen.signs.tolist()
        ]


def test_members_beyond_the_candidates_are_not_found() -> None:
    X = random_states(rng(0), 3, 100)
    state = torch.sign(X.sum(0))
    differs = (state != X).float()
    first, second = int(differs[0].argmax()), differs[1].argsort(descending=True)[:3]
    nearer = state.repeat(3, 1)  # three patterns nearer to the state, which differ from it where two members do
    nearer[:, first] *= -1
    nearer[torch.arange(3), second] *= -1
    patterns = torch.cat((X, nearer))
    assert str(name_states(patterns, state)[0]) == "mixture +0 +1 +2"
    assert name_states(patterns, state, candidates=3)[0].kind == "other"


def test_random_starts_end_in_all_kinds_of_states() -> None:
    generator = rng(4)
    X = random_states(generator, 5, 300)
    ends = ClassicalHopfield(X).retrieve(random_states(generator, 300, 300), mode="asynchronous").state
    counts = count_kinds(name_states(X, ends))
    assert sum(counts.values()) == 300
    assert min(counts["pattern"], counts["negative"], counts["mixture"]) > 0


# ----------------------------------------------------------------------------------------------------- types and errors
@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
@pytest.mark.parametrize("build", [ClassicalHopfield, DenseHopfield])
def test_states_come_back_in_the_dtype_of_the_query(
    dtype: torch.dtype, build: Callable[[Tensor], BinaryNetwork]
) -> None:
    generator = rng(0)
    X = random_states(generator, 3, 300)
    query = with_flips(X, 10, generator).to(dtype)
    untouched = query.clone()
    network = build(X.to(dtype))
    result = network.retrieve(query)
    assert result.state.dtype == network.update(query).dtype == dtype
    assert torch.equal(result.state, X.to(dtype))
    assert torch.equal(query, untouched)
    assert result.energy.dtype == network.energy(query).dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.parametrize("build", [ClassicalHopfield, DenseHopfield])
@pytest.mark.parametrize(("home", "asker"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_results_follow_the_device_of_the_query(
    build: Callable[[Tensor], BinaryNetwork], home: str, asker: str
) -> None:
    generator = rng(0)
    X = random_states(generator, 5, 300)
    query = with_flips(X, 20, generator).to(asker)
    network = build(X.to(home))
    result = network.retrieve(query, mode="asynchronous", generator=generator)
    assert torch.equal(result.state.cpu(), X)
    assert torch.equal(network.update(query).cpu(), X)
    parts = (result.state, result.energy, result.steps, result.converged, result.cycle, network.energy(query))
    assert {part.device.type for part in parts} == {asker}
    assert count_kinds(name_states(X.to(home), result.state))["pattern"] == 5


@pytest.mark.parametrize("build", [ClassicalHopfield, DenseHopfield])
def test_an_empty_batch_is_answered(build: Callable[[Tensor], BinaryNetwork]) -> None:
    network, nothing = build(torch.ones(2, 4)), torch.ones(3, 0, 4)
    for mode in ("synchronous", "asynchronous"):
        result = network.retrieve(nothing, mode=mode)
        assert result.state.shape == (3, 0, 4)
        assert result.energy.shape == result.steps.shape == (3, 0)
    assert network.update(nothing).shape == (3, 0, 4)


def test_patterns_are_copied_and_counted() -> None:
    X = torch.ones(3, 4, dtype=torch.float64)
    network = ClassicalHopfield(X)
    X[0] = -1
    assert len(network) == 3
    assert (network.patterns == 1).all()


def test_an_interaction_may_be_your_own() -> None:
    class Quartic:
        def around(self, overlaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return (overlaps - 2) ** 4, overlaps**4, (overlaps + 2) ** 4

        def energy(self, overlaps: Tensor, dim: int) -> Tensor:
            return -(overlaps**4).sum(-1) / dim**4

    generator = rng(0)
    X, s = random_states(generator, 30, 12), random_states(generator, 30, 12)
    own, ours = (
        DenseHopfield(X, interaction=Quartic()).retrieve(s),
        DenseHopfield(X, interaction=Polynomial(4)).retrieve(s),
    )
    assert torch.equal(own.state, ours.state)
    torch.testing.assert_close(own.energy, ours.energy)


ONES = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ClassicalHopfield(torch.tensor([[1.0, 0.5], [0.0, -1.0]])),
            r"patterns: 2 of 4 entries are not \+-1; bin",
        ),
        (lambda: ClassicalHopfield(torch.tensor([[1.0, math.nan]])), r"1 of 2 entries are not \+-1"),
        (lambda: DenseHopfield(torch.zeros(2, 3)), r"6 of 6 entries.*torch.where\(x > 0, 1, -1\)"),
        (
            lambda: DenseHopfield(torch.ones(2, 3) > 0),
            "patterns: expected a float or signed integer dtype, got torch.bool",
        ),
        (lambda: DenseHopfield(torch.ones(2, 3).to(torch.uint8)), "signed integer dtype, got torch.uint8"),
        (lambda: DenseHopfield(torch.ones(2, 3).to(torch.complex64)), "signed integer dtype, got torch.complex64"),
        (lambda: DenseHopfield([[1, -1]]), "expected a torch.Tensor, got list; use torch.as_tensor"),
        (lambda: ClassicalHopfield(torch.ones(3)), r"patterns: expected shape \(N, d\).* got \(3,\)"),
        (lambda: ClassicalHopfield(torch.ones(0, 3)), r"N and d at least 1, got \(0, 3\)"),
        (lambda: ClassicalHopfield(ONES, bias=torch.ones(3)), r"bias: expected shape \(4,\).* got \(3,\)"),
        (lambda: ClassicalHopfield(ONES, bias=torch.full((4,), math.inf)), "bias: expected finite numbers, 4 of 4"),
        (lambda: ClassicalHopfield(ONES).retrieve(torch.zeros(4)), r"query: 4 of 4 entries are not \+-1"),
        (lambda: ClassicalHopfield(ONES).retrieve(torch.ones(5)), r"query: expected shape \(\*batch, 4\).* got \(5,\)"),
        (lambda: ClassicalHopfield(ONES).energy(torch.ones(())), r"state: expected shape \(\*batch, 4\).* got \(\)"),
        (lambda: DenseHopfield(ONES).energy(torch.ones(2)), r"state: expected shape \(\*batch, 4\).* got \(2,\)"),
        (lambda: DenseHopfield(ONES).update(torch.zeros(4)), r"state: 4 of 4 entries are not \+-1"),
        (
            lambda: DenseHopfield(ONES).retrieve(ONES, mode="random"),
            "mode: expected one of synchronous, asynchronous, got 'ra",
        ),
        (lambda: DenseHopfield(ONES).retrieve(ONES, max_steps=0), "max_steps: expected at least 1, got 0"),
        (lambda: DenseHopfield(ONES, interaction=1), "n: expected an integer power of at least 2, got 1"),
        (lambda: DenseHopfield(ONES, interaction=True), "n: expected an integer power of at least 2, got True"),
        (
            lambda: DenseHopfield(ONES, interaction="cosh"),
            "interaction: expected \"exp\", an integer n >= 2.* got 'cosh'",
        ),
        (lambda: Polynomial(2.5), "n: expected an integer power of at least 2, got 2.5"),
        (lambda: Exponential(0.0), "beta: expected a finite number > 0, got 0.0"),
        (lambda: Exponential(math.inf), "beta: expected a finite number > 0, got inf"),
        (lambda: classical_capacity(1), "dim: expected at least 2 units, got 1"),
        (lambda: polynomial_log_capacity(10, 1), "n: expected a power of at least 2, got 1"),
        (lambda: exponential_log_capacity(10, 0.5), r"flipped: expected a part of the units in \[0, 0.5\), got 0.5"),
        (lambda: mixture_states(torch.ones(300, 100)), "300 patterns make 35640800 mixtures of 100 units.* pass fewer"),
        (lambda: mixture_states(ONES, triples=[(0, 1, 2)]), r"three different indices from 0 to 1, got \(0, 1, 2\)"),
        (lambda: mixture_states(torch.ones(3, 2), triples=[(0, 1, 1)]), r"from 0 to 2, got \(0, 1, 1\)"),
        (lambda: name_states(ONES, torch.ones(3)), r"states: expected shape \(\*batch, 4\).* got \(3,\)"),
        (lambda: name_states(ONES, ONES, candidates=2), "candidates: expected at least 3"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(call: Callable[[], object], message: str) -> None:
    with pytest.raises(HopfieldError, match=message):
        call()
