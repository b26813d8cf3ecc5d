import numpy as np
import pytest

from hopfield.datasets.molecules import MoleculeDataset
from hopfield.errors import HopfieldError
from hopfield.experiments.molecules import METHODS, OURS, protocol, run
from hopfield.experiments.molecules.protocol import Outcome, evaluate, parts, predictions, settings_of
from hopfield.experiments.molecules.rivals import RIVALS, Inputs, Rival
from hopfield.experiments.molecules.scores import auc
from tests.estimators.test_molecules import ACID, MOLECULES

pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')

LABELS = np.stack([ACID, np.arange(len(ACID)) % 2, np.arange(len(ACID)) % 3 == 0], 1).astype(float)
RINGS = np.array(["1" in text for text in MOLECULES], float)


def dataset(labels=RINGS[:, None], smiles=tuple(MOLECULES)):
    return MoleculeDataset("bace", smiles, labels, tuple(f"task {i}" for i in range(labels.shape[1])), (3,), 2, 1, "")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    quick = protocol.default_lookup
    small = {"n_estimators": 2, "iterations": 10}
    monkeypatch.setattr(protocol, "default_lookup", lambda count: quick(count).set_params(**small))
    for name, rival in RIVALS.items():
        monkeypatch.setitem(RIVALS, name, Rival(rival.scores, {k: v[:2] for k, v in rival.grid.items()}, rival.alone))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "molecules").mkdir()
    for file, columns in (("bace.csv", "smiles,Class"), ("sider.csv", "smiles,A,B,C")):
        rows = RINGS[:, None] if file == "bace.csv" else LABELS
        lines = [f"{text},{','.join(f'{int(y)}' for y in row)}" for text, row in zip(MOLECULES, rows, strict=True)]
        (tmp_path / "molecules" / file).write_text("\n".join([columns, *lines]) + "\n")
    return tmp_path


def outcomes(folder, tmp_path, **options):
    return run(
        **{"sets": ["bace"], "methods": [OURS, "SVM"]} | options,
        data_dir=folder,
        record=tmp_path / "o.jsonl",
        jobs=1,
        backend="sequential",
    )


def test_every_method_on_every_split_once(folder, tmp_path):
    found = outcomes(folder, tmp_path, sets=["bace", "sider", "bace"])
    assert len(found) == len({(o.data, o.method, o.split) for o in found}) == 2 * 2 * 5
    assert all(0 <= o.auc <= 1 and o.molecules == len(MOLECULES) for o in found)
    assert found[0].notes == "0 unreadable rows, 0 repeated, 0 contradicting labels"


def test_what_is_done_is_not_done_again(folder, tmp_path, monkeypatch):
    first = outcomes(folder, tmp_path)
    monkeypatch.setattr(protocol, "evaluate", lambda data, *_: pytest.fail(f"{data} is done"))
    again = outcomes(folder, tmp_path)
    key = lambda o: (o.method, o.split)  # noqa: E731  # a name for it is enough
    assert sorted(first, key=key) == sorted(again, key=key)


def test_other_seeds_and_settings_are_done_anew(folder, tmp_path, monkeypatch):
    before = outcomes(folder, tmp_path)
    assert {o.seed for o in outcomes(folder, tmp_path, seed=1)} == {1}
    quick = protocol.default_lookup
    monkeypatch.setattr(protocol, "default_lookup", lambda count: quick(count).set_params(width=4))
    after = outcomes(folder, tmp_path)
    assert {o.settings for o in before if o.method == OURS}.isdisjoint({o.settings for o in after if o.method == OURS})
    assert [o for o in before if o.method == "SVM"] == [o for o in after if o.method == "SVM"]


@pytest.mark.parametrize("labels", [RINGS[:, None], LABELS])
def test_splits_are_eight_to_one_to_one_and_stratified_for_a_single_task(labels):
    data = dataset(labels)
    for split in range(5):
        train, validation, test = parts(data, split, 0)
        assert sorted(np.concatenate([train, validation, test])) == list(range(48))
        assert (len(train), len(validation), len(test)) == (38, 5, 5)
        if labels.shape[1] == 1:
            assert {labels[part].sum() for part in (validation, test)} <= {1, 2}  # a quarter of five
    assert not np.array_equal(parts(data, 0, 0)[2], parts(data, 1, 0)[2])
    assert not np.array_equal(parts(data, 0, 0)[2], parts(data, 0, 1)[2])
    assert np.array_equal(parts(data, 0, 0)[2], parts(data, 0, 0)[2])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [RINGS[:, None], LABELS])
def test_permuting_test_labels_changes_no_prediction(method, labels):
    inputs, rng = Inputs.of(MOLECULES), np.random.default_rng(0)
    train, validation, test = np.arange(20), np.arange(20, 34), np.arange(34, 48)
    before, chosen = predictions(dataset(labels), inputs, method, train, validation, test, 0)
    assert before.shape == (14, labels.shape[1])
    permuted = labels.copy()
    permuted[test] = rng.permutation(labels[test])
    assert (permuted != labels).any()
    after, again = predictions(dataset(permuted), inputs, method, train, validation, test, 0)
    np.testing.assert_array_equal(after, before)
    assert again == chosen


def test_scores_are_those_of_the_predictions():
    data, inputs = dataset(), Inputs.of(MOLECULES)
    (outcome,) = evaluate(data, inputs, "SVM", 1, 0)
    split = parts(data, 1, 0)
    scores, chosen = predictions(data, inputs, "SVM", *split, 0)
    notes = "1 unreadable rows, 2 repeated, 1 contradicting labels"
    score = auc(data.labels[split[2]], scores)
    wanted = Outcome("bace", "SVM", 1, score, chosen, outcome.seconds, 0, settings_of(data, "SVM"), 48, notes)
    assert outcome == wanted


def test_small_sets_are_refused(tmp_path):
    for rows in (["CCO,1"], [f"{'C' * (i + 1)},{int(i == 3)}" for i in range(50)], []):
        (tmp_path / "bace.csv").write_text("\n".join(["smiles,Class", *rows]) + "\n")
        with pytest.raises(HopfieldError, match=r"too small for splits of 8:1:1: there must be 30 mol"):
            outcomes(tmp_path, tmp_path)


def test_methods_that_are_named_twice_and_splits_that_do_not_exist_are_not_run(folder, tmp_path):
    assert len(outcomes(folder, tmp_path, methods=["SVM", "SVM"])) == 5
    record = tmp_path / "o.jsonl"
    strange = record.read_text().splitlines()[0].replace('"split": ', '"split": 9')
    record.write_text(f"{record.read_text()}{strange}\n")
    assert len(outcomes(folder, tmp_path, methods=["SVM"])) == 5


def test_unknown_sets_and_methods_are_refused(folder, tmp_path):
    with pytest.raises(HopfieldError, match="methods must be from Hopfield lookup, SVM"):
        outcomes(folder, tmp_path, methods=["Guessing"])
    with pytest.raises(HopfieldError, match="sets must be from hiv, bace, bbbp, sider; got none"):
        outcomes(folder, tmp_path, sets=[])
