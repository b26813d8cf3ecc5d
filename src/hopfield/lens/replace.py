"""Averages over positions in place of attention heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Self

import torch
from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.lens import layers
from hopfield.lens.call import Call
from hopfield.lens.report import Head, HeadReport
from hopfield.lens.sites import Edit, check_names, edits, module_of, place_of
from hopfield.nn import GaussianAveraging

Heads = Mapping[str, Iterable[int]] | Iterable[Head | tuple[str, int]]
"""Heads by the name of their layer: {name: numbers}, pairs (name, number), or what `HeadReport.find` gives."""
_NAME = "hopfield_averaging"


class UniformAveraging(nn.Module):
    """The mean of all tokens that take part, or, if causal, of those up to the query's own; without parameters.

    Args:
        heads: h.
        causal: whether tokens average no tokens after themselves; default False.
    """

    def __init__(self, heads: int = 1, *, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        # has the data type and the device of the model
        self._one: Tensor
        self.register_buffer("_one", torch.ones(()), persistent=False)

    def association_weights(self, tokens: int | None = None, mask: Tensor | None = None) -> Tensor:
        """The weights of `tokens` tokens, (h, N, N), or for a mask bool (*batch, N), True takes part, with its batch.

        Rows and columns of tokens that are left out are zero.
        """
        if mask is None:
            mask = torch.ones(tokens or 0, dtype=torch.bool, device=self._one.device)
        taken = mask.unsqueeze(-2) & mask.unsqueeze(-1)  # (*batch, N, N)
        if self.causal:
            taken = taken.tril()
        dtype = torch.promote_types(self._one.dtype, torch.float32)
        weights = taken.to(dtype) / taken.sum(-1, keepdim=True).clamp(min=1)
        return weights.unsqueeze(-3).expand(*weights.shape[:-2], self.heads, *weights.shape[-2:])

    def extra_repr(self) -> str:
        """What it was built with."""
        return f"heads={self.heads}, causal={self.causal}"


class Replacement(Edit):
    """Heads that average, until `undo`; also a context manager. Made by `replace_heads`.

    Attributes:
        averages: the averages by the name of their layer: parameters of the model like all others.
        heads: numbers of the replaced heads by the name of their layer.
        new_parameters: how many parameters the averages have.
        idle_parameters: how many of the model's no longer matter (queries' and keys' projections of replaced heads),
            where the sizes are known; they stay, for `undo`. None where they are not.
    """

    def __init__(self, model: nn.Module, heads: dict[str, tuple[int, ...]], averages: dict[str, nn.Module]) -> None:
        super().__init__(model, heads)
        self.heads = heads
        self.averages = averages
        self._checked: set[str] = set()
        self._frozen: list[nn.Parameter] = []
        for site, average in averages.items():
            place = place_of(model, site)
            names = (f"{_NAME}_{number}" if number else _NAME for number in count())
            name = next(name for name in names if not hasattr(place, name))
            place.add_module(name, average)
            self._undo.append(partial(delattr, place, name))

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the averages."""
        for average in self.averages.values():
            yield from average.parameters()

    @property
    def new_parameters(self) -> int:
        """How many parameters the averages have."""
        return sum(p.numel() for p in self.parameters())

    @property
    def idle_parameters(self) -> int | None:
        """How many parameters of the model matter no longer, None where that is not known."""
        counts = [_projected(place_of(self.model, site), heads) for site, heads in self.heads.items()]
        return None if None in counts else sum(n or 0 for n in counts)

    def freeze_others(self) -> Self:
        """Let only the averages learn, until `undo`."""
        own = {id(p) for p in self.parameters()}
        for parameter in self.model.parameters():
            if id(parameter) not in own and parameter.requires_grad:
                parameter.requires_grad_(False)
                self._frozen.append(parameter)
        return self

    def undo(self) -> None:
        """Give the heads their attention back, and everything as it was before. May be called repeatedly."""
        super().undo()
        while self._frozen:
            self._frozen.pop().requires_grad_(True)

    def __repr__(self) -> str:
        return f"<Replacement of heads {self.heads} of {type(self.model).__name__}; undo() takes it back>"

    def edit(self, site: str, call: Call) -> Call:
        """Take the weights of some heads from their average."""
        self.seen(site)
        average = self.averages.get(site)
        if average is None:
            return call
        heads = self.heads[site]
        _check_call(site, heads, call)
        if site not in self._checked and _check_direction(site, bool(getattr(average, "causal", False)), call):
            self._checked.add(site)
        tokens, length = call.tokens().stop, getattr(average, "length", None)
        if isinstance(length, int) and tokens > length:
            raise HopfieldError(
                f"{site!r} got {tokens} tokens, its average is for {length} at most: "
                f"give replace_heads length={tokens}, or cut the sequences"
            )

        def weigh(tokens: int, mask: Tensor | None) -> Tensor:
            weights: Tensor = average.association_weights(tokens if mask is None else None, mask)  # type: ignore[operator]  # a method
            return weights.to(call.value.device)

        return replace(call, averages=(*call.averages, (heads, weigh)))


def replace_heads(
    model: nn.Module,
    heads: Heads,
    *,
    with_: str | Callable[[int], nn.Module] = "gaussian",
    length: int | None = None,
    causal: bool | None = None,
    freeze_others: bool = False,
) -> Replacement:
    """Put averages over positions in place of attention heads, whose queries and keys then do not matter.

    A replaced head's output is A V with its own values V, and its weights A depend on nothing but positions: Gaussians
    with a learned mean and width for every position (`hopfield.nn.GaussianAveraging`; Ramsauer et al. 2021, A.5.1.5),
    or the mean. Of the heads of a layer that are replaced together the first Gaussians begin as nearly the mean and the
    last as little more than the token itself, so they want learning.

    Padding is averaged nowhere, and positions are those of the tokens that take part. Of the masks only
    padding and causality are kept: a sliding window is not, and a cache that drops what has left it gives other means.
    The averages' parameters belong to the model: its `parameters()`, `state_dict()`, `to()` and optimisers know them.

    Args:
        model: a model that a `HeadLens` can read, but for the layers of this library.
        heads: which, as {layer: [numbers]}, as pairs of a layer and a number, or as heads of a report; for example
            `report.find("I", layers=slice(2))`.
        with_: "gaussian", "uniform", or a function that makes a module for a number of heads, with a method
            `association_weights(tokens, mask)` like that of `GaussianAveraging` and an attribute `causal`.
        length: most tokens a sequence may have, for "gaussian"; default what the model's configuration says.
        causal: whether tokens may see no later ones; default what the attention module says (`is_causal`), else False.
            A wrong answer is refused in the first call.
        freeze_others: whether only the averages shall learn.

    Returns:
        A `Replacement`, whose `undo` brings the model back.

    Raises:
        HopfieldError: no heads, unknown layers, heads that are replaced already, a length that is not known; when data
            flow: heads that there are not, a layer where no attention is called, cross-attention with "gaussian", a
            wrong `causal`.
    """
    chosen = _by_layer(model, heads)
    averages = {}
    for name, numbers in chosen.items():
        place = place_of(model, name)
        if isinstance(place, layers.KINDS):
            raise HopfieldError(
                f"{name!r} is a {type(place).__name__} of this library: put a GaussianAveraging in its place yourself"
            )
        within = bool(getattr(place, "is_causal", False)) if causal is None else causal
        averages[name] = _average(model, place, len(numbers), with_, length, within)
    for average, name in zip(averages.values(), chosen, strict=True):
        example = next((p for p in place_of(model, name).parameters() if p.is_floating_point()), None)
        if example is not None:
            average.to(example)
        average.train(model.training)
    replacement = Replacement(model, chosen, averages)
    return replacement.freeze_others() if freeze_others else replacement


def _by_layer(model: nn.Module, heads: Heads) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for name, numbers in _pairs(heads):
        found.setdefault(name, []).extend(numbers)
    if not any(found.values()):
        raise HopfieldError("there are no heads to replace: give {layer: [numbers]} or what HeadReport.find returns")
    check_names(model, found)
    for name, numbers in found.items():
        for number in numbers:
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise HopfieldError(f"heads must be whole numbers from 0 on, got {number!r} for {name!r}")
        if len(set(numbers)) < len(numbers):
            raise HopfieldError(f"heads of {name!r} are named twice: {sorted(numbers)}")
        before = set(_replaced(model, name)) & set(numbers)
        if before:
            raise HopfieldError(
                f"heads {sorted(before)} of {name!r} are replaced already: undo that first, or call restore(model)"
            )
    return {name: tuple(sorted(numbers)) for name, numbers in found.items() if numbers}


def _pairs(heads: Heads) -> list[tuple[str, list[int]]]:
    """Names and numbers."""
    wrong = HopfieldError(
        "heads must be {layer: [numbers]}, pairs (layer, number) or what HeadReport.find returns; "
        f"got {heads if isinstance(heads, Mapping | str) else type(heads).__name__}"
    )
    if isinstance(heads, Mapping):
        if not all(isinstance(numbers, Iterable) for numbers in heads.values()):
            raise wrong
        return [(name, list(numbers)) for name, numbers in heads.items()]
    if isinstance(heads, str | HeadReport) or not isinstance(heads, Iterable):
        raise wrong
    pairs = [(head.layer, head.head) if isinstance(head, Head) else head for head in heads]
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise wrong
    return [(name, [number]) for name, number in pairs]


def _replaced(model: nn.Module, site: str) -> Iterator[int]:
    """Numbers of the heads of an attention that are replaced."""
    for listener, name in edits(place_of(model, site)):
        if isinstance(listener, Replacement):
            yield from listener.heads.get(name + site.removeprefix(module_of(site)), ())


def _average(
    model: nn.Module,
    place: nn.Module,
    heads: int,
    with_: str | Callable[[int], nn.Module],
    length: int | None,
    causal: bool,
) -> nn.Module:
    if callable(with_) and not isinstance(with_, nn.Module):
        average = with_(heads)
        if not (isinstance(average, nn.Module) and callable(getattr(average, "association_weights", None))):
            raise HopfieldError(
                "with_ must make a module with a method association_weights(tokens, mask), like GaussianAveraging; "
                f"it made a {type(average).__name__}"
            )
        return average
    if with_ == "uniform":
        return UniformAveraging(heads, causal=causal)
    if with_ != "gaussian":
        raise HopfieldError(f'with_ must be "gaussian", "uniform" or a function that makes a module, got {with_!r}')
    if length is None:
        for module in (place, model):
            config = getattr(module, "config", None)
            length = length or getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if length is None:
        raise HopfieldError("how long sequences may be is not known of this model: give length=...")
    return GaussianAveraging(heads, length=length, heads=heads, causal=causal, project=())


def _check_call(site: str, heads: tuple[int, ...], call: Call) -> None:
    """Refuse what cannot be averaged over positions."""
    if heads[-1] >= call.heads:
        raise HopfieldError(
            f"{site!r} has heads 0 to {call.heads - 1}, got {heads[-1]}; undo() of the replacement, or "
            "hopfield.lens.restore(model), takes it back"
        )
    if call.crossed or (call.query.shape[-2] > call.key.shape[-2] and not call.causal):
        raise HopfieldError(
            f"{site!r} attends from one sequence to another, where positions do not correspond: "
            "replace heads of self-attention"
        )


def _check_direction(site: str, causal: bool, call: Call) -> bool:
    """Refuse an average that sees other tokens than the attention does; whether the call told which it sees."""
    own = _is_causal(call)
    if own is not None and own != causal:
        here, there = ("causal", "not") if own else ("not causal", "causal")
        raise HopfieldError(f"the attention of {site!r} is {here}, its average is {there}: give causal={own}")
    return own is not None


def _is_causal(call: Call) -> bool | None:
    """Whether tokens see no later ones; None: not to be told, for lack of tokens or because some come from a cache."""
    if call.causal:
        return True
    queries = call.query.shape[-2]
    if queries < 2 or not call.within:
        return None
    later = torch.ones(queries, queries, dtype=torch.bool, device=call.query.device).triu(1)
    if call.mask is None:
        return False
    mask = call.mask.any(1)  # (B or 1, L or 1, N or 1)
    mask = mask.expand(len(mask), queries, mask.shape[-1])[..., :queries].expand(-1, -1, queries)
    alive = mask.any(-2)  # (B or 1, L)
    later = later & alive.unsqueeze(-1) & alive.unsqueeze(-2)
    return not bool((mask & later).any()) if bool(later.any()) else None


def _projected(place: nn.Module, heads: tuple[int, ...]) -> int | None:
    """Parameters of the projections of queries and keys of some heads of a module."""
    number = _heads_of(place)
    if isinstance(place, nn.MultiheadAttention):
        keys = place.kdim if place.kdim is not None else place.embed_dim
        biases = 2 if place.in_proj_bias is not None else 0
        return int(len(heads) * place.head_dim * (place.embed_dim + keys + biases))
    packed = next((getattr(place, name) for name in ("c_attn", "Wqkv") if hasattr(place, name)), None)
    if packed is not None and number:  # projections of queries, keys and values in one
        return int(len(heads) * sum(2 * p.numel() // (3 * number) for p in packed.parameters()))
    names = (("query", "key"), ("q_proj", "k_proj"), ("q", "k"), ("q_lin", "k_lin"))
    query, key = next(
        ((getattr(place, q), getattr(place, k, None)) for q, k in names if hasattr(place, q)), (None, None)
    )
    if not (isinstance(query, nn.Linear) and isinstance(key, nn.Linear) and number):
        return None
    size = query.out_features // number
    group = number // max(key.out_features // size, 1)  # heads that share their keys, which are idle when all are
    groups = sum(set(range(first, first + group)) <= set(heads) for first in range(0, number, group))
    counts = ((len(heads), query), (groups, key))
    return sum(count * size * (linear.in_features + (linear.bias is not None)) for count, linear in counts)


def _heads_of(place: nn.Module) -> int | None:
    """How many heads the queries of a module have, if it says so."""
    owners = (place, getattr(place, "config", None))
    names = ("num_attention_heads", "num_heads", "n_heads")
    found = (getattr(owner, name, None) for owner in owners for name in names)
    return next((number for number in found if isinstance(number, int) and number), None)
