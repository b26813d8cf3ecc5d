import numpy as np
import pytest
import torch

from hopfield import Bags
from hopfield.datasets import Repertoires, load_repertoires
from hopfield.datasets.repertoires import abundance, encode
from hopfield.errors import HopfieldError


def small(**other) -> Repertoires:
    counts = torch.tensor([3, 1, 1234567], dtype=torch.int32)
    letters = encode(["ACD", "Y", "WWWWW"])
    rows = torch.cat([abundance(counts).unsqueeze(1), letters], 1)
    arguments = {
        "names": ("a", "b", "c"),
        "bags": Bags(rows, torch.tensor([0, 2, 2, 3])),
        "counts": counts,
        "labels": np.array([1, 0, 1]),
        "classes": ("no", "yes"),
        "metadata": {"age": np.array([30, 7, 61]), "site": np.array(["x", "y z", ""]), "t": np.array([0.1, 2, np.nan])},
    }
    return Repertoires(**{**arguments, **other})


def test_it_says_what_it_is():
    found = small()
    assert len(found) == 3
    assert repr(found) == "Repertoires(3 of 0 to 2 sequences, 3 in all; 1 no, 2 yes)"
    assert [found.sequences(i) for i in range(3)] == [["ACD", "Y"], [], ["WWWWW"]]
    assert found.letters.shape == (3, 5)
    assert found.dropped.tolist() == [0, 0, 0]
    assert repr(found[[]]) == "Repertoires(0 of 0 sequences, 0 in all; 0 no, 0 yes)"


@pytest.mark.parametrize(
    "index", [slice(1, 3), [1, 2], [-2, -1], np.array([False, True, True]), torch.tensor([1, 2]), [False, True, True]]
)
def test_some_of_them(index):
    found = small(implanted=torch.tensor([True, False, True]), dropped=np.array([5, 6, 7]))[index]
    assert found.names == ("b", "c")
    assert found.labels.tolist() == [0, 1]
    assert found.counts.tolist() == [1234567]
    assert found.implanted.tolist() == [True]
    assert found.dropped.tolist() == [6, 7]
    assert found.metadata["age"].tolist() == [7, 61]
    assert found.sequences(1) == ["WWWWW"]
    assert found.classes == ("no", "yes")


def test_order_of_selection_is_kept():
    found = small().select([2, 0])
    assert found.names == ("c", "a")
    assert found.counts.tolist() == [1234567, 3, 1]


def test_one_repertoire_is_no_index():
    with pytest.raises(HopfieldError, match=r"use \[i:i \+ 1\]"):
        small()[1]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"names": ("a", "b")}, "names must be 3 different strings"),
        ({"names": ("a", "b", "a")}, "names must be 3 different strings"),
        ({"bags": Bags(torch.zeros(3, 2), torch.tensor([0, 2, 2, 3]))}, r"must be uint8 \(total, 1 \+ L\)"),
        ({"counts": torch.ones(2)}, "counts must have one entry for each of 3 sequences"),
        ({"labels": np.array([0, 1])}, "labels must have one entry for each of 3 repertoires"),
        ({"labels": np.array([0, 1, 2])}, "labels must be 0 to 1"),
        ({"metadata": {"age": np.zeros(4)}}, "age must have one entry for each of 3 repertoires"),
    ],
)
def test_parts_that_do_not_fit(other, message):
    with pytest.raises(HopfieldError, match=message):
        small(**other)


def test_what_is_written_is_read_again(tmp_path):
    before = small()
    path = before.write(tmp_path / "new", label="ill")
    assert (tmp_path / "new" / "repertoires" / "a.tsv").read_bytes() == b"amino_acid\ttemplates\nACD\t3\nY\t1\n"
    after = load_repertoires(path, label="ill")
    assert after.names == before.names
    assert after.classes == before.classes
    assert after.labels.tolist() == before.labels.tolist()
    assert after.counts.equal(before.counts)
    assert after.bags.instances.equal(before.bags.instances)
    assert after.bags.offsets.equal(before.bags.offsets)
    assert {name: column.dtype.kind for name, column in after.metadata.items()} == {"age": "i", "site": "U", "t": "f"}
    for name, column in before.metadata.items():
        np.testing.assert_array_equal(after.metadata[name], column)
    assert not list((tmp_path / "new").rglob(".partial*"))


def test_other_columns_and_no_labels_are_written(tmp_path):
    path = small(labels=None, classes=()).write(tmp_path, id_column="who", sequence_column="aa", count_column="n")
    after = load_repertoires(path, id_column="who", sequence_column="aa", count_column="n")
    assert after.labels is None
    assert after.classes == ()
    assert after.sequences(0) == ["ACD", "Y"]


def test_more_than_one_piece_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("hopfield.datasets.repertoires.repertoires._LINES", 1)
    small().write(tmp_path)
    assert (tmp_path / "repertoires" / "a.tsv").read_text() == "amino_acid\ttemplates\nACD\t3\nY\t1\n"


def test_what_cannot_be_written(tmp_path):
    for name in ("../c", "/c", ""):
        with pytest.raises(HopfieldError, match="path inside the folder"):
            small(names=("a", "b", name)).write(tmp_path / "new")
    with pytest.raises(HopfieldError, match="columns must have different names"):
        small().write(tmp_path / "new", label="age")
    with pytest.raises(HopfieldError, match="columns must have different names"):
        small().write(tmp_path / "new", count_column="amino_acid")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(HopfieldError, match="cannot write to"):
        small().write(tmp_path / "file")


def test_classes_differ_and_what_was_seen_was_seen_once(tmp_path):
    with pytest.raises(HopfieldError, match="classes must have different names"):
        small(classes=("yes", "yes"))
    with pytest.raises(HopfieldError, match="counts must be at least 1, got 0 in 'a'"):
        small(counts=torch.tensor([3, 0, 1], dtype=torch.int32)).write(tmp_path)
