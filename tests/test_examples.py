"""The examples run, are fair in form (each has a baseline), and give the same numbers for the same seed."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(FOLDER))  # for `common`
    monkeypatch.delitem(sys.modules, "common", raising=False)

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop("common", None)


def test_there_are_examples():
    assert {"bit_patterns", "digit_bags", "in_place_of_attention", "in_place_of_dense"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_it_shows(name, load, capsys):
    module = load(name)
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert module.__doc__.splitlines()[0] in said
    assert all(option in said for option in ("--seed", "--quick", "--out"))


def test_an_example_runs_as_a_script():
    run = subprocess.run(
        [sys.executable, str(FOLDER / "bit_patterns.py"), "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "--quick" in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_in_short(name, load, tmp_path):
    result = load(name).main(["--quick", "--out", str(tmp_path)])
    assert result["baselines"]
    assert set(result["baselines"]) < set(result["methods"])
    for entry in result["methods"].values():
        assert entry["parameters"] > 0
        assert all(0 <= accuracy <= 1 for accuracy in entry["accuracy"])
    written = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(result))
    assert str(tmp_path) not in json.dumps(written)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(load):
    main = load("bit_patterns").main
    first, second, other = (main(["--quick", "--seed", seed]) for seed in ("3", "3", "4"))

    def numbers(result):
        return {name: (entry["accuracy"], entry["epochs"]) for name, entry in result["methods"].items()}

    assert numbers(first) == numbers(second)
    assert first["seeds"] != other["seeds"]


@pytest.mark.slow
def test_the_bags_draw_a_picture(load, tmp_path):
    path = tmp_path / "bags.png"
    load("digit_bags").main(["--quick", "--picture", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NAMES)
def test_methods_have_similar_numbers_of_parameters(name, load):
    path = FOLDER.parent / "results" / "examples" / f"{name}.json"
    methods = json.loads(path.read_text(encoding="utf-8"))["methods"]
    groups: dict[str, list[int]] = {}
    for method, entry in methods.items():
        groups.setdefault(method.split(":")[0] if ":" in method else "", []).append(entry["parameters"])
    for counts in groups.values():
        assert max(counts) <= 1.2 * min(counts)
