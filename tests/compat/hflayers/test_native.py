"""From the original's layers to those of `hopfield.nn`, with the same numbers."""

import pytest
import torch
from torch import Tensor, nn

from hopfield import nn as native
from hopfield.compat.hflayers import Hopfield, HopfieldLayer, HopfieldPooling
from hopfield.errors import HopfieldError
from tests.compat.hflayers.test_layers import PLAIN, STATIC, made, sharp
from tests.core.catalogue import close, examples, generator, integer, normal, one_of, yes


def some_options(g: torch.Generator) -> dict:
    """Settings that go together."""
    heads = integer(g, 1, 3)
    options = {
        "num_heads": heads,
        "hidden_size": integer(g, 1, 5),
        "output_size": integer(g, 1, 6),
        "scaling": one_of(g, None, 0.7, torch.linspace(0.3, 1.5, heads)),
        "update_steps_max": one_of(g, 0, 2, None, torch.randint(-1, 3, (heads,), generator=g)),
        "update_steps_eps": 1e-9,
        "normalize_hopfield_space": one_of(g, False, True),
        "association_activation": one_of(g, None, "tanh"),
        "input_bias": one_of(g, False, True),
        "concat_bias_pattern": one_of(g, False, True),
        "add_zero_association": one_of(g, False, True),
        "disable_out_projection": one_of(g, False, True),
        "pattern_projection_as_connected": one_of(g, False, True),
    }
    if options["normalize_hopfield_space"]:
        options["normalize_hopfield_space_affine"] = one_of(g, False, True)
    if not options["pattern_projection_as_connected"]:
        options["pattern_size"] = one_of(g, None, 3)
        options["stored_pattern_size"] = one_of(g, None, 8, 6)
        options["pattern_projection_size"] = one_of(g, None, 8, 5)
    return options | one_of(g, {}, PLAIN, {"normalize_stored_pattern_affine": False})


def size_of(options: dict, what: str) -> int:
    return options.get(f"{what}_size") or 8


@examples(30)
@torch.no_grad()  # some states may take longer than the loop does to converge, which matters for gradients alone
def test_hopfield(seed):
    g = generator(seed)
    options = some_options(g)
    layer = sharp(Hopfield(8, **options), seed)
    stored = normal(g, 2, 6, size_of(options, "stored_pattern"))
    state, value = normal(g, 2, 4, 8), normal(g, 2, 6, size_of(options, "pattern_projection"))
    padding, mask = yes(g, 2, 6, chance=0.2), yes(g, 4, 6, chance=0.2)
    converted = layer.to_native()
    close(converted(state, stored, value), layer((stored, state, value)))
    close(
        converted(state, stored, value, stored_mask=~padding, association_mask=~mask),
        layer((stored, state, value), padding, mask),
    )


@examples(30)
@torch.no_grad()  # some states may take longer than the loop does to converge, which matters for gradients alone
def test_pooling(seed):
    g = generator(seed)
    options = some_options(g)
    layer = sharp(HopfieldPooling(8, **options, quantity=integer(g, 1, 3)), seed)
    stored = normal(g, 2, 6, size_of(options, "stored_pattern"))
    value = normal(g, 2, 6, size_of(options, "pattern_projection"))
    padding = yes(g, 2, 6, chance=0.2)
    converted = layer.to_native()
    close(converted(stored, value).flatten(1), layer((stored, value)))
    close(converted(stored, value, stored_mask=~padding).flatten(1), layer((stored, value), padding))


@examples(30)
@torch.no_grad()  # some states may take longer than the loop does to converge, which matters for gradients alone
def test_lookup(seed):
    g = generator(seed)
    options = some_options(g)
    options["pattern_projection_size"] = size_of(options, "pattern_projection")
    separated = size_of(options, "stored_pattern") != options["pattern_projection_size"] or one_of(g, True, False)
    layer = HopfieldLayer(8, **options, quantity=integer(g, 1, 5), lookup_weights_as_separated=separated)
    layer, state = sharp(layer, seed), normal(g, 2, 4, 8)
    padding = yes(g, 2, layer.quantity, chance=0.2)
    converted = layer.to_native()
    close(converted(state), layer(state))
    close(converted(state, stored_mask=~padding), layer(state, padding))


def test_gradients_are_the_same():
    layer = made(HopfieldLayer, num_heads=2, update_steps_max=2)
    converted = layer.to_native()
    rows = normal(generator(0), 2, 4, 8).requires_grad_()
    close(
        torch.autograd.grad(converted(rows).square().sum(), rows)[0],
        torch.autograd.grad(layer(rows).square().sum(), rows)[0],
    )
    converted(rows).square().sum().backward()
    layer(rows).square().sum().backward()
    close(converted.patterns.grad, layer.lookup_weights.grad[0])
    close(converted.hopfield.project_output.weight.grad, layer.hopfield.association_core.out_proj.weight.grad)


def test_parameters_are_copied():
    for cls in (Hopfield, HopfieldPooling, HopfieldLayer):
        layer, rows = made(cls), normal(generator(0), 2, 7, 8)
        converted = layer.to_native()
        before = layer(rows)
        with torch.no_grad():
            for parameter in converted.parameters():
                parameter.zero_()
        close(layer(rows), before)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_mode_and_dtype_are_kept(training, dtype):
    for cls in (Hopfield, HopfieldPooling, HopfieldLayer):
        converted = cls(8).to(dtype).train(training).to_native()
        assert all(module.training == training for module in converted.modules())
        assert {parameter.dtype for parameter in converted.parameters()} == {dtype}


def test_what_is_trained_is_kept():
    assert isinstance(HopfieldPooling(8).to_native().states, nn.Parameter)
    assert not isinstance(HopfieldPooling(8, trainable=False).to_native().states, nn.Parameter)
    options = {"quantity": 3, "lookup_weights_as_separated": True}
    converted = HopfieldLayer(8, **options, trainable=False).to_native()
    assert not isinstance(converted.patterns, nn.Parameter)
    assert isinstance(converted.targets, nn.Parameter)
    converted = HopfieldLayer(8, **options, lookup_targets_as_trainable=False).to_native()
    assert isinstance(converted.patterns, nn.Parameter)
    assert not isinstance(converted.targets, nn.Parameter)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_a_trained_scaling_becomes_a_learned_beta(shape):
    layer = made(Hopfield, num_heads=2, scaling=nn.Parameter(torch.full(shape, 0.7)))
    with torch.no_grad():
        layer._scaling.fill_(0.7)
    converted = layer.to_native()
    assert isinstance(converted.beta, native.LearnedBeta)
    rows = normal(generator(0), 2, 7, 8)
    torch.testing.assert_close(converted(rows), layer(rows), rtol=1e-6, atol=1e-6)


def test_dropout_is_kept():
    converted = Hopfield(8, dropout=0.25).to_native()
    assert converted.dropout == 0.25


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_order_of_dimensions_is_kept(batch_first):
    rows = normal(generator(0), 2, 7, 8) if batch_first else normal(generator(0), 7, 2, 8)
    for cls in (Hopfield, HopfieldLayer):
        layer = made(cls, batch_first=batch_first)
        close(layer.to_native()(rows), layer(rows))
    layer = made(HopfieldPooling, batch_first=batch_first)
    close(layer.to_native()(rows).flatten(1), layer(rows))


def static_inputs(heads: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    g = generator(heads)
    return normal(g, 2, 6, size), normal(g, 2, 4, size), normal(g, 2, 6, size)


@pytest.mark.parametrize("heads", [1, 2])
def test_a_layer_without_projections_is_told_its_size(heads):
    layer = Hopfield(**STATIC, num_heads=heads, scaling=0.7, update_steps_max=1)
    stored, state, value = static_inputs(heads, 5)
    close(layer.to_native(size=5).double()(state, stored, value), layer((stored, state, value)))
    with pytest.raises(HopfieldError, match=r"does not know its size: to_native\(size=...\)"):
        layer.to_native()


@pytest.mark.parametrize(
    "name", ["state_pattern_as_static", "stored_pattern_as_static", "pattern_projection_as_static"]
)
def test_one_static_input(name):
    layer = sharp(Hopfield(5, 5, 4, 5, num_heads=2, **{name: True}, **PLAIN))
    stored, state, value = static_inputs(2, 5)
    close(layer.to_native()(state, stored, value), layer((stored, state, value)))


@pytest.mark.parametrize(
    "options", [{"hidden_size": 4, "disable_out_projection": True, **PLAIN}, STATIC], ids=["some", "all"]
)
def test_static_targets_of_any_size(options):
    options = options | {"pattern_projection_as_static": True}
    layer = HopfieldLayer(8, quantity=6, lookup_weights_as_separated=True, pattern_projection_size=3, **options)
    layer, rows = sharp(layer), normal(generator(0), 2, 7, 8)
    assert layer(rows).shape == (2, 7, 3)
    close(layer.to_native()(rows), layer(rows))
