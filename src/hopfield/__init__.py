"""Modern Hopfield networks for PyTorch: associative memories with continuous states, their theory and their layers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hopfield.__about__ import __version__

if TYPE_CHECKING:
    from hopfield import binary, compat, lens, nn, separation, theory
    from hopfield.bags import Bags
    from hopfield.core.association import associate, association_weights
    from hopfield.core.energy import energy, jacobian, update
    from hopfield.core.retrieval import Retrieval, retrieve
    from hopfield.errors import HopfieldError
    from hopfield.memory.associative import AssociativeMemory
    from hopfield.nn.hopfield import Hopfield
    from hopfield.nn.lookup import HopfieldLayer
    from hopfield.nn.pooling import HopfieldPooling

__all__ = [
    "AssociativeMemory",
    "Bags",
    "Hopfield",
    "HopfieldError",
    "HopfieldLayer",
    "HopfieldPooling",
    "Retrieval",
    "__version__",
    "associate",
    "association_weights",
    "binary",
    "compat",
    "energy",
    "jacobian",
    "lens",
    "nn",
    "retrieve",
    "separation",
    "theory",
    "update",
]

_HOMES = {
    "AssociativeMemory": "hopfield.memory.associative",
    "Bags": "hopfield.bags",
    "Hopfield": "hopfield.nn.hopfield",
    "HopfieldError": "hopfield.errors",
    "HopfieldLayer": "hopfield.nn.lookup",
    "HopfieldPooling": "hopfield.nn.pooling",
    "Retrieval": "hopfield.core.retrieval",
    "associate": "hopfield.core.association",
    "association_weights": "hopfield.core.association",
    "energy": "hopfield.core.energy",
    "jacobian": "hopfield.core.energy",
    "retrieve": "hopfield.core.retrieval",
    "update": "hopfield.core.energy",
}
# `estimators` is not in __all__: it needs scikit-learn
_MODULES = ("binary", "compat", "estimators", "lens", "nn", "separation", "theory")


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `hopfield --version` need not wait for torch."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"hopfield.{name}")
    else:
        raise AttributeError(f"module 'hopfield' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
