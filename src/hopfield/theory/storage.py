"""How many patterns a memory can hold: the capacity theorems, for random patterns and for patterns placed at will.

In all of them patterns lie on a sphere of radius M = K √(d-1) in d dimensions; `radius` is K. The guaranteed numbers
grow as c^((d-1)/4): the exponential growth is the statement, at small d the numbers are tiny. All arguments and results
are plain numbers.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from hopfield.errors import HopfieldError
from hopfield.theory.checks import check_dim, check_failure, check_positive


@dataclass(frozen=True)
class Capacity:
    """What `capacity` found.

    Attributes:
        a: 2/(d-1) (1 + ln(2 β K² p (d-1))).
        b: 2 K² β / 5.
        c: the base of the exponential growth, root of a c + c ln c - b = 0.
        patterns: the number of patterns surely stored with probability 1 - p, √p c^((d-1)/4); inf if beyond floats.
        holds: whether the theorem applies, c ≥ (2/√p)^(4/(d-1)), which is to say patterns ≥ 2.
        log_patterns: natural logarithm of `patterns`, finite even where that is not.
    """

    a: float
    b: float
    c: float
    patterns: float
    holds: bool
    log_patterns: float


class CapacityDimension(NamedTuple):
    """What `capacity_dimension` found.

    Attributes:
        a: ln(c)/2 - K² β / (5 c).
        b: 1 + ln(2 p β K²).
        root: the d, in general no integer, at which theorem 3 gives exactly c: solves a (d-1) + ln(d-1) + b = 0; NaN if
            there is none.
        smallest: the smallest integer d ≥ 2 at which both conditions hold; inf if there is none.
    """

    a: float
    b: float
    root: float
    smallest: float


class PlacedCapacity(NamedTuple):
    """What `placed_capacity` found.

    Attributes:
        patterns: base^(d-1); inf if beyond floats.
        log_patterns: its natural logarithm.
        separation: Δ_min = M² (1 - cos(2π/base)).
        required: 2/(β N) + ln(2 N² β M²)/β.
        margin: separation - required.
        holds: margin ≥ 0.
    """

    patterns: float
    log_patterns: float
    separation: float
    required: float
    margin: float
    holds: bool


def capacity(*, beta: float, radius: float, dim: int, failure: float) -> Capacity:
    """Number of random patterns that are surely stored: N ≥ √p c^((d-1)/4) with probability 1 - p.

    Patterns are drawn uniformly from the sphere of radius M = K √(d-1). With

        a = 2/(d-1) (1 + ln(2 β K² p (d-1))),   b = 2 K² β / 5,   c = b / W₀(exp(a + ln b)),

    W₀ the upper branch of the Lambert function, the statement holds if c ≥ (2/√p)^(4/(d-1)).
    Source: theorem 3 = theorem A5. The examples of the paper: β = 1, K = 3, d = 20, p = 0.001 gives c ≥ 3.1546; β = 1,
    K = 1, d = 75, p = 0.001 gives c ≥ 1.3718.

    Caveat: neither the theorem nor `holds` asks for 1 < 2 N² β M² (compare Eq. 305), which keeps the spheres of the
    patterns apart. At a very small β M² it fails, and the patterns counted share one global fixed point.

    Args:
        beta: inverse temperature β.
        radius: K in M = K √(d-1).
        dim: pattern size d ≥ 2.
        failure: the probability p, 0 < p ≤ 1, with which the statement may fail.

    Returns:
        `Capacity`, with fields a, b, c, patterns, holds, log_patterns.

    Raises:
        HopfieldError: an argument is out of its range.
    """
    beta, radius, dim, failure = _check_sphere(beta, radius, dim, failure)
    a, b, log_b = _coefficients(beta, radius, dim, failure)
    return _capacity(a, b, log_b - log_lambert_w(a + log_b), dim, failure)


def capacity_corollary(*, beta: float, radius: float, dim: int, failure: float) -> Capacity:
    """`capacity` in elementary functions: a smaller c, from an upper bound of W₀.

    With u = a + ln b and Ω = W₀(1) = 0.567143…,

        c = b / ln((Ω exp(u) + 1) / (Ω (1 + Ω)))   if u ≤ 0,      c = b u^(-u/(u+1))   if u > 0.

    For u > ½ it is at most 4 % below that of `capacity`; just above u = 0, where the bound jumps, it is smaller by a
    factor of 1.76, and far below u = 0 by any factor.
    Source: corollary A1; its examples are c ≥ 3.1444 and c ≥ 1.2585. (Misprint: the bound of W₀ itself, Eq. 358, is
    printed as its own inverse; the corollary is right.)

    Args:
        beta: inverse temperature β.
        radius: K in M = K √(d-1).
        dim: pattern size d ≥ 2.
        failure: the probability p, 0 < p ≤ 1, with which the statement may fail.

    Returns:
        `Capacity`; `patterns` and `holds` are those of this smaller c.

    Raises:
        HopfieldError: an argument is out of its range.
    """
    beta, radius, dim, failure = _check_sphere(beta, radius, dim, failure)
    a, b, log_b = _coefficients(beta, radius, dim, failure)
    u = a + log_b
    if u > 0:
        log_c = log_b - u / (u + 1) * math.log(u)
    else:
        omega = math.exp(log_lambert_w(0.0))
        log_c = log_b - math.log(math.log((omega * math.exp(u) + 1) / (omega * (1 + omega))))
    return _capacity(a, b, log_c, dim, failure)


def capacity_dimension(*, beta: float, radius: float, c: float, failure: float) -> CapacityDimension:
    """Dimension in which random patterns are stored with base c, N ≥ √p c^((d-1)/4).

    That is so with probability 1 - p where a (d-1) + ln(d-1) + b ≤ 0 and c ≥ (2/√p)^(4/(d-1)), with

        a = ln(c)/2 - K² β / (5 c),   b = 1 + ln(2 p β K²).

    Equality is at d = 1 + W(a exp(-b))/a, with the branch W₀ if a > 0 and W₋₁ if a < 0, and at d = 1 + exp(-b) if
    a = 0. The first condition asks for large d if a < 0, and for *small* d if a ≥ 0, where c is more than large
    dimensions give.
    Source: theorem A6 and corollary A2.

    The paper's example is wrong. For β = 1, K = 3, c = 2, p = 0.001 it prints "d < 24"; but there
    a exp(-b) = -11.3 < -1/e, so the formula has no solution (`root` is NaN): the first condition holds in every
    dimension. Only the second one binds and asks for d ≥ 24.93, hence `smallest` is 25.

    Args:
        beta: inverse temperature β.
        radius: K in M = K √(d-1).
        c: the base asked for, > 1.
        failure: the probability p, 0 < p ≤ 1, with which the statement may fail.

    Returns:
        `CapacityDimension`, with fields a, b, root, smallest.

    Raises:
        HopfieldError: an argument is out of its range.
    """
    beta, radius = check_positive("beta", beta), check_positive("radius", radius)
    c, failure = check_positive("c", c), check_failure(failure)
    if c <= 1:
        raise HopfieldError(f"c must be larger than 1, or the number of patterns does not grow, got {c}.")
    a = math.log(c) / 2 - radius * radius * beta / (5 * c)
    b = 1 + math.log(2 * failure) + math.log(beta) + 2 * math.log(radius)
    if a > 0:
        root = 1 + math.exp(log_lambert_w(math.log(a) - b) - math.log(a))
    elif a == 0:
        root = 1 + math.exp(-b)
    else:
        level = b - math.log(-a)  # s - ln s = level for s = -a (d-1) ≥ 1
        root = 1 - _upper_root(level) / a if level >= 1 else math.nan
    dim = max(2, math.ceil(1 + 4 * math.log(2 / math.sqrt(failure)) / math.log(c)))
    if a * (dim - 1) + math.log(dim - 1) + b <= 0:
        smallest: float = dim
    elif a < 0:
        smallest = math.ceil(root)
    else:
        smallest = math.inf
    return CapacityDimension(a, b, root, smallest)


def expected_separation_margin(*, beta: float, radius: float, dim: int, c: float) -> float:
    """Room left by the expected separation of N = c^((d-1)/4) random patterns: they are stored where it is ≥ 0.

        (d-1) K²/(5c) (1 - ln(d-1)/(d-1))² - 2/(β c^((d-1)/4)) - ln(2 c^((d-1)/2) β (d-1) K²)/β

    Source: theorem A7. The paper's example is wrong: for β = 1, K = 3, c = 2 it prints d ≥ 17, but the margin is -1.49,
    -1.10, -0.69 and -0.28 at d = 17 to 20; the inequality first holds at d = 21 (+0.13).

    Args:
        beta: inverse temperature β.
        radius: K in M = K √(d-1).
        dim: pattern size d ≥ 2.
        c: base of the number of patterns.

    Returns:
        Left side minus right side of the theorem's inequality, a separation.

    Raises:
        HopfieldError: an argument is out of its range.
    """
    beta, radius, c = check_positive("beta", beta), check_positive("radius", radius), check_positive("c", c)
    rank = check_dim(dim) - 1
    expected = rank * radius * radius / (5 * c) * (1 - math.log(rank) / rank) ** 2
    return expected - _master(beta, radius, rank, rank / 4 * math.log(c))


def placed_capacity(*, radius: float, dim: int, beta: float = 1.0, base: float = 4.0) -> PlacedCapacity:
    """Number of patterns that can be stored if they are placed at will on the sphere: N = base^(d-1).

    They are stored if Δ_min = M² (1 - cos α) ≥ 2/(β N) + ln(2 N² β M²)/β, the "master inequality", where α = 2π/base is
    the smallest angle between two patterns.
    Source: theorem A3, N = 2^(2(d-1)) (base 4) for β = 1 and K = 2, d ≥ 4 or K = 1.7, d ≥ 50; theorem A4,
    N = 2^(3(d-1)) (base 8) for β = 1 and K = 5, d ≥ 3 or K = 4, d ≥ 13.

    Caveat: that N = (2π/α)^(d-1) points with smallest angle α fit on the sphere is the paper's heuristic (the same step
    in every spherical coordinate), not a proven packing: the four points of base 4 on the circle d = 2 do, but
    coordinates crowd at the poles in higher dimensions. Take the inequality as a statement about Δ_min and N, and check
    real patterns with `well_separated`.

    Args:
        radius: K in M = K √(d-1).
        dim: pattern size d ≥ 2.
        beta: inverse temperature β.
        base: patterns for each dimension but one, ≥ 2.

    Returns:
        `PlacedCapacity`, with fields patterns, log_patterns, separation, required, margin, holds.

    Raises:
        HopfieldError: an argument is out of its range.
    """
    beta, radius, rank = check_positive("beta", beta), check_positive("radius", radius), check_dim(dim) - 1
    base = check_positive("base", base)
    if base < 2:
        raise HopfieldError(f"base must be at least 2, as no two directions are more than π apart, got {base}.")
    log_patterns = rank * math.log(base)
    separation = radius * radius * rank * (1 - math.cos(2 * math.pi / base))
    required = _master(beta, radius, rank, log_patterns)
    margin = separation - required
    return PlacedCapacity(_exp(log_patterns), log_patterns, separation, required, margin, margin >= 0)


def log_lambert_w(z: float) -> float:
    """Logarithm of W₀(exp(z)): the y with exp(y) + y = z, where exp(z) itself may overflow or vanish."""
    # Newton on a convex, increasing function, from the right of its root: the steps never pass the root.
    y = math.log(z) if z > 1 else z
    for _ in range(100):
        w = math.exp(y)
        step = (w + y - z) / (w + 1)
        y -= step
        if abs(step) <= 1e-15 * abs(y):
            break
    return y


def _upper_root(level: float) -> float:
    """The s ≥ 1 with s - ln s = level ≥ 1; -s is W₋₁(-exp(-level))."""
    s = 2 * level
    for _ in range(100):
        slope = 1 - 1 / s
        step = (s - math.log(s) - level) / slope if slope > 0 else 0.0
        s = max(1.0, s - step)
        if abs(step) <= 1e-15 * s:
            break
    return s


def _check_sphere(beta: float, radius: float, dim: int, failure: float) -> tuple[float, float, int, float]:
    return check_positive("beta", beta), check_positive("radius", radius), check_dim(dim), check_failure(failure)


def _coefficients(beta: float, radius: float, dim: int, failure: float) -> tuple[float, float, float]:
    """The numbers a, b and ln b of theorem 3."""
    log_strength = math.log(beta) + 2 * math.log(radius)  # ln(β K²), which may itself overflow
    a = 2 / (dim - 1) * (1 + math.log(2 * (dim - 1)) + math.log(failure) + log_strength)
    log_b = math.log(0.4) + log_strength
    return a, _exp(log_b), log_b


def _capacity(a: float, b: float, log_c: float, dim: int, failure: float) -> Capacity:
    log_patterns = math.log(failure) / 2 + (dim - 1) / 4 * log_c
    return Capacity(a, b, _exp(log_c), _exp(log_patterns), log_patterns >= math.log(2), log_patterns)


def _master(beta: float, radius: float, rank: int, log_patterns: float) -> float:
    """Right side of the master inequality, 2/(β N) + ln(2 N² β M²)/β, from ln N."""
    log_strength = math.log(2 * beta * rank) + 2 * math.log(radius)
    return (2 * _exp(-log_patterns) + log_strength + 2 * log_patterns) / beta


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
