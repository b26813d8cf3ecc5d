"""What a lens has seen, as objects, as a table and as JSON."""

import itertools
import json
import math

import pytest
import torch
from torch import nn

from hopfield import HopfieldError
from hopfield.lens import HeadLens, HeadReport, LayerReading, replace_heads, set_updates
from hopfield.lens.report import BOUNDS, CLASSES, plain
from tests.core.catalogue import examples, generator, integer, normal, uniform
from tests.lens.catalogue import BART, BERT, Projects, inputs, transformer


def made(model=None, seed=0, **options):
    model = nn.Sequential(Projects(), Projects(4)) if model is None else model
    with HeadLens(model, **{"rows": None, "least": 1} | options) as lens:
        lens.model(5 * normal(generator(seed), 3, 40, 16).float())
    return lens.report()


def reading(shares, *, name="a", extra=0) -> LayerReading:
    """A layer whose heads have rows with these k of 64 keys."""
    k = torch.tensor(shares).double().T  # (n, h)
    attended = torch.full_like(k, 64.0)
    counts = []
    for head in k.T:
        bounds = [64 * bound for bound in BOUNDS]
        classes = [sum(bool(n > b) for n in head) for b in bounds] + [len(head)]
        counts.append([classes[0], *(b - a for a, b in itertools.pairwise(classes))])
    zeros = torch.zeros_like(k)
    sample = torch.stack([k, attended, zeros, zeros, zeros, zeros], -1)
    return LayerReading(
        name=name,
        heads=k.shape[1],
        rows=len(k) + extra,
        by_class=torch.tensor(counts),
        means=sample.mean(0),
        sample=sample,
        landings=torch.empty(0, k.shape[1], 5),
    )


@examples(10)
def test_heads_are_the_medians_of_their_rows(seed):
    g = generator(seed)
    report = made(seed=seed, rows=integer(g, 1, 9), mass=uniform(g, 0.5, 1.0))
    assert [(head.layer, head.head) for head in report.heads] == [("0", 0), ("0", 1), *(("1", n) for n in range(4))]
    for layer in report.layers:
        for head, regime in zip(layer.read(), layer.regimes(), strict=True):
            rows = layer.sample[:, head.head]
            middle = (len(rows) - 1) // 2
            values = rows.sort(0).values[middle].tolist()
            assert [head.k, *values[2:]] == [values[0], head.entropy, head.energy, head.frobenius, head.spectral]
            assert head.share == (rows[:, 0] / rows[:, 1]).sort().values[middle]
            assert head.regime == regime
            assert head.spread == tuple(sorted(head.spread))
            assert all(value in rows[:, 0].tolist() for value in head.spread)
            assert math.isclose(sum(head.classes), 1.0)
            assert math.isclose(head.classes[0], float((rows[:, 0] > rows[:, 1] / 2).double().mean()))
            assert head.landing is not None


def test_classes_are_counted():
    report = HeadReport((reading([[40, 40, 1], [9, 9, 9]]), reading([[3, 3, 3], [2, 2, 2]], name="b")), 0.9, 32)
    assert [layer.regimes() for layer in report.layers] == [["I", "II"], ["III", "IV"]]
    assert report.counts() == [
        {"I": 1, "II": 1, "III": 0, "IV": 0},
        {"I": 0, "II": 0, "III": 1, "IV": 1},
    ]
    # on the bound is below it
    assert reading([[32], [8], [2]]).regimes() == ["II", "III", "IV"]
    # the lower one of two in the middle
    assert reading([[40, 40, 9, 9]]).regimes() == ["II"]


def test_heads_are_found_by_class_and_layer():
    report = HeadReport((reading([[40], [9]]), reading([[3], [40]], name="b"), reading([[9], [9]], name="c")), 0.9, 32)

    def names(*args, **options):
        return [(head.layer, head.head) for head in report.find(*args, **options)]

    assert names("I") == [("a", 0), ("b", 1)]
    assert names(["I", "III"]) == [("a", 0), ("b", 0), ("b", 1)]
    assert names("II", layers=slice(2)) == [("a", 1)]
    assert names("II", layers=[2, 0]) == [("c", 0), ("c", 1), ("a", 1)]
    assert names("II", layers=slice(-1, None)) == [("c", 0), ("c", 1)]
    assert names("IV") == []
    assert len(names()) == 6
    with pytest.raises(HopfieldError, match="classes are I, II, III, IV, got V, VI"):
        report.find(["VI", "I", "V"])
    with pytest.raises(HopfieldError, match=r"classes are I, II, III, IV, got $"):
        report.find("")


def test_what_there_is_not_is_refused_by_name_and_number():
    report = made()
    assert (
        report.find(layers=1) == report.find(layers="1") == report.find(layers=[-1]) == report.find(layers=slice(1, 2))
    )
    assert [layer.name for layer in report] == ["0", "1"]
    for which in (7, -3, "encoder"):
        with pytest.raises(HopfieldError, match=f"no layer {which!r}; there are 0, 1, by number 0 to 1"):
            report[which]
        with pytest.raises(HopfieldError, match=f"no layer {which!r}"):
            report.find("I", layers=[which])


def test_a_report_shows_itself_as_its_table():
    report = made()
    assert repr(report) == str(report)
    assert "tensor" not in repr(report.layers)
    assert "no class" not in str(report)
    assert str(made(least=50)).endswith("no class: no row attends to 50 keys or more (least=)")


def test_layers_are_named_and_numbered():
    report = made()
    assert report["1"] is report[1] is report.layers[1]
    assert report[-1].heads == 4
    assert [layer.name for layer in report] == ["0", "1"]
    with pytest.raises(HopfieldError, match="no layer '2'; there are 0, 1"):
        report["2"]
    with pytest.raises(HopfieldError, match="unknown quantity 'N'; expected one of k, attended, entropy, energy"):
        report[0].of("N")


def test_the_table_has_a_line_for_every_head():
    report = made()
    title, *rows = report.rows()
    assert title[:4] == ["layer", "head", "class", "k"]
    assert len(rows) == 6
    assert all(len(row) == len(title) for row in rows)
    lines = str(report).splitlines()
    assert len(lines) == 7
    assert [line.split()[:3] for line in lines[1:]] == [row[:3] for row in rows]
    # columns stand under one another
    for start in (lines[0].index(name) for name in ("head", "class", "entropy")):
        assert all(line[start - 1] == " " and line[start] != " " for line in lines)
    assert "after" in lines[1]


def awkward() -> list[HeadReport]:
    """Reports in which numbers are missing."""
    model, given = transformer(BERT), inputs(BERT)
    reports = [made(settled=0), made(least=100), HeadReport((reading([[1]]),), 0.9, 32)]
    for edit in (
        lambda: replace_heads(model, {BERT.layers[0]: [0], BERT.layers[1]: [0, 1]}),
        lambda: set_updates(model, separation="sparsemax"),
    ):
        with edit(), HeadLens(model, least=1) as lens:
            model(**given)
        reports.append(lens.report())
    return reports


def test_files_are_json_without_what_json_has_not(tmp_path):
    for report in [made(), *awkward()]:
        report.save(tmp_path / "report.json")
        text = (tmp_path / "report.json").read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert found == json.loads(json.dumps(report.to_dict()))
        assert (found["mass"], found["least"]) == (report.mass, report.least)
        assert [(layer["name"], layer["heads"], layer["rows"]) for layer in found["layers"]] == [
            (layer.name, layer.heads, layer.rows) for layer in report.layers
        ]
        for one, head in zip(found["heads"], report.heads, strict=True):
            assert (one["layer"], one["head"], one["regime"]) == (head.layer, head.head, head.regime)
            assert one["k"] == (None if math.isnan(head.k) else head.k)
            assert one["spread"] == [None if math.isnan(n) else n for n in head.spread]
            assert (one["landing"] is None) == (head.landing is None)
        assert "nan" not in str(report)


def test_what_is_missing_is_told_as_missing():
    report = awkward()[3]
    replaced, kept = report.layers[0].read()
    assert (replaced.regime, replaced.landing) == (None, None)
    assert math.isnan(replaced.energy)
    assert kept.regime in CLASSES
    assert kept.landing is not None
    assert str(report).splitlines()[1].split()[2:4] == ["-", "-"]
    few = awkward()[1].heads[0]
    assert few.regime is None
    assert few.classes == (0.0, 0.0, 0.0, 0.0)
    assert few.k > 0


def test_numbers_are_put_in_the_terms_of_json():
    value = {"a": (1.0, math.nan), "b": [math.inf, {"c": -math.inf}], "d": "nan", "e": 3, "f": None, "g": True}
    expected = {"a": [1.0, None], "b": [None, {"c": None}], "d": "nan", "e": 3, "f": None, "g": True}
    assert plain(value) == expected


def test_layers_may_have_different_numbers_of_heads():
    model = transformer(BART)
    with HeadLens(model) as lens:
        model(**inputs(BART))
    assert [layer.heads for layer in lens.report().layers] == [2, 2, 4, 4, 4, 4]
    assert len(lens.report().heads) == 20
