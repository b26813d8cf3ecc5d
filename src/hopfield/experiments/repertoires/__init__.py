"""The table of immune repertoires: Hopfield pooling and the methods that the paper compares it with."""

from hopfield.experiments.repertoires.cost import measure
from hopfield.experiments.repertoires.protocol import CONDITIONS, OURS, run
from hopfield.experiments.repertoires.results import summary, write

__all__ = ["CONDITIONS", "OURS", "measure", "run", "summary", "write"]
