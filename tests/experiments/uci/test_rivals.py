import numpy as np
import pytest

from hopfield.experiments.uci import paper
from hopfield.experiments.uci.rivals import RIVALS, Rival, tuned


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) * [1, 100, 1]
    y = (X[:, 0] > 0).astype(int)
    part = rng.integers(0, 4, 60)
    return X, y, part == 0, part == 1


def cheap(rival):
    """The same with one cell of two values of its first parameter, and few trees."""
    name, values = next(iter(rival.grid.items()))
    fixed = dict(rival.fixed) | ({"n_estimators": 20} if "n_estimators" in rival.fixed else {})
    return Rival(rival.make, fixed, {name: values[:2]}, rival.random)


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_learn_and_see_no_test_row(split, name):
    X, y, test, validation = split
    rival = cheap(RIVALS[name])
    predicted, chosen = tuned(rival, X, y, test, validation, 0)
    assert (predicted == y[test]).mean() > 0.6
    assert chosen in {", ".join(f"{k}={v}" for k, v in cell.items()) for cell in rival.candidates()}
    other = np.where(test, np.random.default_rng(1).permutation(y), y)
    again, same = tuned(rival, X, other, test, validation, 0)
    assert (again == predicted).all()
    assert same == chosen


def test_a_draw_goes_to_the_first_cell(split):
    X, y, test, validation = split
    rival = Rival(RIVALS["SVM (RBF)"].make, {}, {"C": (10.0, 10.000001), "gamma": (0.3,)})
    assert tuned(rival, X, y, test, validation, 0)[1] == "C=10.0, gamma=0.3"


@pytest.mark.parametrize("name", RIVALS)
def test_one_class_and_few_rows(name):
    X = np.random.default_rng(0).normal(size=(12, 2))
    test, validation = np.arange(12) < 2, np.arange(12) == 2
    for y in (np.zeros(12, int), np.arange(12) % 2):
        predicted, _ = tuned(cheap(RIVALS[name]), X, y, test, validation, 0)
        assert predicted.shape == (2,)


def test_the_network_of_the_paper_learns_and_sees_no_test_row(split, monkeypatch):
    X, y, test, validation = split
    monkeypatch.setattr(paper, "ARCHITECTURES", paper.ARCHITECTURES[:2])
    monkeypatch.setattr(paper, "BETAS", (1.0, 0.1))
    monkeypatch.setattr(paper, "EPOCHS", 30)
    tests, validations = np.stack([test, validation]), np.stack([validation, test])
    predicted, chosen = paper.paper_network(X, y, tests, validations, 0)
    assert (predicted[0] == y[test]).mean() > 0.7
    assert all("layers=1, hidden=32" in choice for choice in chosen)
    other = np.where(test, 1 - y, y)
    again, _ = paper.paper_network(X, other, test[None], validation[None], 0)
    alone, _ = paper.paper_network(X, y, test[None], validation[None], 0)
    assert (again[0] == alone[0]).all()
