"""Spurious states: the mixtures of three patterns, and names for the states that retrievals end in."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hopfield.binary.network import as_patterns, as_states
from hopfield.errors import HopfieldError

Kind = Literal["pattern", "negative", "mixture", "other"]

_SIGNS = tuple(itertools.product((1, -1), repeat=3))
# The most entries (mixtures times units) that are made at once: 128 MiB of int8, 1 GiB of float64.
_MOST_ENTRIES = 2**27


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Symmetric mixtures of three patterns, K of them.

    Attributes:
        states: (K, d), sgn(signs[k, 0] x_a + signs[k, 1] x_b + signs[k, 2] x_c) with a, b, c = members[k].
        members: (K, 3), int64, the indices of the three patterns.
        signs: (K, 3), int64, +1 or -1.
    """

    states: Tensor
    members: Tensor
    signs: Tensor


@dataclass(frozen=True)
class StateName:
    """What a state is in terms of the stored patterns; ``str`` of it reads "mixture +0 -3 +4".

    Attributes:
        kind: "pattern" (a stored one), "negative" (of a stored one), "mixture" (of three) or "other".
        members: the indices of the patterns it is made of: one, one, three (rising) or none.
        signs: +1 or -1 for each member.
    """

    kind: Kind
    members: tuple[int, ...] = ()
    signs: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = (f"{sign:+d}"[0] + str(index) for sign, index in zip(self.signs, self.members, strict=True))
        return " ".join((self.kind, *parts))


def mixture_states(patterns: Tensor, *, triples: Sequence[tuple[int, int, int]] | None = None) -> Mixtures:
    """The symmetric mixtures of three patterns, sgn(+-x_a +-x_b +-x_c): a stable kind of spurious state.

    Each overlaps its three patterns by about d/2. Far below capacity they are fixed points of `ClassicalHopfield`.

    Args:
        patterns: (N, d) of -1 and +1, any float or signed integer dtype.
        triples: the indices a, b, c of the patterns to mix; default every three of the N, which is
            8 N (N - 1) (N - 2) / 6 states (N = 24: 16192).

    Returns:
        `Mixtures`, all eight signs of each triple, on the device of the patterns; ``states`` in their dtype.

    Raises:
        HopfieldError: patterns that are not a non-empty (N, d) of +-1, triples that are not three different patterns,
            or more than 2^27 entries to make.

    Source: Amit, Gutfreund and Sompolinsky 1985; Hertz, Krogh and Palmer 1991.
    """
    count, dim = as_patterns(patterns).shape
    total = len(_SIGNS) * (math.comb(count, 3) if triples is None else len(triples))
    if total * dim > _MOST_ENTRIES:
        raise HopfieldError(
            f"mixtures: {count} patterns make {total} mixtures of {dim} units, more than {_MOST_ENTRIES} entries; "
            f"pass fewer patterns, or the triples you want"
        )
    chosen = list(itertools.combinations(range(count), 3)) if triples is None else list(triples)
    for triple in chosen:
        if len(set(triple)) != 3 or not all(0 <= index < count for index in triple):
            raise HopfieldError(f"triples: expected three different indices from 0 to {count - 1}, got {triple}")
    members = torch.tensor(chosen, dtype=torch.int64, device=patterns.device).reshape(-1, 3)
    signs = torch.tensor(_SIGNS, device=patterns.device)
    first, second, third = patterns.detach().to(torch.int8)[members].unbind(1)
    # The sum of three odd numbers is never zero.
    states = torch.stack([torch.sign(a * first + b * second + c * third) for a, b, c in _SIGNS], 1)
    return Mixtures(
        states.reshape(-1, dim).to(patterns.dtype),
        members.repeat_interleave(len(_SIGNS), 0),
        signs.repeat(len(members), 1),
    )


def name_states(patterns: Tensor, states: Tensor, *, candidates: int = 128) -> list[StateName]:
    """Say of each state whether it is a pattern x_i, a negative -x_i, a mixture sgn(+-x_a +-x_b +-x_c), or other.

    The first that holds, in this order, is the name; among several mixtures, the one of the patterns nearest the state.
    A state is the mixture of three signed patterns when no unit differs from two of them, so they are found by looking
    for three signed patterns whose differences from the state are pairwise disjoint; no mixture is ever built.

    Args:
        patterns: (N, d) of -1 and +1, any float or signed integer dtype.
        states: (*batch, d) of -1 and +1, such as ``network.retrieve(query).state``.
        candidates: how many of the 2N signed patterns nearest to a state are tried as members of a mixture; default
            128, which is all of them for N <= 64. Members overlap the state by about d/2, well above the others.

    Returns:
        One `StateName` per state, in row-major order of ``batch``; `count_kinds` counts them.

    Raises:
        HopfieldError: patterns or states that are not +-1 or of the wrong shape; candidates < 3.

    Source: Amit, Gutfreund and Sompolinsky 1985 for the kinds of state.
    """
    if candidates < 3:
        raise HopfieldError(f"candidates: expected at least 3, the members of one mixture, got {candidates}")
    stored = as_patterns(patterns)
    distinct, which = torch.unique(as_states("states", states, stored), dim=0, return_inverse=True)
    names = [_name(stored, state, candidates) for state in distinct]
    return [names[k] for k in which.tolist()]


def count_kinds(names: Iterable[StateName]) -> dict[Kind, int]:
    """How many of the named states are a "pattern", a "negative", a "mixture" and "other"; all four keys, 0 or more."""
    counts: dict[Kind, int] = {"pattern": 0, "negative": 0, "mixture": 0, "other": 0}
    for name in names:
        counts[name.kind] += 1
    return counts


def _name(patterns: Tensor, state: Tensor, candidates: int) -> StateName:
    count, dim = patterns.shape
    overlaps = patterns @ state
    for kind, sign in (("pattern", 1), ("negative", -1)):
        equal = (overlaps == sign * dim).nonzero()
        if len(equal):
            return StateName(kind, (int(equal[0]),), (sign,))  # type: ignore[arg-type]  # kind is one of the literals

    nearest = torch.cat((overlaps, -overlaps)).argsort(descending=True, stable=True)[:candidates]
    index, signs = nearest % count, 1 - 2 * (nearest // count)
    differs = (patterns[index] * signs[:, None] != state).to(torch.float32)
    # A pattern and its own negative are disjoint too, but a third beside them would have to equal the state.
    disjoint = differs @ differs.T == 0
    links = disjoint.to(torch.float32)
    corners = (disjoint & (links @ links > 0)).nonzero()  # pairs with a third that is disjoint from both
    if not len(corners):
        return StateName("other")
    a, b = corners[0].tolist()
    c = int((disjoint[a] & disjoint[b]).nonzero()[0])
    members, chosen = zip(*sorted((int(index[k]), int(signs[k])) for k in (a, b, c)), strict=True)
    return StateName("mixture", members, chosen)
