"""What retrieval does, measured: recovery of images, inverse temperatures, capacity, spurious states, errors, trade."""

from hopfield.experiments.retrieval.betas import Betas, BetaStep, betas
from hopfield.experiments.retrieval.common import Pictures, Progress, Shown, silent
from hopfield.experiments.retrieval.compare import Curve, Networks
from hopfield.experiments.retrieval.error import Errors, OneStep, one_step_error
from hopfield.experiments.retrieval.networks import networks, networks_on_images
from hopfield.experiments.retrieval.recovery import Damage, Recovery, recovery
from hopfield.experiments.retrieval.spurious import Endings, Example, Spurious, spurious
from hopfield.experiments.retrieval.trade import Trade, TradeCurve, trade

__all__ = [
    "BetaStep",
    "Betas",
    "Curve",
    "Damage",
    "Endings",
    "Errors",
    "Example",
    "Networks",
    "OneStep",
    "Pictures",
    "Progress",
    "Recovery",
    "Shown",
    "Spurious",
    "Trade",
    "TradeCurve",
    "betas",
    "networks",
    "networks_on_images",
    "one_step_error",
    "recovery",
    "silent",
    "spurious",
    "trade",
]
