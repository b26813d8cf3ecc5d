"""Immune repertoires: bags of receptor sequences with counts; tables read, cached on disk, written and simulated."""

from hopfield.datasets.repertoires.model import AminoAcidModel
from hopfield.datasets.repertoires.reader import load_repertoires
from hopfield.datasets.repertoires.repertoires import Repertoires
from hopfield.datasets.repertoires.sequences import ALPHABET, abundance, counts_of, decode, encode
from hopfield.datasets.repertoires.simulated import find_motif, simulate_repertoires

__all__ = [
    "ALPHABET",
    "AminoAcidModel",
    "Repertoires",
    "abundance",
    "counts_of",
    "decode",
    "encode",
    "find_motif",
    "load_repertoires",
    "simulate_repertoires",
]
