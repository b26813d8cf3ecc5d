"""Heads of transformers while they learn, and averages in their place (Ramsauer et al. 2021, Sec. 4 and A.5)."""

from hopfield.experiments.heads.protocol import STEPS, Outcome, run
from hopfield.experiments.heads.results import shown, summary, write
from hopfield.experiments.heads.training import MODELS, Setting

__all__ = ["MODELS", "STEPS", "Outcome", "Setting", "run", "shown", "summary", "write"]
