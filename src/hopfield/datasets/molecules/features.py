"""Molecules as numbers, by RDKit: counts of substructures and descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hopfield.errors import HopfieldError

#: What is counted, by name: circular neighbourhoods of atoms (Morgan), the same with atoms told apart by what they do
#: in a binding site, pairs of atoms with the distance between them, and paths of four atoms.
KINDS = ("morgan", "functional", "pairs", "torsions")


def canonical(smiles: str) -> str | None:
    """The canonical SMILES of a molecule; None if RDKit cannot read it, or there is no atom in it."""
    molecule = _parsed(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        return None
    from rdkit.Chem import MolToSmiles

    text: str = MolToSmiles(molecule)
    return text


def fingerprints(smiles: Sequence[str], *, kind: str = "morgan", radius: int = 2, size: int = 2048) -> np.ndarray:
    """How often each substructure is in a molecule, uint16 (n, size).

    Args:
        smiles: the molecules.
        kind: what is counted. "morgan": the neighbourhoods of atoms; "functional": the same, with atoms told apart by
            their function (donor, acceptor, aromatic, halogen, basic, acidic); "pairs": two atoms and the number of
            bonds between them; "torsions": four atoms in a row.
        radius: of a neighbourhood, in bonds; for the first two kinds.
        size: number of substructures that are told apart; several share a column.

    Raises:
        HopfieldError: an unknown kind, a molecule that RDKit cannot read, RDKit not installed.
    """
    if kind not in KINDS:
        raise HopfieldError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    molecules = _all_parsed(smiles)
    from rdkit.Chem import rdFingerprintGenerator as Generators

    if kind in {"morgan", "functional"}:
        atoms = Generators.GetMorganFeatureAtomInvGen() if kind == "functional" else None
        generator = Generators.GetMorganGenerator(radius=radius, fpSize=size, atomInvariantsGenerator=atoms)
    elif kind == "pairs":
        generator = Generators.GetAtomPairGenerator(fpSize=size)
    else:
        generator = Generators.GetTopologicalTorsionGenerator(fpSize=size)
    rows = [generator.GetCountFingerprintAsNumPy(molecule) for molecule in molecules]
    return np.array(rows, np.uint16).reshape(len(rows), size)


def descriptors(smiles: Sequence[str]) -> np.ndarray:
    """Numbers that describe a molecule as a whole, float64 (n, 121); their names: `descriptor_names`.

    Weight, rings, bonds that turn, donors and acceptors, polar surface, estimated solubility in fat and other simple
    properties; the surface of atoms by their charge, refractivity and share in solubility; and 42 counts of atoms,
    bonds, polarity and topology (MQN). Those of RDKit that take a millisecond or less.

    Raises:
        HopfieldError: a molecule that RDKit cannot read, RDKit not installed.
    """
    molecules = _all_parsed(smiles)
    names, parts = _descriptors()
    return np.array([[*(value for part in parts for value in part(m))] for m in molecules]).reshape(-1, len(names))


def descriptor_names() -> list[str]:
    """The names of `descriptors`.

    Raises:
        HopfieldError: RDKit not installed.
    """
    return _descriptors()[0]


def _descriptors() -> tuple[list[str], list[Callable[[Any], Sequence[float]]]]:
    """Names of all descriptors, and what computes them, some at a time."""
    _parsed("C")  # whether RDKit is there
    from rdkit.Chem import rdMolDescriptors as Of

    properties = Of.Properties()
    surfaces: dict[str, Callable[[Any], Sequence[float]]] = {
        "charge": Of.PEOE_VSA_,
        "refractivity": Of.SMR_VSA_,
        "solubility": Of.SlogP_VSA_,
        "MQN": Of.MQNs_,
    }
    counts = {name: len(part(_parsed("C"))) for name, part in surfaces.items()}
    names = [*properties.GetPropertyNames(), *(f"{name}{i}" for name, n in counts.items() for i in range(1, n + 1))]
    return names, [properties.ComputeProperties, *surfaces.values()]


def parsed(smiles: str) -> Any:
    """A molecule of RDKit.

    Raises:
        HopfieldError: RDKit cannot read it, or is not installed.
    """
    molecule = _parsed(smiles)
    if molecule is None:
        raise HopfieldError(f"RDKit cannot read the molecule {smiles!r}; leave it out")
    return molecule


def _all_parsed(smiles: Sequence[str]) -> list[Any]:
    if isinstance(smiles, str):
        raise HopfieldError(f"molecules must be a list of SMILES, got one string; use [{smiles!r}]")
    return [parsed(text) for text in smiles]


def _parsed(smiles: Any) -> Any:
    """A molecule of RDKit, or None; without its remarks on every one that it cannot read."""
    try:
        from rdkit.Chem import MolFromSmiles
        from rdkit.rdBase import BlockLogs
    except ImportError as error:
        raise HopfieldError('molecules need RDKit, which is not installed: pip install "hopfield[chem]"') from error
    if not isinstance(smiles, str):
        raise HopfieldError(f"a molecule must be a SMILES string, got {type(smiles).__name__}")
    with BlockLogs():
        return MolFromSmiles(smiles)
