"""What the tests of data sets share: no network, and the folder of the public files."""

import pytest

from hopfield.datasets import folder as folder_module


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
