"""One call of an attention, whoever made it, as an association of states with stored patterns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.retrieval import Steps, associate_task, retrieve_task
from hopfield.core.separation import Separation, Softmax
from hopfield.core.task import Task, broadcast
from hopfield.errors import HopfieldError

# added to a score, what is lower than this stands for -inf: the lowest number of half precision, or what is left of it
# with a bias added
_MASKED = torch.finfo(torch.float16).min / 4

Averages = Callable[[int, Tensor | None], Tensor]
"""(N, bool (B, N) or None) -> weights (h', N, N) or (B, h', N, N), whatever the tokens are."""


@dataclass(frozen=True)
class Call:
    """Queries, keys and values of one attention: h heads, each a memory of N keys for each of B sequences.

    The scores are s = scale q·k + bias, so beta = scale, states are the queries and stored patterns the keys.
    """

    query: Tensor
    """(B, h, L, k)"""
    key: Tensor
    """(B, h, N, k)"""
    value: Tensor
    """(B, h, N, v)"""
    scale: float | Tensor
    """A number, or one for each head, (h, 1, 1)"""
    mask: Tensor | None = None
    """bool, broadcasts to (B, h, L, N); True takes part"""
    bias: Tensor | None = None
    """added to the scores; -inf where masked"""
    causal: bool = False
    """Whether query i attends to no key after the i-th"""
    crossed: bool | None = None
    """Whether queries and keys belong to different sequences; False: the first L keys belong to the queries, and what
    follows are more; None: told by their numbers"""
    alive: Tensor | None = None
    """bool (B, L), the query rows that are no padding, where the caller knows them"""
    dropout: float = 0.0
    steps: Steps = 1
    separation: Separation = field(default_factory=Softmax)
    averages: tuple[tuple[tuple[int, ...], Averages], ...] = ()
    """Heads whose weights come from their positions alone, and where from"""

    def __post_init__(self) -> None:
        tensors = {"query": self.query, "key": self.key, "value": self.value}
        heads = max(tensor.shape[-3] for tensor in tensors.values())
        batch = broadcast(*(tensor.shape[:-3] for tensor in tensors.values()))
        if batch is None or any(heads % tensor.shape[-3] for tensor in tensors.values()):
            raise HopfieldError(
                "queries, keys and values must be (B, h, rows, size) with as many heads as the queries have, or some "
                f"that divide it; got {', '.join(str(tuple(tensor.shape)) for tensor in tensors.values())}"
            )
        for name, tensor in tensors.items():
            groups = heads // tensor.shape[-3]  # several heads may share their keys and values
            whole = tensor if groups == 1 else tensor.repeat_interleave(groups, -3)
            object.__setattr__(self, name, whole.expand(*batch, *whole.shape[-3:]))

    @property
    def heads(self) -> int:
        """h, the number of heads."""
        return self.query.shape[-3]

    def sequences(self, which: slice) -> Call:
        """Some sequences of the batch alone."""
        batch = self.query.shape[0]
        if which.indices(batch) == (0, batch, 1):
            return self

        def cut(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or tensor.dim() < 4 or tensor.shape[0] != batch else tensor[which]

        query, key, value = self.query[which], self.key[which], self.value[which]
        alive = None if self.alive is None else self.alive[which]
        return replace(self, query=query, key=key, value=value, mask=cut(self.mask), bias=cut(self.bias), alive=alive)

    @property
    def within(self) -> bool:
        """Whether tokens attend to one another: the first L keys are the tokens of the queries."""
        queries, keys = self.query.shape[-2], self.key.shape[-2]
        return queries <= keys if self.crossed is False else self.crossed is None and queries == keys

    def counted(self) -> Tensor | None:
        """Which query rows are no padding, bool (B, L); None if all are.

        In self-attention a token that nothing attends to is padding; so is a row that attends to nothing.
        """
        if self.alive is not None:
            return self.alive
        if self.mask is None:
            return None
        queries = self.query.shape[-2]
        mask = self.mask.any(1)  # (B or 1, L or 1, N or 1)
        seen = mask[..., :queries].any(-2) if self.within else mask.any(-1)  # (B or 1, L or 1)
        return seen.expand(self.query.shape[0], queries)

    def tokens(self) -> slice:
        """The tokens of the queries among those of the keys."""
        queries, keys = self.query.shape[-2], self.key.shape[-2]
        if self.within or self.causal:
            return slice(0, queries)
        end = keys
        if self.mask is not None and self.mask.shape[-1] == keys:  # behind them a cache may still be empty
            seen = self.mask.flatten(0, -2).any(0).nonzero()
            end = int(seen[-1]) + 1 if len(seen) else keys
        return slice(max(end - queries, 0), max(end, queries))

    def mask_and_bias(self, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Those of some query rows, which broadcast to (B, h, rows, N); a bias of -inf is a mask as well."""
        mask, bias = self.mask, self.bias
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., rows, :]
        if self.causal:
            earlier = torch.arange(self.key.shape[-2], device=rows.device) <= rows.unsqueeze(-1)
            mask = earlier if mask is None else mask & earlier
        if bias is not None:
            bias = bias[..., rows, :] if bias.shape[-2] > 1 else bias
            alive = ~bias.isneginf()
            if not bool(alive.all()):
                mask = alive if mask is None else mask & alive
        return mask, bias

    def task(self, rows: Tensor | None = None) -> Task:
        """The association of some query rows, default all, with the keys."""
        chosen = torch.arange(self.query.shape[-2], device=self.query.device) if rows is None else rows
        query = self.query if rows is None else self.query[..., rows, :]
        mask, bias = self.mask_and_bias(chosen)
        bias = None if bias is None else bias.to(torch.promote_types(bias.dtype, torch.float32)) / self.scale
        return Task.of(query, self.key, self.value, self.scale, bias, mask, self.separation)

    def last(self) -> Call:
        """The last of several updates by itself, which reads the values."""
        if self.steps == 1:
            return self
        found = retrieve_task(self.task(), False, self.steps, 1e-6, 1000, 1e-6)
        return replace(self, query=found.last.query, steps=1)

    def weights(self) -> Tensor:
        """The weights of the last association, (B, h, L, N)."""
        weights = retrieve_task(self.task(), False, self.steps, 1e-6, 1000, 1e-6).weights
        keys = self.key.shape[-2]
        return self._averaged(weights, lambda averages, _: F.pad(averages, (0, keys - averages.shape[-1])))

    def run(self) -> Tensor:
        """What comes out of the heads, (B, h, L, v)."""
        task = replace(self.task(), dropout=self.dropout)
        result = associate_task(task, self.steps, 1e-6, 1000, 1e-6)

        def made(averages: Tensor, heads: list[int]) -> Tensor:
            return averages.to(self.value.dtype) @ self.value[:, heads, : averages.shape[-1]]

        return self._averaged(result, made)

    def _averaged(self, result: Tensor, made: Callable[[Tensor, list[int]], Tensor]) -> Tensor:
        """A result (B, h, L, any) with some heads made of the weights (h', L, N') or (B, h', L, N') of their averages.

        N' are the keys up to the last query's own token.
        """
        if not self.averages:
            return result
        rows, stored = self.tokens(), None
        if self.mask is not None:
            stored = self.mask.any(1).any(-2).expand(self.query.shape[0], self.key.shape[-2])[:, : rows.stop]  # (B, N')
        heads = list(result.unbind(1))
        for chosen, weigh in self.averages:
            own = made(weigh(rows.stop, stored)[..., rows, :], list(chosen))
            for place, head in enumerate(chosen):
                heads[head] = own[..., place, :, :].expand_as(heads[head])
        return torch.stack(heads, 1)


def parted(mask: Tensor | None, key: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """A mask as attention libraries take it (True takes part, or numbers to add), as a mask and a bias.

    Numbers as low as the lowest of half precision stand for -inf.
    """
    if mask is None:
        return None, None
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    mask = mask[..., : key.shape[-2]]
    if mask.dtype == torch.bool:
        return mask, None
    alive = mask > _MASKED
    zero = mask.masked_fill(~alive, 0.0)
    bias = zero if bool((zero != 0).any()) else None
    return alive, bias


def scale_of(query: Tensor, scale: float | None) -> float:
    """The factor of the scores: 1/√k by default."""
    return 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
