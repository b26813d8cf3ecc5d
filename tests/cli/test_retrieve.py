import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hopfield import AssociativeMemory
from tests.cli.runs import refused


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
