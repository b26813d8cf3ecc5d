"""What every test shares: a fixed seed, reproducible property tests, and the folder of reference data."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# No deadline: the first call of a torch operator is slow, and a slow machine is not a failure.
# Property tests draw a seed, never numbers from torch, so that the printed blob reproduces a failure.
settings.register_profile(
    "hopfield", deadline=None, max_examples=20, print_blob=True, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("hopfield")

# The tensors of the tests are small: threads would only wait for one another.
torch.set_num_threads(1)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: bytes may hold the time (gzip), and processes must agree on the names of tests."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from the same random state, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference numbers (`golden/`) and public data sets (`data/`), outside the repository."""
    folder = Path(os.environ.get("HOPFIELD_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} does not exist; set HOPFIELD_SHARED to the folder that holds it")
    return folder
