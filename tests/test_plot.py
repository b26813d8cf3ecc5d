import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hopfield import AssociativeMemory, plot
from hopfield.errors import HopfieldError
from hopfield.experiments import capacity
from tests.experiments.tours import tiny

FIGURES: dict[str, Callable[[], Any]] = {
    "recovery": lambda: plot.recovery(tiny().recovery, tiny().pictures["recovery"]),
    "betas": lambda: plot.betas(tiny().betas, tiny().pictures["betas"]),
    "beta_curves": lambda: plot.beta_curves(tiny().betas),
    "networks": lambda: plot.networks(tiny().networks),
    "networks_on_images": lambda: plot.networks_on_images(tiny().networks_on_images, tiny().networks_at_random),
    "spurious": lambda: plot.spurious(tiny().spurious),
    "spurious_states": lambda: plot.spurious_states(tiny().spurious, tiny().pictures["spurious"]),
    "one_step_error": lambda: plot.one_step_error(tiny().error),
    "trade": lambda: plot.trade(tiny().trade),
    "logo": lambda: plot.logo(np.eye(20)[[1, 5, 7]] * 9 + 1, title="a motif"),
    "images": lambda: plot.images({"one": torch.rand(3, 4, 5), "two": torch.rand(3, 4, 5)}, titles=["a", "b", "c"]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_becomes_a_png_with_its_axes_named(name: str) -> None:
    figure = FIGURES[name]()
    content = plot.png(figure, dpi=40)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert figure.axes
    if name not in {"recovery", "betas", "spurious_states", "images"}:
        assert any(axis.get_xlabel() for axis in figure.axes)
        assert any(axis.get_ylabel() for axis in figure.axes)


def test_the_same_figure_gives_the_same_file() -> None:
    first, second = (plot.png(plot.trade(tiny().trade), dpi=40) for _ in range(2))
    assert first == second


def test_energies_show_one_falling_line_for_each_query() -> None:
    patterns = torch.randn(6, 4)
    memory = AssociativeMemory(patterns, beta=2.0)
    found = memory.retrieve(patterns[:3] + 0.1, trajectory=True)
    axis = plot.energies(memory, found).axes[0]
    assert len(axis.lines) == 3
    for line, steps in zip(axis.lines, found.steps.tolist(), strict=True):
        assert len(line.get_xdata()) == steps + 1
    with pytest.raises(HopfieldError, match="trajectory=True"):
        plot.energies(memory, memory.retrieve(patterns[:3]))


def test_many_queries_need_no_legend() -> None:
    patterns = torch.randn(20, 4)
    memory = AssociativeMemory(patterns, beta=2.0)
    figure = plot.energies(memory, memory.retrieve(patterns, trajectory=True))
    assert not figure.legends
    assert plot.png(figure, dpi=40)


def test_capacity_shows_the_bound_where_it_holds() -> None:
    result = capacity.run(beta=1.0, dim=20, radius=3.0, failure=0.001)
    axis = plot.capacity(result).axes[0]
    holds = [point.dim for point in result.curve if point.holds]
    assert list(axis.lines[0].get_xdata()) == holds
    nothing = capacity.run(beta=1.0, dim=5, radius=1.0, failure=1e-6)
    assert "guarantees nothing" in plot.capacity(nothing).axes[0].texts[0].get_text()


def test_capacity_shows_what_was_measured() -> None:
    result = capacity.run(beta=1.0, dim=4, radius=2.0, failure=0.1)
    found = capacity.measure(beta=1.0, radius=2.0, failure=0.1, dims=[2, 3, 4], trials=3, limit=4)
    figure = plot.capacity(capacity.CapacityResult(1.0, 2.0, 0.1, result.bound, result.curve, found))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "measured: stored" in labels
    assert plot.png(figure, dpi=40)


@pytest.mark.parametrize("images", [torch.zeros(3, 4), {}, {"a": torch.zeros(2, 3, 3), "b": torch.zeros(3, 3, 3)}])
def test_images_that_are_no_rows_are_refused(images: Any) -> None:
    with pytest.raises(HopfieldError, match=r"rows \(n, height, width\)"):
        plot.images(images)


def test_missing_matplotlib_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HopfieldError, match=r'pip install "hopfield\[plot\]"'):
        plot.images(torch.rand(1, 2, 2))


def test_importing_and_plotting_leave_pyplot_alone() -> None:
    code = (
        "import sys, torch\nfrom hopfield import plot\nassert 'matplotlib' not in sys.modules\n"
        "plot.png(plot.images(torch.rand(2, 3, 3)))\nassert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_heaviest_instances_of_a_bag_come_first_and_the_others_are_summed_up():
    figure = plot.bag(np.array([0.1, 0.6, 0.05, 0.25]), names=["a", "b", "c", "d"], most=2)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["b", "d", "2 others: 0.15"]
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], [0.6, 0.25])
    (axis,) = plot.bag([0.5, 0.5], names=["short", "a name of far too many letters for a line"]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["short", "a name of far too man…"]
    assert plot.png(figure).startswith(b"\x89PNG")


def test_scores_of_sets():
    fox = {"A": {"auc": 0.7, "std": 0.01}}
    figure = plot.scores({"fox": fox, "tiger": {**fox, "B": {"auc": 0.8, "std": 0}}})
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["fox", "tiger"]
    perfect = plot.scores({"fox": {"A": {"auc": 1.0, "std": 0.0}}})
    assert 100 < perfect.axes[0].get_xlim()[1] < 101  # no AUC is above 100
    assert plot.png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: plot.bag(np.zeros((2, 2))), r"\(n,\) with n of at least 1"),
        (lambda: plot.bag([]), r"\(n,\) with n of at least 1"),
        (lambda: plot.bag([0.5, 0.5], names=["a"]), "names must be as many"),
        (lambda: plot.bag([np.ones(2), np.ones(3)]), "one array per bag: choose one of them"),
        (lambda: plot.bag([0.5, np.nan]), "weights must be finite"),
        (lambda: plot.bag([0.5, 0.5], most=0), "most must be an integer of at least 1, got 0"),
        (lambda: plot.scores({}), "no scores"),
    ],
)
def test_wrong_bags_and_scores(call, text):
    with pytest.raises(HopfieldError, match=text):
        call()


def test_a_logo_is_as_high_as_its_information() -> None:
    counts = np.zeros((3, 20))
    counts[0, 4] = 7  # certain: log2(20) bits
    counts[1, [4, 9]] = 5  # two alike: 1 bit less
    counts[2] = 3  # all alike: nothing
    axis = plot.logo(counts).axes[0]
    boxes = [patch.get_path().get_extents() for patch in axis.patches]
    assert len(boxes) == 3
    np.testing.assert_allclose(
        [box.height for box in boxes], [np.log2(20), np.log2(10) / 2, np.log2(10) / 2], rtol=1e-6
    )
    np.testing.assert_allclose(max(box.y1 for box in boxes[1:]), np.log2(10), rtol=1e-6)
    assert all(round(box.x0 + box.width / 2) == place for box, place in zip(boxes, (1, 2, 2), strict=True))
    general = 19 * np.eye(20)[4] + 1
    assert not plot.logo(general[None], background=general).axes[0].patches  # as frequent as in general


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: plot.logo(np.ones((3, 21))), "one column per amino acid"),
        (lambda: plot.logo(np.zeros((3, 20))), "no letter to show"),
        (lambda: plot.logo(["CAS", "CAT"]), "how often each amino acid is at each place"),
        (lambda: plot.logo(-np.ones((3, 20))), "at least 0"),
        (lambda: plot.logo(np.ones((0, 20))), "places"),
        (lambda: plot.logo(np.ones((3, 20)), background=np.zeros(20)), "background must be 20 numbers above 0"),
        (lambda: plot.cost({}), "measure some first"),
    ],
)
def test_logos_and_costs_that_make_no_sense(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(HopfieldError, match=text):
        make()


def test_costs_are_lines_over_sizes() -> None:
    figure = plot.cost({"one": [(2000, 2.0, 0.2), (1000, 1.0, 0.1)], "other": [(1000, 3.0, 0.5)]})
    time, memory = figure.axes
    assert [list(line.get_xdata()) for line in time.lines] == [[1, 2], [1]]
    assert list(memory.lines[0].get_ydata()) == [0.1, 0.2]
    assert plot.png(figure, dpi=40)


def test_molecules_are_drawn_with_weights_and_labels() -> None:
    pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')
    figure = plot.molecules(
        ["CCO", "c1ccccc1", "O"], weights=[0.5, 0.042, 0.0004], labels=[1, 0, 1], query="CCN", columns=2
    )
    captions = [axis.get_xlabel() for axis in figure.axes]
    assert captions == ["query", "50.0 %, label 1", "4.2 %, label 0", "0.04 %, label 1"]
    assert all(axis.images[0].get_array().std() > 0 for axis in figure.axes)  # something is drawn
    boxes = [axis.get_position() for axis in figure.axes]
    assert boxes[0].y0 == pytest.approx(boxes[1].y0)
    assert boxes[0].y0 > boxes[2].y1
    assert boxes[0].x0 == pytest.approx(boxes[2].x0)
    assert boxes[0].x1 < boxes[1].x0
    labels = ["toxic", 1.0, np.nan, "$x_$", "a" * 30]
    captions = [axis.get_xlabel() for axis in plot.molecules(["C"] * 5, labels=labels).axes]
    assert captions == ["label toxic", "label 1", "label unknown", "label $x_$", f"label {'a' * 13}…"]
    assert plot.png(plot.molecules(["C"], labels=["$x_$"]), dpi=40)  # no formula


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: plot.molecules([]), "a list of at least one molecule"),
        (lambda: plot.molecules("CCO"), "a list of at least one molecule"),
        (lambda: plot.molecules(["C", "C("]), r"cannot read the molecule 'C\(' \(number 1"),
        (lambda: plot.molecules(["C"], query="C("), "the query: RDKit cannot read"),
        (
            lambda: plot.molecules(["C", "CC"], weights=[1.0]),
            r"weights must be one for each of the 2 molecules",
        ),
        (lambda: plot.molecules(["C"], weights=["a"]), "weights must be numbers of at least 0, got 'a'"),
        (lambda: plot.molecules(["C"], weights=[float("nan")]), "weights must be numbers of at least 0"),
        (lambda: plot.molecules(["C"], columns=1.5), "columns must be an integer"),
        (lambda: plot.molecules(["C"], labels=[]), "labels must be one for each"),
        (lambda: plot.molecules(["C"], columns=0), "columns must be an integer of at least 1"),
    ],
)
def test_molecules_that_cannot_be_drawn(make: Callable[[], Any], text: str) -> None:
    pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')
    with pytest.raises(HopfieldError, match=text):
        make()
