"""Stacked networks against the same networks alone: outputs, gradients, training, copies."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hopfield.bags import Bags
from hopfield.estimators.embedding import Standardize, dense
from hopfield.estimators.network import BagNetwork
from hopfield.estimators.stack import Schedule, Stack, seeded, train
from hopfield.nn.pooling import HopfieldPooling
from tests.core.catalogue import generator, normal

CPU = torch.device("cpu")
each_number = pytest.mark.parametrize("members", [1, 3])


def network(key=False, share=1.0):
    embedding = nn.Sequential(Standardize(3), *dense([3, 5], 0.0))
    pooling = HopfieldPooling(4 if key else 5, heads=2, head_size=4, value_size=5, output_size=5, beta="learned")
    return BagNetwork(
        embedding, pooling, dense([5, 4, 2], 0.0, last=False), dense([5, 4], 0.0) if key else None, share
    ).double()


def networks(members, **options):
    """Different ones, with standardisations of their own."""
    made = [network(**options) for _ in range(members)]
    for i, one in enumerate(made):
        one.embedding[0].fit(normal(generator(i), 9, 3) * (i + 1) + i)
    return made


def network_like(one):
    """The same parameters, with gradients through all instances."""
    return BagNetwork(one.embedding, one.pooling, one.output, one.key, 1.0).train()


def some_bags(seed=0, sizes=(3, 0, 5, 1, 2, 4)):
    return Bags(normal(generator(seed), sum(sizes), 3), [0, *torch.tensor(sizes).cumsum(0).tolist()])


def sample(members, bags):
    """Some instances of every bag, as many for each member."""
    sizes = bags.sizes - bags.sizes // 3
    rows = [
        torch.cat([start + torch.randperm(n, generator=generator(i))[:k] for start, n, k in zip(*where, strict=True)])
        for i in range(members)
        for where in [(bags.offsets[:-1].tolist(), bags.sizes.tolist(), sizes.tolist())]
    ]
    return F.pad(sizes.cumsum(0), (1, 0)), torch.stack(rows)


def part(bags, offsets, rows, member):
    """What a member sees."""
    return bags if rows is None else Bags(bags.instances[rows[member]], offsets)


def gradients(output, parameters):
    """By name; zeros for what has no part: softmax does not see a bias of the keys."""
    found = torch.autograd.grad(output.sum(), parameters.values(), retain_graph=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------------ outputs and gradients


@each_number
@pytest.mark.parametrize("key", [False, True], ids=["", "key"])
@pytest.mark.parametrize("sampled", [False, True], ids=["", "sampled"])
def test_a_stack_gives_what_each_network_gives(members, key, sampled):
    alone = networks(members, key=key)
    stack = Stack(copy.deepcopy(alone))
    bags, state = some_bags(), dict(alone[0].named_parameters())
    offsets, rows = sample(members, bags) if sampled else (None, None)
    output = stack(bags, offsets, each=(rows,))
    expected = torch.stack([one(part(bags, offsets, rows, i)) for i, one in enumerate(alone)])
    assert output.shape == (members, 6, 2)
    close(output, expected)
    weights = normal(generator(2), members, 6, 2)
    found = gradients(output * weights, dict(zip(state, stack.parameters, strict=True)))
    for i, one in enumerate(alone):
        for name, grad in gradients(expected * weights, dict(one.named_parameters())).items():
            close(found[name].view(members, *grad.shape)[i], grad)
    with torch.no_grad():
        close(stack(bags, offsets, each=(rows,)), output)


@each_number
def test_through_the_heaviest_instances(members):
    alone = networks(members, share=0.1)
    whole = [network_like(one) for one in alone]
    stack = Stack(copy.deepcopy(alone)).train()
    bags = some_bags(sizes=(300, 2, 0, 700))
    expected = torch.stack([one.train()(bags) for one in alone])
    close(stack(bags), expected)
    close(expected, torch.stack([one.train()(bags) for one in whole]))  # no instance is left out of the output
    offsets, rows = sample(members, bags)
    some = torch.stack([one(part(bags, offsets, rows, i)) for i, one in enumerate(whole)])
    close(stack(bags, offsets, each=(rows,)), some)
    found = gradients(stack(bags), dict(zip(dict(alone[0].named_parameters()), stack.parameters, strict=True)))
    for i, one in enumerate(alone):
        for name, grad in gradients(expected, dict(one.named_parameters())).items():
            close(found[name].view(members, *grad.shape)[i], grad)


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_gradients_go_through_those_of_the_largest_weights(share):
    one = network(share=share)
    bags = some_bags(sizes=(600, 3))
    weights = one._weights(bags).amax((1, 2))
    chosen = torch.cat([weights[:600].topk(max(256, round(share * 600))).indices, torch.arange(600, 603)])
    assert set(chosen.tolist()) != set(range(603))
    with torch.no_grad():
        rows = one.embedding(bags.instances)
    partly = rows.index_copy(0, chosen, one.embedding(bags.instances[chosen]))
    expected = one.output(one.pooling(bags.with_instances(partly)).flatten(1))
    output = one.train()(bags)
    close(output, expected)
    parameters = dict(one.named_parameters())
    wanted = gradients(expected, parameters)
    for name, grad in gradients(output, parameters).items():
        close(grad, wanted[name])
    whole = gradients(network_like(one)(bags), parameters)["embedding.1.weight"]
    assert not torch.allclose(wanted["embedding.1.weight"], whole)


@each_number
def test_members_and_states(members):
    alone = networks(members)
    stack = Stack(alone)
    bags = some_bags()
    state = stack.state()
    for i, one in enumerate(alone):
        member = stack.member(i)
        assert all(torch.equal(state[name][i], tensor) for name, tensor in one.state_dict().items())
        assert all(
            torch.equal(a, b) for a, b in zip(member.state_dict().values(), one.state_dict().values(), strict=True)
        )
        close(member(bags), one(bags))
        with torch.no_grad():
            next(member.parameters()).zero_()  # a copy
    close(stack.state(), state)
    other = Stack(networks(members))
    other.load(state)
    assert torch.equal(other(bags), stack(bags))
    before = other.state()
    other.load({name: tensor + 1 for name, tensor in state.items()}, torch.arange(members) == members - 1)
    for name, tensor in other.state().items():
        assert torch.equal(tensor[:-1], before[name][:-1])
        assert torch.equal(tensor[-1], state[name][-1] + 1)
    assert torch.equal(stack.state()["embedding.0.mean"], state["embedding.0.mean"])  # states are copies


@each_number
def test_training_and_evaluation(members):
    made = [nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)) for _ in range(members)]
    stack = Stack(made)
    rows = torch.ones(50, 3)
    assert torch.equal(stack.train(False)(rows), stack(rows))
    random = stack.train()(rows)
    assert bool((random == 0).any())
    if members > 1:
        assert not torch.equal(random[0] == 0, random[1] == 0)  # each draws its own


# ------------------------------------------------------------------------------------------------------------- training


def problem(stack, weights=None, seed=5, count=12):
    """Batches, and the loss of bags of two kinds."""
    bags = some_bags(seed, sizes=[1 + i % 4 for i in range(count)])
    targets = torch.arange(count) % 2
    weights = torch.ones(stack.members, count, dtype=torch.float64) if weights is None else weights

    def loss(which):
        logits = stack(bags[which], each=(None,))
        wide = targets[which].expand(stack.members, -1)
        losses = F.cross_entropy(logits.flatten(0, 1), wide.flatten(), reduction="none").view(wide.shape)
        return (losses * weights[:, which]).sum(1), weights[:, which].sum(1)

    order = torch.Generator().manual_seed(0)
    return lambda: torch.randperm(count, generator=order).split(5), loss


SCHEDULE = Schedule(4, 0.05, 0.9, 0.1)


def test_a_stack_learns_what_each_network_learns():
    made = networks(3)
    weights = torch.rand(3, 12, generator=generator(6), dtype=torch.float64)
    weights[0, :5] = 0
    together = Stack(copy.deepcopy(made))
    history = train(together, *problem(together, weights), SCHEDULE)
    assert history.best.tolist() == [3, 3, 3]
    for i, one in enumerate(made):
        alone = Stack([one])
        own = train(alone, *problem(alone, weights[i : i + 1]), SCHEDULE)
        close(torch.stack(history.loss)[:, i], torch.stack(own.loss)[:, 0], 1e-5)
        for name, tensor in alone.state().items():
            close(together.state()[name][i], tensor[0], 1e-5)


@each_number
def test_training_moves_parameters_and_lowers_the_loss(members):
    stack = Stack(networks(members))
    before = stack.state()
    history = train(stack, *problem(stack), Schedule(15, 0.03, 1.0, 0.0))
    after = stack.state()
    same = {name for name in before if torch.equal(before[name], after[name])}
    same -= {f"pooling.hopfield.{name}_stored.bias" for name in ("project", "norm")}  # softmax does not see them
    assert same == {name for name, _ in stack.network.named_buffers()}
    assert bool((history.loss[-1] < history.loss[0]).all())
    assert not stack.network.training


@each_number
def test_the_best_epoch_is_kept(members):
    stack = Stack(networks(members))
    scores = torch.tensor([[3.0, 3.0, 3.0], [1.0, 2.0, 4.0], [2.0, 1.0, 5.0], [1.5, 2.0, 6.0]])[:, :members]
    states, batches_and_loss = [], problem(stack)

    def validate():
        assert not stack.network.training
        assert not torch.is_grad_enabled()
        states.append(stack.state())
        return scores[len(states) - 1]

    history = train(stack, *batches_and_loss, SCHEDULE, validate=validate)
    best = scores.argmin(0)
    assert torch.equal(history.best, best)
    assert torch.equal(torch.stack(history.validation), scores)
    for name, tensor in stack.state().items():
        for i in range(members):
            assert torch.equal(tensor[i], states[best[i]][name][i])


@pytest.mark.parametrize(("patience", "epochs"), [(1, 4), (2, 5), (4, 7), (math.inf, 9)])
def test_patience_ends_when_no_member_becomes_better(patience, epochs):
    stack = Stack(networks(2))
    scores = iter([[1.0, 5.0], [2.0, 4.0], [2.0, 3.0], *[[2.0, 3.0]] * 9])
    schedule = Schedule(9, 0.05, 0.9, 0.1, patience)
    history = train(stack, *problem(stack), schedule, validate=lambda: torch.tensor(next(scores)))
    assert len(history.loss) == epochs
    assert history.best.tolist() == [0, 2]


def test_a_score_that_is_not_a_number_is_never_the_best():
    stack = Stack(networks(2))
    scores = iter([[math.nan, math.nan], [1.0, math.nan], [math.nan, math.nan]])
    schedule = Schedule(3, 0.05, 0.9, 0.1, 9)
    history = train(stack, *problem(stack), schedule, validate=lambda: torch.tensor(next(scores)))
    assert history.best.tolist() == [1, 0]


def test_progress_is_told():
    stack = Stack(networks(2))
    told = []
    scores = iter([[1.0, 2.0], [3.0, 4.0]])
    train(
        stack,
        *problem(stack),
        Schedule(2, 0.05, 0.9, 0.1),
        validate=lambda: torch.tensor(next(scores)),
        progress=lambda *args: told.append(args),
    )
    assert [part[1:] for part in told] == [(1, 2), (2, 2)]
    assert all(text.startswith(("loss 0.", "loss 1.")) for text, _, _ in told)
    assert told[1][0].endswith("validation 3.500")


def test_a_seed_leaves_no_trace():
    before = torch.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed, CPU) as g:
            drawn.append((torch.rand(3), torch.rand(3, generator=g)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, other) for one, other in zip(drawn[0], drawn[1], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(drawn[0], drawn[2], strict=True))


# ------------------------------------------------------------------------------------------------------ standardisation


def test_standardised_columns():
    rows = normal(generator(0), 40, 4) * torch.tensor([1.0, 1e-5, 1e5, 0.0]) + torch.tensor([3.0, 0.0, 1.0, 0.1])
    layer = Standardize(4, limit=100.0).double().fit(rows)
    out = layer(rows)
    close(out.mean(0), torch.zeros(4, dtype=torch.float64))
    close(out.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64), 1e-6)
    assert Standardize(4).double().fit(rows)(rows * 1e9).abs().max() == 5
    empty = Standardize(4).double().fit(rows[:0])
    close(empty(rows), rows.clamp(-5, 5))
