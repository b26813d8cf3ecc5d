"""What is known of the public files, and what to compare and write."""

import numpy as np
import pytest

from hopfield.datasets import MILDataset

scipy_io = pytest.importorskip("scipy.io")
sparse = pytest.importorskip("scipy.sparse")

FACTS = {  # bags, positive, instances, of them in positive bags, features, bag sizes
    "fox": (200, 100, 1320, 647, 230, (2, 13)),
    "tiger": (200, 100, 1220, 544, 230, (1, 13)),
    "elephant": (200, 100, 1391, 762, 230, (2, 13)),
    "musk1": (92, 47, 476, 207, 166, (2, 40)),
    "musk2": (102, 39, 6598, None, 166, (1, 1044)),
}
FILES = {
    "fox": "fox_100x100_matlab.mat",
    "tiger": "tiger_100x100_matlab.mat",
    "elephant": "elephant_100x100_matlab.mat",
    "musk1": "musk1norm_matlab.mat",
    "musk2": "musk2_zscored.npz",
}


def bag_by_bag(found: MILDataset, instances, ids, labels) -> None:
    ids, labels = np.asarray(ids), np.asarray(labels)
    order = np.unique(ids)
    assert len(found.bags) == len(order)
    for bag, y, k in zip(found.bags, found.labels, order, strict=True):
        assert np.array_equal(bag.numpy(), np.asarray(instances)[ids == k].astype(np.float32))
        assert {y} == set((labels[ids == k] > 0).astype(int))


def matlab(path, **changes):
    """A MATLAB file of the layout of Musk1, with 92 bags of one instance, but for the last."""
    ids = np.minimum(np.arange(1, 477), 92).astype(np.uint8)
    X = np.random.default_rng(0).normal(size=(476, 166))
    content = {"features": sparse.csc_matrix(X), "bag_ids": ids[None], "labels": np.where(ids < 40, 1.0, -1.0)[None]}
    content |= changes
    scipy_io.savemat(path, {name: value for name, value in content.items() if value is not None})
    return X, ids, content["labels"]
