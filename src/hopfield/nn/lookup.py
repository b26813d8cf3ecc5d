"""Lookup: states associate with patterns that belong to the layer."""

from __future__ import annotations

from typing import Any, Literal, Self, Unpack

import torch
from torch import Tensor, nn

from hopfield.core.kernels.matmul import traced
from hopfield.core.retrieval import Retrieval
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association, Masks
from hopfield.nn.hopfield import Hopfield, Options, restore
from hopfield.nn.pooling import free_rows


class HopfieldLayer(nn.Module):
    """Look states up in stored patterns that belong to the layer: a `Hopfield` layer with learned or given memory.

    Z = softmax(β R W_Q (Y W_K)ᵀ) Y W_V with stored patterns Y learned, or taken from a training set, and values from
    them or from targets of their own (Ramsauer et al. 2021, Sec. 3, "Hopfield layer"). In place of a dense layer, or as
    a memory of examples, prototypes or support vectors; see `from_patterns`.

    The memory is projected once per forward pass for the whole batch. In evaluation without gradients it is kept until
    a parameter changes. (Changes through `.data` cannot be seen: call `layer.eval()` after them.)

    Args:
        input_size: size of a state.
        patterns: their number N, to be learned, or a tensor (N, stored_size) of given ones.
        targets: None: the values are the patterns; "learned": rows of their own; or a tensor (N, value_size).
        trainable: whether the patterns are learned. If not, they are a buffer.
        trainable_targets: the same for targets.
        options: the keyword arguments of `Hopfield`.

    Raises:
        HopfieldError: as `Hopfield`; given patterns or targets of wrong shape.

    Example:
        >>> layer = hopfield.HopfieldLayer(64, patterns=512, heads=4)
        >>> layer(torch.randn(8, 20, 64)).shape
        torch.Size([8, 20, 64])
    """

    def __init__(
        self,
        input_size: int,
        *,
        patterns: int | Tensor,
        targets: Literal["learned"] | Tensor | None = None,
        trainable: bool = True,
        trainable_targets: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        if isinstance(patterns, Tensor) and patterns.dim() == 2:
            options.setdefault("stored_size", patterns.shape[1])
        if isinstance(targets, Tensor):
            if targets.dim() != 2 or not targets.is_floating_point():
                raise HopfieldError(
                    f"targets must be a floating-point tensor (N, v), one row per pattern; got {targets.dtype} "
                    f"{tuple(targets.shape)}; classes as torch.nn.functional.one_hot(targets).float()"
                )
            options.setdefault("value_size", targets.shape[1])
        self.hopfield = Hopfield(input_size, **options)
        self.patterns = free_rows("patterns", patterns, self.hopfield.stored_size, trainable)
        count = self.patterns.shape[0]
        if isinstance(targets, Tensor) and targets.shape[:1] != (count,):
            raise HopfieldError(f"targets: expected one row per pattern, {count}, got {tuple(targets.shape)}")
        if targets is not None and not isinstance(targets, Tensor) and targets != "learned":
            raise HopfieldError(f'targets must be None, "learned" or a tensor ({count}, value_size), got {targets!r}')
        if targets is None and self.hopfield.value_size != self.hopfield.stored_size:
            raise HopfieldError(
                f"value_size: the values are the patterns, of size {self.hopfield.stored_size}, "
                f'got value_size={self.hopfield.value_size}; give targets="learned" or a tensor'
            )
        rows = targets if isinstance(targets, Tensor) else count
        own = targets is not None
        self.targets = free_rows("targets", rows, self.hopfield.value_size, trainable_targets) if own else None
        self._random = not isinstance(patterns, Tensor), targets == "learned" if isinstance(targets, str) else False
        self._kept = Kept()
        self.reset_rows()

    @classmethod
    def from_patterns(
        cls, patterns: Tensor, targets: Tensor | None = None, *, trainable: bool = False, **options: Unpack[Options]
    ) -> Self:
        """The memory of a training set: states are compared with the patterns as they are, targets are averaged.

        Nothing is normalised or projected unless `options` say so. With `separation=TopK(k)`, `similarity="euclidean"`
        and a small beta it is the vote of the k nearest neighbours; with support vectors and their coefficients a
        kernel machine; with class centres and `trainable=True` learning vector quantisation.

        Args:
            patterns: (N, d).
            targets: (N, v), such as one-hot classes; default the patterns.
            trainable: whether patterns and targets are learned further.
            options: the keyword arguments of `Hopfield`; `project` is (), `norm` None and `beta` 1 by default.

        Raises:
            HopfieldError: as the constructor.
        """
        if not isinstance(patterns, Tensor) or patterns.dim() != 2:
            came = tuple(patterns.shape) if isinstance(patterns, Tensor) else type(patterns).__name__
            raise HopfieldError(
                f"patterns must be a floating-point tensor (number, d), got {came}; use torch.as_tensor"
            )
        options.setdefault("project", ())
        options.setdefault("norm", None)
        options.setdefault("beta", 1.0)
        size = patterns.shape[-1]
        layer = cls(
            size,
            patterns=patterns,
            targets=targets,
            trainable=trainable,
            trainable_targets=trainable,
            **options,
        )
        return layer.to(patterns.device)

    def reset_parameters(self) -> None:
        """Initialise anew; patterns and targets N(0, 1) unless they were given."""
        self.hopfield.reset_parameters()
        self.reset_rows()

    def reset_rows(self) -> None:
        """Draw patterns and targets anew, N(0, 1), unless they were given."""
        patterns, targets = self._random
        if patterns:
            nn.init.normal_(self.patterns)
        if targets and self.targets is not None:
            nn.init.normal_(self.targets)
        self._kept.clear()

    def forward(
        self,
        state: Tensor,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        association_bias: Tensor | None = None,
    ) -> Tensor:
        """Look states up.

        Args:
            state: (*batch, L, input_size), or (L, *batch, input_size) with batch_first=False; (L, input_size) is L
                states, as a batch of rows is for a dense layer.
            stored_mask: bool, broadcasts to (*batch, N); True takes part.
            association_mask: bool, (L, N), (*batch, L, N) or (*batch, h, L, N).
            association_bias: b of the scores β (ξ·x + b), of the same shapes.

        Returns:
            The output in the order of the input.

        Raises:
            HopfieldError: inputs of wrong size or dtype, masks of a wrong shape.
        """
        association, heads = self._heads(state)
        output = association.associate(*heads, Masks(stored_mask, association_mask, association_bias))
        return restore(output, self.hopfield.batch_first)

    def retrieve(
        self,
        state: Tensor,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        association_bias: Tensor | None = None,
    ) -> tuple[Tensor, Retrieval]:
        """The output, and what happened in the association space, (*batch, h, L); see `Hopfield.retrieve`.

        Args:
            state: as in `forward`, and so the others.
            stored_mask: which patterns take part.
            association_mask: which state sees which pattern.
            association_bias: b of the scores.
        """
        association, heads = self._heads(state)
        output, found = association.retrieve(*heads, Masks(stored_mask, association_mask, association_bias))
        return restore(output, self.hopfield.batch_first), found

    def _heads(self, state: Tensor) -> tuple[Association, tuple[Tensor, Tensor, Tensor]]:
        """The association, and its states (*batch, h, L, k), patterns (h, N, k) and values (h, N, v)."""
        hopfield = self.hopfield
        (rows,) = hopfield.arrange(state=state)
        association = hopfield.association()
        targets = self.patterns if self.targets is None else self.targets
        memory = self._kept.get(self, association, self.patterns, targets)
        return association, (association.states(rows), *memory)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; the projected memory is made anew."""
        self._kept.clear()
        return super().train(mode)

    def extra_repr(self) -> str:
        """The number of patterns."""
        given = "" if isinstance(self.patterns, nn.Parameter) else ", given"
        targets = "the patterns" if self.targets is None else tuple(self.targets.shape)
        return f"patterns={self.patterns.shape[0]}{given}, targets={targets}"


class Kept:
    """The projected memory of a layer in evaluation, kept while its parameters are the same. Not copied, not saved."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget it."""
        # key, its tensors (kept alive, so that no other takes on an id of theirs), memory: in one, for threads
        self._kept: tuple[tuple[Any, ...], list[Tensor], tuple[Tensor, Tensor]] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()

    def get(
        self, layer: nn.Module, association: Association, patterns: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The projected memory, made now or when all it is made of was the same as now."""
        if layer.training or torch.is_grad_enabled() or traced():
            self.clear()  # where gradients are, parameters may change in ways that leave no trace
            return association.memory(patterns, values)
        tensors = [*layer.parameters(), *layer.buffers()]
        parts = association.fixed_parts()
        if parts is None or not all(_plain(tensor) for tensor in tensors):
            return association.memory(patterns, values)
        of_tensors = ((id(tensor), tensor._version, tensor.data_ptr(), tensor.dtype) for tensor in tensors)
        key = (*of_tensors, *parts, _precision())
        kept = self._kept
        if kept is None or kept[0] != key:
            kept = self._kept = (key, tensors, association.memory(patterns, values))
        return kept[2]


def _plain(tensor: Tensor) -> bool:
    """Whether changes of a tensor can be told, as they cannot of those made in inference mode."""
    return not tensor.is_inference() and type(tensor) in {Tensor, nn.Parameter, nn.Buffer}


def _precision() -> torch.dtype | None:
    """The data type of an autocast region, which projections take on."""
    return (
        torch.get_autocast_dtype("cpu")
        if torch.is_autocast_enabled("cpu")
        else (torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None)
    )
