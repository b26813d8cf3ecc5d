"""Estimators of tables: a lookup among labelled rows in a learned space."""

from hopfield.estimators.tables.estimators import HopfieldClassifier, HopfieldRegressor

__all__ = ["HopfieldClassifier", "HopfieldRegressor"]
