"""Pooling: learned states read a set of instances."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.core.retrieval import Retrieval
from hopfield.errors import HopfieldError
from hopfield.nn.association import Masks
from hopfield.nn.hopfield import Hopfield, Options, check_rows, restore

# bags of at least this many instances are pooled alone, without a copy
_ALONE = 4096


class HopfieldPooling(nn.Module):
    """Pool a set of instances into S vectors: a `Hopfield` layer with S learned states, whose memory is the set.

    Z = softmax(β Q Kᵀ) V with Q = R W_Q from the learned states R (Ramsauer et al. 2021, Sec. 3, "Hopfield pooling").
    With one step this is attention pooling, for multiple-instance learning, or in place of averages, of the last state
    of a recurrent network, or of a class token. The axis of the S pooled vectors is kept; `.flatten(1)` drops it.

    Few states over many instances are pooled without projecting the instances: the projections move into the states
    and behind the mean (exact; chosen by itself).

    With `steps=None` the learned states get a gradient of zero, as the fixed point does not depend on them: train them
    with a number of steps.

    Args:
        input_size: size of an instance, and of a state before its projection.
        states: their number S, or a tensor (S, size) of given ones; size is `input_size`, or the head size k where
            states are not projected.
        trainable: whether the states are learned. If not, they are a buffer.
        options: the keyword arguments of `Hopfield`.

    Raises:
        HopfieldError: as `Hopfield`; given states of wrong shape.

    Example:
        >>> pooling = hopfield.HopfieldPooling(32, heads=4, states=2)
        >>> pooling(torch.randn(8, 100, 32)).shape
        torch.Size([8, 2, 32])
        >>> bags = hopfield.Bags.from_list([torch.randn(n, 32) for n in (5, 1000, 0)])
        >>> pooling(bags).shape
        torch.Size([3, 2, 32])
    """

    def __init__(
        self, input_size: int, *, states: int | Tensor = 1, trainable: bool = True, **options: Unpack[Options]
    ) -> None:
        super().__init__()
        options.setdefault("stored_size", input_size)
        project = options.get("project")
        given = states.shape[-1] if isinstance(states, Tensor) and states.dim() == 2 else None
        projected = project is None or "state" in project
        head_size = options.get("head_size") or given or input_size
        self.hopfield = Hopfield(input_size if projected else head_size, **options)
        self.states = free_rows("states", states, self.hopfield.input_size, trainable)
        self._random = not isinstance(states, Tensor)
        self.reset_states()

    def reset_parameters(self) -> None:
        """Initialise anew; states N(0, 1) unless they were given."""
        self.hopfield.reset_parameters()
        self.reset_states()

    def reset_states(self) -> None:
        """Draw the states anew, N(0, 1), unless they were given."""
        if self._random:
            nn.init.normal_(self.states)

    def forward(
        self,
        stored: Tensor | Bags,
        value: Tensor | Bags | None = None,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        association_bias: Tensor | None = None,
    ) -> Tensor:
        """Pool sets of instances.

        Args:
            stored: (*batch, N, input_size), or (N, *batch, input_size) with batch_first=False; or B bags as `Bags`,
                whose cost grows with the sum of their sizes.
            value: other numbers per instance, (*batch, N, value_size), or Bags; default the instances themselves.
            stored_mask: bool, broadcasts to (*batch, N); True takes part. For padding. With bags (total,), one entry
                per instance.
            association_mask: bool, (S, N), (*batch, S, N) or (*batch, h, S, N).
            association_bias: b of the scores β (ξ·x + b), of the same shapes.

        Returns:
            (*batch, S, output_size), or (S, *batch, output_size) with batch_first=False; (B, S, output_size) for bags.
            Zeros for an empty set.

        Raises:
            HopfieldError: inputs of wrong size or dtype, masks of a wrong shape, masks of associations with bags.
        """
        masks = Masks(stored_mask, association_mask, association_bias)
        if isinstance(stored, Bags):
            return self._pool_bags(stored, value, masks)
        rows, values = self._arranged(stored, value)
        output = self.hopfield.association().pooled(self.states, rows, values, masks)
        return restore(output, self.hopfield.batch_first)

    def retrieve(
        self,
        stored: Tensor,
        value: Tensor | None = None,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        association_bias: Tensor | None = None,
    ) -> tuple[Tensor, Retrieval]:
        """The output, and what happened in the association space, (*batch, h, S); see `Hopfield.retrieve`.

        Args:
            stored: as in `forward`, and so the others; for bags see `association_weights`.
            value: other numbers per instance.
            stored_mask: which instances take part.
            association_mask: which state sees which instance.
            association_bias: b of the scores.
        """
        if isinstance(stored, Bags):
            raise HopfieldError(
                "retrieve takes a tensor; for bags, association_weights(bags) says how much each counts"
            )
        rows, values = self._arranged(stored, value)
        association = self.hopfield.association()
        query = association.states_for(self.states, rows)
        masks = Masks(stored_mask, association_mask, association_bias)
        output, found = association.retrieve(query, *association.memory(rows, values), masks)
        return restore(output, self.hopfield.batch_first), found

    def association_weights(self, stored: Tensor | Bags, *, stored_mask: Tensor | None = None) -> Tensor:
        """How much every instance counts: the weights of the last association.

        Returns:
            (*batch, h, S, N) for a tensor, one row per head and state, extra patterns last; (total, h, S) for bags,
            aligned with `bags.instances`, without extra patterns.
        """
        association = self.hopfield.association()
        if not isinstance(stored, Bags):
            (rows,) = self.hopfield.arrange(stored=stored)
            return association.weights(self.states, rows, Masks(stored_mask))
        if stored_mask is not None:
            raise HopfieldError("bags need no mask: leave instances out of the bags")
        rows = self._instances(stored)
        parts, places = [], []
        positions = torch.arange(stored.total, device=stored.device)
        for group in stored.groups():
            weights = association.weights(self.states, group.instances, Masks(group.mask))
            weights = weights[..., : group.instances.shape[1]].permute(0, 3, 1, 2)  # (b, n, h, S), less extra patterns
            where = group.take(positions)
            parts.append(weights.flatten(0, 1) if group.mask is None else weights[group.mask])
            places.append(where.flatten() if group.mask is None else where[group.mask])
        if not parts:
            return rows.new_zeros((0, self.hopfield.heads, self.states.shape[0]))
        return torch.cat(parts).index_select(0, torch.argsort(torch.cat(places)))

    def extra_repr(self) -> str:
        """The number of states."""
        return f"states={self.states.shape[0]}" + ("" if isinstance(self.states, nn.Parameter) else ", given")

    def _arranged(self, stored: Tensor, value: Tensor | Bags | None) -> tuple[Tensor, Tensor]:
        if isinstance(value, Bags):
            raise HopfieldError("value: expected a tensor like stored, got Bags; give both as Bags or both as tensors")
        rows, values = self.hopfield.arrange(stored=stored, value=stored if value is None else value)
        return rows, values

    def _instances(self, bags: Bags) -> Tensor:
        hopfield = self.hopfield
        check_rows("instances of bags", bags.instances, hopfield.stored_size, "(total, {})", hopfield.project_stored)
        return bags.instances

    def _pool_bags(self, bags: Bags, value: Tensor | Bags | None, masks: Masks) -> Tensor:
        if masks.association is not None or masks.bias is not None:
            raise HopfieldError(
                "with bags only stored_mask can be given, one entry per instance; got another mask or bias"
            )
        mask = masks.stored_mask((bags.total,)) if masks.stored is not None else None
        hopfield, size = self.hopfield, self.hopfield.stored_size
        rows = self._instances(bags)
        values = value.instances if isinstance(value, Bags) else value
        if values is not None:
            check_rows("value", values, hopfield.value_size, "(total, {})", hopfield.project_value)
            if values.shape[0] != rows.shape[0]:
                raise HopfieldError(f"value: expected one row per instance, {rows.shape[0]}, got {values.shape[0]}")
            if isinstance(value, Bags) and not torch.equal(value.offsets, bags.offsets):
                raise HopfieldError(
                    "value: expected bags of the same sizes as stored, got others; make them with stored.with_instances"
                )
            bags = bags.with_instances(torch.cat([rows, values], -1))
        association = hopfield.association()
        parts, order = [], []
        for group in bags.groups(alone=_ALONE):
            part = other = group.instances
            if values is not None:
                part, other = part.split([size, values.shape[-1]], -1)
            kept = group.mask
            if mask is not None:
                taken = group.take(mask.expand(bags.total))
                kept = taken if kept is None else kept & taken
            parts.append(association.pooled(self.states, part, other, Masks(kept)))
            order.append(group.indices)
        if not parts:
            return rows.new_zeros((0, self.states.shape[0], hopfield.output_size))
        place = torch.argsort(torch.cat(order)).to(rows.device, non_blocking=True)
        return torch.cat(parts).index_select(0, place)


def free_rows(name: str, rows: int | Tensor, size: int, trainable: bool) -> Tensor:
    """Rows that belong to a layer: a number of them to be drawn, or given ones; a parameter, or else a buffer."""
    if isinstance(rows, Tensor):
        _check_given(name, rows, size)
        tensor = rows.detach().clone()
    elif not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        plain = isinstance(rows, int | float | str | None)
        came = repr(rows) if plain else f"{type(rows).__name__}; use torch.as_tensor"
        raise HopfieldError(f"{name} must be a number of at least 1 or a tensor (number, {size}), got {came}")
    else:
        tensor = torch.empty(rows, size)
    return nn.Parameter(tensor) if trainable else nn.Buffer(tensor)


def _check_given(name: str, rows: Tensor, size: int) -> None:
    """Refuse rows that are not finite numbers of this size."""
    if rows.dim() != 2 or rows.shape[0] < 1 or rows.shape[1] != size or not rows.is_floating_point():
        raise HopfieldError(
            f"{name} must be a floating-point tensor (number, {size}), got {rows.dtype} {tuple(rows.shape)}"
        )
    finite = torch.isfinite(rows).all(-1)
    if rows.device.type != "meta" and not bool(finite.all()):
        raise HopfieldError(
            f"{name} must be finite: row {int((~finite).nonzero()[0])} holds NaN or infinity; "
            "leave such rows out or replace their entries"
        )
