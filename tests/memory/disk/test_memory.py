"""Memories on disk: the same answers as in memory, nothing lost, and nothing believed that is damaged."""

import json
import math

import pytest
import torch

from hopfield import AssociativeMemory, files
from hopfield.errors import HopfieldError
from hopfield.memory.disk import build, column, folder
from hopfield.memory.index import search
from hopfield.separation import Softmax, Sparsemax
from tests.core.catalogue import Sharper, examples, generator, normal, yes
from tests.memory.certificates import KINDS, distance, exact, patterns_of, queries_of, some

STORAGES = ("float32", "bfloat16", "int8")
each_storage = pytest.mark.parametrize("storage", STORAGES)
ROUNDED = {"float32": 0.0, "bfloat16": 2.0**-8, "int8": 1 / 127}


def blocks_of(patterns, size=100, **others):
    for start in range(0, len(patterns), size):
        part = slice(start, start + size)
        yield {"patterns": patterns[part]} | {name: tensor[part] for name, tensor in others.items()}


def built(path, patterns, storage="float32", size=100, beta=1.0, separation="softmax", **others):
    blocks = blocks_of(patterns, size, **others)
    return AssociativeMemory.build(path, blocks, storage=storage, beta=beta, separation=separation)


def kept(patterns, storage):
    """How far a memory may round patterns."""
    largest = patterns.double().abs().amax(-1, keepdim=True)
    return largest * ROUNDED[storage] + largest * 2.0**-23


# ------------------------------------------------------------------------------------------------- what comes back


@each_storage
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_patterns_come_back_in_order_as_near_as_the_storage_allows(tmp_path, storage, dtype):
    patterns = normal(generator(0), 250, 7).to(dtype)
    made = built(tmp_path / "m", patterns, storage)
    opened = AssociativeMemory.open(tmp_path / "m")
    assert len(made) == len(opened) == 250
    for kept_rows in (made[:], opened[:], opened[torch.arange(250)]):
        assert bool(((kept_rows.double() - patterns.double()).abs() <= kept(patterns, storage)).all())
    assert torch.equal(opened[3], opened[:][3])
    assert opened[-1].shape == (7,)
    if storage == "float32" and dtype != torch.float64:
        assert torch.equal(opened[:], patterns.float())


@each_storage
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta", [0.1, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("indexed", [False, True])
def test_the_bound_counts_in_the_rounding(tmp_path, monkeypatch, storage, kind, beta, indexed):
    monkeypatch.setattr(search, "_MOST", 1.0)
    _, patterns, query = some(kind, 3, count=400, size=8, states=16)
    memory = built(tmp_path / "m", patterns, storage, beta=beta)
    if indexed:
        memory.build_index(size=8)
    found = memory.retrieve(query, steps=1)
    error = distance(found.state, exact(query, patterns, patterns, beta)[0])
    assert bool((error <= found.error_bound).all())
    if storage == "float32":
        tolerance = 1e-4 * float(patterns.norm(dim=-1).max())
        found = memory.retrieve(query, steps=1, tolerance=tolerance)
        assert bool((distance(found.state, exact(query, patterns, patterns, beta)[0]) <= found.error_bound).all())
        assert float(found.error_bound.max()) <= tolerance


@pytest.mark.parametrize("separation", [Softmax(), Sparsemax()], ids=repr)
@examples(6)
def test_it_answers_as_in_memory(tmp_path_factory, separation, seed):
    g = generator(seed)
    patterns = patterns_of("clustered", 300, 6, g)
    others = {"values": normal(g, 300, 2).float(), "bias": normal(g, 300).float()}
    query = queries_of(patterns, 9, g)
    mask = yes(g, 9, 300, chance=0.8) if seed % 2 else None
    beta = float(torch.exp(normal(g)) * 4)
    path = tmp_path_factory.mktemp("memory") / "m"
    one = built(path, patterns, size=70, beta=beta, separation=separation, **others)
    other = AssociativeMemory(patterns.float(), beta=beta, separation=separation, **others)
    found, wanted = (memory.retrieve(query, mask=mask, max_steps=20) for memory in (one, other))
    for name in ("state", "values", "energy", "potential", "weights"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.top(4)[0], wanted.top(4)[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.energy(query), other.energy(query), rtol=1e-4, atol=1e-4)
    assert found.error_bound.shape == (9,)


def test_queries_and_beta_have_gradients(tmp_path):
    patterns, query = normal(generator(1), 200, 5).float(), normal(generator(2), 4, 5).float()
    built(tmp_path / "m", patterns)
    results = []
    for make in (
        lambda beta: AssociativeMemory.open(tmp_path / "m", beta=beta),
        lambda b: AssociativeMemory(patterns, beta=b),
    ):
        beta, state = torch.tensor(0.7, requires_grad=True), query.clone().requires_grad_()
        loss = make(beta).retrieve(state, steps=2).state.square().sum()
        results.append(torch.autograd.grad(loss, (state, beta)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_other_beta_and_separation(tmp_path):
    built(tmp_path / "m", torch.eye(4), beta=3.0, separation="sparsemax")
    own, other = (
        AssociativeMemory.open(tmp_path / "m"),
        AssociativeMemory.open(tmp_path / "m", beta=5.0, separation="top1"),
    )
    assert (own.beta, repr(own.separation)) == (3.0, "Sparsemax()")
    assert (other.beta, repr(other.separation)) == (5.0, "TopK(k=1)")
    assert repr(own) == (
        f"AssociativeMemory(4 patterns of size 4, beta=3, separation=Sparsemax(), float32 in {tmp_path / 'm'})"
    )


# ------------------------------------------------------------------------------------------------ what changes a memory


@each_storage
@examples(6)
def test_adding_and_removing_is_as_in_memory(tmp_path_factory, storage, seed):
    g = generator(seed)
    patterns = normal(g, 60, 4).float()
    path = tmp_path_factory.mktemp("memory") / "m"
    one = built(path, patterns, storage, values=patterns[:, :2])
    other = AssociativeMemory(one[:], values=patterns[:, :2])
    for step in range(12):
        if step % 3 == 2:
            gone = torch.randperm(len(other), generator=g)[: int(torch.randint(1, 5, (), generator=g))]
            one.remove(gone)
            other.remove(gone)
        else:
            new = normal(g, int(torch.randint(1, 30, (), generator=g)), 4).float()
            one.add(new, values=new[:, :2])
            other.add(one[len(other) :], values=new[:, :2])
        if step % 5 == 4:
            one.build_index(size=8)
        assert torch.equal(one[:], other.patterns)
        assert torch.equal(AssociativeMemory.open(path)[:], other.patterns)
    query = normal(g, 5, 4).float()
    found, wanted = one.retrieve(query, steps=1), other.retrieve(query, steps=1)
    torch.testing.assert_close(found.state, wanted.state, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.values, wanted.values, rtol=1e-4, atol=1e-4)
    used = folder.read_manifest(path).files()
    assert {file.name for file in path.iterdir()} == used


def test_many_small_additions_make_few_files(tmp_path):
    memory = built(tmp_path / "m", torch.zeros(1, 3))
    for number in range(1, 100):
        memory.add(torch.full((3,), float(number)))
    assert torch.equal(memory[:][:, 0], torch.arange(100.0))
    assert len(folder.read_manifest(tmp_path / "m").segments) <= 8


def test_building_goes_on_where_it_stopped(tmp_path):
    patterns = normal(generator(4), 500, 3).float()

    def broken():
        yield from patterns[:230].split(100)
        raise RuntimeError("the reader stops")

    with pytest.raises(RuntimeError):
        AssociativeMemory.build(tmp_path / "m", broken(), storage="int8")
    before = AssociativeMemory.open(tmp_path / "m")[:]
    memory = built(tmp_path / "m", patterns, "int8", size=90)
    assert len(memory) == 500
    assert torch.equal(memory[:230], before)
    assert torch.equal(built(tmp_path / "m", patterns, "int8", size=90)[:], memory[:])


def test_blocks_larger_than_a_portion_are_written_as_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_PORTION", 1000)
    counts = []

    def watched():
        for block in blocks_of(normal(generator(5), 1000, 4).float(), 100):
            if (tmp_path / "m" / folder.MANIFEST).exists():
                counts.append(folder.read_manifest(tmp_path / "m").rows)
            yield block

    AssociativeMemory.build(tmp_path / "m", watched())
    assert counts == sorted(counts)
    assert counts[-1] == 900


def test_two_writers_do_not_overwrite_each_other(tmp_path):
    first = built(tmp_path / "m", torch.eye(3))
    second = AssociativeMemory.open(tmp_path / "m")
    first.add(torch.ones(3))
    with pytest.raises(HopfieldError, match=r"another process .* has changed the memory .* open it again"):
        second.add(torch.zeros(3))
    assert len(second) == 3
    torch.testing.assert_close(second.retrieve(torch.ones(3), steps=1).state, torch.full((3,), 1 / 3))
    assert len(AssociativeMemory.open(tmp_path / "m")) == 4
    now = folder.read_manifest(tmp_path / "m")
    with folder.writing(tmp_path / "m", now), pytest.raises(HopfieldError, match=r"another process .* is writing"):
        first.add(torch.ones(3))


# ------------------------------------------------------------------------------------------------------------- damage


def files_of(path):
    return sorted(file for file in path.iterdir() if file.name != "lock" and file.suffix in (".json", ".safetensors"))


@examples(40)
def test_a_flipped_bit_is_found(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("memory") / "m"
    g = generator(seed)
    memory = built(path, normal(g, 40, 3).float(), "int8", values=normal(g, 40, 2).float(), bias=normal(g, 40).float())
    memory.remove([3, 4])
    memory.build_index(size=8)
    right = memory[:]
    files = files_of(path)
    file = files[int(torch.randint(len(files), (), generator=g))]
    data = bytearray(file.read_bytes())
    at = int(torch.randint(len(data), (), generator=g))
    data[at] ^= 1 << int(torch.randint(8, (), generator=g))
    file.write_bytes(data)
    try:
        opened = AssociativeMemory.open(path)
        found = opened[:]
        opened.retrieve(torch.ones(1, 3), steps=1)
    except HopfieldError as error:
        assert str(path) in str(error)  # noqa: PT017  # either it is refused or it does no harm: padding, names
    else:
        assert torch.equal(found, right)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("which", range(4))
def test_a_truncated_file_is_refused(tmp_path, share, which):
    memory = built(tmp_path / "m", normal(generator(0), 40, 3).float(), "int8")
    memory.remove(0)
    memory.build_index()
    file = files_of(tmp_path / "m")[which]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(HopfieldError, match=r"damaged|truncated"):
        AssociativeMemory.open(tmp_path / "m")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(HopfieldError, match=r"there is no memory at .*no such file or folder"):
        AssociativeMemory.open(tmp_path / "nothing")
    built(tmp_path / "m", torch.eye(3))
    next((tmp_path / "m").glob("patterns-*")).unlink()
    with pytest.raises(HopfieldError, match=r"no part of a memory at .*patterns-"):
        AssociativeMemory.open(tmp_path / "m")


def test_a_memory_without_its_index_opens_and_a_damaged_index_says_what_to_do(tmp_path):
    patterns = normal(generator(0), 300, 4).float()
    memory = built(tmp_path / "m", patterns)
    memory.build_index(size=8)
    wanted = memory.retrieve(patterns[:5], steps=1, tolerance=1e-3)
    file = next((tmp_path / "m").glob("index-*"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(HopfieldError, match=r"damaged.*; once it is deleted the memory opens, and build_index\(\)"):
        AssociativeMemory.open(tmp_path / "m")
    file.unlink()
    with pytest.warns(UserWarning, match=r"the index of the memory at .*m is gone, and it is opened without"):
        memory = AssociativeMemory.open(tmp_path / "m")
    assert memory.index is None
    found = memory.retrieve(patterns[:5], steps=1, tolerance=1e-3)
    torch.testing.assert_close(found.state, wanted.state, rtol=0, atol=2e-3)
    memory.build_index(size=8)
    assert AssociativeMemory.open(tmp_path / "m").index is not None


def edited(path, **changes):
    content = json.loads((path / folder.MANIFEST).read_text())
    content |= changes
    (path / folder.MANIFEST).write_text(json.dumps(content))


def test_foreign_and_newer_manifests_are_refused(tmp_path):
    built(tmp_path / "m", torch.eye(3))
    edited(tmp_path / "m", version=99)
    with pytest.raises(HopfieldError, match="format version 99, this release reads up to 1; update hopfield"):
        AssociativeMemory.open(tmp_path / "m")
    edited(tmp_path / "m", version=1, size=4)
    with pytest.raises(HopfieldError, match="damaged"):
        AssociativeMemory.open(tmp_path / "m")
    edited(tmp_path / "m", format="other")
    with pytest.raises(HopfieldError, match="not of a memory written by"):
        AssociativeMemory.open(tmp_path / "m")
    (tmp_path / "m" / folder.MANIFEST).write_text("[1]")
    with pytest.raises(HopfieldError, match="damaged, or not of a memory"):
        AssociativeMemory.open(tmp_path / "m")


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(HopfieldError, match=r"is not empty: it holds notes.txt"):
        built(tmp_path, torch.eye(3))
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(HopfieldError, match="cannot make the folder"):
        built(tmp_path / "notes.txt" / "m", torch.eye(3))


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    memory = built(tmp_path / "m", torch.eye(3), values=torch.ones(3, 2))
    for wrong, message in (
        ({"patterns": torch.ones(4), "values": torch.ones(2)}, "stores patterns of size 3, got size 4"),
        ({"patterns": torch.ones(3)}, "the memory has values: pass values="),
        ({"patterns": torch.ones(3), "values": torch.ones(5)}, "stores values of size 2"),
        ({"patterns": torch.ones(3, dtype=torch.int64), "values": torch.ones(2)}, "floating-point"),
        ({"patterns": torch.full((3,), math.nan), "values": torch.ones(2)}, "must be finite"),
        ({"patterns": torch.full((3,), 1e200, dtype=torch.float64), "values": torch.ones(2)}, "too large"),
    ):
        with pytest.raises(HopfieldError, match=message):
            memory.add(wrong.pop("patterns"), **wrong)
    with pytest.raises(HopfieldError, match="index 3 is outside"):
        memory.remove(3)
    assert torch.equal(AssociativeMemory.open(tmp_path / "m")[:], torch.eye(3))
    with pytest.raises(HopfieldError, match="query must be"):
        memory.retrieve(torch.ones(4))


def test_other_blocks_do_not_go_on_with_a_memory(tmp_path):
    built(tmp_path / "m", torch.eye(3))
    for change, message in (
        ({"storage": "int8"}, "its storage is float32, not int8"),
        ({"beta": 2.0}, "its beta is 1.0, not 2.0"),
        ({"separation": "sparsemax"}, "its separation is"),
    ):
        with pytest.raises(HopfieldError, match=message):
            built(tmp_path / "m", torch.eye(3), **change)
    with pytest.raises(HopfieldError, match="its size is 3, not 2"):
        built(tmp_path / "m", torch.eye(2))
    with pytest.raises(HopfieldError, match="holds other patterns, the first at index 0"):
        built(tmp_path / "m", torch.ones(3, 3))
    AssociativeMemory.open(tmp_path / "m").remove(0)
    with pytest.raises(HopfieldError, match="has had patterns removed"):
        built(tmp_path / "m", torch.eye(3))


def test_wrong_arguments(tmp_path):
    with pytest.raises(HopfieldError, match="unknown storage 'int4'; expected one of float32, bfloat16, int8"):
        built(tmp_path / "m", torch.eye(3), "int4")
    with pytest.raises(HopfieldError, match="needs at least one block of patterns, got none"):
        AssociativeMemory.build(tmp_path / "m", [])
    with pytest.raises(HopfieldError, match="has a name"):
        built(tmp_path / "m", torch.eye(3), separation=Sharper())
    with pytest.raises(HopfieldError, match="a block as a dict has patterns"):
        AssociativeMemory.build(tmp_path / "m", [{"rows": torch.eye(3)}])
    memory = built(tmp_path / "m", torch.eye(3))
    with pytest.raises(HopfieldError, match="which the separation function Sharper cannot do"):
        AssociativeMemory.open(tmp_path / "m", separation=Sharper())
    with pytest.raises(HopfieldError, match="the patterns stay in"):
        memory.to("cpu")
    with pytest.raises(HopfieldError, match=r"is kept in .* already"):
        memory.save(tmp_path / "other")


def test_a_write_that_fails_changes_nothing(tmp_path, monkeypatch):
    memory = built(tmp_path / "m", torch.eye(3))
    before = {file.name: file.read_bytes() for file in (tmp_path / "m").iterdir()}

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    for module, name in ((files.os, "fsync"), (folder.json, "dump")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(HopfieldError, match="No space left on device"):
                memory.add(torch.ones(3))
        assert torch.equal(AssociativeMemory.open(tmp_path / "m")[:], torch.eye(3))
        assert torch.equal(memory[:], torch.eye(3))
    for file, content in before.items():
        assert (tmp_path / "m" / file).read_bytes() == content
    memory.add(torch.ones(3))
    assert len(AssociativeMemory.open(tmp_path / "m")) == 4


def test_checksums_cover_every_row():
    matrix = normal(generator(0), 1000, 33).float()
    assert len(column.checksums(matrix)) == -(-1000 // column.rows_per_chunk(33 * 4))


def energy_of(patterns, state, beta):
    """With every pattern taking part."""
    x, state = patterns.double(), state.double()
    level = torch.logsumexp(beta * state @ x.mT, -1)
    return (math.log(len(x)) - level) / beta + state.square().sum(-1) / 2 + x.square().sum(-1).max() / 2


@each_storage
def test_energies_are_of_the_patterns_that_are_left(tmp_path, storage):
    g = generator(0)
    patterns = torch.cat([normal(g, 300, 4), torch.full((1, 4), 100.0)])
    memory = built(tmp_path / "m", patterns, storage)
    memory.remove([300])
    found = memory.retrieve(normal(g, 3, 4), steps=1)
    apart = (found.energy.double() - energy_of(patterns[:300], found.state, 1.0)).abs()
    assert bool((apart <= found.energy_bound.double()).all())
    assert storage != "float32" or float(found.energy_bound.max()) < 0.2
    kept_back = torch.ones(300, dtype=torch.bool)
    kept_back[5] = False
    found = memory.retrieve(torch.zeros(1, 4), steps=1, mask=kept_back)
    apart = (found.energy.double() - energy_of(patterns[:300][kept_back], found.state, 1.0)).abs()
    assert bool((apart <= found.energy_bound.double()).all())


def test_what_came_before_an_interruption_is_kept(tmp_path):
    patterns = normal(generator(0), 300, 5).float()

    def broken():
        yield from patterns[:200].split(50)
        raise RuntimeError("the reader stops")

    with pytest.raises(RuntimeError, match="the reader stops"):
        AssociativeMemory.build(tmp_path / "m", broken())
    kept = AssociativeMemory.open(tmp_path / "m")
    assert kept.unfinished
    assert "unfinished" in repr(kept)
    assert torch.equal(kept[:], patterns[:200])
    whole = AssociativeMemory.build(tmp_path / "m", patterns.split(50))
    assert not whole.unfinished
    assert torch.equal(whole[:], patterns)
    with pytest.raises(HopfieldError, match=r"one tensor: pass \[patterns\]"):
        AssociativeMemory.build(tmp_path / "n", patterns)


def test_a_finished_memory_is_what_its_blocks_were(tmp_path):
    patterns = normal(generator(0), 300, 5).float()
    AssociativeMemory.build(tmp_path / "m", patterns.split(50))
    before = (tmp_path / "m" / folder.MANIFEST).read_bytes()
    assert len(AssociativeMemory.build(tmp_path / "m", patterns.split(70))) == 300
    with pytest.raises(HopfieldError, match="holds 300 patterns, and only 250 came"):
        AssociativeMemory.build(tmp_path / "m", patterns[:250].split(50))
    with pytest.raises(HopfieldError, match="finished with 300 patterns, and more came: go on with add"):
        AssociativeMemory.build(tmp_path / "m", [patterns, patterns[:1]])
    assert (tmp_path / "m" / folder.MANIFEST).read_bytes() == before


def test_fewer_blocks_than_were_stored_do_not_finish_a_memory(tmp_path):
    patterns = normal(generator(0), 300, 5).float()

    def broken():
        yield patterns[:200]
        raise RuntimeError("the reader stops")

    with pytest.raises(RuntimeError):
        AssociativeMemory.build(tmp_path / "m", broken())
    with pytest.raises(HopfieldError, match="holds 200 patterns, and only 100 came"):
        AssociativeMemory.build(tmp_path / "m", [patterns[:100]])
    memory = AssociativeMemory.open(tmp_path / "m")
    assert memory.unfinished
    memory.build_index(size=20)
    assert memory.unfinished
    memory.add(patterns[200:210])
    assert not AssociativeMemory.open(tmp_path / "m").unfinished
    with pytest.raises(HopfieldError, match="finished with 210 patterns, and more came"):
        AssociativeMemory.build(tmp_path / "m", [patterns])


def test_nobody_else_writes_while_a_memory_is_built(tmp_path):
    patterns = normal(generator(0), 300, 5).float()

    def meddled():
        yield patterns[:100]
        other = AssociativeMemory.open(tmp_path / "m")
        with pytest.raises(HopfieldError, match=r"another process .* is writing the memory"):
            other.add(patterns[0])
        with pytest.raises(HopfieldError, match=r"another process .* is writing the memory"):
            AssociativeMemory.build(tmp_path / "m", [patterns[:100]])
        yield patterns[100:]

    assert torch.equal(AssociativeMemory.build(tmp_path / "m", meddled())[:], patterns)


@pytest.mark.parametrize("limit", ["1GB", 0, -1, True, 1.5])
def test_a_memory_limit_is_a_number_of_bytes(tmp_path, limit):
    built(tmp_path / "m", torch.eye(3))
    with pytest.raises(HopfieldError, match="memory_limit must be a number of bytes"):
        AssociativeMemory.open(tmp_path / "m", memory_limit=limit)
