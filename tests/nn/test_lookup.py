"""Lookup: the textbook, the kept memory, nearest neighbours, support vectors, class centres, and errors."""

import copy
import io
import math
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from torch.func import functional_call

from hopfield import HopfieldLayer
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association
from hopfield.nn.beta import LearnedBeta
from hopfield.separation import Softmax, TopK
from tests.core.catalogue import SLOW, each_separation, examples, generator, integer, normal, one_of, yes
from tests.nn.catalogue import (
    all_close,
    close,
    each_quick,
    each_subset,
    gradients,
    some_masks,
    some_options,
    textbook,
    unlike,
)

each_steps = pytest.mark.parametrize("steps", [1, 3, None, (1, 3)], ids=repr)


def some_layer(g, **fixed):
    options = some_options(g, **fixed)
    stored, value = options["stored_size"], options["value_size"]
    own = value not in {None, stored} or bool(yes(g))
    given = one_of(g, False, True)
    N = integer(g, 1, 5)
    patterns = normal(g, N, stored) if given else N
    targets = (normal(g, N, value or stored) if given else "learned") if own else None
    return unlike(HopfieldLayer(4, patterns=patterns, targets=targets, trainable=bool(yes(g)), **options), g)


def looked_up(layer, state, **masks):
    values = layer.patterns if layer.targets is None else layer.targets
    rows = [tensor.expand(*state.shape[:-2], *tensor.shape) for tensor in (layer.patterns, values)]
    return textbook(layer.hopfield, state, *rows, **masks)


# --------------------------------------------------------------------------------------------------------- the textbook


@each_separation
@examples(8)
def test_outputs_and_gradients_are_those_of_the_textbook(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation)
    batch = one_of(g, (), (2,), (2, 2)) if separation not in SLOW else ()
    state = normal(g, *batch, integer(g, 1, 3), 4).requires_grad_()
    masks = some_masks(g, batch, layer.hopfield.heads, state.shape[-2], layer.patterns.shape[0])
    if yes(g):
        masks = {}
    expected, actual = looked_up(layer, state, **masks), layer(state, **masks)
    close(actual, expected)
    close(layer.retrieve(state, **masks)[0], expected)
    all_close(gradients(actual, [state], layer), gradients(expected, [state], layer), 1e-7)
    layer.eval()
    with torch.no_grad():
        for _ in range(2):
            close(layer(state, **masks), expected)
            close(layer.retrieve(state, **masks)[0], expected)


@each_quick
@examples(4)
def test_until_convergence_is_the_textbook(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=None, tol=1e-10, max_steps=60)
    state = normal(g, 2, 3, 4)
    with torch.no_grad():
        close(layer(state), looked_up(layer, state), 1e-6)


@each_quick
@each_steps
@examples(3)
def test_a_batch_is_a_loop_of_any_shape_and_order(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, heads=2, tol=1e-10, max_steps=40).eval()
    state = normal(g, 2, 2, 3, 4)
    with torch.no_grad():
        expected = layer(state)
        close(layer(state.flatten(0, 1)).unflatten(0, (2, 2)), expected, 1e-6)
        # states of one memory are a batch of rows
        close(layer(state.flatten(0, 2)).unflatten(0, (2, 2, 3)), expected, 1e-6)
        for i in range(2):
            for j in range(2):
                for k in range(3):
                    close(layer(state[i, j, k : k + 1])[0], expected[i, j, k], 1e-6)
        layer.hopfield.batch_first = False
        close(layer(state.movedim(-2, 0)).movedim(0, -2), expected, 1e-6)


@each_quick
@each_steps
@examples(3)
def test_masked_patterns_are_deleted_and_their_order_does_not_matter(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, heads=2, tol=1e-10, max_steps=40).eval()
    N = layer.patterns.shape[0]
    state, mask, order = normal(g, 2, 3, 4), yes(g, N, chance=0.6), torch.randperm(N, generator=g)

    def with_rows(rows):
        """The same layer with some of its rows."""
        names = [name for name in ("patterns", "targets") if getattr(layer, name) is not None]
        return functional_call(layer, {name: getattr(layer, name)[rows] for name in names}, (state,))

    with torch.no_grad():
        close(with_rows(order), layer(state), 1e-6)
        close(with_rows(mask), layer(state, stored_mask=mask), 1e-6)
        if not layer.hopfield.extra:
            assert not layer(state, stored_mask=torch.zeros(N, dtype=torch.bool)).any()


@pytest.mark.parametrize("steps", [3, None], ids=repr)
def test_no_state_depends_on_its_neighbours(steps):
    g = generator(1)
    layer = unlike(HopfieldLayer(4, patterns=7, heads=2, steps=steps, tol=1e-8, beta=2.0), g).eval()
    state = normal(g, 6, 4)
    with torch.no_grad():
        expected = layer(state)
        for other in (torch.zeros_like(state), 30 * normal(g, 6, 4)):
            other[2] = state[2]
            close(layer(other)[2], expected[2], 1e-7)


@each_steps
@each_separation
def test_no_states_no_batch(steps, separation):
    layer = HopfieldLayer(4, patterns=5, heads=2, steps=steps, separation=separation, beta=0.1).double()
    for mode in (True, False):
        layer.train(mode)
        for shape in ((0, 4), (0, 3, 4), (2, 0, 4)):
            for grad in (True, False):
                with torch.set_grad_enabled(grad):
                    assert layer(torch.zeros(shape, dtype=torch.float64)).shape == shape


@each_subset
def test_a_projection_that_is_left_out_has_no_parameters(project):
    layer = HopfieldLayer(4, patterns=5, heads=2, head_size=4, project=project)
    names = {name for name, _ in layer.hopfield.named_parameters() if name.startswith("project")}
    assert names == {f"project_{name}.{part}" for name in project for part in ("weight", "bias")}
    assert layer(torch.randn(3, 4)).shape == (3, 4 if "output" in project else 8)


# ------------------------------------------------------------------------------------------------------ the kept memory


def projections(layer, state, call="forward", **options):
    """The output, and how often the memory was projected for it."""
    with mock.patch.object(Association, "memory", autospec=True, side_effect=Association.memory) as memory:
        output = getattr(layer, call)(state, **options)
    return output, memory.call_count


@pytest.fixture
def lookup():
    g = generator(2)
    options = {"heads": 2, "extra": ("bias",), "beta": LearnedBeta(1.0)}
    return unlike(HopfieldLayer(4, patterns=5, targets="learned", **options), g).eval()


STATE = normal(generator(3), 2, 3, 4)


def fresh(layer, state=STATE):
    """The output without anything kept."""
    return copy.deepcopy(layer)(state.to(next(layer.parameters()).dtype))


@torch.no_grad()
def test_the_memory_is_projected_once_in_evaluation(lookup):
    first, count = projections(lookup, STATE)
    assert count == 1
    again, count = projections(lookup, STATE)
    assert count == 0
    close(again, first, 0.0)
    close(first, fresh(lookup))
    other = normal(generator(4), 7, 4)
    output, count = projections(lookup, other, stored_mask=torch.tensor([True, False, True, True, True]))
    assert count == 0
    close(output, copy.deepcopy(lookup)(other, stored_mask=torch.tensor([True, False, True, True, True])))
    assert projections(lookup, STATE, "retrieve")[1] == 0


def test_it_is_projected_anew_in_training_and_for_gradients(lookup):
    with torch.no_grad():
        projections(lookup, STATE)
    for _ in range(2):
        output, count = projections(lookup, STATE)
        assert count == 1
        output.sum().backward()
        assert lookup.patterns.grad is not None
    lookup.train()
    with torch.no_grad():
        assert [projections(lookup, STATE)[1] for _ in range(2)] == [1, 1]
    lookup.eval()
    with torch.no_grad():
        assert [projections(lookup, STATE)[1] for _ in range(2)] == [1, 0]
    with torch.inference_mode():
        output, _ = projections(lookup, STATE)
    close(output.clone(), fresh(lookup))


def optimizer_step(layer):
    with torch.enable_grad():
        layer(STATE).square().sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()


def copied(name):
    def change(layer):
        tensor = layer.get_parameter(name)
        tensor.copy_(tensor.flip(-1) * 1.5 + 0.1)

    change.__name__ = f"copy to {name}"
    return change


def loaded(layer):
    layer.load_state_dict({name: tensor * 1.3 for name, tensor in layer.state_dict().items()})


def assigned(layer):
    layer.load_state_dict({name: tensor * 1.3 for name, tensor in layer.state_dict().items()}, assign=True)


def replaced(layer):
    layer.patterns = nn.Parameter(layer.patterns.flip(-1))


def other_projection(layer):
    layer.hopfield.project_stored = nn.Linear(4, 4).double()


CHANGES = [
    optimizer_step,
    *map(copied, ("patterns", "targets", "hopfield.project_stored.weight", "hopfield.project_value.bias")),
    *map(copied, ("hopfield.norm_stored.weight", "hopfield.norm_value.bias", "hopfield.extra_pattern")),
    copied("hopfield.beta.log_beta"),
    loaded,
    assigned,
    replaced,
    other_projection,
    HopfieldLayer.reset_parameters,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@torch.no_grad()
def test_a_change_is_noticed(lookup, change):
    before = lookup(STATE)
    change(lookup)
    after = lookup(STATE)
    assert not torch.allclose(after, before)
    close(after, fresh(lookup))
    assert projections(lookup, STATE)[1] == 0


@torch.no_grad()
def test_another_dtype_is_noticed(lookup):
    before = lookup(STATE)
    lookup.float()
    single = lookup(STATE.float())
    assert single.dtype == torch.float32
    close(single.double(), before, 1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        lower = lookup(STATE.float())
    assert lower.dtype == torch.bfloat16
    close(lower.double(), before, 0.1)
    close(lookup(STATE.float()), single, 0.0)
    lookup.double()
    close(lookup(STATE), fresh(lookup), 0.0)


@torch.no_grad()
def test_other_parameters_in_a_functional_call_are_noticed(lookup):
    before = lookup(STATE)
    for factor in (2.0, 3.0, 4.0):
        others = {name: parameter * factor for name, parameter in lookup.named_parameters()}
        expected = copy.deepcopy(lookup)
        expected.load_state_dict(others)
        close(functional_call(lookup, others, (STATE,)), expected(STATE), 0.0)
    close(lookup(STATE), before, 0.0)


@torch.no_grad()
def test_other_parameters_in_the_same_place_are_noticed(lookup):
    # each is a new tensor at the same address: nothing but its being another one tells it from the one before
    numbers = np.zeros((5, 4))
    for factor in (1.0, 2.0, 3.0):
        numbers[:] = factor * np.arange(20).reshape(5, 4)
        output = functional_call(lookup, {"patterns": torch.from_numpy(numbers)}, (STATE,))
        lookup.patterns.copy_(torch.from_numpy(numbers))
        close(output, fresh(lookup))


@torch.no_grad()
def test_batches_of_parameters_are_not_kept(lookup):
    stacked = torch.stack([lookup.patterns, lookup.patterns * 2, lookup.patterns * 3])

    def call(patterns):
        return functional_call(lookup, {"patterns": patterns}, (STATE,))

    found = torch.func.vmap(call)(stacked)
    for output, patterns in zip(found, stacked, strict=True):
        close(output, call(patterns))


@torch.no_grad()
def test_what_is_kept_is_neither_copied_nor_saved(lookup):
    names = set(lookup.state_dict())
    lookup(STATE)
    assert set(lookup.state_dict()) == names
    other = copy.deepcopy(lookup)
    assert projections(other, STATE)[1] == 1
    assert projections(lookup, STATE)[1] == 0
    other.targets.copy_(other.targets.flip(-1))
    close(other(STATE), fresh(other), 0.0)
    assert not torch.allclose(other(STATE), lookup(STATE))
    file, clean = io.BytesIO(), io.BytesIO()
    torch.save(lookup, file)
    lookup.eval()  # forgets
    torch.save(lookup, clean)
    assert file.tell() == clean.tell()
    file.seek(0)
    read = torch.load(file, weights_only=False)
    assert projections(read, STATE)[1] == 1
    close(read(STATE), lookup(STATE), 0.0)


@torch.no_grad()
def test_changes_through_data_are_seen_after_eval(lookup):
    lookup(STATE)
    lookup.patterns.data.copy_(lookup.patterns.flip(-1))
    lookup.eval()
    close(lookup(STATE), fresh(lookup))


@torch.no_grad()
def test_what_is_kept_is_not_the_callers_to_change(lookup):
    first = lookup(STATE).clone()
    output, found = lookup.retrieve(STATE)
    output.mul_(0)
    found.values.mul_(0)
    close(lookup(STATE), first)


# ------------------------------------------------------------------------------------------------- machines of patterns


def table(load, count=None):
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:count]
    return StandardScaler().fit_transform(x[order]), y[order]


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("load", [load_wine, load_digits], ids=["wine", "digits"])
def test_it_is_k_nearest_neighbours(load, k):
    x, y = table(load, 500)
    half = len(x) // 2
    theirs = KNeighborsClassifier(k).fit(x[:half], y[:half])
    patterns, states = torch.from_numpy(x[:half]), torch.from_numpy(x[half:])
    targets = F.one_hot(torch.from_numpy(y[:half])).double()
    layer = HopfieldLayer.from_patterns(
        patterns, targets, separation=TopK(k), similarity="euclidean", beta=1e-9, heads=1
    ).eval()
    with torch.no_grad():
        votes, found = layer.retrieve(states)
    close(votes.sum(-1), torch.ones(len(states), dtype=torch.float64))
    expected = theirs.predict_proba(x[half:])
    close(votes, torch.from_numpy(expected), 1e-6)
    ordered = np.sort(expected, -1)
    clear = ordered[:, -1] - ordered[:, -2] > 0.5 / k
    assert clear.mean() > 0.8
    assert (votes.argmax(-1).numpy() == theirs.predict(x[half:]))[clear].all()
    assert (found.weights[0] > 0).sum(-1).eq(k).all()
    nearest = torch.from_numpy(theirs.kneighbors(x[half:], return_distance=False)).sort(-1).values
    assert torch.equal(found.top(k)[1][0].sort(-1).values, nearest)


@pytest.mark.parametrize("gamma", [0.01, 0.1, 1.0])
def test_it_is_a_support_vector_machine(gamma):
    x, y = table(load_breast_cancer, 300)
    svc = SVC(kernel="rbf", gamma=gamma).fit(x[:200], y[:200])
    layer = HopfieldLayer.from_patterns(
        torch.from_numpy(svc.support_vectors_),
        torch.from_numpy(svc.dual_coef_.T.copy()),
        beta=2 * gamma,
        similarity="euclidean",
    )
    states = torch.from_numpy(x[200:])
    value, found = layer.retrieve(states)
    mass = torch.exp(found.potential[0] - gamma * states.square().sum(-1))
    decision = (value[:, 0] * mass).detach().numpy() + svc.intercept_
    np.testing.assert_allclose(decision, svc.decision_function(x[200:]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer], ids=["wine", "cancer"])
def test_it_is_the_nearest_class_centre_and_learns_on(load):
    x, y = table(load, 400)
    centroid = NearestCentroid().fit(x, y)
    states, labels = torch.from_numpy(x), torch.from_numpy(y)
    centres = torch.from_numpy(centroid.centroids_)
    targets = torch.eye(len(centres), dtype=torch.float64)
    options = {"similarity": "euclidean", "trainable": True}
    hard = HopfieldLayer.from_patterns(centres, targets, separation="top1", **options)
    with torch.no_grad():
        assert (hard(states).argmax(-1).numpy() == centroid.predict(x)).all()

    soft = HopfieldLayer.from_patterns(centres, targets, beta=0.3, **options)
    assert {name for name, _ in soft.named_parameters()} == {"patterns", "targets"}

    def right():
        with torch.no_grad():
            return int((soft(states).argmax(-1) == labels).sum())

    before = right()
    assert before == (centroid.predict(x) == y).sum()
    optimizer = torch.optim.Adam([soft.patterns], 0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.nll_loss(soft(states).clamp(min=1e-12).log(), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert right() >= before


def test_from_patterns_compares_states_as_they_are():
    g = generator(5)
    patterns = normal(g, 6, 4)
    layer = HopfieldLayer.from_patterns(patterns)
    assert layer.patterns.dtype == torch.float64
    assert not list(layer.parameters())
    state = normal(g, 3, 4)
    close(layer(state), torch.softmax(state @ patterns.T, -1) @ patterns)
    targets = normal(g, 6, 2)
    assert HopfieldLayer.from_patterns(patterns, targets)(state).shape == (3, 2)
    patterns.mul_(0)
    assert layer.patterns.any()
    many = HopfieldLayer.from_patterns(layer.patterns, heads=2, project=("state", "output"), norm="layer", beta=0.5)
    assert many.double()(state).shape == (3, 4)
    names = set(HopfieldLayer.from_patterns(layer.patterns, targets, trainable=True).state_dict())
    assert names == {"patterns", "targets"}


@pytest.mark.parametrize("steps", [2, None], ids=repr)
def test_from_patterns_retrieves_a_stored_pattern(steps):
    g = generator(6)
    patterns = 4 * F.normalize(normal(g, 8, 16), dim=-1)
    layer = HopfieldLayer.from_patterns(patterns, beta=4.0, steps=steps)
    noisy = patterns + 0.1 * normal(g, 8, 16)
    output, found = layer.retrieve(noisy)
    close(output, patterns, 1e-2)
    assert found.converged.all() or steps
    assert torch.equal(found.weights[0].argmax(-1), torch.arange(8))


# ---------------------------------------------------------------------------------------------------------- as a module


@each_steps
@pytest.mark.parametrize("targets", [None, "learned"])
@pytest.mark.parametrize("extra", [(), ("bias", "zero")], ids=repr)
def test_every_parameter_gets_a_gradient(steps, targets, extra):
    layer = HopfieldLayer(4, patterns=6, targets=targets, heads=2, steps=steps, beta=LearnedBeta(0.05), extra=extra)
    layer.double()(normal(generator(7), 2, 3, 4)).sum().backward()
    assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []


def test_rows_are_learned_or_given():
    rows, targets = torch.randn(6, 5), torch.randn(6, 3)
    for trainable in (True, False):
        layer = HopfieldLayer(4, patterns=rows, targets=targets, trainable=trainable, trainable_targets=not trainable)
        names = dict(layer.named_parameters())
        assert ("patterns" in names) == trainable
        assert ("targets" in names) == (not trainable)
        assert {"patterns", "targets"} <= set(layer.state_dict())
        assert layer(torch.randn(2, 4)).shape == (2, 4)
        layer.reset_parameters()
        close(layer.patterns.detach(), rows)
        close(layer.targets.detach(), targets)
    drawn = HopfieldLayer(4, patterns=6, targets="learned", value_size=3)
    before = drawn.patterns.detach().clone(), drawn.targets.detach().clone()
    drawn.reset_parameters()
    assert not torch.equal(drawn.patterns, before[0])
    assert not torch.equal(drawn.targets, before[1])
    assert "patterns=6, targets=(6, 3)" in repr(drawn)
    assert "patterns=6, given, targets=the patterns" in repr(HopfieldLayer.from_patterns(rows))


def test_dropout_drops_in_training_alone():
    g = generator(8)
    layer = HopfieldLayer(4, patterns=6, dropout=0.5).double()
    state = normal(g, 3, 4)
    assert not torch.allclose(layer(state), layer(state))
    layer.eval()
    plain = HopfieldLayer(4, patterns=6).double()
    plain.load_state_dict(layer.state_dict())
    close(layer(state), plain(state))
    with torch.no_grad():
        close(layer(state), plain(state))


def test_it_fits_in_place_of_a_dense_layer():
    model = nn.Sequential(nn.Linear(3, 4), HopfieldLayer(4, patterns=8, output_size=2), nn.Tanh())
    assert model(torch.randn(5, 3)).shape == (5, 2)
    x, y = torch.randn(64, 3), torch.randn(64, 2).clamp(-0.9, 0.9)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"patterns": 0}, r"patterns must be a number of at least 1 or a tensor \(number, 4\), got 0"),
        ({"patterns": None}, r"patterns must be a number of at least 1 or a tensor \(number, 4\), got None"),
        ({"patterns": True}, r"patterns must be a number of at least 1 or a tensor \(number, 4\), got True"),
        ({"patterns": torch.zeros(4)}, r"patterns must be a floating-point tensor \(number, 4\), got .* \(4,\)"),
        ({"patterns": torch.zeros(0, 4)}, r"patterns must be a floating-point tensor \(number, 4\), got .* \(0, 4\)"),
        ({"patterns": torch.zeros(3, 4).long()}, r"patterns must be a floating-point tensor .* got torch\.int64"),
        (
            {"patterns": torch.zeros(3, 5), "stored_size": 4},
            r"patterns must be a floating-point tensor \(number, 4\), got torch\.float32 \(3, 5\)",
        ),
        (
            {"patterns": torch.tensor([[0.0] * 4, [math.nan] * 4])},
            "patterns must be finite: row 1 holds NaN or infinity; leave such rows out or replace their entries",
        ),
        ({"patterns": 1, "targets": torch.tensor([[math.inf]])}, "targets must be finite: row 0 holds NaN or infinity"),
        ({"patterns": 3, "targets": torch.zeros(4, 2)}, r"targets: expected one row per pattern, 3, got \(4, 2\)"),
        (
            {"patterns": 3, "targets": torch.zeros(3)},
            r"targets must be a floating-point tensor \(N, v\), one row per pattern; got .*one_hot",
        ),
        ({"patterns": 3, "targets": "own"}, r'targets must be None, "learned" or a tensor .*, got \'own\''),
        ({"patterns": 3, "targets": 3}, r'targets must be None, "learned" or a tensor \(3, value_size\), got 3'),
        (
            {"patterns": 3, "value_size": 2},
            r'the values are the patterns, of size 4, got value_size=2; give targets="learned" or a tensor',
        ),
        ({"patterns": 3, "heads": 3}, "input_size must be divisible by heads, got 4 and 3"),
        ({"patterns": 3, "similarity": "cosine"}, "unknown similarity 'cosine'; expected one of dot, euclidean"),
    ],
    ids=repr,
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(HopfieldError, match=text):
        HopfieldLayer(4, **options)


@pytest.mark.parametrize(
    ("patterns", "targets", "text"),
    [
        ([[1.0]], None, r"patterns must be a floating-point tensor \(number, d\), got list; use torch\.as_tensor"),
        (torch.zeros(4), None, r"patterns must be a floating-point tensor \(number, d\), got \(4,\)"),
        (torch.zeros(3, 4).long(), None, r"patterns must be a floating-point tensor \(number, 4\), got torch\.int64"),
        (torch.zeros(3, 4), torch.zeros(2, 4), r"targets: expected one row per pattern, 3, got \(2, 4\)"),
    ],
)
def test_from_patterns_refuses_wrong_rows(patterns, targets, text):
    with pytest.raises(HopfieldError, match=text):
        HopfieldLayer.from_patterns(patterns, targets)


@pytest.mark.parametrize(
    ("state", "masks", "text"),
    [
        ([1.0], {}, r"state must be a floating-point tensor \(\*batch, n, 4\), got list; use torch.as_tensor"),
        (torch.zeros(4), {}, r"state must be a floating-point tensor \(\*batch, n, 4\), got shape \(4,\)"),
        (torch.zeros(2, 3), {}, r"state must be a floating-point tensor \(\*batch, n, 4\), got shape \(2, 3\)"),
        (
            torch.zeros(2, 4).long(),
            {},
            r"state must be a floating-point tensor \(\*batch, n, 4\), got torch\.int64; use \.to\(torch\.float32\)",
        ),
        (torch.zeros(2, 4), {"stored_mask": torch.ones(5)}, "stored_mask must be a tensor of dtype bool"),
        (
            torch.zeros(2, 4),
            {"stored_mask": torch.ones(4, dtype=torch.bool)},
            r"stored_mask must broadcast to \(\*batch, N\) = \(5,\), one entry per stored pattern; got shape \(4,\)",
        ),
        (
            torch.zeros(2, 4),
            {"association_mask": torch.ones(3, 5, dtype=torch.bool)},
            r"association_mask must be of shape \(L, N\) = \(2, 5\)",
        ),
        (torch.zeros(2, 4), {"association_bias": math.pi}, "association_bias must be a tensor of a floating-point"),
    ],
)
def test_wrong_inputs_are_refused(state, masks, text):
    layer = HopfieldLayer(4, patterns=5)
    with pytest.raises(HopfieldError, match=text):
        layer(state, **masks)
    with torch.no_grad(), pytest.raises(HopfieldError, match=text):
        layer.eval()(state, **masks)
    assert layer.hopfield.separation == Softmax()


def test_the_memory_is_projected_anew_after_a_fused_optimiser():
    layer = HopfieldLayer(4, patterns=5).eval()
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0, fused=True)  # which leaves no trace of a change
    rows = torch.randn(3, 4)
    with torch.no_grad():
        layer(rows)
    layer(rows).square().sum().backward()
    optimiser.step()
    with torch.no_grad():
        close(layer(rows), copy.deepcopy(layer)(rows), 1e-6)


@pytest.mark.parametrize("change", ["norm", "eps", "hook", "connected"])
def test_the_memory_is_projected_anew_after_a_change_of_parts(change):
    layer = HopfieldLayer(4, patterns=5, norm="layer_plain", head_size=4).eval()
    rows = torch.randn(3, 4)
    with torch.no_grad():
        before = layer(rows)
        if change == "norm":
            layer.hopfield.norm_stored = None
        elif change == "eps":
            layer.hopfield.norm_value.eps = 10.0
        elif change == "hook":
            layer.hopfield.project_value.register_forward_hook(lambda module, inputs, output: 2 * output)
        else:
            layer.hopfield.connect_values = True
        after = layer(rows)
        assert not torch.allclose(after, before)
        layer.eval()
        close(after, layer(rows), 1e-6)
