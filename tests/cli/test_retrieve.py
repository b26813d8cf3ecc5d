import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hopfield import AssociativeMemory
from tests.cli.runs import refused
from tests.memory.sharded.test_memory import free_port


def test_retrieve_prints_a_table(run, arrays):
    code, out, _ = run("retrieve", "--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy")
    assert code == 0
    assert "query.npy[0]" in out
    assert "converged" in out


def test_retrieve_json_agrees_with_the_library(run, arrays):
    arguments = ("--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy", "--beta", 2, "--json")
    code, out, _ = run("retrieve", *arguments, "--separation", "sparsemax", "--top", 2)
    assert code == 0
    told = json.loads(out)
    memory = AssociativeMemory(torch.from_numpy(np.load(arrays / "patterns.npy")), beta=2.0, separation="sparsemax")
    found = memory.retrieve(torch.from_numpy(np.load(arrays / "query.npy")))
    weights, indices = found.top(2)
    assert told["patterns"] == 20
    assert told["size"] == 16
    for row, query in enumerate(told["queries"]):
        assert [entry["index"] for entry in query["top"]] == indices[row].tolist()
        assert [entry["weight"] for entry in query["top"]] == pytest.approx(weights[row].tolist())
        assert query["steps"] == int(found.steps[row])
        assert query["converged"] == bool(found.converged[row])
        assert query["energy"] == pytest.approx(float(found.energy[row]), abs=1e-5)
        assert query["support"] == int(found.support()[row])


def test_retrieve_writes_arrays(run, arrays):
    code, out, _ = run(
        *("retrieve", "--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy", "--beta", 8),
        *("--out", arrays / "out", "--json"),
    )
    assert code == 0
    files = [Path(query["file"]) for query in json.loads(out)["queries"]]
    stored = np.load(arrays / "patterns.npy")
    np.testing.assert_allclose(np.load(files[0]), stored[3], atol=1e-3)
    np.testing.assert_allclose(np.load(files[1]), stored[7], atol=1e-3)


def test_queries_of_one_name_do_not_overwrite_each_other(run, arrays):
    (arrays / "other").mkdir()
    np.save(arrays / "other" / "query.npy", np.zeros(16, dtype=np.float32))
    code, out, _ = run(
        *("retrieve", "--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy"),
        *("--query", arrays / "other" / "query.npy", "--out", arrays / "out", "--json"),
    )
    assert code == 0
    files = {query["file"] for query in json.loads(out)["queries"]}
    assert len(files) == 3
    assert {str(path) for path in (arrays / "out").iterdir()} == files


def test_a_bfloat16_memory_can_be_written_out(run, arrays):
    patterns = torch.from_numpy(np.load(arrays / "patterns.npy")).bfloat16()
    AssociativeMemory(patterns).save(arrays / "memory.safetensors")
    arguments = ("--patterns", arrays / "memory.safetensors", "--query", arrays / "query.npy")
    assert run("retrieve", *arguments, "--out", arrays / "out")[0] == 0
    assert len(list((arrays / "out").iterdir())) == 2


def test_retrieve_images(run, pictures, tmp_path):
    code, out, _ = run(
        *("retrieve", "--patterns", pictures, "--query", pictures / "b.png", "--out", tmp_path / "out", "--json")
    )
    assert code == 0
    (query,) = json.loads(out)["queries"]
    assert query["top"][0]["name"] == "b.png"
    assert Path(query["file"]).suffix == ".png"
    assert Path(query["file"]).stat().st_size > 0


def test_retrieve_from_a_saved_memory_keeps_its_settings(run, arrays):
    patterns = torch.from_numpy(np.load(arrays / "patterns.npy"))
    AssociativeMemory(patterns, beta=3.0, separation="entmax").save(arrays / "memory.safetensors")
    arguments = ("--query", arrays / "query.npy", "--json")
    saved = run("retrieve", "--patterns", arrays / "memory.safetensors", *arguments)
    given = run(*("retrieve", "--patterns", arrays / "patterns.npy", *arguments, "--beta", 3, "--separation", "entmax"))
    assert saved == given


def test_retrieve_with_a_mask(run, arrays):
    mask = np.ones(20, dtype=bool)
    mask[3] = False
    np.save(arrays / "mask.npy", mask)
    arguments = ("--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy", "--beta", 8, "--json")
    code, out, _ = run("retrieve", *arguments, "--mask", arrays / "mask.npy", "--top", 20)
    assert code == 0
    weights = {entry["index"]: entry["weight"] for entry in json.loads(out)["queries"][0]["top"]}
    assert weights[3] == 0.0


class _Unwelcome:
    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


def _write_bad(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.npy"
    if kind == "not-finite":
        np.save(path, np.array([[1.0, np.nan], [0.0, 1.0]]))
    elif kind == "empty":
        np.save(path, np.zeros((0, 16), dtype=np.float32))
    elif kind == "objects":
        np.save(path, np.array([_Unwelcome()], dtype=object), allow_pickle=True)
    elif kind == "truncated":
        np.save(path, np.zeros((50, 16)))
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "text":
        path.write_text("no array at all")
    elif kind == "vector":
        np.save(path, np.zeros(16))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("not-finite", ["finite"]),
        ("empty", ["no patterns"]),
        ("objects", ["objects"]),
        ("truncated", []),
        ("text", []),
        ("vector", ["(N, d)"]),
        ("missing", ["no"]),
    ],
)
def test_bad_patterns_are_refused(run, arrays, kind, words, monkeypatch):
    monkeypatch.chdir(arrays)
    path = _write_bad(arrays, kind)
    refused(run("retrieve", "--patterns", path, "--query", arrays / "query.npy"), kind, *words)
    assert not (arrays / "unpickled").exists()


@pytest.mark.parametrize("beta", ["0", "-1", "nan", "inf"])
def test_bad_beta_is_refused(run, arrays, beta):
    arguments = ("--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy")
    refused(run("retrieve", *arguments, "--beta", beta), "beta must be")


def test_other_bad_input_is_refused(run, arrays, pictures, tmp_path):
    patterns, query = arrays / "patterns.npy", arrays / "query.npy"
    np.save(arrays / "short.npy", np.zeros((2, 5), dtype=np.float32))
    refused(run("retrieve", "--patterns", patterns, "--query", arrays / "short.npy"), "short.npy", "16")
    refused(run("retrieve", "--patterns", patterns, "--query", pictures / "a.png"), "arrays")
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--separation", "softmux"), "softmux", "softmax1")
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--steps", 0), "steps")

    refused(run("retrieve", "--patterns", patterns, "--query", query, "--top", 0), "--top must be at least 1")
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--beta", "1e300"), "beta must be")

    (arrays / "mask.npy").write_bytes(b"PK\x03\x04 and more")
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--mask", arrays / "mask.npy"), "damaged")
    np.save(arrays / "mask.npy", np.ones(7, dtype=bool))
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--mask", arrays / "mask.npy"), "mask", "(7,)")
    np.save(arrays / "floats.npy", np.ones(20))
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--mask", arrays / "floats.npy"), "bool")

    hollow = tmp_path / "hollow"
    hollow.mkdir()
    refused(run("retrieve", "--patterns", hollow, "--query", query), "no image")
    (pictures / "a.png").write_bytes(b"not a picture")
    refused(run("retrieve", "--patterns", pictures, "--query", query), "a.png")

    refused(run("retrieve", "--patterns", tmp_path / "none.safetensors", "--query", query), "none.safetensors")
    memory = AssociativeMemory(torch.randn(20, 16))
    memory.save(arrays / "memory.safetensors")
    whole = (arrays / "memory.safetensors").read_bytes()
    (arrays / "memory.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(run("retrieve", "--patterns", arrays / "memory.safetensors", "--query", query), "damaged")

    (tmp_path / "file").write_text("in the way")
    refused(run("retrieve", "--patterns", patterns, "--query", query, "--out", tmp_path / "file"), "cannot make")
    refused(run("tour", "--images", tmp_path / "nowhere", "--out", tmp_path / "report"), "nowhere")


def _queries(out):
    return json.loads(out)["queries"]


@pytest.mark.parametrize("index", [[], ["--index"]])
def test_a_tolerance_gives_a_bound(run, arrays, index):
    arguments = ("--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy", "--beta", 8, "--json")
    plain = _queries(run("retrieve", *arguments)[1])
    code, out, _ = run("retrieve", *arguments, "--tolerance", 1e-3, *index)
    assert code == 0
    for one, other in zip(plain, _queries(out), strict=True):
        assert 0 < other.pop("error_bound") <= 1e-3
        assert 0 < other.pop("visited") <= 1
        assert 0 < other.pop("energy_bound") < 1
        assert one["top"][0]["index"] == other["top"][0]["index"]
    assert "visited" in run("retrieve", *arguments[:-1], "--tolerance", 1e-3)[1]


def test_a_memory_on_disk_is_opened_where_it_lies(run, arrays):
    patterns = torch.from_numpy(np.load(arrays / "patterns.npy"))
    AssociativeMemory.build(arrays / "memory", [patterns], beta=2.0, separation="entmax")
    arguments = ("--query", arrays / "query.npy", "--json")
    built = run("retrieve", "--patterns", arrays / "memory", *arguments)[1]
    options = ("--on-disk", "--beta", 2, "--separation", "entmax")
    left = run("retrieve", "--patterns", arrays / "patterns.npy", *arguments, *options)[1]
    assert _queries(built)[0]["error_bound"] < 1e-3
    assert _queries(built)[0]["top"] == _queries(left)[0]["top"]
    run("retrieve", "--patterns", arrays / "memory", *arguments, "--tolerance", 0.1, "--index")
    assert AssociativeMemory.open(arrays / "memory").index is not None


def test_what_cannot_be_asked_of_many_patterns_is_refused(run, arrays):
    arguments = ("--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy")
    refused(run("retrieve", *arguments, "--index"), "--index does nothing without --tolerance")
    refused(run("retrieve", *arguments, "--tolerance", 1e-12), "cannot be kept")
    refused(run("retrieve", *arguments, "--tolerance", 0), "tolerance must be")
    missing = ("--patterns", arrays / "none.npy", "--query", arrays / "query.npy")
    refused(run("retrieve", *missing, "--on-disk"), "no memory at")


def _torchrun(folder, *arguments):
    """What each of two processes prints."""
    started = []
    port = str(free_port())
    for rank in range(2):
        own = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-m", "hopfield", "retrieve", *map(str, arguments)]
        environment = os.environ | own | {"OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    return [(*process.communicate(timeout=120), process.returncode) for process in started]


def test_processes_of_torchrun_hold_a_part_each(run, arrays):
    patterns = np.load(arrays / "patterns.npy")
    np.save(arrays / "part-0.npy", patterns[:5])
    np.save(arrays / "part-1.npy", patterns[5:])
    options = ("--query", "query.npy", "--beta", 8, "--json")
    arguments = ("--patterns", arrays / "patterns.npy", "--query", arrays / "query.npy", "--beta", 8, "--json")
    alone = _queries(run("retrieve", *arguments)[1])
    for path in ("part-{rank}.npy", "patterns.npy"):
        (first, errors, code), (second, *_) = _torchrun(arrays, "--patterns", path, *options)
        assert code == 0, errors
        assert second == ""
        for one, other in zip(alone, _queries(first), strict=True):
            assert [entry["index"] for entry in one["top"]] == [entry["index"] for entry in other["top"]]
            assert one["energy"] == pytest.approx(other["energy"], rel=1e-5)
    AssociativeMemory.build(arrays / "memory", [torch.from_numpy(patterns)])
    for _, errors, code in _torchrun(arrays, "--patterns", "memory", *options):
        assert code == 2
        assert "would be read whole by each of the 2 processes" in errors
