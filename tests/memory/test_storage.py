"""Memories as files: what goes in comes out, damage is refused, a failure changes nothing."""

import json
import os
import stat
from dataclasses import dataclass

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from hopfield import AssociativeMemory, files
from hopfield.errors import HopfieldError
from hopfield.memory import storage
from hopfield.separation import Entmax, Softmax
from tests.core.catalogue import SEPARATIONS, Sharper, examples, generator, integer, normal


def example(seed=0, dtype=torch.float32, **options):
    g = generator(seed)
    parts = {"values": normal(g, 5, 2).to(dtype), "bias": normal(g, 5).to(dtype), "beta": 0.1 + 1 / 3} | options
    return AssociativeMemory(normal(g, 5, 3).to(dtype), **parts)


def same(one, other):
    assert (one.beta, one.separation) == (other.beta, other.separation)
    for name in ("patterns", "values", "bias"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert torch.equal(left, right)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# ----------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("separation", SEPARATIONS[:-1], ids=repr)
def test_every_separation_function_comes_back(tmp_path, separation):
    memory = example(separation=separation)
    memory.save(tmp_path / "memory")
    same(AssociativeMemory.load(tmp_path / "memory"), memory)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_every_part_comes_back(tmp_path, dtype, values, bias):
    left_out = {name: None for name, kept in (("values", values), ("bias", bias)) if not kept}
    memory = example(dtype=dtype, **left_out)
    memory.save(tmp_path / "memory")
    same(AssociativeMemory.load(tmp_path / "memory"), memory)
    assert names(tmp_path) == ["memory"]


@examples(20)
def test_every_beta_comes_back(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("beta") / "memory"
    beta = float(torch.exp(20 * normal(generator(seed))).clamp(1e-20, 1e20))
    example(beta=beta).save(path)
    assert AssociativeMemory.load(path).beta == beta


def test_unusual_memories_come_back(tmp_path):
    path = tmp_path / "memory"
    empty = AssociativeMemory(torch.zeros(0, 3), values=torch.zeros(0, 2))
    shared = torch.arange(12.0).reshape(4, 3)
    for memory in (
        empty,
        AssociativeMemory(shared, values=shared, bias=shared[:, 0]),
        AssociativeMemory(shared.mT, values=shared[:3, ::2]),
        AssociativeMemory(shared.clone().requires_grad_()),
        AssociativeMemory(shared[0].expand(4, 3), bias=shared[0, :1].expand(4)),
        AssociativeMemory(torch.tensor([[1e18, -1e-45, -0.0]])),
    ):
        memory.save(path)
        same(AssociativeMemory.load(path), memory)
    AssociativeMemory(shared, beta=torch.tensor(2.5)).save(path)
    assert AssociativeMemory.load(path).beta == 2.5


def test_text_paths_and_older_files(tmp_path):
    path = tmp_path / "memory.safetensors"
    example(1).save(str(path))
    example(2).save(str(path))
    same(AssociativeMemory.load(str(path)), example(2))
    assert names(tmp_path) == ["memory.safetensors"]


def test_files_are_as_open_to_others_as_any(tmp_path):
    example().save(tmp_path / "memory")
    (tmp_path / "other").touch()
    assert stat.S_IMODE((tmp_path / "memory").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_the_file_is_plain_safetensors(tmp_path):
    example(separation=Entmax(1.3)).save(tmp_path / "memory")
    with safe_open(tmp_path / "memory", framework="pt") as file:
        assert sorted(file.keys()) == ["bias", "patterns", "values"]
        metadata = file.metadata()
    assert metadata["format"] == "hopfield.AssociativeMemory"
    assert metadata["version"] == "1"
    assert json.loads(metadata["beta"]) == 0.1 + 1 / 3
    assert len(metadata["sha256"]) == 64
    assert json.loads(metadata["separation"]) == {"name": "Entmax", "parameters": {"alpha": 1.3}}


# --------------------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "memory"
    example().save(path)
    return path


def test_a_missing_file(tmp_path):
    for missing in (tmp_path / "nothing", tmp_path, tmp_path / "no" / "folder"):
        with pytest.raises(HopfieldError, match=f"no memory file at {missing}"):
            AssociativeMemory.load(missing)


@examples(20)
def test_a_truncated_file(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("cut") / "memory"
    example().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: integer(generator(seed), 0, len(content) - 1)])
    with pytest.raises(HopfieldError, match=r"memory is damaged, truncated or no safetensors file: \w+"):
        AssociativeMemory.load(path)


def test_a_file_with_something_behind_it(path):
    path.write_bytes(path.read_bytes() + b"\0" * 8)
    with pytest.raises(HopfieldError, match="is damaged, truncated or no safetensors file"):
        AssociativeMemory.load(path)


def test_a_flipped_length(path):
    content = bytearray(path.read_bytes())
    for byte in range(8):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[byte] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(HopfieldError, match="is damaged, truncated or no safetensors file"):
                AssociativeMemory.load(path)


def flip(content, byte):
    flipped = bytearray(content)
    flipped[byte] ^= 1 << (byte % 7)
    return bytes(flipped)


def test_a_flipped_header_is_refused_or_read_as_a_memory(path):
    """The description of the memory is not under the checksum: a flip in it may make another valid file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    refused = 0
    for byte in range(8, 8 + length):
        path.write_bytes(flip(content, byte))
        try:
            memory = AssociativeMemory.load(path)
        except HopfieldError:
            refused += 1
        else:
            for name in ("patterns", "values", "bias"):
                assert torch.equal(getattr(memory, name), getattr(example(), name))
    assert refused > 0.9 * length


def test_flipped_contents_are_refused(path):
    content = path.read_bytes()
    for byte in range(8 + int.from_bytes(content[:8], "little"), len(content)):
        path.write_bytes(flip(content, byte))
        with pytest.raises(HopfieldError, match="is damaged: its contents do not have the checksum they were written"):
            AssociativeMemory.load(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not at all", b'{"patterns": [[1.0]]}', b"\x80\x04\x95" * 50])
def test_no_safetensors_file(path, content):
    path.write_bytes(content)
    with pytest.raises(HopfieldError, match=f"{path} is damaged, truncated or no safetensors file"):
        AssociativeMemory.load(path)


GOOD = {
    "format": storage.MEMORY.format,
    "version": "1",
    "beta": "1.0",
    "separation": '{"name": "Softmax", "parameters": {}}',
}
FOREIGN = "is a safetensors file but not a memory written by AssociativeMemory.save"
UNREADABLE = "is damaged: its description of the memory cannot be read"


X = torch.zeros(2, 3)


def described(**changes):
    return {key: value for key, value in (GOOD | changes).items() if value is not None}


def write(path, tensors, metadata):
    """A file whose checksum is right, whatever else is wrong."""
    if metadata is not None and "sha256" not in metadata:
        metadata = metadata | {"sha256": files.digest(tensors, metadata)}
    safetensors.torch.save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (None, FOREIGN),
        (described(format=None), FOREIGN),
        (described(format="pt"), FOREIGN),
        (described(version="2"), "has format version 2, this release reads up to 1; update hopfield to read it"),
        (described(version="17"), "has format version 17, this release reads up to 1"),
        (described(version="one"), "is damaged: it states no format version"),
        (described(version=""), "is damaged: it states no format version"),
        (described(version=None), "is damaged: it states no format version"),
        (described(version="1" * 5000), UNREADABLE),
        (described(sha256="0" * 64), "its contents do not have the checksum they were written with"),
        (described(beta=None), UNREADABLE),
        (described(beta="1" + "0" * 400), "beta must be a finite number above 0 .* got 1000"),
        (described(beta="[" * 100_000), UNREADABLE),
        (described(beta="one"), UNREADABLE),
        (described(beta="NaN"), "beta must be a finite number above 0 .* got nan"),
        (described(beta="null"), "beta must be a finite number above 0 .* got None"),
        (described(beta="-1.0"), "beta must be a finite number above 0 .* got -1.0"),
        (described(separation=None), UNREADABLE),
        (described(separation="{}"), UNREADABLE),
        (described(separation="[1]"), UNREADABLE),
        (described(separation='{"name": "Sofmax", "parameters": {}}'), UNREADABLE),
        (described(separation='{"name": "Softmax", "parameters": 1}'), UNREADABLE),
        (described(separation='{"name": "TopK", "parameters": {"n": 3}}'), UNREADABLE),
        (described(separation='{"name": "Entmax", "parameters": {"alpha": 0.5}}'), "Entmax: alpha must be .* got 0.5"),
    ],
)
def test_foreign_later_and_wrongly_described_files(tmp_path, metadata, text):
    path = tmp_path / "memory"
    write(path, {"patterns": X}, metadata)
    with pytest.raises(HopfieldError, match=text):
        AssociativeMemory.load(path)


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"values": X}, UNREADABLE),
        ({"patterns": X, "walues": X.clone()}, "is damaged: a memory has no walues"),
        ({"patterns": X[0]}, r"patterns must be of shape \(N, size\), .* got \(3,\)"),
        ({"patterns": X.long()}, "patterns must be of a floating-point dtype, got torch.int64"),
        ({"patterns": X * torch.nan}, "patterns must be finite; 2 of 2 rows"),
        ({"patterns": X, "values": torch.zeros(3, 3)}, r"values must be of shape \(2, size\)"),
        ({"patterns": X, "bias": torch.zeros(3)}, r"bias must be a tensor of shape \(2,\)"),
    ],
)
def test_wrong_contents(tmp_path, tensors, text):
    path = tmp_path / "memory"
    write(path, tensors, GOOD)
    with pytest.raises(HopfieldError, match=text):
        AssociativeMemory.load(path)


def test_what_the_other_cases_vary_is_a_good_file(tmp_path):
    write(tmp_path / "memory", {"patterns": torch.ones(2, 3)}, GOOD)
    same(AssociativeMemory.load(tmp_path / "memory"), AssociativeMemory(torch.ones(2, 3)))


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("error", [OSError("no space left on device"), SafetensorError("no space left on device")])
def test_a_failure_half_way_leaves_the_old_file(path, monkeypatch, error):
    before = path.read_bytes()

    def fail(tensors, target, metadata):
        target.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(files, "save_file", fail)
    with pytest.raises(HopfieldError, match=f"cannot write the memory to {path}: no space left on device"):
        example(1).save(path)
    assert path.read_bytes() == before
    assert names(path.parent) == ["memory"]
    with pytest.raises(HopfieldError, match="cannot write the memory"):
        example(1).save(path.parent / "new")
    assert names(path.parent) == ["memory"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failure_at_the_end_leaves_the_old_file(path, monkeypatch, call):
    before = path.read_bytes()

    def fail(*args):
        raise OSError("the disk is gone")

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (type(path), "replace")), fail)
    with pytest.raises(HopfieldError, match=r"cannot write the memory to .*: the disk is gone"):
        example(1).save(path)
    assert path.read_bytes() == before
    assert names(path.parent) == ["memory"]


def test_an_interruption_leaves_no_rubbish(path, monkeypatch):
    before = path.read_bytes()

    def interrupt(tensors, target, metadata):
        target.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        example(1).save(path)
    assert path.read_bytes() == before
    assert names(path.parent) == ["memory"]


def test_places_that_cannot_be_written(path):
    for target in (path.parent / "no" / "folder" / "memory", path / "below a file", path.parent / ("n" * 300)):
        with pytest.raises(HopfieldError, match="cannot write the memory to "):
            example().save(target)
    (path.parent / "folder").mkdir()
    with pytest.raises(HopfieldError, match="cannot write the memory to "):
        example().save(path.parent / "folder")
    assert names(path.parent) == ["folder", "memory"]


@dataclass(frozen=True)
class Mild(Softmax):
    """A user's own, by inheritance."""


@pytest.mark.parametrize("separation", [Sharper(), Mild()], ids=repr)
def test_separation_functions_of_users_cannot_be_written(path, separation):
    before = path.read_bytes()
    kind = type(separation).__name__
    with pytest.raises(HopfieldError, match=f"with the separation function {kind}: only those of hopfield.separation"):
        example(separation=separation).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", range(0, 80, 7))
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_the_patterns_is_noticed(tmp_path, place, bit):
    path = tmp_path / "memory.safetensors"
    AssociativeMemory(torch.arange(20.0).reshape(4, 5)).save(path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) - 1 - place] ^= 1 << bit  # the 80 bytes of the patterns come last
    path.write_bytes(raw)
    with pytest.raises(HopfieldError, match="do not have the checksum they were written with"):
        AssociativeMemory.load(path)
