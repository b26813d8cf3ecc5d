"""Data sets of multiple-instance learning: bags of instances, of which only the bags have labels."""

from hopfield.datasets.mil.loading import MILDataset, load_mil

__all__ = ["MILDataset", "load_mil"]
