"""Samples that hold bags, joined to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from hopfield.errors import HopfieldError

# the entries of a sample that may hold its bag
_BAG_KEYS = ("data", "bag")


def collate(samples: Sequence[Any], join: Callable[[Sequence[Any]], Any]) -> Any:
    """Join samples to a batch, their bags by `join`; see `Bags.collate`."""
    if not len(samples):
        raise HopfieldError("collate needs at least one sample, got none")
    first = samples[0]
    if isinstance(first, Tensor | np.ndarray):
        return join(samples)
    if isinstance(first, Mapping):
        key = next((key for key in _BAG_KEYS if key in first), None)
        if key is None:
            raise HopfieldError(f'a sample must hold its bag under "data" or "bag", got the keys {list(first)}')
        return {
            name: join([sample[name] for sample in samples]) if name == key else _stack(name, samples) for name in first
        }
    if isinstance(first, tuple | list) and first:
        bags = join([sample[0] for sample in samples])
        return (bags, *(_stack(i, samples) for i in range(1, len(first))))
    raise HopfieldError(
        "a sample must be a bag (n, *shape), a tuple (bag, target, ...), or a dict with the bag under "
        f'"data" or "bag"; got {type(first).__name__}'
    )


def _stack(name: Any, samples: Sequence[Any]) -> Any:
    """An entry of all samples, joined as torch does."""
    try:
        return default_collate([sample[name] for sample in samples])
    except (IndexError, KeyError, RuntimeError, TypeError) as error:
        raise HopfieldError(
            f"entry {name!r} of the samples cannot be joined to a batch: {error}; "
            "every sample must have it, in one shape and type"
        ) from error
