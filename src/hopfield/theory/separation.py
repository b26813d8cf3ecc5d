"""How far patterns stand apart, and when that is far enough for each to be stored as a fixed point of its own.

Notation here and in the modules beside this one: patterns x_i are the rows of a matrix (N, d), M = max_i |x_i|,
p_j = softmax(β x_j·ξ) are the association weights of a state ξ, f(ξ) = Σ_j p_j x_j is its update, x_i* a fixed point
of f. If patterns have unit u, then separations have unit u², β has 1/u², radii and errors have u.

Source of all statements: Ramsauer et al., "Hopfield Networks is All You Need", ICLR 2021, and its appendix A.
"""

import math

import torch
from torch import Tensor

from hopfield.theory.checks import Index, check_index, check_patterns, check_positive

_BLOCK_ENTRIES = 1 << 22  # dot products held at a time: 16 MiB in float32


def pattern_separation(patterns: Tensor, index: Index = None) -> Tensor:
    """Separation of each pattern from all others, Δ_i = min_{j≠i} x_i·(x_i - x_j) = |x_i|² - max_{j≠i} x_i·x_j.

    Source: definition 2. For patterns of equal norm it is half the squared distance to the nearest other pattern. It is
    negative where another pattern has the larger dot product with x_i, zero for duplicates, +inf where N = 1.
    Takes O(N² d) time; dot products are made in blocks of rows, so memory stays O(N) for each row of a block. Gradients
    flow to the patterns.

    Args:
        patterns: the memory (N, d).
        index: patterns to look at, an int or integers of any shape; default all.

    Returns:
        Δ_i in the patterns' dtype (float32 for half precision), shape (N,), or that of `index`.

    Raises:
        HopfieldError: patterns are no finite floating-point matrix, or `index` is out of range.
    """
    memory = check_patterns(patterns)
    return separation_of(memory, check_index(index, memory))


def sphere_radius(patterns: Tensor, beta: float) -> Tensor:
    """Radius 1/(β N M) of the sphere S_i = {ξ : |ξ - x_i| ≤ 1/(β N M)} around each pattern.

    Source: definition 3. The radius is the same for all patterns; +inf if all patterns are zero.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.

    Returns:
        The radius, shape ().

    Raises:
        HopfieldError: patterns are no finite floating-point matrix, or beta is not positive and finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    return 1 / (beta * len(memory) * largest_norm(memory))


def required_separation(patterns: Tensor, beta: float) -> Tensor:
    """Separation at which a pattern is well separated, 2/(β N) + ln(2 (N-1) N β M²)/β.

    Source: lemmas A5-A7. The capacity theorems use the slightly larger 2/(β N) + ln(2 N² β M²)/β, the "master
    inequality". The value is -inf where N = 1.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.

    Returns:
        The separation asked of every Δ_i, shape ().

    Raises:
        HopfieldError: patterns are no finite floating-point matrix, or beta is not positive and finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    count = len(memory)
    # The logarithm of each factor apart, so that beta M² cannot overflow.
    pairs = math.log(2 * (count - 1) * count * beta) if count > 1 else -math.inf
    return 2 / (beta * count) + (pairs + 2 * largest_norm(memory).log()) / beta


def well_separated(patterns: Tensor, beta: float) -> Tensor:
    """Which patterns are surely stored: Δ_i ≥ 2/(β N) + ln(2 (N-1) N β M²)/β, and 1 < 2 (N-1) N β M².

    Then the update maps the sphere S_i (`sphere_radius`) into itself (lemma A5) and is a contraction there (lemma A6),
    so S_i holds exactly one fixed point x_i*, every iteration from inside S_i converges to it (lemma A7, by Banach's
    theorem), and no other sphere meets S_i. The second condition (Eq. 305) is what keeps spheres apart: at a very small
    β the first is met by patterns that all lead to one global fixed point. The conditions are sufficient, not
    necessary. A single pattern (N = 1) is always well separated.

    Args:
        patterns: the memory (N, d).
        beta: inverse temperature β.

    Returns:
        bool (N,).

    Raises:
        HopfieldError: patterns are no finite floating-point matrix, or beta is not positive and finite.
    """
    memory, beta = check_patterns(patterns), check_positive("beta", beta)
    count = len(memory)
    required = required_separation(memory, beta)
    apart = beta * required > 2 / count if count > 1 else torch.ones_like(required, dtype=torch.bool)
    return (separation_of(memory, check_index(None, memory)) >= required) & apart


def largest_norm(memory: Tensor) -> Tensor:
    """M = max_i |x_i|, shape ()."""
    return lengths(memory).amax()


def lengths(vectors: Tensor) -> Tensor:
    """Euclidean norms over the last dimension."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return norms


def separation_of(memory: Tensor, index: Tensor) -> Tensor:
    """`pattern_separation` of checked arguments."""
    count = len(memory)
    if count == 1:
        return memory.new_full(index.shape, math.inf)
    rows = index.flatten()
    with torch.no_grad():  # only to find the rivals, so that gradients need no N × N graph
        block = max(1, _BLOCK_ENTRIES // count)
        rivals = [
            (memory[chunk] @ memory.mT).scatter_(1, chunk.unsqueeze(1), -math.inf).argmax(1)
            for chunk in rows.split(block)
        ]
    pattern = memory[rows]
    # x·(x - y) rather than x·x - x·y: exact for duplicates, and no cancellation when norms are large.
    return (pattern * (pattern - memory[torch.cat(rivals)])).sum(-1).reshape(index.shape)
