"""The paper's small tables: the classifier of tables against tuned rivals (Ramsauer et al. 2021, table 2)."""

from hopfield.experiments.uci.comparison import Comparison
from hopfield.experiments.uci.protocol import METHODS, OURS, run
from hopfield.experiments.uci.results import summary, write

__all__ = ["METHODS", "OURS", "Comparison", "run", "summary", "write"]
