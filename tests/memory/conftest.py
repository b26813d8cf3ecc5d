"""What all tests of memories share."""

import pytest

from hopfield.memory import soft


@pytest.fixture(autouse=True)
def _as_if_large(monkeypatch):
    """Memories of tests are small, and are to go the ways of large ones."""
    monkeypatch.setattr(soft, "_SMALL", 0)
