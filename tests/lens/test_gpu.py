"""The lens on a CUDA device: the numbers of the processor, and nothing left behind."""

import copy

import pytest
import torch
from torch import nn

from hopfield import Hopfield
from hopfield.lens import HeadHistory, HeadLens, replace_heads, set_updates
from tests.core.catalogue import generator, normal
from tests.lens.catalogue import (
    BERT,
    T5,
    Projects,
    agree,
    close,
    each_architecture,
    each_side,
    inputs,
    live,
    outputs,
    read,
    transformer,
)

pytestmark = pytest.mark.gpu


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


def moved(given, device):
    return {name: tensor.to(device) for name, tensor in given.items()}


@each_architecture
@each_side
def test_heads_are_read_as_on_the_processor(cuda, architecture, side):
    model, given = transformer(architecture), inputs(architecture, side)
    expected = read(model, **given)
    found = read(copy.deepcopy(model).to(cuda), **moved(given, cuda))
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert one.sample.device.type == one.means.device.type == one.by_class.device.type == "cpu"
        agree(one.sample, other.sample, 1e-5)
        assert one.rows == other.rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_near(cuda, dtype):
    model, x = nn.Sequential(Projects(), Projects()).double(), normal(generator(0), 4, 200, 16)
    expected = read(model, x)
    found = read(copy.deepcopy(model).to(cuda, dtype), x.to(cuda, dtype))
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert one.sample.isfinite().all()
        close(one.means[:, 1:], other.means[:, 1:], 1e-3 if dtype == torch.float32 else 0.1)


def test_nothing_changes_on_the_device(cuda):
    model, given = transformer(BERT).float().to(cuda).train(), moved(inputs(BERT, "right"), cuda)
    torch.manual_seed(0)
    expected, state = outputs(model, given), torch.cuda.get_rng_state()
    torch.manual_seed(0)
    with HeadLens(model) as lens:
        assert torch.equal(outputs(model, given), expected)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    HeadHistory(model, [given], every=1)(0)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert len(lens.report().heads) == 4
    layer = Hopfield(16, heads=2, dropout=0.5).to(cuda)
    x = torch.randn(2, 9, 16, device=cuda)
    torch.manual_seed(0)
    expected, state = layer(x), torch.cuda.get_rng_state()
    torch.manual_seed(0)
    with HeadLens(layer):
        assert torch.equal(layer(x), expected)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@each_architecture
def test_edits_are_made_on_the_device(cuda, architecture):
    model, given = transformer(architecture), inputs(architecture, "right")
    kept = live(architecture, given)
    other, there = copy.deepcopy(model).to(cuda), moved(given, cuda)
    for change in (
        lambda m: set_updates(m, steps=2, beta=0.3),
        lambda m: replace_heads(m, {architecture.layers[0]: [0]}, length=12, causal=architecture.causal),
        lambda m: replace_heads(m, {architecture.layers[1]: [1]}, with_="uniform", causal=architecture.causal),
    ):
        with change(model):
            expected = outputs(model, given)
        with change(other) as edit:
            found = outputs(other, there)
            assert all(p.device.type == "cuda" for p in getattr(edit, "parameters", list)())
        # T5 takes its norms in single precision, whatever its parameters are
        close(found.cpu()[kept], expected[kept], 1e-5 if architecture is T5 else 1e-6)


def test_models_move_with_their_averages(cuda):
    model, x = nn.Sequential(Projects()).double(), normal(generator(1), 2, 6, 16)
    for kind in ("uniform", "gaussian"):
        with replace_heads(model, {"0": [1]}, with_=kind, length=8):
            expected = model(x)
            close(model.to(cuda)(x.to(cuda)).cpu(), expected, 1e-6)
            close(model.cpu()(x), expected, 1e-9)


def test_checkpoints_are_counted_once(cuda):
    from torch.utils.checkpoint import checkpoint

    model, x = Projects().to(cuda), torch.randn(2, 40, 16, device=cuda, requires_grad=True)
    for reentrant in (False, True):
        with HeadLens(model, rows=None) as lens:
            checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
        assert lens.report().layers[0].rows == 80


def test_memory_is_bounded(cuda):
    model = nn.Sequential(Projects()).to(cuda).half()
    x = torch.randn(1, 16384, 16, device=cuda, dtype=torch.half)
    with torch.no_grad():
        model(x)
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.max_memory_allocated()
        with HeadLens(model, rows=None) as lens:
            model(x)
        lens.report()
    # the scores of two heads would take 2 GiB
    assert torch.cuda.max_memory_allocated() - start < 2**29
