"""Reading transformers as Hopfield networks: what their heads do, and what happens when they do something else."""

from hopfield.lens.history import HeadHistory
from hopfield.lens.lens import HeadLens
from hopfield.lens.replace import Replacement, UniformAveraging, replace_heads
from hopfield.lens.report import Head, HeadReport, Landing, LayerReading
from hopfield.lens.sites import restore
from hopfield.lens.updates import Updates, set_updates

__all__ = [
    "Head",
    "HeadHistory",
    "HeadLens",
    "HeadReport",
    "Landing",
    "LayerReading",
    "Replacement",
    "UniformAveraging",
    "Updates",
    "replace_heads",
    "restore",
    "set_updates",
]
