import csv
import sys

import numpy as np
import pytest

from hopfield.datasets import load_mil
from hopfield.errors import HopfieldError
from tests.datasets.mil.common import FACTS, FILES, bag_by_bag, matlab, scipy_io

# --------------------------------------------------------------------------------------------------------- binary files


@pytest.mark.parametrize("name", ["fox", "musk1"])
def test_matlab_files_bag_by_bag(data, name):
    content = scipy_io.loadmat(data / "mil" / FILES[name])
    found = load_mil(name, data_dir=data)
    labels = content["labels"].toarray().ravel()
    bag_by_bag(found, content["features"].toarray(), content["bag_ids"].ravel(), labels)


def test_musk2_bag_by_bag(data):
    with np.load(data / "mil" / FILES["musk2"]) as content:
        bag_by_bag(load_mil("musk2", data_dir=data), content["X"], content["bag"], content["y_bag"][content["bag"] - 1])


@pytest.mark.parametrize("name", FACTS)
def test_damaged_files(data, tmp_path, name):
    path = tmp_path / FILES[name]
    whole = (data / "mil" / FILES[name]).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3 : len(whole) // 3 + 2000] = b"\xff" * 2000
    for content in (whole[: len(whole) // 2], whole[:-1000], whole[:100], b"", b"something else" * 100, bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(HopfieldError, match="fetch it again") as error:
            load_mil(name, data_dir=tmp_path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, r"must hold features, bag_ids, labels; there is no 'labels'"),
        ({"features": np.zeros((476, 165))}, r"features must be \(476, 166\), got \(476, 165\)"),
        ({"features": "text"}, r"features must be \(476, 166\), got"),
        ({"features": np.full((476, 166), 1j)}, "expected numbers and integer ids, got complex128"),
        ({"features": np.full((476, 166), np.nan)}, r"must be finite in float32, but 79016 of 79016 are not"),
        (
            {"bag_ids": np.ones((1, 400), np.uint8)},
            r"there must be 476 ids and labels of bags, got \(1, 400\) and \(1, 476\)",
        ),
        ({"bag_ids": np.arange(1, 477) * 0.5}, "and ids float64"),
        ({"bag_ids": np.arange(1, 477)}, r"must hold 92 bags of 476 instances, got 476 of 476"),
        ({"labels": np.zeros((1, 476)) + 2}, "must be 0 and 1, or -1 and 1, got 2"),
        ({"labels": np.arange(476)[None] % 2}, "those of bag 92 in .* have both"),
    ],
)
def test_matlab_files_that_hold_something_else(tmp_path, changes, message):
    path = tmp_path / "musk1norm_matlab.mat"
    X, ids, labels = matlab(path)
    bag_by_bag(load_mil("musk1", data_dir=tmp_path), X, ids, labels.ravel())
    matlab(path, **changes)
    with pytest.raises(HopfieldError, match=message) as error:
        load_mil("musk1", data_dir=tmp_path)
    assert str(path) in str(error.value)


def test_npz_files_that_hold_something_else(tmp_path):
    path = tmp_path / "musk2_zscored.npz"
    good = {"X": np.zeros((6598, 166)), "bag": np.minimum(np.arange(1, 6599), 102), "y_bag": np.arange(102) < 39}
    good["y_bag"] = good["y_bag"].astype(np.int8)
    np.savez(path, **good)
    assert load_mil("musk2", data_dir=tmp_path).labels.sum() == 39
    for changes, message in (
        ({"X": np.zeros((6598, 3))}, r"features must be \(6598, 166\), got \(6598, 3\)"),
        ({"bag": good["bag"] - 1}, "bag must hold the ids 1 to 102"),
        ({"bag": good["bag"][:500]}, r"there must be 6598 ids and labels of bags, got \(500,\) and \(500,\)"),
        ({"bag": np.array([{}], dtype=object)}, "Python objects are never unpickled"),
    ):
        np.savez(path, **(good | changes))
        with pytest.raises(HopfieldError, match=message):
            load_mil("musk2", data_dir=tmp_path)
    np.savez(path, X=good["X"])
    with pytest.raises(HopfieldError, match="must hold X, bag, y_bag, got X"):
        load_mil("musk2", data_dir=tmp_path)


def test_scipy_is_named_where_it_is_needed(tmp_path, monkeypatch):
    matlab(tmp_path / "musk1norm_matlab.mat")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(HopfieldError, match=r'musk1norm_matlab\.mat .*needs scipy.*pip install "hopfield\[learn\]"'):
        load_mil("musk1", data_dir=tmp_path)


# ------------------------------------------------------------------------------------------------------------ Musk, raw


def test_raw_musk2(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.integers(-300, 300, (6598, 166))
    ids = np.concatenate([np.arange(102), rng.integers(0, 102, 6598 - 102)])  # of one bag apart from one another
    labels = (ids < 39).astype(int)
    rows = [
        f"{'' if label else 'NON-'}MUSK-{200 - k},{k}_{i},{','.join(map(str, x.tolist()))},{label}."
        for i, (k, x, label) in enumerate(zip(ids, X, labels, strict=True))
    ]
    (tmp_path / "clean2.data").write_text("\n".join(rows) + "\n")
    bag_by_bag(load_mil("musk2", data_dir=tmp_path), X, ids, labels)
    (tmp_path / "clean2.data").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(HopfieldError, match=r"clean2\.data must hold 102 bags of 6598 instances, got 102 of 6597"):
        load_mil("musk2", data_dir=tmp_path)


# -------------------------------------------------------------------------------------------------------- UCSB, made up


def ucsb(path, *, header=None, signs=False, ids=lambda k: k, seed=0):
    """A file of its layout: 12 instances in 4 bags, mixed, with the columns label, bag and 708 features."""
    X = np.random.default_rng(seed).normal(size=(12, 708))
    bags = np.array([2, 10, 2, 1, 1, 10, 33, 2, 10, 1, 33, 2])
    labels = np.isin(bags, (2, 33)).astype(int) * (2 if signs else 1) - int(signs)
    lines = [
        [label, ids(k), *map(repr, x)] for label, k, x in zip(labels.tolist(), bags.tolist(), X.tolist(), strict=True)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines if header is None else [header, *lines])
    return X, bags, labels


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize(
    "header", [None, ["label", "bag", *(f"x{i}" for i in range(708))], [str(column) for column in range(710)]]
)
def test_ucsb(tmp_path, header, signs):
    X, bags, labels = ucsb(tmp_path / "ucsb_breast_cancer.csv", header=header, signs=signs)
    found = load_mil("ucsb", data_dir=tmp_path)
    bag_by_bag(found, X, bags, labels)
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.folds is None
    assert "Kandemir" in found.source
    assert repr(found) == (
        "MILDataset(ucsb: 4 bags, 2 positive, of 2 to 4 instances, 12 in all; 708 features; no folds)"
    )


def test_ucsb_bags_may_have_names(tmp_path):
    X, bags, labels = ucsb(tmp_path / "ucsb_breast_cancer.csv", ids=lambda k: f"image {k}")
    places = {2: 0, 10: 1, 1: 2, 33: 3}  # in the order they appear
    bag_by_bag(load_mil("ucsb", data_dir=tmp_path), X, [places[k] for k in bags], labels)
    X, bags, labels = ucsb(tmp_path / "ucsb_breast_cancer.csv", ids=lambda k: f"{k}.0")
    bag_by_bag(load_mil("ucsb", data_dir=tmp_path), X, bags, labels)


@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (5, 0, "1", r"all instances of a bag must have its label, but those of bag 1 in .*\.csv have both"),
        (5, 0, "0.5", r"the labels in .*\.csv must be 0 and 1, or -1 and 1, got 0, 0\.5, 1"),
        (5, 0, "-1", r"the labels in .*\.csv must be 0 and 1, or -1 and 1, got -1, 0, 1"),
        (5, 0, "nan", r"the labels in .*\.csv must be 0 and 1"),
        (5, 0, "benign", r"\.csv is damaged.*line 5 must hold numbers, but could not convert.*benign"),
        (1, 0, "benign", r"\.csv is damaged.*line 1 must hold numbers, but could not convert.*benign"),
        (7, 300, "?", r"\.csv is damaged.*line 7 must hold numbers"),
        (7, 300, "", r"\.csv is damaged.*line 7 must hold numbers"),
        (7, 300, "nan", r"the features in .*\.csv must be finite in float32, but 1 of 8496 are not"),
        (7, 300, "1e300", r"the features in .*\.csv must be finite in float32, but 1 of 8496 are not"),
        (7, 300, "1,2", r"\.csv is damaged.*every line must have 710 columns, line 7 has 711"),
    ],
)
def test_ucsb_with_wrong_entries(tmp_path, line, column, value, message):
    path = tmp_path / "ucsb_breast_cancer.csv"
    ucsb(path)
    rows = [row.split(",") for row in path.read_text().splitlines()]
    rows[line - 1][column] = value
    path.write_text("\n".join(",".join(row) for row in rows))
    with pytest.raises(HopfieldError, match=message):
        load_mil("ucsb", data_dir=tmp_path)


def test_ucsb_damaged(tmp_path):
    path = tmp_path / "ucsb_breast_cancer.csv"
    ucsb(path)
    whole = path.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "every line must have 710 columns, line 7 has 2"),
        (b"", "it holds no instances"),
        (b"\xff\xfe\x00" + whole, "invalid start byte"),
        (b'"' + whole, "damaged, truncated or of another kind, fetch it again"),
    ):
        path.write_bytes(content)
        with pytest.raises(HopfieldError, match=message) as error:
            load_mil("ucsb", data_dir=tmp_path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["fox", "tiger", "elephant", "musk1"])
def test_one_flipped_bit_of_a_known_file_is_found(data, tmp_path, name):
    content = bytearray((data / "mil" / FILES[name]).read_bytes())
    content[185] ^= 16  # some of these crash the parser
    (tmp_path / FILES[name]).write_bytes(content)
    with pytest.raises(HopfieldError, match="the size of the file that is known, but not its checksum"):
        load_mil(name, data_dir=tmp_path)
