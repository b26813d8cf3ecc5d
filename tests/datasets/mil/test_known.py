import numpy as np
import pytest
import torch

from hopfield.datasets import load_mil
from hopfield.errors import HopfieldError
from tests.datasets.mil.common import FACTS, FILES


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
def test_the_checksums_are_those_of_the_files(data, monkeypatch, offline, name):
    asked = []
    monkeypatch.setattr(
        offline, "retrieve", lambda url, **known: asked.append(known) or str(data / "mil" / FILES[name])
    )
    load_mil(name)
    assert asked[0]["known_hash"] == f"sha256:{offline.file_hash(str(data / 'mil' / FILES[name]))}"


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
