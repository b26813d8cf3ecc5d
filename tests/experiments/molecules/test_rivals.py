import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hopfield.errors import HopfieldError
from hopfield.experiments.molecules import rivals
from hopfield.experiments.molecules.rivals import RIVALS, Inputs, forest, tuned
from hopfield.experiments.molecules.scores import auc
from tests.estimators.test_molecules import ACID, MOLECULES

pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')

TRAIN, TEST = np.flatnonzero(np.arange(48) % 3), np.flatnonzero(np.arange(48) % 3 == 0)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("method", RIVALS)
def test_every_cell_of_every_rival_finds_acids(method, many, monkeypatch):
    if many:
        monkeypatch.setattr(rivals, "MANY", 10)
    inputs, labels = Inputs.of(MOLECULES), ACID[:, None].astype(float)
    for cell in RIVALS[method].cells(len(labels)):
        scores = RIVALS[method].scores(inputs, labels, TRAIN, TEST, cell, 0)
        assert scores.shape == (16, 1)
        # trees of boosting have at least 20 rows in a leaf, of 32
        assert auc(labels[TEST], scores) > (0.4 if method == "Gradient boosting" else 0.9)


def test_the_best_cell_on_validation_molecules_is_taken_and_learns_from_them_too():
    seen = []

    def scores(inputs, labels, learnt, asked, cell, seed):
        seen.append((cell["good"], len(learnt), len(asked)))
        return labels[asked] if cell["good"] == 2 and len(asked) == 4 else np.zeros((len(asked), 1))

    rival = rivals.Rival(scores, {"good": (1, 2, 3)}, {"good": 1})
    labels = np.arange(20)[:, None] % 2
    _, chosen = tuned(rival, None, labels, np.arange(10), np.arange(10, 14), np.arange(14, 20), 0)
    assert chosen == "good=2"
    assert seen == [(1, 10, 4), (2, 10, 4), (3, 10, 4), (2, 14, 6)]


def test_unknown_labels():
    labels = np.stack([ACID, 1 - ACID], 1).astype(float)
    labels[1, 0] = np.nan
    inputs = Inputs.of(MOLECULES)
    cell = RIVALS["SVM"].cells(48)[0]
    found = RIVALS["SVM"].scores(inputs, labels, TRAIN, TEST, cell, 0)
    without = RIVALS["SVM"].scores(inputs, labels[:, :1], TRAIN[TRAIN != 1], TEST, cell, 0)
    np.testing.assert_allclose(found[:, :1], without, atol=1e-6)
    with pytest.raises(HopfieldError, match="some are unknown"):
        forest(inputs, labels, TRAIN, TEST, RIVALS["Random forest"].cells(48)[0], 0)


def test_scores_are_means_over_the_tasks_that_have_both_classes():
    labels = np.array([[0, 1, np.nan], [1, 1, 0], [0, 1, 1], [1, 1, 1]], float)
    scores = np.array([[0.1, 0.2, 9], [0.3, 0.2, 0.4], [0.5, 0.1, 0.4], [0.9, 0.1, 0.8]])
    first = roc_auc_score(labels[:, 0], scores[:, 0])
    third = roc_auc_score(labels[1:, 2], scores[1:, 2])
    assert auc(labels, scores) == pytest.approx((first + third) / 2)
    with pytest.raises(HopfieldError, match="no task with molecules of both classes"):
        auc(labels[:, 1:2], scores[:, 1:2])
