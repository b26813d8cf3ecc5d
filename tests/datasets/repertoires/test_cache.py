import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from hopfield.datasets import load_repertoires, simulate_repertoires
from hopfield.datasets.repertoires import cache as module
from hopfield.errors import HopfieldError
from tests.datasets.repertoires.common import assert_same, tables


@pytest.fixture
def written(tmp_path):
    return simulate_repertoires(5, (0 + 1, 200), seed=1).write(tmp_path / "data")


def load(path, folder, **arguments):
    """What is loaded, and whether it was parsed for that."""
    seen = []
    found = load_repertoires(path, label="label", cache=folder, progress=lambda *what: seen.append(what), **arguments)
    assert seen[-1] == ("open", 1, 1)
    return found, ("parse", 5, 5) in seen


def files(folder):
    return sorted(file.name for file in folder.iterdir())


def test_the_cache_holds_the_same(written, tmp_path):
    expected = load_repertoires(written, label="label")
    folder = tmp_path / "some" / "cache"
    for parsed in (True, False, False):
        found, anew = load(written, folder)
        assert anew is parsed
        assert_same(found, expected)
    assert len(files(folder)) == 3
    assert_same(load(written, tmp_path / "jobs", jobs=2)[0], expected)


def test_it_is_mapped_and_changing_what_is_mapped_leaves_the_file_alone(written, tmp_path):
    first, _ = load(written, tmp_path / "cache")
    maps = Path("/proc/self/maps")  # of Linux
    assert not maps.exists() or str(next((tmp_path / "cache").glob("rows-*"))) in maps.read_text()
    first.bags.instances.zero_()
    found, anew = load(written, tmp_path / "cache")
    assert not anew
    assert found.bags.instances.any()


def test_labels_and_other_metadata_are_not_cached(written, tmp_path):
    load(written, tmp_path / "cache")
    written.write_text(written.read_text().replace("positive", "good"))
    found, anew = load(written, tmp_path / "cache")
    assert not anew
    assert found.classes == ("good", "negative")


@pytest.mark.parametrize("name", ["rows", "counts", "repertoires"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "extend", "remove", "empty", "foreign"])
def test_a_damaged_cache_is_made_anew(written, tmp_path, name, harm):
    expected, _ = load(written, tmp_path / "cache")
    before = files(tmp_path / "cache")
    path = next((tmp_path / "cache").glob(f"{name}*"))
    data = path.read_bytes()
    other = {
        "flip": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        "truncate": data[:-3],
        "extend": data + b"\0",
        "empty": b"",
        "foreign": b'{"files": {"rows": {"name": "../data/metadata.tsv"}, "x": 1}}',
    }
    path.unlink()
    if harm != "remove":
        path.write_bytes(other[harm])
    found, anew = load(written, tmp_path / "cache")
    assert anew
    assert_same(found, expected)
    assert files(tmp_path / "cache") == before
    assert written.exists()
    assert not load(written, tmp_path / "cache")[1]


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"checksum": 1}', '{"checksum": {}, "files": []}', "{"])
def test_a_foreign_index_is_replaced(written, tmp_path, content):
    (tmp_path / "repertoires.json").write_text(content)
    assert load(written, tmp_path)[1]
    assert not load(written, tmp_path)[1]


def test_another_version_is_made_anew(written, tmp_path, monkeypatch):
    load(written, tmp_path / "cache")
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert load(written, tmp_path / "cache")[1]


def test_changed_sources_are_parsed_again(written, tmp_path):
    load(written, tmp_path / "cache")
    source = written.parent / "repertoires" / "repertoire_2.tsv"
    with source.open("a") as file:
        file.write("WWWWWWWWWWWWWWWWWWWWWWWWWW\t77\n")
    found, anew = load(written, tmp_path / "cache")
    assert anew
    assert found.sequences(2)[-1] == "W" * 26
    assert len(files(tmp_path / "cache")) == 3, "the files of the old cache are gone"
    before = source.stat()
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert load(written, tmp_path / "cache")[1]


def test_other_sources_are_parsed(written, tmp_path):
    load(written, tmp_path / "cache")
    lines = written.read_text().splitlines()
    written.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    found, anew = load(written, tmp_path / "cache")
    assert anew
    assert found.names[0] == "repertoire_4"


def test_changed_settings_are_parsed_again(written, tmp_path):
    load(written, tmp_path / "cache")
    found, anew = load(written, tmp_path / "cache", count_column=None)
    assert anew
    assert (found.counts == 1).all()
    assert load(written, tmp_path / "cache", unknown="error")[1]


def test_only_some_blocks_of_large_files_are_verified(written, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(module, "VERIFIED", 4)
    expected, _ = load(written, tmp_path / "cache")
    found, anew = load(written, tmp_path / "cache")
    assert not anew
    assert_same(found, expected)
    for place in (0, -1):
        path = next((tmp_path / "cache").glob("rows*"))
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        assert load(written, tmp_path / "cache")[1]


def test_blocks_to_verify_are_spread_evenly():
    assert module._spread(3) == [0, 1, 2]
    for count in (33, 100, 12345):
        blocks = module._spread(count)
        assert (blocks[0], blocks[-1], len(set(blocks))) == (0, count - 1, module.VERIFIED)


def test_no_sequences_at_all(tmp_path):
    path = tables(tmp_path, "ID|a|b", a="amino_acid templates", b="amino_acid templates|X 1")
    expected = load_repertoires(path)
    assert expected.bags.instances.shape == (0, 1)
    for _ in range(2):
        found = load_repertoires(path, cache=tmp_path / "cache")
        assert_same(found, expected)
        assert found.dropped.tolist() == [0, 1]


def test_nothing_is_left_of_a_cache_that_failed(written, tmp_path):
    load(written, tmp_path / "cache")
    before = files(tmp_path / "cache")
    with (written.parent / "repertoires" / "repertoire_4.tsv").open("a") as file:
        file.write("AC\tno count\n")
    with pytest.raises(HopfieldError, match="expected a count"):
        load(written, tmp_path / "cache")
    assert files(tmp_path / "cache") == before


def test_a_cache_that_cannot_be_written(written, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HopfieldError, match="cannot write the cache"):
        load(written, tmp_path / "file")


def test_mapped_tensors_do_not_warn(written, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = load(written, tmp_path / "cache")
        assert isinstance(found[[1, 2]].bags.instances, torch.Tensor)
        assert found[1:3].bags.instances.data_ptr() > found.bags.instances.data_ptr(), "a slice is a view"


def test_the_index_is_json_and_the_rest_are_arrays(written, tmp_path):
    found, _ = load(written, tmp_path)
    index = json.loads((tmp_path / "repertoires.json").read_text())
    assert index["sizes"] == found.bags.sizes.tolist()
    rows = np.load(tmp_path / index["files"]["rows"]["name"], allow_pickle=False)
    assert np.array_equal(rows, found.bags.instances.numpy())


def test_the_same_names_elsewhere_are_other_repertoires(written, tmp_path):
    here, _ = load(written, tmp_path / "cache")
    there = here[[1, 0, 2, 3, 4]]
    moved = type(here)(here.names, there.bags, there.counts, here.labels, here.classes).write(tmp_path / "other")
    for one in (tmp_path / "data" / "repertoires").iterdir():
        state = one.stat()
        twin = tmp_path / "other" / "repertoires" / one.name
        os.utime(twin, ns=(state.st_atime_ns, state.st_mtime_ns))
    found, anew = load(moved, tmp_path / "cache")
    assert anew
    assert not torch.equal(found.bags.instances, here.bags.instances)


def test_what_killed_processes_left_is_cleared_away_after_a_day(written, tmp_path):
    folder = tmp_path / "cache"
    old, new = folder / ".partial-old", folder / ".partial-new"
    for left in (old, new):
        left.mkdir(parents=True)
        (left / "rows.npy").touch()
    os.utime(old, (0, 0))
    load(written, folder)
    assert not old.exists()
    assert new.exists()  # another process may be at it
