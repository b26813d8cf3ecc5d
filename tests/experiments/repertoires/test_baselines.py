from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hopfield.datasets.repertoires import simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires import baselines
from hopfield.experiments.repertoires.baselines import METHODS, run_baselines


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


def test_all_baselines_find_a_frequent_motif(data, folds, found):
    assert list(found.scores) == list(METHODS)
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
    assert told == [(name, i, 2) for name in METHODS for i in (1, 2)]


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
