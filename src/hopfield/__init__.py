"""Modern Hopfield networks for PyTorch: associative memories with continuous states, their theory and their layers."""

from hopfield import binary, separation, theory
from hopfield.__about__ import __version__
from hopfield.core.association import associate, association_weights
from hopfield.core.energy import energy, jacobian, update
from hopfield.core.retrieval import Retrieval, retrieve
from hopfield.errors import HopfieldError
from hopfield.memory.associative import AssociativeMemory

__all__ = [
    "AssociativeMemory",
    "HopfieldError",
    "Retrieval",
    "__version__",
    "associate",
    "association_weights",
    "binary",
    "energy",
    "jacobian",
    "retrieve",
    "separation",
    "theory",
    "update",
]
