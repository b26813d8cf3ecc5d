"""The earlier networks of +-1 units, classical, polynomial and exponential; their capacity, their spurious states."""

from hopfield.binary.capacity import (
    ClassicalCapacity,
    classical_capacity,
    exponential_log_capacity,
    polynomial_log_capacity,
)
from hopfield.binary.classical import ClassicalHopfield
from hopfield.binary.dense import DenseHopfield, Exponential, Interaction, Polynomial, RectifiedPolynomial
from hopfield.binary.network import BinaryNetwork, BinaryRetrieval
from hopfield.binary.spurious import Mixtures, StateName, count_kinds, mixture_states, name_states

__all__ = [
    "BinaryNetwork",
    "BinaryRetrieval",
    "ClassicalCapacity",
    "ClassicalHopfield",
    "DenseHopfield",
    "Exponential",
    "Interaction",
    "Mixtures",
    "Polynomial",
    "RectifiedPolynomial",
    "StateName",
    "classical_capacity",
    "count_kinds",
    "exponential_log_capacity",
    "mixture_states",
    "name_states",
    "polynomial_log_capacity",
]
