"""Files of memories: what was saved comes back, and what is wrong is refused with the old file intact."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from hopfield import AssociativeMemory, HopfieldError
from hopfield.memory import storage
from hopfield.separation import Entmax, Normmax, Separation, Softmax, Softmax1, Sparsemax, TopK

SEPARATIONS = [Softmax(), Softmax1(), Sparsemax(), Entmax(), Entmax(1.3), Normmax(4.0), TopK(3)]


def memory_of(seed: int = 0, **settings) -> AssociativeMemory:
    generator = torch.Generator().manual_seed(seed)
    return AssociativeMemory(torch.randn(7, 5, generator=generator), **settings)


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize("separation", SEPARATIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("full", [False, True])
def test_round_trip(tmp_path, separation, dtype, full):
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(7, 5, generator=generator).to(dtype)
    values = torch.randn(7, 2, generator=generator).to(dtype) if full else None
    bias = torch.randn(7, generator=generator) if full else None
    memory = AssociativeMemory(patterns, values=values, bias=bias, beta=0.1 + 0.2, separation=separation)
    memory.save(tmp_path / "memory.safetensors")
    back = AssociativeMemory.load(tmp_path / "memory.safetensors")
    assert same(back.patterns, memory.patterns)
    assert same(back.values, memory.values)
    assert same(back.bias, memory.bias)
    assert back.beta == memory.beta
    assert back.separation == separation


def test_an_empty_memory_and_a_view_can_be_saved(tmp_path):
    for patterns in (torch.zeros(0, 5), torch.randn(5, 14)[:, ::2].T, torch.randn(5).expand(3, 5)):
        AssociativeMemory(patterns).save(tmp_path / "memory.safetensors")
        assert same(AssociativeMemory.load(tmp_path / "memory.safetensors").patterns, patterns.contiguous())


def test_saving_replaces_the_old_file(tmp_path):
    memory_of(0).save(tmp_path / "memory.safetensors")
    memory_of(1).save(tmp_path / "memory.safetensors")
    assert same(AssociativeMemory.load(tmp_path / "memory.safetensors").patterns, memory_of(1).patterns)
    assert [path.name for path in tmp_path.iterdir()] == ["memory.safetensors"]


@pytest.mark.parametrize("interruption", [OSError("disk full"), KeyboardInterrupt()], ids=str)
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch, interruption):
    path = tmp_path / "memory.safetensors"
    memory_of(0).save(path)
    before = path.read_bytes()

    def fail(tensors, filename, metadata):
        filename.write_bytes(b"half of it")
        raise interruption

    monkeypatch.setattr(storage, "save_file", fail)
    expected = HopfieldError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="cannot write the memory to .*disk full" if expected is HopfieldError else None):
        memory_of(1).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(HopfieldError, match="cannot write the memory to"):
        memory_of().save(tmp_path / "nowhere" / "memory.safetensors")


def test_a_separation_of_ones_own_cannot_be_saved(tmp_path):
    class Own(Separation):
        def weights(self, scores):
            return torch.softmax(scores, -1)

        def potential(self, scores):
            return torch.logsumexp(scores, -1)

    with pytest.raises(HopfieldError, match="separation function Own"):
        memory_of(separation=Own()).save(tmp_path / "memory.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(HopfieldError, match="no memory file at"):
        AssociativeMemory.load(tmp_path / "memory.safetensors")


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "memory.safetensors"
    memory_of().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(HopfieldError, match="damaged, truncated or no safetensors file"):
        AssociativeMemory.load(path)


def rewrite(path, **changes) -> None:
    """Save a memory, then change its description."""
    memory_of().save(path)
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **changes}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    save_file(tensors, path, metadata={key: value for key, value in metadata.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": "something else"}, "not a memory written by AssociativeMemory.save"),
        ({"version": "2"}, "format version 2, this release reads up to 1; update hopfield"),
        ({"version": "new"}, "states no format version"),
        ({"beta": None}, "description of the memory cannot be read"),
        ({"beta": "1.0 or so"}, "description of the memory cannot be read"),
        ({"beta": "-1.0"}, "beta must be"),
        ({"separation": json.dumps({"name": "Softmin", "parameters": {}})}, "description of the memory cannot be read"),
        ({"separation": json.dumps({"name": "TopK", "parameters": {"n": 3}})}, "description of the memory"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path, changes, text):
    path = tmp_path / "memory.safetensors"
    rewrite(path, **changes)
    with pytest.raises(HopfieldError, match=text):
        AssociativeMemory.load(path)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "memory.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(HopfieldError, match="not a memory written by"):
        AssociativeMemory.load(path)
    path.write_text("no safetensors at all")
    with pytest.raises(HopfieldError, match="damaged, truncated or no safetensors file"):
        AssociativeMemory.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(HopfieldError, match="no memory file at"):
        AssociativeMemory.load(path)


def test_patterns_that_are_not_finite_are_refused_when_read(tmp_path):
    path = tmp_path / "memory.safetensors"
    memory_of().save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({"patterns": torch.tensor([[1.0, float("nan")]])}, path, metadata=metadata)
    with pytest.raises(HopfieldError, match="patterns must be finite"):
        AssociativeMemory.load(path)
