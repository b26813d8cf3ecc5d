"""A classifier of molecules, and molecules as columns for any estimator. Needs RDKit: pip install "hopfield[chem]"."""

from hopfield.estimators.molecules.classifier import HopfieldMoleculeClassifier
from hopfield.estimators.molecules.features import MoleculeFeatures
from hopfield.estimators.molecules.similarity import tanimoto

__all__ = ["HopfieldMoleculeClassifier", "MoleculeFeatures", "tanimoto"]
