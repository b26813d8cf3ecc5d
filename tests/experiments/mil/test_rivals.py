import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from hopfield import Bags
from hopfield.experiments.mil.rivals import BagKernelSVM, GatedAttention, MaxPooling, MeanPooling

SIZE = 5
POOLINGS = [MeanPooling, MaxPooling, lambda: GatedAttention(SIZE, 4)]


def some_bags(*sizes):
    return Bags.from_list([torch.randn(size, SIZE) for size in sizes])


@pytest.mark.parametrize("make", POOLINGS)
def test_pooling_bags_is_pooling_each_alone(make):
    pooling, bags = make(), some_bags(3, 1, 7, 3, 2)
    alone = torch.cat([pooling(bags[i : i + 1]) for i in range(len(bags))])
    torch.testing.assert_close(pooling(bags), alone)


@pytest.mark.parametrize("make", POOLINGS)
def test_stacked_poolings_are_each_alone(make):
    bags = some_bags(3, 5)
    poolings = [make() for _ in range(3)]
    if not list(poolings[0].parameters()):
        together = vmap(lambda rows: poolings[0](bags.with_instances(rows)))(bags.instances.expand(3, -1, -1))
    else:
        together = vmap(lambda *state: functional_call(poolings[0], state, (bags,)))(*stack_module_state(poolings))
    torch.testing.assert_close(together, torch.stack([pooling(bags) for pooling in poolings]))


def test_mean_and_max_are_those_of_the_bag():
    bags = some_bags(3, 1, 6)
    torch.testing.assert_close(MeanPooling()(bags), torch.stack([bag.mean(0) for bag in bags]))
    torch.testing.assert_close(MaxPooling()(bags), torch.stack([bag.amax(0) for bag in bags]))


def test_the_set_kernel_is_the_sum_over_all_pairs():
    bags, gamma = some_bags(3, 1, 4), 0.7
    training = torch.tensor([True, True, False])
    learnt = torch.cat([bags[0], bags[1]]).double()
    rows = ((bags.instances.double() - learnt.mean(0)) / learnt.std(0, correction=0)).clamp(-5, 5)
    parts = rows.split(bags.sizes.tolist())
    sums = torch.tensor([[torch.exp(-gamma / SIZE * torch.cdist(a, b) ** 2).sum() for b in parts] for a in parts])
    expected = sums / (sums.diag().sqrt() * sums.diag().sqrt().unsqueeze(1))
    np.testing.assert_allclose(BagKernelSVM.kernel(bags, training, gamma), expected, rtol=1e-4)


def test_the_machine_learns_from_the_training_part_alone():
    bags = some_bags(*[2] * 12)
    labels = np.array([0, 1] * 6)
    training = np.arange(12) < 8
    kernel = BagKernelSVM.kernel(bags, torch.from_numpy(training), 1.0)
    decisions = BagKernelSVM.decide(kernel, labels, training, 10.0)
    other = np.where(training, labels, 1 - labels)
    np.testing.assert_array_equal(decisions, BagKernelSVM.decide(kernel, other, training, 10.0))
