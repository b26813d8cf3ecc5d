import csv
import json

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, wilcoxon

from hopfield import plot
from hopfield.errors import HopfieldError
from hopfield.experiments.uci import METHODS, OURS, Comparison, summary, write
from hopfield.experiments.uci.protocol import Outcome


def made_up(accuracies, methods=METHODS[:3], seen=lambda i: i % 2 == 0):
    """Outcomes with these accuracies (sets, methods), each on two splits around it."""
    return [
        Outcome(f"set{i:02}", method, (value - 0.01, value + 0.01), ("C=1", "C=2"), 2.0, 0, "digest", seen(i))
        for i, row in enumerate(accuracies)
        for method, value in zip(methods, row, strict=True)
    ]


@pytest.fixture
def accuracies():
    return np.random.default_rng(0).uniform(0.5, 0.9, (20, 3)).round(3)


def test_ranks_p_values_and_means(accuracies):
    found = summary(made_up(accuracies))
    places = (-accuracies).argsort(1).argsort(1) + 1
    assert list(found["average_rank"].values()) == places.mean(0).round(4).tolist()
    assert list(found["average_rank_unseen"].values()) == places[1::2].mean(0).round(4).tolist()
    wanted = wilcoxon(accuracies[:, 0], accuracies[:, 2]).pvalue
    assert found["p_value"][METHODS[2]] == pytest.approx(wanted)
    assert OURS not in found["p_value"]
    assert found["seconds"] == dict.fromkeys(METHODS[:3], 40.0)
    assert found["accuracy"][OURS] == pytest.approx(accuracies[:, 0].mean(), abs=1e-5)
    assert found["sets"] == 20


def test_methods_that_are_level_share_their_places():
    comparison = Comparison.of(made_up([[0.8, 0.8, 0.7], [0.9, 0.9, 0.9]]))
    assert comparison.ranks.tolist() == [[1.5, 1.5, 3], [2, 2, 2]]
    assert comparison.p_values()[METHODS[1]] == 1


def test_a_set_that_a_method_lacks_is_left_out(accuracies):
    outcomes = made_up(accuracies)[:-1]
    assert len(Comparison.of(outcomes).sets) == 19
    with pytest.raises(HopfieldError, match="no set with outcomes of all methods"):
        Comparison.of([o for o in outcomes if (o.data == "set00") == (o.method == OURS)])


def test_the_critical_difference_is_that_of_nemenyi():
    """Demšar 2006, table 5: q of 5 methods at 5 % is 2.728."""
    rows = np.random.default_rng(0).random((30, 5))
    comparison = Comparison.of(made_up(rows, METHODS[:5]))
    assert comparison.critical_difference() == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 30)), rel=1e-3)
    # the ranks are those of Friedman's test
    ranks = comparison.ranks.mean(0)
    assert 12 * 30 / (5 * 6) * ((ranks - 3) ** 2).sum() == pytest.approx(friedmanchisquare(*rows.T).statistic)


def test_files(accuracies, tmp_path):
    outcomes = made_up(accuracies)
    table = write(outcomes, tmp_path, command="hopfield reproduce uci")
    assert json.loads((tmp_path / "summary.json").read_text()) == summary(outcomes)
    page = (tmp_path / "README.md").read_text()
    assert table in page
    assert "hopfield reproduce uci" in page
    with (tmp_path / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 * 3 * 2
    first = rows[1]
    assert (first["set"], first["split"], first["method"], first["chosen"]) == ("set00", "1", OURS, "C=2")
    assert float(first["accuracy"]) == pytest.approx(accuracies[0, 0] + 0.01)


def test_a_run_of_one_method_has_no_comparison(accuracies, tmp_path):
    outcomes = made_up(accuracies[:, :1], METHODS[1:2])
    assert summary(outcomes)["p_value"] == {}
    write(outcomes, tmp_path, command="command")


def test_the_figure_shows_every_method_and_joins_those_that_are_close():
    figure = plot.critical_difference({"a": 1.2, "b": 1.5, "c": 3.3}, 0.5)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "c"]
    bars = [line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2]
    assert [list(bar) for bar in bars] == [[1.2, 1.5]]
    with pytest.raises(HopfieldError, match="two or more methods"):
        plot.critical_difference({"a": 1.0}, 0.5)
