"""A disk that is really full, and one that cannot be written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OWN = ["unshare", "--user", "--map-root-user", "--mount"]


def _mounts(folder: Path) -> bool:
    """Whether this system lets its users mount a file system of their own."""
    command = [*OWN, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def test_a_full_disk_and_a_read_only_one_change_nothing(tmp_path):
    if not _mounts(tmp_path):
        pytest.skip(
            "needs a system on which users can mount file systems in a name space of their own (Linux, unshare)"
        )
    command = [*OWN, sys.executable, "-m", "tests.memory.disk.full", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
