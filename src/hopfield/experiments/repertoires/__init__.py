"""The table of immune repertoires: Hopfield pooling and the methods that the paper compares it with."""

from hopfield.experiments.repertoires.cost import measure
from hopfield.experiments.repertoires.protocol import CONDITIONS, OURS, conditions_of, run
from hopfield.experiments.repertoires.results import shown, summary, write

__all__ = ["CONDITIONS", "OURS", "conditions_of", "measure", "run", "shown", "summary", "write"]
