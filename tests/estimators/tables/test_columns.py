import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hopfield.errors import HopfieldError
from hopfield.estimators.tables.columns import Columns
from hopfield.estimators.tables.reading import Table, is_missing


def table(*columns):
    arrays = [np.array(column, dtype=object) if isinstance(column, list) else column for column in columns]
    return Table(arrays, [f"column {j}" for j in range(len(arrays))], [False] * len(arrays))


def fitted(rows, *categorical):
    return Columns.of(rows, categorical or [not rows.is_number(j) for j in range(len(rows.columns))])


many = st.lists(st.floats(-1e6, 1e6), min_size=14, max_size=30, unique=True)


@given(many)
def test_numbers_are_standardised_and_clipped(numbers):
    column = np.array(numbers)
    (encoded,) = fitted(table(column)).encode(table(column)).T.double().numpy()
    wanted = ((column - column.mean()) / column.std()).clip(-3, 3)
    np.testing.assert_allclose(encoded, wanted, atol=1e-5)


@given(st.lists(st.sampled_from([0.0, 1.0, 5.0, 7.5]), min_size=4, max_size=40))
def test_what_is_learnt_from_has_mean_zero_in_every_encoded_column_of_few_values(numbers):
    assume(len(set(numbers)) > 2)
    rows = table(np.array(numbers))
    assert fitted(rows).encode(rows)[:, 1:].double().mean(0).abs().max() < 1e-6


def test_few_numbers_have_encoded_columns_of_their_own_and_what_lies_between_shares_two():
    rows = table(np.array([1.0, 2.0, 4.0, 4.0]))
    columns = fitted(rows)
    assert columns.origins.tolist() == [0, 0, 0, 0]
    shares = torch.tensor([0.25, 0.25, 0.5])
    encoded = columns.encode(table(np.array([1.0, 2.0, 3.0, 9.0, -9.0])))[:, 1:] + shares
    wanted = [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(encoded, torch.tensor(wanted))


def test_two_values_and_many_values_are_one_number():
    assert fitted(table(np.array([0.0, 1.0, 1.0]))).origins.tolist() == [0]
    assert fitted(table(np.arange(13.0))).origins.tolist() == [0]


def test_categories_are_told_apart_and_a_new_one_is_like_none():
    rows = table(["red", "blue", "red", "green"])
    encoded = fitted(rows).encode(table(["red", "blue", "green", "black", None]))
    assert encoded.shape == (5, 3)
    assert (encoded[:3].argmax(1) == torch.tensor([0, 1, 2])).all()
    assert not encoded[3:].any()


def test_categories_of_numbers_and_strings_may_be_mixed():
    rows = table(["1", 1, 2.5, True, "1"])
    assert fitted(rows).encode(rows).unique(dim=0).shape[0] == 3  # for Python 1 and True are the same


def test_what_is_missing_has_an_encoded_column_and_else_is_like_the_mean():
    rows = table(np.array([*np.arange(20.0), np.nan, np.nan]))
    encoded = fitted(rows).encode(rows)
    assert encoded.shape == (22, 2)
    assert not encoded[20:, 0].any()
    assert encoded[:, 1].unique().shape == (2,)
    torch.testing.assert_close(encoded[:, 1].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_missing_where_nothing_was_missing_is_like_the_mean():
    columns = fitted(table(np.arange(20.0)))
    assert not columns.encode(table(np.array([np.nan]))).any()


@pytest.mark.parametrize("column", [np.full(5, 3.7), np.full(5, np.nan), [None] * 5, ["same"] * 5])
def test_columns_that_say_nothing_are_constant(column):
    rows = table(column)
    encoded = fitted(rows).encode(rows)
    assert encoded.isfinite().all()
    assert (encoded == encoded[:1]).all()


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e140])
def test_numbers_of_any_size(size):
    column = np.random.default_rng(0).normal(size=30)
    usual, scaled = table(column), table(column * size)
    torch.testing.assert_close(fitted(scaled).encode(scaled), fitted(usual).encode(usual))


def test_a_small_spread_beside_a_large_offset_counts():
    column = np.random.default_rng(0).normal(size=30)
    usual, far = table(column), table(1e9 + 0.01 * column)
    torch.testing.assert_close(fitted(far).encode(far), fitted(usual).encode(usual), rtol=1e-3, atol=1e-3)


def test_numbers_can_be_categories_if_asked_for():
    rows = table(np.array([1, 2, 3, 3]))
    assert fitted(rows, True).encode(rows).shape == (4, 3)
    assert fitted(rows, False).encode(rows).shape == (4, 4)


def test_a_description_holds_everything():
    rows = table(np.array([1.0, 2.0, 4.0, np.nan]), ["a", 2, None, "a"], np.arange(4) / 3)
    columns = fitted(rows)
    again = Columns.described(json.loads(json.dumps(columns.describe())))
    torch.testing.assert_close(again.encode(rows), columns.encode(rows), rtol=0, atol=0)
    assert again.origins.tolist() == columns.origins.tolist()


def test_what_was_numbers_must_stay_numbers():
    columns = fitted(table(np.array([1.0, 2.0])))
    with pytest.raises(HopfieldError, match="column 0 is one of numbers, but contains 'red'"):
        columns.encode(table(["red"]))


@pytest.mark.parametrize("wrong", [np.inf, -np.inf])
def test_infinity_is_refused(wrong):
    with pytest.raises(HopfieldError, match="contains infinity in row 1; give NaN"):
        fitted(table(np.array([1.0, wrong])))


def test_numbers_whose_squares_are_infinite_are_refused():
    with pytest.raises(HopfieldError, match=r"contains 1e\+200, too large a number to be squared, in row 0"):
        fitted(table(np.array([1e200, 0.0])))


@pytest.mark.parametrize("value", [None, np.nan, float("nan"), np.float32("nan")])
def test_what_counts_as_missing(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", ["", "nan", 0, 0.0, False])
def test_what_does_not_count_as_missing(value):
    assert not is_missing(value)


def test_a_shared_scale_keeps_distances_in_proportion():
    rng = np.random.default_rng(0)
    numbers = rng.uniform(-1, 1, (40, 3)) * [1, 10, 0]
    few = np.arange(40) % 4 * 2.0
    rows = table(*numbers.T, few)
    columns = Columns.of(rows, [False] * 4, shared_scale=True)
    assert columns.origins.tolist() == [0, 1, 2, 3]  # few different ones are not told apart
    encoded = columns.encode(rows).double()
    wanted = torch.cdist(*[torch.tensor(np.column_stack([numbers, few]))] * 2)
    ratio = torch.cdist(encoded, encoded) / wanted
    assert ratio[~torch.eye(40, dtype=torch.bool)].std() < 1e-5
    assert encoded[:, [0, 1, 3]].square().mean() == pytest.approx(1, rel=1e-5)  # as if they were standardised
    again = Columns.described(json.loads(json.dumps(columns.describe())))
    torch.testing.assert_close(again.encode(rows).double(), encoded, rtol=0, atol=0)


def test_a_shared_scale_of_constants_and_categories():
    rows = table(np.ones(4), ["a", "b", "a", "a"])
    assert (Columns.of(rows, [False, True], shared_scale=True).encode(rows) == fitted(rows).encode(rows)).all()
