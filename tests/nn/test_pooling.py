"""Pooling: the textbook, the folded way, bags, empty sets, and errors."""

import copy
from unittest import mock

import pytest
import torch
from torch import nn

from hopfield import Bags, HopfieldPooling
from hopfield.core import task
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association
from hopfield.nn.beta import LearnedBeta
from hopfield.separation import Entmax, Softmax, Softmax1, Sparsemax, TopK
from tests.core.catalogue import (
    SLOW,
    Sharper,
    each_separation,
    examples,
    generator,
    integer,
    normal,
    one_of,
    sums_to_one,
    yes,
)
from tests.nn.catalogue import (
    SUBSETS,
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

NORMS = ("layer", "layer_plain", "rms", None)
each_norm = pytest.mark.parametrize("norm", NORMS, ids=repr)
each_steps = pytest.mark.parametrize("steps", [1, 3, None, (1, 3)], ids=repr)


def some_layer(g, **fixed):
    options = some_options(g, **fixed)
    size = options.pop("stored_size")
    return unlike(HopfieldPooling(size, states=integer(g, 1, 3), **options), g)


def some_sets(g, layer, batch=(), N=None, own=None):
    """Instances, and values of their own where they are asked for or must be there."""
    N, inner = integer(g, 0, 5) if N is None else N, layer.hopfield
    stored = normal(g, *batch, N, inner.stored_size).requires_grad_()
    own = inner.value_size != inner.stored_size or (bool(yes(g)) if own is None else own)
    return [stored, normal(g, *batch, N, inner.value_size).requires_grad_()] if own else [stored]


def pooled(layer, stored, value=None, **masks):
    states = layer.states.expand(*stored.shape[:-2], *layer.states.shape)
    return textbook(layer.hopfield, states, stored, stored if value is None else value, **masks)


def unfolded():
    return mock.patch.object(Association, "_folds", return_value=False)


def folded(called):
    """Count the calls of the folded way."""
    original = Association._folded

    def count(self, *arguments):
        called.append(1)
        return original(self, *arguments)

    return mock.patch.object(Association, "_folded", count)


# --------------------------------------------------------------------------------------------------------- the textbook


@each_separation
@examples(10)
def test_outputs_and_gradients_are_those_of_the_textbook(separation, seed):
    g = generator(seed)
    # half of them so that the projections may be folded
    plain = {"extra": (), "head_norm": None, "similarity": "dot", "steps": one_of(g, 1, 3)} if yes(g) else {}
    layer = some_layer(g, separation=separation, **plain)
    batch = one_of(g, (), (2,), (2, 2)) if separation not in SLOW else ()
    inputs = some_sets(g, layer, batch)
    masks = some_masks(g, batch, layer.hopfield.heads, len(layer.states), inputs[0].shape[-2])
    if plain and yes(g):
        masks = {"stored_mask": masks["stored_mask"]}
    expected, actual = pooled(layer, *inputs, **masks), layer(*inputs, **masks)
    close(actual, expected)
    close(layer.retrieve(*inputs, **masks)[0], expected)
    with torch.no_grad():
        close(layer(*inputs, **masks), expected)
    all_close(gradients(actual, inputs, layer), gradients(expected, inputs, layer), 1e-7)


@each_quick
@examples(4)
def test_until_convergence_is_the_textbook(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=None, tol=1e-10, max_steps=60)
    inputs = some_sets(g, layer, (2,))
    mask = yes(g, 2, inputs[0].shape[-2], chance=0.7)
    with torch.no_grad():
        close(layer(*inputs, stored_mask=mask), pooled(layer, *inputs, stored_mask=mask), 1e-6)


def test_it_is_a_hopfield_layer_with_its_own_states():
    g = generator(1)
    layer = unlike(HopfieldPooling(4, states=3, heads=2), g)
    stored = normal(g, 2, 5, 4)
    close(layer(stored), layer.hopfield(layer.states.expand(2, 3, 4), stored))


@each_subset
def test_a_projection_that_is_left_out_has_no_parameters(project):
    layer = HopfieldPooling(4, states=2, heads=2, head_size=4, project=project)
    names = {name for name, _ in layer.hopfield.named_parameters() if name.startswith("project")}
    assert names == {f"project_{name}.{part}" for name in project for part in ("weight", "bias")}
    assert layer(torch.randn(3, 5, 4)).shape == (3, 2, 4 if "output" in project else 8)


def test_states_without_projection_have_the_size_of_heads():
    layer = HopfieldPooling(6, heads=2, head_size=3, project=("stored", "value", "output"))
    assert layer.states.shape == (1, 3)
    assert layer(torch.randn(2, 5, 6)).shape == (2, 1, layer.hopfield.output_size)
    given = HopfieldPooling(6, states=torch.randn(2, 3), heads=2, project=("stored", "value", "output"))
    assert given(torch.randn(2, 5, 6)).shape[:2] == (2, 2)


# ------------------------------------------------------------------------------------------------------- the folded way


@each_norm
@pytest.mark.parametrize("separation", [Softmax(), Sparsemax(), Entmax(1.5), TopK(2), Softmax1(), Sharper()], ids=repr)
@examples(6)
def test_the_folded_way_is_the_plain_one(norm, separation, seed):
    g = generator(seed)
    project, heads = one_of(g, *SUBSETS), integer(g, 1, 3)
    beta = one_of(g, None, 0.7, torch.linspace(0.5, 1, heads), LearnedBeta([0.7] * heads))
    options = {"norm": norm, "separation": separation, "project": project, "steps": one_of(g, 1, 2, 3), "beta": beta}
    options |= {"bias": bool(yes(g)), "connect_values": bool(yes(g, chance=0.3)), "heads": heads}
    layer = unlike(HopfieldPooling(6, head_size=6, states=integer(g, 1, 2), **options), g)
    stored = normal(g, 2, integer(g, 0, 6), 6).requires_grad_()
    mask = one_of(g, None, yes(g, 2, stored.shape[-2], chance=0.7))
    called = []
    with folded(called):
        actual = layer(stored, stored_mask=mask)
    if norm == "rms" or isinstance(separation, Softmax1 | Sharper):
        assert not called
    elif {"stored", "value"} <= set(project):
        assert called
    with unfolded():
        expected = layer(stored, stored_mask=mask)
    close(actual, expected)
    all_close(gradients(actual, [stored], layer), gradients(expected, [stored], layer), 1e-7)


@each_norm
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("batch", [(), (2,)], ids=repr)
def test_the_folded_way_over_many_instances(norm, steps, masked, batch):
    g = generator(2)
    heads = 3
    assert task._LARGE_MEMORY <= 2100  # or choose more instances here
    options = {"heads": heads, "norm": norm, "steps": steps, "beta": LearnedBeta([0.5, 1.0, 2.0])}
    layer = unlike(HopfieldPooling(12, states=3, **options), g)
    stored = (normal(g, *batch, 2100, 12) * 3 + 5).requires_grad_()
    mask = yes(g, *batch, 2100, chance=0.8) if masked else None
    if masked and batch:
        mask[1] = False
    called = []
    with folded(called), mock.patch.object(task, "pool", wraps=task.pool) as kernel:
        actual = layer(stored, stored_mask=mask)
    assert bool(called) == (norm != "rms")
    assert kernel.called or norm == "rms"
    with unfolded():
        expected = layer(stored, stored_mask=mask)
    close(actual, expected)
    all_close(gradients(actual, [stored], layer), gradients(expected, [stored], layer), 1e-7)
    with torch.no_grad():
        close(layer(stored, stored_mask=mask), expected)


@each_norm
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("count", [50, 3000])
def test_a_large_mean_does_not_cancel_in_single_precision(norm, steps, count):
    g = generator(3)
    heads = 2
    exact = unlike(HopfieldPooling(16, heads=heads, states=2, norm=norm, steps=steps, beta=0.5), g)
    if norm in {"rms", None}:  # such scores are large themselves: with the mean, only their differences are small
        with torch.no_grad():
            exact.hopfield.project_stored.weight -= exact.hopfield.project_stored.weight.mean(1, keepdim=True)
    rows = (normal(g, count, 16) + 1000).float()
    single = copy.deepcopy(exact).float()
    exact = copy.deepcopy(single).double()
    wide, narrow = rows.double().requires_grad_(), rows.clone().requires_grad_()
    expected, actual = exact(wide), single(narrow)
    scale = expected.abs().max().item()
    close(actual.double(), expected, 1e-4 * max(1.0, scale))
    with unfolded():
        plain = gradients(single(narrow), [narrow], single)
    theirs, mine = gradients(expected, [wide], exact), gradients(actual, [narrow], single)
    for one, other, third in zip(mine, theirs, plain, strict=True):
        # without norm, the gradients of the projections cancel in any order
        allowed = 1e-3 * max(1e-3, other.abs().max().item()) + 10 * (third - other).abs().max().item()
        assert (one - other).abs().max() < allowed
        if norm in {"layer", "layer_plain"}:
            assert (one - other).abs().max() < 1e-3 * max(1e-2, other.abs().max().item())


@each_norm
@pytest.mark.parametrize("count", [50, 3000])
def test_constant_rows_stay_finite(norm, count):
    layer = HopfieldPooling(8, heads=2, norm=norm)
    rows = torch.full((2, count, 8), 3.0, requires_grad=True)
    output = layer(rows)
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert torch.isfinite(rows.grad).all()


def test_what_cannot_be_folded_is_not():
    g = generator(4)
    stored = normal(g, 2, 5, 4)
    mask, bias = torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5, dtype=torch.float64)
    called = []
    with folded(called):
        for options in (
            {"head_norm": "layer"},
            {"extra": ("zero",)},
            {"similarity": "euclidean"},
            {"dropout": 0.5},
            {"steps": None},
            {"separation": "softmax1"},
            {"separation": Sharper()},
            {"norm": "rms"},
            {"norm": lambda size: nn.Sequential(nn.LayerNorm(size))},
        ):
            layer = HopfieldPooling(4, **options).double()
            layer(stored)
        layer = HopfieldPooling(4, dropout=0.5).double()
        layer(stored, association_mask=mask)
        layer(stored, association_bias=bias)
        assert not called
        layer.eval()
        layer(stored, association_mask=mask)
        layer(stored, association_bias=bias)
        layer(stored, stored.clone())
        layer.retrieve(stored)
        layer.hopfield.project_value = nn.Sequential(layer.hopfield.project_value)
        layer(stored)
        assert not called
        HopfieldPooling(4).double()(stored)
    assert called


# -------------------------------------------------------------------------------------------------- what is always true


@each_separation
@pytest.mark.parametrize("steps", [1, 3], ids=repr)
@examples(3)
def test_padding_is_deletion(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps)
    sizes = [integer(g, 0, 4) for _ in range(3)]
    inputs = some_sets(g, layer, (3,), N=4)
    mask = torch.arange(4) < torch.tensor(sizes)[:, None]
    together = layer(*inputs, stored_mask=mask)
    apart = torch.stack([layer(*(x[i, :n] for x in inputs)) for i, n in enumerate(sizes)])
    close(together, apart)
    found = gradients(together, inputs, layer)
    all_close(found, gradients(apart, inputs, layer), 1e-7)
    assert not found[0][~mask].any()


@each_quick
@each_steps
@examples(3)
def test_a_batch_is_a_loop_of_any_shape_and_order(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, heads=2, tol=1e-10, max_steps=40)
    inputs = some_sets(g, layer, (2, 2), N=4)
    order = torch.randperm(4, generator=g)
    with torch.no_grad():
        expected = layer(*inputs)
        close(layer(*(x.flatten(0, 1) for x in inputs)).unflatten(0, (2, 2)), expected, 1e-6)
        for i in range(2):
            for j in range(2):
                close(layer(*(x[i, j] for x in inputs)), expected[i, j], 1e-6)
        close(layer(*(x[..., order, :] for x in inputs)), expected, 1e-6)
        layer.hopfield.batch_first = False
        turned = layer(*(x.movedim(-2, 0) for x in inputs))
        close(turned.movedim(0, -2), expected, 1e-6)
        output, found = layer.retrieve(*(x.movedim(-2, 0) for x in inputs))
        close(output, turned, 1e-6)
        assert found.steps.shape == (2, 2, 2, len(layer.states))


@each_quick
@each_steps
def test_every_head_takes_its_own_steps(separation, steps):
    g = generator(5)
    inner = {"heads": 2, "head_size": 3, "separation": separation, "project": ("state", "stored", "value")}
    layer = unlike(HopfieldPooling(4, states=2, steps=steps, tol=1e-10, **inner), g)
    stored = normal(g, 2, 5, 4)
    each = steps if isinstance(steps, tuple) else (steps, steps)
    with torch.no_grad():
        expected = layer(stored)
        for h, count in enumerate(each):
            layer.hopfield.steps = count
            close(layer(stored)[..., 3 * h : 3 * h + 3], expected[..., 3 * h : 3 * h + 3], 1e-6)


# ----------------------------------------------------------------------------------------------------------------- bags


@each_separation
@examples(4)
def test_bags_are_padded_sets(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation)
    sizes = [integer(g, 0, 6) for _ in range(integer(g, 1, 5))]
    inputs = [x.detach() for x in some_sets(g, layer, (len(sizes),), N=6)]
    mask = torch.arange(6) < torch.tensor(sizes)[:, None]
    flat = [x[mask].requires_grad_() for x in inputs]
    bags = [Bags.from_padded(x, mask) for x in inputs]
    bags = [Bags(one, bag.offsets) for one, bag in zip(flat, bags, strict=True)]
    padded = [bag.to_padded(6)[0] for bag in bags]
    actual, expected = layer(*bags), layer(*padded, stored_mask=mask)
    close(actual, expected)
    all_close(gradients(actual, flat, layer), gradients(expected, flat, layer), 1e-7)
    close(layer(bags[0], *flat[1:]), expected)
    if not layer.hopfield.extra:
        assert not actual[torch.tensor(sizes) == 0].any()
    for i, size in enumerate(sizes):
        close(actual[i], layer(*(x[i, :size] for x in inputs)))


@pytest.mark.parametrize("own", [False, True], ids=["", "values"])
@pytest.mark.parametrize("steps", [1, 3])
def test_bags_of_very_different_sizes(own, steps):
    g = generator(6)
    layer = unlike(HopfieldPooling(4, states=2, heads=2, steps=steps, value_size=3 if own else None), g)
    sizes = [3, 5000, 0, 1, 4096, 700, 0, 3]
    bags = Bags.from_list([normal(g, n, 4) for n in sizes])
    bags = Bags(bags.instances.requires_grad_(), bags.offsets)
    values = bags.with_instances(normal(g, bags.total, 3).requires_grad_()) if own else None
    actual = layer(bags, values)
    assert actual.shape == (8, 2, 4)
    one_by_one = [layer(bag) if values is None else layer(bag, values[i]) for i, bag in enumerate(bags)]
    close(actual, torch.stack(one_by_one))
    leaves = [bags.instances] if values is None else [bags.instances, values.instances]
    all_close(gradients(actual, leaves, layer), gradients(torch.stack(one_by_one), leaves, layer), 1e-7)


def test_bags_until_convergence():
    g = generator(7)
    layer = unlike(HopfieldPooling(4, heads=2, steps=(None, 2), tol=1e-10), g)
    bags = Bags.from_list([normal(g, n, 4) for n in (3, 0, 7, 1)])
    with torch.no_grad():
        close(layer(bags), torch.stack([layer(bag) for bag in bags]), 1e-7)


@each_steps
@each_quick
def test_no_bags_and_no_instances(separation, steps):
    layer = HopfieldPooling(4, states=2, heads=2, separation=separation, steps=steps, beta=LearnedBeta(0.1)).double()
    none = torch.zeros(0, 4, dtype=torch.float64)
    assert layer(Bags(none, [0])).shape == (0, 2, 4)
    assert layer.association_weights(Bags(none, [0])).shape == (0, 2, 2)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert not layer(Bags(none, [0, 0, 0])).any()
            assert not layer(none).any()
            assert layer(torch.zeros(0, 3, 4).double()).shape == (0, 2, 4)
            assert layer(torch.zeros(0, 0, 4).double()).shape == (0, 2, 4)
            assert not layer(torch.zeros(3, 0, 4).double()).any()
    rows = torch.ones(3, 5, 4, dtype=torch.float64, requires_grad=True)
    output = layer(rows, stored_mask=torch.zeros(3, 5, dtype=torch.bool))
    assert output.shape == (3, 2, 4)
    assert not output.any()
    output.sum().backward()
    assert not rows.grad.any()


@pytest.mark.parametrize("norm", [None, "layer"], ids=repr)
def test_a_bag_of_none_among_many_instances_is_masked(norm):
    g = generator(8)
    layer = unlike(HopfieldPooling(4, norm=norm), g)
    rows = normal(g, 2, 3000, 4).requires_grad_()
    mask = torch.zeros(2, 3000, dtype=torch.bool)
    mask[1, :5] = True
    output = layer(rows, stored_mask=mask)
    assert not output[0].any()
    output.sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert not rows.grad[~mask].any()


@each_separation
@pytest.mark.parametrize("extra", [(), ("bias",)], ids=repr)
def test_association_weights_are_aligned_with_the_instances(separation, extra):
    g = generator(9)
    layer = unlike(HopfieldPooling(4, states=2, heads=3, head_size=2, separation=separation, extra=extra), g)
    sizes = [4, 0, 1, 6, 4]
    bags = Bags.from_list([normal(g, n, 4) for n in sizes])
    weights = layer.association_weights(bags)
    assert weights.shape == (15, 3, 2)
    assert (weights >= 0).all()
    for i, bag in enumerate(bags):
        mine = weights[bags.offsets[i] : bags.offsets[i + 1]]
        close(mine.permute(1, 2, 0), layer.association_weights(bag)[..., : sizes[i]])
        if sizes[i] and sums_to_one(separation) and not extra:
            close(mine.sum(0), torch.ones(3, 2, dtype=torch.float64))
    padded, mask = bags.to_padded()
    assert layer.association_weights(padded, stored_mask=mask).shape == (5, 3, 2, 6 + len(extra))


def test_weights_of_bags_have_gradients():
    g = generator(10)
    layer = unlike(HopfieldPooling(4), g)
    bags = Bags.from_list([normal(g, n, 4) for n in (3, 5)])
    layer.association_weights(bags)[0].sum().backward()
    assert layer.states.grad.any()


# ---------------------------------------------------------------------------------------------------------- as a module


@pytest.mark.parametrize("steps", [1, 3, None, (1, None)], ids=repr)
@pytest.mark.parametrize("count", [5, 2100])
@each_norm
@pytest.mark.parametrize("extra", [(), ("bias",)], ids=repr)
def test_every_parameter_gets_a_gradient(steps, count, norm, extra):
    g = generator(11)
    options = {"heads": 2, "steps": steps, "norm": norm, "beta": LearnedBeta([0.05, 0.05]), "extra": extra}
    layer = HopfieldPooling(6, states=2, **options).double()
    for inputs in (normal(g, 2, count, 6), Bags.from_list([normal(g, n, 6) for n in (count, 3, 0)])):
        layer.zero_grad(set_to_none=True)
        layer(inputs).sum().backward()
        assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("steps", [1, 3])
def test_every_parameter_gets_a_gradient_from_empty_sets(steps):
    layer = HopfieldPooling(6, states=2, heads=2, steps=steps, beta=LearnedBeta(0.1))
    for inputs in (torch.zeros(3, 0, 6), Bags(torch.zeros(0, 6), [0, 0, 0])):
        layer.zero_grad(set_to_none=True)
        layer(inputs).sum().backward()
        assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []
        assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_it_learns_to_find_the_instance_that_matters():
    g = generator(12)
    layer, head = HopfieldPooling(4, heads=2, beta=LearnedBeta(1.0)), nn.Linear(4, 1)
    sizes = [integer(g, 2, 8) for _ in range(40)]
    bags = Bags.from_list([normal(g, n, 4).float() for n in sizes])
    labels = torch.arange(40) % 2
    instances = bags.instances.clone()
    instances[bags.offsets[:-1][labels == 1]] = torch.tensor([3.0, -3.0, 3.0, -3.0])
    bags = bags.with_instances(instances)
    optimizer = torch.optim.AdamW([*layer.parameters(), *head.parameters()], 0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(head(layer(bags)).flatten(), labels.float())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4


def test_given_states_are_kept():
    states = torch.randn(2, 4)
    fixed = HopfieldPooling(4, states=states, trainable=False)
    assert "states" not in dict(fixed.named_parameters())
    assert "states" in fixed.state_dict()
    fixed.reset_parameters()
    close(fixed.states, states)
    drawn = HopfieldPooling(4, states=2)
    before = drawn.states.detach().clone()
    drawn.reset_parameters()
    assert not torch.equal(drawn.states, before)
    assert "states=2, given" in repr(fixed)
    assert "states=2\n" in repr(drawn)


def test_dropout_drops_in_training_alone():
    g = generator(13)
    layer = HopfieldPooling(4, dropout=0.5).double()
    stored = normal(g, 8, 4)
    many = torch.stack([layer(stored) for _ in range(4)])
    assert not torch.allclose(many[0], many[1])
    layer.eval()
    plain = HopfieldPooling(4).double()
    plain.load_state_dict(layer.state_dict())
    close(layer(stored), plain(stored))
    bags = Bags.from_list([stored, stored[:3]])
    close(layer(bags), plain(bags))


def test_half_precision_stays_half_and_near():
    g = generator(14)
    layer = unlike(HopfieldPooling(8, heads=2), g)
    for count in (5, 3000):
        stored = normal(g, 2, count, 8)
        actual = copy.deepcopy(layer).bfloat16()(stored.bfloat16())
        assert actual.dtype == torch.bfloat16
        close(actual.double(), layer(stored), 0.15)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"states": 0}, r"states must be a number of at least 1 or a tensor \(number, 4\), got 0"),
        ({"states": True}, r"states must be a number of at least 1 or a tensor \(number, 4\), got True"),
        ({"states": "2"}, r"states must be a number of at least 1 or a tensor \(number, 4\), got '2'"),
        ({"states": torch.zeros(2, 3)}, r"states must be a floating-point tensor \(number, 4\), got .* \(2, 3\)"),
        ({"states": torch.zeros(0, 4)}, r"states must be a floating-point tensor \(number, 4\), got .* \(0, 4\)"),
        ({"states": torch.full((1, 4), torch.nan)}, "states must be finite: row 0 holds NaN or infinity; leave such"),
        ({"states": torch.zeros(4)}, r"states must be a floating-point tensor \(number, 4\), got .* \(4,\)"),
        ({"states": torch.ones(2, 4).long()}, r"states must be a floating-point tensor \(number, 4\), got torch.int64"),
        ({"heads": 3}, "input_size must be divisible by heads, got 4 and 3; or give head_size"),
        ({"separation": "max"}, "unknown separation 'max'; expected one of softmax"),
        ({"project": ("query",)}, "unknown project 'query'; expected some of state, stored, value, output"),
    ],
    ids=repr,
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(HopfieldError, match=text):
        HopfieldPooling(4, **options)


@pytest.mark.parametrize("size", [0, -1, 2.0], ids=repr)
def test_a_wrong_input_size_is_refused(size):
    with pytest.raises(HopfieldError, match="must be an integer of at least 1, got "):
        HopfieldPooling(size)


_X = torch.zeros(2, 5, 4)
_BAGS = Bags(torch.zeros(5, 4), [0, 2, 5])


@pytest.mark.parametrize(
    ("inputs", "masks", "text"),
    [
        (([1.0],), {}, r"stored must be a floating-point tensor \(\*batch, n, 4\), got list; use torch.as_tensor"),
        ((_X[..., :3],), {}, r"stored must be a floating-point tensor \(\*batch, n, 4\), got shape \(2, 5, 3\)"),
        (
            (_X.long(),),
            {},
            r"stored must be a floating-point tensor \(\*batch, n, 4\), got torch\.int64; use \.to\(torch\.float32\)",
        ),
        ((_X, _X[..., :3]), {}, r"value must be a floating-point tensor \(\*batch, n, 4\), got shape \(2, 5, 3\)"),
        ((_X, _BAGS), {}, "expected a tensor like stored, got Bags; give both as Bags or both as tensors"),
        ((_X,), {"stored_mask": torch.ones(2, 5)}, "stored_mask must be a tensor of dtype bool"),
        ((_X,), {"stored_mask": torch.ones(4, dtype=torch.bool)}, r"stored_mask must broadcast to .* = \(2, 5\)"),
        ((_X,), {"association_mask": torch.ones(5, dtype=torch.bool)}, r"association_mask must be of shape \(L, N\)"),
        (
            (_BAGS,),
            {"association_mask": torch.ones(1, 5, dtype=torch.bool)},
            "with bags only stored_mask can be given, one entry per instance",
        ),
        ((_BAGS,), {"stored_mask": torch.ones(4, dtype=torch.bool)}, r"stored_mask must broadcast to .* = \(5,\)"),
        ((_BAGS.with_instances(torch.zeros(5, 3)),), {}, "instances of bags must be a floating-point tensor"),
        ((_BAGS, torch.zeros(4, 4)), {}, "value: expected one row per instance, 5, got 4"),
        ((_BAGS, _BAGS.with_instances(torch.zeros(5, 3))), {}, r"value must be a floating-point tensor \(total, 4\)"),
        ((_BAGS, 3), {}, "value must be a floating-point tensor .* got int"),
    ],
)
def test_wrong_inputs_are_refused(inputs, masks, text):
    with pytest.raises(HopfieldError, match=text):
        HopfieldPooling(4)(*inputs, **masks)


def test_a_retrieval_of_bags_is_refused():
    with pytest.raises(HopfieldError, match=r"association_weights\(bags\) says how much each counts"):
        HopfieldPooling(4).retrieve(_BAGS)
    with pytest.raises(HopfieldError, match="bags need no mask: leave instances out of the bags"):
        HopfieldPooling(4).association_weights(_BAGS, stored_mask=torch.ones(5, dtype=torch.bool))


def test_weights_of_bags_do_not_ask_for_values_or_the_order_of_dimensions():
    layer = HopfieldPooling(4, value_size=3, batch_first=False)
    plain = HopfieldPooling(4, value_size=3)
    plain.load_state_dict(layer.state_dict())
    bags = Bags(torch.randn(9, 4), [0, 2, 2, 9])
    close(layer.association_weights(bags), plain.association_weights(bags))
    sums = torch.stack([bag.sum(0) for bag in bags.with_instances(layer.association_weights(bags).flatten(1))])
    close(sums, torch.tensor([[1.0], [0.0], [1.0]]))


def test_values_in_bags_of_other_sizes_are_refused():
    other = Bags(torch.zeros(5, 4), [0, 3, 5])
    text = r"value: expected bags of the same sizes as stored, got others; make them with stored\.with_instances"
    with pytest.raises(HopfieldError, match=text):
        HopfieldPooling(4)(_BAGS, other)


def test_masks_of_the_folded_way_are_checked_like_others():
    layer = HopfieldPooling(4)
    for patch in (unfolded(), folded([])):
        with patch, pytest.raises(HopfieldError, match=r"stored_mask must broadcast to \(\*batch, N\) = \(2, 5\)"):
            layer(_X, stored_mask=torch.ones(3, 5, dtype=torch.bool))


# without a norm large means are large scores, whose rounding no way of summing avoids
@pytest.mark.parametrize(("norm", "mean"), [("layer", 0.0), ("layer", 100.0), ("layer", 1e4), (None, 0.0)])
@pytest.mark.parametrize("beta", [1.0, 1e4])
def test_one_pass_loses_no_digits_against_the_unfolded_way(norm, beta, mean):
    """In float32, measured against float64: outputs, and gradients of the instances where they can be had at all."""
    g = generator(5)
    layer = HopfieldPooling(16, states=1, beta=beta, norm=norm)
    rows = (torch.randn(1, 5000, 16, generator=g) + mean).requires_grad_()
    exact = copy.deepcopy(layer).double()
    wide = rows.detach().double().requires_grad_()
    target = torch.randn(1, 1, 16, generator=g)

    def error(output, source, like):
        (gradient,) = torch.autograd.grad(output, source, target)
        (expected,) = torch.autograd.grad(like, wide, target.double(), retain_graph=True)
        off = float((gradient.double() - expected).norm() / expected.norm())
        return float((output.double() - like).detach().norm() / like.detach().norm()), off

    truth = exact.retrieve(wide)[0]
    folded, unfolded = error(layer(rows), rows, truth), error(layer.retrieve(rows)[0], rows, truth)
    for one, other in zip(folded, unfolded, strict=True):
        assert one <= 4 * other + 1e-5
