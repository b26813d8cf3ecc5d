"""Where estimators compute, and where their random numbers come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from hopfield.errors import HopfieldError


def as_device(device: str | torch.device | None) -> torch.device:
    """The device of this name that can be used here; None: the CPU.

    Raises:
        HopfieldError: an unknown device, or one that is not there.
    """
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:  # what torch raises for names and missing devices
        raise HopfieldError(f"device {device!r} cannot be used here: {error}") from error
    return found


def seed_of(random_state: Any) -> int:
    """The seed of a fit: the same every time for an integer, another one every time for None or a RandomState.

    Raises:
        HopfieldError: something else.
    """
    try:
        return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    except ValueError as error:
        raise HopfieldError(
            "random_state must be an integer from 0 to 2**32 - 1, a numpy.random.RandomState, or None; "
            f"got {random_state!r}"
        ) from error
