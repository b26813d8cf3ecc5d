"""Separation functions, and the names they go by."""

from __future__ import annotations

from collections.abc import Callable

from hopfield.core.separation.base import Curvature, Separation, Streamable
from hopfield.core.separation.exponential import Softmax, Softmax1, TopK
from hopfield.core.separation.threshold import Entmax, Normmax, Sparsemax
from hopfield.errors import HopfieldError

__all__ = [
    "NAMES",
    "Curvature",
    "Entmax",
    "Normmax",
    "Separation",
    "Softmax",
    "Softmax1",
    "Sparsemax",
    "Streamable",
    "TopK",
    "resolve",
]

NAMES: dict[str, Callable[[], Separation]] = {
    "softmax": Softmax,
    "softmax1": Softmax1,
    "sparsemax": Sparsemax,
    "entmax": Entmax,
    "normmax": Normmax,
    "top1": TopK,
}
"""The separation functions that go by a name, each with its default parameters."""


def resolve(separation: str | Separation) -> Separation:
    """The separation function of a name, or the object itself.

    Raises:
        HopfieldError: an unknown name (the message lists the valid ones) or an object without weights and potential.
    """
    if isinstance(separation, str):
        if separation not in NAMES:
            raise HopfieldError(
                f"unknown separation {separation!r}; expected one of {', '.join(NAMES)}, "
                "or an object such as hopfield.separation.TopK(8)"
            )
        return NAMES[separation]()
    if isinstance(separation, type):
        raise HopfieldError(f"separation must be an object, got the class; use {separation.__name__}()")
    if not (callable(getattr(separation, "weights", None)) and callable(getattr(separation, "potential", None))):
        raise HopfieldError(
            f"separation must be a name ({', '.join(NAMES)}) or an object with weights(scores) and potential(scores), "
            f"got {type(separation).__name__}"
        )
    return separation
