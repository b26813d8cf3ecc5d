"""How the networks of tables learn: in every step a random part of the rows is the memory that the others ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hopfield.estimators.stack import History, Schedule, Stack, train
from hopfield.estimators.tables.targets import Targets
from hopfield.progress import Progress

# among more rows prototypes are drawn without regard to their values
_FEW = 1 << 13

Vote = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Means of values under the weights of patterns: states, patterns, values and mask -> (M, L, v)."""


@dataclass(frozen=True)
class Examples:
    """What F groups of networks learn from, each from rows of its own, filled up to the same number T.

    Attributes:
        rows: encoded, (F, T, D).
        values: (F, T, v).
        counts: how many rows each group has, (F,); the others are filling.
    """

    rows: Tensor
    values: Tensor
    counts: Tensor

    @classmethod
    def of(cls, rows: Sequence[Tensor], values: Sequence[Tensor]) -> Examples:
        """From rows (n_f, D_f) and values (n_f, v) of each group."""
        counts = [len(part) for part in rows]
        filled = torch.zeros(len(rows), max(counts), max(part.shape[1] for part in rows))
        of_rows = torch.zeros(len(rows), max(counts), values[0].shape[1])
        for group, (part, own) in enumerate(zip(rows, values, strict=True)):
            filled[group, : len(part), : part.shape[1]] = part
            of_rows[group, : len(part)] = own
        return cls(filled, of_rows, torch.tensor(counts))

    @property
    def mask(self) -> Tensor | None:
        """Which rows are no filling, bool (F, T); None: all of them."""
        mask = torch.arange(self.rows.shape[1]) < self.counts.unsqueeze(1)
        return None if bool(mask.all()) else mask


def learn(
    stack: Stack,
    examples: Examples,
    targets: Targets,
    vote: Vote,
    *,
    prototypes: Tensor | None,
    rows_of_own: float,
    share: float,
    batch: int,
    schedule: Schedule,
    device: torch.device,
    progress: Progress | None,
) -> History:
    """Train the networks of a stack, the same number for each group of examples.

    A row never finds itself, for it either asks or is asked.

    Args:
        stack: networks that embed rows.
        examples: what each group learns from.
        targets: what losses are.
        vote: the lookup.
        prototypes: values (M, P, v) of learned patterns, which then are the memory in place of rows; or None.
        rows_of_own: share of the rows that each network learns from, drawn for it once.
        share: of these rows that are asked.
        batch: number of rows in a step, at most.
        schedule: how long and how fast; an epoch is one step.
        device: where to compute.
        progress: called after every step.
    """
    groups, most, _ = examples.rows.shape
    group = torch.arange(stack.members, device=device) // (stack.members // groups)
    rows, values, counts = (t.to(device) for t in (examples.rows, examples.values, examples.counts[group.cpu()]))
    place = torch.arange(most, device=device)
    drawn = torch.rand(stack.members, most, device=device) + (place >= counts.unsqueeze(1))
    learnt = (rows_of_own * counts).round().long().clamp_min(2).minimum(counts)  # how many rows of its own, (M,)
    filling = drawn.argsort(1).argsort(1) >= learnt.unsqueeze(1)  # (M, T)
    # of these rows in a step, and of those how many are asked, (M,); members with fewer fill up, and mask it
    seen = learnt.clamp_max(batch)
    asked = torch.zeros_like(seen) if prototypes is not None else (share * seen).round().long().clamp_min(1)
    asked = asked.minimum((seen - 1).clamp_min(0))
    asking = seen - asked
    if int(asking.max()) < 1 or (prototypes is None and int(asked.max()) < 1):  # a single row
        return History()
    known = place[: int(asked.max())] < asked.unsqueeze(1)  # (M, asked)
    mask = None if prototypes is not None or bool(known.all()) else known.unsqueeze(1)
    turn = (asked.unsqueeze(1) + place[: int(asking.max())]).clamp_max(most - 1)  # (M, asking)
    weight = (place[: int(asking.max())] < asking.unsqueeze(1)).float()

    def orders() -> Iterator[Tensor]:
        """Rows of every member in random order, first those that are asked, then those that ask."""
        order = (torch.rand(filling.shape, device=device) + filling).argsort(1)  # (M, T), its own rows first
        yield torch.cat([order[:, : known.shape[1]], order.gather(1, turn)], 1)

    def loss(order: Tensor) -> tuple[Tensor, Tensor]:
        of = group.unsqueeze(1)
        embedded = stack(each=(rows[of, order],))
        own = values[of, order]
        memory = own[:, : known.shape[1]] if prototypes is None else prototypes
        patterns, states = embedded.split([memory.shape[1], turn.shape[1]], 1)
        votes = vote(states, patterns, memory, mask)
        return (targets.losses(votes, own[:, known.shape[1] :]) * weight).sum(1), weight.sum(1)

    return train(stack, orders, loss, schedule, progress=progress)


def prototypes(examples: Examples, groups: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Rows at which the prototypes of every network begin, as many of each value as can be: (M, P).

    Args:
        examples: what is learnt from.
        groups: the group of every network, (M,).
        count: number of prototypes, if there are as many rows; a group with fewer repeats some.
        generator: of random numbers.
    """
    count = min(count, int(examples.counts.max()))
    chosen = []
    for group in groups.tolist():
        n = int(examples.counts[group])
        order = torch.randperm(n, generator=generator)
        _, kinds = examples.values[group, order].unique(dim=0, return_inverse=True)
        same = kinds.unsqueeze(1) == kinds if n <= _FEW else torch.zeros(n, 1, dtype=torch.bool)
        place = same.tril(-1).sum(1)  # how many of its kind came before
        chosen.append(order[place.argsort(stable=True)[torch.arange(count) % n]])
    return torch.stack(chosen)
