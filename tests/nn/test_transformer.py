"""Encoder and decoder layers: the formulas, shapes, masks, causality, and errors."""

import pytest
import torch
from torch import nn

from hopfield import Hopfield
from hopfield.errors import HopfieldError
from hopfield.nn import HopfieldDecoderLayer, HopfieldEncoderLayer, causal_mask
from hopfield.nn.transformer import ACTIVATIONS
from hopfield.separation import TopK
from tests.core.catalogue import generator, normal
from tests.nn.catalogue import close, unlike

each_order = pytest.mark.parametrize("norm_first", [False, True], ids=["norm last", "norm first"])
each_steps = pytest.mark.parametrize("steps", [1, 3, (1, 3)], ids=repr)
each_separation = pytest.mark.parametrize("separation", ["softmax", "sparsemax", TopK(2)], ids=str)


def encoder(norm_first=False, dropout=0.0, **options):
    hopfield = Hopfield(6, heads=2, **options)
    return unlike(HopfieldEncoderLayer(hopfield, norm_first=norm_first, dropout=dropout), generator(0))


def decoder(norm_first=False, dropout=0.0, **options):
    own, memory = Hopfield(6, heads=2, **options), Hopfield(6, stored_size=5, heads=2, head_size=3, **options)
    return unlike(HopfieldDecoderLayer(own, memory, norm_first=norm_first, dropout=dropout), generator(1))


@each_order
def test_an_encoder_layer_is_its_formula(norm_first):
    layer, x = encoder(norm_first), normal(generator(2), 2, 4, 6)
    first, second = layer.residual_association.norm, layer.residual_feed_forward.norm
    if norm_first:
        y = x + layer.hopfield(first(x))
        expected = y + layer.feed_forward(second(y))
    else:
        y = first(x + layer.hopfield(x))
        expected = second(y + layer.feed_forward(y))
    close(layer(x), expected)


@each_order
def test_a_decoder_layer_is_its_formula(norm_first):
    layer, x, memory = decoder(norm_first), normal(generator(2), 2, 4, 6), normal(generator(3), 2, 7, 5)
    parts = (
        (layer.residual_association.norm, layer.hopfield),
        (layer.residual_memory.norm, lambda rows: layer.hopfield_memory(rows, memory)),
        (layer.residual_feed_forward.norm, layer.feed_forward),
    )
    y = x
    for norm, part in parts:
        y = y + part(norm(y)) if norm_first else norm(y + part(y))
    close(layer(x, memory), y)


@each_order
def test_an_encoder_layer_is_that_of_torch(norm_first):
    theirs = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, norm_first=norm_first, batch_first=True, dtype=torch.float64
    )
    mine = HopfieldEncoderLayer(
        Hopfield.from_attention(theirs.self_attn), feedforward_size=16, dropout=0.0, norm_first=norm_first
    ).double()
    mine.feed_forward[0], mine.feed_forward[3] = theirs.linear1, theirs.linear2
    mine.residual_association.norm, mine.residual_feed_forward.norm = theirs.norm1, theirs.norm2
    x = normal(generator(4), 2, 5, 8)
    hidden = torch.tensor([[False] * 5, [False, False, False, True, True]])
    close(mine(x), theirs(x))
    close(mine(x, stored_mask=~hidden), theirs(x, src_key_padding_mask=hidden))
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    close(mine(x, association_mask=causal_mask(5)), theirs(x, src_mask=causal))


@each_order
@each_steps
@each_separation
def test_shapes_and_gradients(norm_first, steps, separation):
    g = generator(5)
    for batch in ((), (2,), (2, 3), (0,)):
        x, memory = normal(g, *batch, 4, 6).requires_grad_(), normal(g, *batch, 7, 5)
        layers = (
            encoder(norm_first, steps=steps, separation=separation),
            decoder(norm_first, steps=steps, separation=separation),
        )
        for layer, inputs in zip(layers, ((x,), (x, memory)), strict=True):
            output = layer(*inputs)
            assert output.shape == x.shape
            output.square().sum().backward()
            assert [name for name, parameter in layer.named_parameters() if parameter.grad is None] == []
            assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


@each_order
@each_steps
@each_separation
def test_what_is_causal_does_not_see_what_follows(norm_first, steps, separation):
    g = generator(6)
    x, memory = normal(g, 2, 6, 6), normal(g, 2, 3, 5)
    options = {"steps": steps, "separation": separation}
    other = x.clone()
    other[:, 4:] = normal(g, 2, 2, 6)
    mask = {"association_mask": causal_mask(6)}
    one, two = encoder(norm_first, **options), decoder(norm_first, **options)
    for layer, rest in ((one, ()), (two, (memory,))):
        whole = layer(x, *rest, **mask)
        close(layer(other, *rest, **mask)[:, :4], whole[:, :4])
        assert not torch.allclose(layer(other, *rest, **mask)[:, 4:], whole[:, 4:])
        for count in (1, 3):
            close(layer(x[:, :count], *rest, association_mask=causal_mask(count)), whole[:, :count])


@each_order
def test_masked_states_and_memory_are_deleted(norm_first):
    g = generator(7)
    x, memory = normal(g, 2, 4, 6), normal(g, 2, 7, 5)
    keep, remember = torch.tensor([True, True, False, True]), torch.tensor([True, False] * 3 + [True])
    close(encoder(norm_first)(x, stored_mask=keep)[:, keep], encoder(norm_first)(x[:, keep]))
    layer = decoder(norm_first)
    expected = layer(x[:, keep], memory[:, remember])
    close(layer(x, memory, stored_mask=keep, memory_mask=remember)[:, keep], expected)
    seen = remember.expand(4, 7)
    close(layer(x, memory, stored_mask=keep, memory_association_mask=seen)[:, keep], expected)


def test_nothing_to_attend_to_adds_nothing():
    layer = encoder(norm_first=True)
    x = normal(generator(8), 2, 4, 6)
    y = layer(x, stored_mask=torch.zeros(4, dtype=torch.bool))
    close(y, x + layer.feed_forward(layer.residual_feed_forward.norm(x)))


def test_the_causal_mask_is_the_lower_triangle():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert causal_mask(0).shape == (0, 0)
    assert causal_mask(2, "meta").device.type == "meta"


def test_dropout_is_for_training():
    layer, x = encoder(dropout=0.5), normal(generator(9), 2, 4, 6)
    assert not torch.allclose(layer(x), layer(x))
    layer.eval()
    close(layer(x), encoder()(x))
    assert not torch.allclose(decoder(dropout=0.5)(x, x[..., :5]), decoder()(x, x[..., :5]))


@pytest.mark.parametrize("activation", [*ACTIVATIONS, nn.Tanh], ids=str)
def test_activations(activation):
    layer = HopfieldEncoderLayer(Hopfield(4), feedforward_size=3, activation=activation)
    assert isinstance(layer.feed_forward[1], ACTIVATIONS.get(activation, activation))
    assert layer.feed_forward[0].out_features == 3
    assert HopfieldEncoderLayer(Hopfield(4)).feed_forward[0].out_features == 16
    assert layer(torch.randn(2, 4)).shape == (2, 4)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"activation": "tanh"}, "unknown activation 'tanh'; expected one of relu, gelu, selu, silu, or a module"),
        ({"feedforward_size": 0}, "feedforward_size must be an integer of at least 1, got 0"),
        ({"feedforward_size": -1}, "feedforward_size must be an integer of at least 1, got -1"),
        ({"feedforward_size": 2.5}, r"feedforward_size must be an integer of at least 1, got 2\.5"),
    ],
    ids=repr,
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(HopfieldError, match=text):
        HopfieldEncoderLayer(Hopfield(4), **options)
    with pytest.raises(HopfieldError, match=text):
        HopfieldDecoderLayer(Hopfield(4), Hopfield(4), **options)


def test_wrong_layers_are_refused():
    sizes = "input and output are added, so both must have size 4; got input_size=4, output_size=3"
    with pytest.raises(HopfieldError, match=f"hopfield: {sizes}"):
        HopfieldEncoderLayer(Hopfield(4, output_size=3))
    with pytest.raises(HopfieldError, match=f"hopfield_memory: {sizes}"):
        HopfieldDecoderLayer(Hopfield(4), Hopfield(4, output_size=3))
    with pytest.raises(HopfieldError, match=r"hopfield_memory: .* size 4; got input_size=5, output_size=5"):
        HopfieldDecoderLayer(Hopfield(4), Hopfield(5))
    with pytest.raises(HopfieldError, match=r"hopfield must be a hopfield\.Hopfield layer, got MultiheadAttention"):
        HopfieldEncoderLayer(nn.MultiheadAttention(4, 2))
    with pytest.raises(HopfieldError, match=r"hopfield_memory must be a hopfield\.Hopfield layer, got Linear"):
        HopfieldDecoderLayer(Hopfield(4), nn.Linear(4, 4))
