"""Reading transformers as Hopfield networks: what their heads do, and what happens when they do something else."""

from hopfield.lens.lens import HeadLens
from hopfield.lens.report import Head, HeadReport, LayerReading

__all__ = ["Head", "HeadLens", "HeadReport", "LayerReading"]
