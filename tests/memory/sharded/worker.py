"""One of several processes that hold a memory: `python -m tests.memory.sharded.worker CASE FOLDER`, by environment."""

import itertools
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from hopfield import AssociativeMemory
from hopfield.errors import HopfieldError
from hopfield.memory.index import search
from hopfield.separation import Entmax, Normmax, Softmax, Softmax1, Sparsemax, TopK
from tests.core.catalogue import generator, normal, yes
from tests.memory.certificates import distance, exact, patterns_of, queries_of

SEPARATIONS = [Softmax(), Softmax1(), Sparsemax(), Entmax(), Normmax(), TopK(3)]


def near(one, other, within=1e-6):
    torch.testing.assert_close(one, other, rtol=within, atol=within)


def parts(count, world, kind):
    """Where each process's patterns start and end: even, uneven, or with processes that have none."""
    if kind == "even":
        cuts = [count * i // world for i in range(world + 1)]
    elif kind == "uneven":
        cuts = [0, *(count * (i + 1) ** 2 // world**2 for i in range(world - 1)), count]
    else:
        cuts = [0] * world + [count] if world % 2 else [0, *[count] * world]
    return list(itertools.pairwise(cuts))


def data(seed, count=240, size=6, states=8):
    g = generator(seed)
    patterns = patterns_of("clustered", count, size, g)
    return g, patterns, queries_of(patterns, states, g), normal(g, count, 2), 0.1 * normal(g, count)


def forward(rank, world, folder):
    search._MOST = 1.0
    for seed, kind in enumerate(("even", "uneven", "empty")):
        g, patterns, query, values, bias = data(seed)
        mask = yes(g, 8, 240, chance=0.8)
        start, end = parts(240, world, kind)[rank]
        own = slice(start, end)
        for separation in SEPARATIONS:
            for beta in ((1.0, 20.0, 5.0)[seed],):
                options = {"beta": beta, "separation": separation}
                whole = AssociativeMemory(patterns, values=values, bias=bias, **options)
                local = AssociativeMemory(patterns[own], values=values[own], bias=bias[own], **options)
                if seed % 2:
                    local.build_index(size=8)
                memory = AssociativeMemory.sharded(local, timeout=20)
                assert len(memory) == 240
                for extra in ({}, {"mask": mask}, {"tolerance": 1e-5}):
                    alone = {name: value for name, value in extra.items() if name != "tolerance"}
                    found = memory.retrieve(query, max_steps=4, **extra)
                    wanted = whole.retrieve(query, max_steps=4, **alone)
                    for name in ("state", "values", "energy", "potential", "weights"):
                        near(getattr(found, name), getattr(wanted, name), 1e-5)
                    assert torch.equal(found.steps, wanted.steps)
                    near(found.top(5)[0], wanted.top(5)[0], 1e-5)
                    assert torch.equal(found.support(0.9), wanted.support(0.9))
                    if "tolerance" in extra:
                        assert float(found.error_bound.max()) <= 1e-5
                near(memory.energy(query), whole.energy(query), 1e-6)
                one = memory.retrieve(query, steps=1, tolerance=1e-5)
                if separation in (Softmax(), Softmax1(), Sparsemax()):
                    right = exact(query, patterns, values, beta, bias=bias, separation=separation)[0]
                    assert bool((distance(one.values, right) <= one.error_bound).all())


def gradients(rank, world, folder):
    for seed, kind in enumerate(("even", "uneven", "empty")):
        _, patterns, query, _, _ = data(seed, count=60)
        start, end = parts(60, world, kind)[rank]
        for separation in (Softmax(), Softmax1(), Sparsemax()):
            for steps in (1, 3, None):
                results = []
                for here in (slice(start, end), slice(None)):
                    own = patterns[here].clone().requires_grad_()
                    beta, state = (
                        torch.tensor(2.0, dtype=torch.float64).requires_grad_(),
                        query.clone().requires_grad_(),
                    )
                    make = AssociativeMemory.sharded if here.start is not None else AssociativeMemory
                    memory = make(own, beta=beta, separation=separation)
                    found = memory.retrieve(state, steps=steps, tol=1e-12)
                    loss = (found.state * torch.linspace(0.0, 1.0, 6)).square().sum()
                    results.append(
                        torch.autograd.grad(loss, (state, beta, own), allow_unused=True, materialize_grads=True)
                    )
                one, other = results
                near(one[0], other[0], 1e-6)
                near(one[1], other[1], 1e-6)
                near(one[2], other[2][start:end], 1e-6)


def own_queries(rank, world, folder):
    _, patterns, query, _, _ = data(5, states=12)
    start, end = parts(240, world, "uneven")[rank]
    bounds = parts(12, world, "uneven")[rank]
    own = query[bounds[0] : bounds[1]].clone().requires_grad_()
    local = patterns[start:end].clone().requires_grad_()
    memory = AssociativeMemory.sharded(local, beta=5.0, queries="own")
    found = memory.retrieve(own, steps=2)
    all_, whole = query.clone().requires_grad_(), patterns.clone().requires_grad_()
    wanted = AssociativeMemory(whole, beta=5.0).retrieve(all_, steps=2)
    near(found.state, wanted.state[bounds[0] : bounds[1]])
    near(found.energy, wanted.energy[bounds[0] : bounds[1]])
    near(found.top(3)[0], wanted.top(3)[0][bounds[0] : bounds[1]])
    found.state.square().sum().backward()
    wanted.state.square().sum().backward()
    near(own.grad, all_.grad[bounds[0] : bounds[1]])
    near(local.grad, whole.grad[start:end])


def disk(rank, world, folder):
    g, patterns, query, _, _ = data(6)
    patterns, query = patterns.float(), query.float()
    start, end = parts(240, world, "uneven")[rank]
    blocks = [patterns[start:end]]
    local = AssociativeMemory.build(folder / f"part-{rank}", blocks, storage="int8", beta=3.0)
    local.build_index(size=8)
    memory = AssociativeMemory.sharded(local, timeout=20)
    found = memory.retrieve(query, steps=1)
    error = distance(found.state, exact(query, patterns, patterns, 3.0)[0])
    assert bool((error <= found.error_bound).all())
    new = normal(g, 3, 6).float()
    memory.add(new[:rank])
    assert len(memory) == 240 + world * (world - 1) // 2
    memory.remove([0, len(memory) - 1])
    assert len(memory) == 238 + world * (world - 1) // 2


def wrong(rank, world, folder):
    def refused(message, make):
        try:
            make()
        except HopfieldError as error:
            assert message in str(error), error  # noqa: PT017  # a process of torchrun, not of pytest
        else:
            raise AssertionError(message)

    refused("memories of another beta", lambda: AssociativeMemory.sharded(torch.eye(3), beta=1.0 + rank))
    refused("memories of another size", lambda: AssociativeMemory.sharded(torch.eye(3 + rank)))
    refused("unknown queries 'all'", lambda: AssociativeMemory.sharded(torch.eye(3), queries="all"))
    memory = AssociativeMemory.sharded(torch.eye(3))
    refused("pass different queries", lambda: memory.retrieve(torch.full((3,), float(rank))))
    refused(f"pass different steps ({1 + rank} here)", lambda: memory.retrieve(torch.zeros(3), steps=1 + rank))
    refused("pass different tolerance", lambda: memory.retrieve(torch.zeros(3), tolerance=0.1 * (1 + rank)))
    refused("each process holds a part", lambda: memory.save("m"))
    refused(
        "has its values, biases, beta and separation already",
        lambda: AssociativeMemory.sharded(memory.local, bias=torch.ones(3)),
    )


def training(rank, world, folder):
    """Data-parallel training of a layer with such a memory inside: as in one process."""
    _, patterns, query, _, _ = data(7, count=40)
    target = query.roll(1, 0)
    start, end = parts(40, world, "uneven")[rank]

    def run(memory, states, targets, wrap, scale):
        torch.manual_seed(0)
        layer = wrap(torch.nn.Linear(6, 6).double())
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = (memory.retrieve(layer(states), steps=1).state - targets).square().sum() * scale
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses, [p.detach() for p in layer.parameters()]

    one, wanted = run(AssociativeMemory(patterns, beta=2.0), query, target, lambda layer: layer, 1.0)
    share = slice(8 * rank // world, 8 * (rank + 1) // world)
    memory = AssociativeMemory.sharded(patterns[start:end], beta=2.0, queries="own")
    wrap = torch.nn.parallel.DistributedDataParallel
    # it takes the mean of the gradients of the processes
    own, found = run(memory, query[share], target[share], wrap, float(world))
    for left, right in zip(found, wanted, strict=True):
        near(left, right)
    whole = torch.stack(own) / world
    dist.all_reduce(whole)
    near(whole, torch.stack(one))


def lost(rank, world, folder):
    memory = AssociativeMemory.sharded(torch.eye(3), timeout=5.0)
    memory.retrieve(torch.ones(3), steps=1)
    victim = world - 1
    if rank == victim:
        (folder / "gone").write_text("")
        os._exit(9)
    while not (folder / "gone").exists():
        time.sleep(0.01)
    began = time.monotonic()
    try:
        memory.retrieve(torch.ones(3), steps=1)
    except HopfieldError as error:
        assert f"process {victim} of {world} is lost" in str(error), error  # noqa: PT017  # a process of torchrun, not of pytest
        assert time.monotonic() - began < 15
        (folder / f"noticed-{rank}").write_text(str(error))
        os._exit(0)
    raise AssertionError("nobody noticed")


def silent(rank, world, folder):
    """A process that lives and does not answer."""
    memory = AssociativeMemory.sharded(torch.eye(3), timeout=4.0)
    if rank == 0:
        time.sleep(20)
        os._exit(0)
    try:
        memory.retrieve(torch.ones(3), steps=1)
    except HopfieldError as error:
        assert f"process 0 of {world} is lost" in str(error), error  # noqa: PT017  # a process of torchrun, not of pytest
        os._exit(0)
    raise AssertionError("nobody noticed")


def partly_indexed(rank, world, _folder):
    """More queries than plan at once, where only the first process has an index."""
    search._MOST = 1.0
    _, patterns, query, *_ = data(7, states=2 * search.PLANNING + 5)
    start, end = parts(240, world, "even")[rank]
    local = AssociativeMemory(patterns[start:end], beta=5.0)
    if rank == 0:
        local.build_index(size=8)
    found = AssociativeMemory.sharded(local, timeout=20).retrieve(query, steps=1, tolerance=1e-3)
    wanted = AssociativeMemory(patterns, beta=5.0).retrieve(query, steps=1)
    apart = (found.state.double() - wanted.state.double()).norm(dim=-1)
    assert bool((apart <= found.error_bound + 1e-6).all())


CASES = {
    case.__name__: case
    for case in (forward, partly_indexed, gradients, own_queries, disk, wrong, training, lost, silent)
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    place, size = dist.get_rank(), dist.get_world_size()
    for name in sys.argv[1].split(","):
        CASES[name](place, size, Path(sys.argv[2]))
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.write(json.dumps({"rank": place, "bound": math.inf}))
    sys.stdout.flush()
    # gloo's threads may still let go of tensors while the interpreter ends, which now and then aborts it
    os._exit(0)
