"""How alike molecules are."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from hopfield.errors import HopfieldError

#: Counts above this one count as it: the sums over counts end there.
MOST = 8


def tanimoto(first: Any, second: Any) -> np.ndarray:
    """The Tanimoto similarity of molecules, Σ min(a, b) / Σ max(a, b) over counts: float32 (n, m), 1 for equal counts.

    Counts above 8 count as 8. Of two molecules without counts it is 0.

    Args:
        first: counts (n, size), dense or sparse, see `hopfield.datasets.fingerprints`.
        second: counts (m, size).

    Raises:
        HopfieldError: what are no counts, or of different sizes.
    """
    one, other = _counts("first", first), _counts("second", second)
    if one.shape[1] != other.shape[1]:
        raise HopfieldError(f"counts must be of one size, got {one.shape[1]} and {other.shape[1]} columns")
    common, totals = np.zeros((one.shape[0], other.shape[0]), np.float32), np.float32(0)
    for least in range(1, MOST + 1):  # min(a, b) is the number of levels that both reach
        here, there = ((counts >= least).astype(np.float32) for counts in (one, other))
        if not here.nnz + there.nnz:
            break
        common += (here @ there.T).toarray()
        totals = totals + np.asarray(here.sum(1)) + np.asarray(there.sum(1)).T
    union = totals - common
    similar: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return similar


def _counts(name: str, given: Any) -> sparse.csr_matrix:
    """Counts as a sparse matrix."""
    if not sparse.issparse(given):
        given = np.asarray(given)
        if given.ndim != 2 or given.dtype.kind not in "biuf":
            raise HopfieldError(f"{name} must be counts (n, size), got {given.dtype} {given.shape}")
    found = sparse.csr_matrix(given)
    if not (found.data >= 0).all():
        raise HopfieldError(f"{name} must be counts of at least 0, got {found.data[~(found.data >= 0)][0]}")
    return found
