import shutil

import numpy as np
import pytest
import torch

from hopfield.datasets import load_mil
from hopfield.errors import HopfieldError
from tests.datasets.mil.common import FILES, matlab


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


@pytest.mark.parametrize("name", ["foxes", "Fox", "", None, 3, ["fox"]])
def test_unknown_names(name):
    with pytest.raises(
        HopfieldError, match=r"no multiple-instance data set .*fox, tiger, elephant, musk1, musk2, ucsb"
    ):
        load_mil(name)


# ---------------------------------------------------------------------------------------------------------------- folds


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
