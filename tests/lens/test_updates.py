"""Attentions that retrieve: several updates, another temperature, sparse weights."""

from unittest import mock

import pytest
import torch
from torch import nn

from hopfield import HopfieldError
from hopfield.lens import HeadLens, set_updates
from hopfield.lens.call import Call
from hopfield.separation import Sparsemax, TopK
from tests.core.catalogue import generator, normal
from tests.lens.catalogue import (
    BERT,
    T5,
    Projects,
    agree,
    close,
    each_architecture,
    each_implementation,
    each_side,
    inputs,
    live,
    outputs,
    padded,
    read,
    split,
    transformer,
)


@each_architecture
@each_implementation
@each_side
def test_one_update_by_softmax_is_the_model_itself(architecture, implementation, side):
    model, given, tolerance = padded(architecture, implementation, side)
    expected, kept = outputs(model, given), live(architecture, given)
    with set_updates(model, steps=1, separation="softmax"):
        with mock.patch.object(Call, "run", autospec=True, side_effect=Call.run) as ran:
            found = outputs(model, given)
        assert ran.call_count == (6 if architecture.crosses else 2)
        with HeadLens(model, rows=None, settled=0, least=1) as lens:
            outputs(model, given)
    close(found[kept], expected[kept], max(tolerance, 1e-5))
    for one, other in zip(lens.report().layers, read(model, **given).layers, strict=True):
        # rows of padding, which count where they cross, are anything
        if side != "left" or one.rows == given["attention_mask"].sum():
            agree(one.sample, other.sample, max(tolerance, 1e-5))
    assert torch.equal(outputs(model, given), expected)


@pytest.mark.parametrize("architecture", [BERT, T5], ids=repr)
@each_implementation
def test_the_model_learns_the_same(architecture, implementation):
    model, given = transformer(architecture, implementation), inputs(architecture, "right")
    kept, parameters = live(architecture, given), list(model.parameters())
    loss = outputs(model, given)[kept].square().mean()
    expected = torch.autograd.grad(loss, parameters, allow_unused=True)
    with set_updates(model, steps=1):
        loss = outputs(model, given)[kept].square().mean()
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            close(one, other, 1e-9)


def by_hand(heads, value, steps=1, beta=None, weigh=torch.softmax):
    """What comes out of heads (B, h, L, v) after some updates, all matrices written out."""
    xi, beta = heads.query, heads.scale if beta is None else beta
    for step in range(steps):
        scores = beta * xi @ heads.key.mT
        scores = scores if heads.bias is None else scores + heads.bias
        p = weigh(scores.masked_fill(~heads.mask, -torch.inf), -1)
        xi = p @ (value if step == steps - 1 else heads.key)
    return xi


SETTINGS = [
    ({"steps": 2}, {"steps": 2}),
    ({"steps": 5}, {"steps": 5}),
    ({"beta": 3.0}, {"beta": 3.0}),
    ({"beta": 1.5, "steps": 3}, {"beta": 1.5, "steps": 3}),
    ({"separation": "sparsemax"}, {"weigh": lambda s, _: Sparsemax().weights(s)}),
    ({"separation": TopK(2), "steps": 2}, {"weigh": lambda s, _: TopK(2).weights(s), "steps": 2}),
]


@pytest.mark.parametrize(("options", "hand"), SETTINGS, ids=[str(options) for options, _ in SETTINGS])
@pytest.mark.parametrize("side", ["none", "right"])
@pytest.mark.parametrize("architecture", [BERT, T5], ids=repr)
def test_retrieval_is_that_by_hand(architecture, side, options, hand):
    model, given = transformer(architecture), inputs(architecture, side)
    site = BERT.layers[0] if architecture is BERT else "decoder.block.0.layer.1.EncDecAttention"
    heads, place = architecture.seen(model, given)[site], model.get_submodule(site)
    inner, values = {}, "value" if architecture is BERT else "v"
    output = place if architecture is BERT else place.o

    def keep(name, put_in=False):
        def hook(module, args, result):
            inner[name] = args[0] if put_in else result[0] if isinstance(result, tuple) else result

        return hook

    handles = [
        getattr(place, values).register_forward_hook(keep("value")),
        output.register_forward_hook(keep("result", put_in=architecture is T5)),
    ]
    with set_updates(model, layers=[site], **options), torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    if architecture is T5:  # the decoder before it is as it was
        assert "decoder" in site
    value = split(inner["value"], 2)
    expected = by_hand(heads, value, **hand).transpose(1, 2).flatten(-2)
    rows = heads.rows()
    close(inner["result"][rows], expected[rows], 1e-9)


def test_updates_without_a_number_stop_where_states_stand_still():
    model, x = Projects().double(), normal(generator(0), 2, 9, 16)
    model.into.weight.data *= 3
    q, k, v = (split(part, 2) for part in model.into(x).chunk(3, -1))
    for _ in range(400):
        q = torch.softmax(8**-0.5 * q @ k.mT, -1) @ k
    expected = model.out((torch.softmax(8**-0.5 * q @ k.mT, -1) @ v).transpose(1, 2).flatten(-2))
    with set_updates(model, steps=None):
        close(model(x), expected, 1e-4)


def test_a_lens_reads_what_values_are_read_with():
    model, x = Projects(causal=True).double(), normal(generator(1), 2, 9, 16)
    q, k, _ = (split(part, 2).detach() for part in model.into(x).chunk(3, -1))
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    q = torch.softmax((8**-0.5 * q @ k.mT).masked_fill(~mask, -torch.inf), -1) @ k
    p = torch.softmax((8**-0.5 * q @ k.mT).masked_fill(~mask, -torch.inf), -1)
    with set_updates(model, steps=2):
        layer = read(model, x).layers[0]
    close(layer.of("entropy"), torch.special.entr(p).sum(-1).transpose(1, 2).flatten(0, 1), 1e-9)
    with set_updates(model, separation="sparsemax"):
        layer = read(model, x).layers[0]
    assert layer.sample[..., :4].isfinite().all()
    assert layer.sample[..., 4:].isnan().all()
    assert layer.of("attended")[:9, 0].tolist() == list(range(1, 10))


def test_chosen_layers_only():
    model, given = transformer(BERT), inputs(BERT)
    plain = read(model, **given)
    with set_updates(model, beta=2.0, layers=BERT.layers[1]):  # a single name will do
        found = read(model, **given)
    assert torch.equal(found.layers[0].sample, plain.layers[0].sample)
    close(found.layers[1].of("attended"), plain.layers[1].of("attended"))
    assert (found.layers[1].means[:, 2] < plain.layers[1].means[:, 2]).all()


def test_the_last_setting_counts():
    model, x = Projects().double(), normal(generator(2), 2, 5, 16)
    with set_updates(model, beta=2.0):
        expected = model(x)
    with set_updates(model, beta=5.0, steps=1), set_updates(model, beta=2.0):
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "set_updates changes nothing: give steps, beta or separation"),
        ({"layers": ["0"]}, "set_updates changes nothing"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"steps": 1.5}, r"steps must be an integer of at least 1, got 1\.5"),
        ({"beta": 0.0}, "beta must be a finite number above 0"),
        ({"beta": "high"}, "beta must be a finite number above 0"),
        ({"separation": "max"}, "unknown separation 'max'"),
        ({"steps": 2, "layers": slice(1)}, r"layers must be names of attentions.*; got slice\(None, 1, None\)"),
        ({"steps": 2, "layers": ["2"]}, "no module '2' in Sequential; the names are those of a HeadLens report"),
        ({"steps": 2, "layers": ["2#2"]}, "no module '2#2' in Sequential"),
        ({"steps": 2, "layers": ["1.0"]}, "'1.0' is a ModuleList, which nobody calls"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused(options, text):
    model = nn.Sequential(Projects(), nn.Sequential(nn.ModuleList()))
    with pytest.raises(HopfieldError, match=text):
        set_updates(model, **options)
    assert not model[0]._forward_hooks


@pytest.mark.parametrize("name", ["", "0.into", "0#2"])
def test_names_of_modules_that_do_not_attend_are_refused_when_they_are_called(name):
    model, x = nn.Sequential(Projects()), torch.randn(2, 4, 16)
    text = f"'{name}' was to be changed, but attention of that name was not called"
    with set_updates(model, steps=2, layers=[name]), pytest.raises(HopfieldError, match=text):
        model(x)
    model(x)


def test_a_layer_that_is_not_called_is_no_mistake():
    model, given = transformer(T5), inputs(T5)
    encoded = model.encoder(input_ids=given["input_ids"])
    expected = model(encoder_outputs=encoded, decoder_input_ids=given["decoder_input_ids"]).logits
    with set_updates(model, steps=2, layers=["encoder.block.0.layer.0.SelfAttention"]):
        found = model(encoder_outputs=encoded, decoder_input_ids=given["decoder_input_ids"]).logits
    assert torch.equal(found, expected)
