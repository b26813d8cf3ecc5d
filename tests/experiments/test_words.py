import pytest

from hopfield.experiments.words import listed, number, percent


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
