"""Inverse temperatures: learned, one per head, and what is refused."""

import copy
import math

import pytest
import torch
from torch import nn

from hopfield import Hopfield, HopfieldLayer, HopfieldPooling
from hopfield.errors import HopfieldError
from hopfield.nn.beta import LearnedBeta, settle_beta
from tests.core.catalogue import generator, normal
from tests.nn.catalogue import alone, close, unlike

each_initial = pytest.mark.parametrize("initial", [0.4, [0.4, 1.5]], ids=repr)


def layers(beta, **options):
    """The three layers as functions of one input, (2, 5, 4)."""
    g = generator(0)
    hopfield = unlike(Hopfield(4, heads=2, beta=copy.deepcopy(beta), **options), g)
    pooling = unlike(HopfieldPooling(4, states=2, heads=2, beta=copy.deepcopy(beta), **options), g)
    lookup = unlike(HopfieldLayer(4, patterns=6, heads=2, beta=copy.deepcopy(beta), **options), g)
    return hopfield, pooling, lookup


@each_initial
def test_it_starts_at_the_given_number_and_is_the_exponential(initial):
    beta = LearnedBeta(initial)
    close(beta(), torch.tensor(initial), 1e-6)
    close(beta().log(), beta.log_beta, 1e-6)
    assert [name for name, _ in beta.named_parameters()] == ["log_beta"]
    assert beta.log_beta.shape == torch.tensor(initial).shape
    close(LearnedBeta(torch.tensor(initial))(), beta(), 1e-6)


@each_initial
@pytest.mark.parametrize("steps", [1, 3, (1, 2)], ids=repr)
@pytest.mark.parametrize("separation", ["softmax", "entmax"])
@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_its_gradient_is_that_of_finite_differences(initial, steps, separation, similarity):
    rows = normal(generator(1), 2, 5, 4)
    for layer in layers(LearnedBeta(initial), steps=steps, separation=separation, similarity=similarity):
        beta = (layer if isinstance(layer, Hopfield) else layer.hopfield).beta

        def output(log_beta, layer=layer, beta=beta):
            names = [name for name, parameter in layer.named_parameters() if parameter is beta.log_beta]
            return torch.func.functional_call(layer, {names[0]: log_beta}, (rows,))

        assert torch.autograd.gradcheck(output, (beta.log_beta.detach().clone().requires_grad_(),))


def test_its_gradient_at_a_fixed_point_is_that_of_finite_differences():
    rows = normal(generator(2), 2, 5, 4)
    for layer in layers(LearnedBeta([0.1, 0.2]), steps=None, tol=1e-12):
        beta = (layer if isinstance(layer, Hopfield) else layer.hopfield).beta
        layer(rows).sum().backward()
        found = beta.log_beta.grad.clone()
        for h in range(2):
            sums = []
            for nudge in (1e-5, -1e-5):
                with torch.no_grad():
                    beta.log_beta[h] += nudge
                    sums.append(layer(rows).sum())
                    beta.log_beta[h] -= nudge
            close(found[h], (sums[0] - sums[1]) / 2e-5, 1e-4)


@each_initial
def test_it_is_trained(initial):
    rows = normal(generator(3), 2, 5, 4)
    target = normal(generator(4), 2, 2, 4)
    for layer in layers(LearnedBeta(initial)):
        beta = (layer if isinstance(layer, Hopfield) else layer.hopfield).beta

        def loss(layer=layer):
            return (layer(rows)[:, :2] - target).square().mean()

        before = loss()
        optimizer = torch.optim.SGD([beta.log_beta], 0.05)
        start = beta().detach().clone()
        before.backward()
        optimizer.step()
        assert loss() < before
        assert not torch.equal(beta(), start)
        assert (beta() > 0).all()


@each_initial
def test_a_large_step_keeps_it_positive(initial):
    beta = LearnedBeta(initial)
    optimizer = torch.optim.SGD(beta.parameters(), 20.0)
    beta().sum().backward()
    optimizer.step()
    assert (beta() > 0).all()


@each_initial
def test_it_is_saved_with_the_layer(initial):
    rows = normal(generator(5), 2, 5, 4)
    for layer in layers(LearnedBeta(initial)):
        fresh = copy.deepcopy(layer)
        beta = (fresh if isinstance(fresh, Hopfield) else fresh.hopfield).beta
        with torch.no_grad():
            beta.log_beta.fill_(2.0)
        assert not torch.allclose(fresh(rows), layer(rows))
        state = layer.state_dict()
        assert any(name.endswith("beta.log_beta") for name in state)
        fresh.load_state_dict(state)
        close(fresh(rows), layer(rows), 0.0)


def test_given_numbers_per_head_are_saved_and_not_learned():
    rows = normal(generator(5), 2, 5, 4)
    for layer in layers([0.4, 1.5]):
        assert not any("beta" in name for name, _ in layer.named_parameters())
        assert any(name.endswith("beta") for name in layer.state_dict())
        fresh = copy.deepcopy(layer)
        hopfield = fresh if isinstance(fresh, Hopfield) else fresh.hopfield
        hopfield.beta.fill_(1.0)
        fresh.load_state_dict(layer.state_dict())
        close(fresh(rows), layer(rows), 0.0)


@pytest.mark.parametrize("learned", [False, True], ids=["tensor", "learned"])
@pytest.mark.parametrize("steps", [1, 3, (1, 3)], ids=repr)
@pytest.mark.parametrize("count", [5, 2100])
def test_every_head_has_its_own(learned, steps, count):
    g = generator(6)
    beta = LearnedBeta([0.4, 1.5]) if learned else [0.4, 1.5]
    layer = HopfieldPooling(4, heads=2, states=2, beta=beta, steps=steps, project=("state", "stored", "value"))
    layer = unlike(layer, g)
    stored = normal(g, 2, count, 4)
    together = layer(stored)
    for h in range(2):
        single = alone(layer.hopfield, h)
        close(together[..., 2 * h : 2 * h + 2], single(layer.states.expand(2, 2, 4), stored))


def test_one_number_is_the_same_however_it_is_given():
    rows = normal(generator(7), 2, 5, 4)
    ways = (0.75, torch.tensor(0.75), torch.tensor([0.75]), [0.75, 0.75], LearnedBeta(0.75), LearnedBeta([0.75] * 2))
    outputs = [[layer(rows) for layer in layers(beta)] for beta in ways]
    for output in outputs[1:]:
        for one, other in zip(output, outputs[0], strict=True):
            close(one, other, 1e-6)


def test_the_default_is_that_of_attention():
    assert Hopfield(16, heads=4).beta == 1 / math.sqrt(4)
    assert settle_beta(None, 9, 2) == 1 / 3


def test_it_is_a_copy_of_the_given_tensor():
    given = torch.tensor([0.5, 1.0])
    layer = Hopfield(4, heads=2, beta=given)
    given.fill_(7.0)
    assert layer.beta.tolist() == [0.5, 1.0]


class Fixed(nn.Module):
    """A beta of a user's own."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self):
        return self.result


def test_any_module_may_give_it():
    rows = normal(generator(8), 2, 5, 4)
    for one, other in zip(layers(Fixed(torch.tensor([0.5, 2.0]))), layers([0.5, 2.0]), strict=True):
        close(one(rows), other(rows))


@pytest.mark.parametrize(
    ("initial", "text"),
    [
        (0.0, "beta must be finite and above 0 everywhere, got a tensor with 0.0"),
        ([1.0, -2.0], "beta must be finite and above 0 everywhere, got a tensor with -2.0"),
        (math.nan, "beta must be finite and above 0 everywhere, got a tensor with nan"),
        ([[1.0]], r"LearnedBeta: expected one number or one per head, got shape \(1, 1\)"),
    ],
    ids=repr,
)
def test_wrong_starts_are_refused(initial, text):
    with pytest.raises(HopfieldError, match=text):
        LearnedBeta(initial)


@pytest.mark.parametrize(
    ("beta", "text"),
    [
        (0, "beta must be a finite number above 0 or a tensor of such, got 0"),
        (-1.0, "beta must be a finite number above 0 or a tensor of such, got -1.0"),
        (math.inf, "beta must be a finite number above 0 or a tensor of such, got inf"),
        ("1", "beta must be a number, one per head, \"learned\" or a module, got '1'"),
        ([1.0, 2.0, 3.0], r"beta must be one number or one per head, \(2,\); got shape \(3,\)"),
        (torch.ones(2, 1), r"beta must be one number or one per head, \(2,\); got shape \(2, 1\)"),
        ([1.0, -1.0], "beta must be finite and above 0 everywhere, got a tensor with -1.0"),
        (nn.Parameter(torch.tensor(1.0)), r"a parameter would not stay positive; use beta=LearnedBeta\(initial\)"),
        (LearnedBeta([1.0] * 3), r"a module must return a tensor of shape \(\) or \(2,\), one per head; got \(3,\)"),
        (Fixed(1.0), r"a module must return a tensor of shape \(\) or \(2,\), one per head; got float"),
    ],
    ids=repr,
)
def test_wrong_numbers_are_refused(beta, text):
    for make in (Hopfield, HopfieldPooling):
        with pytest.raises(HopfieldError, match=text):
            make(4, heads=2, beta=beta)
    with pytest.raises(HopfieldError, match=text):
        HopfieldLayer(4, patterns=3, heads=2, beta=beta)


def test_learned_by_name_starts_at_the_default():
    layer, plain = Hopfield(8, heads=2, beta="learned"), Hopfield(8, heads=2)
    assert isinstance(layer.beta, LearnedBeta)
    close(layer.beta(), torch.full((2,), 0.5))
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if "beta" not in name})
    rows = torch.randn(2, 5, 8)
    close(layer(rows), plain(rows))
    with pytest.raises(HopfieldError, match='beta must be a number, one per head, "learned"'):
        Hopfield(8, beta="high")
