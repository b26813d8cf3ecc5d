"""The run on simulated repertoires, at sizes that take seconds."""

import json

import numpy as np
import pytest

from hopfield.errors import HopfieldError
from hopfield.experiments import repertoires as experiment
from hopfield.experiments.repertoires import protocol
from hopfield.experiments.repertoires.cost import Cost, cost

SMALL = {"repertoires": 20, "sequences": 150, "jobs": 1, "backend": "sequential"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    record = tmp_path_factory.mktemp("run") / "outcomes.jsonl"
    return experiment.run(["10 %"], record=record, **SMALL), record


def test_every_method_on_every_fold(outcomes):
    found = {outcome.method: outcome for outcome in outcomes[0]}
    assert found.keys() == set(protocol.METHODS)
    for outcome in found.values():
        assert len(outcome.auc) == protocol.FOLDS
        assert outcome.seconds > 0
    assert np.mean(found[protocol.KNOWN].auc) == 1
    ours = found[protocol.OURS]
    assert np.mean(ours.auc) > 0.95
    assert np.mean(ours.precision) > 0.8
    assert "CRWQMH" in ours.motifs[0].upper()
    assert np.shape(ours.letters) == (9, 20)
    assert len(ours.examples) == 10
    assert all(len(outcome.chosen) == protocol.FOLDS for name, outcome in found.items() if name in protocol.RIVALS)


def test_what_is_done_is_not_done_again(outcomes, monkeypatch):
    for name in ("hopfield", "known_motif", "kmers"):
        monkeypatch.setattr(protocol, name, None)
    again = experiment.run(["10 %"], record=outcomes[1], **SMALL)
    assert again == outcomes[0]
    assert experiment.run(["10 %"], record=outcomes[1], rivals=False, **SMALL) == [
        outcome for outcome in again if outcome.method not in protocol.RIVALS
    ]


def test_outcomes_of_other_settings_are_not_taken(outcomes, monkeypatch):
    changed = protocol.Condition(("CRWQMHY",), 0.1, 1)
    monkeypatch.setitem(protocol.CONDITIONS, "10 %", changed)
    called = []
    for name in ("hopfield", "known_motif", "kmers"):
        monkeypatch.setattr(protocol, name, lambda *arguments: called.append(arguments[0]) or [])
    assert experiment.run(["10 %"], record=outcomes[1], **SMALL) == []
    assert called == ["10 %"] * 3


@pytest.mark.parametrize("change", [{"seed": 1}, {"repertoires": 22}, {"sequences": 160}])
def test_other_sizes_and_seeds_are_other_experiments(outcomes, monkeypatch, change):
    called = []
    for name in ("hopfield", "known_motif", "kmers"):
        monkeypatch.setattr(protocol, name, lambda *arguments: called.append(arguments[0]) or [])
    assert experiment.run(["10 %"], record=outcomes[1], **SMALL | change) == []
    assert called == ["10 %"] * 3


def test_folds_are_a_partition_and_data_differ_between_conditions():
    data, test = protocol.data_of("1 %", 20, 100, 0)
    assert test.sum(0).tolist() == [1] * 20
    assert {int(data.labels[fold].sum()) for fold in test} == {2}
    assert int(data.implanted.sum()) == 10
    other, _ = protocol.data_of("0.5 %", 20, 100, 0)
    assert not other.bags.instances.equal(data.bags.instances)
    again, _ = protocol.data_of("1 %", 20, 100, 0)
    assert again.bags.instances.equal(data.bags.instances)


def test_an_unknown_condition(tmp_path):
    with pytest.raises(HopfieldError, match="unknown condition '7 %'; expected some of '10 %', '1 %'"):
        experiment.run(["7 %"], record=tmp_path / "outcomes.jsonl")


def test_names_of_conditions():
    assert protocol.conditions_of(["0.1%", " 1 %,three motifs ", "0.1 %"]) == ["0.1 %", "1 %, three motifs"]
    with pytest.raises(HopfieldError, match="no condition; expected some of '10 %'"):
        protocol.conditions_of([])


def test_the_page_says_what_was_run_and_no_more(outcomes, tmp_path):
    experiment.write(outcomes[0], [], tmp_path, command="the command")
    page = (tmp_path / "README.md").read_text()
    for absent in ("three motifs", "Four fixed letters", "cost.png", "gradient through"):
        assert absent not in page
    assert "The motif of the first fold at 10 % as a logo" in page
    assert " 10.0" not in page
    chance = json.loads((tmp_path / "summary.json").read_text())["10 %"][protocol.OURS]["chance"]
    assert chance == pytest.approx(15 / 150)


def test_the_page_and_the_summary(outcomes, tmp_path):
    costs = [Cost(1000, 0.1, 0.25, 0.5)]
    table = experiment.write(outcomes[0], costs, tmp_path, command="the command")
    ours = next(outcome for outcome in outcomes[0] if outcome.method == protocol.OURS)
    assert f"| 10 % | {np.mean(ours.auc):.3f} ± {np.std(ours.auc):.3f} |" in table
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["10 %"][protocol.OURS]["auc"] == pytest.approx(np.mean(ours.auc), abs=1e-5)
    page = (tmp_path / "README.md").read_text()
    assert "`the command`" in page
    assert "| 1,000 | 10% | 0.25 | 0.50 |" in page
    assert "learning_rate 0.003" in page


def test_costs_are_measured_once(tmp_path):
    record = tmp_path / "cost.jsonl"
    first = experiment.measure(record, sizes=[300], shares=[0.5])
    assert [(one.sequences, one.share) for one in first] == [(300, 0.5)]
    assert experiment.measure(record, sizes=[300], shares=[0.5]) == first


def test_a_cost_is_measured():
    found = cost(300, 0.5)
    assert (found.sequences, found.share) == (300, 0.5)
    assert found.seconds > 0
    assert 0.05 < found.gigabytes < 100
