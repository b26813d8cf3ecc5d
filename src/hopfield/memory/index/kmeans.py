"""k-means by a library: faiss if it is there, else scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hopfield.errors import HopfieldError

KMeans = Callable[[Tensor, int, int], Tensor]
"""(patterns (N, d) float32, number of centres k ≤ N, seed) -> centres (k, d)."""
# Lloyd's iterations: further ones hardly make the groups smaller
_ITERATIONS = 8
# patterns per centre that centres are learned from
_LEARNED_FROM = 64
# scores of patterns with centres at once
_TILE = 1 << 22


def library() -> KMeans:
    """The k-means of the library that is installed.

    Raises:
        HopfieldError: neither faiss nor scikit-learn is.
    """
    try:
        import faiss
    except ImportError:
        pass
    else:
        return lambda patterns, count, seed: _by_faiss(faiss, patterns, count, seed)
    try:
        import sklearn.cluster
    except ImportError as error:
        raise HopfieldError(
            "an index needs k-means from faiss or from scikit-learn, and neither is installed: "
            'pip install "hopfield[index]", or "hopfield[learn]" for the slower one'
        ) from error
    return lambda patterns, count, seed: _by_sklearn(sklearn.cluster, patterns, count, seed)


def _by_faiss(faiss: Any, patterns: Tensor, count: int, seed: int) -> Tensor:
    clustering = faiss.Kmeans(
        patterns.shape[1],
        count,
        niter=_ITERATIONS,
        seed=seed % (1 << 31),  # it takes a C int
        min_points_per_centroid=1,
        max_points_per_centroid=_LEARNED_FROM,
    )
    clustering.train(patterns.numpy())
    return torch.from_numpy(clustering.centroids.copy())


def _by_sklearn(cluster: Any, patterns: Tensor, count: int, seed: int) -> Tensor:
    from sklearn.exceptions import ConvergenceWarning

    generator = torch.Generator().manual_seed(seed)
    if patterns.shape[0] > _LEARNED_FROM * count:
        patterns = patterns[torch.randperm(patterns.shape[0], generator=generator)[: _LEARNED_FROM * count]]
    made = cluster.KMeans(
        count, init="random", n_init=1, max_iter=_ITERATIONS, tol=0.0, random_state=seed, algorithm="lloyd"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different patterns than centres
        found = made.fit(patterns.numpy()).cluster_centers_
    return torch.from_numpy(found).to(patterns.dtype)


def nearest(patterns: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each pattern, int64 (N,)."""
    half = centres.square().sum(-1) / 2
    size = max(1, _TILE // max(1, centres.shape[0]))
    parts = [torch.addmm(-half, part, centres.mT).argmax(-1) for part in patterns.split(size)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)
