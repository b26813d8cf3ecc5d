"""The paper's multiple-instance benchmarks: Hopfield pooling against its rivals (Ramsauer et al. 2021, table 1)."""

from hopfield.experiments.mil.protocol import METHODS, run
from hopfield.experiments.mil.results import summary, write

__all__ = ["METHODS", "run", "summary", "write"]
