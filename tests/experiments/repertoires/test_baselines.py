from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import fisher_exact, norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from hopfield.datasets.repertoires import simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires import baselines
from hopfield.experiments.repertoires.baselines import (
    METHODS,
    BurdenTest,
    KmerLogistic,
    MinMaxSVM,
    jaccard_kernel,
    minmax_kernel,
    motif_counts,
    run_baselines,
)
from hopfield.experiments.repertoires.kmers import kmer_counts, kmer_name

LEARNERS = [
    MinMaxSVM(10.0),
    KmerLogistic(1.0, "frequency"),
    KmerLogistic(0.1, "standardised"),
    BurdenTest(1e-3, "presence"),
    BurdenTest(1e-3, "count"),
]


def counts(n: int, p: int = 5000, seed: int = 0) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.random.default_rng(seed).poisson(0.6, (n, p)).astype(np.float32))


@pytest.fixture(scope="module")
def data():
    return simulate_repertoires(36, 100, motifs=("SFEN",), rate=0.05, seed=1)


@pytest.fixture(scope="module")
def folds(data):
    parts = np.zeros((2, len(data)), bool)
    for label in (0, 1):
        for i, half in enumerate(np.array_split(np.flatnonzero(data.labels == label), 2)):
            parts[i, half] = True
    return parts


@pytest.fixture(scope="module")
def found(data, folds):
    return run_baselines(data, folds, seed=3)


@pytest.mark.parametrize("other", [False, True])
def test_minmax_is_the_quotient_of_minima_and_maxima(other):
    X, Y = counts(6), counts(4, seed=1) if other else None
    found = minmax_kernel(X, Y)
    a = X.toarray().astype(np.float64)
    b = (X if Y is None else Y).toarray().astype(np.float64)
    a, b = a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)
    expected = np.minimum(a[:, None], b[None]).sum(2) / np.maximum(a[:, None], b[None]).sum(2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("other", [False, True])
def test_jaccard_is_the_quotient_of_intersection_and_union(other):
    X, Y = counts(6), counts(4, seed=1) if other else None
    a, b = X.toarray() > 0, (X if Y is None else Y).toarray() > 0
    expected = (a[:, None] & b[None]).sum(2) / (a[:, None] | b[None]).sum(2)
    np.testing.assert_allclose(jaccard_kernel(X, Y), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", [minmax_kernel, jaccard_kernel])
def test_kernels_of_empty_rows(kernel):
    X = sparse.csr_matrix(np.array([[0, 0], [0, 0], [1, 2]], np.float32))
    assert kernel(X).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert kernel(X[:1]).tolist() == [[1]]
    assert kernel(X, X[2:]).tolist() == [[0], [0], [1]]


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


def test_presence_is_tested_as_fisher_does():
    table = np.exp(baselines._fisher(5, 4))
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
    found = baselines._BurdenFeatures.of(X, "count").log_p(y, np.arange(20))
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


def test_all_baselines_find_a_frequent_motif(data, folds, found):
    assert list(found.scores) == [*METHODS, "Known motif"]
    assert found.seconds.keys() == found.scores.keys()
    for name, scores in found.scores.items():
        np.testing.assert_array_equal(np.isnan(scores), ~folds)
        for test, row in zip(folds, scores, strict=True):
            assert roc_auc_score(data.labels[test], row[test]) > 0.75, name
    assert all(setting["k"] in METHODS[name].ks for name, chosen in found.settings.items() for setting in chosen)


def test_labels_of_the_test_part_change_no_score(data, folds, found):
    labels = np.where(folds[0], 1 - data.labels, data.labels)
    again = run_baselines(replace(data, labels=labels), folds[:1], seed=3)
    for name, scores in again.scores.items():
        np.testing.assert_array_equal(scores[0], found.scores[name][0])


def test_the_same_seed_gives_the_same_scores_with_any_number_of_jobs(data, folds, found):
    told = []
    again = run_baselines(data, folds, seed=3, jobs=2, progress=lambda *args: told.append(args))
    for name, scores in again.scores.items():
        np.testing.assert_array_equal(scores, found.scores[name])
    assert again.settings == found.settings
    assert told == [*((name, i, 2) for name in METHODS for i in (1, 2)), ("Known motif", 2, 2)]


def test_known_motifs_count_sequences(data):
    expected = [sum("SFEN" in sequence for sequence in data.sequences(i)) for i in range(len(data))]
    assert motif_counts(data).tolist() == expected
    both = replace(data, motifs=("S?EN", "SFE"))
    expected = [
        sum("SFE" in s or any(f"S{x}EN" in s for x in "ACDEFGHIKLMNPQRSTVWY") for s in data.sequences(i))
        for i in range(len(data))
    ]
    assert motif_counts(both).tolist() == expected


def test_no_reference_without_motifs(data):
    with pytest.raises(HopfieldError, match="motifs of repertoires must be known, got none"):
        motif_counts(replace(data, motifs=None))


def test_5mers_are_left_out_where_they_do_not_fit(data, monkeypatch):
    assert baselines._ks(data) == [3, 4, 5]
    monkeypatch.setattr(baselines, "_ENTRIES", 100)
    assert baselines._ks(data) == [3, 4]


def test_bad_input_is_refused(data, folds):
    with pytest.raises(HopfieldError, match="baselines need labels of two classes, got no labels"):
        run_baselines(replace(data, labels=None, classes=()), folds, seed=0)
    with pytest.raises(HopfieldError, match=r"folds must be bool \(F, 36\), True for the test part; got"):
        run_baselines(data, folds[:, :-1], seed=0)
    with pytest.raises(HopfieldError, match=r"folds must be bool .* of int64"):
        run_baselines(data, folds.astype(np.int64), seed=0)
    with pytest.raises(HopfieldError, match=r"each fold must have a test part, .* fold 0 has 0 to test"):
        run_baselines(data, folds & False, seed=0)
    with pytest.raises(HopfieldError, match="0 of a class to train with; use fewer folds"):
        run_baselines(data, (data.labels == 1)[None], seed=0)
    with pytest.raises(HopfieldError, match="got 'raw'; choose one of them"):
        KmerLogistic(features="raw").fit(counts(6), np.arange(6) % 2)
    with pytest.raises(HopfieldError, match='statistic must be "presence" or "count", got \'rank\''):
        BurdenTest(statistic="rank").fit(counts(6), np.arange(6) % 2)
