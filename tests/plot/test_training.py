import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from hopfield import plot
from hopfield.errors import HopfieldError
from hopfield.plot import classes
from tests.plot.readings import spread

STEPS = torch.tensor([0, 10, 100, 1000])


def shares() -> torch.Tensor:
    """(4, 2, 3): all heads begin as averages; the last of the second layer is not there."""
    ends = torch.tensor([[0.7, 0.2, 0.01], [0.6, 0.1, torch.nan]])
    return 0.7 + torch.linspace(0, 1, 4)[:, None, None] * (ends - 0.7)


def heads_of(axis):
    return [line for line in axis.lines if len(line.get_xdata()) == len(STEPS)]


def test_a_history_has_a_panel_for_each_layer_and_a_line_for_each_head():
    figure = plot.head_history(STEPS, shares())
    first, second = figure.axes
    assert [to_hex(line.get_color()).upper() for line in heads_of(first)] == [
        classes.COLOURS[name].upper() for name in ("I", "II", "IV")
    ]
    assert len(heads_of(second)) == 2
    np.testing.assert_allclose(heads_of(first)[1].get_ydata(), shares()[:, 0, 1])
    assert [axis.get_ylabel() for axis in figure.axes] == ["layer 0", "layer 1"]
    assert second.get_xlabel() == "training steps"
    assert second.get_xlim() == (0, 1000)
    assert plot.png(figure, dpi=40).startswith(b"\x89PNG")


def test_losses_stand_above_on_the_same_axis():
    losses = {"training": ([0, 500, 2000], [3.0, 2.0, 1.0]), "validation": (torch.tensor([0, 2000]), [3.1, 1.5])}
    figure = plot.head_history(STEPS, shares(), losses, names=["a.0.b", "a.1.b"], log=True, title="BERT")
    loss, first, _ = figure.axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert loss.get_ylabel() == "loss"
    assert loss.get_xlim() == first.get_xlim() == (0, 2000)
    assert first.get_xscale() == "symlog"
    assert figure.legends[0].get_title().get_text() == "BERT"
    assert plot.png(figure, dpi=40)


def test_a_single_moment_is_a_point():
    figure = plot.head_history([7], shares()[:1])
    assert [line.get_marker() for line in figure.axes[0].lines[-3:]] == ["."] * 3
    assert plot.png(figure, dpi=40)


def test_steps_and_heads_without_numbers():
    figure = plot.head_history(STEPS, torch.full((4, 1, 2), torch.nan))
    assert heads_of(figure.axes[0]) == []
    assert plot.png(figure, dpi=40)
    (axis,) = plot.head_ridges([(0, torch.full((5,), torch.nan)), (1, torch.ones(5))], 512).axes
    assert len(axis.collections) == 1


def test_ridges_go_down_with_time_in_the_colours_of_their_classes():
    moments = [(0, spread([300])[:, 0]), (1000, spread([100])[:, 0]), (20_000, spread([4])[:, 0])]
    (axis,) = plot.head_ridges(moments, 512, names=["layer 0, head 3"]).axes
    assert [to_hex(ridge.get_facecolor()[0]).upper() for ridge in axis.collections] == [
        classes.COLOURS[name].upper() for name in ("I", "II", "IV")
    ]
    bases = [ridge.get_paths()[0].vertices[:, 1].min() for ridge in axis.collections]
    assert bases == [0, -1, -2]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "1,000", "20,000"]
    assert axis.get_title(loc="left") == "layer 0, head 3"


def test_each_head_of_a_layer_has_a_panel():
    k = spread([300, 20, 100, 7, 9])
    k[:, 1] = torch.nan  # replaced
    figure = plot.head_ridges([(step, k) for step in range(30)], 512, title="layer 0")
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title(loc="left") for axis in shown] == [f"head {n}" for n in range(5)]
    assert [len(axis.collections) for axis in shown] == [30, 0, 30, 30, 30]
    assert len(shown[0].get_yticks()) == 10
    assert plot.png(figure, dpi=40)
    shares = plot.head_ridges([(0, spread([300]) / 512)], 1)
    assert [label.get_text() for label in shares.axes[0].get_xticklabels()] == ["N/2", "N/8", "N/32", "N"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: plot.head_history([], shares()), r"steps must be rising numbers \(T,\)"),
        (lambda: plot.head_history([0, 2, 1, 3], shares()), "steps must be rising"),
        (lambda: plot.head_history([0, 1], shares()), r"\(T, layers, heads\) with T = 2 as in steps; got \(4, 2, 3\)"),
        (lambda: plot.head_history(STEPS, shares()[0]), r"\(T, layers, heads\)"),
        (lambda: plot.head_history(STEPS, shares() * 512), "from 0 to 1: divide k by the number of keys"),
        (lambda: plot.head_history(STEPS, shares(), names=["a"]), "names must be as many as layers, 2; got 1"),
        (lambda: plot.head_history(STEPS, shares(), {"a": ([0, 1], [1.0])}), "loss 'a' must be steps and values"),
        (lambda: plot.head_ridges([], 512), "at least one pair of a step and samples"),
        (lambda: plot.head_ridges([(0, torch.ones(3, 2)), (1, torch.ones(3, 3))], 512), "with the same heads"),
        (lambda: plot.head_ridges([(0, torch.tensor(1.0))], 512), "at least one pair"),
        (lambda: plot.head_ridges([(0, torch.full((3,), 600.0))], 512), "keys must be the number N of keys"),
        (lambda: plot.head_ridges([(0, torch.ones(3))], 0), "keys must be"),
        (lambda: plot.head_ridges([(0, torch.ones(3))], 512, names=["a", "b"]), "names must be as many as heads, 1"),
        (lambda: plot.head_ridges([(0, torch.ones(3))], 512, columns=0), "columns must be at least 1"),
    ],
)
def test_what_makes_no_picture(make, text):
    with pytest.raises(HopfieldError, match=text):
        make()


def test_importing_plot_brings_no_lens_along():
    code = "import sys\nfrom hopfield import plot\nassert not [n for n in sys.modules if n.startswith('hopfield.lens')]"
    subprocess.run([sys.executable, "-c", code], check=True)
