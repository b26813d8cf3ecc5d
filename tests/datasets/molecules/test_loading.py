import numpy as np
import pytest

from hopfield.datasets import load_molecules
from hopfield.errors import HopfieldError

pytest.importorskip("rdkit", reason='needs RDKit: pip install "hopfield[chem]"')

BBBP = """num,name,p_np,smiles
1,ethanol,1,CCO
2,the same,1,OCC
3,no molecule,1,C(
4,benzene,0,c1ccccc1
5,benzene again,1,C1=CC=CC=C1
6,water,0,O
7,nothing,1,
"""
SIDER = """smiles,Eye disorders,Ear disorders
CCO,1,
OCC,0,1
CCC,,
O,0,0
"""


def write(tmp_path, name, text):
    (tmp_path / "molecules").mkdir(exist_ok=True)
    (tmp_path / "molecules" / name).write_text(text.replace("\n", "\r\n"))


def test_molecules_once_without_what_is_unreadable_or_contradicts_itself(tmp_path):
    write(tmp_path, "BBBP.csv", BBBP)
    data = load_molecules("bbbp", data_dir=tmp_path)
    assert data.smiles == ("CCO", "O")
    np.testing.assert_array_equal(data.labels, [[1], [0]])
    assert (data.unreadable, data.repeated, data.contradictions, data.tasks) == ((2, 6), 2, 1, ("p_np",))
    assert repr(data) == (
        "MoleculeDataset(bbbp: 2 molecules, 1 positive, 1 task; left out: 2 unreadable, 2 repeated, "
        "1 contradicting labels)"
    )
    assert "Martins" in data.source


def test_names_in_capitals_and_a_mark_of_byte_order_are_taken(tmp_path):
    (tmp_path / "molecules").mkdir()
    (tmp_path / "molecules" / "BBBP.csv").write_text("\ufeffsmiles,p_np\nCCO,1\n")
    assert load_molecules("BBBP", data_dir=tmp_path).smiles == ("CCO",)


def test_several_tasks_some_labels_unknown(tmp_path):
    write(tmp_path, "sider.csv", SIDER)
    data = load_molecules("sider", data_dir=tmp_path)
    assert data.smiles == ("CCO", "O")  # of propane nothing is known
    np.testing.assert_array_equal(data.labels, [[np.nan, 1], [0, 0]])
    assert data.tasks == ("Eye disorders", "Ear disorders")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            BBBP.replace("p_np", "target"),
            "must have a column smiles and the columns p_np, each once; it has num, name, t",
        ),
        (BBBP.replace("smiles", "structure"), "must have a column smiles"),
        (BBBP.replace("ethanol,1", "ethanol,2"), "row 0 of .* has '2'"),
        (BBBP.replace("ethanol,1", "ethanol,yes"), "row 0 of .* has 'yes'"),
        (BBBP + "8,cut", "row 7 of .* is cut off"),
        (BBBP + "8,cut,1", "row 7 of .* is cut off"),
        (BBBP + "8,long,1,C,C", "row 7 of .* is cut off or too long"),
        (BBBP.replace("name", "p_np"), "each once"),
        ("", "it has none"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, text, message):
    write(tmp_path, "BBBP.csv", text)
    with pytest.raises(HopfieldError, match=message):
        load_molecules("bbbp", data_dir=tmp_path)


def test_unknown_names_and_missing_files(tmp_path):
    with pytest.raises(HopfieldError, match="no set of molecules 'tox21'; choose one of bace, bbbp, sider, hiv"):
        load_molecules("tox21")
    with pytest.raises(HopfieldError, match=r"no molecules/HIV\.csv .*get HIV\.csv from https"):
        load_molecules("hiv", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "molecules", "unreadable", "tasks"), [("bace", 1513, 0, 1), ("bbbp", 1965, 11, 1), ("sider", 1427, 0, 27)]
)
def test_the_known_files(shared, name, molecules, unreadable, tasks):
    if not (shared / "data" / "molecules").is_dir():
        pytest.skip(f"no data sets in {shared}; set HOPFIELD_SHARED to the folder that holds data/molecules")
    data = load_molecules(name, data_dir=shared / "data")
    assert (len(data.smiles), len(data.unreadable), len(data.tasks)) == (molecules, unreadable, tasks)
    assert data.labels.shape == (molecules, tasks)
