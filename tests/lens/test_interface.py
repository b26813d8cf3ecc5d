"""Models of transformers: what a lens says of their heads, and what it leaves alone."""

import copy

import pytest
import torch
from torch import nn

from hopfield import HopfieldError, HopfieldPooling
from hopfield.lens import HeadLens, replace_heads, set_updates
from tests.lens.catalogue import (
    BART,
    BERT,
    GPT2,
    LLAMA,
    T5,
    agree,
    close,
    each_architecture,
    each_implementation,
    each_side,
    inputs,
    outputs,
    padded,
    read,
    tokens,
    transformer,
)


class Wrapped(nn.Module):
    """A model around a model."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, **given):
        return self.inner(**given)


@each_architecture
@each_side
def test_the_catalogue_sees_what_the_models_say_their_weights_are(architecture, side):
    model, given, tolerance = padded(architecture, "eager", side)
    expected = architecture.seen(model, given)
    with torch.no_grad():
        found = model(**given, output_attentions=True)
    if architecture.crosses:
        weights = {
            "encoder": found.encoder_attentions,
            "self": found.decoder_attentions,
            "cross": found.cross_attentions,
        }
    else:
        weights = {"self": found.attentions}
    seen = {kind: [] for kind in weights}
    for site, heads in sorted(expected.items()):
        crossing = "EncDec" in site or "encoder_attn" in site
        kind = "cross" if crossing else "encoder" if architecture.crosses and ".decoder" not in f".{site}" else "self"
        seen[kind].append(heads)
    for kind, all_heads in seen.items():
        for theirs, heads in zip(weights[kind], all_heads, strict=True):
            rows = heads.mask.any(1).any(-1)
            close(theirs.double().transpose(1, 2)[rows], heads.weights().transpose(1, 2)[rows], tolerance)


@each_architecture
@each_implementation
@each_side
def test_heads_are_read_by_the_textbook(architecture, implementation, side):
    model, given, tolerance = padded(architecture, implementation, side)
    report, expected = read(model, **given), architecture.seen(model, given)
    assert {layer.name for layer in report.layers} == set(expected)
    for layer in report.layers:
        rows = expected[layer.name].counted()
        agree(layer.sample, rows, tolerance)
        assert (layer.rows, layer.heads) == rows.shape[:2]
        close(layer.means, rows.mean(0), tolerance)


@each_architecture
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_narrower_numbers_are_read_almost_as_well(architecture, dtype):
    given = inputs(architecture, "right")
    expected = read(transformer(architecture), **given)
    found = read(transformer(architecture).to(dtype), **given)
    tolerance = 1e-3 if dtype == torch.float32 else 0.25
    for layer, wide in zip(found.layers, expected.layers, strict=True):
        assert layer.sample.isfinite().all()
        assert torch.equal(layer.of("attended"), wide.of("attended"))
        # k counts: a weight may fall to the other side of the mass
        close(layer.means[:, 2:], wide.means[:, 2:], tolerance)
        close(layer.means[:, 0], wide.means[:, 0], 5 * tolerance)


@each_architecture
@each_implementation
@each_side
def test_nothing_changes_but_what_is_known(architecture, implementation, side):
    model, given, _ = padded(architecture, implementation, side)
    expected = outputs(model, given)
    assert expected.isfinite().all()
    gradients = torch.autograd.grad(expected.square().sum(), list(model.parameters()), allow_unused=True)
    with HeadLens(model):
        found = outputs(model, given)
    assert torch.equal(found, expected)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), list(model.parameters()), allow_unused=True), gradients, strict=True
    ):
        assert (one is None and other is None) or torch.equal(one, other)


@each_architecture
def test_attentions_are_given_as_before(architecture):
    model, given = transformer(architecture, "eager"), inputs(architecture)
    names = ["decoder_attentions", "cross_attentions"] if architecture.crosses else ["attentions"]
    expected = model(**given, output_attentions=True)
    with HeadLens(model):
        found = model(**given, output_attentions=True)
    for name in names:
        for one, other in zip(found[name], expected[name], strict=True):
            assert torch.equal(one, other)
    # the weights of what was changed are those that it has now
    with set_updates(model, steps=1):
        same = model(**given, output_attentions=True)
    with set_updates(model, beta=1e-6):
        flat = model(**given, output_attentions=True)
    for name in names:
        for one, other in zip(same[name], expected[name], strict=True):
            close(one, other)
        for weights in flat[name]:
            close(weights.sum(-1), torch.ones_like(weights[..., 0]))
            if architecture is T5:  # its bias stays
                continue
            assert (weights.amax(-1) < 1.01 / (weights > 0).sum(-1)).all()


@each_architecture
@each_implementation
def test_dropout_draws_the_same_numbers(architecture, implementation):
    model, given = transformer(architecture, implementation).train(), inputs(architecture)
    for module in model.modules():
        for name, share in vars(module).items():
            if "dropout" in name and isinstance(share, float):
                setattr(module, name, 0.3)
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    torch.manual_seed(1)
    expected, state = outputs(model, given), torch.get_rng_state()
    torch.manual_seed(2)
    assert not torch.equal(outputs(model, given), expected)
    torch.manual_seed(1)
    with HeadLens(model):
        assert torch.equal(outputs(model, given), expected)
    assert torch.equal(torch.get_rng_state(), state)


@each_implementation
def test_configurations_and_hooks_are_as_before_afterwards(implementation):
    model = transformer(BERT, implementation)
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()]
    state = {module: dict(vars(module)) for module in model.modules()}

    def same():
        assert type(model.config._attn_implementation) is str
        assert model.config._attn_implementation == implementation
        assert [(m._forward_hooks, m._forward_pre_hooks) for m in model.modules()] == hooks
        for module in model.modules():
            assert vars(module).keys() == state[module].keys()

    for change in (HeadLens, lambda m: replace_heads(m, [(BERT.layers[0], 0)]), lambda m: set_updates(m, steps=2)):
        with change(model):
            read(model, **inputs(BERT))
            assert str(model.config._attn_implementation) == f"hopfield_{implementation}"
        same()
        for error in (RuntimeError("no"), KeyboardInterrupt()):

            def fail(*_, error=error):
                raise error

            handle = model.encoder.layer[1].attention.self.value.register_forward_pre_hook(fail)
            with pytest.raises(type(error)), change(model):
                model(**inputs(BERT))
            handle.remove()
            same()
            assert not torch.overrides._get_current_function_mode_stack()


def test_a_model_within_another_is_read_once():
    for architecture in (BERT, T5):
        model, given = transformer(architecture), inputs(architecture, "right")
        expected, found = read(model, **given), read(Wrapped(model), **given)
        assert [layer.name for layer in found.layers] == [f"inner.{layer.name}" for layer in expected.layers]
        for one, other in zip(found.layers, expected.layers, strict=True):
            assert torch.equal(one.sample, other.sample)


@each_implementation
def test_a_part_of_a_model_is_read_as_within_the_whole(implementation):
    model, given = transformer(BART, implementation), inputs(BART, "right")
    expected = read(model, **given)
    for name in ("decoder", "decoder.layers.1", "decoder.layers.1.encoder_attn", "encoder.layers.0"):
        fresh = transformer(BART, implementation)
        with HeadLens(fresh.model.get_submodule(name), rows=None, settled=0, least=1) as lens, torch.no_grad():
            fresh(**given)
        assert fresh.config._attn_implementation == implementation
        report = lens.report()
        assert report.layers
        for layer in report.layers:
            whole = expected[f"model.{name}.{layer.name}".rstrip(".")]
            assert torch.equal(layer.sample, whole.sample)


def test_what_crosses_is_told_by_names_as_well_as_by_attributes():
    model, given = transformer(T5), inputs(T5, "right")
    for name, module in model.named_modules():
        if name.endswith("EncDecAttention"):
            module.is_decoder = False
    report = read(model, **given)
    for name, heads in T5.seen(transformer(T5), given).items():
        agree(report[name].sample, heads.counted())


def test_without_a_mask_only_the_function_of_torch_is_causal():
    x = torch.randn(2, 5, 16).double()
    for implementation, seen in (("sdpa", [1, 2, 3, 4, 5]), ("eager", [5] * 5)):
        attention = transformer(GPT2, implementation).transformer.h[0].attn
        expected = attention(x)[0]
        with HeadLens(attention, rows=None, least=1) as lens:
            assert torch.equal(attention(x)[0], expected)
        assert lens.report().layers[0].of("attended")[:, 0].tolist() == seen * 2
        with set_updates(attention, steps=1):
            close(attention(x)[0], expected, 1e-9)


def test_models_that_look_at_the_name_of_their_attention_go_their_way():
    model, given = transformer(GPT2, "eager").float(), inputs(GPT2)
    for block in model.transformer.h:
        block.attn.reorder_and_upcast_attn = True
    expected = outputs(model.half(), given)
    with HeadLens(model) as lens:
        assert torch.equal(outputs(model, given), expected)
    with pytest.raises(
        HopfieldError, match=r"no attention of GPT2LMHeadModel was seen.*look like attention: transformer"
    ):
        lens.report()


def test_layers_of_this_library_and_of_torch_within_a_model_are_read():
    from transformers import BertModel, BertPreTrainedModel

    class Pooled(BertPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.bert = BertModel(config)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.pool = HopfieldPooling(16, heads=2)
            self.post_init()

        def forward(self, input_ids, attention_mask):
            rows = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
            rows = self.attention(rows, rows, rows, need_weights=False)[0]
            return self.pool(rows, stored_mask=attention_mask.bool())

    model, given = Pooled(transformer(BERT).config).eval(), inputs(BERT, "right")
    report = read(model, **given)
    assert [layer.name for layer in report.layers] == [*(f"bert.{name}" for name in BERT.layers), "attention", "pool"]
    assert torch.equal(report["pool"].of("attended").sort(0).values[:, 0], torch.tensor([4.0, 6.0, 9.0]).double())


@pytest.mark.parametrize("architecture", [GPT2, LLAMA, T5, BART], ids=repr)
@each_implementation
def test_a_cache_gives_every_row_the_keys_before_it(architecture, implementation):
    model = transformer(architecture, implementation)
    given = {"input_ids": tokens(0, 2), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(**given, **options)
    with HeadLens(model, rows=None, settled=0, least=1) as lens:
        assert torch.equal(model.generate(**given, **options), expected)
    report = lens.report()
    if architecture.crosses:
        first = report[architecture.layers[0]]
        assert first.of("attended")[:, 0].tolist() == [n for n in range(1, 5) for _ in range(2)]
        crossing = next(layer for layer in report.layers if "Enc" in layer.name or "encoder_attn" in layer.name)
        assert set(crossing.of("attended").flatten().tolist()) == {9.0}
    else:
        # nothing else is seen if all is read at once
        whole = read(model, input_ids=expected[:, :-1], attention_mask=torch.ones_like(expected[:, :-1]))
        for layer in report.layers:
            agree(layer.sample, whole[layer.name].sample)
            assert layer.of("attended").max() == 12


@pytest.mark.parametrize("architecture", [GPT2, LLAMA], ids=repr)
@each_implementation
def test_a_static_cache_is_read_like_a_growing_one(architecture, implementation):
    model, given = transformer(architecture, implementation), inputs(architecture, "left")
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    reports = []
    for kind in ("dynamic", "static"):
        with HeadLens(model, rows=None, settled=0, least=1) as lens:
            model.generate(**given, **options, cache_implementation=kind, disable_compile=True)
        reports.append(lens.report())
    for one, other in zip(*(report.layers for report in reports), strict=True):
        agree(one.sample, other.sample)


@each_architecture
def test_copies_and_files_of_a_model_under_a_lens_are_of_use(architecture, tmp_path):
    model, given = transformer(architecture), inputs(architecture)
    expected = outputs(model, given)
    with HeadLens(model, rows=None) as lens:
        twin = copy.deepcopy(model)
        model.save_pretrained(tmp_path)
        assert torch.equal(outputs(twin, given), expected)
        with pytest.raises(HopfieldError, match=r"no attention of .* was seen"):
            lens.report()
    assert torch.equal(outputs(twin, given), expected)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.float64).eval()
    assert loaded.config._attn_implementation == "sdpa"
    close(outputs(loaded, given), expected, 1e-9)
    agree(read(twin, **given).layers[0].sample, read(model, **given).layers[0].sample)
    assert twin.config._attn_implementation == "sdpa"


def test_a_model_that_gives_its_attentions_is_saved_under_a_lens(tmp_path):
    model = transformer(BERT, "eager")
    with HeadLens(model):
        model.config.output_attentions = True
        model.save_pretrained(tmp_path)
        assert len(model(**inputs(BERT)).attentions) == 2


def test_gradient_checkpoints_are_counted_once():
    for reentrant in (False, True):
        model, given = transformer(BERT).train(), inputs(BERT, "right")
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
        with HeadLens(model, rows=None) as lens:
            outputs(model, given).sum().backward()
        assert [layer.rows for layer in lens.report().layers] == [19, 19]
        assert model.encoder.layer[0].attention.self.query.weight.grad is not None


@pytest.mark.parametrize("name", ["flash_attention_2", "flex_attention", "paged|eager", "kernels-community/flash-attn"])
def test_kernels_that_keep_their_scores_are_refused(name):
    model = transformer(BERT)
    model.config._attn_implementation_internal = name
    for change in (HeadLens(model).attach, lambda: set_updates(model, steps=2)):
        with pytest.raises(HopfieldError, match=r'BertModel uses the attention .*set_attn_implementation\("sdpa"\)'):
            change()
    assert model.config._attn_implementation == name
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"softcap": 30.0}, "BertSelfAttention caps its scores"),
        ({"s_aux": torch.zeros(2)}, "BertSelfAttention has attention sinks"),
        ({"head_mask": torch.ones(2, 1, 1)}, "BertSelfAttention scales the weights of its heads"),
    ],
    ids=str,
)
def test_scores_that_are_no_association_are_refused(option, text):
    model = transformer(BERT, "eager")
    model.encoder.layer[0].attention.self.register_forward_pre_hook(
        lambda _, args, given: (args, given | option), with_kwargs=True
    )
    outputs(model, inputs(BERT))
    with pytest.raises(HopfieldError, match=f"{text}.*it cannot be read as a Hopfield network"):
        read(model, **inputs(BERT))


@each_architecture
def test_head_masks_are_not_swallowed(architecture):
    model, given = transformer(architecture), inputs(architecture)
    mask = {"head_mask": torch.ones(2, 2)}
    for change in (
        HeadLens(model),
        set_updates(model, steps=1),
        replace_heads(model, [(architecture.layers[0], 0)], with_="uniform", causal=architecture.causal),
    ):
        with change, pytest.raises(HopfieldError, match=r"takes no head_mask .*use hopfield\.lens\.replace_heads"):
            model(**given, **mask)
        change.undo() if hasattr(change, "undo") else None
    with HeadLens(model):
        outputs(model, given | {"head_mask": None})


def test_head_masks_that_a_model_knows_are_its_own_affair():
    class Knows(type(transformer(BERT))):
        def forward(self, *args, head_mask=None, **given):
            return super().forward(*args, **given)

    model = Knows(transformer(BERT).config).eval()
    with HeadLens(model):
        model(**inputs(BERT), head_mask=torch.ones(2, 2))


def test_modules_without_a_function_of_their_own_say_what_to_do():
    model = transformer(BERT, "eager")

    class Odd(nn.Module):
        pass

    from hopfield.lens.interface import _eager

    with pytest.raises(HopfieldError, match=r'Odd has no attention function of its own .*attn_implementation="sdpa"'):
        _eager(Odd())
    assert _eager(model.encoder.layer[0].attention.self).__module__ == "transformers.models.bert.modeling_bert"
