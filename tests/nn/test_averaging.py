"""Gaussian averaging: the formula, masks as deletions, causality, and the ways PyTorch may run it."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from hopfield.errors import HopfieldError
from hopfield.nn.averaging import GaussianAveraging
from tests.core.catalogue import examples, generator, integer, normal, one_of, yes

BOTH = pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def layer_of(g=None, *, dtype=torch.float64, size=6, length=7, heads=3, **options):
    """A layer in which no two parameters are equal."""
    layer = GaussianAveraging(size, length=length, heads=heads, **options).to(dtype)
    g = g or generator(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(g, *parameter.shape) * 0.6)
    return layer.eval()


def some_layer(g, **options):
    return layer_of(
        g,
        causal=one_of(g, False, True),
        value_size=one_of(g, None, 4),
        output_size=one_of(g, None, 5),
        bias=one_of(g, False, True),
        **options,
    )


def textbook(layer, tokens):
    """The weights with loops, (h, N, N)."""
    mean, width = layer.mean.detach().numpy(), layer.width.detach().numpy()
    N = layer.length if layer.causal else tokens
    A = np.zeros((layer.heads, tokens, tokens))
    for h in range(layer.heads):
        for i in range(tokens):
            for j in range(i + 1 if layer.causal else tokens):
                s = (j - 0.5 * (N - 1)) / (0.5 * (N - 1)) if N > 1 else 0.0
                A[h, i, j] = math.exp(-(((s - mean[h, i]) / width[h, i]) ** 2) / 2)
            A[h, i] /= A[h, i].sum()
    return torch.from_numpy(A)


# -------------------------------------------------------------------------------------------------------- the formula


@BOTH
@pytest.mark.parametrize("tokens", [1, 2, 5, 7])
def test_weights_are_the_formula(causal, tokens):
    layer = layer_of(causal=causal)
    close(layer.association_weights(tokens), textbook(layer, tokens))
    close(layer.association_weights(), textbook(layer, 7))
    close(layer.association_weights(tokens).sum(-1), torch.ones(3, tokens).double())


@BOTH
def test_output_is_the_weighted_mean_of_projected_tokens(causal):
    layer, x = layer_of(causal=causal, value_size=4, output_size=5), normal(generator(1), 2, 5, 6)
    values = layer.project_value(x).view(2, 5, 3, 4)
    A = textbook(layer, 5)
    means = torch.stack([A[h] @ values[:, :, h] for h in range(3)], -2)
    result, weights = layer(x, return_weights=True)
    close(result, layer.project_output(means.flatten(-2)))
    close(weights, A.expand(2, 3, 5, 5))
    assert weights.stride(0) == 0  # one for the whole batch
    assert result.shape == (2, 5, 5)


@pytest.mark.parametrize("project", [(), "value", ("output",), ["output", "value"]], ids=repr)
def test_projections_may_be_left_out(project):
    layer, x = layer_of(project=project), normal(generator(2), 5, 6)
    values = layer.project_value(x) if "value" in project else x
    means = torch.cat([A @ part for A, part in zip(textbook(layer, 5), values.chunk(3, -1), strict=True)], -1)
    close(layer(x), layer.project_output(means) if "output" in project else means)
    assert (layer.project_value is not None, layer.project_output is not None) == (
        "value" in project,
        "output" in project,
    )
    assert layer.output_size == 6


def test_initial_values():
    layer = GaussianAveraging(8, length=9, heads=4)
    close(layer.mean, torch.linspace(-1, 1, 9).expand(4, 9), 1e-6)
    close(layer.width[:, 0], torch.tensor([1.0, 0.25 ** (1 / 3), 0.25 ** (2 / 3), 0.25]), 1e-6)
    close(layer.width, layer.width[:, :1].expand(4, 9))
    close(GaussianAveraging(8, length=512).width, torch.ones(1, 512))
    close(GaussianAveraging(8, length=1, heads=2).width, torch.ones(2, 1))
    assert GaussianAveraging(8, length=1).mean.tolist() == [[0.0]]


def test_parameters_and_their_reset():
    layer = GaussianAveraging(6, length=4, heads=2, value_size=5, output_size=3)
    shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
    assert shapes == {
        "mean": (2, 4),
        "log_width": (2, 4),
        "project_value.weight": (10, 6),
        "project_value.bias": (10,),
        "project_output.weight": (3, 10),
        "project_output.bias": (3,),
    }
    torch.manual_seed(3)
    layer.reset_parameters()
    torch.manual_seed(3)
    other = GaussianAveraging(6, length=4, heads=2, value_size=5, output_size=3)
    for name, value in other.state_dict().items():
        close(layer.state_dict()[name], value)
    assert set(dict(GaussianAveraging(6, length=4, project=()).named_parameters())) == {"mean", "log_width"}
    assert not any("bias" in name for name in GaussianAveraging(6, length=4, bias=False).state_dict())


# -------------------------------------------------------------------------------------------------- what is always true


@examples(15)
def test_a_masked_token_is_a_deleted_token(seed):
    g = generator(seed)
    layer, x, mask = some_layer(g), normal(g, 4, 7, 6), yes(g, 4, 7, chance=0.7)
    poisoned = x.masked_fill(~mask.unsqueeze(-1), one_of(g, 1e3, math.nan, math.inf))
    result, weights = layer(poisoned, stored_mask=mask, return_weights=True)
    close(layer.association_weights(mask=mask), weights)
    close(weights.sum(-1), mask.double().unsqueeze(1).expand(4, 3, 7))
    for row, (sequence, kept) in enumerate(zip(x, mask, strict=True)):
        expected, A = layer(sequence[kept], return_weights=True)
        close(result[row, kept], expected)
        close(weights[row][:, kept][:, :, kept], A)
        assert not result[row, ~kept].any()
        assert not weights[row][:, ~kept].any()
        assert not weights[row][:, :, ~kept].any()


@examples(10)
def test_padding_is_deletion(seed):
    g = generator(seed)
    layer, sizes = some_layer(g), [integer(g, 0, 7) for _ in range(3)]
    sequences = [normal(g, size, 6) for size in sizes]
    padded = torch.nn.utils.rnn.pad_sequence([*sequences, normal(g, 7, 6)], batch_first=True, padding_value=9.0)[:3]
    together = layer(padded, stored_mask=torch.arange(7) < torch.tensor(sizes)[:, None])
    for row, (sequence, size) in enumerate(zip(sequences, sizes, strict=True)):
        close(together[row, :size], layer(sequence))


@examples(10)
def test_a_batch_is_a_loop(seed):
    g = generator(seed)
    layer, tokens = some_layer(g), integer(g, 0, 7)
    x, mask = normal(g, 2, 3, tokens, 6), yes(g, 2, 3, tokens, chance=0.7)
    plain, masked = layer(x), layer(x, stored_mask=mask)
    for i in range(2):
        for j in range(3):
            close(plain[i, j], layer(x[i, j]))
            close(masked[i, j], layer(x[i, j], stored_mask=mask[i, j]))
    close(layer(x, stored_mask=torch.ones_like(mask)), plain)


@examples(10)
def test_causal_output_of_a_prefix_is_the_prefix_of_the_output(seed):
    g = generator(seed)
    layer, x, mask, first = layer_of(g, causal=True), normal(g, 2, 7, 6), yes(g, 2, 7), integer(g, 0, 7)
    close(layer(x[:, :first]), layer(x)[:, :first])
    whole = layer(x, stored_mask=mask)
    close(layer(x[:, :first], stored_mask=mask[:, :first]), whole[:, :first])
    later = torch.cat([x[:, :first], normal(g, 2, 7 - first, 6)], 1)
    close(layer(later)[:, :first], layer(x)[:, :first])


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 1), (3, 5), (2, 1, 5), (2, 1, 1), (1, 3, 5), (2, 3, 5)])
@BOTH
def test_masks_of_every_shape_that_broadcasts(shape, causal):
    g = generator(4)
    layer, x, mask = layer_of(causal=causal), normal(g, 2, 3, 5, 6), yes(g, *shape, chance=0.7)
    result, weights = layer(x, stored_mask=mask, return_weights=True)
    expected = layer(x, stored_mask=mask.expand(2, 3, 5), return_weights=True)
    close(result, expected[0])
    close(weights, expected[1])
    assert weights.shape == (2, 3, 3, 5, 5)


@BOTH
def test_nothing_to_average_gives_zeros_and_finite_gradients(causal):
    layer, x = layer_of(causal=causal), normal(generator(5), 2, 5, 6).requires_grad_()
    mask = torch.tensor([[False] * 5, [True] * 3 + [False] * 2])
    result = layer(x, stored_mask=mask)
    assert not result[0].any()
    result.square().sum().backward()
    for tensor in (x, *layer.parameters()):
        assert tensor.grad.isfinite().all()
    assert not x.grad[~mask].any()
    assert x.grad[mask].any()


@BOTH
def test_empty_sequences_and_batches(causal):
    layer = layer_of(causal=causal)
    for shape in ((0, 6), (2, 0, 6), (0, 5, 6), (0, 3, 0, 6)):
        x = torch.zeros(shape).double()
        for mask in (None, torch.ones(shape[:-1]).bool()):
            result, weights = layer(x, stored_mask=mask, return_weights=True)
            assert result.shape == shape
            assert weights.shape == (*shape[:-2], 3, shape[-2], shape[-2])
    assert layer.association_weights(0).shape == (3, 0, 0)


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)], ids=repr)
def test_the_batch_may_come_second(batch):
    g = generator(6)
    layer, other = layer_of(), layer_of(batch_first=False)
    x, mask = normal(g, *batch, 5, 6), yes(g, *batch, 5)
    for options in ({}, {"stored_mask": mask}):
        expected, A = layer(x, return_weights=True, **options)
        result, weights = other(x.movedim(-2, 0), return_weights=True, **options)
        close(result.movedim(0, -2), expected)
        close(weights, A)


@pytest.mark.parametrize("log_width", [-1e4, -60.0, 60.0, 1e4])
@pytest.mark.parametrize("mean", [-1e4, 0.3, 1e4])
def test_extreme_parameters_stay_finite(log_width, mean):
    layer = layer_of(dtype=torch.float32)
    with torch.no_grad():
        layer.log_width.fill_(log_width)
        layer.mean.fill_(mean)
    x = torch.randn(2, 5, 6, requires_grad=True)
    layer(x, stored_mask=torch.tensor([True] * 4 + [False])).sum().backward()
    for tensor in (x, *layer.parameters()):
        assert tensor.grad.isfinite().all()
    weights = layer.association_weights(5)
    close(weights.sum(-1), torch.ones(3, 5), 1e-6)
    if log_width > 0:
        close(weights, torch.full((3, 5, 5), 0.2), 1e-6)
    else:
        assert (weights.argmax(-1) == {-1e4: 0, 0.3: 3, 1e4: 4}[mean]).all()


def test_dropout_drops_weights_of_each_sequence_in_training_only():
    layer, x = layer_of(dropout=0.5, project=()), torch.ones(64, 7, 6).double()
    close(layer(x), x)
    layer.train()
    result, weights = layer(x, return_weights=True)
    close(weights.sum(-1), torch.ones(64, 3, 7).double())
    assert len({tuple(row) for row in result.detach().flatten(1).tolist()}) == 64
    assert abs(float(result.detach().mean()) - 1) < 0.1


# --------------------------------------------------------------------------------------------- gradients and precision


@BOTH
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_gradcheck(causal, masked):
    g = generator(7)
    layer = layer_of(causal=causal, size=4, heads=2, length=5)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    mask = torch.tensor([[True, True, False, True], [False, False, False, False]]) if masked else None

    def run(x, *values):
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,), {"stored_mask": mask})

    assert torch.autograd.gradcheck(run, (normal(g, 2, 4, 4).requires_grad_(), *parameters))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@BOTH
def test_half_precision(dtype, causal):
    layer = layer_of(causal=causal).to(dtype)
    x, mask = normal(generator(8), 2, 7, 6).to(dtype), torch.arange(7) < torch.tensor([[7], [4]])
    result, weights = layer(x, stored_mask=mask, return_weights=True)
    exact = copy.deepcopy(layer).double()
    expected, A = exact(x.double(), stored_mask=mask, return_weights=True)
    assert result.dtype == weights.dtype == layer.association_weights().dtype == dtype
    close(result.double(), expected, 4e-2)
    # computed in float32: off by one rounding only
    close(weights.double(), A, torch.finfo(dtype).eps)


def test_autocast():
    layer, x = layer_of(dtype=torch.float32), torch.randn(2, 5, 6)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    expected = layer(x, stored_mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(x, stored_mask=mask)
        layer(x.bfloat16())
    assert result.dtype == torch.bfloat16
    close(result.float(), expected, 4e-2)


# ---------------------------------------------------------------------------------------------- ways PyTorch may run it


def options_of(mask):
    return {} if mask is None else {"stored_mask": mask}


PADDED = torch.arange(5) < torch.tensor([[5], [3], [0]])
MASKS = pytest.mark.parametrize("mask", [None, PADDED], ids=["whole", "padded"])


@MASKS
@BOTH
def test_one_graph(mask, causal):
    layer, x = layer_of(dtype=torch.float32, causal=causal), torch.randn(3, 5, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, result = layer(x, **options_of(mask)), compiled(x, **options_of(mask))
    close(result, expected, 1e-5)
    gradients = torch.autograd.grad(expected.square().sum(), list(layer.parameters()))
    others = torch.autograd.grad(result.square().sum(), list(layer.parameters()))
    for one, other in zip(others, gradients, strict=True):
        close(one, other, 1e-4)


def test_one_graph_for_all_shapes_and_under_autocast():
    layer = layer_of(dtype=torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch, tokens in ((3, 5), (4, 6), (2, 7)):
        x, mask = torch.randn(batch, tokens, 6), torch.rand(batch, tokens) < 0.7
        close(compiled(x), layer(x), 1e-5)
        close(compiled(x, stored_mask=mask), layer(x, stored_mask=mask), 1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        close(compiled(x), layer(x), 4e-2)


@pytest.mark.slow  # a C++ compiler runs
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # Inductor itself still uses TorchScript
@MASKS
@BOTH
def test_compiled(mask, causal):
    layer, x = layer_of(dtype=torch.float32, causal=causal), torch.randn(3, 5, 6)
    compiled = torch.compile(layer, fullgraph=True)
    close(compiled(x, **options_of(mask)), layer(x, **options_of(mask)), 1e-5)


@MASKS
def test_exported(mask):
    layer, x = layer_of(dtype=torch.float32), torch.randn(3, 5, 6)
    batch, tokens = torch.export.Dim("batch", min=2), torch.export.Dim("tokens", min=2, max=7)
    shapes = {"x": {0: batch, 1: tokens}, "stored_mask": None if mask is None else {0: batch, 1: tokens}}
    arguments = options_of(mask)
    program = torch.export.export(
        layer, (x,), arguments, dynamic_shapes={name: shapes[name] for name in ("x", *arguments)}
    ).module()
    close(program(x, **arguments), layer(x, **arguments), 1e-5)
    other = torch.randn(4, 6, 6)
    arguments = {} if mask is None else {"stored_mask": torch.rand(4, 6) < 0.7}
    close(program(other, **arguments), layer(other, **arguments), 1e-5)


@MASKS
@BOTH
def test_vmap(mask, causal):
    layer, x = layer_of(causal=causal), normal(generator(9), 3, 5, 6)
    if mask is None:
        close(vmap(layer)(x), layer(x))
    else:
        close(vmap(lambda one, kept: layer(one, stored_mask=kept))(x, mask), layer(x, stored_mask=mask))
    layers = [layer_of(generator(seed), causal=causal) for seed in range(3)]
    together = vmap(lambda *state: functional_call(layer, state, (x,), options_of(mask)))(*stack_module_state(layers))
    for one, each in zip(layers, together, strict=True):
        close(each, one(x, **options_of(mask)))


def test_copies_and_state_dicts():
    layer, x = layer_of(), normal(generator(10), 5, 6)
    other = GaussianAveraging(6, length=7, heads=3).double()
    other.load_state_dict(layer.state_dict())
    close(other(x), layer(x))
    close(copy.deepcopy(layer)(x), layer(x))


def test_meta_device():
    with torch.device("meta"):
        layer = GaussianAveraging(6, length=7, heads=3)
        assert layer(torch.empty(2, 5, 6)).shape == (2, 5, 6)
    layer.to_empty(device="cpu").reset_parameters()
    fresh = GaussianAveraging(6, length=7, heads=3)
    close(layer.mean, fresh.mean, 1e-6)
    close(layer.log_width, fresh.log_width)


def test_repr():
    assert repr(GaussianAveraging(6, length=7, heads=3, project=())) == (
        "GaussianAveraging(6, length=7, heads=3, value_size=2, output_size=6, project=())"
    )
    layer = GaussianAveraging(6, length=7, causal=True, dropout=0.1, batch_first=False, project=["value"])
    assert layer.extra_repr() == (
        "6, length=7, heads=1, value_size=6, output_size=6, causal=True, dropout=0.1, project=('value',), "
        "batch_first=False"
    )


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 0}, "input_size must be a whole number of at least 1, got 0"),
        ({"length": 2.5}, "length must be a whole number of at least 1, got 2.5"),
        ({"heads": True}, "heads must be a whole number of at least 1, got True"),
        ({"heads": 4}, "input_size must be divisible by heads, got 6 and 4; give value_size"),
        ({"value_size": -1}, "value_size must be a whole number of at least 1, got -1"),
        ({"output_size": "6"}, "output_size must be a whole number of at least 1, got '6'"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to below 1, got 1.0"),
        ({"dropout": math.nan}, "dropout must be a number from 0 to below 1, got nan"),
        ({"project": ("query", "value")}, "project must hold names out of 'value', 'output', got 'query'"),
        ({"project": "keys"}, "project must hold names out of 'value', 'output', got 'keys'"),
        ({"project": (1,)}, "project must hold names out of 'value', 'output', got 1"),
        (
            {"project": ("output",), "heads": 2, "value_size": 4},
            r'without the projection "value", heads \* value_size must be input_size = 6, got 2 \* 4 = 8; add "value"',
        ),
        (
            {"project": ("value",), "output_size": 5},
            r'without the projection "output", output_size must be heads \* value_size = 6, got 5; leave it out',
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(HopfieldError, match=message):
        GaussianAveraging(**({"input_size": 6, "length": 7} | options))


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        ([1.0], None, r"x must be a tensor \(\*batch, N, d\), got list; use torch.as_tensor"),
        (torch.zeros(6), None, r"x must be \(\*batch, N, d\), got shape \(6,\)"),
        (torch.zeros(2, 4), None, r"with d = input_size = 6, got shape \(2, 4\); build the layer with input_size=4"),
        (torch.zeros(2, 6).int(), None, r"x must be of a floating-point dtype, got torch.int32; use x.float\(\)"),
        (torch.zeros(2, 6).double(), None, "x must be of the layer's dtype torch.float32, got torch.float64; use x.to"),
        (
            torch.zeros(8, 6),
            None,
            "x must have at most length = 7 tokens, got 8; build the layer with length=8, or",
        ),
        (torch.zeros(2, 6), [True], r"stored_mask must be a tensor \(\*batch, N\), got list; use torch.as_tensor"),
        (torch.zeros(2, 6), torch.ones(2), r"stored_mask must be of dtype bool .*float32; use stored_mask.bool\(\)"),
        (
            torch.zeros(3, 2, 6),
            torch.ones(2, 2).bool(),
            r"stored_mask must broadcast to \(\*batch, N\) = \(3, 2\), got shape \(2, 2\)",
        ),
        (torch.zeros(2, 6), torch.ones(1, 2).bool(), r"must broadcast to \(\*batch, N\) = \(2,\), got shape \(1, 2\)"),
        (torch.zeros(2, 6), torch.ones(2, device="meta").bool(), "must be on one device: the mask is on meta, x is on"),
    ],
)
def test_wrong_inputs(x, mask, message):
    with pytest.raises(HopfieldError, match=message):
        GaussianAveraging(6, length=7)(x, stored_mask=mask)


def test_wrong_inputs_with_the_batch_second():
    layer = GaussianAveraging(6, length=7, batch_first=False)
    assert layer(torch.zeros(3, 9, 6)).shape == (3, 9, 6)
    with pytest.raises(HopfieldError, match="x must have at most length = 7 tokens, got 9"):
        layer(torch.zeros(9, 3, 6))
    with pytest.raises(HopfieldError, match=r"x must be \(N, \*batch, d\), got shape \(6,\)"):
        layer(torch.zeros(6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": -1}, "tokens must be a whole number of at least 0, got -1"),
        ({"tokens": 8}, "tokens must have at most length = 7 tokens, got 8"),
        ({"mask": torch.ones(2, 8).bool()}, "mask must have at most length = 7 tokens, got 8"),
        ({"mask": torch.ones(3)}, "mask must be of dtype bool"),
        ({"mask": torch.tensor(True)}, r"mask must be \(\*batch, N\), got shape \(\); use mask.expand"),
        ({"tokens": 3, "mask": torch.ones(3).bool()}, r"give tokens or mask, got both \(tokens=3\)"),
    ],
)
def test_wrong_sizes_of_weights(arguments, message):
    with pytest.raises(HopfieldError, match=message):
        GaussianAveraging(6, length=7).association_weights(**arguments)
