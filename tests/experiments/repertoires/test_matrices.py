import numpy as np
import pytest
from scipy import sparse

from hopfield.experiments.repertoires.matrices import minmax_kernel
from tests.experiments.repertoires.common import counts


@pytest.mark.parametrize("other", [False, True])
def test_minmax_is_the_quotient_of_minima_and_maxima(other):
    X, Y = counts(6), counts(4, seed=1) if other else None
    found = minmax_kernel(X, Y)
    a = X.toarray().astype(np.float64)
    b = (X if Y is None else Y).toarray().astype(np.float64)
    a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
    expected = np.minimum(a[:, None], b[None]).sum(2) / np.maximum(a[:, None], b[None]).sum(2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_kernel_of_empty_rows():
    X = sparse.csr_matrix(np.array([[0, 0], [0, 0], [1, 2]], np.float32))
    assert minmax_kernel(X).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert minmax_kernel(X[:1]).tolist() == [[1]]
    assert minmax_kernel(X, X[2:]).tolist() == [[0], [0], [1]]
