import sys

import numpy as np
import pytest

from hopfield import cli
from tests.cli.runs import Run


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
