import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hopfield.datasets import AminoAcidModel, simulate_repertoires
from hopfield.datasets.repertoires import abundance, encode, find_motif
from hopfield.errors import HopfieldError


def of_positives(found):
    return found[found.labels == 1]


def test_shapes_and_classes():
    found = simulate_repertoires(10, 50, seed=3)
    assert repr(found) == "Repertoires(10 of 50 sequences, 500 in all; 5 negative, 5 positive)"
    assert found.bags.instances.shape == (500, 21)
    assert found.bags.instances[:, 0].equal(abundance(found.counts))
    assert found.motifs == ("SFEN",)
    assert found.names[9] == "repertoire_9"
    assert found.labels.tolist() != sorted(found.labels, reverse=True)
    assert int(found.counts.min()) == 1
    assert 1.8 < float(found.counts.double().mean()) < 2.2
    sizes = simulate_repertoires(50, (10, 20)).bags.sizes
    assert (int(sizes.min()), int(sizes.max())) == (10, 20)
    assert simulate_repertoires(10, 5, positive_share=0.3).labels.sum() == 3
    assert not simulate_repertoires(3, 5, positive_share=0).implanted.any()


@given(st.integers(0, 2**32 - 1))
def test_the_share_of_implanted_sequences(seed):
    rate = float(np.random.default_rng(seed).uniform(0.001, 1))
    found = simulate_repertoires(6, (1, 60), rate=rate, seed=seed)
    for part, label in zip(found.bags.with_instances(found.implanted), found.labels, strict=True):
        assert int(part.sum()) == (max(1, round(rate * len(part))) if label else 0)
    assert find_motif(found.letters, "SFEN")[found.implanted].all()


@given(st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_data(seed):
    first, same, other = (simulate_repertoires(4, 40, rate=0.1, seed=s) for s in (seed, seed, seed + 1))
    assert first.bags.instances.equal(same.bags.instances)
    assert first.implanted.equal(same.implanted)
    assert first.labels.tolist() == same.labels.tolist()
    assert not first.bags.instances.equal(other.bags.instances)


@pytest.mark.parametrize("jitter", [0, 2, None])
def test_motifs_are_near_the_middle(jitter):
    # a background of A alone, in which the motif is where nothing else is
    model = AminoAcidModel(AminoAcidModel.uniform((6, 15)).lengths, np.eye(20)[0])
    found = of_positives(simulate_repertoires(20, 200, motifs=("CDEF",), rate=0.5, jitter=jitter, model=model))
    rows = found.letters[found.implanted].numpy()
    room = np.count_nonzero(rows, 1) - 4
    start = (rows == 2).argmax(1)
    assert (rows[np.arange(len(rows)), start + 3] == 5).all()
    assert (np.count_nonzero(rows > 1, 1) == 4).all()
    away = start - room // 2
    if jitter is None:
        assert start.min() == 0
        assert (start == room).any()
        assert (start <= room).all()
    else:
        assert set(away.tolist()) == set(range(-jitter, jitter + 1))
        assert (np.abs(away) <= jitter).all()
    assert not (found.letters[~found.implanted] > 1).any()


def test_fixed_wildcards_keep_the_letters_of_the_sequence():
    model = AminoAcidModel(np.eye(9)[8], np.eye(20)[0])
    found = of_positives(simulate_repertoires(4, 100, motifs=("C?D",), rate=1, model=model))
    assert find_motif(found.letters, "C?D").all()
    assert find_motif(found.letters, "CAD").all()


def test_random_wildcards_leave_letters_of_the_motif_out():
    model = AminoAcidModel(np.eye(9)[8], np.eye(20)[0])
    found = of_positives(simulate_repertoires(4, 300, motifs=("CD?EF",), rate=1, wildcards=1, jitter=0, model=model))
    written = found.letters[:, 1:6]
    assert ((written > 1).sum(1) == 3).all()
    hidden = [find_motif(found.letters, motif) for motif in ("?D?EF", "C??EF", "CD??F", "CD?E?")]
    assert (sum(one.int() for one in hidden) == 1).all()
    assert all(100 < int(one.sum()) < 200 for one in hidden)


def test_each_sequence_has_one_of_the_motifs():
    found = of_positives(simulate_repertoires(10, 500, motifs=("CCCC", "DDDDD", "WYW"), rate=0.6))
    hits = [find_motif(found.letters, motif)[found.implanted] for motif in found.motifs]
    assert (hits[0] | hits[1] | hits[2]).all()
    assert all(0.25 < float(hit.float().mean()) < 0.45 for hit in hits)


def test_motifs_go_into_sequences_they_fit_into():
    model = AminoAcidModel.uniform((2, 8))
    found = of_positives(simulate_repertoires(6, 100, motifs=("ACDEFG",), rate=1, model=model))
    assert ((found.letters != 0).sum(1) >= 6).equal(found.implanted)
    assert find_motif(found.letters, "ACDEFG").equal(found.implanted)


def test_another_model_gives_its_letters():
    model = AminoAcidModel.fit(["ACACAC", "CACA"] * 1000)
    rows = simulate_repertoires(4, 1000, motifs=("WWW",), model=model).letters
    assert float((rows[rows != 0] <= 2).float().mean()) > 0.9


def test_find_motif():
    rows = encode(["ACDEF", "CDE", "ACD", "CD", ""])
    assert find_motif(rows, "CDE").tolist() == [True, True, False, False, False]
    assert find_motif(rows, "C?").tolist() == [True, True, True, True, False]
    assert find_motif(rows, "D?").tolist() == [True, True, False, False, False], "? is a letter"
    assert find_motif(rows.numpy(), "ac?e").tolist() == [True, False, False, False, False]
    assert find_motif(rows, "ACDEFG").tolist() == [False] * 5
    assert find_motif(rows[:, :0], "A").tolist() == [False] * 5


def test_find_motif_with_wildcards():
    rows = encode(["ACDEF", "ACKEF", "KCKEF", "CDE"])
    assert find_motif(rows, "ACDEF", wildcards=1).tolist() == [True, True, False, False]
    assert find_motif(rows, "ACDEF", wildcards=2).tolist() == [True, True, True, False]
    assert find_motif(rows, "A?DEF", wildcards=1).tolist() == [True, True, False, False]
    assert not find_motif(torch.ones(1, 300, dtype=torch.uint8), "C" * 256).any()
    for wildcards in (-1, 5, 1.5, None):
        with pytest.raises(HopfieldError, match="wildcards must leave at least one letter"):
            find_motif(rows, "ACDEF", wildcards=wildcards)


def test_find_motif_piece_by_piece(monkeypatch):
    rows = AminoAcidModel.uniform((1, 6)).sample(100, np.random.default_rng(0))
    expected = find_motif(rows, "A?")
    monkeypatch.setattr("hopfield.datasets.repertoires.simulated._ROWS", 7)
    assert find_motif(rows, "A?").equal(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0}, "rate must be above 0 and at most 1, got 0"),
        ({"rate": 1.1}, "rate must be above 0 and at most 1"),
        ({"rate": float("nan")}, "rate must be above 0"),
        ({"motifs": ("SFXN",)}, "got 'SFXN' with 'X'"),
        ({"motifs": ("",)}, "a motif must have letters"),
        ({"motifs": ("??",)}, "a motif must have letters"),
        ({"motifs": ()}, "at least one motif"),
        ({"motifs": ("A" * 21,)}, "fits into no sequence of AminoAcidModel"),
        ({"wildcards": 4}, "wildcards must leave at least one letter of the motif 'SFEN'"),
        ({"wildcards": -1}, "wildcards must leave"),
        ({"jitter": -1}, "jitter must be at least 0"),
        ({"repertoires": 0}, "repertoires must be at least 1"),
        ({"sequences": 0}, "sequences must be at least 1"),
        ({"sequences": (5, 4)}, "least <= most"),
        ({"positive_share": 1.5}, "positive_share must be 0 to 1"),
        ({"sequences": 1, "motifs": ("A" * 20,), "positive_share": 1}, "no motif fits into any sequence of a positive"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(HopfieldError, match=message):
        simulate_repertoires(**{"repertoires": 30, "sequences": 5} | arguments)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"repertoires": 2.5}, "must be integers"),
        ({"sequences": (5,)}, "must be integers"),
        ({"sequences": 5.5}, "must be integers"),
        ({"seed": -1}, "must be integers"),
        ({"motifs": [1]}, "motifs must be strings"),
    ],
    ids=str,
)
def test_other_types_are_refused(options, text):
    with pytest.raises(HopfieldError, match=text):
        simulate_repertoires(**{"repertoires": 4, "sequences": 5} | options)
