"""Parameters of the estimators of tables: what they may be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hopfield.core.separation import resolve
from hopfield.errors import HopfieldError
from hopfield.estimators.settings import check_integers, check_positive, is_number

# these may differ from network to network
_SPREAD = ("column_dropout", "dropout", "noise")


def spread(setting: float | tuple[float, float], place: float) -> float:
    """A setting of the network at this place, 0 for the first and 1 for the last: a number, or one between a pair."""
    low, high = setting if isinstance(setting, tuple | list) else (setting, setting)
    return float(low + (high - low) * place)


def check_settings(model: Any) -> None:
    """Refuse parameters that are out of range."""
    for name, choices in (
        ("memory", ("training", "prototypes")),
        ("similarity", ("euclidean", "dot")),
        ("scale", ("column", "table")),
    ):
        if getattr(model, name) not in choices:
            raise HopfieldError(f"{name} must be {' or '.join(map(repr, choices))}, got {getattr(model, name)!r}")
    check_integers(model, prototypes=1, width=1, hidden=1, steps=1, n_estimators=1, iterations=0, batch_size=2)
    for name, high in (
        ("column_dropout", 1),
        ("dropout", 1),
        ("noise", math.inf),
        ("weight_decay", math.inf),
    ):
        value = getattr(model, name)
        pair = name in _SPREAD and isinstance(value, tuple | list) and len(value) == 2
        if not all(is_number(one) and 0 <= one < high for one in (value if pair else [value])):
            also = ", or a pair of such numbers" if name in _SPREAD else ""
            raise HopfieldError(f"{name} must be a number of at least 0 and below {high}{also}; got {value!r}")
    check_positive(model, row_share=1, memory_share=1, learning_rate=1e6)
    resolve(model.separation)


def categorical_columns(given: Any, names: list[str]) -> list[bool | None]:
    """Whether each column holds categories; None: its contents say.

    Raises:
        HopfieldError: what is neither "auto", None, a mask, numbers nor names of columns.
    """
    count = len(names)
    if given is None:
        return [False] * count
    marks: list[bool | None] = [None] * count
    if isinstance(given, str) and given == "auto":
        return marks
    wanted = 'categorical_features must be "auto", None, or a list of columns: numbers, names, or a bool for each'
    if isinstance(given, str) or not hasattr(given, "__len__"):
        raise HopfieldError(f"{wanted}; got {given!r}")
    chosen = np.asarray(given).ravel().tolist()
    if chosen and all(isinstance(entry, bool) for entry in chosen):
        if len(chosen) != count:
            raise HopfieldError(f"{wanted}; got {len(chosen)} bools for {count} columns")
        chosen = [place for place, entry in enumerate(chosen) if entry]
    for entry in chosen:
        place = names.index(entry) if entry in names else entry
        if isinstance(place, bool) or not isinstance(place, int) or not -count <= place < count:
            raise HopfieldError(f"{wanted}; there is no column {entry!r} among {', '.join(names[:20])}")
        marks[place] = True
    return marks
