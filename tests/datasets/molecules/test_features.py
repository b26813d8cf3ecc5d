import numpy as np
import pytest

from hopfield.datasets import fingerprints
from hopfield.datasets.molecules.features import canonical
from hopfield.errors import HopfieldError

pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')


def test_fingerprints_count_neighbourhoods():
    found = fingerprints(["C", "CC", "CCO", "OCC", "c1ccccc1"], size=512)
    assert found.shape == (5, 512)
    assert found.dtype == np.uint16
    assert (found[2] == found[3]).all()
    assert found[0].sum() == 1
    assert found[4].max() == 6  # six carbons alike
    # two atoms with a neighbourhood of one bond each, and at radius 2 nothing new
    assert fingerprints(["CC"], radius=0)[0].sum() == 2


def test_no_molecules():
    assert fingerprints([], size=64).shape == (0, 64)


def test_what_rdkit_cannot_read():
    assert canonical("C(") is None
    assert canonical("") is None
    assert canonical("OCC") == canonical("CCO") == "CCO"
    with pytest.raises(HopfieldError, match=r"cannot read the molecule 'C\('"):
        fingerprints(["CC", "C("])
