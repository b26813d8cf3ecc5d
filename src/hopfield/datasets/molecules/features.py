"""Molecules as numbers, by RDKit: circular fingerprints and descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hopfield.errors import HopfieldError


def canonical(smiles: str) -> str | None:
    """The canonical SMILES of a molecule; None if RDKit cannot read it, or there is no atom in it."""
    molecule = _parsed(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        return None
    from rdkit.Chem import MolToSmiles

    text: str = MolToSmiles(molecule)
    return text


def fingerprints(smiles: Sequence[str], *, radius: int = 2, size: int = 2048) -> np.ndarray:
    """Morgan fingerprints: how often the neighbourhood of an atom of each kind is in a molecule, uint16 (n, size).

    Args:
        smiles: the molecules.
        radius: of a neighbourhood, in bonds.
        size: number of kinds that are told apart; several share a column.

    Raises:
        HopfieldError: a molecule that RDKit cannot read, RDKit not installed.
    """
    molecules = [_parsed(text) for text in smiles]
    if None in molecules:
        raise HopfieldError(f"RDKit cannot read the molecule {smiles[molecules.index(None)]!r}; leave it out")
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=radius, fpSize=size)
    rows = [generator.GetCountFingerprintAsNumPy(molecule) for molecule in molecules]
    return np.array(rows, np.uint16).reshape(len(rows), size)


def _parsed(smiles: str) -> Any:
    """A molecule of RDKit, or None; without its remarks on every one that it cannot read."""
    try:
        from rdkit.Chem import MolFromSmiles
        from rdkit.rdBase import BlockLogs
    except ImportError as error:
        raise HopfieldError('molecules need RDKit, which is not installed: pip install "hopfield[chem]"') from error
    with BlockLogs():
        return MolFromSmiles(smiles)
