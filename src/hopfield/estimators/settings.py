"""Parameters of the classifiers of bags: what they may be, and how they are written to a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from torch import nn

from hopfield.core.separation import Separation
from hopfield.errors import HopfieldError
from hopfield.memory.storage import described, separation_of

Embedding = Sequence[int] | Literal["sequences"] | Callable[[tuple[int, ...]], nn.Module]


def check_settings(model: Any) -> None:
    """Refuse parameters of a classifier of bags that are out of range."""
    check_integers(model, heads=1, head_size=1, states=1, steps=1, n_estimators=1, epochs=1)
    for name, low, high in (
        ("dropout", 0, 1),
        ("bag_dropout", 0, 1),
        ("label_smoothing", 0, 1),
        ("weight_decay", 0, math.inf),
    ):
        value = getattr(model, name)
        if not is_number(value) or not low <= value < high:
            raise HopfieldError(f"{name} must be a number of at least {low} and below {high}, got {value!r}")
    check_positive(model, top_share=1, decay=1, learning_rate=1e6, validation_fraction=1)
    if not is_number(model.patience) or not model.patience >= 1:
        raise HopfieldError(f"patience must be a number of epochs of at least 1, got {model.patience!r}")
    weight = model.class_weight
    if not (weight is None or isinstance(weight, dict) or (isinstance(weight, str) and weight == "balanced")):
        raise HopfieldError(f'class_weight must be None, "balanced" or {{class: weight}}, got {weight!r}')
    size = model.batch_size
    if size != "auto" and (isinstance(size, bool | str) or not isinstance(size, int | np.integer) or size < 1):
        raise HopfieldError(f'batch_size must be a number of instances of at least 1, or "auto"; got {size!r}')
    for name in ("embedding", "key", "hidden"):
        sizes = getattr(model, name)
        if name == "embedding" and (callable(sizes) or (isinstance(sizes, str) and sizes == "sequences")):
            continue
        if (
            isinstance(sizes, str)
            or not isinstance(sizes, Sequence)
            or any(isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1 for size in sizes)
        ):
            also = ', "sequences", or a function from a shape to a module' if name == "embedding" else ""
            raise HopfieldError(f"{name} must be a tuple of layer sizes, () for none{also}; got {sizes!r}")


def check_integers(model: Any, **least: int) -> None:
    """Refuse parameters that are no integers, or below the least one each may be."""
    for name, low in least.items():
        value = getattr(model, name)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            raise HopfieldError(f"{name} must be an integer of at least {low}, got {value!r}")


def check_positive(model: Any, **most: float) -> None:
    """Refuse parameters that are no numbers above 0, or above the largest each may be."""
    for name, high in most.items():
        value = getattr(model, name)
        if not is_number(value) or not 0 < value <= high:
            raise HopfieldError(f"{name} must be a number above 0 and at most {high:g}, got {value!r}")


def is_number(value: Any) -> bool:
    """Whether a parameter is a real number."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def plain_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON has them, without those that belong to this machine; those that are code are left as they are.

    Raises:
        HopfieldError: a separation function without a name.
    """
    written: dict[str, Any] = _plain(settings)
    separation = settings["separation"]
    if isinstance(separation, Separation):
        written["separation"] = described(separation)
        if written["separation"] is None:
            raise HopfieldError(
                f"cannot save the separation function {type(separation).__name__}: only those of "
                "hopfield.separation have a name in the file; save the state_dict of `networks_` yourself"
            )
    written["device"] = None
    if not isinstance(written["random_state"], int | None):
        written["random_state"] = None
    return written


def given_settings(written: dict[str, Any]) -> dict[str, Any]:
    """The parameters that `plain_settings` wrote; what was a tuple is a list."""
    separation = written["separation"]
    return written | {"separation": separation_of(separation) if isinstance(separation, dict) else separation}


def to_json(settings: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a classifier of bags as JSON has them, without those that belong to this machine or are code."""
    written = plain_settings(settings)
    if callable(settings["embedding"]):
        written["embedding"] = None  # code: `of_json` asks for it
    if isinstance(settings["class_weight"], dict):
        written["class_weight"] = _plain(list(settings["class_weight"].items()))  # JSON has no names but strings
    return written


def of_json(written: dict[str, Any], embedding: Any) -> dict[str, Any]:
    """The parameters that `to_json` wrote; `embedding` if it was code."""
    settings = given_settings(written)
    if settings["embedding"] is None:
        if not callable(embedding):
            raise HopfieldError(
                "this classifier was saved with a function as embedding, which is not in the file; "
                "give it again: load(path, embedding=...)"
            )
        settings["embedding"] = embedding
    elif embedding is not None and _plain(embedding) != settings["embedding"]:
        raise HopfieldError(
            f"this classifier was saved with embedding={_given(settings['embedding'])!r}, got {embedding!r}; "
            "leave it out"
        )
    for name in ("embedding", "key", "hidden"):
        settings[name] = _given(settings[name])
    if isinstance(settings["class_weight"], list):
        settings["class_weight"] = dict(settings["class_weight"])
    return settings


def _given(sizes: Any) -> Any:
    """Sizes of layers as they were given."""
    return tuple(sizes) if isinstance(sizes, list) else sizes


def _plain(value: Any) -> Any:
    """Settings as JSON has them: numbers and arrays of numpy as those of Python."""
    if hasattr(value, "tolist"):  # also arrays, and the index of a data frame
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
