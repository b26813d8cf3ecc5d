import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopfield.datasets.repertoires import ALPHABET, abundance, counts_of, decode, encode
from hopfield.errors import HopfieldError


@given(st.lists(st.text(ALPHABET, max_size=12), max_size=8), st.integers(0, 3))
def test_decode_undoes_encode(sequences, more):
    longest = max(map(len, sequences), default=0)
    rows = encode(sequences, longest + more)
    assert rows.shape == (len(sequences), longest + more)
    assert rows.dtype == torch.uint8
    assert decode(rows) == sequences
    assert decode(rows.numpy()) == sequences
    assert decode(rows.T.contiguous().T) == sequences


def test_codes_are_positions_in_the_alphabet_and_padding_is_0():
    assert encode([ALPHABET])[0].tolist() == list(range(1, 21))
    assert encode(["AY", "c", ""]).tolist() == [[1, 20], [2, 0], [0, 0]]


@pytest.mark.parametrize("letter", ["X", "*", "_", " ", "é", "1"])
def test_other_letters_are_refused(letter):
    with pytest.raises(HopfieldError, match=r"sequence 1 has the letter .* leave the sequence out"):
        encode(["AC", f"A{letter}C"])


def test_what_encode_refuses():
    with pytest.raises(HopfieldError, match="sequence 1 has 3 letters and does not fit in length=2"):
        encode(["A", "ACD"], 2)
    with pytest.raises(HopfieldError, match="got one string"):
        encode("ACD")


def test_what_decode_refuses():
    with pytest.raises(HopfieldError, match=r"uint8 \(n, L\)"):
        decode(torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(HopfieldError, match=r"uint8 \(n, L\)"):
        decode(torch.zeros(3, 2))
    with pytest.raises(HopfieldError, match="codes of 0 to 20, got 21"):
        decode(np.array([[21]], np.uint8))
    with pytest.raises(HopfieldError, match="a letter behind a 0"):
        decode(np.array([[1, 0, 1]], np.uint8))


def test_abundance_keeps_counts_to_two_percent():
    counts = torch.cat([torch.arange(1, 3000), torch.tensor([10_000, 50_000, 62_000])])
    levels = abundance(counts)
    assert levels.dtype == torch.uint8
    assert ((counts_of(levels) / counts).log2().abs() <= 1 / 32 + 1e-5).all()
    assert abundance([1, 2, 4]).tolist() == [0, 16, 32]
    assert abundance(np.array([[10**9]])).tolist() == [[255]]
    assert abundance(torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_counts_below_1_are_refused():
    with pytest.raises(HopfieldError, match="counts must be at least 1, got 0"):
        abundance([3, 0])
