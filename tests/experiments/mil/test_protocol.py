import json
from functools import partial

import numpy as np
import pytest
import torch

from hopfield import Bags, HopfieldError
from hopfield.datasets import MILDataset
from hopfield.experiments import mil
from hopfield.experiments.mil import protocol


def some_data(name="made", bags=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(bags) % 2
    sets = [torch.randn(3, 4, generator=generator) + 2 * label for label in labels.tolist()]
    return MILDataset(name, Bags.from_list(sets), labels, None, "made by the test")


@pytest.fixture
def quick(monkeypatch):
    networks = {name: partial(kind, embedding=(4,), epochs=3) for name, kind in protocol.NETWORKS.items()}
    monkeypatch.setattr(protocol, "NETWORKS", networks)
    monkeypatch.setattr(protocol, "load_mil", lambda name, data_dir: some_data(name))


def test_folds_that_are_not_given_are_a_stratified_partition():
    data = some_data(bags=40)
    test = protocol.folds_of(data, 1, seed=3)
    assert test.sum(0).tolist() == [1] * 40
    assert {int(data.labels[fold].sum()) for fold in test} == {2}
    assert not np.array_equal(test, protocol.folds_of(data, 2, seed=3))


def test_given_folds_are_used(shared):
    from hopfield.datasets import load_mil

    data = load_mil("fox", data_dir=shared / "data")
    np.testing.assert_array_equal(protocol.folds_of(data, 2, 0), data.folds[2])


def test_validation_parts_lie_inside_the_training_part():
    data = some_data(bags=40)
    fold = protocol.folds_of(data, 0, 0)[0]
    parts = protocol._inner(data.labels, fold, 0)
    assert not (parts & fold).any()
    np.testing.assert_array_equal(parts.sum(0), ~fold)


@pytest.mark.parametrize("method", protocol.METHODS)
def test_labels_and_instances_of_a_test_part_reach_nothing_of_its_fold(method, quick):
    data = some_data()
    test = protocol.folds_of(data, 0, 0)[:2]
    labels = data.labels.copy()
    own = np.flatnonzero(test[0])
    labels[own] = 1 - labels[own]
    rows = data.bags.instances.clone()
    rows[torch.from_numpy(test[0])[data.bags.segments()]] *= -3
    other = MILDataset("other", data.bags.with_instances(rows), labels, None, "")

    def scores(data):
        if method in protocol.NETWORKS:
            return protocol.NETWORKS[method](random_state=0).cross_decision(data.bags, data.labels, test[:1]), ()
        return protocol._kernel_machine(data, test[:1], 0)

    (before, chosen), (after, chosen_after) = scores(data), scores(other)
    assert chosen == chosen_after
    np.testing.assert_array_equal(before[0][~test[0]], after[0][~test[0]])


def test_what_is_done_is_not_done_again(tmp_path, quick, monkeypatch):
    record = tmp_path / "outcomes.jsonl"
    options = {"record": record, "repetitions": 1, "jobs": 1, "backend": "sequential"}
    first = mil.run(["a"], **options)
    assert len(first) == len(mil.METHODS)
    assert all(len(outcome.auc) == 10 for outcome in first)
    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:20])  # stopped while it wrote
    calls = []
    original = protocol.evaluate
    monkeypatch.setattr(protocol, "evaluate", lambda *args: calls.append(args[1]) or original(*args))
    again = mil.run(["a"], **options)
    assert calls == [json.loads(lines[-1])["method"]]
    assert {(o.method, o.auc) for o in again} == {(o.method, o.auc) for o in first}


def test_a_foreign_record_is_refused(tmp_path, quick):
    record = tmp_path / "outcomes.jsonl"
    record.write_text('{"other": 1}\n{"other": 2}\n')
    with pytest.raises(HopfieldError, match="line 1 is no outcome"):
        mil.run(["a"], record=record)


def test_outcomes_of_other_settings_are_not_taken(tmp_path, quick, monkeypatch):
    options = {"record": tmp_path / "outcomes.jsonl", "repetitions": 1, "jobs": 1, "backend": "sequential"}
    first = mil.run(["a"], **options)
    assert mil.run(["a"], **options) == first
    wider = partial(protocol.NETWORKS["Mean pooling"], hidden=(4,))
    monkeypatch.setitem(protocol.NETWORKS, "Mean pooling", wider)
    second = mil.run(["a"], **options)
    assert len(second) == len(first)
    assert {o.method for o in set(second) - set(first)} == {"Mean pooling"}


@pytest.mark.parametrize(("name", "text"), [("spark", "backend must be loky"), ("dask", "dask"), ("ray", "ray")])
def test_backends_that_are_not_there(name, text, tmp_path, quick):
    with pytest.raises(HopfieldError, match=text):
        mil.run(["a"], record=tmp_path / "outcomes.jsonl", backend=name)


def test_the_table_says_what_is_not_done_yet(tmp_path):
    def outcome(name, repetition):
        return mil.protocol.Outcome(name, "Mean pooling", repetition, (0.5,) * 10, ("x",) * 10, 1.0, 0, "")

    table = mil.write([outcome("fox", 0), outcome("fox", 1), outcome("tiger", 0)], tmp_path, command="the command")
    assert "| 50.00 (1 of 2 repetitions) | 50.00 ± 0.00 |" in table
    table = mil.write([outcome("fox", 0), outcome("fox", 1), outcome("musk2", 0)], tmp_path, command="the command")
    assert "| 50.00 ± 0.00 | 50.00 (1 repetition) |" in table  # as many as are wanted


def test_the_page_says_what_was_run_and_no_more(tmp_path):
    def page(*names):
        outcomes = [
            mil.protocol.Outcome(name, "Mean pooling", 0, (0.5,) * 10, ("x",) * 10, 1.0, 0, "") for name in names
        ]
        mil.write(outcomes, tmp_path, command="the command")
        return (tmp_path / "README.md").read_text()

    assert "*Printed* rows" in page("fox", "musk1")
    assert "*Printed* rows" not in page("musk1")
    assert "was not run" in page("musk1")
    assert "was not run" not in page("ucsb")
    assert "mean over ten folds. The figure" in page("fox")


def test_sets_are_run_once_and_only_as_often_as_asked(tmp_path, quick):
    options = {"record": tmp_path / "outcomes.jsonl", "jobs": 1, "backend": "sequential"}
    assert len(mil.run(["a", "a"], repetitions=2, **options)) == 2 * len(mil.METHODS)
    assert {outcome.repetition for outcome in mil.run(["a"], repetitions=1, **options)} == {0}
    with pytest.raises(HopfieldError, match="choose at least one set, of tiger, fox"):
        mil.run([], **options)


def test_outcomes_of_other_data_are_not_taken(tmp_path, quick, monkeypatch):
    options = {"record": tmp_path / "outcomes.jsonl", "repetitions": 1, "jobs": 1, "backend": "sequential"}
    first = mil.run(["a"], **options)
    monkeypatch.setattr(protocol, "load_mil", lambda name, data_dir: some_data(name, seed=1))
    second = mil.run(["a"], **options)
    assert len(second) == len(first)
    assert not {outcome.settings for outcome in first} & {outcome.settings for outcome in second}


def test_the_page_and_the_summary(tmp_path):
    outcomes = [
        mil.protocol.Outcome("fox", "HopfieldBagClassifier", r, (0.5 + 0.1 * r,) * 10, ("x",) * 10, 1.0, 0, "")
        for r in range(2)
    ]
    table = mil.write(outcomes, tmp_path, command="the command")
    assert "| HopfieldBagClassifier | 55.00 ± 5.00 |" in table
    assert "| *MILES (printed)* | 73.8 ± 1.6 |" in table
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "fox": {"HopfieldBagClassifier": {"auc": 0.55, "std": 0.05}}
    }
    assert "`the command`" in (tmp_path / "README.md").read_text()
