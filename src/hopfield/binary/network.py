"""What the networks of +-1 units share: checking, one synchronous update, and retrieval until nothing changes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from hopfield.errors import HopfieldError

Mode = Literal["synchronous", "asynchronous"]


@dataclass(frozen=True, eq=False)
class BinaryRetrieval:
    """What a retrieval of +-1 states ended with, one entry per query, on the query's device.

    Attributes:
        state: (*batch, d), the final states, in the query's dtype. For a query in a 2-cycle it is one of its two
            states, and ``network.update(state)`` is the other.
        energy: (*batch), float64, the network's ``energy`` of ``state``.
        steps: (*batch), int64, the number of updates (synchronous) or sweeps (asynchronous) that changed the state;
            0 for a query that was a fixed point already.
        converged: (*batch), bool, True where one more update was seen to change nothing, so ``state`` is a fixed point.
        cycle: (*batch), bool, True where the synchronous dynamics alternates between two states. A query that is
            neither ``converged`` nor in a ``cycle`` was stopped by ``max_steps``.
    """

    state: Tensor
    energy: Tensor
    steps: Tensor
    converged: Tensor
    cycle: Tensor


def as_binary(name: str, values: Tensor) -> Tensor:
    """The values as a float64 tensor of their own, once it is sure that every entry is -1 or +1."""
    if not isinstance(values, Tensor):
        raise HopfieldError(f"{name}: expected a torch.Tensor, got {type(values).__name__}; use torch.as_tensor first")
    if values.dtype == torch.bool or values.is_complex() or not values.dtype.is_signed:
        raise HopfieldError(
            f"{name}: expected a float or signed integer dtype, got {values.dtype}; "
            f"binarise first, for example torch.where(x > 0, 1, -1)"
        )
    result = values.detach().to(torch.float64, copy=True)
    wrong = int((result.abs() != 1).sum())
    if wrong:
        raise HopfieldError(
            f"{name}: {wrong} of {values.numel()} entries are not +-1; "
            f"binarise first, for example torch.where(x > 0, 1, -1)"
        )
    return result


def as_patterns(patterns: Tensor) -> Tensor:
    """The stored patterns as a float64 (N, d) tensor of +-1 with at least one pattern and one unit."""
    result = as_binary("patterns", patterns)
    if result.ndim != 2 or not result.numel():
        raise HopfieldError(f"patterns: expected shape (N, d) with N and d at least 1, got {tuple(patterns.shape)}")
    return result


def as_states(name: str, states: Tensor, patterns: Tensor) -> Tensor:
    """States (*batch, d) as a float64 (B, d) tensor of +-1 on the patterns' device."""
    result = as_binary(name, states)
    dim = patterns.shape[-1]
    if result.ndim == 0 or result.shape[-1] != dim:
        raise HopfieldError(f"{name}: expected shape (*batch, {dim}) as the patterns have, got {tuple(states.shape)}")
    return result.reshape(-1, dim).to(patterns.device)


class BinaryNetwork(ABC):
    """A network of d units of +-1 that stores N patterns; the base of `ClassicalHopfield` and `DenseHopfield`.

    All arithmetic is in float64, where overlaps of +-1 vectors are exact integers. It runs on the device of the
    patterns; what comes back is on the device of the query. ``len(network)`` is N.

    Attributes:
        patterns: (N, d), float64, the stored patterns (8 N d bytes).
    """

    patterns: Tensor

    def __init__(self, patterns: Tensor) -> None:
        self.patterns = as_patterns(patterns)

    def __len__(self) -> int:
        """N, the number of stored patterns."""
        return self.patterns.shape[0]

    @abstractmethod
    def energy(self, state: Tensor) -> Tensor:
        """The energy of each state: (*batch, d) of +-1 to (*batch), float64. The subclasses give the formula."""

    @abstractmethod
    def _energy(self, states: Tensor) -> Tensor:
        """(B, d) float64 to (B)."""

    @abstractmethod
    def _flips(self, states: Tensor) -> Tensor:
        """(B, d) float64 to (B, d) bool: the units that the rule changes, all judged from the same old state."""

    @abstractmethod
    def _sweep(self, states: Tensor, order: list[int]) -> Tensor:
        """(B, d) float64 to (B, d): every unit once, in the order given, each seeing the changes before it."""

    def update(self, state: Tensor) -> Tensor:
        """One synchronous update: every unit j takes the sign of its field, all from the same old state.

            s'_j = sgn(f_j(s)),    s'_j = s_j where f_j(s) = 0

        with the field f(s) = W s - b of `ClassicalHopfield`, or the difference of `DenseHopfield`. That a unit without
        a vote keeps its state (textbooks differ here) makes an asynchronous run end and never raise the energy.

        Args:
            state: (*batch, d) of -1 and +1, any float or signed integer dtype.

        Returns:
            (*batch, d), in the dtype and on the device of ``state``.

        Raises:
            HopfieldError: entries other than +-1, or a last dimension other than d.

        Source: Hopfield 1982; Ramsauer et al. 2021, appendix A.
        """
        return self._step(as_states("state", state, self.patterns)).reshape(state.shape).to(state)

    def retrieve(
        self,
        query: Tensor,
        *,
        mode: Mode = "synchronous",
        max_steps: int = 100,
        generator: torch.Generator | None = None,
    ) -> BinaryRetrieval:
        """Update each query until it stops: s <- update(s), or sweeps of s_j <- sgn(f_j(s)), one unit after another.

        Asynchronously the energy never rises, so every query ends in a fixed point. Synchronously the classical network
        ends in a fixed point or a 2-cycle (Goles et al. 1985; true with the keep-on-zero rule as well); a 2-cycle is
        found when s(t+1) = s(t-1), and flagged. The dense networks can also go round longer cycles, until max_steps.
        Each query stops by itself, whatever its neighbours in the batch do.

        Args:
            query: (*batch, d) of -1 and +1, any float or signed integer dtype.
            mode: "synchronous" (all units from the old state; default) or "asynchronous" (one unit after another).
            max_steps: the most updates, or sweeps over all units, of a query; default 100.
            generator: asynchronous only. None (default) sweeps the units in the order 0, 1, ..., d - 1; a generator
                draws a new random order for every sweep, the same for all queries.

        Returns:
            A `BinaryRetrieval`.

        Raises:
            HopfieldError: entries other than +-1, a last dimension other than d, an unknown mode, or max_steps < 1.

        Source: Hopfield 1982; Ramsauer et al. 2021, appendix A; blog equations 1-4.
        """
        if mode not in get_args(Mode):
            raise HopfieldError(f"mode: expected one of {', '.join(get_args(Mode))}, got {mode!r}")
        if max_steps < 1:
            raise HopfieldError(f"max_steps: expected at least 1, got {max_steps}")
        states = as_states("query", query, self.patterns)

        def sweep(now: Tensor) -> Tensor:
            dim = now.shape[-1]
            if generator is None:
                return self._sweep(now, list(range(dim)))
            return self._sweep(now, torch.randperm(dim, generator=generator, device=generator.device).tolist())

        steps, converged, cycle = _iterate(states, self._step if mode == "synchronous" else sweep, max_steps)
        batch, device = query.shape[:-1], query.device
        return BinaryRetrieval(
            states.reshape(query.shape).to(query),
            *(part.reshape(batch).to(device) for part in (self._energy(states), steps, converged, cycle)),
        )

    def _step(self, states: Tensor) -> Tensor:
        return torch.where(self._flips(states), -states, states)


def _iterate(states: Tensor, advance: Callable[[Tensor], Tensor], max_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Advance states (B, d) in place until each repeats itself; (B) each: steps, converged, cycle."""
    steps = torch.zeros(len(states), dtype=torch.int64, device=states.device)
    converged = torch.zeros_like(steps, dtype=torch.bool)
    cycle = torch.zeros_like(converged)
    active = torch.arange(len(states), device=states.device)
    before = torch.zeros_like(states)  # no state is all zeros, so the first update cannot look like a cycle
    for _ in range(max_steps):
        if not len(active):
            break
        now = states[active]
        new = advance(now)
        still = (new == now).all(-1)
        back = (new == before).all(-1)
        states[active] = new
        steps[active] += (~still).long()
        converged[active] = still
        cycle[active] = back
        going = ~(still | back)
        active, before = active[going], now[going]
    return steps, converged, cycle
