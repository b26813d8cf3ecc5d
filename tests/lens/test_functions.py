"""Modules that call the functions of torch: anybody's own, `nn.MultiheadAttention` and what contains it."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hopfield import HopfieldError
from hopfield.lens import HeadLens, replace_heads, set_updates
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform, yes
from tests.lens.catalogue import Attends, Heads, Projects, agree, close, multi_head_states, read, split, taken

# ------------------------------------------------------------------------------ calls of scaled_dot_product_attention


def some_call(g):
    """Arguments of the function, and what its heads see, in every form that it takes."""
    batch = one_of(g, (2,), (2, 2), (1, 3))
    heads, L, N, size = integer(g, 1, 3), integer(g, 1, 6), integer(g, 2, 6), integer(g, 1, 4)
    dims = one_of(g, 2, 3, 4, 4, 4, 5)
    lead = {2: (), 3: batch[:1], 4: (*batch[:1], heads), 5: (*batch, heads)}[dims]
    grouped = dims > 3 and heads > 1 and bool(yes(g, chance=0.3))
    shared = (*lead[:-1], 1) if grouped else lead
    query, key, value = normal(g, *lead, L, size), normal(g, *shared, N, size), normal(g, *shared, N, 3)
    options = {"scale": one_of(g, None, uniform(g, 0.2, 2))}
    if grouped and bool(yes(g)):
        options["enable_gqa"] = True  # without it a head of keys is broadcast
    elif dims == 4 and bool(yes(g, chance=0.2)):
        query = query[:1]  # so is a batch of queries
    B, h = (1, 1) if dims == 2 else (lead[0], 1) if dims == 3 else (torch.Size(lead[:-1]).numel(), heads)
    mask, bias = torch.ones(B, h, L, N, dtype=torch.bool), None
    kind = one_of(g, "none", "causal", "bool", "float")
    if kind == "causal":
        options["is_causal"] = True
        mask = mask.tril()
    elif kind != "none":
        # heads differ in no row entirely, for a row counts if it does in any head
        wide = (*lead[:-1], one_of(g, 1, heads)) if dims > 3 else lead
        shape = one_of(g, (L, N), (1, N), (*wide, L, N), (*wide, 1, N))
        kept = yes(g, *shape, chance=0.7)
        whole = kept.expand(*lead, L, N).reshape(B, h, L, N)
        mask, options["attn_mask"] = whole, kept
        if kind == "float":
            added = normal(g, *shape)
            lowest = one_of(g, -torch.inf, torch.finfo(torch.float64).min, torch.finfo(torch.float16).min, -1e9)
            options["attn_mask"] = added.masked_fill(~kept, lowest)
            bias = added.expand(*lead, L, N).reshape(B, h, L, N)

    def four(t, h):
        wide = t.expand(*lead[:-1], *t.shape[-3:]) if dims > 3 else t
        return wide.reshape(B, h, *t.shape[-2:])

    scale = size**-0.5 if options["scale"] is None else options["scale"]
    q, k = four(query, h), four(key, 1 if grouped else h)
    seen = Heads(q, k, scale, mask, bias, alive=mask.any(1).any(-2) if L == N and kind in {"bool", "float"} else None)
    return (query, key, value), options, seen


@examples(60)
def test_calls_of_every_form_are_read(seed):
    tensors, options, seen = some_call(generator(seed))
    # where the heads of a row differ in whether it attends to anything, there are numbers for those that do
    expected = seen.counted()
    if not len(expected):
        with pytest.raises(HopfieldError, match="all their rows were padding or attended to nothing"):
            read(Attends(), *tensors, **options)
        return
    report = read(Attends(), *tensors, **options)
    assert [(layer.name, layer.heads) for layer in report.layers] == [("", seen.query.shape[1])]
    found = report.layers[0].sample
    agree(found.nan_to_num(-1.0), expected.nan_to_num(-1.0))


@examples(40)
def test_what_a_call_gives_stays_the_same_to_the_bit(seed):
    tensors, options, _ = some_call(generator(seed))
    tensors = [tensor.requires_grad_() for tensor in tensors]
    expected = F.scaled_dot_product_attention(*tensors, **options)
    gradients = torch.autograd.grad(expected.nan_to_num().square().sum(), tensors)
    with HeadLens(module := Attends()):
        found = module(*tensors, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    again = torch.autograd.grad(found.nan_to_num().square().sum(), tensors)
    for one, other in zip(again, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@examples(40)
def test_one_update_by_softmax_gives_the_same(seed):
    tensors, options, seen = some_call(generator(seed))
    expected = F.scaled_dot_product_attention(*tensors, **options)
    with set_updates(module := Attends(), steps=1, separation="softmax"):
        found = module(*tensors, **options)
    assert found.shape == expected.shape
    lives = seen.mask.any(-1).reshape(-1, seen.query.shape[-2])  # a row of nothing may be anything
    close(found.reshape(*lives.shape, -1)[lives], expected.reshape(*lives.shape, -1)[lives], 1e-9)


def test_half_precision_and_autocast_are_near():
    g = generator(0)
    model, x = Projects(), normal(g, 3, 12, 16).float()
    wide = read(copy.deepcopy(model).double(), x.double()).layers[0]
    for dtype in (torch.bfloat16, torch.float16):
        narrow = read(copy.deepcopy(model).to(dtype), x.to(dtype)).layers[0]
        close(narrow.means[:, 1:], wide.means[:, 1:], 0.05)
    expected = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(x)
        with HeadLens(model, rows=None, settled=4) as lens:
            assert torch.equal(model(x), plain)
    assert plain.dtype == torch.bfloat16
    close(lens.report().layers[0].means[:, 1:], wide.means[:, 1:], 0.05)
    close(plain.float(), expected, 0.05)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=str)
def test_modes_of_gradients_do_not_matter(mode):
    model, x = Projects().double(), normal(generator(1), 2, 40, 16)
    expected = model(x)
    with HeadLens(model, sample=50) as lens:
        with mode():
            close(model(x), expected, 1e-12)
        model(x).sum().backward()
        with mode():
            model(x)
    layer = lens.report().layers[0]
    assert layer.rows == 6 * 16
    assert layer.sample.isfinite().all()
    assert model.into.weight.grad is not None


def test_attentions_of_one_module_have_numbers():
    class Twice(nn.Module):
        def forward(self, x):
            first = F.scaled_dot_product_attention(x, x, x)
            return F.scaled_dot_product_attention(first, x, x, is_causal=True)

    x = normal(generator(2), 2, 3, 5, 4)
    model = nn.Sequential(Twice(), Twice())
    report = read(model, x)
    assert [layer.name for layer in report.layers] == ["0", "0#2", "1", "1#2"]
    assert report["0"].of("attended").unique().tolist() == [5]
    assert report["0#2"].of("attended")[:, 0].tolist() == [1, 2, 3, 4, 5] * 2
    with set_updates(model, beta=2.0, layers=["0#2"]):
        changed = read(model, x)
    assert torch.equal(changed["0"].sample, report["0"].sample)
    assert not torch.allclose(changed["0#2"].of("entropy"), report["0#2"].of("entropy"))
    with replace_heads(model, {"1#2": [1]}, with_="uniform", causal=True):
        found = model(x)
    expected = model[0](x)
    within = F.scaled_dot_product_attention(expected, expected, expected)
    means = expected[:, 1].cumsum(1) / torch.arange(1, 6).unsqueeze(-1)
    close(found[:, 1], means)  # without a parameter there is none to take the data type from
    close(found[:, 0], F.scaled_dot_product_attention(within, expected, expected, is_causal=True)[:, 0], 1e-12)


def test_nested_tensors_are_refused():
    rows = torch.nested.nested_tensor([torch.randn(2, 3, 4), torch.randn(2, 5, 4)], layout=torch.jagged)
    with pytest.raises(HopfieldError, match=r"Attends attends over nested tensors.*give padded ones"):
        read(Attends(), rows, rows, rows)


def test_what_keeps_its_scores_is_not_seen():
    class Own(nn.Module):
        def forward(self, x):
            return torch.softmax(x @ x.mT, -1) @ x

    class SelfAttention(Own):
        pass

    model = nn.Sequential(Own(), SelfAttention(), SelfAttention())
    with HeadLens(model) as lens:
        model(torch.randn(2, 3, 4))
    with pytest.raises(
        HopfieldError,
        match=r"no attention of Sequential was seen.*computes its attention by itself.*"
        r"look like attention: 1 \(SelfAttention\), 2 \(SelfAttention\)$",
    ):
        lens.report()


# ----------------------------------------------------------------------------------------------- nn.MultiheadAttention


def some_attention(g, *, batch_first=None):
    """A layer, its inputs (B, rows, size), its keyword arguments, and what its heads see."""
    heads = one_of(g, 1, 2)
    itself = bool(yes(g, chance=0.6))
    separate = not itself and bool(yes(g))
    layer = nn.MultiheadAttention(
        4,
        heads,
        bias=bool(yes(g)),
        add_bias_kv=bool(yes(g, chance=0.3)),
        add_zero_attn=bool(yes(g, chance=0.3)),
        kdim=3 if separate else None,
        vdim=5 if separate else None,
        batch_first=bool(yes(g)) if batch_first is None else batch_first,
        dtype=torch.float64,
    )
    B, L = integer(g, 1, 3), integer(g, 2, 5)
    N = L if itself else one_of(g, L, integer(g, 2, 5))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(g, *parameter.shape))
    query = normal(g, B, L, 4)
    key = query if itself else normal(g, B, N, layer.kdim)
    value = one_of(g, key, normal(g, B, N, layer.vdim)) if layer.vdim == layer.kdim else normal(g, B, N, layer.vdim)
    extra = (layer.bias_k is not None) + layer.add_zero_attn
    mask, bias, options = torch.ones(B, heads, L, N + extra, dtype=torch.bool), None, {}
    padded = None
    if bool(yes(g)):
        padded = torch.arange(N) < torch.randint(1, N + 1, (B, 1), generator=g)
        if bool(yes(g)):
            padded = padded.flip(1)
        options["key_padding_mask"] = ~padded
        mask[..., :N] &= padded[:, None, None]
    kind = one_of(g, "none", "bool", "float", "causal")
    if kind == "causal":
        left_out = torch.ones(L, N, dtype=torch.bool).triu(1)
        options["attn_mask"] = left_out
        mask[..., :N] &= ~left_out
        # torch forgets the extra keys over the hint where no weights are wanted
        if padded is None and not extra and bool(yes(g)):
            options["is_causal"] = True
    elif kind != "none":
        shape = one_of(g, (L, N), (B * heads, L, N))
        left_out = yes(g, *shape, chance=0.2)
        options["attn_mask"] = left_out
        mask[..., :N] &= ~left_out.reshape(-1, heads if len(shape) > 2 else 1, L, N)
        if kind == "float":
            added = normal(g, *shape)
            options["attn_mask"] = added.masked_fill(left_out, -torch.inf)
            bias = F.pad(added.reshape(-1, heads if len(shape) > 2 else 1, L, N), (0, extra)).expand(mask.shape)
            if padded is not None:
                options["key_padding_mask"] = torch.zeros(B, N, dtype=torch.float64).masked_fill(~padded, -torch.inf)
    q, k, _ = multi_head_states(layer, query, key, value)
    alive = mask.any(1)[..., :N].any(-2) if itself else None
    seen = Heads(q, k, q.shape[-1] ** -0.5, mask, bias, alive)
    return layer.eval(), (query, key, value), options, seen


def arranged(layer, rows):
    """Inputs (B, rows, size) as a layer takes them, with those that are one tensor still one."""
    if layer.batch_first:
        return rows
    turned = {id(x): x.transpose(0, 1) for x in rows}
    return [turned[id(x)] for x in rows]


@examples(60)
def test_multi_head_attentions_are_read(seed):
    g = generator(seed)
    layer, rows, options, seen = some_attention(g)
    expected = seen.counted()
    if not len(expected):
        return
    report = read(layer, *arranged(layer, rows), **options, need_weights=bool(yes(g)))
    agree(report.layers[0].sample.nan_to_num(-1.0), expected.nan_to_num(-1.0))


@examples(60)
def test_multi_head_attentions_give_what_they_gave(seed):
    g = generator(seed)
    layer, rows, options, _ = some_attention(g)
    if bool(yes(g)):
        layer.train()
        layer.dropout = 0.4
    mine = {"need_weights": bool(yes(g, chance=0.7)), "average_attn_weights": bool(yes(g))}
    given = arranged(layer, rows)
    torch.manual_seed(seed)
    expected = layer(*given, **options, **mine)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    with HeadLens(layer):
        found = layer(*given, **options, **mine)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    parameters = list(layer.parameters())
    for one, other in zip(
        torch.autograd.grad(found[0].nan_to_num().square().sum(), parameters, allow_unused=True),
        torch.autograd.grad(expected[0].nan_to_num().square().sum(), parameters, allow_unused=True),
        strict=True,
    ):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@examples(40)
def test_multi_head_attentions_by_one_update_give_the_same(seed):
    g = generator(seed)
    layer, rows, options, seen = some_attention(g)
    if not bool(seen.mask.any(-1).all()):
        return  # NaN
    mine = {"need_weights": bool(yes(g, chance=0.7)), "average_attn_weights": bool(yes(g))}
    given = arranged(layer, rows)
    expected = layer(*given, **options, **mine)
    with set_updates(layer, steps=1):
        found = layer(*given, **options, **mine)
    close(found[0], expected[0], 1e-9)
    if mine["need_weights"]:
        close(found[1], expected[1], 1e-9)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_attention_without_a_batch_is_one_of_one_sequence(need_weights, batch_first):
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first).double().eval()
    x = normal(generator(3), 5, 8)
    left_out = torch.tensor([False, False, True, False, True])
    expected = layer(x, x, x, key_padding_mask=left_out, need_weights=need_weights)
    with HeadLens(layer, rows=None, least=1) as lens:
        found = layer(x, x, x, key_padding_mask=left_out, need_weights=need_weights)
    assert torch.equal(found[0], expected[0])
    assert found[1] is expected[1] is None or torch.equal(found[1], expected[1])
    q, k, _ = multi_head_states(layer, x[None], x[None], x[None])
    agree(
        lens.report().layers[0].sample,
        Heads(q, k, 0.5, taken(~left_out[None], causal=False), alive=~left_out[None]).counted(),
    )


def test_positions_in_queries_and_keys_alone_leave_it_self_attention():
    """As detection transformers do: queries and keys are one tensor, and values another."""
    for batch_first in (False, True):
        layer = nn.MultiheadAttention(8, 2, batch_first=batch_first).double().eval()
        x = normal(generator(4), 3, 6, 8)
        placed, left_out = x + 1, torch.arange(6) >= torch.tensor([[6], [4], [2]])
        given = arranged(layer, (placed, placed, x))
        assert read(layer, *given, key_padding_mask=left_out).layers[0].rows == 12


def test_what_weights_are_replaced_by_is_returned():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, add_zero_attn=True, add_bias_kv=True).double().eval()
    x = normal(generator(5), 2, 6, 8)
    left_out = torch.arange(6) >= torch.tensor([[6], [4]])
    plain = layer(x, x, x, key_padding_mask=left_out, average_attn_weights=False)
    with replace_heads(layer, {"": [1]}, with_="uniform"):
        output, weights = layer(x, x, x, key_padding_mask=left_out, average_attn_weights=False)
    close(weights[:, 0], plain[1][:, 0], 1e-9)
    mean = (~left_out).double() / (~left_out).sum(-1, keepdim=True)
    close(weights[:, 1, :, :6], (~left_out).unsqueeze(-1) * mean.unsqueeze(1), 1e-9)
    assert not weights[:, 1, :, 6:].any()
    _, _, v = multi_head_states(layer, x, x, x)
    assert v.shape[2] == 8
    close(output, layer.out_proj((weights @ v).transpose(1, 2).flatten(2)), 1e-9)


# --------------------------------------------------------------------------------------------- transformers of torch


def inputs_of(model, kind, given):
    """What the attentions of a model are called with, by name."""
    found = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, args, options, name=name: found.update({name: (args, options)}), with_kwargs=True
        )
        for name, module in model.named_modules()
        if isinstance(module, kind)
    ]
    with torch.no_grad():
        model(*given[0], **given[1])
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # torch tells that it has no fast path for these,
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # or what it makes of padding in it
def test_encoders_of_torch_are_read(training, norm_first, batch_first):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2).double().train(training)
    x, left_out = normal(generator(6), 3, 7, 8), torch.arange(7) >= torch.tensor([[7], [3], [5]])
    given = x if batch_first else x.transpose(0, 1)
    alive = ~left_out if batch_first else ~left_out.T
    # fast path and all, in which torch leaves zeros where padding is
    with torch.no_grad():
        expected = model(given, src_key_padding_mask=left_out)
        with HeadLens(model, rows=None, least=1) as lens:
            found = model(given, src_key_padding_mask=left_out)
    close(found[alive], expected[alive], 1e-9)
    report = lens.report()
    assert [one.name for one in report.layers] == ["layers.0.self_attn", "layers.1.self_attn"]
    for name, (args, _) in inputs_of(
        model.train(), nn.MultiheadAttention, ((given,), {"src_key_padding_mask": left_out})
    ).items():
        rows = args[0] if batch_first else args[0].transpose(0, 1)
        q, k, _ = multi_head_states(model.get_submodule(name), rows, rows, rows)
        agree(report[name].sample, Heads(q, k, 0.5, taken(~left_out, causal=False), alive=~left_out).counted())


@pytest.mark.parametrize("training", [True, False])
def test_decoders_of_torch_are_read(training):
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerDecoder(layer, 2).double().train(training)
    x, memory = normal(generator(7), 2, 5, 8), normal(generator(8), 2, 5, 8)
    left_out = torch.arange(5) >= torch.tensor([[5], [3]])
    options = {
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64),
        "tgt_is_causal": True,
        "memory_key_padding_mask": left_out,
    }
    expected = model(x, memory, **options)
    with HeadLens(model, rows=None, least=1) as lens:
        assert torch.equal(model(x, memory, **options), expected)
    report = lens.report()
    seen = inputs_of(model, nn.MultiheadAttention, ((x, memory), options))
    assert {one.name for one in report.layers} == set(seen)
    for name, (args, _) in seen.items():
        q, k, _ = multi_head_states(model.get_submodule(name), *args[:3])
        mask = taken(~left_out, causal=False) if "multihead" in name else taken(torch.ones(2, 5), causal=True)
        agree(report[name].sample, Heads(q, k, 0.5, mask).counted())


def test_layers_alone_get_no_nested_tensors_without_a_word():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x, left_out = torch.randn(2, 4, 8), torch.arange(4) >= torch.tensor([[4], [3]])
    with HeadLens(model.layers[1]), torch.no_grad():
        model(x)
        with pytest.raises(
            HopfieldError,
            match=r"TransformerEncoderLayer got a nested tensor.*attach to the whole nn\.TransformerEncoder",
        ):
            model(x, src_key_padding_mask=left_out)
    plain = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with HeadLens(plain.layers[1], rows=None, least=1) as lens, torch.no_grad():
        plain(x, src_key_padding_mask=left_out)
    assert lens.report().layers[0].rows == 7


# -------------------------------------------------------------------------------------------------------- around a call


def test_modes_of_others_stay_where_they_are():
    seen = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    model, x = Projects(), torch.randn(2, 3, 16)
    with HeadLens(model) as lens, Mode():
        model(x)
        assert len(torch.overrides._get_current_function_mode_stack()) == 1
    assert F.scaled_dot_product_attention in seen
    assert lens.report().layers[0].rows == 6
    assert not torch.overrides._get_current_function_mode_stack()


def test_threads_do_not_mix():
    from concurrent.futures import ThreadPoolExecutor

    model = nn.Sequential(Projects(2), Projects(4)).double()
    batches = [normal(generator(n), 2, 6, 16) for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        expected = [model(x) for x in batches]
        with set_updates(model, steps=1):
            found = list(pool.map(model, batches))
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-9)


def test_a_model_that_calls_itself_is_read_at_every_depth():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Projects()

        def forward(self, x, depth=2):
            return self.attention(self(x, depth - 1)) if depth else x

    report = read(Deep(), torch.randn(2, 5, 16))
    assert [(layer.name, layer.rows) for layer in report.layers] == [("attention", 20)]


def test_weights_of_an_own_call_are_not_mixed_with_those_of_torch():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            own = F.scaled_dot_product_attention(x, x, x)
            output, weights = F.multi_head_attention_forward(
                *(x.transpose(0, 1),) * 3,
                8,
                2,
                self.layer.in_proj_weight,
                self.layer.in_proj_bias,
                None,
                None,
                False,
                0.0,
                self.layer.out_proj.weight,
                self.layer.out_proj.bias,
            )
            return own + output.transpose(0, 1), weights, F.scaled_dot_product_attention(x, x, x)

    model, x = Both(), torch.randn(2, 5, 8)
    expected = model(x)
    with HeadLens(model, rows=None) as lens:
        found = model(x)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert [(layer.name, layer.heads) for layer in lens.report().layers] == [("", 1), ("#2", 2), ("#3", 1)]


def test_gradient_checkpoints_are_counted_once():
    from torch.utils.checkpoint import checkpoint

    model, x = Projects().double(), normal(generator(9), 2, 6, 16).requires_grad_()
    expected = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    for reentrant, change in itertools.product((False, True), (HeadLens, lambda m: set_updates(m, steps=1))):
        with change(model) as lens:
            loss = checkpoint(model, x, use_reentrant=reentrant).square().sum()
            loss.backward(inputs=None)
            found = [tensor.grad for tensor in (x, *model.parameters())]
            if isinstance(lens, HeadLens):
                assert lens.report().layers[0].rows == 12
        for one, other in zip(found, expected, strict=True):
            close(one, other, 1e-9)
        for tensor in (x, *model.parameters()):
            tensor.grad = None


def test_heads_are_those_of_the_split():
    assert split(torch.arange(12.0).reshape(1, 2, 6), 3)[0, 1].tolist() == [[2.0, 3.0], [8.0, 9.0]]
