"""Where data comes from: files of the user, and data that ships with a library or is fetched with a checksum."""

from hopfield.datasets.images import load_array, load_images, save_image
from hopfield.datasets.mil import MILDataset, load_mil
from hopfield.datasets.molecules import MoleculeDataset, canonical_smiles, descriptors, fingerprints, load_molecules
from hopfield.datasets.repertoires import AminoAcidModel, Repertoires, load_repertoires, simulate_repertoires
from hopfield.datasets.texts import load_text
from hopfield.datasets.uci import UCIDataset, load_uci

__all__ = [
    "AminoAcidModel",
    "MILDataset",
    "MoleculeDataset",
    "Repertoires",
    "UCIDataset",
    "canonical_smiles",
    "descriptors",
    "fingerprints",
    "load_array",
    "load_images",
    "load_mil",
    "load_molecules",
    "load_repertoires",
    "load_text",
    "load_uci",
    "save_image",
    "simulate_repertoires",
]
