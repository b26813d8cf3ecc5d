"""Matrices of counts."""

import numpy as np
from scipy import sparse


def counts(n: int, p: int = 5000, seed: int = 0) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.random.default_rng(seed).poisson(0.6, (n, p)).astype(np.float32))
