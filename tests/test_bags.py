"""Bags: every way to make them, take them apart and compute with them, against lists of tensors."""

import copy
import doctest
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hopfield import bags as module
from hopfield.bags import Bags
from hopfield.bags.groups import plan as plan_of
from hopfield.errors import HopfieldError

seeds = st.integers(0, 2**32 - 1)
SHAPES = [(), (3,), (0,), (2, 1, 3)]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def integer(g, low, high):
    return int(torch.randint(low, high + 1, (), generator=g))


def some_sizes(g):
    """Of no bags, of bags without instances, of equal bags, and of bags from tiny to large."""
    count = integer(g, 0, 12)
    kind = integer(g, 0, 3)
    if kind == 0:
        return [integer(g, 0, 3) for _ in range(count)]
    if kind == 1:
        return [integer(g, 0, 5)] * count
    if kind == 2:
        return [int(2 ** (9 * float(torch.rand((), generator=g)))) for _ in range(count)]
    return [7 if integer(g, 0, 3) else integer(g, 0, 9) for _ in range(count)]


def some_list(g, shape=None, dtype=torch.float64):
    """Bags as a list, and the shape of an instance."""
    shape = SHAPES[integer(g, 0, len(SHAPES) - 1)] if shape is None else shape
    return [torch.randn(size, *shape, generator=g, dtype=torch.float64).to(dtype) for size in some_sizes(g)], shape


def of(tensors, shape):
    if tensors:
        return Bags.from_list(tensors)
    return Bags(torch.zeros(0, *shape, dtype=torch.float64), [0])


def same(bags, tensors):
    assert isinstance(bags, Bags)
    assert len(bags) == len(tensors)
    assert bags.offsets.dtype == bags.sizes.dtype == torch.int64
    assert bags.sizes.tolist() == [len(tensor) for tensor in tensors]
    assert bags.total == len(bags.instances) == sum(len(tensor) for tensor in tensors)
    for one, other in zip(bags, tensors, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def three():
    return Bags(torch.arange(18.0).view(6, 3), [0, 2, 2, 6])


# ------------------------------------------------------------------------------------------------------ making them


@given(seed=seeds)
def test_a_list(seed):
    tensors, shape = some_list(generator(seed))
    same(of(tensors, shape), tensors)
    if tensors:
        same(Bags.from_list([tensor.numpy() for tensor in tensors]), tensors)


@given(seed=seeds)
def test_padding_and_back(seed):
    g = generator(seed)
    tensors, shape = some_list(g)
    bags = of(tensors, shape)
    more = integer(g, 0, 2)
    largest = max(map(len, tensors), default=0)
    padded, mask = bags.to_padded(None if more == 0 else largest + more, fill=-5.0)
    assert padded.shape == (len(bags), largest + more, *shape)
    assert mask.shape == padded.shape[:2]
    assert (padded[~mask] == -5).all()
    for row, here, tensor in zip(padded, mask, tensors, strict=True):
        assert torch.equal(row[: len(tensor)], tensor)
        assert here.tolist() == [True] * len(tensor) + [False] * (largest + more - len(tensor))
    same(Bags.from_padded(padded, mask), tensors)
    same(Bags.from_padded(padded.numpy(), mask.numpy()), tensors)
    same(Bags.from_padded(padded), list(padded))


@given(seed=seeds)
def test_any_mask_is_a_choice_of_instances(seed):
    g = generator(seed)
    B, N = integer(g, 0, 5), integer(g, 0, 5)
    padded, mask = torch.randn(B, N, 2, generator=g), torch.rand(B, N, generator=g) < 0.5
    same(Bags.from_padded(padded, mask), [row[here] for row, here in zip(padded, mask, strict=True)])


@given(seed=seeds)
def test_groups_of_ids_in_any_order(seed):
    g = generator(seed)
    total = integer(g, 0, 20)
    instances = torch.randn(total, 2, generator=g)
    ids = torch.randint(-3, 4, (total,), generator=g)
    expected = [instances[ids == i] for i in ids.unique()]
    same(Bags.from_groups(instances, ids), expected)
    same(Bags.from_groups(instances.numpy(), ids.to(torch.int32).numpy()), expected)
    same(Bags.from_groups(instances, ids.tolist()), expected)
    names = [f"patient {'abcdefg'[i]}" for i in ids + 3]
    same(Bags.from_groups(instances, names), expected)
    same(Bags.from_groups(instances, np.array(names, dtype=object)), expected)


def test_instances_already_in_order_are_not_copied():
    instances = torch.randn(5, 2)
    assert Bags.from_groups(instances, [1, 1, 4, 4, 9]).instances is instances


@given(seed=seeds)
def test_joining(seed):
    g = generator(seed)
    lists = [some_list(g, (2,))[0] for _ in range(integer(g, 1, 4))]
    same(Bags.cat([of(tensors, (2,)) for tensors in lists]), [bag for tensors in lists for bag in tensors])
    same(Bags.cat(iter([three()])), list(three()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_any_dtype(dtype):
    g = generator(0)
    tensors = [torch.randint(0, 2, (n, 2), generator=g).to(dtype) for n in (2, 0, 3)]
    bags = Bags.from_list(tensors)
    assert bags.dtype == dtype
    same(bags, tensors)
    padded, mask = bags.to_padded()
    assert padded.dtype == dtype
    same(Bags.from_padded(padded, mask), tensors)
    same(bags[[2, 0]], [tensors[2], tensors[0]])
    for group in bags.groups():
        assert group.instances.dtype == dtype


def test_offsets_of_any_integers_and_arrays_of_any_layout():
    array = np.arange(12.0).reshape(2, 6).T[::-1]
    array.flags.writeable = False
    for offsets in ([0, 2, 6], (0, 2, 6), np.array([0, 2, 6], dtype=np.int32), torch.tensor([0, 2, 6]).short()):
        same(Bags(array, offsets), [torch.tensor(array[:2].copy()), torch.tensor(array[2:].copy())])


# ------------------------------------------------------------------------------------------------------ parts of them


@given(seed=seeds)
def test_an_index_is_that_of_a_list(seed):
    g = generator(seed)
    tensors, shape = some_list(g)
    bags, B = of(tensors, shape), len(tensors)
    for i in range(-B, B):
        for index in (i, np.int64(i), torch.tensor(i)):
            assert torch.equal(bags[index], tensors[i])
    for i in (-B - 1, B):
        with pytest.raises(IndexError, match=f"there are {B} bags, got index {i}"):
            bags[i]
    for _ in range(4):
        start, stop = integer(g, -B - 2, B + 2), integer(g, -B - 2, B + 2)
        for step in (1, 2, -1, None):
            same(bags[start:stop:step], tensors[start:stop:step])
    chosen = torch.rand(B, generator=g) < 0.5
    where = [i for i in range(B) if chosen[i]]
    for index in (chosen, chosen.numpy(), chosen.tolist(), where, [i - B for i in where]):
        same(bags[index], [tensors[i] for i in where])
    if B:
        order = torch.randint(-B, B, (integer(g, 0, 9),), generator=g)  # also twice the same
        for index in (order, order.numpy(), order.tolist(), order.int()):
            same(bags[index], [tensors[i] for i in order])


def test_slices_and_bags_are_views():
    bags = three()
    assert bags[2].data_ptr() == bags.instances[2].data_ptr()
    assert bags[1:].instances.data_ptr() == bags.instances[2].data_ptr()
    assert bags[:].instances.data_ptr() == bags.instances.data_ptr()


@given(seed=seeds)
def test_segments(seed):
    tensors, shape = some_list(generator(seed))
    assert of(tensors, shape).segments().tolist() == [i for i, bag in enumerate(tensors) for _ in range(len(bag))]


def test_what_it_says_of_itself():
    assert repr(three()) == "Bags(3 bags of 0 to 4 instances, median 2, 6 in all; shape (3,), torch.float32, cpu)"
    assert repr(three()[[0]]) == "Bags(1 bag of 2 instances, 2 in all; shape (3,), torch.float32, cpu)"
    assert repr(three()[:0].to(torch.int64)) == "Bags(0 bags; shape (3,), torch.int64, cpu)"


def test_the_example_in_the_documentation():
    found = doctest.DocTestFinder(recurse=False).find(Bags, "Bags", module=module, globs={"torch": torch, "Bags": Bags})
    assert found[0].examples
    assert not sum(doctest.DocTestRunner().run(test).failed for test in found)


# -------------------------------------------------------------------------------------------------- the same, otherwise


def test_other_instances():
    bags = three()
    layer = torch.nn.Linear(3, 5)
    mapped = bags.map(layer)
    same(mapped, list(layer(bags.instances).split(bags.sizes.tolist())))
    for one, bag in zip(mapped, bags, strict=True):
        torch.testing.assert_close(one, layer(bag))  # products of fewer rows may be rounded otherwise
    assert mapped.instances.requires_grad
    assert not mapped.detach().instances.requires_grad
    same(bags.with_instances(torch.arange(6)), [torch.tensor([0, 1]), torch.tensor([]).long(), torch.arange(2, 6)])
    assert bags[:0].map(layer).instances.shape == (0, 5)


@given(seed=seeds)
def test_keeping_some_instances(seed):
    g = generator(seed)
    tensors, shape = some_list(g)
    bags = of(tensors, shape)
    mask = torch.rand(bags.total, generator=g) < (0.0, 0.5, 1.0)[integer(g, 0, 2)]
    parts = mask.split([len(tensor) for tensor in tensors]) if tensors else []
    expected = [tensor[part] for tensor, part in zip(tensors, parts, strict=True)]
    same(bags.keep(mask), expected)
    same(bags.keep(mask.numpy()), expected)
    same(bags.keep(torch.zeros(bags.total).bool()), [tensor[:0] for tensor in tensors])
    same(bags.keep(torch.ones(bags.total).bool()), tensors)


def test_bags_that_lose_everything_stay():
    same(three().keep(torch.tensor([False, False, True, False, False, True])), [X[:0], X[:0], three()[2][[0, 3]]])


def test_moves():
    bags = three()
    double = bags.to(torch.float64)
    assert double.dtype == torch.float64
    assert double.device == torch.device("cpu")
    same(double, [bag.double() for bag in bags])
    assert bags.to(dtype=torch.int32, non_blocking=True).dtype == torch.int32
    meta = bags.to("meta")
    assert meta.device.type == "meta"
    assert meta.sizes.tolist() == [2, 0, 4]  # known wherever the instances are
    assert meta.to_padded()[0].shape == (3, 4, 3)
    assert [group.instances.shape for group in meta.groups()] == [(1, 0, 3), (2, 4, 3)]


def test_it_never_changes():
    with pytest.raises(AttributeError, match="instances"):
        three().instances = torch.zeros(6, 3)


def test_copies():
    bags = three()
    other = copy.deepcopy(bags)
    same(other, list(bags))
    other.instances.zero_()
    assert bags.instances.any()
    same(ForkingPickler.loads(bytes(ForkingPickler.dumps(bags))), list(bags))


def test_pinned_memory_is_a_question_one_may_ask_anywhere():
    assert not three().is_pinned()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    bags = three()
    pinned = bags.pin_memory()
    assert pinned.is_pinned()
    moved = pinned.to("cuda", non_blocking=True)
    assert moved.device.type == "cuda"
    assert moved.offsets.device == moved.sizes.device == torch.device("cpu")
    assert moved.segments().tolist() == bags.segments().tolist()
    for one, other in zip(moved.to_padded(), bags.to_padded(), strict=True):
        assert torch.equal(one.cpu(), other)
    same(moved[[2, 0]].to("cpu"), [bags[2], bags[0]])
    same(moved.keep(moved.segments() == 2).to("cpu"), [bags[0][:0], bags[1], bags[2]])
    same(Bags.from_groups(moved.instances, moved.segments()).to("cpu"), [bags[0], bags[2]])
    for one, other in zip(moved.groups(), bags.groups(), strict=True):
        assert torch.equal(one.instances.cpu(), other.instances)
        assert torch.equal(one.indices, other.indices)
        assert (one.mask is None) == (other.mask is None)
    torch.cuda.set_sync_debug_mode("error")  # reading sizes and making groups wait for nothing
    try:
        assert moved.sizes.tolist() == [2, 0, 4]
        for group in moved.groups():
            group.take(moved.instances)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# -------------------------------------------------------------------------------------------------------------- groups


def options(g):
    return {
        "waste": (0, 0.25, 1.5)[integer(g, 0, 2)],
        "slack": (0, 20, 4096)[integer(g, 0, 2)],
        "alone": (None, 1, 7, 100)[integer(g, 0, 3)],
    }


@settings(max_examples=150)
@given(seed=seeds, gradients=st.booleans())
def test_groups_hold_every_bag_once(seed, gradients):
    g = generator(seed)
    tensors, shape = some_list(g)
    bags = of(tensors, shape)
    bags = bags.with_instances(bags.instances.requires_grad_(gradients))
    chosen = options(g)
    other = torch.randn(bags.total, 2, generator=g)
    groups = list(bags.groups(**chosen))
    assert sorted(i for group in groups for i in group.indices.tolist()) == list(range(len(bags)))
    assert sum(group.instances.shape[:2].numel() for group in groups) <= (
        (1 + chosen["waste"]) * bags.total + chosen["slack"]
    )
    for group in groups:
        sizes = bags.sizes[group.indices]
        b, n = len(group.indices), int(sizes.max())
        assert group.instances.shape == (b, n, *shape)
        assert group.indices.dtype == torch.int64
        assert (group.mask is None) == bool((sizes == n).all())
        assert (n == 0) == bool((sizes == 0).any())
        mask = torch.ones(b, n, dtype=torch.bool) if group.mask is None else group.mask
        assert torch.equal(mask, torch.arange(n) < sizes[:, None])
        for j, i in enumerate(group.indices.tolist()):
            assert torch.equal(group.instances[j, mask[j]], tensors[i])
            assert torch.equal(group.take(other)[j, mask[j]], other[bags.offsets[i] : bags.offsets[i + 1]])
            if group.rows is not None:
                assert ((group.rows[j] >= bags.offsets[i]) & (group.rows[j] < bags.offsets[i + 1])).all()
        if b == 1 and n:
            assert group.rows is None
        if chosen["alone"] is not None and n >= chosen["alone"]:
            assert b == 1
        if group.rows is None and n and group.instances.numel():
            assert group.instances.data_ptr() == bags.instances[group.start].data_ptr()
        assert torch.equal(group.take(bags.instances), group.instances)


def test_neighbours_of_one_size_are_a_view():
    bags = Bags.from_list([torch.randn(n, 2) for n in (5, 1, 3, 0, 3, 3, 9)])
    groups = list(bags.groups(waste=0, slack=0))
    assert [group.indices.tolist() for group in groups] == [[3], [1], [2, 4, 5], [0], [6]]
    for group in groups:
        assert group.mask is group.rows is None
    assert groups[2].instances.data_ptr() == bags[2].data_ptr()
    apart = Bags.from_list([torch.randn(n, 2) for n in (3, 1, 3)])
    group = list(apart.groups(waste=0, slack=0))[1]
    assert group.mask is None
    assert group.rows.tolist() == [[0, 1, 2], [4, 5, 6]]


def test_a_size_that_most_bags_share_is_not_padded():
    bags = Bags.from_list([torch.randn(n, 2) for n in (3, 900, 900, 900, 900, 900, 900, 899, 950)])
    assert [(group.indices.tolist(), group.mask is None) for group in bags.groups(slack=0)] == [
        ([0], True),
        ([7], True),
        ([1, 2, 3, 4, 5, 6], True),
        ([8], True),
    ]


def test_there_are_few_groups():
    g = generator(1)
    sizes = (10 * 2000 ** torch.rand(2000, generator=g, dtype=torch.float64)).long()
    bags = Bags(torch.empty(1).expand(int(sizes.sum())), torch.cat([torch.zeros(1).long(), sizes.cumsum(0)]))
    plan = plan_of(bags.offsets, 0.25, 4096, None)
    assert len(plan) <= 20
    assert sum(len(part) * int(sizes[part].max()) for part in plan) <= 1.25 * bags.total + 4096
    tiny = Bags(torch.empty(1000), torch.arange(0, 1001, 10)[torch.tensor([0, 0, *range(1, 101)])])
    assert len(plan_of(tiny.offsets, 0.25, 4096, None)) == 2
    assert len(Bags.from_list([torch.zeros(n, 1) for n in range(40)]).groups().__next__().indices) == 1


def test_nothing_to_group():
    assert list(Bags(torch.zeros(0, 3), [0]).groups()) == []
    (group,) = Bags(torch.zeros(0, 3, requires_grad=True), [0, 0, 0]).groups()
    assert group.indices.tolist() == [0, 1]
    assert group.instances.shape == (2, 0, 3)
    assert group.mask is None


@settings(max_examples=40)
@given(seed=seeds)
def test_gradients_through_groups_are_those_of_a_loop(seed):
    g = generator(seed)
    tensors, _ = some_list(g, (3,))
    bags = of(tensors, (3,))
    chosen = options(g)
    scale = torch.randn(len(bags), generator=g, dtype=torch.float64)

    def by_groups(instances):
        result = []
        for group in bags.with_instances(instances).groups(**chosen):
            values = group.instances.square()
            if group.mask is not None:
                values = values.masked_fill(~group.mask[..., None], 0)
            result.append((values.sum((1, 2)).sin() * scale[group.indices]).sum())
        return sum(result, torch.zeros((), dtype=torch.float64))

    def by_bags(instances):
        sums = [bag.square().sum().sin() * scale[i] for i, bag in enumerate(bags.with_instances(instances))]
        return sum(sums, torch.zeros((), dtype=torch.float64))

    def gradient(function):
        leaf = bags.instances.clone().requires_grad_()
        (function(leaf) + 0 * leaf.sum()).backward()
        return leaf.grad

    torch.testing.assert_close(gradient(by_groups), gradient(by_bags))


def test_gradients_of_everything_else():
    offsets = [0, 2, 2, 5, 6]
    instances = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert torch.autograd.gradcheck(lambda x: Bags(x, offsets).to_padded(4, fill=1.5)[0], instances)
    assert torch.autograd.gradcheck(lambda x: Bags(x, offsets)[[3, 0, 0]].instances, instances)
    assert torch.autograd.gradcheck(lambda x: Bags(x, offsets).keep(torch.arange(6) % 4 != 2).instances, instances)
    assert torch.autograd.gradcheck(lambda x: Bags.from_padded(x.view(2, 3, 2), mask).instances, instances)
    assert torch.autograd.gradcheck(
        lambda x: tuple(group.instances for group in Bags(x, offsets).groups(waste=0, slack=1)), instances
    )


def test_a_bag_never_meets_another_in_its_padding():
    tensors = [torch.full((3, 2), 1.0), torch.full((1, 2), torch.nan), torch.full((2, 2), 2.0)]
    (group,) = Bags.from_list(tensors).groups()
    assert group.indices.tolist() == [1, 2, 0]
    assert group.instances.isnan().all((1, 2)).tolist() == [True, False, False]
    assert group.instances.isnan().any((1, 2)).tolist() == [True, False, False]


# ------------------------------------------------------------------------------------------------------------- batches


class Samples(torch.utils.data.Dataset):
    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 5

    def __getitem__(self, i):
        if i >= 5:
            raise IndexError(i)
        bag = torch.full((i, 2), float(i))
        return {
            "tensor": bag,
            "array": bag.numpy(),
            "tuple": (bag, i, {"weight": i / 2}),
            "list": [bag, i],
            "data": {"name": str(i), "data": bag, "target": torch.tensor(i)},
            "bag": {"bag": bag, "target": i},
        }[self.kind]


@pytest.mark.parametrize("kind", ["tensor", "array", "tuple", "list", "data", "bag"])
def test_batches_of_a_data_loader(kind):
    batches = list(DataLoader(Samples(kind), batch_size=3, collate_fn=Bags.collate))
    assert len(batches) == 2
    for batch, numbers in zip(batches, ([0, 1, 2], [3, 4]), strict=True):
        if kind in {"tensor", "array"}:
            bags, targets = batch, torch.tensor(numbers)
        elif kind in {"tuple", "list"}:
            assert isinstance(batch, tuple)
            bags, targets = batch[:2]
        else:
            assert list(batch) == list(Samples(kind)[0])
            bags, targets = batch[kind], batch["target"]
        same(bags, [torch.full((i, 2), float(i)) for i in numbers])
        assert targets.tolist() == numbers
        if kind == "tuple":
            assert batch[2]["weight"].tolist() == [i / 2 for i in numbers]
        if kind == "data":
            assert batch["name"] == [str(i) for i in numbers]
    ForkingPickler.dumps(Bags.collate)  # as workers need it
    ForkingPickler.dumps(batches)


# -------------------------------------------------------------------------------------------------------------- errors

X = torch.zeros(6, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Bags([[1.0]], [0, 1]),
            r"instances must be a tensor \(total, \*shape\), got list; use torch.as_tensor",
        ),
        (lambda: Bags(np.array(["a"]), [0, 1]), "instances must be an array of numbers .*, got dtype <U1"),
        (lambda: Bags(torch.tensor(1.0), [0]), "instances must be .* got a single number"),
        (lambda: Bags(X, torch.tensor([0.0, 6.0])), r"offsets must be integers \(B \+ 1,\).* torch.float32"),
        (lambda: Bags(X, [0.0, 6.0]), r"offsets must be a tensor \(B \+ 1,\) of integers, got list"),
        (lambda: Bags(X, torch.tensor([False, True])), "offsets must be integers .* of torch.bool"),
        (lambda: Bags(X, torch.zeros(1, 2).long()), r"offsets must be integers .* got shape \(1, 2\)"),
        (lambda: Bags(X, []), r"offsets must be integers .* got shape \(0,\)"),
        (lambda: Bags(X, [1, 6]), "offsets must start at 0, got 1"),
        (lambda: Bags(X, [0, 4, 2, 6]), "offsets must not decrease, got 4 and then 2 at position 2"),
        (lambda: Bags(X, [0, 5]), "offsets must end at the number of instances, 6, got 5"),
        (lambda: Bags.from_list([]), "from_list needs at least one bag .* got none; use Bags"),
        (lambda: Bags.from_list([X, X[:, :2]]), r"shape of an instance: bag 0 has \(3,\), bag 1 has \(2,\)"),
        (lambda: Bags.from_list([X, X.double()]), "dtype: bag 0 has torch.float32, bag 1 has torch.float64"),
        (lambda: Bags.from_list([X, X.to("meta")]), "device: bag 0 has cpu, bag 1 has meta"),
        (lambda: Bags.from_list([X[0, 0]]), r"bag 0 must be \(n, \*shape\), got a single number"),
        (lambda: Bags.from_list(["abc"]), "bag 0 must be a tensor .* got str"),
        (lambda: Bags.from_padded(X[0]), r"padded must be \(B, N, \*shape\), got shape \(3,\)"),
        (lambda: Bags.from_padded(X, X), "mask must be of dtype bool .* got torch.float32; use mask.bool"),
        (lambda: Bags.from_padded(X, X[1:] > 0), r"mask must be \(B, N\) = \(6, 3\) .* got shape \(5, 3\)"),
        (lambda: Bags.from_groups(X, [1, 2]), r"one id per instance, \(total,\); got \(2,\) for .* \(6, 3\)"),
        (lambda: Bags.from_groups(X, X[:, 0]), "groups must be integers or strings, got an array of float64"),
        (lambda: Bags.from_groups(X, [1, 2, 3, "a", "b", "c"]), "all integers or all strings, got a mixture"),
        (lambda: Bags.from_groups(X, [None] * 6), "groups must be integers or strings, got an array of object"),
        (lambda: Bags.cat([]), "cat needs at least one Bags"),
        (lambda: Bags.cat([three(), X]), "cat joins Bags, got Tensor at position 1"),
        (lambda: Bags.cat([three(), three().to(torch.int64)]), "dtype: part 0 has torch.float32, part 1 has"),
        (lambda: three()[1.5], "index of bags must be an integer, a slice, .* got 1.5"),
        (lambda: three()[[1.5]], r"must be positions \(b,\) or bools \(3,\), got shape \(1,\) of torch.float64"),
        (lambda: three()["a"], "index of bags must be"),
        (lambda: three()[[[0, 1]]], r"index of bags must be positions .* got shape \(1, 2\)"),
        (lambda: three()[[True, False]], "an index of bools must have one for each of 3 bags, got 2"),
        (lambda: three().with_instances(X[1:]), r"as many as the old, \(6, \*shape\); got \(5, 3\)"),
        (lambda: three().map(lambda x: x.sum()), r"as many as the old, \(6, \*shape\); got \(\)"),
        (lambda: three().map(len), "instances must be a tensor .* got int"),
        (lambda: three().keep([0.5] * 6), r"mask must be a tensor \(6,\) of bool, got list"),
        (lambda: three().keep(torch.ones(6)), r"mask must be bool \(6,\), True .* got torch.float32 \(6,\)"),
        (lambda: three().keep(torch.ones(5).bool()), r"mask must be bool \(6,\), True .* got torch.bool \(5,\)"),
        (lambda: three().keep(torch.ones(6, 1).bool()), r"mask must be bool \(6,\), True .* got torch.bool \(6, 1\)"),
        (lambda: three().to_padded(3), "size must be an integer of at least 4, .* got 3"),
        (lambda: three().to_padded(4.0), "size must be an integer of at least 4, .* got 4.0"),
        (lambda: three().groups(-0.1), "waste must be a finite number of at least 0, got -0.1"),
        (lambda: three().groups(float("nan")), "waste must be a finite number of at least 0, got nan"),
        (lambda: three().groups(slack=-1), "slack must be a finite number of at least 0, got -1"),
        (lambda: three().groups(alone=0), "alone must be a finite number of at least 1, got 0"),
        (lambda: next(three().groups()).take(X[1:]), r"one row per instance of all bags, \(6, \*shape\); got \(5, 3\)"),
        (lambda: Bags.collate([]), "collate needs at least one sample"),
        (lambda: Bags.collate([{"x": X}]), r"""must hold its bag under "data" or "bag", got the keys \['x'\]"""),
        (lambda: Bags.collate([1.5]), r"a sample must be a bag \(n, \*shape\), a tuple .* got float"),
        (lambda: Bags.collate([(X, X), (X, X[1:])]), "entry 1 of the samples cannot be joined"),
        (lambda: Bags.collate([{"data": X, "y": 1}, {"data": X}]), "entry 'y' of the samples cannot be joined"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(HopfieldError, match=message):
        make()


@pytest.mark.parametrize("index", [[0, 3], torch.tensor([-4])], ids=repr)
def test_positions_out_of_range(index):
    with pytest.raises(IndexError, match=f"there are 3 bags, got index {int(index[-1])}"):
        three()[index]


class Column:
    """What a table's column looks like from outside."""

    def __init__(self, entries):
        self.entries = entries

    def to_numpy(self):
        return np.asarray(self.entries)


def test_tables_are_taken_as_arrays():
    bags = Bags.from_groups(Column([[1.0], [2.0], [3.0]]), np.array(["b", "a", "b"]))
    assert [bag.flatten().tolist() for bag in bags] == [[2.0], [1.0, 3.0]]


def test_arrays_of_the_other_byte_order():
    rows = np.arange(12, dtype=">f4").reshape(6, 2)
    bags = Bags.from_groups(rows, np.array([0, 0, 1, 1, 1, 2], dtype=">i8"))
    assert bags.instances.tolist() == rows.tolist()
    assert bags.sizes.tolist() == [2, 3, 1]
