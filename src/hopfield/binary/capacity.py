"""How many random +-1 patterns the earlier networks store, as their authors derived it."""

import math
from dataclasses import dataclass

from hopfield.errors import HopfieldError


@dataclass(frozen=True)
class ClassicalCapacity:
    """Numbers of random patterns that a classical network of d units stores, for large d.

    Attributes:
        one_stable: d / (2 ln d), a given pattern is a fixed point with high probability.
        all_stable: d / (4 ln d), all patterns are fixed points with high probability.
        small_errors: 0.138 d, fixed points lie near the patterns, with a few percent of wrong units.
    """

    one_stable: float
    all_stable: float
    small_errors: float


def _check_dim(dim: int) -> None:
    if dim < 2:
        raise HopfieldError(f"dim: expected at least 2 units, got {dim}")


def classical_capacity(dim: int) -> ClassicalCapacity:
    """The capacity of `ClassicalHopfield`: d / (2 ln d), d / (4 ln d) and 0.138 d random patterns.

    Args:
        dim: d, the number of units, at least 2.

    Returns:
        A `ClassicalCapacity`: numbers of patterns, not rounded.

    Raises:
        HopfieldError: dim < 2.

    Source: McEliece et al. 1987 (C d / ln d, C < 1/2 and C < 1/4); Amit, Gutfreund and Sompolinsky 1985 (0.138 d);
    Ramsauer et al. 2021, appendix A.
    """
    _check_dim(dim)
    return ClassicalCapacity(dim / (2 * math.log(dim)), dim / (4 * math.log(dim)), 0.138 * dim)


def polynomial_log_capacity(dim: int, n: int) -> float:
    """The ln of how many random patterns F(z) = z^n stores without errors: d^(n-1) / (2 (2n-3)!! ln d).

    With n = 2 it is the d / (2 ln d) of the classical network. With a few wrong units it is alpha_n d^(n-1).

    Args:
        dim: d, the number of units, at least 2.
        n: the power, at least 2.

    Returns:
        The natural logarithm of the number of patterns; ``math.exp`` of it overflows above 709.

    Raises:
        HopfieldError: dim < 2 or n < 2.

    Source: Krotov and Hopfield 2016; Ramsauer et al. 2021, appendix A (alpha_n d^(n-1) / (c_n ln d)); blog equation 10.
    """
    _check_dim(dim)
    if n < 2:
        raise HopfieldError(f"n: expected a power of at least 2, got {n}")
    k = n - 1  # (2k - 1)!! = 2^k Gamma(k + 1/2) / sqrt(pi)
    double_factorial = k * math.log(2) + math.lgamma(k + 0.5) - 0.5 * math.log(math.pi)
    return k * math.log(dim) - math.log(2) - double_factorial - math.log(math.log(dim))


def exponential_log_capacity(dim: int, flipped: float = 0.0) -> float:
    """The ln of how many random patterns F = exp stores: N = exp(alpha d) + 1 at the largest alpha.

        alpha < I(1 - 2 rho) / 2,    I(a) = ((1 + a) ln(1 + a) + (1 - a) ln(1 - a)) / 2

    Up to that number one update repairs a pattern of which a part rho of the units is flipped, with high probability as
    d grows. At rho = 0 it is 2^(d/2) + 1.

    Args:
        dim: d, the number of units, at least 2.
        flipped: rho, the part of the units that is flipped, 0 <= rho < 1/2; default 0.

    Returns:
        The natural logarithm of the number of patterns; ``math.exp`` of it overflows above 709.

    Raises:
        HopfieldError: dim < 2, or flipped outside [0, 1/2).

    Source: Demircigil et al. 2017; Ramsauer et al. 2021, theorem A10.
    """
    _check_dim(dim)
    if not 0 <= flipped < 0.5:
        raise HopfieldError(f"flipped: expected a part of the units in [0, 0.5), got {flipped}")
    # With a = 1 - 2 rho: 1 + a = 2 (1 - rho) and 1 - a = 2 rho.
    surplus = sum(part * math.log(2 * part) for part in (1 - flipped, flipped) if part > 0)
    exponent = surplus / 2 * dim
    return exponent + math.log1p(math.exp(-exponent))
