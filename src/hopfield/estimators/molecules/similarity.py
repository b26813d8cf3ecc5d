"""How alike molecules are."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

#: Counts above this one count as it: the sums over counts end there.
MOST = 8


def tanimoto(first: Any, second: Any) -> np.ndarray:
    """The Tanimoto similarity of molecules, Σ min(a, b) / Σ max(a, b) over counts: float32 (n, m), 1 for equal counts.

    Counts above 8 count as 8. Of two molecules without counts it is 0.

    Args:
        first: counts (n, size), dense or sparse, see `hopfield.datasets.fingerprints`.
        second: counts (m, size).
    """
    one, other = (sparse.csr_matrix(counts) for counts in (first, second))
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
