from collections import Counter

import numpy as np
import pytest
import torch

from hopfield.bags import Bags
from hopfield.datasets.repertoires import ALPHABET, AminoAcidModel, Repertoires, encode, simulate_repertoires
from hopfield.errors import HopfieldError
from hopfield.experiments.repertoires import kmers
from hopfield.experiments.repertoires.kmers import kmer_counts, kmer_name, kmer_presence


def of(*repertoires: list[str]) -> Repertoires:
    letters = encode([sequence for one in repertoires for sequence in one])
    rows = torch.cat([torch.zeros(len(letters), 1, dtype=torch.uint8), letters], 1)
    offsets = torch.tensor([0, *np.cumsum([len(one) for one in repertoires])])
    names = tuple(f"r{i}" for i in range(len(repertoires)))
    return Repertoires(names, Bags(rows, offsets), torch.ones(len(rows), dtype=torch.int32))


def column(kmer: str) -> int:
    return sum(ALPHABET.index(letter) * 20**place for place, letter in enumerate(reversed(kmer)))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_counts_are_those_of_python_strings(k, weighted, monkeypatch):
    monkeypatch.setattr(kmers, "_ROWS", 7)  # several blocks in a repertoire
    model = AminoAcidModel.uniform((2, 9))
    repertoires = simulate_repertoires(3, (10, 40), motifs=("AA",), rate=0.5, model=model, seed=k)
    found = kmer_counts(repertoires, k, weighted=weighted)
    assert found.shape == (3, 20**k)
    assert found.dtype == np.float32
    counts = repertoires.bags.with_instances(repertoires.counts)
    for i in range(3):
        expected, there = Counter(), Counter()
        for sequence, count in zip(repertoires.sequences(i), counts[i].tolist(), strict=True):
            all_kmers = [sequence[at : at + k] for at in range(len(sequence) - k + 1)]
            expected.update({kmer: n * (count if weighted else 1) for kmer, n in Counter(all_kmers).items()})
            there.update(set(all_kmers))
        row, present = found[[i]], kmer_presence(repertoires, k)[[i]]
        assert {kmer_name(j, k): v for j, v in zip(row.indices, row.data, strict=True)} == expected
        assert {kmer_name(j, k): v for j, v in zip(present.indices, present.data, strict=True)} == there


def test_presence_counts_a_sequence_once():
    repertoires = of(["AAAA", "AAC"], ["CC"])
    assert kmer_counts(repertoires, 2)[:, column("AA")].toarray().ravel().tolist() == [4, 0]
    assert kmer_presence(repertoires, 2)[:, column("AA")].toarray().ravel().tolist() == [2, 0]


def test_repertoires_of_short_or_no_sequences_have_empty_rows():
    repertoires = of(["AC", "C"], [], ["ACD"])
    assert kmer_counts(repertoires, 3).sum(1).ravel().tolist() == [[0, 0, 1]]
    assert kmer_counts(repertoires, 5).shape == (3, 20**5)
    assert kmer_counts(repertoires, 5).nnz == 0
    assert kmer_counts(of(), 2).shape == (0, 400)


@pytest.mark.parametrize("kmer", ["C", "CASS", "YYYYY", "ACDEF"])
def test_names_are_the_letters_of_columns(kmer):
    assert kmer_name(column(kmer), len(kmer)) == kmer


@pytest.mark.parametrize("k", [0, 6, 2.5])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(HopfieldError, match="k must be 1 to 5 letters, got"):
        kmer_counts(of(["ACD"]), k)


def test_an_index_that_is_no_column_is_refused():
    with pytest.raises(HopfieldError, match="index must be 0 to 399, a column of the 2-mers; got 400"):
        kmer_name(400, 2)
