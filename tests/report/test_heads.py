import re

import pytest
import torch

from hopfield import report
from hopfield.report import Page, Section, Table
from hopfield.report.heads import heads_page
from tests.plot import readings
from tests.plot.readings import layer, spread
from tests.test_report import read


def written(page: Page) -> str:
    """The text of a page, with plain spaces."""
    return " ".join(read(report.render(page)).text).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def page() -> Page:
    medians = [300, 5, 100, 20]
    found = readings.report(
        layer("bert.0.self", spread(medians)), layer("bert.1.self", spread([*medians[:3], 150], rows=60))
    )
    return heads_page(found, name="a model", about="It has <two> layers.", made=[("Command", "hopfield heads")])


def test_essentials_count_the_classes(page):
    first, second, third, fourth = page.essentials
    assert first == "8 heads in 2 attention layers: 2 of class I, 3 of class II, 1 of class III and 2 of class IV."
    assert "head 1 of layer 0, with a median k of 5 (1.0 % of the keys)" in second
    assert "head 0 of layer 0, with 300 (58.6 %)" in second
    assert third.endswith("are most frequent in layer 0 and layer 1: 1 each.")
    assert "0 % of its queries would end at a single pattern" in fourth
    assert fourth.endswith("Followed were 4 rows of each head.")


def test_layers_and_heads_are_in_tables(page):
    layers, numbers = (section.table for section in page.sections if section.table is not None)
    assert layers.rows[0][:5] == ["layer 0", "1", "1", "1", "1"]
    assert layers.rows[1][:5] == ["layer 1", "1", "2", "·", "1"]
    for row in layers.rows:
        assert sum(int(cell.removesuffix(" %")) for cell in row[5:]) == pytest.approx(100, abs=2)
    assert len(numbers.rows) == 8
    assert numbers.rows[1][:5] == ["0", "1", "IV", "5", "0.010"]
    assert all(len(row) == len(numbers.header) for row in numbers.rows)


def test_the_page_says_what_was_measured_and_how_to_read_it(page):
    text = written(page)
    assert "It has <two> layers." in text
    assert "60 to 101 rows" in text
    assert "Every row attends to N = 512 keys." in text
    for word in ("Entropy", "Energy", "Jacobian", "median", "padding", "'bert.0.self'", "hopfield heads"):
        assert word in text
    assert "nan" not in re.findall(r"[a-z]+", text.lower())
    html = report.render(page)
    assert "http" not in html
    assert "<script>" in html
    assert "<script src" not in html


def test_short_rows_and_replaced_heads_are_told():
    keys = torch.arange(1, 129.0)[:, None].expand(128, 3)
    k = keys * torch.tensor([0.9, 0.25, torch.nan])
    text = written(heads_page(readings.report(layer("attn", k, keys)), name="a decoder"))
    assert "3 heads in 1 attention layer: 1 of class I, 1 of class II and 1 replaced by averages." in text
    assert "N = 1 to 128 keys" in text
    assert "24.2 % of the rows attend to fewer than 32 keys" in text
    nothing = heads_page(readings.report(layer("attn", torch.full((5, 2), torch.nan))), name="nothing left")
    assert nothing.essentials == ["2 heads in 1 attention layer: 2 replaced by averages."]
    assert "Every row" not in written(nothing)


def test_a_sample_is_called_one():
    found = layer("attn", spread([100]))
    found = type(found)(**{**vars(found), "rows": 5000})
    text = written(heads_page(readings.report(found), name="much read"))
    assert "5,000 rows" in text
    assert "a random sample of 101" in text


def test_only_pages_with_a_table_to_sort_have_a_script():
    table = Table(["a"], [["1"]])
    assert "<script" not in report.render(Page("", "", sections=[Section("", [], table=table)]))
    sortable = Table(["a"], [["1"]], sortable=True)
    html = report.render(Page("", "", sections=[Section("", [], table=sortable)]))
    assert '<table class="sorts">' in html
    assert html.count("<script>") == 1
