"""The names that users rely on, and what importing costs."""

import inspect
import subprocess
import sys

import pytest

import hopfield

FACE = [
    "AssociativeMemory",
    "HopfieldError",
    "Retrieval",
    "associate",
    "association_weights",
    "binary",
    "energy",
    "jacobian",
    "retrieve",
    "separation",
    "theory",
    "update",
]


@pytest.mark.parametrize("name", FACE)
def test_names_are_there_and_listed(name):
    assert getattr(hopfield, name) is not None
    assert name in dir(hopfield)
    assert name in hopfield.__all__


def test_parts_of_the_face():
    for name in ("Softmax", "Softmax1", "Sparsemax", "Entmax", "Normmax", "TopK"):
        assert hasattr(hopfield.separation, name)
    for name in ("pattern_separation", "well_separated", "retrieval_error_bound", "jacobian", "fixed_point_kind"):
        assert callable(getattr(hopfield.theory, name))
    assert list(inspect.signature(hopfield.theory.capacity).parameters) == ["beta", "radius", "dim", "failure"]
    assert hasattr(hopfield.binary, "ClassicalHopfield")
    assert hasattr(hopfield.binary, "DenseHopfield")


def test_signatures_of_the_memory():
    made = inspect.signature(hopfield.AssociativeMemory).parameters
    assert list(made) == ["patterns", "values", "beta", "separation", "bias"]
    asked = inspect.signature(hopfield.AssociativeMemory.retrieve).parameters
    assert {"query", "steps", "tol", "max_steps"} <= set(asked)
    assert asked["steps"].default is None
    assert asked["tol"].default == 1e-6
    assert asked["max_steps"].default == 1000


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Hopfeld'"):
        _ = hopfield.Hopfeld


def _modules_after(code: str) -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(printed.stdout.split())


def test_the_version_does_not_wait_for_torch():
    code = """
sys.argv = ["hopfield", "--version"]
from hopfield.cli import main
try:
    main()
except SystemExit:
    pass
"""
    assert not {"torch", "numpy", "matplotlib", "sklearn"} & _modules_after(code)


def test_the_library_needs_no_extra():
    used = _modules_after("import hopfield\n[getattr(hopfield, name) for name in hopfield.__all__]")
    assert "torch" in used
    assert not {"matplotlib", "sklearn", "scipy", "PIL", "typer", "entmax"} & used
