"""Memories over one file: a .npy array, or what `save` wrote."""

import math

import numpy as np
import pytest
import torch

from hopfield import AssociativeMemory
from hopfield.errors import HopfieldError
from hopfield.separation import Sparsemax
from tests.core.catalogue import generator, normal

DTYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64}


def saved(path, dtype=torch.float32, **options):
    g = generator(0)
    patterns = normal(g, 300, 5).to(dtype)
    others = {"values": normal(g, 300, 2).to(dtype), "bias": normal(g, 300).to(dtype)} | options
    memory = AssociativeMemory(patterns, beta=2.0, **others)
    memory.save(path)
    return memory


def same(one, other, query):
    found, wanted = one.retrieve(query, max_steps=20), other.retrieve(query, max_steps=20, tolerance=math.inf)
    for name in ("state", "values", "energy", "error_bound"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.top(3)[0], wanted.top(3)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("left_out", [(), ("values",), ("values", "bias")], ids=str)
def test_what_was_saved_is_opened_without_being_loaded(tmp_path, dtype, left_out):
    memory = saved(tmp_path / "m", dtype, **dict.fromkeys(left_out), separation="sparsemax")
    opened = AssociativeMemory.open(tmp_path / "m")
    assert torch.equal(opened[:], memory.patterns.to(opened.dtype))
    assert (opened.beta, opened.separation) == (2.0, Sparsemax())
    same(opened, memory, normal(generator(1), 6, 5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("indexed", [False, True])
def test_an_array_is_opened(tmp_path, dtype, indexed):
    array = normal(generator(2), 200, 4).numpy().astype(DTYPES[dtype])
    np.save(tmp_path / "m.npy", array)
    opened = AssociativeMemory.open(tmp_path / "m.npy", beta=3.0)
    if indexed:
        opened.build_index(size=16)
    same(opened, AssociativeMemory(torch.from_numpy(array), beta=3.0), normal(generator(3), 6, 4))
    assert repr(opened).startswith(
        f"AssociativeMemory(200 patterns of size 4, beta=3, separation=Softmax(), {dtype} in "
    )


def test_a_file_is_only_read(tmp_path):
    saved(tmp_path / "m", values=None, bias=None)
    opened = AssociativeMemory.open(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    for change in (lambda: opened.add(torch.ones(5)), lambda: opened.remove(0)):
        with pytest.raises(HopfieldError, match="is only read: make a memory that can change"):
            change()
    opened[:].zero_()
    assert (tmp_path / "m").read_bytes() == before
    built = AssociativeMemory.build(tmp_path / "folder", (opened[i : i + 100] for i in range(0, len(opened), 100)))
    assert torch.equal(built[:], opened[:])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"must hold patterns \(N, d\).*shape \(3,\)"),
        (np.zeros((3, 2), np.int64), r"must hold patterns .* it holds int64"),
        (np.zeros((3, 2), order="F"), "column by column"),
        (np.array([[1.0, np.nan]]), r"must be finite.* index 0 is not"),
        (np.array([[0.0, 0.0], [1e200, 0.0]]), "index 1 is not"),
    ],
)
def test_arrays_that_are_no_patterns_are_refused(tmp_path, array, message):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(HopfieldError, match=message):
        AssociativeMemory.open(tmp_path / "m.npy")


@pytest.mark.parametrize("name", ["m.npy", "m"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, name, share):
    np.save(tmp_path / "m.npy", np.ones((100, 3), np.float32))
    saved(tmp_path / "m")
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(HopfieldError, match=r"damaged|truncated|cannot open|must hold"):
        AssociativeMemory.open(tmp_path / name)


def test_a_flipped_bit_in_a_saved_memory_is_found(tmp_path):
    saved(tmp_path / "m")
    data = bytearray((tmp_path / "m").read_bytes())
    data[-100] ^= 1
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(HopfieldError, match="is damaged: its contents do not have the checksum"):
        AssociativeMemory.open(tmp_path / "m")
