"""Sums of few terms: how far rounding takes them, with a reference that follows the scores and with a fixed one."""

import pytest
import torch

from hopfield.memory.sums import CarefulSoftmax, summation_error
from tests.core.catalogue import examples, generator, normal


def reference_for(scores, null):
    """A lower bound of the logarithm to base 2 of what all weigh, of any quality."""
    whole = torch.logsumexp(scores.double() * torch.log(torch.tensor(2.0)), -1) / torch.log(torch.tensor(2.0)).double()
    return (whole.clamp(min=0.0) if null else whole).float()


@pytest.mark.parametrize("fixed", [None, "level", "below", "zero"])
@pytest.mark.parametrize("null", [False, True])
@examples(10)
def test_the_mean_is_as_near_as_promised(fixed, null, seed):
    g = generator(seed)
    sizes = [int(size) for size in torch.randint(1, 1500, (25,), generator=g)] if seed % 2 else [4096] * 20 + [77]
    values = (
        normal(g, sum(sizes), 7) if seed % 3 or fixed == "zero" else 1e15 * normal(g, sum(sizes), 7).abs()
    ).float()
    # rising ones ask for other references on the way
    scores = (10 * normal(g, 5, sum(sizes)) + torch.linspace(-30, 30 * (seed % 4 - 1), sum(sizes))).float()
    reference = None if fixed is None else reference_for(scores, null)
    if fixed in ("below", "zero"):
        reference = reference - 20 if fixed == "below" else torch.zeros(5)
    online = CarefulSoftmax(torch.zeros(1, 5, 3), 7, null=null, reference=reference)
    exact = torch.exp2(scores.double())
    for some, own in zip(scores.split(sizes, -1), values.split(sizes), strict=True):
        weights = online.powers(some.unsqueeze(0).clone())
        even = weights.shape[-1] - weights.shape[-1] % 64
        parts = weights[..., :even].unflatten(-1, (-1, 64)).sum(-1)
        online.count(torch.cat([parts, weights[..., even:]], -1))
        online.mix(weights, own.unsqueeze(0))
    whole = exact.sum(-1, keepdim=True) + null
    wanted = exact @ values.double() / whole
    mean = (online.mixed / online.total)[0]
    error, norm = (mean - wanted).norm(dim=-1), float(values.norm(dim=-1).max())
    bound = summation_error(torch.float32, norm, wanted.norm(dim=-1))
    # scores less a reference are rounded as well, which is no part of this
    shift = 0.0 if fixed == "zero" else 2.0**-24 * float(2 * scores.abs().max() + 60) * norm
    assert bool((error <= bound + shift).all())
    level = online.reference[0].double() + online.total[0].log2()
    assert torch.allclose(level, whole.log2(), atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 16, 64])
@pytest.mark.parametrize("states", [1, 512])
def test_many_equal_terms_less_than_the_last_place_of_the_first_are_not_lost(states, width):
    weights = torch.full((1, states, 8192), 0.99 * 2.0**-24)
    weights[..., 0] = 1.0
    online = CarefulSoftmax(torch.zeros(1, states, 3), width, null=False, reference=torch.zeros(states))
    for block in weights.split(512, -1):
        online.mix(block, torch.ones(1, block.shape[-1], width))
    wanted = weights.double().sum(-1, keepdim=True)
    assert bool(((online.mixed - wanted).abs() <= summation_error(torch.float32, 1.0, 0.0) * wanted).all())
