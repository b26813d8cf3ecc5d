"""Pictures, as matplotlib figures; show them in a notebook, or write them with `savefig` or `png`.

Needs matplotlib: pip install "hopfield[plot]".
"""

from hopfield.plot.bags import bag, scores
from hopfield.plot.curves import beta_curves, networks, networks_on_images, one_step_error, spurious, trade
from hopfield.plot.general import capacity, energies, images
from hopfield.plot.heads import heads
from hopfield.plot.molecules import molecules
from hopfield.plot.pictures import betas, recovery, spurious_states
from hopfield.plot.ranks import critical_difference
from hopfield.plot.repertoires import cost, logo
from hopfield.plot.style import png
from hopfield.plot.training import head_history, head_ridges

__all__ = [
    "bag",
    "beta_curves",
    "betas",
    "capacity",
    "cost",
    "critical_difference",
    "energies",
    "head_history",
    "head_ridges",
    "heads",
    "images",
    "logo",
    "molecules",
    "networks",
    "networks_on_images",
    "one_step_error",
    "png",
    "recovery",
    "scores",
    "spurious",
    "spurious_states",
    "trade",
]
