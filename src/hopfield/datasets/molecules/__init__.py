"""Sets of molecules: SMILES with labels, and molecules as numbers. Needs RDKit: pip install "hopfield[chem]"."""

from hopfield.datasets.molecules.features import (
    KINDS,
    canonical_smiles,
    column,
    descriptor_names,
    descriptors,
    fingerprints,
    parsed,
)
from hopfield.datasets.molecules.loading import MoleculeDataset, load_molecules

__all__ = [
    "KINDS",
    "MoleculeDataset",
    "canonical_smiles",
    "column",
    "descriptor_names",
    "descriptors",
    "fingerprints",
    "load_molecules",
    "parsed",
]
