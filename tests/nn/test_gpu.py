"""The layers on a CUDA device: the numbers of the processor, without waiting for any of them."""

import copy

import pytest
import torch

from hopfield import Bags, Hopfield, HopfieldLayer, HopfieldPooling
from tests.nn.catalogue import close

pytestmark = pytest.mark.gpu

LAYERS = {
    "hopfield": lambda **options: Hopfield(16, heads=2, **options),
    "pooling": lambda **options: HopfieldPooling(16, heads=2, states=3, **options),
    "lookup": lambda **options: HopfieldLayer(16, patterns=5000, heads=2, **options),
}
OPTIONS = [
    {},
    {"steps": 3},
    {"beta": "learned"},
    {"norm": None},
    {"separation": "softmax1"},
    {"extra": ("bias", "zero")},
]


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


def outcome(layer, rows, mask):
    """Output, and the gradients of the input and of all parameters, on the processor."""
    rows = rows.clone().requires_grad_()
    masks = {} if isinstance(layer, HopfieldLayer) else {"stored_mask": mask}
    output = layer(rows, **masks)
    gradients = torch.autograd.grad(output.square().sum(), [rows, *layer.parameters()])
    return [tensor.cpu() for tensor in (output, *gradients)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("count", [7, 3000])
def test_the_numbers_are_those_of_the_processor(cuda, name, options, count):
    layer = LAYERS[name](**options).double()
    rows, mask = torch.randn(2, count, 16, dtype=torch.double), torch.rand(2, count) < 0.8
    expected = outcome(layer, rows, mask)
    result = outcome(copy.deepcopy(layer).to(cuda), rows.to(cuda), mask.to(cuda))
    for one, other in zip(result, expected, strict=True):
        close(one, other, 1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_a_forward_pass_waits_for_nothing(cuda, name, options):
    layer = LAYERS[name](**options).to(cuda)
    rows, mask = torch.randn(2, 3000, 16, device=cuda), torch.rand(2, 3000, device=cuda) < 0.8
    masks = {} if name == "lookup" else {"stored_mask": mask}
    layer(rows, **masks)  # what libraries load on first use may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        layer(rows, **masks).square().sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bags_are_padded_tensors(cuda):
    layer = HopfieldPooling(16, heads=2).to(cuda)
    bags = Bags.from_list([torch.randn(n, 16) for n in (3, 0, 5000, 41)]).to(cuda)
    padded, mask = bags.to_padded()
    close(layer(bags), layer(padded, stored_mask=mask), 1e-5)
