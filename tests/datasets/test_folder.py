import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from hopfield.datasets import folder as module
from hopfield.datasets.folder import find
from hopfield.errors import HopfieldError

pooch = pytest.importorskip("pooch")

URL = "https://example.org/files/set.csv"
CONTENT = b"1,2\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder in the environment, and a download that must not happen."""
    monkeypatch.delenv("HOPFIELD_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(module, "_PAUSE", 0)
    downloads(monkeypatch, AssertionError("the network was touched"))
    return tmp_path / "cache" / "hopfield"


def downloads(monkeypatch, *outcomes):
    """Let downloads end so, one after the other: by an exception, or by a file of this content. The calls are kept."""
    calls, left = [], list(outcomes)

    def retrieve(url, *, known_hash, fname, path):
        calls.append((url, known_hash, fname, path))
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / fname).write_bytes(outcome)
        return str(Path(path) / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return calls


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------------ a folder of the user
@pytest.mark.parametrize("place", ["kind/set.csv", "set.csv", "kind/other.csv", "other.csv"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_in_the_folder(tmp_path, place, kind):
    path = put(tmp_path / "data" / place)
    assert find("kind/set.csv", also=("other.csv",), url=URL, sha256=SHA256, data_dir=kind(tmp_path / "data")) == path


def test_the_first_name_is_preferred_and_a_folder_is_no_file(tmp_path):
    put(tmp_path / "kind" / "other.csv")
    (tmp_path / "kind" / "set.csv").mkdir()
    path = put(tmp_path / "set.csv")
    assert find("kind/set.csv", also=("other.csv",), data_dir=tmp_path) == path
    shutil.rmtree(tmp_path / "kind" / "set.csv")
    path = put(tmp_path / "kind" / "set.csv")
    assert find("kind/set.csv", also=("other.csv",), data_dir=tmp_path) == path


def test_the_environment_names_the_folder_unless_data_dir_does(tmp_path, monkeypatch):
    here, there = put(tmp_path / "here" / "set.csv"), put(tmp_path / "there" / "set.csv")
    monkeypatch.setenv("HOPFIELD_DATA", str(here.parent))
    assert find("kind/set.csv") == here
    assert find("kind/set.csv", data_dir=there.parent) == there


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = put(tmp_path / "data" / "set.csv")
    assert find("kind/set.csv", data_dir="~/data") == path


@pytest.mark.parametrize("by", ["data_dir", "HOPFIELD_DATA"])
def test_a_file_that_is_missing_in_the_folder_is_not_downloaded(tmp_path, monkeypatch, by):
    data_dir = tmp_path if by == "data_dir" else None
    monkeypatch.setenv("HOPFIELD_DATA", str(tmp_path))
    with pytest.raises(HopfieldError) as error:
        find("kind/set.csv", also=("other.csv",), url=URL, sha256=SHA256, data_dir=data_dir)
    assert str(error.value) == (
        f"there is no kind/set.csv or kind/other.csv or set.csv or other.csv in the folder {tmp_path} of {by}; "
        f"get set.csv from {URL} and put it into {tmp_path / 'kind'}"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_error_tells_the_folder_and_the_origin(tmp_path):
    (tmp_path / "kind").mkdir()
    with pytest.raises(HopfieldError, match=r"; get set\.csv from a friend and put it into .*kind$") as error:
        find("kind/set.csv", origin="set.csv from a friend", data_dir=tmp_path / "kind")
    assert str(error.value).endswith(f"into {tmp_path / 'kind'}")


def test_folders_that_are_none(tmp_path, monkeypatch):
    file = put(tmp_path / "set.csv")
    for wrong in (file, tmp_path / "none"):
        with pytest.raises(HopfieldError, match="data_dir must be the folder with the data files, but there is no"):
            find("kind/set.csv", data_dir=wrong)
    monkeypatch.setenv("HOPFIELD_DATA", str(tmp_path / "none"))
    with pytest.raises(HopfieldError, match="HOPFIELD_DATA must be the folder with the data files"):
        find("kind/set.csv")
    with pytest.raises(HopfieldError, match="data_dir must be the path of a folder, got 3"):
        find("kind/set.csv", data_dir=3)


# ------------------------------------------------------------------------------------------------ the cache
def test_a_download_goes_into_the_cache(cache, monkeypatch):
    monkeypatch.setenv("HOPFIELD_DATA", "")
    calls = downloads(monkeypatch, CONTENT)
    path = find("kind/set.csv", url=URL, sha256=SHA256)
    assert path == cache / "kind" / "set.csv"
    assert path.read_bytes() == CONTENT
    assert calls == [(URL, f"sha256:{SHA256}", "set.csv", cache / "kind")]


def test_what_is_in_the_cache_is_checked_by_pooch_and_not_downloaded_again(cache, monkeypatch):
    path = put(cache / "kind" / "set.csv")
    put(cache / "kind" / "other.csv")
    monkeypatch.undo()  # the true pooch, which finds the file as it should be
    monkeypatch.delenv("HOPFIELD_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: cache)
    monkeypatch.setattr(pooch.core, "stream_download", lambda *args, **kwargs: pytest.fail("the network was touched"))
    assert find("kind/set.csv", also=("other.csv",), url=URL, sha256=SHA256).resolve() == path.resolve()


def test_other_names_in_the_cache_and_files_without_a_checksum(cache):
    other = put(cache / "kind" / "other.csv")
    assert find("kind/set.csv", also=("other.csv",), url=URL, sha256=SHA256) == other
    path = put(cache / "kind" / "set.csv", b"anything")
    assert find("kind/set.csv", url=URL) == path
    assert find("kind/set.csv", url=URL, sha256=SHA256, download=False) == path


def test_no_download_where_none_is_allowed_or_possible(cache):
    with pytest.raises(HopfieldError) as error:
        find("kind/set.csv", url=URL, sha256=SHA256, download=False)
    assert str(error.value) == (
        f"there is no kind/set.csv or set.csv in the folder {cache} of downloads; "
        f"get set.csv from {URL} and put it into {cache / 'kind'}, or allow the download (download=True)"
    )
    for known in ({"url": URL}, {"origin": "it from a friend"}):
        with pytest.raises(HopfieldError, match=r"of downloads; get .* and put it into .*kind$"):
            find("kind/set.csv", **known)


def test_a_download_is_tried_again(cache, monkeypatch):
    calls = downloads(monkeypatch, ConnectionError("reset"), ValueError("hash"), CONTENT)
    assert find("kind/set.csv", url=URL, sha256=SHA256).read_bytes() == CONTENT
    assert len(calls) == 3


def test_a_download_that_fails(cache, monkeypatch):
    requests = pytest.importorskip("requests")
    for failure, reason in (
        (requests.ConnectionError("no\nroute"), "no route"),
        (requests.Timeout(), "Timeout"),
        (OSError("disk full"), "disk full"),
    ):
        calls = downloads(monkeypatch, failure, failure, failure)
        with pytest.raises(HopfieldError) as error:
            find("kind/set.csv", url=URL, sha256=SHA256)
        assert len(calls) == 3
        assert str(error.value) == (
            f"cannot download {URL}: {reason}; try again later, "
            f"or get set.csv from {URL} and put it into {cache / 'kind'}"
        )


def test_a_download_with_another_checksum(cache, monkeypatch):
    def download(url, path, _):
        Path(path).write_bytes(b"something else")

    monkeypatch.undo()  # the true pooch, with a download of its own
    monkeypatch.delenv("HOPFIELD_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: cache)
    monkeypatch.setattr(module, "_PAUSE", 0)
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda url, progressbar: download)
    with pytest.raises(HopfieldError, match=f"what {URL} gives has not the checksum of the expected file") as error:
        find("kind/set.csv", url=URL, sha256=SHA256)
    assert SHA256 in str(error.value)
    assert str(error.value).endswith(f"or get set.csv from {URL} and put it into {cache / 'kind'}")
    assert not (cache / "kind" / "set.csv").exists()


def test_pooch_is_named_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(HopfieldError, match=r'needs pooch.* pip install "hopfield\[learn\]", or name the folder'):
        find("kind/set.csv", url=URL, sha256=SHA256)
    path = put(tmp_path / "set.csv")
    assert find("kind/set.csv", data_dir=tmp_path) == path
