"""The paper's drug design tables: a lookup among molecules against other methods (Ramsauer et al. 2021, table A.5)."""

from hopfield.experiments.molecules.protocol import METHODS, OURS, SETS, run
from hopfield.experiments.molecules.results import PRINTED, summary, write

__all__ = ["METHODS", "OURS", "PRINTED", "SETS", "run", "summary", "write"]
