"""Random memories that meet the conditions of the theorems by construction."""

import math

import torch
from torch import Tensor

from hopfield.core.energy import update


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integer(g: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=g))


def uniform(g: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=g, dtype=torch.float64))


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def in_ball(g: torch.Generator, centres: Tensor, radius: float | Tensor) -> Tensor:
    """A random point of the ball around each centre, every third on its surface."""
    direction = torch.nn.functional.normalize(normal(g, *centres.shape), dim=-1)
    length = torch.rand(centres.shape[:-1], generator=g, dtype=torch.float64)
    length[..., ::3] = 1
    return centres + radius * length.unsqueeze(-1) * direction


def naive_separation(patterns: Tensor) -> Tensor:
    rows = range(len(patterns))
    return torch.stack(
        [torch.stack([patterns[i] @ (patterns[i] - patterns[j]) for j in rows if j != i]).min() for i in rows]
    )


def any_memory(g: torch.Generator) -> tuple[Tensor, float]:
    """Patterns of all norms, well separated or not, with beta from far too small to far too large."""
    patterns = normal(g, integer(g, 2, 12), integer(g, 1, 12)) * uniform(g, 0.3, 3)
    return patterns, math.exp(uniform(g, -5, 3))


def separated_memory(g: torch.Generator) -> tuple[Tensor, float]:
    """Patterns of nearly equal norm, and a beta at which all are just well separated, or up to 30 % more."""
    count = integer(g, 2, 12)
    patterns = torch.nn.functional.normalize(normal(g, count, integer(g, 24, 64)), dim=-1)
    patterns *= uniform(g, 0.1, 10) * (1 + 0.05 * torch.rand(count, 1, generator=g, dtype=torch.float64))
    smallest = float(naive_separation(patterns).min())
    largest = float(patterns.square().sum(-1).max())
    beta = 100 / smallest
    for _ in range(200):  # the larger root of beta smallest = 2/N + ln(2 (N-1) N beta M²)
        beta = (2 / count + math.log(2 * (count - 1) * count * beta * largest)) / smallest
    return patterns, beta * (1 + 1e-9) * uniform(g, 1, 1.3)


def clustered_memory(g: torch.Generator, *, level: bool = False) -> tuple[Tensor, Tensor, float]:
    """A tight cluster of patterns, its row numbers among others, and a beta that does not tell its members apart.

    In a level cluster all have the same norm; elsewhere a longer one may take most of the weight.
    """
    size, others, dim = integer(g, 2, 6), integer(g, 1, 8), integer(g, 24, 64)
    centre = torch.nn.functional.normalize(normal(g, dim), dim=-1)
    noise = normal(g, size, dim)
    if level:
        noise -= (noise @ centre).unsqueeze(1) * centre
    cluster = centre + uniform(g, 0.01, 0.03) * torch.nn.functional.normalize(noise, dim=-1)
    far = torch.nn.functional.normalize(normal(g, others, dim), dim=-1)
    far -= 0.5 * centre  # surely not similar to the cluster
    order = torch.randperm(size + others, generator=g)
    patterns = torch.cat([cluster, far])[order]
    spread = torch.linalg.vector_norm(cluster - cluster.mean(0), dim=-1).max()
    return patterns, (order < size).nonzero().squeeze(1), uniform(g, 0.2, 0.8) / float(spread) ** 2


def iterate(state: Tensor, patterns: Tensor, beta: float, steps: int = 2000) -> Tensor:
    for _ in range(steps):
        moved = update(state, patterns, beta=beta)
        if float((moved - state).abs().max()) <= 1e-14 * float(patterns.abs().max()):
            break
        state = moved
    return moved
