"""Small bags and small classifiers that the tests of estimators share."""

import numpy as np
import torch

from hopfield.bags import Bags
from hopfield.estimators import HopfieldBagClassifier

SMALL = {
    "embedding": (8,),
    "heads": 2,
    "head_size": 4,
    "n_estimators": 2,
    "epochs": 2,
    "learning_rate": 0.01,
    "random_state": 0,
}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def classifier(**options):
    return HopfieldBagClassifier(**SMALL | options)


def some_bags(g, count=20, d=3, most=5):
    """A list of bags of 1 to `most` instances, float32."""
    sizes = torch.randint(1, most + 1, (count,), generator=g).tolist()
    return [torch.randn(size, d, generator=g) for size in sizes]


def some_labels(count=20, classes=(0, 1)):
    return np.array([classes[i % len(classes)] for i in range(count)])


def witnesses(g, count, d=4):
    """Bags of 3 to 8 instances; one instance of every second bag is far away in the first column."""
    bags = some_bags(g, count, d, 6)
    bags = [torch.cat([bag, torch.randn(2, d, generator=g)]) for bag in bags]
    for bag in bags[1::2]:
        bag[int(torch.randint(len(bag), (), generator=g)), 0] += 4
    return Bags.from_list(bags), some_labels(count)
