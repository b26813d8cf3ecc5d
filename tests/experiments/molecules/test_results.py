import csv
import json

import numpy as np
import pytest

from hopfield.experiments.molecules import METHODS, OURS, PRINTED, SETS, summary, write
from hopfield.experiments.molecules.protocol import Outcome


def made_up(sets=SETS, methods=METHODS):
    rng = np.random.default_rng(0)
    return [
        Outcome(name, method, split, float(rng.uniform(0.6, 0.9)), "C=1", 6.0, 0, "digest", 100, "1 unreadable rows")
        for name in sets
        for method in methods
        for split in range(5)
    ]


def test_means_and_deviations_over_splits():
    outcomes = made_up()
    found = summary(outcomes)
    assert list(found) == list(SETS)
    values = [o.auc for o in outcomes if (o.data, o.method) == ("bbbp", "SVM")]
    assert found["bbbp"]["SVM"] == pytest.approx({"auc": np.mean(values), "std": np.std(values)}, abs=1e-5)


def test_files_with_the_printed_table_beside(tmp_path):
    outcomes = made_up()
    table = write(outcomes, tmp_path, command="hopfield reproduce molecules")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary(outcomes)
    page = (tmp_path / "README.md").read_text()
    assert table in page
    assert "hopfield reproduce molecules" in page
    assert "| *printed: Hopfield* | 0.815 ± 0.023 | **0.902 ± 0.023** | 0.910 ± 0.026 | **0.672 ± 0.019** |" in table
    assert "**0.834 ± 0.025**" in table
    assert max(len(line) for line in page.splitlines() if not line.startswith("|")) <= 120
    with (tmp_path / "auc.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * len(METHODS) * 5
    assert (rows[0]["set"], rows[0]["method"], rows[0]["split"], rows[0]["chosen"]) == ("hiv", OURS, "0", "C=1")
    assert float(rows[0]["auc"]) == pytest.approx(outcomes[0].auc, abs=1e-6)


def test_the_best_of_a_run_is_bold(tmp_path):
    outcomes = made_up(["bace"])
    best = max(summary(outcomes)["bace"].items(), key=lambda item: item[1]["auc"])[0]
    lines = write(outcomes, tmp_path, command="command").splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines if "**" in line and "printed" not in line] == [
        best
    ]


def test_a_run_of_some_sets_and_methods(tmp_path):
    table = write(made_up(["sider"], ["SVM"]), tmp_path, command="command")
    assert table.splitlines()[0] == "| method | SIDER | core minutes |"
    assert "Random forest: " not in (tmp_path / "README.md").read_text()


def test_the_printed_table_is_whole():
    assert len(PRINTED) == 9
    assert all(set(row) == set(SETS) for row in PRINTED.values())
