import tarfile

import numpy as np
import pytest

from hopfield.datasets import load_uci
from hopfield.errors import HopfieldError
from tests.datasets.uci import contents, write


def pack(source, path):
    with tarfile.open(path, "w:xz") as archive:
        for folder in sorted(source.iterdir()):
            archive.add(folder, folder.name)


@pytest.fixture
def folder(tmp_path):
    for name, n in (("acute-nephritis", 8), ("wine", 12), ("large", 1000)):
        write(tmp_path / "uci", name, n=n)
    return tmp_path


def test_small_sets_from_folders(folder):
    found = load_uci(data_dir=folder)
    assert list(found) == ["acute-nephritis", "wine"]
    files, data = contents(12), found["wine"]
    np.testing.assert_array_equal(data.features, files["NAME_py.dat"])
    np.testing.assert_array_equal(data.labels, files["labels_py.dat"])
    np.testing.assert_array_equal(data.test, files["folds_py.dat"].T == 1)
    assert (data.test.astype(int) + data.validation + data.training == 1).all()
    assert repr(data) == "UCIDataset(wine: 12 rows, 3 columns, 2 classes, 4 splits)"


def test_an_archive_holds_the_same(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("packed")
    pack(folder / "uci", other / "uci_small_77.tar.xz")
    packed, loose = load_uci(data_dir=other), load_uci(data_dir=folder)
    assert packed.keys() == loose.keys()
    for name, data in packed.items():
        np.testing.assert_array_equal(data.features, loose[name].features)
        np.testing.assert_array_equal(data.validation, loose[name].validation)


def test_sets_by_name_in_alphabetical_order_and_large_ones_if_asked_for(folder):
    assert list(load_uci(["wine", "large", "wine"], data_dir=folder)) == ["large", "wine"]


def test_unknown_names_are_refused_with_the_known_ones(folder):
    with pytest.raises(HopfieldError, match=r"there is no set 'wina'; did you mean wine\? There are 3"):
        load_uci(["wina"], data_dir=folder)
    with pytest.raises(HopfieldError, match="there is no set 'cats'; choose from acute-nephritis, large, wine"):
        load_uci("cats", data_dir=folder)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(HopfieldError, match=r"no uci/uci_small_77\.tar\.xz .*hadijomaa/dataset2vec"):
        load_uci(data_dir=tmp_path)


def test_an_archive_that_is_cut_short(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "uci_small_77.tar.xz"
    pack(folder / "uci", path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(HopfieldError, match="is damaged, or no archive of the small sets"):
        load_uci(data_dir=path.parent)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("labels_py.dat", lambda a: a[:-1], "do not fit together"),
        ("labels_py.dat", lambda a: a - 1.0, "do not fit together"),
        ("folds_py.dat", lambda a: a + 1, "do not fit together"),
        ("validation_folds_py.dat", lambda a: 1 - 0 * a, "do not fit together"),
        ("NAME_py.dat", lambda a: a * np.inf, "do not fit together"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, file, change, message):
    files = contents()
    files[file] = change(files[file])
    write(tmp_path, "acute-nephritis", files)
    with pytest.raises(HopfieldError, match=message):
        load_uci(data_dir=tmp_path)


def test_a_file_that_is_missing_or_no_numbers(tmp_path):
    write(tmp_path, "acute-nephritis")
    path = tmp_path / "acute-nephritis" / "labels_py.dat"
    path.write_text("one\ntwo\n")
    with pytest.raises(HopfieldError, match=r"acute-nephritis/labels_py\.dat must hold numbers"):
        load_uci(data_dir=tmp_path)
    path.unlink()
    with pytest.raises(HopfieldError, match=r"lacks its file labels_py\.dat"):
        load_uci(data_dir=tmp_path)


def test_the_known_files(shared):
    if not (shared / "data" / "uci").is_dir():
        pytest.skip(f"no data sets in {shared}; set HOPFIELD_SHARED to the folder that holds data/uci")
    found = load_uci(data_dir=shared / "data")
    assert len(found) == 75
    assert max(len(data.labels) for data in found.values()) == 990
    assert all(len(data.test) == 4 and data.training.any(1).all() for data in found.values())
