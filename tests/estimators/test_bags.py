"""The classifier of bags: its inputs, what must not matter to it, learning, tools of scikit-learn, files, errors."""

import copy
import json
from multiprocessing.reduction import ForkingPickler
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from hopfield import files
from hopfield.bags import Bags
from hopfield.core.separation import NAMES
from hopfield.datasets import simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.estimators import HopfieldBagClassifier, InstanceTransformer
from hopfield.separation import Entmax, TopK
from tests.core.catalogue import Sharper, examples
from tests.estimators.catalogue import classifier, generator, some_bags, some_labels, witnesses


def scores(g, classes):
    """Sorted classes of any type, and labels of 20 bags."""
    return some_labels(20, [classes[i] for i in torch.randperm(len(classes), generator=g)])


def padded(bags):
    longest = max(map(len, bags))
    rows = np.full((len(bags), longest, bags[0].shape[1]), np.nan, dtype=np.float32)
    for row, bag in zip(rows, bags, strict=True):
        row[: len(bag)] = bag
    return rows


def objects(bags):
    array = np.empty(len(bags), dtype=object)
    array[:] = [bag.numpy() for bag in bags]
    return array


FORMS = {
    "Bags": Bags.from_list,
    "Bags in float64": lambda bags: Bags.from_list([bag.double() for bag in bags]),
    "tensors": list,
    "tuple": tuple,
    "arrays": lambda bags: [bag.numpy() for bag in bags],
    "object array": objects,
    "padded": padded,
    "padded tensor": lambda bags: torch.from_numpy(padded(bags)),
    "lists of lists": lambda bags: [bag.tolist() for bag in bags],
}
each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def bags():
    return some_bags(generator(0))


@pytest.fixture(scope="module")
def fitted(bags):
    return classifier().fit(bags, some_labels())


# ---------------------------------------------------------------------------------------------- what does not matter


@each_form
def test_the_form_of_the_bags(form, bags, fitted):
    given = FORMS[form](bags)
    expected = fitted.decision_function(bags)
    assert expected.shape == (20,)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(fitted.decision_function(given), expected)
    again = classifier().fit(given, some_labels())
    assert again.n_features_in_ == 3
    np.testing.assert_array_equal(again.decision_function(bags), expected)


def test_a_table_has_one_instance_per_bag(bags, fitted):
    table = torch.cat(bags).numpy()
    expected = fitted.decision_function([row[None] for row in table])
    for form in (table, torch.from_numpy(table), table.tolist(), table.astype(np.float64), np.asfortranarray(table)):
        np.testing.assert_array_equal(fitted.decision_function(form), expected)


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_the_order_of_instances_and_of_bags(bags, n_estimators):
    model = classifier(n_estimators=n_estimators).fit(bags, some_labels())
    g = generator(1)
    expected = model.decision_function(bags)
    shuffled = [bag[torch.randperm(len(bag), generator=g)] for bag in bags]
    np.testing.assert_allclose(model.decision_function(shuffled), expected, atol=1e-5)
    np.testing.assert_allclose(model.decision_function(bags[::-1]), expected[::-1], atol=1e-5)
    alone = np.concatenate([model.decision_function([bag]) for bag in bags])
    np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_the_same_seed_gives_the_same_numbers(bags, fitted):
    before = torch.get_rng_state()
    again = classifier().fit(bags, some_labels())
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(again.decision_function(bags), fitted.decision_function(bags))
    generated = [classifier(random_state=np.random.RandomState(3)).fit(bags, some_labels()) for _ in range(2)]
    np.testing.assert_array_equal(*[model.decision_function(bags) for model in generated])
    other = classifier(random_state=1).fit(bags, some_labels())
    assert not np.allclose(other.decision_function(bags), fitted.decision_function(bags))


def test_the_mean_of_the_networks_decides(bags, fitted):
    assert len(fitted.networks_) == 2
    with torch.no_grad():
        logits = torch.stack([network(Bags.from_list(bags)) for network in fitted.networks_])
    decisions = fitted.decision_function(bags)
    np.testing.assert_allclose(decisions, logits.mean(0).squeeze(1).numpy(), atol=1e-5)
    probability = fitted.predict_proba(bags)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-decisions)), rtol=1e-5)
    np.testing.assert_allclose(probability.sum(1), 1)
    np.testing.assert_array_equal(fitted.predict(bags), fitted.classes_[(decisions > 0).astype(int)])


# ---------------------------------------------------------------------------------------------------- cross-validation


def some_folds(count=20, folds=2):
    """Consecutive pairs of bags, so that both classes stay in every part."""
    return np.stack([np.arange(count) // 2 % folds == fold for fold in range(folds)])


def other_values(g, bags, where):
    return [torch.randn(bag.shape, generator=g) * 9 + 7 if away else bag for bag, away in zip(bags, where, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.4, "n_estimators": 1},
        {"class_weight": "balanced", "key": (4,)},
        {"top_share": 0.5, "batch_size": 7},
    ],
    ids=repr,
)
def test_nothing_of_a_test_part_reaches_the_networks_of_its_fold(options, bags):
    labels, test = some_labels(), some_folds()
    expected = classifier(**options).cross_decision(bags, labels, test)
    assert expected.shape == (2, 20)
    for fold, away in enumerate(test):
        changed = labels.copy()
        changed[away] = 1 - labels[away]
        changed[np.flatnonzero(away)[0]] ^= 1  # so that the frequencies of the classes change too
        other = other_values(generator(3), bags, away)
        decisions = classifier(**options).cross_decision(other, changed, test)
        np.testing.assert_array_equal(decisions[fold, ~away], expected[fold, ~away])
        assert not np.allclose(decisions[1 - fold, ~away], expected[1 - fold, ~away])
        assert not np.allclose(decisions[fold, away], expected[fold, away])


def test_a_training_part_reaches_them(bags):
    labels, test = some_labels(), some_folds()
    expected = classifier().cross_decision(bags, labels, test)
    swapped = labels.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    decisions = classifier().cross_decision(bags, swapped, test)
    np.testing.assert_array_equal(decisions[0, ~test[0]], expected[0, ~test[0]])
    assert not np.allclose(decisions[1], expected[1])


def test_cross_decision_leaves_the_estimator_as_it_is(bags, fitted):
    model = copy.deepcopy(fitted)
    expected = model.decision_function(bags)
    narrow, labels = [bag[:, :2] for bag in bags], scores(generator(0), ["a", "b", "c"])
    folds = np.stack([np.arange(20) // 3 % 2 == fold for fold in range(2)])
    assert model.cross_decision(narrow, labels, folds).shape == (2, 20, 3)
    np.testing.assert_array_equal(model.decision_function(bags), expected)
    assert model.classes_.tolist() == [0, 1]
    fresh = classifier()
    fresh.cross_decision(bags, some_labels(), some_folds())
    with pytest.raises(NotFittedError):
        fresh.predict(bags)


def test_cross_decision_learns_as_fit_does():
    bags, labels = witnesses(generator(2), 40)
    options = {"dropout": 0.0, "bag_dropout": 0.0, "epochs": 15, "n_estimators": 1}
    test = np.zeros((1, 40), dtype=bool)
    fitted = classifier(**options).fit(bags, labels).decision_function(bags)
    np.testing.assert_allclose(classifier(**options).cross_decision(bags, labels, test)[0], fitted, atol=1e-5)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (np.zeros((2, 19), dtype=bool), r"test must be bool \(folds, 20\)"),
        (np.zeros(20, dtype=bool), r"test must be bool \(folds, 20\)"),
        (np.zeros((2, 20)), r"test must be bool .*got torch.float64"),
        ([], r"test must be bool \(folds, 20\)"),
        (None, r"test must be bool \(folds, 20\)"),
        ([[True], [True, False]], r"test must be bool \(folds, 20\)"),
        (np.zeros((0, 20), dtype=bool), r"test must be bool \(folds, 20\)"),
        (some_labels()[None] == 1, "a training part lacks a class: stratify the folds"),
    ],
    ids=["width", "dimensions", "type", "nothing", "None", "ragged", "no folds", "class"],
)
def test_folds_that_make_no_sense(test, message, bags):
    with pytest.raises(HopfieldError, match=message):
        classifier().cross_decision(bags, some_labels(), test)


# --------------------------------------------------------------------------------------------------------- with sklearn


def test_parameters():
    model = HopfieldBagClassifier(heads=3)
    assert model.get_params()["heads"] == 3
    assert model.set_params(heads=2, key=(4,)).heads == 2
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        model.set_params(depth=2)


@pytest.mark.parametrize("form", ["Bags", "tensors", "arrays", "object array", "padded"])
def test_search_and_scores(form, bags):
    given = FORMS[form](bags)
    found = cross_val_score(classifier(), given, some_labels(), cv=2, scoring="roc_auc", error_score="raise")
    assert found.shape == (2,)
    np.testing.assert_array_equal(
        found, cross_val_score(classifier(), bags, some_labels(), cv=2, scoring="roc_auc", error_score="raise")
    )
    if form == "Bags":
        search = GridSearchCV(classifier(n_estimators=1), {"states": np.arange(1, 3)}, cv=2, error_score="raise")
        search.fit(given, some_labels())
        assert search.best_params_["states"] in {1, 2}
        assert search.predict(given).shape == (20,)


def test_a_pipeline(bags):
    by_hand = StandardScaler().fit(torch.cat(bags).numpy())
    scaled = [by_hand.transform(bag.numpy()) for bag in bags]
    expected = classifier(standardize=False).fit(scaled, some_labels()).decision_function(scaled)
    model = make_pipeline(InstanceTransformer(StandardScaler()), classifier(standardize=False))
    np.testing.assert_allclose(model.fit(bags, some_labels()).decision_function(bags), expected, atol=1e-4)
    assert cross_val_score(model, bags, some_labels(), cv=2, error_score="raise").shape == (2,)
    assert clone(model).get_params()["instancetransformer__transformer"] is not model[0].transformer


def test_a_transformer_may_change_the_width_and_fill_in(bags):
    missing = [bag.clone() for bag in bags]
    missing[3][0, 1] = torch.nan
    transformer = InstanceTransformer(make_pipeline(SimpleImputer(), PCA(2)))
    transformed = transformer.fit_transform(missing)
    assert transformed.instances.shape == (sum(map(len, bags)), 2)
    assert transformed.sizes.tolist() == [len(bag) for bag in bags]
    assert classifier().fit(transformed, some_labels()).n_features_in_ == 2
    with pytest.raises(NotFittedError):
        clone(transformer).transform(bags)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_copies_decide_alike(n_estimators, bags):
    model = classifier(n_estimators=n_estimators).fit(bags, some_labels())
    expected = model.decision_function(bags)
    through_bytes = ForkingPickler.loads(ForkingPickler.dumps(model))
    for other in (copy.deepcopy(model), copy.copy(model), through_bytes):
        np.testing.assert_array_equal(other.decision_function(bags), expected)
    changed = copy.deepcopy(model).set_params(random_state=1).fit(bags, some_labels())
    assert not np.allclose(changed.decision_function(bags), expected)
    np.testing.assert_array_equal(model.decision_function(bags), expected)


# -------------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("classes", [["no", "yes"], [False, True], [-1, 1], [0.0, 1.0], ["a", "b", "c"], [3, 5, 9, 11]])
def test_classes_of_any_kind(classes, bags):
    labels = scores(generator(4), classes)
    model = classifier().fit(bags, labels)
    assert model.classes_.tolist() == sorted(classes)
    assert model.classes_.dtype == labels.dtype
    predicted, probability = model.predict(bags), model.predict_proba(bags)
    decisions = model.decision_function(bags)
    assert decisions.shape == ((20,) if len(classes) == 2 else (20, len(classes)))
    assert predicted.dtype == labels.dtype
    assert probability.shape == (20, len(classes))
    np.testing.assert_allclose(probability.sum(1), 1)
    np.testing.assert_array_equal(model.classes_[probability.argmax(1)], predicted)
    np.testing.assert_array_equal(classifier().fit(bags, torch.arange(20) % 2).classes_, [0, 1])


def shift(model, bags, **options):
    """How the mean decision moves when these weights are given."""
    settings = {"dropout": 0.0, "bag_dropout": 0.0, "epochs": 5, **model}
    plain = classifier(**settings).fit(bags, some_labels()).decision_function(bags)
    weight = options.pop("sample_weight", None)
    return (classifier(**settings | options).fit(bags, some_labels(), weight).decision_function(bags) - plain).mean()


def test_weights_of_classes_and_bags(bags):
    assert shift({}, bags, class_weight={1: 10.0}) > 0.1
    assert shift({}, bags, class_weight={0: 10.0}) < -0.1
    assert shift({}, bags, sample_weight=[1.0, 10.0] * 10) > 0.1
    assert shift({}, bags, class_weight="balanced") == 0
    assert shift({}, bags, sample_weight=np.full(20, 3.0)) == pytest.approx(0, abs=1e-4)


def test_a_class_weight_is_the_weight_of_its_bags(bags):
    weight = np.where(some_labels() == 1, 3.0, 1.0)
    one = classifier(class_weight={1: 3.0}).fit(bags, some_labels())
    other = classifier().fit(bags, some_labels(), weight)
    np.testing.assert_array_equal(one.decision_function(bags), other.decision_function(bags))


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_bag_of_weight_zero_is_left_out(class_weight, bags):
    weight = np.ones(20)
    weight[:5] = 0
    labels = some_labels()
    model = classifier(class_weight=class_weight).fit(bags, labels, weight)
    changed = np.concatenate([1 - labels[:5], labels[5:]])
    other = classifier(class_weight=class_weight).fit(other_values(generator(5), bags, weight == 0), changed, weight)
    np.testing.assert_array_equal(model.decision_function(bags), other.decision_function(bags))


# ------------------------------------------------------------------------------------------------------------- learning


def test_one_instance_that_decides_is_found():
    bags, labels = witnesses(generator(6), 120)
    model = classifier(epochs=25, dropout=0.1).fit(bags[:80], labels[:80])
    assert roc_auc_score(labels[80:], model.decision_function(bags[80:])) > 0.9
    weights = model.instance_weights(bags[81::2])
    found = [int(weight.argmax()) == int(bag[:, 0].argmax()) for weight, bag in zip(weights, bags[81::2], strict=True)]
    assert np.mean(found) > 0.8


def test_three_classes_are_learnt():
    g = generator(7)
    labels = scores(g, ["a", "b", "c"])
    labels = np.concatenate([labels, labels, labels])
    bags = some_bags(g, 60)
    for bag, label in zip(bags, labels, strict=True):
        bag[0, "abc".index(label)] += 5
    model = classifier(epochs=25).fit(bags[:40], labels[:40])
    assert model.score(bags[40:], labels[40:]) > 0.8


def test_early_stopping_keeps_the_best_epoch():
    bags, labels = witnesses(generator(8), 40)
    options = {"early_stopping": True, "patience": 2, "learning_rate": 0.1, "epochs": 60, "validation_fraction": 0.3}
    model = classifier(**options).fit(bags, labels)
    history = model.history_
    assert 3 <= len(history.loss) == len(history.validation) < 60
    best = torch.stack(history.validation).argmin(0)
    assert torch.equal(history.best, best)
    # what was kept is what so many epochs give, with the same random numbers
    shorter = classifier(**options | {"epochs": int(best[0]) + 1}).fit(bags, labels)
    one, other = model.networks_[0].state_dict(), shorter.networks_[0].state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_nothing_is_learnt_from_validation_bags(bags):
    labels, held = some_labels(), torch.arange(20) < 6
    changed = np.concatenate([1 - labels[:5], labels[5:]])
    with mock.patch("hopfield.estimators.bags.held_out", return_value=held.expand(2, 20)):
        one, other = (classifier(early_stopping=True, epochs=1).fit(bags, y) for y in (labels, changed))
    np.testing.assert_array_equal(one.decision_function(bags), other.decision_function(bags))
    assert not torch.equal(one.history_.validation[0], other.history_.validation[0])
    assert torch.equal(one.history_.loss[0], other.history_.loss[0])


def test_losses_are_kept(fitted):
    assert len(fitted.history_.loss) == 2
    assert fitted.history_.loss[0].shape == (2,)
    assert not fitted.history_.validation
    assert fitted.history_.best.tolist() == [1, 1]


@pytest.mark.parametrize(
    "options",
    [
        {"embedding": ()},
        {"embedding": (6, 5), "key": (4, 3), "hidden": (7, 6)},
        {"states": 3, "steps": 2},
        {"beta": "learned"},
        {"beta": 0.5, "standardize": False},
        {"separation": "sparsemax", "steps": 3},
        {"separation": Entmax(1.3)},
        {"dropout": 0.0, "bag_dropout": 0.9},
        {"batch_size": 1},
        {"batch_size": 10**9},
        {"embedding": [8], "epochs": np.int64(1), "dropout": np.float32(0.1)},
        {"class_weight": "balanced", "early_stopping": True, "validation_fraction": 0.5},
    ],
    ids=repr,
)
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_options(options, n_estimators, bags, tmp_path):
    model = classifier(**{"n_estimators": n_estimators, "epochs": 1, **options}).fit(bags, some_labels())
    decisions = model.decision_function(bags)
    assert np.isfinite(decisions).all()
    assert len(np.unique(decisions.round(6))) > 10
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(HopfieldBagClassifier.load(tmp_path / "model").decision_function(bags), decisions)


@pytest.mark.parametrize("separation", [*NAMES, TopK(2)], ids=str)
def test_separations(separation, bags):
    model = classifier(separation=separation, epochs=1).fit(bags, some_labels())
    assert np.isfinite(model.decision_function(bags)).all()
    total = np.array([weight.sum() for weight in model.instance_weights(bags)])
    if separation == "softmax1":
        assert (total < 1).all()
    else:
        np.testing.assert_allclose(total, 1, atol=1e-5)


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize("bag_dropout", [0.0, 0.5])
def test_gradients_through_the_heaviest_of_large_bags(n_estimators, bag_dropout):
    g = generator(9)
    bags = [torch.randn(size, 2, generator=g) for size in (3, 0, 600, 300, 257, 256)]
    options = {"n_estimators": n_estimators, "dropout": 0.0, "bag_dropout": bag_dropout, "key": (4,)}
    whole = classifier(**options).fit(bags, some_labels(6))
    part = classifier(**options, top_share=0.1).fit(bags, some_labels(6))
    assert not np.array_equal(part.decision_function(bags), whole.decision_function(bags))
    small = [bag[:256] for bag in bags]
    whole, part = (classifier(**options, top_share=share).fit(small, some_labels(6)) for share in (1, 0.1))
    np.testing.assert_allclose(part.decision_function(small), whole.decision_function(small), atol=1e-4)


def test_sequences_through_folds_of_bags():
    g = generator(10)
    rows = Bags.from_list([torch.randint(1, 21, (6, 13), generator=g).to(torch.uint8) for _ in range(8)])
    model = classifier(embedding="sequences", epochs=1)
    assert cross_val_score(model, rows, some_labels(8), cv=2, error_score="raise").shape == (2,)
    model.fit(rows, some_labels(8))
    np.testing.assert_array_equal(model.decision_function(list(rows)), model.decision_function(rows))
    wider = Bags(torch.nn.functional.pad(rows.instances.long(), (0, 4)), rows.offsets)  # more padding, other integers
    np.testing.assert_allclose(model.decision_function(wider), model.decision_function(rows), rtol=1e-5)
    for value, text in ((25, "letters must be"), (-1, "letters must be")):
        wrong = wider.instances.clone()
        wrong[3, 2] = value
        with pytest.raises(HopfieldError, match=text):
            model.predict(Bags(wrong, rows.offsets))
    wider.instances[0, 3] = 0
    with pytest.raises(HopfieldError, match="a letter behind a 0"):
        model.predict(wider)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_a_classifier_for_sequences(n_estimators, tmp_path):
    data = simulate_repertoires(40, 200, motifs=("SFENW",), rate=0.05, seed=1)
    model = HopfieldBagClassifier.for_sequences(random_state=0, n_estimators=n_estimators, epochs=6)
    wanted = {"embedding": "sequences", "top_share": 0.1, "learning_rate": 0.003, "decay": 0.8, "label_smoothing": 0.0}
    wanted |= {"random_state": 0, "n_estimators": n_estimators, "epochs": 6}
    assert clone(model).get_params() == model.get_params() == HopfieldBagClassifier(**wanted).get_params()
    assert HopfieldBagClassifier.for_sequences().get_params()["epochs"] == 8
    with pytest.raises(TypeError, match="depth"):
        HopfieldBagClassifier.for_sequences(depth=2)
    model.fit(data.bags[:30], data.labels[:30])
    decisions = model.decision_function(data.bags)
    assert roc_auc_score(data.labels[30:], decisions[30:]) > 0.9
    weights = np.concatenate(model.instance_weights(data.bags))
    implanted, of_positive = data.implanted.numpy(), data.labels[data.bags.segments()] == 1
    assert weights[implanted].mean() > 5 * weights[of_positive & ~implanted].mean()
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        HopfieldBagClassifier.load(tmp_path / "model").decision_function(data.bags), decisions
    )


def test_settings_after_the_fit_change_nothing_that_was_learnt(bags, tmp_path):
    model = classifier(n_estimators=2).fit(bags, some_labels())
    decisions, weights = model.decision_function(bags), model.instance_weights(bags)
    model.set_params(beta=50.0, steps=3, n_estimators=4, standardize=False)
    np.testing.assert_array_equal(model.decision_function(bags), decisions)
    for one, other in zip(model.instance_weights(bags), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    model.save(tmp_path / "model")
    again = HopfieldBagClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.decision_function(bags), decisions)
    assert again.get_params()["n_estimators"] == 2
    assert again.standardize


@pytest.mark.parametrize("fraction", [0.2, 0.9])
def test_early_stopping_needs_every_class_in_both_parts(fraction):
    rows = Bags.from_list([torch.randn(2, 3) for _ in range(20)])
    model = classifier(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(HopfieldError, match="early_stopping leaves a class without bags"):
        model.fit(rows, [1, 1] + 18 * [0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"learning_rate": 1e6}, "training diverged"),
        ({"class_weight": {0: 1e300}}, "single precision"),
        ({"class_weight": {0: 1e-300}}, "single precision"),
        ({"device": "nope"}, "device 'nope' cannot be used here"),
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used here"),
    ],
)
def test_what_gives_no_finite_numbers(options, text, bags):
    with pytest.raises(HopfieldError, match=text):
        classifier(**{"epochs": 60} | options).fit(bags, some_labels())


def test_motifs_of_a_test_part_do_not_reach_its_fold():
    data = simulate_repertoires(20, 30, motifs=("SFEN",), rate=0.2, seed=2)
    test, labels = some_folds(), some_labels()
    other = Bags.from_list([bag.flip(0)[: 10 + i] if test[0, i] else bag for i, bag in enumerate(data.bags)])
    options = {"random_state": 0, "epochs": 1, "batch_size": 10**9, "dropout": 0.0, "bag_dropout": 0.0}
    one, two = (
        HopfieldBagClassifier.for_sequences(**options).cross_decision(bags, labels, test) for bags in (data.bags, other)
    )
    # to rounding: the bags of the other fold, trained beside it, have other sizes
    np.testing.assert_allclose(one[0, ~test[0]], two[0, ~test[0]], rtol=1e-5, atol=1e-6)
    assert not np.allclose(one[1], two[1], rtol=1e-3, atol=1e-4)


class Image(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.linear = nn.Linear(shape[0] * shape[1], 5)

    def forward(self, images):
        return self.linear(images.flatten(1).float())


def test_an_embedding_of_ones_own(tmp_path):
    g = generator(11)
    bags = Bags.from_list([torch.randint(0, 255, (4, 2, 3), generator=g).to(torch.uint8) for _ in range(20)])
    model = classifier(embedding=Image).fit(bags, some_labels())
    assert not hasattr(model, "n_features_in_")
    assert cross_val_score(clone(model), bags, some_labels(), cv=2, error_score="raise").shape == (2,)
    model.save(tmp_path / "model")
    with pytest.raises(HopfieldError, match=r"a function as embedding.*load\(path, embedding=\.\.\.\)"):
        HopfieldBagClassifier.load(tmp_path / "model")
    loaded = HopfieldBagClassifier.load(tmp_path / "model", embedding=Image)
    np.testing.assert_array_equal(loaded.decision_function(bags), model.decision_function(bags))
    with pytest.raises(HopfieldError, match="does not fit its own settings or the embedding"):
        HopfieldBagClassifier.load(
            tmp_path / "model", embedding=lambda shape: nn.Sequential(Image(shape), nn.Linear(5, 5))
        )
    with pytest.raises(HopfieldError, match=r"embedding must turn instances \(total, 2, 3\) into \(total, size\)"):
        classifier(embedding=lambda shape: nn.Flatten(0)).fit(bags.map(torch.Tensor.float), some_labels())
    with pytest.raises(HopfieldError, match="learnt from"):
        model.predict(bags.map(lambda images: images[:, :1]))
    with pytest.raises(HopfieldError, match="layer sizes embed rows of numbers"):
        classifier().fit(bags, some_labels())


# ------------------------------------------------------------------------------------------------------ what comes out


def test_an_empty_bag_is_decided_by_the_rest_of_the_network(bags):
    labels = np.array([0, 1, 1, 1] * 5)
    model = classifier(epochs=40, dropout=0.0).fit([*bags[:4], *[bags[0][:0]] * 16], labels)
    decisions = model.decision_function([bags[0][:0], bags[1][:0], bags[2]])
    assert np.isfinite(decisions).all()
    assert decisions[0] == decisions[1] > 0
    weights = model.instance_weights([bags[0][:0], bags[2]])
    assert [len(weight) for weight in weights] == [0, len(bags[2])]
    np.testing.assert_array_equal(model.decision_function([bags[0][:0]]), decisions[:1])


def test_nothing_but_empty_bags():
    model = classifier().fit([torch.zeros(0, 3)] * 6, some_labels(6))
    assert np.isfinite(model.decision_function([torch.zeros(0, 3), torch.ones(1, 3)])).all()


def test_instance_weights(bags, fitted):
    weights = fitted.instance_weights(bags)
    assert [weight.shape for weight in weights] == [(len(bag),) for bag in bags]
    np.testing.assert_allclose([weight.sum() for weight in weights], 1, atol=1e-5)
    assert all((weight > 0).all() for weight in weights)
    for own in (classifier(key=(3,)), classifier(states=2, steps=2)):
        weights = own.fit(bags, some_labels()).instance_weights(bags)
        np.testing.assert_allclose([weight.sum() for weight in weights], 1, atol=1e-5)


def test_a_column_that_does_not_vary_is_ignored(bags):
    constant = [torch.cat([bag, torch.full((len(bag), 1), 0.1)], 1) for bag in bags]
    model = classifier().fit(constant, some_labels())
    other = [torch.cat([bag, torch.full((len(bag), 1), 1e9)], 1) for bag in bags]
    np.testing.assert_array_equal(model.decision_function(other), model.decision_function(constant))


def test_columns_may_have_any_scale(bags, fitted):
    scaled = [bag * torch.tensor([1e-6, 1.0, 1e4]) + torch.tensor([0.0, 3.0, 5.0]) for bag in bags]
    model = classifier().fit(scaled, some_labels())
    np.testing.assert_allclose(model.decision_function(scaled), fitted.decision_function(bags), atol=1e-3)


def test_without_a_terminal_nothing_is_shown(bags, capfd):
    classifier(verbose=True).fit(bags, some_labels())
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "options",
    [
        {"n_estimators": 1, "key": (3,), "states": 2, "beta": "learned"},
        {"n_estimators": np.int64(2), "separation": Entmax(1.3), "hidden": [4]},
        {"separation": TopK(2), "random_state": np.random.RandomState(0), "device": torch.device("cpu")},
    ],
    ids=["alone", "entmax", "topk"],
)
@pytest.mark.parametrize("classes", [["no", "yes"], [False, True], [3, 7, 9]], ids=repr)
def test_a_file_decides_alike(options, classes, bags, tmp_path):
    labels = scores(generator(12), classes)
    model = classifier(**options, class_weight={classes[0]: np.float64(2.5)}).fit(bags, labels)
    model.save(tmp_path / "model")
    before = torch.get_rng_state()
    loaded = HopfieldBagClassifier.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(loaded.decision_function(bags), model.decision_function(bags))
    np.testing.assert_array_equal(loaded.predict(bags), model.predict(bags))
    assert loaded.classes_.tolist() == model.classes_.tolist()
    assert loaded.n_features_in_ == 3
    given, found = model.get_params(), loaded.get_params()
    for name in ("random_state", "device", "hidden"):
        given.pop(name), found.pop(name)
    assert found == given
    loaded.set_params(random_state=0).fit(bags, labels)
    with pytest.raises(HopfieldError, match="expecting 3 features"):
        HopfieldBagClassifier.load(tmp_path / "model").predict([bags[0][:, :2]])


def test_names_of_columns_are_in_the_file(bags, fitted, tmp_path):
    model = copy.deepcopy(fitted)
    model.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    model.save(tmp_path / "model")
    assert HopfieldBagClassifier.load(tmp_path / "model").feature_names_in_.tolist() == ["a", "b", "c"]
    assert not hasattr(model.fit(bags, some_labels()), "feature_names_in_")


def test_files_that_are_not_classifiers(bags, fitted, tmp_path):
    path = tmp_path / "model"
    load = HopfieldBagClassifier.load
    with pytest.raises(HopfieldError, match="no classifier file at"):
        load(path)
    fitted.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(HopfieldError, match="damaged, truncated or no safetensors file"):
        load(path)
    path.write_bytes(whole[:-3] + bytes(3))
    with pytest.raises(HopfieldError, match="do not have the checksum"):
        load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(HopfieldError, match=r"not a classifier written by HopfieldBagClassifier\.save"):
        load(path)
    path.write_bytes(b"text")
    with pytest.raises(HopfieldError, match="no safetensors file"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [{"heads": 3}, {"states": 2}, {"n_estimators": 1}, {"heads": 0}, {"depth": 1}, {"separation": {"name": "Else"}}],
    ids=repr,
)
def test_settings_that_do_not_fit_the_numbers(change, bags, fitted, tmp_path):
    path = tmp_path / "model"
    fitted.save(path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    metadata = json.loads(whole[8 : 8 + length])["__metadata__"]
    metadata["settings"] = json.dumps(json.loads(metadata["settings"]) | change)
    tensors = load_file(path)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(HopfieldError, match="do not have the checksum"):
        HopfieldBagClassifier.load(path)
    save_file(tensors, path, metadata=metadata | {"sha256": files.digest(tensors, metadata)})
    with pytest.raises(HopfieldError, match=r"damaged|does not fit|must be an integer"):
        HopfieldBagClassifier.load(path)


def test_another_embedding_than_the_saved_one_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    given = fitted.get_params()["embedding"]
    assert HopfieldBagClassifier.load(tmp_path / "model", embedding=given).get_params()["embedding"] == given
    with pytest.raises(HopfieldError, match=r"was saved with embedding=\(.*, got \(99,\); leave it out"):
        HopfieldBagClassifier.load(tmp_path / "model", embedding=(99,))


def test_a_function_may_give_the_same_module_again(bags, tmp_path):
    module = torch.nn.Linear(3, 3)
    before = module.weight.detach().clone()
    models = [classifier(embedding=lambda shape: module).fit(bags, some_labels()) for _ in range(2)]
    assert torch.equal(module.weight, before)
    np.testing.assert_array_equal(*(model.decision_function(bags) for model in models))


@pytest.mark.parametrize(
    ("embedding", "text"),
    [
        (torch.nn.Linear(3, 8), "must be a function from the shape .* got Linear"),
        (lambda shape: None, "must be a function from the shape .* got NoneType"),
        (lambda shape: torch.nn.LSTM(3, 3), "got tuple from 2 instances"),
        (lambda shape: torch.nn.Flatten(0), r"got \(6,\) from 2 instances"),
    ],
    ids=["module", "nothing", "tuple", "flat"],
)
def test_functions_that_make_no_embedding(embedding, text, bags):
    with pytest.raises(HopfieldError, match=text):
        classifier(embedding=embedding).fit(bags, some_labels())


def test_a_large_offset_is_no_constant():
    signal = some_labels().astype("float32")
    rows = [np.full((2, 1), 1e6, "float32") + value for value in signal]
    model = classifier(epochs=100).fit(rows, some_labels())
    assert roc_auc_score(some_labels(), model.decision_function(rows)) == 1


def test_numbers_whose_squares_overflow_need_standardisation(bags):
    huge = [bag * 1e30 for bag in bags]
    for call in (
        lambda: classifier(standardize=False).fit(huge, some_labels()),
        lambda: classifier(standardize=False).fit(bags, some_labels()).predict(huge),
        lambda: classifier(standardize=False).cross_decision(huge, some_labels(), some_folds()),
    ):
        with pytest.raises(HopfieldError, match=r"at most 1e\+15 in magnitude, got .*e\+3.*standardize=True"):
            call()
    one, other = (classifier().fit(rows, some_labels()).decision_function(rows) for rows in (bags, huge))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_only_ratios_of_weights_count(bags):
    weights = np.linspace(1, 2, 20)
    decisions = [
        classifier().fit(bags, some_labels(), sample_weight=scale * weights).decision_function(bags)
        for scale in (1.0, 2.0**1000, 2.0**-140)
    ]
    np.testing.assert_array_equal(decisions[0], decisions[1])
    np.testing.assert_array_equal(decisions[0], decisions[2])
    huge = classifier(class_weight={0: 1e300, 1: 1e300}).fit(bags, some_labels(), sample_weight=np.full(20, 1e300))
    np.testing.assert_array_equal(
        huge.decision_function(bags), classifier().fit(bags, some_labels()).decision_function(bags)
    )


def test_masked_entries_are_refused(bags):
    rows = [np.ma.masked_array(bag.numpy(), mask=[[i == 3] * 3] * len(bag)) for i, bag in enumerate(bags)]
    with pytest.raises(HopfieldError, match="bag 3 must have no masked entries"):
        classifier().fit(rows, some_labels())
    with pytest.raises(HopfieldError, match="labels must have no masked entries"):
        classifier().fit(bags, np.ma.masked_array(some_labels(), mask=np.arange(20) == 4))
    table = np.ma.masked_array(np.ones((20, 3)), mask=np.eye(20, 3, dtype=bool))
    with pytest.raises(HopfieldError, match="bags must have no masked entries"):
        classifier().fit(table, some_labels())
    with pytest.raises(HopfieldError, match="sample_weight must have no masked entries"):
        classifier().fit(bags, some_labels(), np.ma.masked_array(np.ones(20), mask=np.arange(20) == 2))
    with pytest.raises(HopfieldError, match="test must have no masked entries"):
        classifier().cross_decision(bags, some_labels(), np.ma.masked_array(some_folds(), mask=some_folds()))
    with pytest.raises(HopfieldError, match="groups must have no masked entries"):
        Bags.from_groups(torch.zeros(3, 2), np.ma.masked_array([0, 1, 1], mask=[False, True, False]))


def test_another_embedding_after_the_fit_changes_nothing(bags):
    model = classifier().fit(bags, some_labels())
    decisions = model.decision_function(bags)
    model.set_params(embedding="sequences", standardize=False)
    np.testing.assert_array_equal(model.decision_function(bags), decisions)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda m, b: m.fit(Bags(torch.zeros(5), [0, 2, 5]), [0, 1]),
            r"rows of numbers \(total, d\).* got shape \(5,\)",
        ),
        (lambda m, b: m.fit(b, np.array(["a", 1] * 10, object)), "all strings or all numbers, got a mixture"),
        (lambda m, b: m.fit(simulate_repertoires(20, 5), some_labels()), r"got Repertoires; give its \.bags"),
        (lambda m, b: m.cross_decision(b, some_labels(), True), r"test must be bool \(folds, 20\)"),
        (
            lambda m, b: m.set_params(random_state=np.random.default_rng(0)).fit(b, some_labels()),
            "random_state must be",
        ),
        (lambda m, b: m.set_params(random_state=-1).fit(b, some_labels()), "random_state must be"),
    ],
    ids=["flat", "labels", "repertoires", "folds", "generator", "seed"],
)
def test_other_things_that_make_no_sense(call, text, bags):
    with pytest.raises(HopfieldError, match=text):
        call(classifier(), bags)


def test_folds_may_be_views(bags):
    test = some_folds()
    one, other = (classifier().cross_decision(bags, some_labels(), t) for t in (test[::-1], test[::-1].copy()))
    np.testing.assert_array_equal(one, other)


def test_what_cannot_be_saved(bags, tmp_path):
    with pytest.raises(NotFittedError):
        classifier().save(tmp_path / "model")
    with pytest.raises(HopfieldError, match="cannot save the separation function Sharper"):
        classifier(separation=Sharper()).fit(bags, some_labels()).save(tmp_path / "model")
    model = classifier().fit(bags, some_labels())
    with pytest.raises(HopfieldError, match="cannot write the classifier"):
        model.save(tmp_path / "nowhere" / "model")
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------------------------- errors


def spoiled(bags, value):
    bags = [bag.clone() for bag in bags]
    bags[2][0, 1] = value
    return bags


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (lambda bags: [*bags[:-1], torch.ones(2, 4)], "bag 19"),
        (
            lambda bags: spoiled(bags, torch.nan),
            "instance 0 of bag 2 contains NaN; leave such instances out",
        ),
        (lambda bags: spoiled(bags, torch.inf), "instance 0 of bag 2 contains infinity"),
        (lambda bags: spoiled(bags, -torch.inf), "instance 0 of bag 2 contains infinity"),
        (lambda bags: np.full((20, 3), np.nan), "contains NaN"),
        (lambda bags: np.full((20, 3), np.inf), "contains infinity"),
        (lambda bags: scipy.sparse.eye(20).tocsr(), "(?i)sparse"),
        (lambda bags: [["a", "b"]] * 20, "could not convert string to float|must hold numbers"),
        (lambda bags: [[["a"]]] * 20, "bag 0 must hold numbers"),
        (lambda bags: "bags", "numbers|string|Expected 2D"),
        (lambda bags: np.zeros(20), "Expected 2D|one dimension"),
        (lambda bags: np.zeros((20, 2, 2, 2)), "dim 4|shape"),
        (lambda bags: [bag + 1j for bag in bags], "Complex data not supported"),
        (lambda bags: [], "Expected 2D|at least 1"),
        (lambda bags: np.zeros((0, 3)), "0 sample"),
        (lambda bags: Bags(torch.zeros(0, 3), [0]), "no bags to learn from"),
        (lambda bags: None, "numbers|NaN|None|Expected 2D"),
    ],
    ids=[
        *("widths", "nan", "infinity", "minus infinity", "nan table", "infinite table", "sparse", "strings", "words"),
        *("string", "vector", "four", "complex", "no list", "no table", "no bags", "nothing"),
    ],
)
def test_bags_that_make_no_sense(X, message, bags, fitted):
    given = X(bags)
    with pytest.raises((ValueError, TypeError), match=message):
        classifier().fit(given, some_labels())
    with pytest.raises((ValueError, TypeError), match=message.replace("no bags to learn from", "no bags to decide")):
        fitted.predict(given)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (some_labels(19), "got 20 bags and 19 labels"),
        ([0, 1] * 9 + [1, None], "missing .* for 1 bags, the first is bag 19"),
        ([0, 1] * 8 + [np.nan, 1, np.nan, 0], "missing .* for 2 bags, the first is bag 16"),
        ([0, 1] * 9 + [1, np.inf], "labels must be finite, but that of bag 19 is infinity"),
        ([1] * 20, r"one class only: \[1\]"),
        (np.zeros((20, 2)), r"bad input shape \(20, 2\)"),
        (np.linspace(0, 1, 20), "Unknown label type"),
    ],
    ids=["none", "fewer", "one missing", "two missing", "infinite", "one class", "columns", "continuous"],
)
def test_labels_that_make_no_sense(y, message, bags):
    with pytest.raises(ValueError, match=message):
        classifier().fit(bags, y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(19), r"sample_weight must be .* per bag, \(20\); got shape \(19,\)|\(19,\)"),
        (-np.ones(20), "of at least 0"),
        (np.full(20, np.nan), "finite"),
        (np.zeros(20), "sample_weight is zero for all bags of 0, 1"),
        (some_labels(), "sample_weight is zero for all bags of 0: "),
    ],
    ids=["fewer", "negative", "nan", "zeros", "zeros of a class"],
)
def test_weights_that_make_no_sense(weight, message, bags):
    with pytest.raises(HopfieldError, match=message):
        classifier().fit(bags, some_labels(), weight)


WRONG = [
    *((name, value) for name in ("heads", "head_size", "states", "steps", "n_estimators") for value in (0, 1.5, True)),
    *(("epochs", value) for value in (0, "many", None)),
    *(
        (name, value)
        for name in ("dropout", "bag_dropout", "label_smoothing")
        for value in (-0.1, 1.0, "a", None, True)
    ),
    *(("weight_decay", value) for value in (-1, np.inf, np.nan)),
    *((name, value) for name in ("top_share", "decay", "validation_fraction") for value in (0, 1.1, None, np.nan)),
    *(("learning_rate", value) for value in (0, -1, np.inf, np.nan, "fast")),
    *(("patience", value) for value in (0, None, np.nan, "long")),
    *(("batch_size", value) for value in (0, "all", 1.5, True, None)),
    *((name, value) for name in ("embedding", "key", "hidden") for value in (8, (0,), (1.5,), "words", None, (True,))),
    *(("class_weight", value) for value in ("even", 3, {0: -1.0}, {0: 0.0}, {0: np.nan}, {0: "a"}, {5: 1.0})),
    *(("beta", value) for value in ("steep", np.nan)),
    ("separation", "hardmax"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value!r}" for name, value in WRONG])
def test_parameters_that_make_no_sense(name, value, bags):
    with pytest.raises(HopfieldError, match=name):
        classifier(**{name: value}).fit(bags, some_labels())


def test_too_few_bags_for_early_stopping(bags):
    with pytest.raises(HopfieldError, match="early_stopping needs bags of every class in both parts"):
        classifier(early_stopping=True).fit(bags[:4], some_labels(4))


def test_before_fit_and_of_another_width(bags, fitted):
    for method in ("predict", "predict_proba", "decision_function", "instance_weights"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(bags)
        for given in ([bag[:, :2] for bag in bags], torch.ones(3, 2).numpy(), Bags.from_list([torch.ones(3, 2)])):
            with pytest.raises(ValueError, match="X has 2 features, but HopfieldBagClassifier is expecting 3 features"):
                getattr(fitted, method)(given)
    with pytest.raises(NotFittedError):
        _ = classifier().networks_


def test_a_refit_of_another_width_and_form(bags):
    model = classifier().fit(np.ones((20, 5)) * np.arange(20)[:, None], some_labels())
    assert model.n_features_in_ == 5
    assert model.fit(bags, some_labels()).n_features_in_ == 3
    assert model.decision_function(bags).shape == (20,)


@pytest.mark.parametrize("why", ["labels", "weights", "embedding", "interrupt"])
def test_a_fit_that_fails_leaves_the_earlier_one(why, bags, fitted):
    def interrupt(shape):
        raise KeyboardInterrupt

    model = copy.deepcopy(fitted)
    expected = model.decision_function(bags)
    weight = -np.ones(20) if why == "weights" else None
    if why in {"embedding", "interrupt"}:
        model.set_params(embedding=interrupt if why == "interrupt" else nn.Flatten)
    with pytest.raises((HopfieldError, KeyboardInterrupt, TypeError)):
        model.fit([bag[:, :2] for bag in bags], [1] * 20 if why == "labels" else scores(generator(0), "ab"), weight)
    np.testing.assert_array_equal(model.decision_function(bags), expected)
    assert model.classes_.tolist() == [0, 1]
    assert model.n_features_in_ == 3


@examples(3)
def test_bags_of_any_sizes(seed):
    g = generator(seed)
    sizes = torch.randint(0, 5, (12,), generator=g).tolist()
    bags = [torch.randn(size, 2, generator=g) for size in sizes]
    model = classifier(epochs=1).fit(bags, some_labels(12))
    expected = np.concatenate([model.decision_function([bag]) for bag in bags])
    np.testing.assert_allclose(model.decision_function(bags), expected, atol=1e-5)


def test_transformers_that_write_into_what_they_get_leave_the_bags_alone(bags):
    from sklearn.preprocessing import StandardScaler

    given = Bags.from_list(bags)
    before = given.instances.clone()
    transformer = InstanceTransformer(StandardScaler(copy=False)).fit(given)
    first, second = transformer.transform(given), transformer.transform(given)
    assert torch.equal(given.instances, before)
    assert torch.equal(first.instances, second.instances)
