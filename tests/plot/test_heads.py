import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from hopfield import plot
from hopfield.errors import HopfieldError
from hopfield.plot import classes
from tests.plot.readings import layer, report, spread


def numbers(axis: Any) -> list[str]:
    """What stands above the violins, from left to right."""
    texts = [text for text in axis.texts if text.get_fontweight() == "bold"]
    return [text.get_text() for text in sorted(texts, key=lambda text: text.get_position()[0])]


def below(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


def fills(axis: Any) -> list[str]:
    return [to_hex(violin.get_facecolor()[0]).upper() for violin in axis.collections]


def named(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_heads_are_sorted_by_the_median_and_coloured_by_their_class():
    medians = [300, 5, 100, 20]
    figure = plot.heads(report(layer("m.0.attn", spread(medians)), layer("m.1.attn", spread(medians[::-1]))))
    first, second = figure.axes
    assert numbers(first) == numbers(second) == ["5", "20", "100", "300"]
    assert below(first) == ["1", "3", "2", "0"]
    assert below(second) == ["2", "0", "1", "3"]
    assert fills(first) == [classes.COLOURS[name].upper() for name in ("IV", "III", "II", "I")]
    assert [axis.get_ylabel() for axis in figure.axes] == ["layer 0", "layer 1"]
    assert named(figure)[0] == "I  averages all: k > N/2"
    assert len(named(figure)) == 4


def test_lines_part_the_classes_where_all_rows_attend_to_the_same_number():
    (axis,) = plot.heads(report(layer("attn", spread([300, 5])))).axes
    lines = {line.get_ydata()[0] for line in axis.lines if len(set(line.get_ydata())) == 1}
    assert {16, 64, 256} <= lines
    assert [label.get_text() for label in axis.get_yticklabels()] == ["256", "64", "16", "512"]


def test_shares_are_shown_where_rows_attend_to_different_numbers():
    keys = torch.arange(1, 129.0)[:, None].expand(128, 2)
    k = (keys * torch.tensor([0.75, 0.25])).clamp(min=1)
    k[:31, 0] = 1  # rows of fewer than 32 keys, which do not count
    figure = plot.heads(report(layer("attn", k, keys)))
    (axis,) = figure.axes
    assert numbers(axis) == ["25%", "75%"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["N/2", "N/8", "N/32", "N"]
    assert axis.collections[1].get_paths()[0].vertices[:, 1].min() > 0.6
    assert figure.get_supylabel().startswith("k/N")


def test_a_few_keys_less_are_no_difference():
    keys = torch.full((100, 1), 512.0)
    keys[50:] = 490
    figure = plot.heads(report(layer("attn", spread([100], rows=100), keys)))
    assert numbers(figure.axes[0]) == ["100"] or numbers(figure.axes[0]) == ["99"]


def test_a_replaced_head_leaves_a_hatched_gap_at_the_end():
    k = spread([300, 20, 100])
    k[:, 1] = torch.nan
    figure = plot.heads(report(layer("attn", k)))
    (axis,) = figure.axes
    assert below(axis) == ["2", "0", "1"]
    assert numbers(axis) == ["100", "300"]
    (gap,) = axis.patches
    assert gap.get_hatch()
    assert gap.get_x() < 2 < gap.get_x() + gap.get_width()
    assert named(figure)[-1] == "replaced by an average"
    everything = plot.heads(report(layer("attn", torch.full((5, 3), torch.nan))))
    assert len(everything.axes[0].patches) == 3
    assert plot.png(everything, dpi=40)


def test_heads_of_too_few_keys_are_grey():
    figure = plot.heads(report(layer("attn", spread([5], keys=16), 16.0)))
    assert fills(figure.axes[0]) == [classes.NONE.upper()]
    assert named(figure)[-1] == "no class: too few keys"


@pytest.mark.parametrize(
    "layers",
    [
        [layer("", torch.full((1, 1), 3.0))],
        [layer("a.0", torch.full((7, 3), 1.0)), layer("a.1", torch.full((7, 1), 512.0))],
        [layer(f"a.{n}", spread([1, 2, 512, 300] * 4)) for n in range(14)],
        [layer("enc.0.a_very_long_name", spread([3] * 40)), layer("attn", spread([3], keys=9) * 7000, 70_000)],
    ],
    ids=["one row", "all alike", "many layers", "many heads"],
)
def test_any_model_becomes_a_figure(layers):
    figure = plot.heads(report(*layers), title="of a model")
    assert len(figure.axes) == len(layers)
    assert figure.legends[0].get_title().get_text() == "of a model"
    assert plot.png(figure, dpi=40).startswith(b"\x89PNG")


def test_violins_are_as_wide_in_layers_of_other_numbers_of_heads():
    figure = plot.heads(report(layer("a.0", spread([100])), layer("a.1", spread([100] * 8))))
    widths = [np.ptp(axis.collections[0].get_paths()[0].vertices[:, 0]) for axis in figure.axes]
    assert widths[0] == pytest.approx(widths[1])
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_one_head_is_no_report():
    head = report(layer("a.0", spread([100]))).heads[0]
    with pytest.raises(HopfieldError, match=r"expected the report of a HeadLens, lens\.report\(\), got Head"):
        plot.heads(head)


def test_no_layers():
    with pytest.raises(HopfieldError, match="the report has no layers"):
        plot.heads(report())


@pytest.mark.parametrize(("share", "regime"), [(0.51, "I"), (0.5, "II"), (0.125, "III"), (1 / 32, "IV"), (0.0, "IV")])
def test_classes_begin_above_their_bounds(share, regime):
    assert classes.class_of(share) == regime
    assert classes.class_of(math.nan) is None


def test_a_density_lies_where_the_numbers_are():
    places, heights = classes.density(np.full(50, 100.0), 1.0, 512.0)
    assert places[heights.argmax()] == pytest.approx(100, rel=0.02)
    assert heights.max() == 1
    assert np.ptp(places) < 40
    generator = np.random.default_rng(0)
    numbers = generator.integers(1, 513, 20_000).astype(float)
    places, heights = classes.density(numbers, 1.0, 512.0)
    mass = heights * np.gradient(np.sqrt(places))  # a density over the root of k
    median = places[np.searchsorted(mass.cumsum(), mass.sum() / 2)]
    assert median == pytest.approx(256, rel=0.03)
    shares, _ = classes.density(numbers, 512.0, 1.0)
    assert shares.max() <= 1


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"], ["layer 0", "layer 1"]),
        (["h.0.attn", "h.10.attn"], ["layer 0", "layer 10"]),
        (["enc.0.attn", "dec.0.attn", "dec.1.attn"], ["enc 0", "dec 0", "dec 1"]),
        (["a.b", "a"], ["a b", "a"]),
        (["a.b"], ["a b"]),
        ([""], ["(model)"]),
    ],
)
def test_names_of_layers_lose_what_all_share(names, short):
    assert classes.short_names(names) == short
