import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from hopfield.datasets.repertoires import simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires.burden import BurdenTest
from hopfield.experiments.repertoires.classifiers import KmerLogistic, MinMaxSVM
from hopfield.experiments.repertoires.kmers import kmer_counts
from tests.experiments.repertoires.common import counts

LEARNERS = [
    MinMaxSVM(10.0),
    KmerLogistic(1.0, "frequency"),
    KmerLogistic(0.1, "standardised"),
    BurdenTest(1e-3, "presence"),
    BurdenTest(1e-3, "count"),
]


@pytest.fixture(scope="module")
def data():
    return simulate_repertoires(36, 100, motifs=("SFEN",), rate=0.05, seed=1)


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_fitting_alone_gives_the_scores_of_the_path(learner, data):
    X, train, test = kmer_counts(data, 3), np.arange(24), np.arange(24, 36)
    y = data.labels[train]
    alone = clone(learner).fit(X[train], y).decision_function(X[test])
    path = learner.path(learner.prepare(X), y, train, test, [learner.get_params()])[0]
    np.testing.assert_allclose(alone, path, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_scores_of_a_row_do_not_depend_on_the_other_rows(learner, data):
    X = kmer_counts(data, 3)
    fitted = clone(learner).fit(X[:24], data.labels[:24])
    together = fitted.decision_function(X[24:])
    np.testing.assert_allclose(fitted.decision_function(X[[30]]), together[6:7], rtol=1e-4, atol=1e-5)


def test_logistic_regression_is_that_on_the_features_themselves():
    X, y = counts(20, 60), np.arange(20) % 2
    f = X.toarray().astype(np.float64)
    f /= f.sum(1, keepdims=True)
    f -= f.mean(0)
    f /= np.sqrt((f**2).sum(1).mean())
    expected = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000).fit(f, y).decision_function(f)
    np.testing.assert_allclose(KmerLogistic(2.0).fit(X, y).decision_function(X), expected, atol=5e-3)


def test_unknown_features_are_refused():
    with pytest.raises(HopfieldError, match="got 'raw'; choose one of them"):
        KmerLogistic(features="raw").fit(counts(6), np.arange(6) % 2)
