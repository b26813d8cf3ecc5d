"""Sets of molecules: SMILES with labels, and molecules as numbers. Needs RDKit: pip install "hopfield[chem]"."""

from hopfield.datasets.molecules.features import fingerprints
from hopfield.datasets.molecules.loading import MoleculeDataset, load_molecules

__all__ = ["MoleculeDataset", "fingerprints", "load_molecules"]
