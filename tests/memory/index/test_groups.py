"""Groups of near patterns: each pattern is in one, within its radius, and bounds of similarities hold."""

import sys
import warnings

import pytest
import torch

from hopfield import AssociativeMemory
from hopfield.errors import HopfieldError
from hopfield.memory.index import Index, groups
from hopfield.memory.rows import TensorRows
from tests.core.catalogue import examples, generator, normal
from tests.memory.certificates import KINDS, patterns_of, queries_of


@pytest.fixture(params=["faiss", "scikit-learn"])
def library(request, monkeypatch):
    """With each of the libraries that have k-means."""
    if request.param == "faiss":
        pytest.importorskip("faiss", reason="faiss is not installed")
    else:
        monkeypatch.setitem(sys.modules, "faiss", None)


def check(index, patterns):
    rows = patterns.double()
    assert torch.equal(index.order.sort().values, torch.arange(len(patterns)))
    assert int(index.sizes.sum()) == len(patterns)
    assert bool((index.sizes > 0).all())
    group = torch.repeat_interleave(torch.arange(len(index)), index.sizes)
    apart = (rows[index.order] - index.centres[group].double()).norm(dim=-1)
    assert bool((apart <= index.radii[group].double()).all())
    if index.means:
        for number in range(0, len(index), 7):
            own = rows[index.order[index.starts[number] : index.starts[number + 1]]]
            torch.testing.assert_close(own.mean(0).float(), index.centres[number], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5, 300, 3000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_each_pattern_is_in_one_group_within_its_radius(library, kind, count, dtype):
    patterns = patterns_of(kind, count, 6, generator(count)).to(dtype)
    check(Index.of(TensorRows(patterns), size=8), patterns)


def test_many_groups_are_made_in_two_levels(library, monkeypatch):
    monkeypatch.setattr(groups, "_FLAT", 64)
    monkeypatch.setattr(groups, "_BLOCK", 700)
    patterns = patterns_of("clustered", 5000, 6, generator(0))
    index = Index.of(TensorRows(patterns), size=8)
    check(index, patterns)
    assert 400 < len(index) < 2 * groups._MOST_GROUPS * 625
    assert float(index.radii.mean()) < 0.7 * float(Index.of(TensorRows(patterns), size=100).radii.mean())


def test_clusters_smaller_than_a_group_are_found_in_it(library):
    """Without that each group would hold several clusters, and its bound would say nothing."""
    g = generator(1)
    centres = normal(g, 100, 32)
    patterns = centres[torch.arange(4000) % 100] + 0.01 * normal(g, 4000, 32)
    index = Index.of(TensorRows(patterns), size=128)
    check(index, patterns)
    typical = (patterns - centres[torch.arange(4000) % 100]).norm(dim=-1).amax()
    assert float((index.sizes * (index.radii < 2 * typical)).sum()) > 0.9 * 4000


def test_equal_patterns_are_cut_into_groups_that_fill_a_product():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = Index.of(TensorRows(torch.ones(5000, 3)), size=16)
    assert int(index.sizes.max()) <= groups._LARGEST
    check(index, torch.ones(5000, 3))


@examples(20)
def test_bounds_of_similarities_hold(seed):
    g = generator(seed)
    patterns = patterns_of(KINDS[seed % 4], 400, 9, g).float()
    states = queries_of(patterns, 7, g) * 10.0 ** (seed % 5)
    index = Index.of(TensorRows(patterns), size=8, seed=seed)
    central, bounds = index.similarities(states)
    products = states.double() @ patterns.double().mT
    group = torch.repeat_interleave(torch.arange(len(index)), index.sizes)
    highest = torch.full((7, len(index)), -torch.inf).double()
    highest.scatter_reduce_(1, group.expand(7, -1), products[:, index.order], "amax")
    assert bool((highest <= bounds.double()).all())
    assert bool((central <= bounds).all())


def test_the_same_seed_makes_the_same_groups(library):
    patterns = TensorRows(patterns_of("uniform", 2000, 5, generator(1)))
    one, other = (Index.of(patterns, size=16, seed=3) for _ in range(2))
    assert torch.equal(one.order, other.order)
    assert torch.equal(one.centres, other.centres)


def test_progress_is_told():
    told = []
    patterns = TensorRows(patterns_of("uniform", 5000, 5, generator(1)))
    Index.of(patterns, size=8, progress=lambda *arguments: told.append(arguments))
    assert told
    assert {what for what, _, _ in told} == {"grouping patterns"}


def test_the_groups_of_a_memory():
    memory = AssociativeMemory(normal(generator(0), 300, 4))
    assert memory.index is None
    memory.build_index(size=10)
    assert repr(memory.index) == f"Index({len(memory.index)} groups of 300 patterns)"
    copy = memory.to("cpu")
    assert copy.index is not None
    assert memory.to(torch.float32).index is None
    copy.remove(range(0, 300, 2))
    check(copy.index, copy.patterns)
    assert not copy.index.means


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_size_must_be_a_number_of_patterns(size):
    with pytest.raises(HopfieldError, match="size, the patterns in a group, must be an integer of at least 1"):
        AssociativeMemory(torch.eye(3)).build_index(size=size)


def test_without_a_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(HopfieldError, match=r'pip install "hopfield\[index\]"'):
        AssociativeMemory(normal(generator(0), 100, 3)).build_index(size=10)
