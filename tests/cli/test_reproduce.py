import json
from functools import partial

import pytest

from tests.cli.runs import refused
from tests.datasets.uci import write as write_uci


def test_reproduce_mil_writes_a_table_and_a_figure(run, shared, tmp_path, monkeypatch):
    from hopfield.experiments.mil import protocol

    networks = {name: partial(kind, embedding=(4,), epochs=2) for name, kind in protocol.NETWORKS.items()}
    monkeypatch.setattr(protocol, "NETWORKS", networks)
    out = tmp_path / "mil"
    options = ["--sets", "musk1", "--repetitions", 1, "--jobs", 1, "--backend", "sequential"]
    code, printed, err = run("reproduce", "mil", "--data-dir", shared / "data", "--out", out, *options)
    assert code == 0, err
    assert "| HopfieldBagClassifier |" in printed
    assert (out / "auc.png").read_bytes().startswith(b"\x89PNG")
    assert set(json.loads((out / "summary.json").read_text())["musk1"]) == set(protocol.METHODS)
    assert "musk1" in (out / "README.md").read_text()


def test_reproduce_mil_refuses_an_unknown_set(run, shared, tmp_path):
    refused(run("reproduce", "mil", "--data-dir", shared / "data", "--sets", "wolf", "--out", tmp_path), "fox", "wolf")


def test_reproduce_repertoires_writes_a_table_and_figures(run, tmp_path, monkeypatch):
    from hopfield.experiments import repertoires

    costs = [repertoires.cost.Cost(1000 * n, share, n, n) for n in (1, 2) for share in (0.1, 1.0)]
    monkeypatch.setattr(repertoires, "measure", lambda record, progress: costs)
    options = ["--conditions", "10 %; 1 %", "--repertoires", 20, "--sequences", 150]
    code, printed, err = run(
        "reproduce", "repertoires", "--out", tmp_path, *options, "--jobs", 1, "--backend", "sequential"
    )
    assert code == 0, err
    assert "| 10 % | 1.000 ± 0.000 |" in printed
    for name in ("auc.png", "cost.png", "motif.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["10 %", "1 %"]
    assert summary["10 %"]["HopfieldBagClassifier"].keys() == {"auc", "std", "precision", "chance"}
    page = (tmp_path / "README.md").read_text()
    assert '--conditions "10 %; 1 %" --repertoires 20 --sequences 150 --seed 0' in page
    assert "CRWQMHY, 2 others" in page


def test_reproduce_repertoires_refuses_an_unknown_condition(run, tmp_path):
    refused(run("reproduce", "repertoires", "--conditions", "2 %", "--out", tmp_path), "2 %", "0.1 %")


def test_nothing_to_reproduce(run, tmp_path):
    refused(run("reproduce", "mil", "--sets", "", "--out", tmp_path), "choose at least one set")
    refused(run("reproduce", "repertoires", "--conditions", " ; ", "--out", tmp_path), "no condition")


def test_reproduce_repertoires_without_costs(run, tmp_path):
    options = ["--repertoires", 20, "--sequences", 150, "--jobs", 1, "--backend", "sequential", "--no-cost"]
    code, printed, _ = run("reproduce", "repertoires", "--out", tmp_path, "--conditions", "10%", *options)
    assert code == 0
    assert "cost.png" not in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "auc.png",
        "motif.png",
        "outcomes.jsonl",
        "summary.json",
    }


@pytest.mark.parametrize("command", ["mil", "repertoires"])
def test_an_interrupt_says_what_is_kept(run, tmp_path, monkeypatch, command):
    from hopfield.experiments import mil, repertoires

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    for experiment in (mil, repertoires):
        monkeypatch.setattr(experiment, "run", interrupt)
    code, _, err = run("reproduce", command, "--out", tmp_path)
    assert code != 0
    assert f"Stopped. {tmp_path / 'outcomes.jsonl'} has what was done; the same command goes on." in err


def test_folders_that_cannot_be_written(run, tmp_path):
    refused(run("reproduce", "mil", "--out", "/proc"), "cannot write into the folder /proc")
    (tmp_path / "file").touch()
    refused(run("reproduce", "repertoires", "--out", tmp_path / "file"), "cannot make the folder")


def test_reproduce_uci_writes_a_table_and_a_figure(run, tmp_path):
    for name in ("iris", "wine", "zoo"):
        write_uci(tmp_path / "uci", name, n=30)
    out = tmp_path / "out"
    options = ["--data-dir", tmp_path, "--out", out, "--jobs", 1, "--backend", "sequential"]
    methods = "K-NEAREST neighbours, logistic regression"
    code, printed, err = run("reproduce", "uci", *options, "--methods", methods)
    assert code == 0, err
    assert "| Logistic regression |" in printed
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "accuracy.csv",
        "outcomes.jsonl",
        "ranks.png",
        "summary.json",
    }
    assert json.loads((out / "summary.json").read_text())["sets"] == 3


def test_reproduce_uci_refuses_unknown_sets_and_methods(run, tmp_path):
    write_uci(tmp_path, "iris")
    options = ("reproduce", "uci", "--data-dir", tmp_path, "--out", tmp_path / "out")
    refused(run(*options, "--sets", "irish"), "did you mean iris")
    refused(run(*options, "--methods", "Guessing"), "methods must be from HopfieldClassifier", "Guessing")


def test_reproduce_molecules_writes_a_table(run, tmp_path):
    pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')
    lines = [f"{'C' * (i + 1)}{end},{int(end == 'O')}" for i in range(20) for end in "ON"]
    (tmp_path / "bace.csv").write_text("\n".join(["smiles,Class", *lines]) + "\n")
    out = tmp_path / "out"
    options = ["--data-dir", tmp_path, "--out", out, "--jobs", 1, "--backend", "sequential"]
    code, printed, err = run("reproduce", "molecules", *options, "--sets", "BACE", "--methods", "svm")
    assert code == 0, err
    assert "| SVM | **" in printed
    assert {path.name for path in out.iterdir()} == {"README.md", "auc.csv", "outcomes.jsonl", "summary.json"}
    assert json.loads((out / "summary.json").read_text())["bace"]["SVM"]["auc"] > 0.9
    assert "hopfield reproduce molecules --data-dir DATA --sets bace" in (out / "README.md").read_text()


def test_reproduce_molecules_refuses_unknown_sets_and_methods(run, tmp_path):
    options = ("reproduce", "molecules", "--data-dir", tmp_path, "--out", tmp_path / "out")
    refused(run(*options, "--sets", "tox21"), "sets must be from hiv, bace, bbbp, sider; got tox21")
    refused(run(*options, "--methods", "Guessing"), "methods must be from Hopfield lookup", "Guessing")
    refused(run(*options, "--sets", "bace"), "bace.csv")
