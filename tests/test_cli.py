"""The command line: what comes out, and one clear line with exit code 2 for whatever is wrong."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hopfield import AssociativeMemory, __version__, cli
from tests.datasets.uci import write as write_uci

Run = tuple[int, str, str]


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["hopfield", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def arrays(tmp_path):
    generator = np.random.default_rng(0)
    patterns = generator.standard_normal((20, 16)).astype(np.float32)
    np.save(tmp_path / "patterns.npy", patterns)
    np.save(tmp_path / "query.npy", patterns[[3, 7]] + 0.1)
    return tmp_path


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b", "c"):
        image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def refused(result: Run, *words: str) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("hopfield: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_version(run):
    assert run("--version")[:2] == (0, f"hopfield {__version__}\n")


@pytest.mark.parametrize(
    "command",
    [
        *([], ["tour"], ["retrieve"], ["capacity"], ["reproduce"]),
        *(["reproduce", name] for name in ("retrieval", "mil", "repertoires")),
    ],
)
def test_help_has_examples(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "hopfield" in out


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


def test_capacity_prints_the_papers_example(run):
    code, out, _ = run("capacity", "--beta", 1, "--dim", 20, "--radius", 3, "--failure", 0.001)
    assert code == 0
    assert "3.154611" in out
    assert "7.413" in out


@pytest.mark.parametrize(
    ("arguments", "word"), [(["--failure", "0"], "failure"), (["--dim", "1"], "dim"), (["--beta", "-1"], "beta")]
)
def test_bad_capacity_is_refused(run, arguments, word):
    refused(run("capacity", *arguments), word)


def test_reproduce_mil_writes_a_table_and_a_figure(run, shared, tmp_path, monkeypatch):
    from hopfield.experiments.mil import protocol

    networks = {name: partial(kind, embedding=(4,), epochs=2) for name, kind in protocol.NETWORKS.items()}
    monkeypatch.setattr(protocol, "NETWORKS", networks)
    out = tmp_path / "mil"
    options = ["--sets", "musk1", "--repetitions", 1, "--jobs", 1, "--backend", "sequential"]
    code, printed, err = run("reproduce", "mil", "--data-dir", shared / "data", "--out", out, *options)
    assert code == 0, err
    assert "| HopfieldBagClassifier |" in printed
    assert (out / "auc.png").read_bytes().startswith(b"\x89PNG")
    assert set(json.loads((out / "summary.json").read_text())["musk1"]) == set(protocol.METHODS)
    assert "musk1" in (out / "README.md").read_text()


def test_reproduce_mil_refuses_an_unknown_set(run, shared, tmp_path):
    refused(run("reproduce", "mil", "--data-dir", shared / "data", "--sets", "wolf", "--out", tmp_path), "fox", "wolf")


def test_reproduce_repertoires_writes_a_table_and_figures(run, tmp_path, monkeypatch):
    from hopfield.experiments import repertoires

    costs = [repertoires.cost.Cost(1000 * n, share, n, n) for n in (1, 2) for share in (0.1, 1.0)]
    monkeypatch.setattr(repertoires, "measure", lambda record, progress: costs)
    options = ["--conditions", "10 %; 1 %", "--repertoires", 20, "--sequences", 150]
    code, printed, err = run(
        "reproduce", "repertoires", "--out", tmp_path, *options, "--jobs", 1, "--backend", "sequential"
    )
    assert code == 0, err
    assert "| 10 % | 1.000 ± 0.000 |" in printed
    for name in ("auc.png", "cost.png", "motif.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["10 %", "1 %"]
    assert summary["10 %"]["HopfieldBagClassifier"].keys() == {"auc", "std", "precision", "chance"}
    page = (tmp_path / "README.md").read_text()
    assert '--conditions "10 %; 1 %" --repertoires 20 --sequences 150 --seed 0' in page
    assert "CRWQMHY, 2 others" in page


def test_reproduce_repertoires_refuses_an_unknown_condition(run, tmp_path):
    refused(run("reproduce", "repertoires", "--conditions", "2 %", "--out", tmp_path), "2 %", "0.1 %")


def test_nothing_to_reproduce(run, tmp_path):
    refused(run("reproduce", "mil", "--sets", "", "--out", tmp_path), "choose at least one set")
    refused(run("reproduce", "repertoires", "--conditions", " ; ", "--out", tmp_path), "no condition")


def test_reproduce_repertoires_without_costs(run, tmp_path):
    options = ["--repertoires", 20, "--sequences", 150, "--jobs", 1, "--backend", "sequential", "--no-cost"]
    code, printed, _ = run("reproduce", "repertoires", "--out", tmp_path, "--conditions", "10%", *options)
    assert code == 0
    assert "cost.png" not in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "auc.png",
        "motif.png",
        "outcomes.jsonl",
        "summary.json",
    }


@pytest.mark.parametrize("command", ["mil", "repertoires"])
def test_an_interrupt_says_what_is_kept(run, tmp_path, monkeypatch, command):
    from hopfield.experiments import mil, repertoires

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    for experiment in (mil, repertoires):
        monkeypatch.setattr(experiment, "run", interrupt)
    code, _, err = run("reproduce", command, "--out", tmp_path)
    assert code != 0
    assert f"Stopped. {tmp_path / 'outcomes.jsonl'} has what was done; the same command goes on." in err


def test_folders_that_cannot_be_written(run, tmp_path):
    refused(run("reproduce", "mil", "--out", "/proc"), "cannot write into the folder /proc")
    (tmp_path / "file").touch()
    refused(run("reproduce", "repertoires", "--out", tmp_path / "file"), "cannot make the folder")


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "hopfield", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"hopfield {__version__}"


def test_reproduce_uci_writes_a_table_and_a_figure(run, tmp_path):
    for name in ("iris", "wine", "zoo"):
        write_uci(tmp_path / "uci", name, n=30)
    out = tmp_path / "out"
    options = ["--data-dir", tmp_path, "--out", out, "--jobs", 1, "--backend", "sequential"]
    methods = "K-NEAREST neighbours, logistic regression"
    code, printed, err = run("reproduce", "uci", *options, "--methods", methods)
    assert code == 0, err
    assert "| Logistic regression |" in printed
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "accuracy.csv",
        "outcomes.jsonl",
        "ranks.png",
        "summary.json",
    }
    assert json.loads((out / "summary.json").read_text())["sets"] == 3


def test_reproduce_uci_refuses_unknown_sets_and_methods(run, tmp_path):
    write_uci(tmp_path, "iris")
    options = ("reproduce", "uci", "--data-dir", tmp_path, "--out", tmp_path / "out")
    refused(run(*options, "--sets", "irish"), "did you mean iris")
    refused(run(*options, "--methods", "Guessing"), "methods must be from HopfieldClassifier", "Guessing")


def test_reproduce_molecules_writes_a_table(run, tmp_path):
    pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')
    lines = [f"{'C' * (i + 1)}{end},{int(end == 'O')}" for i in range(20) for end in "ON"]
    (tmp_path / "bace.csv").write_text("\n".join(["smiles,Class", *lines]) + "\n")
    out = tmp_path / "out"
    options = ["--data-dir", tmp_path, "--out", out, "--jobs", 1, "--backend", "sequential"]
    code, printed, err = run("reproduce", "molecules", *options, "--sets", "BACE", "--methods", "svm")
    assert code == 0, err
    assert "| SVM | **" in printed
    assert {path.name for path in out.iterdir()} == {"README.md", "auc.csv", "outcomes.jsonl", "summary.json"}
    assert json.loads((out / "summary.json").read_text())["bace"]["SVM"]["auc"] > 0.9
    assert "hopfield reproduce molecules --data-dir DATA --sets bace" in (out / "README.md").read_text()


def test_reproduce_molecules_refuses_unknown_sets_and_methods(run, tmp_path):
    options = ("reproduce", "molecules", "--data-dir", tmp_path, "--out", tmp_path / "out")
    refused(run(*options, "--sets", "tox21"), "sets must be from hiv, bace, bbbp, sider; got tox21")
    refused(run(*options, "--methods", "Guessing"), "methods must be from Hopfield lookup", "Guessing")
    refused(run(*options, "--sets", "bace"), "bace.csv")
