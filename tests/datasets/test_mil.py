import csv
import shutil
import sys

import numpy as np
import pytest
import torch

from hopfield.datasets import MILDataset, load_mil
from hopfield.datasets import folder as folder_module
from hopfield.errors import HopfieldError

scipy_io = pytest.importorskip("scipy.io")
sparse = pytest.importorskip("scipy.sparse")

FACTS = {  # bags, positive, instances, of them in positive bags, features, bag sizes
    "fox": (200, 100, 1320, 647, 230, (2, 13)),
    "tiger": (200, 100, 1220, 544, 230, (1, 13)),
    "elephant": (200, 100, 1391, 762, 230, (2, 13)),
    "musk1": (92, 47, 476, 207, 166, (2, 40)),
    "musk2": (102, 39, 6598, None, 166, (1, 1044)),
}
FILES = {
    "fox": "fox_100x100_matlab.mat",
    "tiger": "tiger_100x100_matlab.mat",
    "elephant": "elephant_100x100_matlab.mat",
    "musk1": "musk1norm_matlab.mat",
    "musk2": "musk2_zscored.npz",
}


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """An empty cache, no folder in the environment, and a download that must not happen."""
    monkeypatch.delenv("HOPFIELD_DATA", raising=False)
    pooch = pytest.importorskip("pooch")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: pytest.fail("the network was touched"))
    monkeypatch.setattr(folder_module, "_PAUSE", 0)
    return pooch


@pytest.fixture
def data(shared):
    if not (shared / "data" / "mil").is_dir():
        pytest.skip(f"no data sets in {shared}; set HOPFIELD_SHARED to the folder that holds data/mil")
    return shared / "data"


def bag_by_bag(found: MILDataset, instances, ids, labels) -> None:
    ids, labels = np.asarray(ids), np.asarray(labels)
    order = np.unique(ids)
    assert len(found.bags) == len(order)
    for bag, y, k in zip(found.bags, found.labels, order, strict=True):
        assert np.array_equal(bag.numpy(), np.asarray(instances)[ids == k].astype(np.float32))
        assert {y} == set((labels[ids == k] > 0).astype(int))


# ------------------------------------------------------------------------------------------------ the public files
@pytest.mark.parametrize("name", FACTS)
def test_known_sets(data, name):
    found = load_mil(name, data_dir=data)
    bags, positive, total, in_positive, features, sizes = FACTS[name]
    assert found.name == name
    assert len(found.bags) == bags
    assert found.bags.instances.shape == (total, features)
    assert found.bags.dtype == torch.float32
    assert bool(found.bags.instances.isfinite().all())
    assert (int(found.bags.sizes.min()), int(found.bags.sizes.max())) == sizes
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [1] * positive + [0] * (bags - positive)
    assert in_positive is None or int(found.bags.sizes[:positive].sum()) == in_positive
    assert FILES[name] in found.source
    assert "standardised" in found.source
    assert ("Dietterich" if name.startswith("musk") else "Andrews") in found.source
    folds = "no folds" if name == "musk2" else "5 x 10 folds"
    assert repr(found) == (
        f"MILDataset({name}: {bags} bags, {positive} positive, of {sizes[0]} to {sizes[1]} instances, {total} in all; "
        f"{features} features; {folds})"
    )


@pytest.mark.parametrize("name", ["fox", "tiger", "elephant", "musk1"])
def test_folds_test_every_bag_once(data, name):
    found = load_mil(name, data_dir=data)
    assert found.folds.dtype == np.bool_
    assert found.folds.shape == (5, 10, len(found.bags))
    assert bool((found.folds.sum(1) == 1).all())
    positive = (found.folds & (found.labels == 1)).sum(-1)
    tested = found.folds.sum(-1)
    if name == "musk1":
        assert set(tested.ravel()) == {9, 10}
        assert set(positive.ravel()) == {4, 5}
    else:
        assert set(tested.ravel()) == {20}
        assert set(positive.ravel()) == {10}
    assert "folds from folds_5x10.npz" in found.source


@pytest.mark.parametrize("name", ["fox", "musk1"])
def test_matlab_files_bag_by_bag(data, name):
    content = scipy_io.loadmat(data / "mil" / FILES[name])
    found = load_mil(name, data_dir=data)
    labels = content["labels"].toarray().ravel()
    bag_by_bag(found, content["features"].toarray(), content["bag_ids"].ravel(), labels)


def test_musk2_bag_by_bag(data):
    with np.load(data / "mil" / FILES["musk2"]) as content:
        bag_by_bag(load_mil("musk2", data_dir=data), content["X"], content["bag"], content["y_bag"][content["bag"] - 1])


def test_raw_musk1_agrees_with_the_standardised_file(data, tmp_path):
    shutil.copy(data / "mil" / "clean1.data", tmp_path)
    raw, norm = load_mil("musk1", data_dir=tmp_path), load_mil("musk1", data_dir=data)
    assert torch.equal(raw.bags.offsets, norm.bags.offsets)
    assert raw.labels.tolist() == norm.labels.tolist()
    assert raw.folds is None
    assert raw.bags.instances[0, :3].tolist() == [42, -198, -109]
    assert "clean1.data" in raw.source
    assert "standardised" not in raw.source
    x, z = (found.bags.instances.double().numpy() for found in (raw, norm))
    x, z = (x - x.mean(0)) / x.std(0), (z - z.mean(0)) / z.std(0)
    np.testing.assert_allclose((x * z).mean(0), 1, atol=1e-5)
    shutil.copy(data / "mil" / "folds_5x10.npz", tmp_path)
    assert np.array_equal(load_mil("musk1", data_dir=tmp_path).folds, norm.folds)
    shutil.copy(data / "mil" / FILES["musk1"], tmp_path)
    assert torch.equal(load_mil("musk1", data_dir=tmp_path).bags.instances, norm.bags.instances)


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


def test_where_files_may_be(data, tmp_path, monkeypatch, offline):
    expected = load_mil("fox", data_dir=data).bags.instances
    assert torch.equal(load_mil("fox", data_dir=str(data / "mil")).bags.instances, expected)
    monkeypatch.setenv("HOPFIELD_DATA", str(data))
    assert torch.equal(load_mil("fox").bags.instances, expected)
    monkeypatch.delenv("HOPFIELD_DATA")
    for name in ("fox.mat", "fox_100x100.mat"):
        shutil.copy(data / "mil" / FILES["fox"], tmp_path / name)
        found = load_mil("fox", data_dir=tmp_path)
        assert torch.equal(found.bags.instances, expected)
        assert found.folds is None
        (tmp_path / name).unlink()

    def retrieve(url, *, known_hash, fname, path):
        assert url.endswith(f"/datasets/mil_datasets/{fname}")
        assert known_hash == "sha256:9c550a12a4417f99eb81ad6fd16506ab1772a18dcb5fcb2e7a555a99f07c7ad2"
        path.mkdir(parents=True)
        return shutil.copy(data / "mil" / fname, path)

    monkeypatch.setattr(offline, "retrieve", retrieve)
    found = load_mil("fox")
    assert torch.equal(found.bags.instances, expected)
    assert str(tmp_path / "cache" / "mil" / FILES["fox"]) in found.source


@pytest.mark.parametrize("name", ["fox", "tiger", "elephant", "musk1"])
def test_the_checksums_are_those_of_the_files(data, monkeypatch, offline, name):
    asked = []
    monkeypatch.setattr(
        offline, "retrieve", lambda url, **known: asked.append(known) or str(data / "mil" / FILES[name])
    )
    load_mil(name)
    assert asked[0]["known_hash"] == f"sha256:{offline.file_hash(str(data / 'mil' / FILES[name]))}"


# ------------------------------------------------------------------------------------------------ UCSB, made up
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


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize("name", ["foxes", "Fox", "", None, 3, ["fox"]])
def test_unknown_names(name):
    with pytest.raises(
        HopfieldError, match=r"no multiple-instance data set .*fox, tiger, elephant, musk1, musk2, ucsb"
    ):
        load_mil(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "tiger",
            r"no mil/tiger_100x100_matlab\.mat or .*get tiger_100x100_matlab\.mat from https://raw\.github.*\.mat ",
        ),
        ("musk1", r"no mil/musk1norm_matlab\.mat or mil/clean1\.data or .*/musk1norm_matlab\.mat and put it into"),
        (
            "musk2",
            r"get clean2\.data from the UCI .*https://archive\.ics\.uci\.edu/dataset/75/musk\+version\+2\) and put",
        ),
        (
            "ucsb",
            r"rosasalberto/mil on GitHub \(mil/data/datasets/csv/ucsb_breast_cancer\.csv\) and put it into .*mil$",
        ),
    ],
)
def test_missing_files(tmp_path, name, message):
    with pytest.raises(HopfieldError, match=message):
        load_mil(name, data_dir=tmp_path)
    with pytest.raises(HopfieldError, match=message):
        load_mil(name, download=False)


@pytest.mark.parametrize("name", ["musk2", "ucsb"])
def test_what_cannot_be_downloaded(name):
    with pytest.raises(HopfieldError, match=r"in the folder .* of downloads; get .* and put it into .*mil$"):
        load_mil(name)


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


def matlab(path, **changes):
    """A MATLAB file of the layout of Musk1, with 92 bags of one instance, but for the last."""
    ids = np.minimum(np.arange(1, 477), 92).astype(np.uint8)
    X = np.random.default_rng(0).normal(size=(476, 166))
    content = {"features": sparse.csc_matrix(X), "bag_ids": ids[None], "labels": np.where(ids < 40, 1.0, -1.0)[None]}
    content |= changes
    scipy_io.savemat(path, {name: value for name, value in content.items() if value is not None})
    return X, ids, content["labels"]


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


def test_folds_that_do_not_fit(tmp_path):
    matlab(tmp_path / "musk1norm_matlab.mat")
    path = tmp_path / "folds_5x10.npz"
    np.savez(path, fox=np.zeros(3))
    assert load_mil("musk1", data_dir=tmp_path).folds is None  # it has none of this set
    good = np.arange(92) % 10 == np.arange(10)[:, None]
    np.savez(path, musk1=np.stack([good, good]).astype(np.uint8))
    assert load_mil("musk1", data_dir=tmp_path).folds.tolist() == [good.tolist()] * 2
    for wrong in (good, good[None, :, :90], good[None] * 2, ~good[None], good[None, :5], good[None] * 1.0):
        np.savez(path, musk1=wrong)
        with pytest.raises(HopfieldError, match=r"musk1 in .*folds_5x10\.npz must be masks .*, folds, 92\).*remove"):
            load_mil("musk1", data_dir=tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HopfieldError, match=r"folds_5x10\.npz is damaged"):
        load_mil("musk1", data_dir=tmp_path)


def test_scipy_is_named_where_it_is_needed(tmp_path, monkeypatch):
    matlab(tmp_path / "musk1norm_matlab.mat")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(HopfieldError, match=r'musk1norm_matlab\.mat .*needs scipy.*pip install "hopfield\[learn\]"'):
        load_mil("musk1", data_dir=tmp_path)
