from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_classification
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from hopfield.errors import HopfieldError
from hopfield.estimators import HopfieldBagClassifier, HopfieldClassifier, HopfieldRegressor
from hopfield.separation import Sparsemax, TopK

SMALL = {"n_estimators": 2, "iterations": 20, "width": 8, "hidden": 16, "random_state": 0}
ESTIMATORS = (HopfieldClassifier, HopfieldRegressor)


@parametrize_with_checks([kind(**SMALL | {"iterations": 80}) for kind in ESTIMATORS])
def test_what_scikit_learn_asks_of_every_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    X[:, 3] = rng.integers(0, 4, 60)
    return X, (X[:, 0] + X[:, 3] > 1).astype(int) + (X[:, 1] > 1)


def small(kind, **different):
    return kind(**SMALL | different)


def both(table, **different):
    X, y = table
    return [small(kind, **different).fit(X, y) for kind in ESTIMATORS]


# ------------------------------------------------------------------------------------------------------------- learning


def test_the_defaults_classify_better_than_the_majority():
    X, y = load_iris(return_X_y=True)
    a, b, c, d = train_test_split(X, y, random_state=0, stratify=y)
    assert HopfieldClassifier(random_state=0).fit(a, c).score(b, d) > 0.9
    X, y = load_breast_cancer(return_X_y=True)
    a, b, c, d = train_test_split(X, y, random_state=0, stratify=y)
    assert HopfieldClassifier(random_state=0).fit(a, c).score(b, d) > 0.94


def test_the_defaults_explain_part_of_the_variance():
    X, y = load_diabetes(return_X_y=True)
    a, b, c, d = train_test_split(X, y, random_state=0)
    assert HopfieldRegressor(random_state=0).fit(a, c).score(b, d) > 0.2


@pytest.mark.parametrize("memory", ["training", "prototypes"])
@pytest.mark.parametrize("similarity", ["euclidean", "dot"])
@pytest.mark.parametrize("separation", ["softmax", "sparsemax", TopK(3)])
@pytest.mark.parametrize("steps", [1, 2])
def test_every_memory_similarity_separation_and_number_of_steps_learns(memory, similarity, separation, steps):
    X, y = make_classification(80, 4, n_informative=3, n_redundant=0, class_sep=2.0, random_state=1)
    chosen = {"memory": memory, "similarity": similarity, "separation": separation, "steps": steps}
    model = small(HopfieldClassifier, iterations=40, **chosen).fit(X[:60], y[:60])
    assert model.score(X[60:], y[60:]) >= 0.7
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_row_never_finds_itself_while_it_learns():
    """Labels that have nothing to do with the rows cannot be guessed, however long one learns."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    model = HopfieldClassifier(n_estimators=2, iterations=150, row_share=1.0, dropout=0.0, random_state=0).fit(X, y)
    assert float(torch.stack(model.history_.loss[-20:]).mean()) > 0.6  # ln 2 is what knowing nothing costs


def test_the_same_seed_gives_the_same_numbers_and_no_trace_in_those_of_torch(table):
    X, y = table
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second = (small(HopfieldClassifier).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())
    assert (first != small(HopfieldClassifier, random_state=1).fit(X, y).predict_proba(X)).any()


def test_a_fit_that_fails_leaves_the_earlier_one(table):
    X, y = table
    model = small(HopfieldClassifier).fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.where(X > 2, np.inf, X), y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_parameters_set_after_the_fit_change_nothing_that_was_learnt(table):
    X, _ = table
    for model in both(table):
        before = model.predict(X)
        model.set_params(similarity="dot", steps=3, separation="sparsemax")
        np.testing.assert_array_equal(model.predict(X), before)


def test_it_works_inside_scikit_learn(table):
    X, y = table
    assert cross_val_score(small(HopfieldClassifier), X, y > 0, cv=3).shape == (3,)
    assert clone(small(HopfieldClassifier)).get_params()["width"] == 8


# ----------------------------------------------------------------------------------------------------------- predicting


def test_no_answer_depends_on_the_rows_that_came_with_it(table):
    many = np.random.default_rng(1).normal(size=(700, 5))
    for model in both(table):
        whole = model.predict(many)
        np.testing.assert_array_equal(np.concatenate([model.predict(row[None]) for row in many[:40]]), whole[:40])
        np.testing.assert_array_equal(model.predict(many[::-1])[::-1], whole)


def test_a_prediction_is_the_mean_of_the_answers_of_its_neighbors(table):
    _, y = table
    queries = np.random.default_rng(2).normal(size=(9, 5))
    classifier, regressor = both(table)
    for model in (classifier, regressor):
        weights, rows = model.neighbors(queries, k=1000)
        assert weights.shape == rows.shape == (9, 60)
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
        assert (np.diff(weights, axis=1) <= 0).all()
        assert (np.sort(rows, 1) == np.arange(60)).all()
    weights, rows = classifier.neighbors(queries, k=60)
    votes = (weights[:, :, None] * (y[rows][:, :, None] == classifier.classes_)).sum(1)
    np.testing.assert_allclose(classifier.predict_proba(queries), votes, atol=1e-5)
    weights, rows = regressor.neighbors(queries, k=60)
    np.testing.assert_allclose(regressor.predict(queries), (weights * y[rows]).sum(1), atol=1e-4)


def test_the_nearest_neighbor_of_a_row_learnt_from_is_itself(table):
    X, _ = table
    for model in both(table, iterations=0, column_dropout=0.0):
        _, rows = model.neighbors(X, k=1)
        assert (rows[:, 0] == np.arange(60)).all()


def test_neighbors_refuse_what_makes_no_sense(table):
    X, _ = table
    for wrong in (0, -1, 1.5, True, "many"):
        with pytest.raises(HopfieldError, match="k must be an integer of at least 1"):
            both(table)[0].neighbors(X, k=wrong)
    with pytest.raises(HopfieldError, match=r'only memory="training" has rows behind a prediction'):
        both(table, memory="prototypes")[0].neighbors(X)


# --------------------------------------------------------------------------------------------------------------- adding


def test_added_rows_are_in_the_memory_at_once(table):
    _, y = table
    new = np.random.default_rng(3).normal(size=(4, 5))
    for model in both(table, iterations=0, column_dropout=0.0):
        networks = model.networks_
        assert model.add(new, y[:4]) is model
        _, rows = model.neighbors(new, k=1)
        assert (rows[:, 0] == [60, 61, 62, 63]).all()
        for before, after in zip(networks, model.networks_, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_rows_of_a_new_class_can_be_added(table):
    X, y = table
    model = small(HopfieldClassifier, width=16, iterations=40).fit(X, y.astype(str))
    far = np.full((30, 5), 9.0)
    model.add(far, ["new"] * 30)
    assert model.classes_.tolist() == ["0", "1", "2", "new"]
    assert (model.predict(far) == "new").all()
    assert model.predict_proba(X).shape == (60, 4)
    assert model.score(X, y.astype(str)) > 0.5


@pytest.mark.parametrize("container", [list, np.array, lambda y: np.array(y, dtype=object)])
def test_labels_of_strings_may_come_in_any_container(table, container, tmp_path):
    X, y = table
    labels = np.where(y > 0, "yes", "no").tolist()
    model = small(HopfieldClassifier).fit(X, container(labels))
    model.save(tmp_path / "model.safetensors")
    again = HopfieldClassifier.load(tmp_path / "model.safetensors")
    assert again.predict(X).dtype == model.predict(X).dtype
    for fitted in (model, again):
        for other in (list, np.array, lambda y: np.array(y, dtype=object)):
            fitted.add(X[:2], other(["no", "perhaps"]))
        assert fitted.classes_.tolist() == ["no", "perhaps", "yes"]


@pytest.mark.parametrize(
    ("learnt", "added", "fits"),
    [
        ([0, 1], [0.0, 1.0], True),
        ([False, True], [0, 1], True),
        ([0, 1], [2, 1], True),
        ([False, True], [2, 1], False),
        ([0, 1], [0.5, 1.0], False),
        ([0, 1], ["0", "1"], False),
    ],
)
def test_added_numbers_take_on_the_type_of_the_classes(table, learnt, added, fits):
    X, _ = table
    model = small(HopfieldClassifier).fit(X, learnt * 30)
    if fits:
        assert model.add(X[:2], added).classes_.dtype == np.array(learnt).dtype
    else:
        with pytest.raises(ValueError, match=r"of the kind that was learnt|Unknown label type"):
            model.add(X[:2], added)


def test_what_does_not_fit_is_not_added(table):
    X, y = table
    model, regressor = both(table)
    with pytest.raises(HopfieldError, match="every row needs one answer: got 2 rows and 3 answers"):
        model.add(X[:2], y[:3])
    with pytest.raises(HopfieldError, match="of the kind that was learnt"):
        model.add(X[:3], [[0, 1], [1, 0], [1, 1]])
    with pytest.raises(HopfieldError, match="as many for each row"):
        regressor.add(X[:3], np.ones((3, 2)))
    with pytest.raises(HopfieldError, match=r'memory="training" only'):
        both(table, memory="prototypes")[0].add(X, y)
    with pytest.raises(ValueError, match="3 features"):
        model.add(X[:, :3], y)


# ---------------------------------------------------------------------------------------------------- cross-validation


@pytest.mark.parametrize("memory", ["training", "prototypes"])
def test_one_fold_is_a_fit(table, memory):
    X, y = table
    test = np.arange(60) % 4 == 0
    for kind in ESTIMATORS:
        model = small(kind, memory=memory)
        fitted = model.fit(X[~test], y[~test]).predict(X)
        np.testing.assert_allclose(small(kind, memory=memory).cross_predict(X, y, test[None])[0], fitted, rtol=1e-4)


def test_folds_of_different_sizes_and_columns(table):
    X, y = table
    test = np.zeros((3, 60), bool)
    test[0, :50] = test[1, 55:] = test[2, 20:40] = True
    found = small(HopfieldClassifier).cross_predict_proba(X, y, test)
    assert found.shape == (3, 60, 3)
    np.testing.assert_allclose(found.sum(2), 1, rtol=1e-6)


def test_a_fold_of_few_rows_leaves_the_others_as_they_are():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 6))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    test = np.zeros((2, 300), bool)
    test[0, 200:] = test[1, 5:] = True
    alone, beside = (
        (HopfieldClassifier(n_estimators=4, random_state=0).cross_predict(X, y, folds)[0] == y)[200:].mean()
        for folds in (test[:1], test)
    )
    assert min(alone, beside) > 0.75


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("memory", ["training", "prototypes"])
def test_nothing_of_a_test_part_reaches_its_fold(table, memory, kind):
    X, y = table
    test = np.random.default_rng(0).random((3, 60)) < 0.3
    model = small(kind, memory=memory)
    before = model.cross_predict(X, y, test)
    for fold, part in enumerate(test):
        labels, features = y.copy(), X.copy()
        labels[part] = np.random.default_rng(fold).permutation(labels[part])
        features[part] = features[np.random.default_rng(fold).permutation(np.flatnonzero(part))] * [9, 9, 9, 1, 9]
        other = model.cross_predict(features, labels, test)
        np.testing.assert_array_equal(other[fold, ~part], before[fold, ~part])
        np.testing.assert_array_equal(model.cross_predict(X, labels, test)[fold], before[fold])
        if kind is HopfieldRegressor:
            labels[part] *= 50
            np.testing.assert_array_equal(model.cross_predict(X, labels, test)[fold], before[fold])


def test_a_fold_may_lack_a_class(table):
    X, y = table
    found = small(HopfieldClassifier).cross_predict_proba(X, y, (y == 2)[None])
    assert (found[0, :, 2] == 0).all()


@pytest.mark.parametrize(
    "test", [np.ones((1, 60), bool), np.zeros(60, bool), np.zeros((2, 59), bool), np.zeros((2, 60))]
)
def test_folds_that_make_no_sense_are_refused(table, test):
    with pytest.raises(HopfieldError, match=r"test must be bool \(folds, 60\)"):
        small(HopfieldClassifier).cross_predict(*table, test)


# ---------------------------------------------------------------------------------------------------------- odd tables


def test_one_class_and_one_row(table):
    X, _ = table
    model = small(HopfieldClassifier).fit(X, ["only"] * 60)
    assert (model.predict(X) == "only").all()
    one = small(HopfieldClassifier).fit(X[:1], ["a"])
    assert (one.predict(X) == "a").all()
    assert small(HopfieldRegressor).fit(X[:1], [3.5]).predict(X[:2]).tolist() == [3.5, 3.5]


def test_constant_columns_duplicated_rows_and_more_columns_than_rows(table):
    X, y = table
    for odd in (np.full((60, 3), 2.0), np.repeat(X[:20], 3, 0), np.random.default_rng(0).normal(size=(60, 500))):
        for kind in ESTIMATORS:
            assert np.isfinite(small(kind).fit(odd, y).predict(odd)).all()


def test_categories_numbers_and_what_is_missing():
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green", "blue"], 90).astype(object)
    size = rng.normal(size=90).astype(object)
    y = np.where((colour == "red") | (size > 0.8), "yes", "no")
    colour[::7], size[::5] = None, np.nan
    X = np.stack([colour, size], 1)
    model = HopfieldClassifier(n_estimators=2, random_state=0).fit(X[:60], y[:60])
    assert model.score(X[60:], y[60:]) > 0.7
    new = np.array([["violet", 0.0], [None, None]], dtype=object)
    assert np.isfinite(model.predict_proba(new)).all()
    with pytest.raises(HopfieldError, match="column 1 is one of numbers, but contains 'large'"):
        model.predict(np.array([["red", "large"]], dtype=object))


def test_lists_of_numbers_and_strings_are_as_arrays_of_objects():
    rows = [[0.5 * i, "u" if i % 2 else "v"] for i in range(20)]
    model = small(HopfieldClassifier).fit(rows, [0, 1] * 10)
    assert [column.number for column in model._columns.columns] == [True, False]


def test_a_fold_takes_from_the_whole_table_what_kind_its_columns_are():
    X = np.array([[i, None if i < 30 else "x"] for i in range(40)], dtype=object)
    test = np.arange(40) >= 30
    assert small(HopfieldClassifier).cross_predict(X, [0, 1] * 20, test[None]).shape == (1, 40)
    nothing_known = small(HopfieldClassifier).fit(X[:30], [0, 1] * 15)
    assert nothing_known.predict(X).shape == (40,)


def test_threads_do_not_share_random_numbers(table):
    X, y = table
    alone = small(HopfieldClassifier).fit(X, y).predict_proba(X)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: small(HopfieldClassifier).fit(X, y).predict_proba(X), range(4)))
    for other in found:
        np.testing.assert_array_equal(other, alone)


def test_added_numbers_that_single_precision_cannot_hold_are_refused(table):
    X, _ = table
    model = small(HopfieldRegressor).fit(X, X[:, 0])
    before = model.predict(X)
    with pytest.raises(HopfieldError, match=r"further than 1e\+06 standard deviations"):
        model.add(X[:1], [1e39])
    np.testing.assert_array_equal(model.predict(X), before)


def test_data_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "kind": pandas.Categorical.from_codes(rng.integers(0, 3, 60), ["a", "b", "c"]),
            "code": pandas.Categorical(rng.integers(0, 3, 60)),
            "count": pandas.array(rng.integers(0, 50, 60), dtype="Int64"),
            "flag": rng.random(60) > 0.5,
            "size": rng.normal(size=60),
        }
    )
    frame.loc[3, "count"] = pandas.NA
    frame.loc[4, "kind"] = None
    y = (frame["kind"] == "a").astype(int)
    model = HopfieldClassifier(n_estimators=2, random_state=0).fit(frame, y)
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert [column.number for column in model._columns.columns] == [False, False, True, True, True]
    assert model.score(frame, y) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["code", "kind", "count", "flag", "size"]])


def test_columns_that_are_named_are_categories_beside_those_of_strings():
    X = np.array([["a", 1, 2.5], ["b", 2, 3.5], ["a", 3, 0.5]] * 4, dtype=object)
    for given, wanted in ((["1"], [False, False, True]), ("auto", [False, True, True])):
        model = small(HopfieldClassifier, categorical_features=given).fit(X, [0, 1, 0] * 4)
        assert [column.number for column in model._columns.columns] == wanted
    with pytest.raises(HopfieldError, match="column 0 is one of numbers, but contains 'a'"):
        small(HopfieldClassifier, categorical_features=None).fit(X, [0, 1, 0] * 4)


@pytest.mark.parametrize("given", [[3], ["3"], [False, False, False, True, False]])
def test_columns_can_be_said_to_be_categories(table, given):
    X, y = table
    model = small(HopfieldClassifier, categorical_features=given).fit(X, y)
    assert [column.number for column in model._columns.columns] == [True, True, True, False, True]


def test_columns_of_dates_and_of_the_same_name_are_refused():
    pandas = pytest.importorskip("pandas")
    dates = pandas.DataFrame({"day": pandas.date_range("2020-01-01", periods=6)})
    with pytest.raises(HopfieldError, match=r"column day holds .*turn dates into numbers"):
        small(HopfieldClassifier).fit(dates, [0, 1] * 3)
    with pytest.raises(HopfieldError, match="names of their own, but a is there more than once"):
        small(HopfieldClassifier).fit(pandas.DataFrame(np.ones((6, 2)), columns=["a", "a"]), [0, 1] * 3)
    missing = pandas.Series(["a", None] * 3, dtype="string")
    with pytest.raises(HopfieldError, match=r"labels are missing .* for 3 rows, the first is row 1"):
        small(HopfieldClassifier).fit(pandas.DataFrame({"a": range(6)}), missing)


@pytest.mark.parametrize("given", [[7], ["colour"], [True], "everything", [1.5]])
def test_columns_that_are_not_there_are_refused(table, given):
    with pytest.raises(HopfieldError, match="categorical_features must be"):
        small(HopfieldClassifier, categorical_features=given).fit(*table)


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "rows"),
        ("similarity", "cosine"),
        ("prototypes", 0),
        ("width", 2.5),
        ("hidden", True),
        ("n_estimators", 0),
        ("iterations", -1),
        ("batch_size", 1),
        ("steps", 0),
        ("dropout", 1.0),
        ("column_dropout", -0.1),
        ("noise", np.nan),
        ("memory_share", 0),
        ("learning_rate", "fast"),
        ("weight_decay", -1),
        ("separation", "hardmax"),
        ("random_state", "seed"),
        ("device", "abacus"),
    ],
)
def test_parameters_out_of_range_are_refused(table, kind, name, value):
    with pytest.raises(HopfieldError, match=name if name != "separation" else "unknown separation"):
        small(kind, **{name: value}).fit(*table)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is missing"),
        (np.zeros(59), "got 60 rows and 59 answers"),
        ([None] * 60, r"labels are missing \(None or NaN\) for 60 rows"),
        (np.full(60, np.inf), "infinity"),
        (np.array(["a", 1] * 30, dtype=object), "all strings or all numbers"),
        (np.arange(120).reshape(60, 2), "labels with several columns must be 0 and 1"),
        (np.full((60, 2), np.nan), "label 0 is unknown for all rows"),
        (np.zeros((60, 2, 2)), "bad input shape"),
    ],
)
def test_labels_that_make_no_sense_are_refused(table, y, message):
    with pytest.raises(ValueError, match=message):
        small(HopfieldClassifier).fit(table[0], y)


@pytest.mark.parametrize(("y", "message"), [(["a"] * 60, "use HopfieldClassifier"), ([np.nan] * 60, "NaN in row 0")])
def test_numbers_that_make_no_sense_are_refused(table, y, message):
    with pytest.raises(HopfieldError, match=message):
        small(HopfieldRegressor).fit(table[0], y)


# --------------------------------------------------------------------------------------------------- several at once


def test_several_labels_some_of_them_unknown(table):
    X, _ = table
    labels = np.stack([X[:, 0] > 0, X[:, 3] > 1], 1).astype(float)
    labels[::6, 0] = np.nan
    model = HopfieldClassifier(n_estimators=2, random_state=0).fit(X, labels)
    found = model.predict_proba(X)
    assert found.shape == (60, 2)
    assert model.classes_.tolist() == [0, 1]
    known = ~np.isnan(labels)
    assert (model.predict(X)[known] == labels[known]).mean() > 0.9


def test_several_numbers(table):
    X, _ = table
    y = np.stack([X[:, 0], 100 * X[:, 3]], 1)
    model = HopfieldRegressor(n_estimators=2, random_state=0).fit(X, y)
    assert model.predict(X).shape == (60, 2)
    assert model.score(X, y) > 0.8


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("memory", ["training", "prototypes"])
@pytest.mark.parametrize("separation", ["softmax", Sparsemax()])
def test_a_file_holds_everything(table, tmp_path, memory, separation):
    X, y = table
    path = tmp_path / "model.safetensors"
    for model in both(table, memory=memory, separation=separation):
        if memory == "training":
            model.add(X[:5], y[:5])
        model.save(path)
        again = type(model).load(path)
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.get_params()["width"] == 8
        if memory == "training":
            np.testing.assert_array_equal(again.neighbors(X)[1], model.neighbors(X)[1])
            again.add(X[:5], y[:5])


def test_files_of_labels_categories_and_names(tmp_path):
    X = np.array([["a", 1.0], ["b", None], ["a", 2.0], [None, 0.5]] * 5, dtype=object)
    path = tmp_path / "model.safetensors"
    for y in (["x", "y", "x", "z"] * 5, [True, False, True, True] * 5, [[0, 1], [1, np.nan], [1, 1], [0, 0]] * 5):
        model = small(HopfieldClassifier).fit(X, y)
        model.save(path)
        again = HopfieldClassifier.load(path)
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.classes_.tolist() == model.classes_.tolist()


def test_foreign_and_damaged_files_are_refused(table, tmp_path):
    path = tmp_path / "model.safetensors"
    classifier, _ = both(table)
    classifier.save(path)
    for other in (HopfieldRegressor, HopfieldBagClassifier):
        with pytest.raises(HopfieldError, match=f"written by {other.__name__}.save"):
            other.load(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(HopfieldError, match="damaged"):
        HopfieldClassifier.load(path)
    with pytest.raises(HopfieldError, match="no classifier file"):
        HopfieldClassifier.load(tmp_path / "nothing")


@pytest.mark.gpu
def test_the_same_on_an_accelerator(table):
    X, y = table
    for kind in ESTIMATORS:
        model = small(kind, device="cuda").fit(X, y)
        assert model.predict(X).shape == (60,)
        assert model.neighbors(X)[0].shape == (60, 5)
