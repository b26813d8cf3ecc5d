"""Averages over positions in place of heads."""

import pytest
import torch
from torch import nn

from hopfield import HopfieldError
from hopfield.lens import HeadLens, UniformAveraging, replace_heads, restore, set_updates
from hopfield.nn import GaussianAveraging
from tests.core.catalogue import examples, generator, integer, normal, one_of, yes
from tests.lens.catalogue import (
    ARCHITECTURES,
    BART,
    BERT,
    GPT2,
    LLAMA,
    T5,
    Attends,
    Projects,
    close,
    each_architecture,
    each_implementation,
    inputs,
    live,
    outputs,
    padded,
    split,
    tokens,
    transformer,
)

HEADS = {architecture.name: 2 for architecture in ARCHITECTURES} | {"llama": 4, "bart": 4}
PROJECTIONS = {"bert": "value", "gpt2": "c_attn", "llama": "v_proj", "t5": "v", "bart": "v_proj"}
OUTPUTS = {"bert": None, "gpt2": "c_proj", "llama": "o_proj", "t5": "o", "bart": "out_proj"}


def mixed(architecture, model, site, given):
    """Values (B, h, N, v) and what comes out of the heads (B, h, L, v), in one call."""
    place, found = model.get_submodule(site), {}

    def value(_, __, output):
        groups = 2 if architecture is LLAMA else HEADS[architecture.name]
        rows = output.chunk(3, -1)[-1] if architecture is GPT2 else output
        found["value"] = split(rows, groups).repeat_interleave(HEADS[architecture.name] // groups, 1)

    def result(_, args, output):
        rows = output[0] if architecture is BERT else args[0]
        found["result"] = split(rows, HEADS[architecture.name])

    handles = [
        place.get_submodule(PROJECTIONS[architecture.name]).register_forward_hook(value),
        (
            place.get_submodule(OUTPUTS[architecture.name]) if OUTPUTS[architecture.name] else place
        ).register_forward_hook(result),
    ]
    with torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    return found["value"], found["result"]


def gaussian(mean, log_width, kept, causal):
    """A row by row for tokens that take part (N,), all loops."""
    heads, length = mean.shape
    places = [int(n) for n in kept.nonzero()]
    count = length if causal else len(places)
    weights = torch.zeros(heads, len(kept), len(kept), dtype=torch.float64)
    for head in range(heads):
        for i, row in enumerate(places):
            position = [(2 * j - (count - 1)) / max(count - 1, 1) for j in range(len(places))]
            s = torch.tensor(position[: i + 1] if causal else position, dtype=torch.float64)
            w = torch.exp(-(((s - mean[head, i]) / log_width[head, i].exp()) ** 2) / 2)
            for column, weight in zip(places, w / w.sum(), strict=False):
                weights[head, row, column] = weight
    return weights


def uniform(heads, kept, causal):
    weights = torch.zeros(heads, len(kept), len(kept), dtype=torch.float64)
    for row in kept.nonzero().flatten().tolist():
        seen = kept.clone()
        if causal:
            seen[row + 1 :] = False
        weights[:, row] = seen.double() / seen.sum()
    return weights


# ------------------------------------------------------------------------------------------------------- what comes out


@each_architecture
@each_implementation
@pytest.mark.parametrize("side", ["none", "right", "left"])
@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_replaced_heads_are_averages_by_hand_and_others_as_they_were(architecture, implementation, side, kind):
    model, given, tolerance = padded(architecture, implementation, side)
    site, chosen = architecture.layers[0], (1,) if HEADS[architecture.name] == 2 else (0, 3)
    plain = mixed(architecture, model, site, given)[1]
    kept = live(architecture, given)
    with replace_heads(model, {site: chosen}, with_=kind, length=12, causal=architecture.causal) as edit:
        average = edit.averages[site]
        with torch.no_grad():
            for parameter in edit.parameters():
                parameter.copy_(normal(generator(1), *parameter.shape) / 2)
        value, result = mixed(architecture, model, site, given)
    weights = []
    for row in kept:
        if kind == "uniform":
            weights.append(uniform(len(chosen), row, architecture.causal))
        else:
            assert isinstance(average, GaussianAveraging)
            mean, log_width = average.mean.detach().double(), average.log_width.detach().double()
            weights.append(gaussian(mean, log_width, row, architecture.causal))
    expected = torch.stack(weights) @ value[:, list(chosen)].double()
    rows = kept.unsqueeze(1).expand(result.shape[:3])
    others = [head for head in range(HEADS[architecture.name]) if head not in chosen]
    close(result[:, list(chosen)][rows[:, list(chosen)]].double(), expected[rows[:, list(chosen)]], tolerance)
    close(result[:, others][rows[:, others]], plain[:, others][rows[:, others]], tolerance)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_what_stands_at_padding_does_not_matter(kind, side):
    for architecture in (BERT, GPT2, LLAMA, BART):
        model, given = transformer(architecture), inputs(architecture, side)
        every = {site: range(HEADS[architecture.name]) for site in architecture.layers}
        with replace_heads(model, every, with_=kind, causal=architecture.causal):
            expected = outputs(model, given)
            for name in ("input_ids", "decoder_input_ids"):
                if name in given:
                    mask = given[name.replace("input_ids", "attention_mask")].bool()
                    given[name] = given[name].where(mask, 3 + (given[name] + 1) % 30)
            kept = live(architecture, given)
            close(outputs(model, given)[kept], expected[kept], 1e-9)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
@pytest.mark.parametrize("architecture", [GPT2, LLAMA], ids=repr)
@each_implementation
def test_what_is_causal_knows_nothing_of_later_tokens(architecture, implementation, kind):
    model, ids = transformer(architecture, implementation), tokens(0)
    every = {site: range(HEADS[architecture.name]) for site in architecture.layers}
    with replace_heads(model, every, with_=kind):
        expected = outputs(model, {"input_ids": ids})
        for place in (1, 4, ids.shape[1] - 1):
            other = ids.clone()
            other[:, place:] = tokens(place)[:, place:]
            found = outputs(model, {"input_ids": other})
            close(found[:, :place], expected[:, :place], 1e-9)
            assert not torch.allclose(found[:, place], expected[:, place])
            close(outputs(model, {"input_ids": ids[:, :place]}), expected[:, :place], 1e-9)


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
@pytest.mark.parametrize(
    ("architecture", "cache"),
    [*((a, "dynamic") for a in (GPT2, LLAMA, T5, BART)), (GPT2, "static"), (LLAMA, "static")],
    ids=str,
)
def test_caches_change_nothing(architecture, kind, cache):
    model, given = transformer(architecture), inputs(architecture)
    given = {name: given[name] for name in ("input_ids", "attention_mask")}
    if not architecture.crosses:
        given["attention_mask"] = inputs(architecture, "left")["attention_mask"]
    every = {site: range(HEADS[architecture.name]) for site in architecture.layers}
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    with replace_heads(model, every, with_=kind, length=20, causal=True):
        expected = model.generate(**given, **options, use_cache=False)
        static = {"cache_implementation": "static", "disable_compile": True} if cache == "static" else {}
        found = model.generate(**given, **options, **static)
    assert torch.equal(found.sequences, expected.sequences)
    for one, other in zip(found.logits, expected.logits, strict=True):
        close(one, other, 1e-5)


@examples(30)
def test_heads_of_any_module_are_replaced(seed):
    g = generator(seed)
    heads, causal, L = one_of(g, 1, 2, 4), bool(yes(g)), integer(g, 2, 6)
    chosen = [h for h in range(heads) if bool(yes(g))] or [0]
    model, (q, k, v) = Attends(), (normal(g, 2, heads, L, 4) for _ in range(3))
    mask = None
    if not causal and bool(yes(g)):
        mask = (torch.arange(L) < torch.randint(2, L + 1, (2, 1), generator=g))[:, None, None]
    plain = model(q, k, v, is_causal=causal, attn_mask=mask)
    with replace_heads(
        model, {"": chosen}, with_=one_of(g, "uniform", UniformAveraging) if not causal else "uniform", causal=causal
    ) as edit:
        found = model(q, k, v, is_causal=causal, attn_mask=mask)
        assert edit.new_parameters == 0
        assert edit.idle_parameters is None
    kept = torch.ones(2, L, dtype=torch.bool) if mask is None else mask[:, 0, 0].expand(2, L)
    for head in range(heads):
        average = torch.stack([uniform(1, row, causal)[0] for row in kept]) @ v[:, head]
        expected = average if head in chosen else plain[:, head]
        close(found[:, head][kept], expected[kept])


# ----------------------------------------------------------------------------------------------------------- parameters


def test_averages_are_part_of_the_model():
    model, given = transformer(BERT), inputs(BERT, "right")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected, flags = outputs(model, given), [p.requires_grad for p in model.parameters()]
    edit = replace_heads(model, {BERT.layers[0]: [1], BERT.layers[1]: [0, 1]}, length=10)
    assert edit.new_parameters == 3 * 2 * 10
    assert sum(p.numel() for p in edit.parameters()) == edit.new_parameters
    # queries and keys of three heads, weights and biases
    assert edit.idle_parameters == 3 * 2 * 8 * (16 + 1)
    ours = {id(p) for p in edit.parameters()}
    assert ours <= {id(p) for p in model.parameters()}
    names = set(model.state_dict()) - set(before)
    assert names == {f"{site}.hopfield_averaging.{name}" for site in BERT.layers for name in ("mean", "log_width")}
    assert all(p.dtype == torch.float64 for p in edit.parameters())
    assert not any(module.training for module in edit.averages.values())
    model.bfloat16().train()
    assert all(p.dtype == torch.bfloat16 for p in edit.parameters())
    assert outputs(model, given).dtype == torch.bfloat16
    model.double().eval()
    edit.undo()
    edit.undo()
    assert [p.requires_grad for p in model.parameters()] == flags
    assert list(model.state_dict()) == list(before)
    model.load_state_dict(before)
    assert torch.equal(outputs(model, given), expected)


@pytest.mark.parametrize("freeze", [True, False])
@each_architecture
def test_averages_learn(architecture, freeze):
    model, given = transformer(architecture), inputs(architecture, "right")
    kept = live(architecture, given)
    target = outputs(model, given).detach()[kept]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    every = {site: range(HEADS[architecture.name]) for site in architecture.layers}
    frozen = next(model.parameters()).requires_grad_(False)
    edit = replace_heads(model, every, length=12, causal=architecture.causal, freeze_others=freeze)
    learnt = list(edit.parameters()) if freeze else [p for p in model.parameters() if p.requires_grad]
    assert [p for p in model.parameters() if p.requires_grad] == learnt or not freeze
    optimizer, losses = torch.optim.Adam(edit.parameters(), lr=0.05), []
    for _ in range(8):
        optimizer.zero_grad()
        loss = (outputs(model, given)[kept] - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    gradients = {id(p): p.grad for p in edit.parameters()}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in gradients.values())
    if freeze:
        assert all(p.grad is None for p in model.parameters() if id(p) not in gradients)
    edit.undo()
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in model.parameters() if p is not frozen)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_replaced_heads_have_no_use_for_queries_and_keys():
    """What is counted as idle gets no gradient."""
    multi = nn.MultiheadAttention(16, 4, batch_first=True, kdim=16, vdim=16).double()
    other = nn.MultiheadAttention(16, 4, batch_first=True, bias=False, kdim=12, vdim=12).double()
    cases = [(architecture, chosen) for architecture in ARCHITECTURES for chosen in ((0,), (0, 1), (1,))]
    cases += [(LLAMA, chosen) for chosen in ((0, 2), (0, 2, 3), (0, 1, 2, 3), (1, 2))]
    for architecture, chosen in cases:
        model, given = transformer(architecture), inputs(architecture)
        site, names = architecture.layers[0], ("query", "key") if architecture is BERT else ("q", "k")
        place = model.get_submodule(site)
        with replace_heads(model, {site: chosen}, with_="uniform", causal=architecture.causal) as edit:
            outputs(model, given).square().sum().backward()
            # by weights alone: a bias of keys moves all scores of a row, and has a gradient of nothing but rounding
            idle, biased = 0, architecture not in {T5, LLAMA}
            if architecture is GPT2:
                idle = int((place.c_attn.weight.grad[:, :32] == 0).all(0).sum())
            else:
                names = names if architecture in {BERT, T5} else ("q_proj", "k_proj")
                for weight in (getattr(place, name).weight for name in names):
                    idle += len(weight) if weight.grad is None else int((weight.grad == 0).all(1).sum())
            assert edit.idle_parameters == idle * (16 + biased), (architecture, chosen)
        model.zero_grad()
    for layer, size in ((multi, 16), (other, 12)):
        with replace_heads(layer, {"": [1, 3]}, with_="uniform") as edit:
            bias = layer.in_proj_bias is not None
            assert edit.idle_parameters == 2 * 4 * (16 + size + 2 * bias)


def test_two_replacements_live_in_one_module():
    model, x = Projects(4).double(), normal(generator(2), 2, 5, 16)
    names, plain = list(model.state_dict()), model(x)
    one, two = (replace_heads(model, {"": [head]}, length=8) for head in (0, 2))
    both = model(x)
    with pytest.raises(HopfieldError, match=r"heads \[0\] of '' are replaced already: undo that first"):
        replace_heads(model, {"": [0, 1]}, length=8)
    outer = nn.Sequential(model)  # by another name, too
    with pytest.raises(HopfieldError, match=r"heads \[2\] of '0' are replaced already"):
        replace_heads(outer, {"0": [2]}, length=8)
    one.undo()
    three = replace_heads(model, {"": [0]}, length=8)  # takes the name that is free again
    assert torch.equal(model(x), both)
    two.undo()
    three.undo()
    assert list(model.state_dict()) == names
    assert torch.equal(model(x), plain)


def test_a_module_of_ones_own_may_average():
    class Last(nn.Module):
        causal = True

        def __init__(self, heads):
            super().__init__()
            self.share = nn.Parameter(torch.full((heads, 1, 1), 0.5))

        def association_weights(self, tokens=None, mask=None):
            size = tokens if mask is None else mask.shape[-1]
            return self.share * torch.eye(size, dtype=self.share.dtype)

    model, given = transformer(GPT2), {"input_ids": tokens(0)}
    with replace_heads(model, {GPT2.layers[0]: [1]}, with_=Last) as edit:
        assert edit.new_parameters == 1
        value, result = mixed(GPT2, model, GPT2.layers[0], given)
        close(result[:, 1], value[:, 1] / 2)
    with pytest.raises(
        HopfieldError, match=r"with_ must make a module with a method association_weights.*made a Linear"
    ):
        replace_heads(model, {GPT2.layers[0]: [1]}, with_=lambda heads: nn.Linear(heads, 1))
    with pytest.raises(HopfieldError, match='with_ must be "gaussian", "uniform" or a function that makes a module'):
        replace_heads(model, {GPT2.layers[0]: [1]}, with_="mean")


def test_heads_are_given_in_any_form():
    model, given = transformer(BERT), inputs(BERT)
    with HeadLens(model, rows=None, least=1) as lens:
        model(**given)
    report = lens.report()
    chosen = report.find("I", layers=slice(1))
    assert chosen
    forms = [chosen, [(head.layer, head.head) for head in chosen], {chosen[0].layer: [head.head for head in chosen]}]
    found = []
    for form in forms:
        with replace_heads(model, form, with_="uniform") as edit:
            assert edit.heads == {chosen[0].layer: tuple(head.head for head in chosen)}
            found.append(outputs(model, given))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("architecture", [BERT, GPT2, T5], ids=repr)
@each_implementation
@pytest.mark.parametrize("side", ["none", "right", "left"])
def test_a_wrong_direction_is_refused(architecture, implementation, side):
    model, given = transformer(architecture, implementation), inputs(architecture, side)
    site, causal = architecture.layers[0], architecture.causal
    here, there = ("causal", "not") if causal else ("not causal", "causal")
    text = f"the attention of '{site}' is {here}, its average is {there}: give causal={causal}"
    kind = "uniform" if implementation == "eager" else "gaussian"
    wrong = replace_heads(model, {site: [0]}, with_=kind, causal=not causal, length=12)
    with wrong, pytest.raises(HopfieldError, match=text):
        model(**given)
    for right in ({"causal": causal}, {}):  # which the module says itself
        with replace_heads(model, {site: [0]}, with_=kind, length=12, **right):
            model(**given)


def test_the_direction_is_seen_as_soon_as_it_can_be():
    model = transformer(GPT2)
    with replace_heads(model, {GPT2.layers[0]: [0]}, causal=False):
        first = model(input_ids=tokens(0)[:, :1])
        # after a cache nothing can be told from the numbers of queries and keys
        model(input_ids=tokens(0)[:, 1:4], cache=first.past_key_values)
        with pytest.raises(HopfieldError, match="is causal, its average is not"):
            model(input_ids=tokens(0))
    model = Attends()
    x, alone = torch.randn(2, 1, 4, 3), (torch.arange(4) < 1)[None, None, None]
    for causal in (True, False):
        with replace_heads(model, {"": [0]}, with_="uniform", causal=causal):
            model(x, x, x, attn_mask=alone)
            with pytest.raises(HopfieldError, match=f"give causal={not causal}"):
                model(x, x, x, is_causal=not causal)


def test_crossing_attention_is_refused():
    for architecture, name in (
        (T5, "decoder.block.0.layer.1.EncDecAttention"),
        (BART, "model.decoder.layers.0.encoder_attn"),
    ):
        model, given = transformer(architecture), inputs(architecture)
        with (
            replace_heads(model, {name: [0]}, length=12),
            pytest.raises(
                HopfieldError, match=f"'{name}' attends from one sequence to another.*replace heads of self-attention"
            ),
        ):
            model(**given)
    model, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 4, 8)
    with replace_heads(model, {"": [0]}, length=12):
        model(x, x, x)
        with pytest.raises(HopfieldError, match="'' attends from one sequence to another"):
            model(x, x + 1, x + 1)
    with (
        replace_heads(module := Attends(), {"": [0]}, with_="uniform"),
        pytest.raises(HopfieldError, match="'' attends from one sequence to another"),
    ):
        module(*(torch.randn(1, 1, n, 2) for n in (4, 3, 3)))


def test_lengths_that_are_not_known_or_too_short_are_refused():
    model = nn.Sequential(Projects())
    with pytest.raises(
        HopfieldError, match=r"how long sequences may be is not known of this model: give length=\.\.\."
    ):
        replace_heads(model, {"0": [0]})
    with replace_heads(model, {"0": [0]}, length=4):
        model(torch.randn(2, 4, 16))
        with pytest.raises(
            HopfieldError, match="'0' got 5 tokens, its average is for 4 at most: give replace_heads length=5, or cut"
        ):
            model(torch.randn(2, 5, 16))
    assert replace_heads(transformer(GPT2), {GPT2.layers[0]: [0]}).averages[GPT2.layers[0]].length == 32
    assert replace_heads(transformer(BERT), {BERT.layers[0]: [0]}).averages[BERT.layers[0]].length == 32


@pytest.mark.parametrize(
    ("heads", "text"),
    [
        ([], "there are no heads to replace: give"),
        ({}, "there are no heads to replace: give"),
        ({"0": []}, "there are no heads to replace: give"),
        ({"2": [0]}, "no module '2' in Sequential; the names are those of a HeadLens report"),
        ({"1": [0]}, "'1' is a ModuleList, which nobody calls"),
        ({"0": [-1]}, "heads must be whole numbers from 0 on, got -1 for '0'"),
        ({"0": [True]}, "heads must be whole numbers from 0 on, got True for '0'"),
        ({"0": [0.5]}, r"heads must be whole numbers from 0 on, got 0\.5 for '0'"),
        ({"0": [1, 1]}, r"heads of '0' are named twice: \[1, 1\]"),
        ([("0", 1), ("0", 1)], r"heads of '0' are named twice: \[1, 1\]"),
    ],
    ids=str,
)
def test_wrong_heads_are_refused(heads, text):
    model = nn.Sequential(Projects(), nn.ModuleList())
    names = list(model.state_dict())
    with pytest.raises(HopfieldError, match=text):
        replace_heads(model, heads, length=8)
    assert list(model.state_dict()) == names
    assert not model[0]._forward_hooks


def test_heads_that_there_are_not_are_refused_when_data_flow():
    model = nn.Sequential(Projects())
    with (
        replace_heads(model, {"0": [0, 2]}, length=8),
        pytest.raises(HopfieldError, match="'0' has heads 0 to 1, got 2"),
    ):
        model(torch.randn(2, 4, 16))


def test_modules_that_do_not_attend_are_refused_when_data_flow():
    model, given = transformer(BERT), inputs(BERT)
    for name in ("encoder.layer.0", "encoder.layer.0.output"):
        with (
            replace_heads(model, {name: [0]}),
            pytest.raises(
                HopfieldError, match=f"'{name}' was to be changed, but attention of that name was not called"
            ),
        ):
            model(**given)
    model(**given)


def test_what_cannot_be_attached_to_is_left_as_it_was():
    model = transformer(BERT)
    names = list(model.state_dict())
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(HopfieldError, match="a kernel that keeps its scores to itself"):
        replace_heads(model, {BERT.layers[0]: [0]})
    assert list(model.state_dict()) == names


# ----------------------------------------------------------------------------------------------------- uniform averages


@examples(30)
def test_uniform_weights_are_means_of_what_takes_part(seed):
    g = generator(seed)
    heads, size, causal = integer(g, 1, 3), integer(g, 1, 6), bool(yes(g))
    average = UniformAveraging(heads, causal=causal).double()
    kept = yes(g, 3, size)
    found = average.association_weights(mask=kept)
    close(found, torch.stack([uniform(heads, row, causal) for row in kept]), 1e-12)
    close(average.association_weights(size), uniform(heads, torch.ones(size, dtype=torch.bool), causal), 1e-12)
    assert repr(average) == f"UniformAveraging(heads={heads}, causal={causal})"
    assert not average.state_dict()
    assert UniformAveraging().half().association_weights(3).dtype == torch.float32


def test_all_edits_are_undone_without_their_handles():
    model, x = Projects(4).double(), normal(generator(2), 2, 5, 16)
    outer = nn.Sequential(model, Projects(4).double())
    names, plain = list(outer.state_dict()), outer(x)
    replace_heads(outer, {"0": [0]}, length=8, freeze_others=True)
    replace_heads(outer, {"1": [0, 3]}, with_="uniform")
    set_updates(outer, steps=3)
    set_updates(outer, steps=2, layers=["1"])
    assert not torch.allclose(outer(x), plain)
    restore(outer)
    assert list(outer.state_dict()) == names
    assert torch.equal(outer(x), plain)
    assert all(p.requires_grad for p in outer.parameters())
    restore(outer)


@pytest.mark.parametrize(
    "heads",
    [{"": 0}, "", [0, 1], [("", 0, 1)], 3, nn.Linear(2, 2)],
    ids=["number", "name", "numbers", "triple", "one", "module"],
)
def test_heads_of_another_form_are_refused(heads):
    with pytest.raises(HopfieldError, match=r"heads must be \{layer: \[numbers\]\}, pairs"):
        replace_heads(Projects(4), heads, length=8)


def test_layers_go_by_their_names():
    for refused in (
        lambda: replace_heads(Projects(4), {0: [0]}, length=8),
        lambda: set_updates(Projects(4), steps=2, layers=[0]),
    ):
        with pytest.raises(HopfieldError, match="layers go by their names, those of a HeadLens report; got 0"):
            refused()
    with pytest.raises(HopfieldError, match='with_ must be "gaussian", "uniform" or a function'):
        replace_heads(Projects(4), {"": [0]}, with_=nn.Linear(3, 3))
