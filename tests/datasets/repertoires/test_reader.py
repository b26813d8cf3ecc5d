import re
import sys
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopfield.datasets import load_repertoires, simulate_repertoires
from hopfield.datasets.repertoires import decode
from hopfield.datasets.repertoires import parse as parser
from hopfield.datasets.repertoires.parse import Settings, parse
from hopfield.errors import HopfieldError
from tests.datasets.repertoires.common import assert_same, lines, tables

HEAD = "amino_acid templates"


@pytest.fixture
def plain(tmp_path):
    return tables(
        tmp_path,
        "ID status age|a.tsv ill 30|b well 41|c ill 52",
        a=f"{HEAD}|ACD 3|WY 1",
        b=f"{HEAD}|YYYY 200",
        c=HEAD,
    )


def refused(message, path, **arguments):
    with pytest.raises(HopfieldError, match=message):
        load_repertoires(path, **arguments)


# ------------------------------------------------------------------------------------------------- what is read
def test_plain_tables(plain):
    found = load_repertoires(plain, label="status")
    assert found.names == ("a", "b", "c")
    assert found.classes == ("ill", "well")
    assert found.labels.tolist() == [0, 1, 0]
    assert found.labels.dtype == np.int64
    assert [found.sequences(i) for i in range(3)] == [["ACD", "WY"], ["YYYY"], []]
    assert found.counts.tolist() == [3, 1, 200]
    assert found.bags.instances[:, 0].tolist() == [25, 0, 122]
    assert found.dropped.tolist() == [0, 0, 0]
    assert {name: column.tolist() for name, column in found.metadata.items()} == {"age": [30, 41, 52]}


def test_without_labels(plain):
    found = load_repertoires(str(plain))
    assert found.labels is None
    assert list(found.metadata) == ["status", "age"]


def test_the_positive_class_is_1(plain):
    found = load_repertoires(plain, label="status", positive="ill")
    assert found.classes == ("well", "ill")
    assert found.labels.tolist() == [1, 0, 1]
    found = load_repertoires(plain, label="age", positive="41")
    assert found.classes == ("not 41", "41")
    assert found.labels.tolist() == [0, 1, 0]


def test_every_sequence_counts_once_without_a_column_of_counts(plain):
    assert load_repertoires(plain, count_column=None).counts.tolist() == [1, 1, 1]


def test_the_order_of_columns_does_not_matter(tmp_path):
    path = tables(tmp_path, "x ID|1 a", a="v templates more amino_acid w|foo 7 1.5 ACD TRB|bar 8 NA WY ")
    found = load_repertoires(path)
    assert found.sequences(0) == ["ACD", "WY"]
    assert found.counts.tolist() == [7, 8]


@pytest.mark.parametrize(
    "text",
    [
        b"amino_acid\ttemplates\r\nACD\t3\r\nWY\t1\r\n",
        b"amino_acid\ttemplates\nACD\t3\nWY\t1",
        b"\xef\xbb\xbfamino_acid\ttemplates\n\nACD\t3\n\r\nWY\t1\n\n",
        b'"amino_acid"\t"templates"\n"ACD"\t"3"\n"WY"\t"1"\n',
        b"amino_acid\ttemplates\nacd\t3.0\nwY\t01\n",
        b"templates\tamino_acid\r\n3\tACD\r\n1\tWY\r\n",
        b"amino_acid\ttemplates\tlast\nACD\t3\nWY\t1\t\n",
    ],
    ids=["CRLF", "no last newline", "BOM and blank lines", "quotes", "lower case", "swapped", "ragged"],
)
def test_ways_to_write_the_same(plain, text):
    expected = load_repertoires(plain)
    (plain.parent / "repertoires" / "a.tsv").write_bytes(text)
    assert_same(load_repertoires(plain), expected)


def test_tables_with_commas_in_a_folder_of_their_own(plain, tmp_path):
    expected = load_repertoires(plain)
    folder = tmp_path / "csv"
    folder.mkdir()
    for name in "abc":
        text = (plain.parent / "repertoires" / f"{name}.tsv").read_text().replace("\t", ",")
        (folder / f"{name}.csv").write_text(text)
    (tmp_path / "all.csv").write_text('ID,status,age\na,ill,"30"\nb.csv,well,41\nc,ill,52\n')
    assert_same(load_repertoires(tmp_path / "all.csv", folder), expected)


def test_ids_may_name_folders(plain):
    expected = load_repertoires(plain)
    (plain.parent / "repertoires" / "more").mkdir()
    (plain.parent / "repertoires" / "b.tsv").rename(plain.parent / "repertoires" / "more" / "b.tsv")
    plain.write_text(plain.read_text().replace("b\t", "more/b\t"))
    found = load_repertoires(plain)
    assert found.names == ("a", "more/b", "c")
    assert found.counts.equal(expected.counts)
    assert_same(load_repertoires(found.write(plain.parent / "again")), found)


def test_tables_beside_the_metadata(plain, tmp_path):
    expected = load_repertoires(plain)
    for file in (tmp_path / "repertoires").iterdir():
        file.rename(tmp_path / file.name)
    (tmp_path / "repertoires").rmdir()
    assert_same(load_repertoires(plain), expected)


def test_sequences_with_other_letters_are_dropped_and_counted(tmp_path):
    path = tables(tmp_path, "ID|a|b", a=f"{HEAD}|AC*D 1|AC 5|_ none|XA 1| 2|ACDé 9|DD 2", b=f"{HEAD}|ABC 1")
    found = load_repertoires(path)
    assert found.sequences(0) == ["AC", "DD"]
    assert found.counts.tolist() == [5, 2]
    assert found.dropped.tolist() == [5, 1]
    assert found.bags.sizes.tolist() == [2, 0]


def test_columns_of_metadata_have_types(tmp_path):
    path = tables(tmp_path, "ID i f s n|a 1 0.5 007 NA|b -2 NA 8 nan", a=HEAD, b=HEAD)
    kinds = {name: column.dtype.kind for name, column in load_repertoires(path).metadata.items()}
    assert kinds == {"i": "i", "f": "f", "s": "U", "n": "U"}  # "007" is a name


@given(st.integers(0, 2**32 - 1))
def test_borders_of_blocks_do_not_matter(tmp_path_factory, seed):
    generator = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("blocks") / "a.tsv"
    pieces = ["", "ACD", "WWWWWWWWWWWWWW", "A*", "y", "\r", '"AC"']
    chosen = generator.choice(pieces, generator.integers(0, 30))
    times = generator.integers(1, 10**6, len(chosen))
    text = "".join(f"{piece}\tx\t{count}\n" for piece, count in zip(chosen, times, strict=True))
    path.write_text("amino_acid\tother\ttemplates\n" + text, newline="")
    settings = Settings("amino_acid", "templates", "drop")
    expected = parse(path, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser, "BLOCK", int(generator.integers(1, 40)))
        found = parse(path, settings)
    kept = [(piece.strip('"').upper(), n) for piece, n in zip(chosen, times, strict=True) if piece.strip('"').isalpha()]
    assert list(zip(decode(found.rows[:, 1:]), found.counts, strict=True)) == kept
    assert np.array_equal(found.rows, expected.rows)
    assert np.array_equal(found.counts, expected.counts)
    assert found.dropped == expected.dropped == sum(piece in {"", "A*", "\r"} for piece in chosen)


def test_lines_are_numbered_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(parser, "BLOCK", 9)
    path = tables(tmp_path, "ID|a", a=f"{HEAD}|ACD 1||WWWWWW 1|ACX 2")
    refused("line 5: expected letters", path, unknown="error")


def test_the_example_of_deeprc(shared, tmp_path):
    with tarfile.open(shared / "data" / "repertoire" / "deeprc_example_dataset.tar.xz") as archive:
        # Python 3.11.4 and later know the filter, and some of them ask for it
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    path = tmp_path / "example_dataset" / "metadata.tsv"
    found = load_repertoires(path, label="binary_target_1", positive="+", unknown="error")
    assert len(found) == 100
    assert found.bags.total == 2806
    assert found.classes == ("-", "+")
    assert np.bincount(found.labels).tolist() == [42, 58]
    assert (int(found.counts.min()), int(found.counts.max())) == (1, 9)
    assert (int(found.bags.sizes.min()), int(found.bags.sizes.max())) == (10, 49)
    for i in (0, 57):
        text = (path.parent / "repertoires" / f"{found.names[i]}.tsv").read_text().splitlines()[1:]
        assert found.sequences(i) == [line.split("\t")[0] for line in text]
        counts = found.bags.with_instances(found.counts)[i]
        assert counts.tolist() == [int(line.split("\t")[1]) for line in text]
    assert found.metadata["regression_target_1"].dtype == np.float64
    assert_same(load_repertoires(path, label="binary_target_1", positive="+", cache=tmp_path / "cache"), found)
    assert len(load_repertoires(path, label="multiclass_target_2").classes) == 5


def test_progress_and_jobs(plain):
    pytest.importorskip("joblib")
    expected = load_repertoires(plain)
    seen = []
    assert_same(load_repertoires(plain, jobs=2, progress=lambda *what: seen.append(what)), expected)
    assert seen == [(what, i, 3) for what in ("parse", "join") for i in (1, 2, 3)]


def test_errors_come_through_jobs(plain):
    pytest.importorskip("joblib")
    (plain.parent / "repertoires" / "b.tsv").write_bytes(lines(f"{HEAD}|ACD x"))
    refused("b.tsv, line 2: expected a count", plain, jobs=2)


def test_jobs_without_joblib(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    refused("need joblib", plain, jobs=2)


# ---------------------------------------------------------------------------------------------- what is refused
def test_arguments_out_of_range(plain):
    refused('unknown must be "drop" or "error"', plain, unknown="keep")
    refused("jobs must be", plain, jobs=0)
    refused("positive='ill' needs a column of labels", plain, positive="ill")
    refused("positive must be one of the labels ill, well, got 'sick'", plain, label="status", positive="sick")


def test_columns_that_are_not_there(plain):
    listed = re.escape("its columns are ['ID', 'status', 'age']")
    refused(f"no column 'sex' for the labels; {listed}", plain, label="sex")
    refused(f"no column 'name' for the IDs of repertoires; {listed}", plain, id_column="name")
    listed = re.escape("its columns are ['amino_acid', 'templates']")
    refused(f"a.tsv must have the column 'cdr3', which is not there; {listed}", plain, sequence_column="cdr3")
    refused(f"the column 'n', which is not there; {listed}; count_column=None", plain, count_column="n")


def test_files_that_are_not_there(plain):
    refused("cannot read the table", plain.with_name("other.tsv"))
    (plain.parent / "repertoires" / "b.tsv").unlink()
    refused("must hold a file for each of 3 IDs .* has none for b;", plain)
    refused("has none for a.tsv, b, c;", plain, repertoires=plain.parent / "nowhere")


def test_an_empty_file_has_no_columns(plain):
    (plain.parent / "repertoires" / "b.tsv").write_bytes(b"")
    refused("b.tsv must have the column 'amino_acid', which is not there", plain)


@pytest.mark.parametrize("count", ["0", "-1", "x", "", "1.5", "1e3", "3000000000", "99999999999999999999", " 1", ".0"])
def test_counts_that_are_no_positive_integers(tmp_path, count):
    path = tables(tmp_path, "ID|a", a=f"{HEAD}|AC 2147483647|".encode().replace(b" ", b"\t").replace(b"|", b"\n"))
    assert load_repertoires(path).counts.tolist() == [2147483647]
    with (tmp_path / "repertoires" / "a.tsv").open("a") as file:
        file.write(f"CC\t{count}\n")
    refused(f"a.tsv, line 3: expected a count, .* got '{re.escape(count)}'", path)


def test_other_letters_where_they_are_errors(tmp_path):
    path = tables(tmp_path, "ID|a", a=f"{HEAD}|AC 1|AX 1")
    refused(r"a.tsv, line 3: expected letters of .*, got 'X' in 'AX'", path, unknown="error")
    path = tables(tmp_path, "ID|a", a=f"{HEAD}|AC 1| 1")
    refused("a.tsv, line 3: the sequence is empty", path, unknown="error")


def test_lines_with_another_number_of_columns(tmp_path):
    path = tables(tmp_path, "ID|a", a=f"{HEAD}|AC 1|AC")
    refused("a.tsv, line 3: expected 2 columns as in the first line, got 1", path)
    path = tables(tmp_path, "ID|a", a=f"{HEAD}|AC 1 1")
    refused("a.tsv, line 2: expected 2 columns as in the first line, got 3", path)


def test_sequences_too_long_to_be_one(tmp_path):
    refused("line 2: a sequence has 1001 letters", tables(tmp_path, "ID|a", a=f"{HEAD}|{'A' * 1001} 1"))


def test_a_column_twice(tmp_path):
    refused("'templates', which is there more than once", tables(tmp_path, "ID|a", a=f"{HEAD} templates|A 1 1"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("ID status|a ill|b |c NA", r"no label in the column 'status' for b \(row 2\), c \(row 3\)"),
        ("ID status|a ill|b ill|a.tsv ill", "IDs must differ, got a more than once"),
        ("ID status|a ill| ill", "1 rows have no ID in the column 'ID'"),
        ("ID status status|a ill well", r"\['status'\] more than once"),
        ("ID status|a", "line 2: expected 2 columns as in the first line, got 1"),
        ("ID status", "must have a line of column names and a line for each repertoire"),
    ],
)
def test_metadata_that_is_not_right(tmp_path, metadata, message):
    refused(message, tables(tmp_path, metadata, a=HEAD, b=HEAD, c=HEAD), label="status")


@given(st.integers(0, 2**32 - 1))
def test_simulated_repertoires_are_written_and_read(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("written")
    before = simulate_repertoires(4, (1, 30), seed=seed)
    after = load_repertoires(before.write(folder), label="label", cache=folder / "cache")
    assert after.names == before.names
    assert [after.sequences(i) for i in range(4)] == [before.sequences(i) for i in range(4)]
    assert after.counts.equal(before.counts)
    assert [after.classes[i] for i in after.labels] == [before.classes[i] for i in before.labels]


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(HopfieldError, match=r"is a folder; give the table of repertoires, .*metadata\.tsv"):
        load_repertoires(tmp_path)
