"""Encoder and decoder layers under the original's names, by themselves and inside torch's transformers."""

import inspect

import pytest
import torch
from torch import nn

from hopfield.compat.hflayers import Hopfield
from hopfield.compat.hflayers.transformer import HopfieldDecoderLayer, HopfieldEncoderLayer
from hopfield.errors import HopfieldError
from tests.compat.hflayers.test_layers import sharp
from tests.core.catalogue import close, generator, normal

CAUSAL = torch.ones(5, 5, dtype=torch.bool).triu(1)


def association(**options) -> Hopfield:
    return Hopfield(8, num_heads=2, **options)


def encoder(**options) -> HopfieldEncoderLayer:
    return sharp(HopfieldEncoderLayer(association(**options), dim_feedforward=16)).eval()


def decoder(**options) -> HopfieldDecoderLayer:
    return sharp(HopfieldDecoderLayer(association(**options), association(**options), dim_feedforward=16)).eval()


def padding(states: int = 5) -> torch.Tensor:
    """The second of two samples has two states less."""
    result = torch.zeros(2, states, dtype=torch.bool)
    result[1, -2:] = True
    return result


def test_keywords_their_order_and_their_defaults_are_the_originals():
    last = [("dim_feedforward", 2048), ("dropout", 0.1), ("activation", "relu")]
    none = inspect.Parameter.empty
    for cls, first in (
        (HopfieldEncoderLayer, ["hopfield_association"]),
        (HopfieldDecoderLayer, ["hopfield_association_self", "hopfield_association_cross"]),
    ):
        parameters = inspect.signature(cls).parameters
        assert [(name, p.default) for name, p in parameters.items()] == [(name, none) for name in first] + last


def test_an_encoder_layer_is_association_and_feed_forward_with_residuals():
    layer, rows = encoder(), normal(generator(0), 2, 5, 8)
    middle = layer.norm_residual(rows + layer.hopfield_association(rows))
    expected = layer.norm_output(middle + layer.linear_output(layer.linear_residual(middle).relu()))
    close(layer(rows), expected)


def test_a_decoder_layer_associates_with_itself_and_with_the_memory():
    layer, rows, memory = decoder(), normal(generator(0), 2, 5, 8), normal(generator(1), 2, 4, 8)
    own = layer.norm_residual_self(rows + layer.hopfield_association_self(rows))
    both = layer.norm_residual_cross(own + layer.hopfield_association_cross((memory, own, memory)))
    expected = layer.norm_output(both + layer.linear_output(layer.linear_residual(both).relu()))
    close(layer(rows, memory), expected)


def test_the_association_is_copied_and_initialised_anew():
    original = sharp(association()).float()
    weight = original.association_core.in_proj_weight.clone()
    for layer in (HopfieldEncoderLayer(original), HopfieldDecoderLayer(original, original)):
        copies = [module for module in layer.modules() if isinstance(module, Hopfield)]
        assert original not in copies
        for copy in copies:
            assert copy.association_core.in_proj_weight.abs().max() < 0.12
    assert torch.equal(original.association_core.in_proj_weight, weight)
    assert copies[0] is not copies[1]


def test_same_seed_same_parameters():
    base = association()
    torch.manual_seed(3)
    layer = HopfieldEncoderLayer(base, dim_feedforward=16)
    torch.manual_seed(3)
    nn.Linear(8, 16), nn.Linear(16, 8)
    expected = {"in_proj_weight": torch.empty(24, 8).normal_(std=0.02)}
    expected["out_proj.weight"] = torch.empty(8, 8).normal_(std=0.02)
    first, second = nn.Linear(8, 16), nn.Linear(16, 8)  # their own initialisation is what comes next
    state = layer.hopfield_association.association_core.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert torch.equal(layer.linear_residual.weight, first.weight)
    assert torch.equal(layer.linear_output.weight, second.weight)


def test_states_see_no_later_states_under_a_causal_mask():
    g = generator(0)
    rows, memory = normal(g, 2, 5, 8), normal(g, 2, 4, 8)
    other = rows.clone()
    other[:, 3:] = normal(g, 2, 2, 8)
    layer = encoder()
    close(layer(rows, CAUSAL)[:, :3], layer(other, CAUSAL)[:, :3])
    assert not torch.allclose(layer(rows)[:, :3], layer(other)[:, :3])
    layer = decoder()
    close(layer(rows, memory, CAUSAL)[:, :3], layer(other, memory, CAUSAL)[:, :3])


def test_padding_is_left_out():
    rows, memory = normal(generator(0), 2, 5, 8), normal(generator(1), 2, 4, 8)
    found = encoder()(rows, src_key_padding_mask=padding())
    close(found[1:, :3], encoder()(rows[1:, :3]))
    found = decoder()(rows, memory, tgt_key_padding_mask=padding(), memory_key_padding_mask=padding(4))
    close(found[1:, :3], decoder()(rows[1:, :3], memory[1:, :2]))
    memory_mask = torch.tensor([False, False, True, True]).expand(5, 4)
    close(decoder()(rows, memory, memory_mask=memory_mask), decoder()(rows, memory[:, :2]))


@pytest.mark.parametrize("batch_first", [True, False])
def test_inside_a_transformer_encoder(batch_first):
    layer = encoder(batch_first=batch_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    rows = normal(generator(0), *((2, 5, 8) if batch_first else (5, 2, 8)))
    close(model(rows), layer(layer(rows)))
    masks = {"src_key_padding_mask": padding()}
    close(model(rows, CAUSAL, padding()), layer(layer(rows, CAUSAL, **masks), CAUSAL, **masks))
    close(model(rows, CAUSAL, is_causal=True), layer(layer(rows, CAUSAL), CAUSAL))
    model.train()(rows, CAUSAL, padding()).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("batch_first", [True, False])
def test_inside_a_transformer_decoder(batch_first):
    layer = decoder(batch_first=batch_first)
    model = nn.TransformerDecoder(layer, 2).eval()
    rows, memory = normal(generator(0), 2, 5, 8), normal(generator(1), 2, 4, 8)
    if not batch_first:
        rows, memory = rows.transpose(0, 1), memory.transpose(0, 1)
    close(model(rows, memory), layer(layer(rows, memory), memory))
    masks = {"tgt_mask": CAUSAL, "tgt_key_padding_mask": padding(), "memory_key_padding_mask": padding(4)}
    expected = layer(layer(rows, memory, **masks), memory, **masks)
    close(model(rows, memory, **masks), expected)
    close(model(rows, memory, **masks, tgt_is_causal=True), expected)


def test_associations():
    rows, memory = normal(generator(0), 2, 5, 8), normal(generator(1), 2, 4, 8)
    layer = encoder()
    close(layer.get_association_matrix(rows), layer.hopfield_association.get_association_matrix(rows))
    assert layer.get_association_matrix(rows).shape == (2, 2, 5, 5)
    layer = decoder()
    assert layer.get_association_matrix_self(rows).shape == (2, 2, 5, 5)
    found = layer.get_association_matrix_cross((memory, rows, memory))
    assert found.shape == (2, 2, 5, 4)
    assert not found.requires_grad


def test_properties():
    for layer in (encoder(batch_first=False), decoder(batch_first=False)):
        assert not layer.batch_first
        assert not layer.self_attn.batch_first
        assert (layer.input_size, layer.output_size) == (8, 8)
        assert not any("self_attn" in name for name in layer.state_dict())


def test_dropout_acts_in_training_alone():
    rows = normal(generator(0), 2, 5, 8)
    layer = encoder()
    assert torch.equal(layer(rows), layer(rows))
    assert not torch.equal(layer.train()(rows), layer(rows))


def test_wrong_settings_are_refused():
    with pytest.raises(
        HopfieldError, match="hopfield_association must be a Hopfield layer with an input_size, got Lin"
    ):
        HopfieldEncoderLayer(nn.Linear(8, 8))
    with pytest.raises(HopfieldError, match="hopfield_association_cross must be a Hopfield layer"):
        HopfieldDecoderLayer(association(), nn.Linear(8, 8))
    with pytest.raises(HopfieldError, match="both must have the same size; got 8 and 6"):
        HopfieldEncoderLayer(association(output_size=6))
    with pytest.raises(HopfieldError, match="both must have the same size; got 8 and 10"):
        HopfieldEncoderLayer(association(hidden_size=5, disable_out_projection=True))
    with pytest.raises(HopfieldError, match="unknown activation 'rellu'; expected a function of torch such as relu"):
        HopfieldEncoderLayer(association(), activation="rellu")
