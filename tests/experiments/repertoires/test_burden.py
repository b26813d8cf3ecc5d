import numpy as np
import pytest
from scipy import sparse
from scipy.stats import fisher_exact, norm
from sklearn.metrics import roc_auc_score

from hopfield.datasets.repertoires import simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires import burden
from hopfield.experiments.repertoires.burden import BurdenTest
from hopfield.experiments.repertoires.kmers import kmer_counts, kmer_name
from tests.experiments.repertoires.common import counts


def test_presence_is_tested_as_fisher_does():
    table = np.exp(burden._fisher(5, 4))
    for i in range(6):
        for j in range(5):
            expected = fisher_exact([[j, 4 - j], [i, 5 - i]], alternative="greater").pvalue
            assert table[i, j] == pytest.approx(expected, rel=1e-9)


def test_counts_are_tested_as_welch_does():
    X, y = counts(20, 60), np.arange(20) % 2
    f = X.toarray().astype(np.float64)
    f /= f.sum(1, keepdims=True)
    one, two = f[y == 1], f[y == 0]
    z = (one.mean(0) - two.mean(0)) / np.sqrt(one.var(0, ddof=1) / 10 + two.var(0, ddof=1) / 10)
    found = burden._BurdenFeatures.of(X, "count").log_p(y, np.arange(20))
    np.testing.assert_allclose(found, norm.logsf(z), rtol=1e-6)


@pytest.mark.parametrize("statistic", ["presence", "count"])
def test_the_burden_has_the_implanted_kmer(statistic):
    data = simulate_repertoires(60, 200, motifs=("SFEN",), rate=0.05, seed=2)
    fitted = BurdenTest(1e-6, statistic).fit(kmer_counts(data, 4), data.labels)
    assert "SFEN" in [kmer_name(i, 4) for i in fitted.burden_]
    fresh = simulate_repertoires(40, 200, motifs=("SFEN",), rate=0.05, seed=3)
    assert roc_auc_score(fresh.labels, fitted.decision_function(kmer_counts(fresh, 4))) > 0.95


def test_where_all_have_all_kmers_only_counts_tell_classes_apart():
    X, y = counts(40, 30) + sparse.csr_matrix(np.ones((40, 30), np.float32)), np.arange(40) % 2
    X = X + sparse.csr_matrix((5 * y[:, None] * (np.arange(30) == 7)).astype(np.float32))
    assert BurdenTest(1e-4, "count").fit(X, y).burden_.tolist() == [7]
    presence = BurdenTest(1e-4, "presence").fit(X, y)
    assert not len(presence.burden_)
    assert np.ptp(presence.decision_function(X)) == 0


def test_an_unknown_statistic_is_refused():
    with pytest.raises(HopfieldError, match='statistic must be "presence" or "count", got \'rank\''):
        BurdenTest(statistic="rank").fit(counts(6), np.arange(6) % 2)
