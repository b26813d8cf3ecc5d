"""The classical Hopfield network: Hebb weights, quadratic energy."""

from functools import cached_property

import torch
from torch import Tensor

from hopfield.binary.network import BinaryNetwork, as_states
from hopfield.errors import HopfieldError


class ClassicalHopfield(BinaryNetwork):
    """The network of Hopfield 1982: +-1 units, Hebb weights W, biases b.

        W = (1/d) sum_i x_i x_i^T,   E(s) = -1/2 s^T W s + b^T s,   s' = sgn(W s - b),   sgn(0) keeps the old state

    The paper writes W without 1/d. The factor brings the fields to the size of one whatever d is; it changes no sign
    when b = 0, and a bias for the paper's W is d times the one for this W.

    The fields are kept as the integers of the unscaled W, so a tie is a tie and not a rounding error. W itself, (d, d),
    is built only where it is used: a synchronous step with N < d/2 costs less through the overlaps X s.

    Args:
        patterns: (N, d) of -1 and +1, any float or signed integer dtype; it is copied.
        zero_diagonal: True (default) sets W_jj = 0; False keeps the self-connections W_jj = N/d, which make units
            stick to their state and only add the constant -N/2 to the energy.
        bias: (d), finite, in the units of W s; default zeros.

    Raises:
        HopfieldError: patterns that are not a non-empty (N, d) of +-1; a bias that is not a finite (d).

    Source: Hopfield 1982; Ramsauer et al. 2021, appendix A; blog equations 1-4.
    """

    def __init__(self, patterns: Tensor, *, zero_diagonal: bool = True, bias: Tensor | None = None) -> None:
        super().__init__(patterns)
        dim = self.patterns.shape[1]
        bias = torch.zeros(dim) if bias is None else torch.as_tensor(bias)
        if bias.shape != (dim,):
            raise HopfieldError(f"bias: expected shape ({dim},), one entry per unit, got {tuple(bias.shape)}")
        bad = int((~torch.isfinite(bias)).sum())
        if bad:
            raise HopfieldError(f"bias: expected finite numbers, {bad} of {dim} entries are not; remove them first")
        self.zero_diagonal = zero_diagonal
        self.bias = bias.detach().to(self.patterns, copy=True)

    @cached_property
    def _counts(self) -> Tensor:
        """W times d: integers, exact in float64."""
        counts = self.patterns.T @ self.patterns
        if self.zero_diagonal:
            counts.fill_diagonal_(0)
        return counts

    @property
    def weights(self) -> Tensor:
        """W = (1/d) sum_i x_i x_i^T, (d, d) float64, with W_jj = 0 where ``zero_diagonal`` (Hebb 1949)."""
        return self._counts / self.patterns.shape[1]

    def energy(self, state: Tensor) -> Tensor:
        """E(s) = -1/2 s^T W s + b^T s, with W = (1/d) sum_i x_i x_i^T.

        Args:
            state: (*batch, d) of -1 and +1, any float or signed integer dtype.

        Returns:
            (*batch), float64, on the device of ``state``. A stored pattern far below capacity lies near -d/2.

        Raises:
            HopfieldError: entries other than +-1, or a last dimension other than d.

        Source: Hopfield 1982; Ramsauer et al. 2021, appendix A; blog equation 4.
        """
        states = as_states("state", state, self.patterns)
        return self._energy(states).reshape(state.shape[:-1]).to(state.device)

    def _energy(self, states: Tensor) -> Tensor:
        dim = states.shape[1]
        return (states * (self.bias - self._fields(states) / (2 * dim))).sum(-1)

    def _fields(self, states: Tensor) -> Tensor:
        """W s times d, (B, d) to (B, d)."""
        count, dim = self.patterns.shape
        if 2 * count >= dim:
            return states @ self._counts
        fields = (states @ self.patterns.T) @ self.patterns
        return fields - count * states if self.zero_diagonal else fields

    def _flips(self, states: Tensor) -> Tensor:
        return states * (self._fields(states) - states.shape[1] * self.bias) < 0

    def _sweep(self, states: Tensor, order: list[int]) -> Tensor:
        counts = self._counts
        # One row per unit, so that a unit's states and fields lie side by side for all queries.
        units = states.T.clone(memory_format=torch.contiguous_format)
        fields = (self._fields(states) - states.shape[1] * self.bias).T.contiguous()
        for j in order:
            flipped = (units[j] * fields[j] < 0).nonzero().squeeze(-1)
            if len(flipped):
                units[j, flipped] *= -1
                fields[:, flipped] += counts[:, j, None] * (2 * units[j, flipped])
        return units.T.contiguous()
