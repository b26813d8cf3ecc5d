"""Random layers and inputs in every arrangement, and what the layers compute, written out state by state."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from hopfield import Hopfield
from hopfield.nn.beta import LearnedBeta
from hopfield.separation import Entmax, Normmax, Softmax, Sparsemax, TopK
from tests.core.catalogue import integer, normal, one_of, uniform, yes

# the iterative ones take most of the time, and differ from these only in how a threshold is found
QUICK = [Softmax(), Sparsemax(), TopK(2), Normmax()]
# their updates contract, so that fixed points have gradients
SMOOTH = [Softmax(), Entmax(1)]
PROJECTIONS = ("state", "stored", "value", "output")
SUBSETS = [subset for size in range(5) for subset in itertools.combinations(PROJECTIONS, size)]

each_quick = pytest.mark.parametrize("separation", QUICK, ids=repr)
each_subset = pytest.mark.parametrize("project", SUBSETS, ids="+".join)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance, equal_nan=False)


def unlike(layer: nn.Module, g: torch.Generator) -> nn.Module:
    """The same layer in float64, with no two parameters equal and none of them 0 or 1."""
    layer = layer.double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * normal(g, *parameter.shape))
            elif parameter.dim() < 2 and "beta" not in name:
                parameter.copy_(0.3 * normal(g, *parameter.shape))
            elif "project" in name:
                parameter.copy_(normal(g, *parameter.shape) / math.sqrt(parameter.shape[-1]))
            elif "beta" not in name:
                parameter.copy_(normal(g, *parameter.shape))
    return layer


def some_beta(g: torch.Generator, heads: int):
    return one_of(
        g,
        None,
        uniform(g, 0.2, 2),
        [uniform(g, 0.2, 2) for _ in range(heads)],
        LearnedBeta(uniform(g, 0.2, 2)),
        LearnedBeta([uniform(g, 0.2, 2) for _ in range(heads)]),
    )


def some_options(g: torch.Generator, *, project=None, **fixed) -> dict:
    """Keyword arguments of a layer with input_size=4."""
    heads = fixed.get("heads", integer(g, 1, 3))
    project = one_of(g, PROJECTIONS, *SUBSETS) if project is None else project
    stored = one_of(g, 4, 5) if {"state", "stored"} <= set(project) else 4
    connect = bool(yes(g, chance=0.3))
    options = {
        "stored_size": stored,
        "value_size": stored if connect else one_of(g, None, 3),
        "heads": heads,
        "head_size": integer(g, 2, 4) if {"state", "stored"} <= set(project) else 4,
        "head_value_size": one_of(g, None, 3) if "value" in project else None,
        "output_size": one_of(g, None, 5) if "output" in project else None,
        "beta": some_beta(g, heads),
        "similarity": one_of(g, "dot", "euclidean"),
        "steps": one_of(g, 1, 3, tuple(integer(g, 1, 3) for _ in range(heads))),
        "norm": one_of(g, "layer", "layer_plain", "rms", None),
        "head_norm": one_of(g, None, None, "layer", "rms"),
        "project": project,
        "connect_values": connect,
        "bias": bool(yes(g)),
        "extra": one_of(g, (), (), ("bias",), ("zero",), ("zero", "bias")),
    }
    return options | fixed


def some_masks(g: torch.Generator, batch: tuple[int, ...], heads: int, L: int, N: int) -> dict:
    """Masks and biases of every shape there may be."""
    shapes = [(L, N), (*batch, L, N), (*batch, heads, L, N)]
    return {
        "stored_mask": one_of(g, None, yes(g, *batch, N, chance=0.7), yes(g, N, chance=0.7)),
        "association_mask": one_of(g, None, *(yes(g, *shape, chance=0.7) for shape in shapes)),
        "association_bias": one_of(g, None, *(normal(g, *shape) for shape in shapes)),
    }


def _wide(tensor: Tensor | None, fill, shape: tuple[int, ...]) -> Tensor:
    """(L, N), (*batch, L, N) or (*batch, h, L, N) as the last."""
    if tensor is None:
        return torch.full(shape, fill)
    if tensor.dim() == len(shape) - 1 and len(shape) > 3:
        tensor = tensor.unsqueeze(-3)
    return tensor.expand(shape)


def textbook(
    layer: Hopfield,
    state: Tensor,
    stored: Tensor,
    value: Tensor,
    *,
    stored_mask: Tensor | None = None,
    association_mask: Tensor | None = None,
    association_bias: Tensor | None = None,
) -> Tensor:
    """The output for (*batch, L, size) and twice (*batch, N, size): deletions in place of masks, only loops."""
    *batch, L, _ = state.shape
    heads, N = layer.heads, stored.shape[-2]
    shape = (*batch, heads, L, N)
    mask = _wide(association_mask, True, shape)
    if stored_mask is not None:
        mask = mask & stored_mask.expand(*batch, N)[..., None, None, :]
    bias = _wide(association_bias, 0.0, shape).to(state.dtype)
    rows = []
    for at in itertools.product(*(range(size) for size in batch)):
        found = _sample(layer, state[at], stored[at], value[at], mask[at], bias[at])
        rows.append(found if layer.extra else found * mask[at].any(-1).any(0).unsqueeze(-1))
    if not rows:
        return state.new_zeros(*batch, L, layer.output_size)
    return torch.stack(rows).reshape(*batch, L, layer.output_size)


def _sample(layer: Hopfield, state: Tensor, stored: Tensor, value: Tensor, mask: Tensor, bias: Tensor) -> Tensor:
    def through(*modules):
        return nn.Sequential(*(module for module in modules if module is not None))

    def split(rows, projection):
        return [rows] * heads if projection is None else rows.chunk(heads, -1)

    heads, head_norm = layer.heads, through(layer.head_norm)
    connection = layer.project_stored if layer.connect_values else None
    state = split(through(layer.norm_state, layer.project_state)(state), layer.project_state)
    stored = split(through(layer.norm_stored, layer.project_stored)(stored), layer.project_stored)
    value = through(layer.norm_value, connection, layer.project_value)(value)
    value = split(value, layer.project_value if connection is None else nn.Identity())
    beta = layer.beta() if isinstance(layer.beta, nn.Module) else torch.as_tensor(layer.beta, dtype=torch.float64)
    beta = beta.to(state[0].dtype).expand(heads)
    mixed = []
    for h in range(heads):
        X, V, keep, b = head_norm(stored[h]), value[h], mask[h], bias[h]
        for name in layer.extra:
            learned = name == "bias"
            X = torch.cat([X, layer.extra_pattern[h : h + 1] if learned else X.new_zeros(1, X.shape[1])])
            V = torch.cat([V, layer.extra_value[h : h + 1] if learned else V.new_zeros(1, V.shape[1])])
            keep = torch.cat([keep, keep.new_ones(len(keep), 1)], 1)
            b = torch.cat([b, b.new_zeros(len(b), 1)], 1)
        if layer.similarity == "euclidean":
            b = b - X.square().sum(-1) / 2
        steps = layer.steps[h] if isinstance(layer.steps, tuple) else layer.steps
        states = head_norm(state[h])
        mixed.append(
            torch.stack(
                [_state(layer, beta[h], steps, states[i], X[keep[i]], V[keep[i]], b[i][keep[i]]) for i in range(len(b))]
            )
        )
    result = torch.cat(mixed, -1)
    return result if layer.project_output is None else layer.project_output(result)


def _state(layer: Hopfield, beta: Tensor, steps: int | None, xi: Tensor, X: Tensor, V: Tensor, b: Tensor) -> Tensor:
    def weights(xi):
        return layer.separation.weights(beta * (X @ xi + b))

    if steps is None:
        for _ in range(layer.max_steps):
            before, xi = xi, weights(xi) @ X
            if (xi - before).norm() < layer.tol:
                break
    else:
        for _ in range(steps - 1):
            xi = weights(xi) @ X
    return weights(xi) @ V


def gradients(output: Tensor, inputs: list[Tensor], layer: nn.Module) -> list[Tensor]:
    """Those of a scalar that weighs all entries of the output differently; zeros for what has no part in it."""
    weights = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).reshape(output.shape)
    tensors = [*inputs, *layer.parameters()]
    if not output.requires_grad:
        return [torch.zeros_like(tensor) for tensor in tensors]
    found = torch.autograd.grad((output * weights).sum(), tensors, allow_unused=True)
    return [torch.zeros_like(t) if grad is None else grad for t, grad in zip(tensors, found, strict=True)]


def all_close(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        close(one, other, tolerance)


def alone(layer: Hopfield, h: int) -> Hopfield:
    """Head h of a layer without output projection, by itself."""
    beta = layer.beta() if isinstance(layer.beta, nn.Module) else torch.as_tensor(layer.beta, dtype=torch.float64)
    single = Hopfield(
        layer.input_size,
        stored_size=layer.stored_size,
        value_size=layer.value_size,
        head_size=layer.head_size,
        head_value_size=layer.head_value_size,
        beta=float(beta.expand(layer.heads)[h].detach()),
        separation=layer.separation,
        similarity=layer.similarity,
        steps=layer.steps[h] if isinstance(layer.steps, tuple) else layer.steps,
        tol=layer.tol,
        norm="layer",
        project=("state", "stored", "value"),
    ).double()
    tensors = dict(layer.state_dict())
    size = {"state": layer.head_size, "stored": layer.head_size, "value": layer.head_value_size}
    for name, rows in size.items():
        for part in ("weight", "bias"):
            key = f"project_{name}.{part}"
            tensors[key] = tensors[key][h * rows : (h + 1) * rows]
    single.load_state_dict({name: tensors[name] for name in single.state_dict()})
    return single
