"""Processes killed while they write: nothing that had returned is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def kills(folder, count, seed):
    command = [sys.executable, "-m", "tests.memory.disk.kills", str(folder / "m"), str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_is_lost_in_forty_kills(tmp_path):
    assert sum(kills(tmp_path, 40, 0).values()) == 40


@pytest.mark.slow
def test_nothing_is_lost_in_a_thousand_kills(tmp_path):
    count = kills(tmp_path, 1000, 1)
    assert sum(count.values()) == 1000
    assert len(count) == 4
