import numpy as np
import pandas as pd
import pytest

from hopfield.datasets import canonical_smiles, descriptors, fingerprints
from hopfield.datasets.molecules import KINDS, descriptor_names, features, parsed
from hopfield.errors import HopfieldError

pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')

ETHANOL, BENZENE, ASPIRIN = "CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O"


def test_fingerprints_count_neighbourhoods():
    found = fingerprints(["C", "CC", ETHANOL, "OCC", BENZENE], size=512)
    assert found.shape == (5, 512)
    assert found.dtype == np.uint16
    assert (found[2] == found[3]).all()
    assert found[0].sum() == 1
    assert found[4].max() == 6  # six carbons alike
    # two atoms with a neighbourhood of one bond each, and at radius 2 nothing new
    assert fingerprints(["CC"], radius=0)[0].sum() == 2


def test_counts_end_at_the_largest_that_they_can_be(monkeypatch):
    monkeypatch.setattr(features, "_LONGEST", 10**6)
    assert fingerprints(["C" * 70_000], size=64).max() == 65_535


def test_pairs_and_torsions_are_counted():
    propanol = "CCCO"
    assert fingerprints([propanol], kind="pairs")[0].sum() == 6  # four atoms
    assert fingerprints([propanol], kind="torsions")[0].sum() == 1
    assert fingerprints([BENZENE], kind="torsions")[0].sum() == 6
    # donors alike: to their function chlorine and bromine are the same
    chlorine, bromine = fingerprints(["CCCl", "CCBr"], kind="functional")
    assert (chlorine == bromine).all()
    chlorine, bromine = fingerprints(["CCCl", "CCBr"])
    assert (chlorine != bromine).any()


def test_descriptors_are_known_properties():
    names = descriptor_names()
    assert len(names) == len(set(names)) == 121
    found = dict(zip(names, descriptors([ETHANOL, ASPIRIN]).T, strict=True))
    np.testing.assert_allclose(found["amw"], [46.07, 180.16], atol=0.01)
    assert found["NumRings"].tolist() == [0, 1]
    assert found["NumHeavyAtoms"].tolist() == [3, 13]
    assert found["NumHBD"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_however_a_molecule_is_written_its_numbers_are_the_same(kind):
    one, other = "OC(=O)c1ccccc1OC(C)=O", ASPIRIN
    assert np.array_equal(*fingerprints([one, other], kind=kind))
    np.testing.assert_allclose(*descriptors([one, other]), rtol=1e-9, atol=1e-9)


def test_no_molecules():
    assert fingerprints([], size=64).shape == (0, 64)
    assert descriptors([]).shape == (0, 121)


def test_copies_have_the_same_canonical_smiles_and_what_cannot_be_read_has_none():
    assert canonical_smiles(["OCC", ETHANOL, "C(", ""]) == [ETHANOL, ETHANOL, None, None]
    assert canonical_smiles([]) == []
    missing = pd.DataFrame({"smiles": ["OCC", None, np.nan]})
    assert canonical_smiles(missing) == canonical_smiles(missing["smiles"]) == [ETHANOL, None, None]


def test_what_rdkit_cannot_read():
    for function in (fingerprints, descriptors):
        with pytest.raises(HopfieldError, match=r"the molecule 'C\(' \(number 1, from 0\): it is no SMILES"):
            function(["CC", "C("])
        with pytest.raises(HopfieldError, match=r"number 0, from 0\), nor 2 others: Explicit valence for atom # 1"):
            function(["CN(C)(C)C", "C(", ""])
        with pytest.raises(HopfieldError, match=r"got one string; use \['CC'\]"):
            function("CC")
        with pytest.raises(HopfieldError, match="must be a SMILES string, got int"):
            function([1])
    assert canonical_smiles(["C(" * 30_000 + "C" + ")" * 30_000]) == [None]
    with pytest.raises(HopfieldError, match="more than 4,000 letters"):
        descriptors(["C" * 5000])
    with pytest.raises(HopfieldError, match=r"'C+\.\.\.' \(number 0"):
        fingerprints(["C" * 1000 + "("])
    with pytest.raises(HopfieldError, match="kind must be one of morgan, functional"):
        fingerprints(["CC"], kind="maccs")
    assert parsed(["CC"])[0].GetNumAtoms() == 2
