import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopfield.datasets import AminoAcidModel
from hopfield.datasets.repertoires import ALPHABET, decode, encode
from hopfield.errors import HopfieldError


def random_model(seed: int) -> AminoAcidModel:
    generator = np.random.default_rng(seed)
    lengths = np.concatenate([np.zeros(3), generator.dirichlet(np.ones(9))])
    letters, first = generator.dirichlet(np.ones(20), size=2)
    return AminoAcidModel(lengths, letters, generator.dirichlet(np.ones(20), size=20), first)


def test_uniform():
    model = AminoAcidModel.uniform((2, 5))
    assert repr(model) == "AminoAcidModel(lengths 2 to 5, order 0)"
    rows = model.sample(40_000, np.random.default_rng(0))
    assert rows.shape == (40_000, 5)
    assert rows.dtype == torch.uint8
    sizes = np.bincount((rows != 0).sum(1)) / 40_000
    np.testing.assert_allclose(sizes, [0, 0, 0.25, 0.25, 0.25, 0.25], atol=0.02)
    letters = np.bincount(rows[rows != 0])[1:]
    np.testing.assert_allclose(letters / letters.sum(), np.full(20, 0.05), atol=0.005)
    assert len(decode(rows)) == 40_000  # padding is behind the letters


@given(st.integers(0, 2**32 - 1))
def test_a_fitted_model_is_close_to_its_source(seed):
    source = random_model(seed)
    fitted = AminoAcidModel.fit(source.sample(30_000, np.random.default_rng(seed)))
    np.testing.assert_allclose(fitted.lengths, source.lengths, atol=0.02)
    np.testing.assert_allclose(fitted.first, source.first, atol=0.02)
    often = fitted.letters > 0.03
    np.testing.assert_allclose(fitted.transitions[often], source.transitions[often], atol=0.05)


def test_letters_by_themselves():
    model = AminoAcidModel.fit(["AAAC", "AA"], order=0)
    np.testing.assert_allclose(model.letters, np.array([6, 2, *[1] * 18]) / 26)
    np.testing.assert_allclose(model.lengths, [0, 0, 0.5, 0, 0.5])
    assert model.transitions is None


def test_transitions_are_counted_once_more_than_they_are_there():
    model = AminoAcidModel.fit(encode(["ACAC", "CA", ""], 9))
    assert model.lengths.shape == (5,)
    assert repr(model) == "AminoAcidModel(lengths 2 to 4, order 1)"
    np.testing.assert_allclose(model.first, np.array([2, 2, *[1] * 18]) / 22)
    np.testing.assert_allclose(model.transitions[0], np.array([1, 3, *[1] * 18]) / 22)
    np.testing.assert_allclose(model.transitions[1], np.array([3, 1, *[1] * 18]) / 22)
    np.testing.assert_allclose(model.transitions[2:], 0.05)


def test_certain_letters_are_certain():
    chain = np.roll(np.eye(20), 1, axis=1)  # each letter is followed by the next
    lengths = np.eye(8)[7]
    model = AminoAcidModel(lengths, np.full(20, 0.05), chain, np.eye(20)[18])
    assert decode(model.sample(3)) == ["WYACDEF"] * 3
    assert set(decode(AminoAcidModel(lengths, np.eye(20)[4], chain).sample(3))) == {(ALPHABET * 2)[4:11]}
    assert decode(AminoAcidModel(lengths, np.eye(20)[4]).sample(2)) == ["FFFFFFF"] * 2


def test_generators_of_numpy_and_torch():
    model = random_model(0)
    for make in (lambda: np.random.default_rng(3), lambda: torch.Generator().manual_seed(3)):
        assert model.sample(50, make()).equal(model.sample(50, make()))
    torch.manual_seed(5)
    first = model.sample(50)
    assert not first.equal(model.sample(50))
    torch.manual_seed(5)
    assert first.equal(model.sample(50))
    assert model.sample(0).shape == (0, 11)


def test_what_is_refused():
    even = np.full(20, 0.05)
    for arguments, message in (
        (([1.0], even), "some length of at least 1"),
        (([0, 1], even[:3]), r"letters must be probabilities \(20,\)"),
        (([0, 0.5], even), "lengths must be probabilities that sum to 1"),
        (([0, 1], even, even), r"transitions must be probabilities \(20, 20\)"),
        (([-1, 2], even), "lengths must be probabilities"),
        (([[0, 1]], even), "lengths must be probabilities"),
    ):
        with pytest.raises(HopfieldError, match=message):
            AminoAcidModel(*arguments)
    for lengths in ((0, 3), (4, 3)):
        with pytest.raises(HopfieldError, match="1 <= least <= most"):
            AminoAcidModel.uniform(lengths)
    with pytest.raises(HopfieldError, match="order must be 0"):
        AminoAcidModel.fit(["AC"], order=2)
    with pytest.raises(HopfieldError, match="got none"):
        AminoAcidModel.fit(["", ""])
    with pytest.raises(HopfieldError, match="got none"):
        AminoAcidModel.fit([])
    with pytest.raises(HopfieldError, match="has the letter 'X'"):
        AminoAcidModel.fit(["AX"])
    with pytest.raises(HopfieldError, match="n must be at least 0"):
        AminoAcidModel.uniform().sample(-1)
