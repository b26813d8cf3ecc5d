"""What the property tests run over: every separation function, every way to compute an association, random inputs."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hopfield.core import ranking, task
from hopfield.core.kernels import pooling, streaming
from hopfield.core.separation import exponential, gather, threshold
from hopfield.separation import Entmax, Normmax, Separation, Softmax, Softmax1, Sparsemax, Streamable, TopK

# ---------------------------------------------------------------------------------------------------- what is computed


class Sharper(Separation):
    """A separation function as a user would write it, with nothing but weights and potential: softmax of 2 s."""

    def weights(self, scores):
        dead = (scores == -math.inf).all(-1, keepdim=True)
        return torch.softmax(2 * scores.masked_fill(dead, 0.0), -1).masked_fill(dead, 0.0)

    def potential(self, scores):
        dead = (scores == -math.inf).all(-1)
        return torch.logsumexp(2 * scores.masked_fill(dead.unsqueeze(-1), 0.0), -1).masked_fill(dead, -math.inf) / 2

    def __repr__(self):
        return "Sharper()"


SEPARATIONS = [
    Softmax(),
    Softmax1(),
    Sparsemax(),
    Entmax(),
    Entmax(1),
    Entmax(1.3),
    Entmax(2),
    Entmax(3),
    Normmax(),
    Normmax(1.5),
    Normmax(4),
    TopK(1),
    TopK(3),
    Sharper(),
]
STREAMABLE = [separation for separation in SEPARATIONS if isinstance(separation, Streamable)]
SPARSE = [separation for separation in SEPARATIONS if isinstance(separation, Sparsemax | Normmax | Entmax)]
SPARSE.remove(Entmax(1))


def sums_to_one(separation: Separation) -> bool:
    return not isinstance(separation, Softmax1)


# --------------------------------------------------------------------------------------------------- how it is computed

# dense: the score matrix; fused: PyTorch's attention; pooling: one pass over patterns that are their own values;
# streaming: blocks of patterns, tiles of states; repeated: streaming where too many scores matter to be collected, so
# that sparse maps pass over the patterns again and again
WAYS = ("dense", "fused", "pooling", "streaming", "repeated")
THRESHOLDS = {
    "dense": {"_SMALL": 1 << 60},
    "fused": {"_SMALL": 0, "_LARGE_MEMORY": 1 << 60},
    "pooling": {"_SMALL": 0, "_LARGE_MEMORY": 1, "_HUGE_MEMORY": 1, "_FEW_STATES": 1 << 60},
    "streaming": {"_SMALL": 0, "_LARGE_MEMORY": 1, "_HUGE_MEMORY": 1, "_FEW_STATES": 0},
    "repeated": {"_SMALL": 0, "_LARGE_MEMORY": 1, "_HUGE_MEMORY": 1, "_FEW_STATES": 0},
}
BLOCK = 3


def small_blocks(problem: streaming.Problem) -> Iterator[slice]:
    count = problem.patterns.shape[1]
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


@contextmanager
def computing(way: str) -> Iterator[None]:
    """Send every association this way, where its separation function has it; streaming in tiny blocks and tiles."""
    with ExitStack() as patches:
        patches.enter_context(mock.patch.multiple(task, **THRESHOLDS[way]))
        patches.enter_context(mock.patch.object(streaming, "_STATES", 2))
        patches.enter_context(mock.patch.object(pooling, "_BLOCK", 0))
        patches.enter_context(mock.patch.object(pooling, "_LEAST", BLOCK))
        for module in (streaming, ranking):
            patches.enter_context(mock.patch.object(module, "blocks", small_blocks))
        if way == "pooling":
            patches.enter_context(mock.patch.object(task.Task, "_recorded", return_value=True))
        if way == "repeated":
            for module in (gather, exponential, threshold):
                patches.enter_context(mock.patch.object(module, "above", partial(gather.above, limit=0)))
        yield


# thresholds found by iteration take the most time, so these go one of the two ways each
SLOW = {Entmax(1.3): "streaming", Entmax(3): "repeated", Normmax(1.5): "repeated", Normmax(4): "streaming"}


def ways(separation: Separation) -> tuple[str, ...]:
    if isinstance(separation, Softmax):
        return "dense", "fused", "streaming"
    if isinstance(separation, Softmax1) or separation == Entmax(1):
        return "dense", "streaming"  # collect nothing
    if separation in SLOW:
        return "dense", SLOW[separation]
    return ("dense", "streaming", "repeated") if isinstance(separation, Streamable) else ("dense",)


CASES = [(separation, way) for separation in SEPARATIONS for way in ways(separation)]

each_separation = pytest.mark.parametrize("separation", SEPARATIONS, ids=repr)
each_streamable = pytest.mark.parametrize("separation", STREAMABLE, ids=repr)
each_case = pytest.mark.parametrize(("separation", "way"), CASES, ids=[f"{s!r}-{way}" for s, way in CASES])
each_way = pytest.mark.parametrize("way", WAYS)

# -------------------------------------------------------------------------------------------------------- random inputs

seeds = st.integers(0, 2**32 - 1)


def examples(count: int):
    """Give a test this many seeds, drawn by hypothesis; fewer for separation functions that take the most time."""

    def decorate(test):
        def run(**arguments):
            enough = max(2, count // 4) if arguments.get("separation") in SLOW else count

            @settings(max_examples=enough)
            @given(seed=seeds)
            def draw(seed):
                test(seed=seed, **arguments)

            draw()

        rest = [p for name, p in inspect.signature(test).parameters.items() if name != "seed"]
        run.__name__, run.__signature__ = test.__name__, inspect.Signature(rest)
        return run

    return decorate


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integer(g: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=g))


def uniform(g: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=g, dtype=torch.float64))


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=g, dtype=torch.float64)


def yes(g: torch.Generator, *shape: int, chance: float = 0.5) -> Tensor:
    return torch.rand(shape, generator=g) < chance


def one_of(g: torch.Generator, *choices):
    return choices[integer(g, 0, len(choices) - 1)]


def some_scores(g: torch.Generator, count: int | None = None) -> Tensor:
    """A row of scores on which no two separation functions agree, nor any two neighbours of it."""
    return normal(g, integer(g, 1, 8) if count is None else count) * math.exp(uniform(g, -2, 1.5))


def tied_scores(g: torch.Generator, rows: int = 4) -> Tensor:
    """Rows of scores of which many are equal."""
    return torch.randint(-2, 3, (rows, integer(g, 1, 8)), generator=g).double() * uniform(g, 0.2, 1.5)


def smooth(separation: Separation, scores: Tensor) -> bool:
    """Whether finite differences make sense: no weight is about to vanish, none to appear."""
    count = scores.shape[-1]
    nudges = 1e-3 * torch.cat([torch.zeros(1, count), torch.eye(count), -torch.eye(count)]).to(scores)
    weights = separation.weights(scores.unsqueeze(-2) + nudges)
    support = weights > 0
    steady = (support == support[..., :1, :]).all()
    return bool(steady & (weights.masked_fill(~support, 1.0).amin() > 1e-3))


@dataclass(frozen=True)
class Inputs:
    """The inputs of one association."""

    query: Tensor
    patterns: Tensor
    values: Tensor | None = None
    beta: float | Tensor = 1.0
    bias: Tensor | None = None
    mask: Tensor | None = None

    @property
    def options(self) -> dict:
        return {"beta": self.beta, "bias": self.bias, "mask": self.mask}

    @property
    def tensors(self) -> list[Tensor]:
        return [t for t in (self.query, self.patterns, self.values, self.beta, self.bias) if isinstance(t, Tensor)]

    def batch(self) -> torch.Size:
        parts = [t.shape[:-2] for t in (self.query, self.patterns, self.values) if t is not None]
        return torch.broadcast_shapes(*parts)

    def whole(self) -> Inputs:
        """The same, everything expanded to the whole batch."""
        batch, L, N = self.batch(), self.query.shape[-2], self.patterns.shape[-2]

        def wide(tensor: Tensor | None, *shape: int) -> Tensor | None:
            return None if tensor is None else tensor.expand(*batch, *shape)

        return Inputs(
            wide(self.query, *self.query.shape[-2:]),
            wide(self.patterns, *self.patterns.shape[-2:]),
            None if self.values is None else wide(self.values, *self.values.shape[-2:]),
            torch.as_tensor(self.beta, dtype=self.query.dtype).expand(*batch, L, 1),
            wide(torch.zeros(()).to(self.query) if self.bias is None else self.bias, L, N),
            wide(torch.ones((), dtype=torch.bool) if self.mask is None else self.mask, L, N),
        )

    def to(self, dtype: torch.dtype) -> Inputs:
        moved = {
            name: tensor.to(dtype)
            for name, tensor in vars(self).items()
            if isinstance(tensor, Tensor) and tensor.is_floating_point()
        }
        return replace(self, **moved)

    def learning(self) -> Inputs:
        """The same numbers as leaves that ask for gradients."""
        leaves = {
            name: tensor.detach().clone().requires_grad_()
            for name, tensor in vars(self).items()
            if isinstance(tensor, Tensor) and tensor.is_floating_point()
        }
        return replace(self, **leaves)


# batch dimensions of the query and of the memory; the first are one memory for all
LAYOUTS = [((), ()), ((2,), ()), ((2, 2), ()), ((), (2,)), ((2,), (2,)), ((2, 2), (2,)), ((1,), (3,)), ((2, 1), (1, 2))]


def broadcastable(g: torch.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to this one."""
    keep = yes(g, len(shape))
    shape = tuple(size if kept else 1 for size, kept in zip(shape, keep, strict=True))
    first = integer(g, 0, len(shape))
    return shape[first:] if all(size == 1 for size in shape[:first]) else shape


def some_inputs(
    g: torch.Generator,
    *,
    layout: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    own_values: bool | None = None,
    same_size: bool = False,
) -> Inputs:
    """Random inputs in every arrangement of batches, with and without values, bias, mask and a tensor beta."""
    lead, memory = layout or LAYOUTS[integer(g, 0, len(LAYOUTS) - 1)]
    L, N, d = integer(g, 1, 3), integer(g, 1, 7), integer(g, 1, 4)
    scores = (*torch.broadcast_shapes(lead, memory), L, N)
    own_values = bool(yes(g)) if own_values is None else own_values
    beta = math.exp(uniform(g, -1, 1))
    if yes(g):
        beta = torch.exp(uniform(g, -1, 0.5) + 0.5 * normal(g, *broadcastable(g, (*scores[:-1], 1))))
    return Inputs(
        normal(g, *lead, L, d),
        normal(g, *memory, N, d),
        normal(g, *memory, N, d if same_size else integer(g, 1, 3)) if own_values else None,
        beta,
        normal(g, *broadcastable(g, scores)) if yes(g) else None,
        yes(g, *broadcastable(g, scores), chance=0.7) if yes(g) else None,
    )


def textbook(separation: Separation, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Values, weights and potential state by state, with masked patterns deleted: nothing shared, nothing clever."""
    x = inputs.whole()
    values = x.patterns if x.values is None else x.values
    batch, L, N = x.mask.shape[:-2], x.query.shape[-2], x.patterns.shape[-2]
    mixed = torch.zeros(*batch, L, values.shape[-1], dtype=values.dtype)
    weights = torch.zeros(*batch, L, N, dtype=values.dtype)
    potential = torch.zeros(*batch, L, dtype=values.dtype)
    for at in itertools.product(*(range(size) for size in batch)):
        for state in range(L):
            here = (*at, state)
            kept = x.mask[here].nonzero().flatten()
            scores = x.beta[here] * (x.patterns[at][kept] @ x.query[here] + x.bias[here][kept])
            weights[here][kept] = separation.weights(scores)
            potential[here] = separation.potential(scores)
            mixed[here] = weights[here] @ values[at]
    return mixed, weights, potential


def close(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """Equal to rounding in float64, relative to numbers of the size of `scale`."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * scale, equal_nan=False)


# --------------------------------------------------------------------------------------------------------- wrong inputs

_Q, _X, _ALL = torch.zeros(2, 3), torch.zeros(5, 3), torch.ones(3, 2, 5, dtype=torch.bool)
_NUMBER = "beta must be a finite number above 0 or a tensor of such, got "
_TENSOR = "beta must be finite and above 0 everywhere, got a tensor with "
WRONG = [
    ([1.0], _X, {}, r"query must be a tensor \(\*batch, L, d\) or \(d,\), got list; use torch.as_tensor"),
    (torch.tensor(1.0), _X, {}, r"query must be \(\*batch, L, d\) or \(d,\), got shape \(\)"),
    (_Q.long(), _X, {}, "query must be of a floating-point dtype, got torch.int64; use query.float"),
    (_Q, [[1.0]], {}, r"patterns must be a tensor \(\*batch, N, d\), got list; use torch.as_tensor"),
    (_Q, _X[0], {}, r"patterns must be \(\*batch, N, d\), got shape \(3,\)"),
    (_Q, _X.long(), {}, "patterns must be of a floating-point dtype, got torch.int64; use patterns.float"),
    (_Q, _X[:, :2], {}, r"same size: the query has 3 \(shape \(2, 3\)\), the patterns have 2 \(shape \(5, 2\)\)"),
    (_Q, _X.to("meta"), {}, r"one device: the query is on cpu, the patterns are on meta; move one with .to\(device\)"),
    (_Q.expand(2, 2, 3), _X.expand(3, 5, 3), {}, r"do not broadcast: query \(2, 2, 3\), patterns \(3, 5, 3\)"),
    (_Q, _X, {"mask": torch.ones(5)}, r"dtype bool \(True takes part\), got torch.float32; use mask.bool"),
    (_Q, _X, {"mask": [True]}, r"mask must be a tensor that broadcasts to \(\*batch, L, N\), got list"),
    (_Q, _X, {"mask": _ALL[0, 0, :4]}, r"mask must broadcast to \(\*batch, L, N\) = \(2, 5\), got shape \(4,\)"),
    (_Q, _X, {"mask": _ALL}, r"mask must broadcast to \(\*batch, L, N\) = \(2, 5\), got shape \(3, 2, 5\)"),
    (_Q, _X, {"bias": [1.0]}, r"bias must be a tensor that broadcasts to \(\*batch, L, N\), got list"),
    (_Q, _X, {"bias": torch.zeros(2)}, r"bias must broadcast to \(\*batch, L, N\) = \(2, 5\), got shape \(2,\)"),
    (_Q, _X, {"beta": torch.ones(2)}, r"beta must broadcast to \(\*batch, L, 1\) = \(2, 1\), got shape \(2,\)"),
    (_Q, _X, {"beta": 0}, _NUMBER + "0"),
    (_Q, _X, {"beta": -1.0}, _NUMBER + "-1.0"),
    (_Q, _X, {"beta": math.inf}, _NUMBER + "inf"),
    (_Q, _X, {"beta": math.nan}, _NUMBER + "nan"),
    (_Q, _X, {"beta": 1e-30}, _NUMBER + "1e-30"),
    (_Q, _X, {"beta": 1e30}, _NUMBER + r"1e\+30"),
    (_Q, _X, {"beta": "1"}, _NUMBER + "'1'"),
    (_Q, _X, {"beta": torch.tensor([[1.0], [-2.0]])}, _TENSOR + "-2.0"),
    (_Q, _X, {"beta": torch.tensor(math.inf)}, _TENSOR + "inf"),
    (_Q, _X, {"beta": torch.tensor([[1.0], [math.nan]])}, _TENSOR + "nan"),
    (_Q, _X, {"separation": "max"}, "unknown separation 'max'; expected one of softmax, softmax1, sparsemax, entmax"),
    (
        _Q,
        _X,
        {"separation": max},
        r"must be a name \(softmax, .*\) or an object with weights\(scores\) .*, got builtin",
    ),
]
# of inputs that every function of the core refuses in the same words
each_wrong_input = pytest.mark.parametrize(("query", "patterns", "options", "text"), WRONG)
