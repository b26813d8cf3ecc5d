"""Molecules as numbers, by RDKit: counts of substructures and descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hopfield.errors import HopfieldError

#: What is counted, by name: circular neighbourhoods of atoms (Morgan), the same with atoms told apart by what they do
#: in a binding site, pairs of atoms with the distance between them, and paths of four atoms.
KINDS = ("morgan", "functional", "pairs", "torsions")
# letters of a SMILES beyond which it is not read: RDKit's time grows with the third power, and it may crash
_LONGEST = 4000


def column(given: Any) -> list[Any]:
    """The entries of a column (n,) or (n, 1): a list, an array, a data frame of one column.

    Raises:
        HopfieldError: what is no such column.
    """
    wanted = "molecules must be SMILES strings, (n,) or (n, 1)"
    if isinstance(given, str):
        raise HopfieldError(f"{wanted}; got one string: use [{_short(given)}]")
    array = np.asarray(given, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise HopfieldError(f"{wanted}; got shape {array.shape}, take the column of SMILES alone")
    return list(array)


def canonical_smiles(smiles: Any) -> list[str | None]:
    """The canonical SMILES of molecules: the same for the same molecule, however it was written.

    None for what RDKit cannot read, for what has no atoms or more than 4,000 letters, and for missing entries: so they
    can be left out, and copies found.

    Args:
        smiles: the molecules, a column (n,) or (n, 1).

    Raises:
        HopfieldError: what is no column, RDKit not installed.
    """
    molecules = [_parsed(text if isinstance(text, str) else "") for text in column(smiles)]
    from rdkit.Chem import MolToSmiles

    return [MolToSmiles(one) if one is not None and one.GetNumAtoms() else None for one in molecules]


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
    molecules = parsed(smiles)
    from rdkit.Chem import rdFingerprintGenerator as Generators

    if kind in {"morgan", "functional"}:
        atoms = Generators.GetMorganFeatureAtomInvGen() if kind == "functional" else None
        generator = Generators.GetMorganGenerator(radius=radius, fpSize=size, atomInvariantsGenerator=atoms)
    elif kind == "pairs":
        generator = Generators.GetAtomPairGenerator(fpSize=size)
    else:
        generator = Generators.GetTopologicalTorsionGenerator(fpSize=size)
    counts = (generator.GetCountFingerprintAsNumPy(molecule) for molecule in molecules)
    rows = [row.clip(max=np.iinfo(np.uint16).max).astype(np.uint16) for row in counts]
    return np.array(rows, np.uint16).reshape(len(rows), size)


def descriptors(smiles: Sequence[str]) -> np.ndarray:
    """Numbers that describe a molecule as a whole, float64 (n, 121); their names: `descriptor_names`.

    Weight, rings, bonds that turn, donors and acceptors, polar surface, estimated solubility in fat and other simple
    properties; the surface of atoms by their charge, refractivity and share in solubility; and 42 counts of atoms,
    bonds, polarity and topology (MQN). Those of RDKit that take a millisecond or less.

    Raises:
        HopfieldError: a molecule that RDKit cannot read, RDKit not installed.
    """
    molecules = parsed(smiles)
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


def parsed(smiles: Sequence[str]) -> list[Any]:
    """Molecules of RDKit, each with atoms.

    Raises:
        HopfieldError: some that RDKit cannot read; which, how many, and why the first.
    """
    if isinstance(smiles, str):
        raise HopfieldError(f"molecules must be a list of SMILES, got one string; use [{_short(smiles)}]")
    molecules = [_parsed(text) for text in smiles]
    wrong = [i for i, molecule in enumerate(molecules) if molecule is None or not molecule.GetNumAtoms()]
    if wrong:
        first, rest = wrong[0], len(wrong) - 1
        also = f", nor {rest} other{'s' * (rest > 1)}" if rest else ""
        raise HopfieldError(
            f"RDKit cannot read the molecule {_short(smiles[first])} (number {first}, from 0){also}: "
            f"{_reason(smiles[first])}; hopfield.datasets.canonical_smiles gives None for such molecules"
        )
    return molecules


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _reason(smiles: str) -> str:
    """Why RDKit cannot read a molecule."""
    if not smiles.strip():
        return "it is empty"
    if len(smiles) > _LONGEST:
        return f"it has more than {_LONGEST:,} letters"
    from rdkit.Chem import DetectChemistryProblems, MolFromSmiles
    from rdkit.rdBase import BlockLogs

    with BlockLogs():
        raw = MolFromSmiles(smiles, sanitize=False)
        problems = [] if raw is None else DetectChemistryProblems(raw)
    return problems[0].Message() if problems else "it is no SMILES"


def _parsed(smiles: Any) -> Any:
    """A molecule of RDKit, or None; without its remarks on every one that it cannot read."""
    try:
        from rdkit.Chem import MolFromSmiles
        from rdkit.rdBase import BlockLogs
    except ImportError as error:
        raise HopfieldError('molecules need RDKit, which is not installed: pip install "hopfield[chem]"') from error
    if not isinstance(smiles, str):
        hint = "; use rdkit.Chem.MolToSmiles" if hasattr(smiles, "GetNumAtoms") else ""
        raise HopfieldError(f"a molecule must be a SMILES string, got {type(smiles).__name__}{hint}")
    if len(smiles) > _LONGEST:
        return None
    with BlockLogs():
        return MolFromSmiles(smiles)
