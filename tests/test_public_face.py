"""The names and signatures that are promised, and how little `import hopfield` brings along."""

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hopfield

REQUIRED, KEYWORD = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
CORE = {"beta": 1.0, "bias": None, "mask": None, "separation": "softmax"}


def positional(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD}


def keywords(function):
    return {p.name: p.default for p in inspect.signature(function).parameters.values() if p.kind is KEYWORD}


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("AssociativeMemory", "hopfield.memory.associative"),
        ("HopfieldError", "hopfield.errors"),
        ("Retrieval", "hopfield.core.retrieval"),
        ("associate", "hopfield.core.association"),
        ("association_weights", "hopfield.core.association"),
        ("energy", "hopfield.core.energy"),
        ("jacobian", "hopfield.core.energy"),
        ("retrieve", "hopfield.core.retrieval"),
        ("update", "hopfield.core.energy"),
    ],
)
def test_names(name, home):
    assert getattr(hopfield, name) is getattr(importlib.import_module(home), name)
    assert name in hopfield.__all__
    assert name in dir(hopfield)


def test_modules():
    for name in ("binary", "separation", "theory"):
        assert getattr(hopfield, name) is importlib.import_module(f"hopfield.{name}")
        assert name in hopfield.__all__


def test_everything_that_is_listed_is_there():
    assert sorted(hopfield.__all__) == sorted(set(hopfield.__all__))
    for name in hopfield.__all__:
        assert getattr(hopfield, name) is not None
    for name in hopfield.separation.__all__:
        assert getattr(hopfield.separation, name) is not None


def test_theory_and_binary_networks():
    for name in ("pattern_separation", "well_separated", "retrieval_error_bound", "jacobian", "fixed_point_kind"):
        assert callable(getattr(hopfield.theory, name))
    assert keywords(hopfield.theory.capacity) == dict.fromkeys(("beta", "radius", "dim", "failure"), REQUIRED)
    assert inspect.isclass(hopfield.binary.ClassicalHopfield)
    assert inspect.isclass(hopfield.binary.DenseHopfield)


def test_separation_functions():
    for name in ("Softmax", "Softmax1", "Sparsemax", "Entmax", "Normmax", "TopK"):
        made = getattr(hopfield.separation, name)()
        assert isinstance(made, hopfield.separation.Separation)
        assert list(positional(made.weights)) == list(positional(made.potential)) == ["scores"]
    assert positional(hopfield.separation.Entmax) == {"alpha": 1.5}
    assert positional(hopfield.separation.Normmax) == {"alpha": 2.0}
    assert positional(hopfield.separation.TopK) == {"k": 1}


def test_signatures_of_functions():
    for name in ("update", "energy", "jacobian"):
        function = getattr(hopfield, name)
        assert positional(function) == {"state": REQUIRED, "patterns": REQUIRED}
        assert keywords(function) == CORE
    assert positional(hopfield.associate) == {"query": REQUIRED, "patterns": REQUIRED, "values": None}
    assert keywords(hopfield.associate) == CORE | {"return_potential": False}
    assert positional(hopfield.retrieve) == {"query": REQUIRED, "patterns": REQUIRED, "values": None}
    loop = {"steps": None, "tol": 1e-6, "max_steps": 1000, "trajectory": False, "adjoint_tol": 1e-6}
    assert keywords(hopfield.retrieve) == CORE | loop


def test_signatures_of_the_memory():
    memory = hopfield.AssociativeMemory
    assert positional(memory) == {"patterns": REQUIRED}
    assert keywords(memory) == {"values": None, "beta": 1.0, "separation": "softmax", "bias": None}
    assert positional(memory.retrieve) == {"self": REQUIRED, "query": REQUIRED}
    assert keywords(memory.retrieve) == {
        "steps": None,
        "tol": 1e-6,
        "max_steps": 1000,
        "trajectory": False,
        "mask": None,
        "tolerance": None,
    }
    assert positional(memory.energy) == {"self": REQUIRED, "state": REQUIRED}
    assert positional(memory.add) == {"self": REQUIRED, "patterns": REQUIRED}
    assert positional(memory.remove) == {"self": REQUIRED, "indices": REQUIRED}
    assert positional(memory.save) == {"self": REQUIRED, "path": REQUIRED}
    assert positional(memory.load) == {"path": REQUIRED}


def test_what_a_retrieval_has():
    fields = set(hopfield.Retrieval.__dataclass_fields__) | set(vars(hopfield.Retrieval))
    assert {"state", "values", "energy", "steps", "converged", "trajectory", "top", "support"} <= fields
    assert positional(hopfield.Retrieval.top) == {"self": REQUIRED, "k": REQUIRED}
    assert positional(hopfield.Retrieval.support) == {"self": REQUIRED, "mass": 0.9}


def test_one_error_for_either_clause():
    assert issubclass(hopfield.HopfieldError, ValueError)
    assert issubclass(hopfield.HopfieldError, TypeError)


def test_unknown_names():
    with pytest.raises(AttributeError, match="has no attribute 'Hopfeld'"):
        _ = hopfield.Hopfeld


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", hopfield.__version__)
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "src/hopfield/__about__.py"
    assert hopfield.__version__ == importlib.import_module("hopfield.__about__").__version__


def modules_after(code):
    """The packages that are loaded once this has run in an interpreter of its own."""
    code = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_import_brings_no_extras_along():
    loaded = modules_after("import hopfield\n[getattr(hopfield, name) for name in hopfield.__all__]")
    assert {"hopfield", "torch"} <= loaded
    assert not loaded & {"matplotlib", "PIL", "sklearn", "scipy", "typer", "rich", "entmax", "joblib", "pooch"}


def test_the_version_does_not_wait_for_torch():
    code = """
sys.argv = ["hopfield", "--version"]
from hopfield.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert not modules_after(code) & {"torch", "numpy", "matplotlib", "sklearn"}
