"""Separation functions: `Softmax`, `Softmax1`, `Sparsemax`, `Entmax`, `Normmax`, `TopK`, and their base class."""

from hopfield.core.separation import Entmax, Normmax, Separation, Softmax, Softmax1, Sparsemax, Streamable, TopK

__all__ = ["Entmax", "Normmax", "Separation", "Softmax", "Softmax1", "Sparsemax", "Streamable", "TopK"]
