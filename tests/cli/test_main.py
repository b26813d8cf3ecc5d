"""The command line: what comes out, and one clear line with exit code 2 for whatever is wrong."""

import subprocess
import sys

import pytest

from hopfield import __version__


def test_version(run):
    assert run("--version")[:2] == (0, f"hopfield {__version__}\n")


@pytest.mark.parametrize(
    "command",
    [
        *([], ["tour"], ["retrieve"], ["capacity"], ["heads"], ["reproduce"]),
        *(["reproduce", name] for name in ("retrieval", "mil", "repertoires")),
    ],
)
def test_help_has_examples(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "hopfield" in out


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "hopfield", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"hopfield {__version__}"
