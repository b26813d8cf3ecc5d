import pytest

from hopfield.experiments.origin import made_by
from hopfield.experiments.words import filled, listed, number, percent


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.895, "89.5 %"), (0.99999, "more than 99.9 %"), (1e-5, "less than 0.1 %")],
)
def test_only_all_and_none_are_written_as_such(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3, "3"),
        (0.01524, "0.0152"),
        (10.381, "10.4"),
        (12345.6, "12,346"),
        (-2.5, "−2.5"),
        (3.66e-6, "3.7 × 10⁻⁶"),
        (1e9, "1.0 × 10⁹"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_lists_read_as_sentences() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_paragraphs_fit_a_page_and_lists_keep_their_margin() -> None:
    text = "word-by-word " * 40
    lines = filled(text, "- ").splitlines()
    assert max(map(len, lines)) <= 120
    assert [line[:2] for line in lines] == ["- ", *["  "] * (len(lines) - 1)]
    assert " ".join(line[2:] for line in lines) == text.strip()


def test_origin_is_told_with_versions_seed_and_time() -> None:
    told = made_by(seed=7, seconds=90.0)
    assert told.startswith("hopfield ")
    assert told.endswith(" cores; seed 7; 1.5 minutes of one core in all.")
