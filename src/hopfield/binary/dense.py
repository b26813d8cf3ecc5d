"""Dense associative memories: polynomial (Krotov and Hopfield) and exponential (Demircigil et al.) interactions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from hopfield.binary.network import BinaryNetwork, as_states
from hopfield.errors import HopfieldError

# A vote smaller than this part of the terms it is summed from is rounding, and counts as a tie.
_TIE = 1e-13
# Queries are taken in blocks of this many overlaps (8 MiB), whatever N and B are.
_BLOCK = 2**20


@runtime_checkable
class Interaction(Protocol):
    """The function F of the energy E(s) = -sum_i F(x_i . s), seen only through integer overlaps m_i = x_i . s."""

    def around(self, overlaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """F(m - 2), F(m) and F(m + 2), (B, N) each, divided by any one positive number per query (row)."""
        ...

    def energy(self, overlaps: Tensor, dim: int) -> Tensor:
        """The energy, (B, N) to (B), on any scale that rises with E and does not overflow."""
        ...


@dataclass(frozen=True)
class Exponential:
    """F(z) = exp(beta z), kept in the log domain.

    Args:
        beta: inverse temperature, per unit of overlap, finite and > 0; default 1, as in Demircigil et al. 2017. The
            example of the paper's blog uses 1/sqrt(d). Beyond about 10 votes weaker than 1e-13 of the rest are ties.

    Raises:
        HopfieldError: beta that is not a finite number > 0.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise HopfieldError(f"beta: expected a finite number > 0, got {self.beta}")

    def around(self, overlaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """exp(beta (m - 2)), exp(beta m), exp(beta (m + 2)), (B, N) each, divided by the row's largest: at most 1."""
        top = torch.exp(self.beta * (overlaps - overlaps.amax(-1, keepdim=True)))
        return top * math.exp(-4 * self.beta), top * math.exp(-2 * self.beta), top

    def energy(self, overlaps: Tensor, dim: int) -> Tensor:  # noqa: ARG002  # other interactions need it
        """-ln(-E) = -ln sum_i exp(beta m_i), (B, N) to (B)."""
        return -torch.logsumexp(self.beta * overlaps, -1)


@dataclass(frozen=True)
class Polynomial:
    """F(z) = z^n.

    Args:
        n: the power, an integer of at least 2 (2 is the classical network).

    Raises:
        HopfieldError: n that is not an integer of at least 2.
    """

    n: int

    def __post_init__(self) -> None:
        if type(self.n) is not int or self.n < 2:  # a bool is not a power
            raise HopfieldError(f"n: expected an integer power of at least 2, got {self.n!r}")

    def _power(self, z: Tensor) -> Tensor:
        return z**self.n

    def around(self, overlaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(m - 2)^n, m^n, (m + 2)^n, (B, N) each, divided by the n-th power of a bound on the row's overlaps."""
        # A power of two, so that small integers stay exact.
        bound = torch.exp2((overlaps.abs().amax(-1, keepdim=True) + 2).log2().ceil())
        return tuple(self._power((overlaps + shift) / bound) for shift in (-2, 0, 2))  # type: ignore[return-value]  # three of them

    def energy(self, overlaps: Tensor, dim: int) -> Tensor:
        """E / d^n = -sum_i (m_i / d)^n, (B, N) to (B)."""
        return -self._power(overlaps / dim).sum(-1)


@dataclass(frozen=True)
class RectifiedPolynomial(Polynomial):
    """F(z) = max(z, 0)^n: patterns opposite to the state have no vote (Krotov and Hopfield 2016).

    Args:
        n: the power, an integer of at least 2.

    Raises:
        HopfieldError: n that is not an integer of at least 2.
    """

    def _power(self, z: Tensor) -> Tensor:
        return z.clamp_min(0) ** self.n


class DenseHopfield(BinaryNetwork):
    """A dense associative memory of +-1 units.

        E(s) = -sum_i F(x_i . s)
        s'_j = sgn( sum_i F(x_ij + sum_{l != j} x_il s_l) - F(-x_ij + sum_{l != j} x_il s_l) ),   sgn(0) keeps s_j

    Unit j flips exactly when that alone would lower the energy. With overlaps m_i = x_i . s the term of pattern i
    depends on x_ij s_j = +-1 only, so one matrix product gives the votes of all units:

        vote for s_j = c + s_j (w^T X)_j
        w_i = (F(m_i + 2) - F(m_i - 2)) / 2,   c = sum_i F(m_i) - (F(m_i + 2) + F(m_i - 2)) / 2

    and the unit flips where it is negative. For F = exp: unit j stays where s_j (X^T softmax(X s))_j >= tanh(1), so it
    is the modern network's update behind a threshold. With F(z) = z^2 it is `ClassicalHopfield` with a zero diagonal.

    A synchronous step, and a sweep but for its flips, takes O(N d) per query; memory beyond the patterns is bounded
    whatever the number of queries. A vote below 1e-13 of the terms it is summed from counts as zero.

    Args:
        patterns: (N, d) of -1 and +1, any float or signed integer dtype; it is copied.
        interaction: "exp" (default) for F(z) = exp(z); an integer n >= 2 for F(z) = z^n; or an object:
            `Exponential(beta)`, `Polynomial(n)`, `RectifiedPolynomial(n)`, or your own `Interaction`.

    Raises:
        HopfieldError: patterns that are not a non-empty (N, d) of +-1, or an unknown interaction.

    Source: Krotov and Hopfield 2016; Demircigil et al. 2017; Ramsauer et al. 2021, equation 545 and theorem A10.
    """

    def __init__(self, patterns: Tensor, *, interaction: Interaction | int | Literal["exp"] = "exp") -> None:
        super().__init__(patterns)
        if isinstance(interaction, int):
            interaction = Polynomial(interaction)
        elif interaction == "exp":
            interaction = Exponential()
        if not isinstance(interaction, Interaction):
            raise HopfieldError(
                f'interaction: expected "exp", an integer n >= 2, or an object such as Exponential(beta), '
                f"Polynomial(n) or RectifiedPolynomial(n), got {interaction!r}"
            )
        self.interaction: Interaction = interaction

    def energy(self, state: Tensor) -> Tensor:
        """The energy E(s) = -sum_i F(x_i . s) on a scale that does not overflow and falls where E falls.

            F(z) = exp(beta z):     -ln(-E) = -ln sum_i exp(beta x_i . s)      (the paper's -lse(1, X s) at beta = 1)
            F(z) = z^n:             E / d^n = -sum_i (x_i . s / d)^n           (rectified: of the positive overlaps)

        Args:
            state: (*batch, d) of -1 and +1, any float or signed integer dtype.

        Returns:
            (*batch), float64, on the device of ``state``.

        Raises:
            HopfieldError: entries other than +-1, or a last dimension other than d.

        Source: Krotov and Hopfield 2016; Demircigil et al. 2017; Ramsauer et al. 2021, appendix A.
        """
        states = as_states("state", state, self.patterns)
        return self._energy(states).reshape(state.shape[:-1]).to(state.device)

    def _energy(self, states: Tensor) -> Tensor:
        dim = states.shape[1]
        energies = [self.interaction.energy(block @ self.patterns.T, dim) for block in self._blocks(states)]
        return torch.cat(energies)

    def _blocks(self, states: Tensor) -> Iterator[Tensor]:
        return iter(states.split(max(1, _BLOCK // len(self))))

    def _votes(self, overlaps: Tensor) -> tuple[Tensor, Tensor]:
        """Overlaps (B, N) to w (B, N) and the bound (B) under which s_j (w^T X)_j makes unit j flip."""
        below, here, above = self.interaction.around(overlaps)
        constant = (here - (above + below) / 2).sum(-1)
        tie = _TIE * (above.abs() + below.abs()).sum(-1)
        return (above - below) / 2, -constant - tie

    def _flips(self, states: Tensor) -> Tensor:
        flips = []
        for block in self._blocks(states):
            weights, bound = self._votes(block @ self.patterns.T)
            flips.append(block * (weights @ self.patterns) < bound[:, None])
        return torch.cat(flips)

    def _sweep(self, states: Tensor, order: list[int]) -> Tensor:
        columns = self.patterns.T.contiguous()
        swept = []
        for block in self._blocks(states):
            units = block.T.clone(memory_format=torch.contiguous_format)
            overlaps = block @ columns
            weights, bound = self._votes(overlaps)
            for j in order:
                flipped = (units[j] * (weights @ columns[j]) < bound).nonzero().squeeze(-1)
                if len(flipped):
                    units[j, flipped] *= -1
                    # Only what a flip touches is worked out again: the overlaps of that query, and their votes.
                    changed = overlaps[flipped] + 2 * units[j, flipped, None] * columns[j]
                    overlaps[flipped] = changed
                    weights[flipped], bound[flipped] = self._votes(changed)
            swept.append(units.T)
        return torch.cat(swept)
