import numpy as np
import pytest

from hopfield.datasets import UCIDataset
from hopfield.errors import HopfieldError
from hopfield.estimators import HopfieldClassifier
from hopfield.experiments.uci import METHODS, OURS, protocol, run
from hopfield.experiments.uci.protocol import Outcome, evaluate, predictions, settings_of
from tests.datasets.uci import write

CHEAP = [OURS, "k-nearest neighbours", "Logistic regression"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    class Small(HopfieldClassifier):
        def __init__(self, random_state=None):
            super().__init__(n_estimators=2, iterations=10, width=8, hidden=8, random_state=random_state)

    monkeypatch.setattr(protocol, "HopfieldClassifier", Small)


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(("balloons", "blood", "breast-cancer")):
        write(tmp_path, name, n=24 + seed, seed=seed)
    return tmp_path


def outcomes(folder, tmp_path, **options):
    return run(
        data_dir=folder, record=tmp_path / "outcomes.jsonl", methods=CHEAP, jobs=1, backend="sequential", **options
    )


def test_every_method_on_every_set_once(folder, tmp_path):
    found = outcomes(folder, tmp_path)
    assert {(o.data, o.method) for o in found} == {
        (n, m) for n in ("balloons", "blood", "breast-cancer") for m in CHEAP
    }
    assert len(found) == 9
    assert all(len(o.accuracy) == len(o.chosen) == 4 and all(0 <= a <= 1 for a in o.accuracy) for o in found)
    assert {o.data for o in found if o.seen} == {"balloons", "breast-cancer"}


def test_what_is_done_is_not_done_again(folder, tmp_path, monkeypatch):
    first = outcomes(folder, tmp_path, sets=["balloons"])
    monkeypatch.setattr(protocol, "evaluate", lambda data, *_: pytest.fail(f"{data} is done"))
    again = outcomes(folder, tmp_path, sets=["balloons"])
    assert sorted(first, key=lambda o: o.method) == sorted(again, key=lambda o: o.method)


def test_other_settings_seeds_and_data_are_done_anew(folder, tmp_path, monkeypatch):
    before = outcomes(folder, tmp_path, sets=["balloons"])
    assert {o.seed for o in outcomes(folder, tmp_path, sets=["balloons"], seed=1)} == {1}
    write(folder, "balloons", n=24, seed=9)
    other = outcomes(folder, tmp_path, sets=["balloons"])
    assert {o.settings for o in before}.isdisjoint({o.settings for o in other})


@pytest.mark.parametrize("method", CHEAP)
def test_permuting_test_labels_changes_no_prediction(method):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    part = rng.integers(0, 4, 40)
    test, validation = (part == 0)[None], (part == 1)[None]
    data = UCIDataset("made up", features, labels, test, validation)
    before, chosen = predictions(data, method, 0)
    for seed in range(3):
        permuted = labels.copy()
        permuted[test[0]] = np.random.default_rng(seed).permutation(labels[test[0]])
        assert (permuted != labels).any()
        after, again = predictions(UCIDataset("made up", features, permuted, test, validation), method, 0)
        assert (after[0] == before[0]).all()
        assert again == chosen


def test_accuracies_are_those_of_the_predictions():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 30)
    part = rng.integers(0, 3, (2, 30))
    data = UCIDataset("made up", rng.normal(size=(30, 2)), labels, part == 0, part == 1)
    (outcome,) = evaluate(data, CHEAP[1], 0, True)
    predicted, _ = predictions(data, CHEAP[1], 0)
    wanted = [(row == labels[mask]).mean() for row, mask in zip(predicted, data.test, strict=True)]
    assert outcome == Outcome(
        "made up", CHEAP[1], tuple(wanted), outcome.chosen, outcome.seconds, 0, settings_of(data, CHEAP[1]), True
    )


def test_unknown_methods_and_no_sets_are_refused(folder, tmp_path):
    record = tmp_path / "outcomes.jsonl"
    with pytest.raises(HopfieldError, match=f"methods must be from {METHODS[0]}"):
        run(data_dir=folder, record=record, methods=["Guessing"])
    with pytest.raises(HopfieldError, match="choose at least one set"):
        run([], data_dir=folder, record=record)
    with pytest.raises(HopfieldError, match="there is no set 'delta'"):
        run(["delta"], data_dir=folder, record=record)
