"""The mathematics of every layer: project, associate, project back. A layer is where its parameters come from.

Shapes: L states, N stored patterns, h heads, k head size, v value size per head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.core.retrieval import Retrieval, Steps, associate_task, retrieve_task
from hopfield.core.separation import Separation, Streamable
from hopfield.core.task import Task, broadcast
from hopfield.errors import HopfieldError
from hopfield.nn.source import Source, hooked, project

_ADJOINT_TOL = 1e-6


@dataclass(frozen=True)
class Masks:
    """Which patterns take part, and biases of scores, as the user gave them."""

    stored: Tensor | None = None
    """bool, broadcasts to (*batch, N)"""
    association: Tensor | None = None
    """bool, (L, N), (*batch, L, N) or (*batch, h, L, N)"""
    bias: Tensor | None = None
    """float, of the same shapes"""

    def __bool__(self) -> bool:
        return not (self.stored is None and self.association is None and self.bias is None)

    def stored_mask(self, shape: tuple[int, ...]) -> Tensor:
        """The mask of stored patterns, checked against their shape (*batch, N)."""
        mask = self.stored
        assert mask is not None
        _check_mask("stored_mask", mask)
        if broadcast(mask.shape, shape) != torch.Size(shape):
            raise HopfieldError(
                f"stored_mask must broadcast to (*batch, N) = {tuple(shape)}, one entry per stored pattern; "
                f"got shape {tuple(mask.shape)}"
            )
        return mask

    def combined(self, shape: tuple[int, ...]) -> tuple[Tensor | None, Tensor | None]:
        """Mask and bias that broadcast to (*batch, h, L, N) = `shape`."""
        mask, bias = None, self.bias
        if self.stored is not None:
            mask = self.stored_mask((*shape[:-3], shape[-1]))[..., None, None, :]
        if self.association is not None:
            _check_mask("association_mask", self.association)
            other = _per_head("association_mask", self.association, shape)
            mask = other if mask is None else mask & other
        if bias is not None:
            if not isinstance(bias, Tensor) or not bias.is_floating_point():
                came = bias.dtype if isinstance(bias, Tensor) else type(bias).__name__
                raise HopfieldError(f"association_bias must be a tensor of a floating-point dtype, got {came}")
            bias = _per_head("association_bias", bias, shape)
        return mask, bias


def _check_mask(name: str, mask: Tensor) -> None:
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        return
    if not isinstance(mask, Tensor):
        came, remedy = type(mask).__name__, "use torch.as_tensor(mask)"
    elif mask.is_floating_point():  # mask.bool() would turn one of 0 and -inf around
        came, remedy = str(mask.dtype), "numbers to add to the scores go in association_bias"
    else:
        came, remedy = str(mask.dtype), "use mask.bool()"
    raise HopfieldError(f"{name} must be a tensor of dtype bool (True takes part), got {came}; {remedy}")


def _per_head(name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(L, N), (*batch, L, N) or (*batch, h, L, N) in a form that broadcasts to the last."""
    batch = len(shape) - 3
    result = tensor.unsqueeze(-3) if batch and tensor.dim() == batch + 2 else tensor
    if tensor.dim() not in {2, batch + 2, batch + 3} or broadcast(result.shape, shape) != torch.Size(shape):
        wanted = (*shape[:-3], *shape[-2:])
        raise HopfieldError(
            f"{name} must be of shape (L, N) = {shape[-2:]}, (*batch, L, N) = {wanted} or (*batch, h, L, N) = {shape}; "
            f"got {tuple(tensor.shape)}"
        )
    return result


def _alive(mask: Tensor | None, bias: Tensor | None) -> Tensor:
    """Which states have a pattern to attend to in any head: broadcasts to (*batch, L, 1)."""
    alive = mask
    if bias is not None:
        finite = bias != -math.inf
        alive = finite if alive is None else alive & finite
    assert alive is not None
    alive = alive.any(-1, keepdim=True)  # (*batch, h, L, 1)
    return alive.any(-3) if alive.dim() > 2 else alive


@dataclass(frozen=True)
class Association:
    """What a layer computes, with the parameters it has at the moment."""

    state: Source
    stored: Source
    value: Source
    heads: int
    beta: float | Tensor
    """A number, or a tensor of shape () or (h,)."""
    separation: Separation
    steps: Steps = 1
    tol: float = 1e-6
    max_steps: int = 1000
    adjoint_tol: float = _ADJOINT_TOL
    output: Callable[[Tensor], Tensor] | None = None
    """From the heads' values side by side, (*batch, L, h v), to the output."""
    head_norm: Callable[[Tensor], Tensor] | None = None
    """Normalises states and stored patterns of every head, (..., k)."""
    connected: bool = False
    """Whether values go through the projection of the stored patterns first."""
    euclidean: bool = False
    """Whether similarity is Euclidean: every pattern has the bias -|x|²/2."""
    extra: tuple[tuple[Tensor, Tensor] | None, ...] = ()
    """More stored patterns (h, k) with values (h, v), which always take part; None is one of zeros."""
    dropout: float = 0.0
    """Share of associations to drop, now."""

    # ------------------------------------------------------------------------------------------------- projections

    @property
    def _value(self) -> Source:
        return self.value.after(replace(self.stored, norm=None)) if self.connected else self.value

    def states(self, state: Tensor) -> Tensor:
        """(*batch, L, size) -> (*batch, h, L, k)."""
        return self._normed(self._heads(self.state(state), self.state))

    def states_for(self, state: Tensor, rows: Tensor) -> Tensor:
        """States (L, size) that are the same for every set of rows (*batch, N, size) -> (*batch, h, L, k)."""
        query = self.states(state)
        return query.expand(*rows.shape[:-2], *query.shape[-3:])

    def memory(self, stored: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Stored patterns (*batch, h, N, k) and values (*batch, h, N, v), extra ones at the end."""
        source = self._value
        patterns, values = project([stored, value], [self.stored, source])
        return self._patterns(patterns), self._with_extra(self._heads(values, source), 1)

    def all(self, state: Tensor, stored: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`states` and `memory`, in as few products as can be."""
        source = self._value
        states, patterns, values = project([state, stored, value], [self.state, self.stored, source])
        query = self._normed(self._heads(states, self.state))
        return query, self._patterns(patterns), self._with_extra(self._heads(values, source), 1)

    def fixed_parts(self) -> tuple[object, ...] | None:
        """What a memory is made of besides tensors, to be compared; None if that may do anything."""
        norms = (self.stored.norm, self.value.norm, self.head_norm)
        modules = [norm for norm in norms if isinstance(norm, nn.Module)]
        known = all(type(norm) in {nn.LayerNorm, nn.RMSNorm} and not hooked(norm) for norm in modules)
        known = known and (self.head_norm is None or isinstance(self.head_norm, nn.Module))
        if not known or self.stored.module is not None or self.value.module is not None:
            return None
        kinds = (type(norm) for norm in norms)
        sizes = (getattr(norm, "eps", None) for norm in norms)
        return self.connected, self.heads, *kinds, *sizes, *(pair is None for pair in self.extra)

    def _patterns(self, rows: Tensor) -> Tensor:
        return self._with_extra(self._normed(self._heads(rows, self.stored)), 0)

    def _heads(self, rows: Tensor, source: Source) -> Tensor:
        if not source.projects:
            return rows.unsqueeze(-3).expand(*rows.shape[:-2], self.heads, *rows.shape[-2:])
        heads: Tensor = rows.unflatten(-1, (self.heads, -1))
        return heads.transpose(-3, -2)

    def _normed(self, heads: Tensor) -> Tensor:
        return heads if self.head_norm is None else self.head_norm(heads)

    def _with_extra(self, rows: Tensor, which: int) -> Tensor:
        """Patterns (which = 0) or values (1) of the heads, with the extra ones behind."""
        if not self.extra:
            return rows
        shape = (*rows.shape[:-2], 1, rows.shape[-1])
        more = [
            rows.new_zeros(shape) if pair is None else pair[which].to(rows.dtype).unsqueeze(-2).expand(shape)
            for pair in self.extra
        ]
        return torch.cat([rows, *more], -2)

    # ------------------------------------------------------------------------------------------------- association

    def __call__(self, state: Tensor, stored: Tensor, value: Tensor, masks: Masks) -> Tensor:
        """(*batch, L, size), (*batch, N, size), (*batch, N, size) -> (*batch, L, output size)."""
        return self.associate(*self.all(state, stored, value), masks)

    def associate(self, query: Tensor, patterns: Tensor, values: Tensor, masks: Masks) -> Tensor:
        """From projected heads to the output (*batch, L, output size)."""
        if patterns.dim() == values.dim() == 3 and query.dim() > 3 and not masks:
            return self._shared(query, patterns, values)
        task, alive = self.task(query, patterns, values, masks)
        found = associate_task(task, self.steps, self.tol, self.max_steps, self.adjoint_tol)
        return self._silenced(self.out(found), alive)

    def _shared(self, query: Tensor, patterns: Tensor, values: Tensor) -> Tensor:
        """One memory for the whole batch, whose states then are those of one batch element."""
        flat = query.movedim(-3, 0).flatten(1, -2)  # (h, states of all, k)
        task, alive = self.task(flat, patterns, values, Masks())
        found = associate_task(task, self.steps, self.tol, self.max_steps, self.adjoint_tol)
        found = found.unflatten(1, (*query.shape[:-3], query.shape[-2])).movedim(0, -2).flatten(-2)  # (*batch, L, h v)
        return self._silenced(found if self.output is None else self.output(found), alive)

    def retrieve(self, query: Tensor, patterns: Tensor, values: Tensor, masks: Masks) -> tuple[Tensor, Retrieval]:
        """The output, and what happened in the association space, one entry per head and state (*batch, h, L)."""
        task, alive = self.task(query, patterns, values, masks)
        found = retrieve_task(task, True, self.steps, self.tol, self.max_steps, self.adjoint_tol)
        return self._silenced(self.out(found.values), alive), found

    def weights(self, state: Tensor, stored: Tensor, masks: Masks) -> Tensor:
        """The weights of the last association, (*batch, h, L, N), for states (L, size) that serve all sets."""
        patterns = self._patterns(self.stored(stored))
        task, _ = self.task(self.states_for(state, stored), patterns, patterns, masks)
        return retrieve_task(task, False, self.steps, self.tol, self.max_steps, self.adjoint_tol).weights

    def out(self, values: Tensor) -> Tensor:
        """(*batch, h, L, v) -> (*batch, L, output size)."""
        values = values.transpose(-3, -2).flatten(-2)
        return values if self.output is None else self.output(values)

    def task(self, query: Tensor, patterns: Tensor, values: Tensor, masks: Masks) -> tuple[Task, Tensor | None]:
        """The association of the heads, and which states have anything to attend to, None for all of them."""
        count, extra = patterns.shape[-2], len(self.extra)
        batch = broadcast(query.shape[:-2], patterns.shape[:-2], values.shape[:-2])
        if batch is None:
            raise HopfieldError(
                "the batch dimensions of states, stored patterns and values do not broadcast: "
                + ", ".join(str(tuple(tensor.shape[:-3])) for tensor in (query, patterns, values))
            )
        mask, bias = masks.combined((*batch, query.shape[-2], count - extra))
        alive = None
        if extra:
            columns = count - extra
            mask = None if mask is None else F.pad(mask.expand(*mask.shape[:-1], columns), (0, extra), value=True)
            bias = None if bias is None else F.pad(bias.expand(*bias.shape[:-1], columns), (0, extra))
        elif count == 0:
            alive = query.new_zeros((), dtype=torch.bool)
        elif mask is not None or bias is not None:
            alive = _alive(mask, bias)
        if self.euclidean:
            wide = patterns.to(torch.promote_types(patterns.dtype, torch.float32))
            height = wide.square().sum(-1).unsqueeze(-2) / -2  # (*batch, h, 1, N)
            bias = height if bias is None else bias + height
        beta = self.beta
        if isinstance(beta, Tensor):
            beta = beta.reshape(-1, 1, 1)
        task = Task.of(query, patterns, values, beta, bias, mask, self.separation)
        return replace(task, dropout=self.dropout) if self.dropout else task, alive

    @staticmethod
    def _silenced(output: Tensor, alive: Tensor | None) -> Tensor:
        """Zeros where no head had anything to attend to."""
        return output if alive is None else output.masked_fill(~alive, 0.0)

    # ----------------------------------------------------------------------------------------------------- pooling

    def pooled(self, state: Tensor, rows: Tensor, value: Tensor, masks: Masks) -> Tensor:
        """The output for states (L, size) that are the same for every set of rows (*batch, N, size)."""
        if value is rows and self._folds(state.shape[-2], rows.shape[-1], masks):
            return self._folded(self.states(state), rows, masks)
        return self.associate(self.states_for(state, rows), *self.memory(rows, value), masks)

    def _folds(self, states: int, size: int, masks: Masks) -> bool:
        """Whether it pays to fold the projections into a few states instead of applying them to many patterns.

        W_K moves into the states, W_V behind the mean; that is exact where the weights do not change when a
        constant is added to the scores, and sum to 1.
        """
        statistics = self.stored.statistics
        # multiplications per pattern and head: the projections and what comes after them, against the folded form
        widths = [
            source.weight.shape[0] / self.heads for source in (self.stored, self.value) if source.weight is not None
        ]
        return (
            isinstance(self.separation, Streamable)
            and self.separation.sums_to_one
            and isinstance(self.steps, int)
            and self.head_norm is None
            and len(self.extra) == 0
            and not (self.euclidean or self.dropout)
            and masks.association is None
            and masks.bias is None
            and statistics is not None
            and statistics == self.value.statistics
            and self.stored.module is None
            and self.value.module is None
            and (len(widths) < 2 or 2 * states * size <= sum(widths) * (size + states))
        )

    def _folded(self, query: Tensor, rows: Tensor, masks: Masks) -> Tensor:
        """The output for states (h, L, k) that attend to unprojected rows (*batch, N, size), which are the values."""
        statistics = self.stored.statistics
        assert statistics is not None, "see `_folds`"
        epsilon = statistics[1] if statistics[0] == "layer" else None
        heads, states, _ = query.shape
        beta = self.beta
        if isinstance(beta, Tensor):
            beta = beta.reshape(-1, 1, 1).expand(heads, states, 1).reshape(-1, 1)
        mask = None if masks.stored is None else masks.stored_mask(rows.shape[:-1]).unsqueeze(-2)  # (*batch, 1, N)
        assert isinstance(self.steps, int), "see `_folds`"
        for step in range(self.steps):
            folded = self.stored.folded_into(query).flatten(-3, -2)  # (*batch, h L, size)
            task = Task.of(folded, rows, None, beta, None, mask, self.separation)
            mean = replace(task, epsilon=epsilon).run(want_potential=False)[0].unflatten(-2, (heads, states))
            last = step == self.steps - 1
            query = (self._value if last else self.stored).behind(mean)  # (*batch, h, L, k or v)
        alive = None
        if rows.shape[-2] == 0:
            alive = rows.new_zeros((), dtype=torch.bool)
        elif mask is not None:
            alive = mask.any(-1, keepdim=True)
        return self._silenced(self.out(query), alive)
