"""What is computed of matrices of counts: relative frequencies, and how similar two rows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist, pdist, squareform

from hopfield.experiments.repertoires.kmers import Matrix

_COLUMNS = 2048  # columns that are made dense at a time


def minmax_kernel(X: Matrix, Y: Matrix | None = None) -> np.ndarray:
    """Σ min(a, b) / Σ max(a, b) of the relative frequencies of the rows of X (n, p) and Y (m, p): (n, m), float64.

    With the distance D = Σ|a - b| and the sum s = Σ(a + b) it is (s - D) / (s + D); 1 for two rows without any counts.

    Args:
        X: counts.
        Y: counts; None: X.
    """
    a = frequencies(X)
    b = a if Y is None else frequencies(Y)
    sums = row_sums(a)[:, None] + row_sums(b)  # (n, m)
    if Y is None:
        pairs = sum(pdist(block, "cityblock") for block in blocks(a))
        distance = squareform(pairs, checks=False) if X.shape[0] > 1 else np.zeros((1, 1))
    else:
        distance = sum(cdist(one, two, "cityblock") for one, two in zip(blocks(a), blocks(b), strict=True))
    kernel: np.ndarray = np.divide(
        np.maximum(sums - distance, 0), sums + distance, out=np.ones(sums.shape), where=sums > 0
    )
    return kernel


def blocks(X: Any) -> Iterator[np.ndarray]:
    """The columns of a sparse matrix (n, p), some at a time, dense."""
    X = X.tocsc()
    for first in range(0, X.shape[1], _COLUMNS):
        yield X[:, first : first + _COLUMNS].toarray()


def frequencies(X: Any) -> Any:
    """Counts divided by their sum in each row, float64."""
    return sparse.diags_array(1 / np.maximum(row_sums(X), 1)).dot(X.astype(np.float64)).tocsc()


def row_sums(X: Any) -> np.ndarray:
    """The sum of each row, (n,) float64."""
    sums: np.ndarray = np.asarray(X.sum(1, dtype=np.float64)).ravel()
    return sums
