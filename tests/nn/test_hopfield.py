"""The general layer: the textbook, what is always true, attention, what a retrieval tells, and errors."""

import copy
import math

import pytest
import torch
from torch import nn

from hopfield import Hopfield, HopfieldLayer, energy
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association, Masks
from hopfield.nn.beta import LearnedBeta
from hopfield.nn.transformer import causal_mask
from hopfield.separation import Entmax, Normmax, Softmax, Softmax1, Sparsemax, TopK
from tests.core.catalogue import (
    SEPARATIONS,
    SLOW,
    each_separation,
    examples,
    generator,
    integer,
    normal,
    one_of,
    sums_to_one,
    uniform,
    yes,
)
from tests.nn.catalogue import (
    PROJECTIONS,
    SMOOTH,
    all_close,
    alone,
    close,
    each_quick,
    each_subset,
    gradients,
    some_masks,
    some_options,
    textbook,
    unlike,
)

# fixed points of the iterative ones take most of the time
STEPS = [(s, steps) for s in SEPARATIONS for steps in (1, 3, None) if steps is not None or s not in SLOW]
each_separation_and_steps = pytest.mark.parametrize(("separation", "steps"), STEPS, ids=repr)
each_usual = pytest.mark.parametrize("separation", [s for s in SEPARATIONS if s not in SLOW], ids=repr)
each_smooth = pytest.mark.parametrize("separation", SMOOTH, ids=repr)


def some_layer(g, **fixed):
    return unlike(Hopfield(4, **some_options(g, **fixed)), g)


def some_inputs(g, layer, batch=(), L=None, N=None):
    L, N = integer(g, 1, 3) if L is None else L, integer(g, 1, 5) if N is None else N
    sizes = ((L, layer.input_size), (N, layer.stored_size), (N, layer.value_size))
    return [normal(g, *batch, *size).requires_grad_() for size in sizes]


# --------------------------------------------------------------------------------------------------------- the textbook


@each_separation
@examples(8)
def test_outputs_and_gradients_are_those_of_the_textbook(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation)
    batch = one_of(g, (), (2,), (2, 2)) if separation not in SLOW else ()
    inputs = some_inputs(g, layer, batch)
    masks = some_masks(g, batch, layer.heads, inputs[0].shape[-2], inputs[1].shape[-2])
    expected = textbook(layer, *inputs, **masks)
    actual = layer(*inputs, **masks)
    close(actual, expected)
    with torch.no_grad():
        close(layer(*inputs, **masks), expected)
        close(layer.retrieve(*inputs, **masks)[0], expected)
    all_close(gradients(actual, inputs, layer), gradients(expected, inputs, layer), 1e-7)


@each_separation
@examples(4)
def test_until_convergence_is_the_textbook(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, tol=1e-10, max_steps=60, steps=None)
    if layer.heads > 1 and yes(g):
        layer.steps = tuple(one_of(g, 1, 2, None) for _ in range(layer.heads))
    batch = one_of(g, (), (2,))
    inputs = some_inputs(g, layer, batch)
    masks = some_masks(g, batch, layer.heads, inputs[0].shape[-2], inputs[1].shape[-2])
    with torch.no_grad():
        close(layer(*inputs, **masks), textbook(layer, *inputs, **masks), 1e-6)


@pytest.mark.parametrize("given", [1, 2, 3], ids=["state", "stored", "value"])
@each_subset
def test_stored_patterns_and_values_are_the_states_by_default(given, project):
    g = generator(7)
    for steps in (1, 3):
        layer = some_layer(g, project=project, stored_size=4, value_size=4, steps=steps)
        inputs = [normal(g, 2, 3, 4).requires_grad_() for _ in range(given)]
        all_three = [*inputs, *[inputs[-1]] * (3 - given)]
        actual, expected = layer(*inputs), textbook(layer, *all_three)
        close(actual, expected)
        all_close(gradients(actual, inputs, layer), gradients(expected, inputs, layer), 1e-7)


def test_it_is_the_formula_of_the_paper():
    g = generator(3)
    layer = unlike(Hopfield(4, connect_values=True, norm=None, bias=False, beta=0.7), g)
    R, Y = normal(g, 3, 4), normal(g, 5, 4)
    W_Q, W_K, W_V, W_O = (getattr(layer, f"project_{name}").weight.T for name in PROJECTIONS)
    close(layer(R, Y), torch.softmax(0.7 * (R @ W_Q) @ (Y @ W_K).T, -1) @ Y @ W_K @ W_V @ W_O)


@each_subset
def test_a_projection_that_is_left_out_has_no_parameters(project):
    layer = Hopfield(4, heads=2, head_size=4, project=project, bias=True)
    names = {name for name, _ in layer.named_parameters() if name.startswith("project")}
    assert names == {f"project_{name}.{part}" for name in project for part in ("weight", "bias")}
    width = 4 if "output" in project else 8
    assert layer(torch.randn(2, 3, 4)).shape == (2, 3, width)
    assert layer.output_size == width


# -------------------------------------------------------------------------------------------------- what is always true


@each_separation_and_steps
@examples(3)
def test_padding_is_deletion(separation, steps, seed):
    g = generator(seed)
    sizes = [integer(g, 0, 4) for _ in range(3)]
    layer = some_layer(g, separation=separation, steps=steps, tol=1e-10, max_steps=40)
    state, stored, value = some_inputs(g, layer, (3,), N=4)
    mask = torch.arange(4) < torch.tensor(sizes)[:, None]
    # what stands at padded positions never matters
    stored = (stored + 100.0 * ~mask[..., None]).detach().requires_grad_()
    learning = steps is not None
    with torch.set_grad_enabled(learning):
        together = layer(state, stored, value, stored_mask=mask)
        apart = [layer(q, x[:n], v[:n]) for q, x, v, n in zip(state, stored, value, sizes, strict=True)]
    close(together, torch.stack(apart), 1e-9 if learning else 1e-6)
    if learning:
        inputs = [state, stored, value]
        found = gradients(together, inputs, layer)
        all_close(found, gradients(torch.stack(apart), inputs, layer), 1e-7)
        assert not found[1][~mask].any()
        assert not found[2][~mask].any()


@each_smooth
@examples(4)
def test_padding_is_deletion_for_gradients_of_fixed_points(separation, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=None, tol=1e-12, beta=0.2, head_norm=None, similarity="dot")
    state, stored, value = some_inputs(g, layer, (3,), N=4)
    sizes = [integer(g, 1, 4) for _ in range(3)]
    mask = torch.arange(4) < torch.tensor(sizes)[:, None]
    with torch.no_grad():
        if not layer.retrieve(state, stored, value, stored_mask=mask)[1].converged.all():
            return
    together = layer(state, stored, value, stored_mask=mask)
    apart = torch.stack([layer(q, x[:n], v[:n]) for q, x, v, n in zip(state, stored, value, sizes, strict=True)])
    close(together, apart, 1e-7)
    inputs = [state, stored, value]
    all_close(gradients(together, inputs, layer), gradients(apart, inputs, layer), 1e-4)


@each_separation_and_steps
@examples(2)
def test_a_batch_is_a_loop_of_any_shape_and_order(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, tol=1e-10, max_steps=40)
    state, stored, value = some_inputs(g, layer, (2, 2), N=4)
    tolerance = 1e-9 if steps else 1e-6
    with torch.no_grad():
        expected = layer(state, stored, value)
        flat = layer(state.flatten(0, 1), stored.flatten(0, 1), value.flatten(0, 1))
        close(flat.unflatten(0, (2, 2)), expected, tolerance)
        for i in range(2):
            for j in range(2):
                close(layer(state[i, j], stored[i, j], value[i, j]), expected[i, j], tolerance)
        close(layer(state[:1, 0], stored[:1, 0], value[:1, 0])[0], expected[0, 0], tolerance)
        layer.batch_first = False
        turned = layer(*(tensor.movedim(-2, 0) for tensor in (state, stored, value)))
        close(turned.movedim(0, -2), expected, tolerance)
        unbatched = layer(state[0, 0], stored[0, 0], value[0, 0])
        close(unbatched, expected[0, 0], tolerance)


@each_separation_and_steps
@examples(2)
def test_the_order_of_stored_patterns_does_not_matter(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, tol=1e-10, max_steps=40)
    state, stored, value = some_inputs(g, layer, (2,), N=4)
    order = torch.randperm(4, generator=g)
    mask, bias = yes(g, 2, 4, chance=0.8), normal(g, 2, state.shape[-2], 4)
    with torch.no_grad():
        one, found = layer.retrieve(state, stored, value, stored_mask=mask, association_bias=bias)
        other, moved = layer.retrieve(
            state,
            stored[:, order],
            value[:, order],
            stored_mask=mask[:, order],
            association_bias=bias[..., order],
        )
    close(other, one, 1e-9 if steps else 1e-6)
    close(moved.weights[..., :4], found.weights[..., :4][..., order], 1e-9 if steps else 1e-6)


@each_quick
@pytest.mark.parametrize("steps", [1, 3, None], ids=repr)
def test_one_memory_for_all_is_that_memory_for_each(separation, steps):
    g = generator(9)
    for _ in range(4):
        layer = some_layer(g, separation=separation, steps=steps, tol=1e-10, max_steps=60)
        state, stored, value = some_inputs(g, layer, (), L=3, N=4)
        state = normal(g, 2, 2, 3, 4)
        with torch.no_grad():
            expected = layer(state, stored.expand(2, 2, -1, -1), value.expand(2, 2, -1, -1))
            close(layer(state, stored, value), expected, 1e-9 if steps else 1e-6)
            masked = {"stored_mask": torch.tensor([True, False, True, True])}
            close(
                layer(state, stored, value, **masked),
                layer(state, stored.expand(2, 2, -1, -1), value.expand(2, 2, -1, -1), **masked),
                1e-9 if steps else 1e-6,
            )


@each_usual
@pytest.mark.parametrize("steps", [3, None, (None, 2)], ids=repr)
@examples(2)
def test_no_state_depends_on_its_neighbours_in_the_batch(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, tol=1e-8, heads=2, max_steps=60)
    state, stored, value = some_inputs(g, layer, (3,), L=3, N=4)
    # neighbours that take long, and neighbours that stop at once
    others = [torch.zeros_like(state), 30 * normal(g, *state.shape), state.flip(0)]
    with torch.no_grad():
        expected = layer(state, stored, value)
        for other in others:
            changed = other.clone()
            changed[1, 1] = state[1, 1]
            close(layer(changed, stored, value)[1, 1], expected[1, 1], 1e-6)


# ------------------------------------------------------------------------------------------------- nothing to attend to


@each_quick
@pytest.mark.parametrize("steps", [1, 3, None, (1, 3)], ids=repr)
@examples(3)
def test_nothing_to_attend_to_gives_zeros_and_finite_gradients(separation, steps, seed):
    g = generator(seed)
    layer = some_layer(g, separation=separation, steps=steps, heads=2, extra=(), tol=1e-8, head_norm=None, beta=0.1)
    inputs = some_inputs(g, layer, (2,), L=2, N=3)
    stored_mask = torch.tensor([[False] * 3, [True] * 3])
    for masks in (
        {"stored_mask": stored_mask},
        {"association_mask": stored_mask[:, None].expand(2, 2, 3)},
        {"association_mask": stored_mask[:, None, None].expand(2, 2, 2, 3)},
        {"association_bias": torch.zeros(2, 2, 3, dtype=torch.float64).masked_fill(~stored_mask[:, None], -math.inf)},
    ):
        learning = steps is not None and separation in (Softmax(), Sparsemax())
        with torch.set_grad_enabled(learning):
            output, found = layer.retrieve(*inputs, **masks)
            again = layer(*inputs, **masks)
        assert not output[0].any()
        assert not again[0].any()
        assert output[1].any()
        assert torch.isfinite(again).all()
        close(output, again)
        assert not found.weights[0].any()
        if learning:
            grads = gradients(again, inputs, layer)
            assert all(torch.isfinite(grad).all() for grad in grads)
            assert not any(grad[0].any() for grad in grads[:3])


def test_gradients_are_finite_where_a_fixed_point_has_nothing_to_attend_to():
    g = generator(4)
    layer = some_layer(g, project=PROJECTIONS, steps=None, heads=2, extra=(), tol=1e-10, beta=0.1, head_norm=None)
    inputs = some_inputs(g, layer, (2,), L=2, N=3)
    output = layer(*inputs, stored_mask=torch.tensor([[False] * 3, [True] * 3]))
    for grad in gradients(output, inputs, layer):
        assert torch.isfinite(grad).all()


@each_separation_and_steps
def test_no_patterns_no_states_no_batch(separation, steps):
    layer = Hopfield(4, heads=2, separation=separation, steps=steps).double()
    g = generator(1)
    for batch, L, N in (((2,), 3, 0), ((), 3, 0), ((0,), 3, 5), ((2,), 0, 5), ((2, 0), 3, 5), ((2,), 0, 0)):
        state = normal(g, *batch, L, 4).requires_grad_()
        stored = normal(g, *batch, N, 4).requires_grad_()
        output, found = layer.retrieve(state, stored)
        assert output.shape == layer(state, stored).shape == (*batch, L, 4)
        assert not output.any()
        assert found.weights.shape == (*batch, 2, L, N)
        assert found.energy.shape == found.steps.shape == (*batch, 2, L)
        layer(state, stored).sum().backward()
        for tensor in (state, stored, *layer.parameters()):
            assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("steps", [1, 3], ids=repr)
def test_extra_patterns_are_there_where_nothing_else_is(steps):
    g = generator(2)
    layer = unlike(Hopfield(4, heads=2, extra=("bias",), steps=steps), g)
    state = normal(g, 3, 4)
    expected = layer.project_output(layer.extra_value.flatten()).expand(3, 4)
    close(layer(state, normal(g, 0, 4)), expected)
    close(layer(state, normal(g, 5, 4), stored_mask=torch.zeros(5, dtype=torch.bool)), expected)


# --------------------------------------------------------------------------------------------------------- head by head


@each_quick
@pytest.mark.parametrize("beta", ["number", "tensor", "learned"])
@pytest.mark.parametrize("steps", [1, (1, 2, 5), (None, 1, None), None], ids=repr)
def test_every_head_is_a_layer_of_its_own(separation, beta, steps):
    g = generator(5)
    numbers = [0.3, 0.9, 1.8]
    beta = {"number": 0.8, "tensor": torch.tensor(numbers).double(), "learned": LearnedBeta(numbers)}[beta]
    options = {"heads": 3, "head_size": 2, "head_value_size": 3, "separation": separation, "similarity": "euclidean"}
    layer = Hopfield(4, **options, beta=beta, steps=steps, tol=1e-10, project=("state", "stored", "value"))
    layer = unlike(layer, g)
    state, stored = normal(g, 2, 3, 4), normal(g, 2, 6, 4)
    with torch.no_grad():
        together = layer(state, stored)
        for h in range(3):
            close(together[..., 3 * h : 3 * h + 3], alone(layer, h)(state, stored), 1e-6)


# ------------------------------------------------------------------------------------------------------------ attention


@pytest.mark.parametrize("sizes", [{}, {"kdim": 5}, {"kdim": 5, "vdim": 3}], ids=repr)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("learned", [False, True], ids=["", "bias_kv"])
@pytest.mark.parametrize("zero", [False, True], ids=["", "zero_attn"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["", "batch_first"])
def test_from_attention_is_attention(sizes, bias, learned, zero, batch_first):
    g = generator(6)
    options = {"bias": bias, "add_bias_kv": learned, "add_zero_attn": zero, "batch_first": batch_first, **sizes}
    attention = nn.MultiheadAttention(8, 2, dropout=0.1, **options, dtype=torch.float64)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(normal(g, *parameter.shape))
    before = copy.deepcopy(attention.state_dict())
    L, N, B = 3, 5, 2
    padding = torch.tensor([[False] * 5, [False, True, False, True, True]])
    hidden = yes(g, L, N, chance=0.3)
    hidden[:, 0] = False
    each_hidden = yes(g, B * 2, L, N, chance=0.3)
    each_hidden[..., 0] = False
    bias_of_scores = normal(g, L, N)

    def order(tensor):
        return tensor if batch_first else tensor.transpose(0, 1)

    query, key, value = normal(g, B, L, 8), normal(g, B, N, sizes.get("kdim", 8)), normal(g, B, N, sizes.get("vdim", 8))
    inputs = [order(tensor) for tensor in (query, key, value)]
    attention.eval()
    layer = Hopfield.from_attention(attention)
    assert not layer.training
    assert layer.dropout == 0.1
    head = math.sqrt(4)
    for theirs, mine in (
        ({}, {}),
        ({"key_padding_mask": padding}, {"stored_mask": ~padding}),
        ({"attn_mask": hidden}, {"association_mask": ~hidden}),
        ({"attn_mask": each_hidden}, {"association_mask": ~each_hidden.unflatten(0, (B, 2))}),
        (
            {"attn_mask": hidden, "key_padding_mask": padding},
            {"association_mask": ~hidden, "stored_mask": ~padding},
        ),
        ({"attn_mask": bias_of_scores}, {"association_bias": bias_of_scores * head}),
    ):
        expected, weights = attention(*inputs, **theirs, average_attn_weights=False)
        close(layer(*inputs, **mine), expected, 1e-12)
        output, found = layer.retrieve(*inputs, **mine)
        close(output, expected, 1e-12)
        assert found.weights.shape[-1] == N + learned + zero
        close(found.weights, weights, 1e-12)
        assert layer.project_state.weight.data_ptr() != attention.out_proj.weight.data_ptr()
    attention.train()
    attention.dropout = 0.0
    layer = Hopfield.from_attention(attention)
    assert layer.training
    inputs = [tensor.requires_grad_() for tensor in inputs]
    expected, actual = attention(*inputs)[0], layer(*inputs)
    close(actual, expected, 1e-12)
    all_close(torch.autograd.grad(actual.sum(), inputs), torch.autograd.grad(expected.sum(), inputs), 1e-10)
    all_close(list(attention.state_dict().values()), list(before.values()), 0.0)


def test_from_attention_keeps_dtype_and_gives_zeros_in_place_of_nan():
    attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.bfloat16)
    assert Hopfield.from_attention(attention).project_state.weight.dtype == torch.bfloat16
    layer = Hopfield.from_attention(nn.MultiheadAttention(8, 2, batch_first=True))
    assert not layer(torch.randn(1, 3, 8), stored_mask=torch.zeros(1, 3, dtype=torch.bool)).any()
    with pytest.raises(HopfieldError, match=r"expected a torch\.nn\.MultiheadAttention, got Linear"):
        Hopfield.from_attention(nn.Linear(2, 2))


# ----------------------------------------------------------------------------------------------- what a retrieval tells


@each_separation_and_steps
def test_a_retrieval_tells_the_weights_of_the_output(separation, steps):
    g = generator(8)
    for extra in ((), ("bias", "zero")):
        options = {"project": ("state", "stored", "value"), "extra": extra, "separation": separation}
        layer = unlike(Hopfield(4, heads=2, head_value_size=3, steps=steps, max_steps=40, **options), g)
        state, stored = normal(g, 2, 3, 4), normal(g, 2, 5, 4)
        mask = torch.tensor([[True] * 5, [True, False, True, True, False]])
        with torch.no_grad():
            output, found = layer.retrieve(state, stored, stored_mask=mask)
            _, values = layer.association().memory(stored, stored)
            close(output, layer(state, stored, stored_mask=mask))
        count = 5 + len(extra)
        assert found.weights.shape == (2, 2, 3, count)
        assert (found.weights >= 0).all()
        assert not found.weights[1][..., [1, 4]].any()
        total = found.weights.sum(-1)
        if sums_to_one(separation):
            close(total, torch.ones_like(total))
        else:
            assert (total < 1).all()
        close((found.weights @ values).transpose(-3, -2).flatten(-2), output)
        close(found.values.transpose(-3, -2).flatten(-2), output)
        for tensor in (found.steps, found.converged, found.energy, found.potential, found.support()):
            assert tensor.shape == (2, 2, 3)
        assert found.converged.dtype == torch.bool
        if steps is not None:
            assert (found.steps == steps).all()
        assert found.state.shape == (2, 2, 3, 2)
        assert found.top(2)[1].shape == (2, 2, 3, 2)


@each_quick
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
@pytest.mark.parametrize("beta", [None, [0.4, 1.3]], ids=repr)
def test_the_energy_is_that_of_the_projected_heads(separation, similarity, beta):
    g = generator(10)
    layer = Hopfield(4, heads=2, steps=2, beta=beta, separation=separation, similarity=similarity)
    layer = unlike(layer, g)
    state, stored = normal(g, 2, 3, 4), normal(g, 2, 5, 4)
    mask, bias = yes(g, 2, 5, chance=0.7), normal(g, 3, 5)
    masks = {"stored_mask": mask, "association_bias": bias}
    with torch.no_grad():
        found = layer.retrieve(state, stored, **masks)[1]
        patterns = layer.association().memory(stored, stored)[0]
    shift = -patterns.square().sum(-1).unsqueeze(-2) / 2 if similarity == "euclidean" else 0.0
    each = torch.as_tensor(layer.beta, dtype=torch.float64).expand(2)
    for h in range(2):
        bias_of_head = bias + (shift[:, h] if isinstance(shift, torch.Tensor) else shift)
        options = {"beta": float(each[h]), "bias": bias_of_head, "mask": mask[:, None], "separation": separation}
        close(found.energy[:, h], energy(found.state[:, h], patterns[:, h], **options))


# -------------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("separation", [Softmax(), Sparsemax(), TopK(5), Normmax()], ids=repr)
def test_dropout_drops_in_training_alone(separation):
    g = generator(11)
    options = {"norm": None, "project": (), "separation": separation, "head_size": 4, "beta": 0.1}
    layer = Hopfield(4, dropout=0.5, **options).double()
    state, stored = normal(g, 1, 4), normal(g, 8, 4)
    plain = Hopfield(4, **options).double()(state, stored)
    layer.eval()
    close(layer(state, stored), plain)
    layer.train()
    many = layer(state.expand(6000, 1, 4), stored)
    assert not torch.allclose(many[0], many[1]) or not torch.allclose(many[0], many[2])
    standard = (many.std(0) / math.sqrt(6000)).clamp(min=1e-12)
    assert ((many.mean(0) - plain) / standard).abs().max() < 5
    output, found = layer.retrieve(state, stored)
    close(found.weights.sum(-1), torch.ones(1, 1, dtype=torch.float64))
    assert output.shape == plain.shape


@pytest.mark.parametrize("steps", [3, None], ids=repr)
def test_steps_before_the_last_are_not_dropped(steps):
    g = generator(12)
    layer = Hopfield(4, dropout=0.5, steps=steps, norm=None, beta=0.5, project=()).double()
    plain = Hopfield(4, steps=steps, norm=None, beta=0.5, project=()).double()
    state, stored = normal(g, 3, 4), normal(g, 8, 4)
    _, found = layer.retrieve(state, stored)
    _, expected = plain.retrieve(state, stored)
    close(found.state, expected.state)
    close(found.weights, expected.weights)
    # every entry of an output of one-hot values is a weight: dropped, or doubled
    output = layer(state, stored, torch.eye(8, 4).double())
    weights = expected.weights[0, :, :4]
    dropped = output.abs() < 1e-12
    assert dropped.any()
    close(output, torch.where(dropped, 0.0, 2 * weights))


# ---------------------------------------------------------------------------------------------------------- as a module


@pytest.mark.parametrize("steps", [1, 3, None, (1, None)], ids=repr)
@examples(6)
def test_every_parameter_gets_a_gradient(steps, seed):
    g = generator(seed)
    options = some_options(g, heads=2, steps=steps, head_norm=None, beta=LearnedBeta([0.05, 0.1]), similarity="dot")
    layer = unlike(Hopfield(4, **options), g)
    inputs = some_inputs(g, layer, (2,), L=2, N=3)
    with torch.no_grad():
        if not layer.retrieve(*inputs)[1].converged.all() and steps in {None, (1, None)}:
            return
    layer(*inputs).sum().backward()
    assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []


def test_a_saved_layer_is_the_same_layer():
    g = generator(13)
    options = {"heads": 2, "beta": [0.5, 2.0], "extra": ("bias",), "steps": (1, 2), "head_norm": "rms"}
    layer, other = unlike(Hopfield(4, **options), g), Hopfield(4, **{**options, "beta": [1.0, 1.0]}).double()
    state = normal(g, 2, 3, 4)
    other.load_state_dict(layer.state_dict())
    close(other(state), layer(state), 0.0)
    close(copy.deepcopy(layer)(state), layer(state), 0.0)


def test_reset_parameters_starts_anew():
    layer = Hopfield(4, heads=2, extra=("bias",))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(7.0)
    layer.reset_parameters()
    assert not any((parameter == 7).any() for parameter in layer.parameters())
    assert not layer.project_state.bias.any()
    assert (layer.norm_state.weight == 1).all()
    bound = math.sqrt(6 / 8)
    assert layer.project_state.weight.abs().max() <= bound


def test_half_precision_stays_half_and_near():
    g = generator(14)
    for steps in (1, 3):
        layer = unlike(Hopfield(8, heads=2, steps=steps, beta=LearnedBeta(0.3)), g)
        state = normal(g, 2, 3, 8)
        expected = layer(state)
        for dtype, tolerance in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
            actual = copy.deepcopy(layer).to(dtype)(state.to(dtype))
            assert actual.dtype == dtype
            close(actual.double(), expected, tolerance)


@pytest.mark.parametrize("name", ["norm_state", "norm_stored", "project_stored", "project_value", "project_output"])
def test_hooks_of_its_parts_are_called(name):
    layer = unlike(Hopfield(4), generator(16))
    state, called = normal(generator(17), 2, 4), []
    expected = layer(state)
    layer.get_submodule(name).register_forward_hook(lambda *a: called.append(1))
    close(layer(state), expected)
    assert called


@each_quick
@pytest.mark.parametrize("steps", [1, 3, (1, None)], ids=repr)
def test_what_lacks_batch_dimensions_is_the_same_for_all(separation, steps):
    g = generator(15)
    layer = unlike(Hopfield(4, heads=2, steps=steps, separation=separation, tol=1e-10, max_steps=60), g)
    mask = yes(g, 3, 5, chance=0.7)
    with torch.no_grad():
        for lacking in range(8):
            sizes = (2, 5, 5)
            batched = [normal(g, 3, size, 4) for size in sizes]
            inputs = [x[0] if lacking >> i & 1 else x for i, x in enumerate(batched)]
            wide = [x[:1].expand(3, -1, -1) if lacking >> i & 1 else x for i, x in enumerate(batched)]
            expected = layer(*wide)
            expected = expected[0] if lacking == 7 else expected
            close(layer(*inputs), expected, 1e-7)
            close(layer.retrieve(*inputs)[0], expected, 1e-7)
            if lacking != 7:
                close(layer(*inputs, stored_mask=mask), layer(*wide, stored_mask=mask), 1e-7)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "64, heads=1, head_size=64, output_size=64, beta=0.125, separation=Softmax(), steps=1"),
        ({"stored_size": 8}, "stored_size=8, value_size=8"),
        ({"heads": 2, "beta": [0.25, 0.5]}, "beta=[0.25, 0.5]"),
        ({"similarity": "euclidean", "dropout": 0.5}, "similarity='euclidean', dropout=0.5"),
        ({"beta": LearnedBeta(1.0)}, "LearnedBeta(shared by all heads)"),
        ({"heads": 2, "beta": LearnedBeta([1.0, 1.0])}, "LearnedBeta(heads=2)"),
    ],
    ids=repr,
)
def test_its_repr_tells_what_differs(options, text):
    assert text in repr(Hopfield(64, **options))


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"heads": 3}, "input_size must be divisible by heads, got 4 and 3; or give head_size"),
        ({"heads": 0}, "heads must be an integer of at least 1, got 0"),
        ({"heads": True}, "heads must be an integer of at least 1, got True"),
        ({"stored_size": 0}, "stored_size must be an integer of at least 1, got 0"),
        ({"value_size": 2.0}, r"value_size must be an integer of at least 1, got 2\.0"),
        ({"head_size": -1}, "head_size must be an integer of at least 1, got -1"),
        ({"head_value_size": 0}, "head_value_size must be an integer of at least 1, got 0"),
        ({"output_size": -3}, "output_size must be an integer of at least 1, got -3"),
        ({"output_size": 0}, "output_size must be an integer of at least 1, got 0"),
        ({"project": ("states",)}, "unknown project 'states'; expected some of state, stored, value, output"),
        ({"extra": "zeros"}, "unknown extra 'zeros'; expected some of bias, zero"),
        ({"similarity": "cosine"}, "unknown similarity 'cosine'; expected one of dot, euclidean"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1\.0"),
        ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0\.1"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0; steps=None iterates"),
        ({"steps": "2"}, "steps must be an integer of at least 1, got '2'"),
        ({"heads": 2, "steps": (1,)}, "steps: expected one entry per head, 2; got 1"),
        ({"heads": 2, "steps": ()}, "steps must hold one entry per head, got none"),
        ({"tol": 0.0}, r"tol must be above 0, got 0\.0"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1, got 0"),
        (
            {"connect_values": True, "value_size": 3},
            "passes values through the projection of stored patterns: value_size must be stored_size, 4, got 3",
        ),
        (
            {"project": ("state",), "output_size": 3},
            r"without an output projection the output has h v = 1 x 4 = 4 entries, got output_size=3; leave it out",
        ),
        (
            {"project": ("stored",), "head_size": 3},
            r'without a projection of "state" its size, 4, must be head_size, 3: change one, or project "state"',
        ),
        (
            {"project": (), "stored_size": 5},
            r'without a projection of "stored" its size, 5, must be head_size, 4',
        ),
        (
            {"project": ("state", "stored"), "head_value_size": 2},
            r'head_value_size: without a projection of "value" a head\'s values have 4 entries, got 2',
        ),
        ({"separation": "max"}, "unknown separation 'max'; expected one of softmax, softmax1"),
        ({"norm": "batch"}, "unknown norm 'batch'; expected one of layer, layer_plain, rms, None, or a function"),
        ({"head_norm": "batch"}, "unknown head_norm 'batch'; expected one of layer, layer_plain, rms"),
        ({"norm": 3}, r"norm must be a name \(layer, layer_plain, rms\), None, or a function .*, got int"),
        ({"norm": nn.LayerNorm(4)}, "or a function from a size to a module, got LayerNorm"),
        ({"beta": 0.0}, r"beta must be a finite number above 0 or a tensor of such, got 0\.0"),
    ],
    ids=repr,
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(HopfieldError, match=text):
        Hopfield(4, **options)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "4"], ids=repr)
def test_a_wrong_input_size_is_refused(size):
    with pytest.raises(HopfieldError, match="input_size must be an integer of at least 1, got "):
        Hopfield(size)


_R, _Y = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
_MASK = torch.ones(2, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("inputs", "masks", "text"),
    [
        (([1.0],), {}, r"state must be a floating-point tensor \(\*batch, n, 4\), got list; use torch.as_tensor"),
        ((_R[0, 0],), {}, r"state must be a floating-point tensor \(\*batch, n, 4\), got shape \(4,\)"),
        ((_R[..., :3],), {}, r"state must be a floating-point tensor \(\*batch, n, 4\), got shape \(2, 3, 3\)"),
        ((_R, _Y[..., :3]), {}, r"stored must be a floating-point tensor \(\*batch, n, 4\), got shape \(2, 5, 3\)"),
        ((_R, _Y, _Y[..., :3]), {}, r"value must be a floating-point tensor \(\*batch, n, 4\), got shape \(2, 5, 3\)"),
        (
            (_R.long(),),
            {},
            r"state must be a floating-point tensor \(\*batch, n, 4\), got torch\.int64; use \.to\(torch\.float32\)",
        ),
        (
            (_R, _Y.bool()),
            {},
            r"stored must be a floating-point tensor \(\*batch, n, 4\), got torch\.bool; use \.to\(torch\.float32\)",
        ),
        ((_R, _Y.expand(3, 2, 5, 4)[:, :1].expand(3, 4, 5, 4)), {}, "do not broadcast"),
        ((_R, _Y, _Y[:, :4]), {}, r"value must have one row per stored pattern, 5; got"),
        ((_R, _Y), {"stored_mask": [True]}, r"stored_mask must be a tensor of dtype bool \(True takes part\), got li"),
        (
            (_R, _Y),
            {"stored_mask": _MASK.float()},
            r"got torch\.float32; numbers to add to the scores go in association_bias",
        ),
        (
            (_R, _Y),
            {"stored_mask": _MASK[:, :4]},
            r"stored_mask must broadcast to \(\*batch, N\) = \(2, 5\), one entry per stored pattern; got .*\(2, 4\)",
        ),
        ((_R, _Y), {"association_mask": _MASK.float()}, "association_mask must be a tensor of dtype bool"),
        (
            (_R, _Y),
            {"association_mask": _MASK},
            r"of shape \(L, N\) = \(3, 5\), \(\*batch, L, N\) = \(2, 3, 5\) or .* = \(2, 1, 3, 5\); got \(2, 5\)",
        ),
        ((_R, _Y), {"association_bias": _MASK}, "association_bias must be a tensor of a floating-point dtype, got"),
        ((_R, _Y), {"association_bias": 1.0}, "association_bias must be a tensor of a floating-point dtype, got float"),
        ((_R, _Y), {"association_bias": _Y}, r"association_bias must be of shape \(L, N\) = .* got \(2, 5, 4\)"),
    ],
)
def test_wrong_inputs_are_refused(inputs, masks, text):
    layer = Hopfield(4)
    with pytest.raises(HopfieldError, match=text):
        layer(*inputs, **masks)
    with pytest.raises(HopfieldError, match=text):
        layer.retrieve(*inputs, **masks)


def test_the_text_for_batch_second_inputs_says_so():
    with pytest.raises(HopfieldError, match=r"state must be a floating-point tensor \(n, \*batch, 4\)"):
        Hopfield(4, batch_first=False)(torch.zeros(3, 2, 5))


def test_connected_values_need_plain_projections():
    layer = Hopfield(4, connect_values=True)
    layer.project_stored = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    with pytest.raises(HopfieldError, match="connect_values needs plain linear projections: leave project_stored"):
        layer(torch.zeros(2, 4))


def test_an_association_without_masks_has_none():
    assert not Masks()
    assert Masks(association=_MASK)
    assert isinstance(Hopfield(4).association(), Association)
    assert Hopfield(4, separation="top1").separation == TopK(1)
    assert Hopfield(4, separation=Entmax(1.7)).separation == Entmax(1.7)
    assert Hopfield(4, separation="softmax1").separation == Softmax1()
    assert 0.2 < uniform(generator(0), 0.2, 2) < 2


def test_an_attention_with_something_different():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    layer = Hopfield.from_attention(attention, steps=3, beta="learned", separation="sparsemax", dropout=0.5)
    assert (layer.steps, layer.dropout, layer.separation) == (3, 0.5, Sparsemax())
    close(layer.project_output.weight, attention.out_proj.weight)
    with pytest.raises(HopfieldError, match="from_attention takes heads, norm from the attention: leave that out"):
        Hopfield.from_attention(attention, norm=None, heads=3)


def test_inputs_of_another_data_type_are_refused():
    rows = torch.zeros(2, 3, 4, dtype=torch.double)
    text = r"state has the data type torch\.float64, the layer torch\.float32; use \.to\(torch\.float32\) for the input"
    with pytest.raises(HopfieldError, match=text):
        Hopfield(4)(rows)
    Hopfield(4).double()(rows)
    Hopfield(4, project=(), norm=None)(rows)  # nothing to disagree with
    with torch.autocast("cpu", torch.bfloat16):
        Hopfield(4)(rows.bfloat16())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"separation": Entmax}, r"separation must be an object, got the class; use Entmax\(\)"),
        ({"project": False}, "project must be names, some of state, stored, value, output; got False"),
    ],
)
def test_near_misses_are_refused_with_a_remedy(options, text):
    with pytest.raises(HopfieldError, match=text):
        Hopfield(4, **options)


def test_a_float_mask_is_not_turned_into_its_opposite():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    with pytest.raises(HopfieldError, match="numbers to add to the scores go in association_bias"):
        Hopfield(4)(torch.zeros(2, 3, 4), association_mask=mask)
    layer, rows = Hopfield(4), torch.randn(2, 3, 4)
    close(layer(rows, association_bias=mask), layer(rows, association_mask=causal_mask(3)), 1e-6)


def test_until_convergence_is_refused_where_numbers_cannot_be_looked_at():
    layer = Hopfield(4, steps=None)
    with pytest.raises(Exception, match="steps=None looks at the states to know when to stop"):
        torch.compile(layer, fullgraph=True, backend="eager")(torch.randn(2, 3, 4))


@pytest.mark.parametrize("separation", ["softmax", "softmax1", "sparsemax"])
@pytest.mark.parametrize("count", [5, 300])
def test_a_learned_beta_survives_scores_of_minus_infinity(separation, count):
    layer = Hopfield(4, heads=2, beta="learned", separation=separation)
    rows, bias = torch.randn(2, count, 4), torch.zeros(count, count).masked_fill(~causal_mask(count), -math.inf)
    output = layer(rows, association_bias=bias)
    close(output, layer(rows, association_mask=causal_mask(count)), 1e-5)
    output.sum().backward()
    assert layer.beta.log_beta.grad.isfinite().all()


def test_masks_that_are_the_same_for_all_patterns_leave_extra_ones_alone():
    layer, rows = Hopfield(4, extra=("zero",)), torch.randn(2, 3, 4)
    for mask in (torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool)):
        close(layer(rows, stored_mask=mask), layer(rows, stored_mask=mask.expand(2, 3)), 1e-6)
    mask = torch.tensor([True, False, True])[:, None]
    close(layer(rows, association_mask=mask.expand(2, 3, 1)), layer(rows, association_mask=mask.expand(3, 3)), 1e-6)
    bias = torch.randn(2, 3, 1)
    close(layer(rows, association_bias=bias), layer(rows, association_bias=bias.expand(2, 3, 3)), 1e-6)


class Plain:
    """A separation function of a user who did not think of empty rows."""

    def weights(self, scores):
        return torch.softmax(scores, -1)

    def potential(self, scores):
        return torch.logsumexp(scores, -1)


def test_a_separation_of_the_users_own_meets_no_empty_rows():
    layer, rows = Hopfield(4, heads=2, separation=Plain()), torch.randn(2, 3, 4).requires_grad_()
    mask = torch.ones(2, 2, 3, 3, dtype=torch.bool)
    mask[0] = mask[1, 0] = False  # a whole sample, and a head of the other
    output = layer(rows, association_mask=mask)
    assert (output[0] == 0).all()
    gradients = torch.autograd.grad(output.sum(), [rows, *layer.parameters()])
    assert output.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_euclidean_similarity_keeps_its_digits_in_half_precision(dtype):
    patterns = (torch.randn(50, 16) * 100).to(dtype)
    layer = HopfieldLayer.from_patterns(patterns, torch.eye(50).to(dtype), separation="top1", similarity="euclidean")
    assert layer(patterns).argmax(-1).tolist() == list(range(50))
