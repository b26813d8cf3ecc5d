"""Encoder and decoder layers of transformers with Hopfield layers in place of attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.nn.hopfield import Hopfield

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "selu": nn.SELU, "silu": nn.SiLU}
"""Activations of the feed-forward part by name."""


class _Residual(nn.Module):
    """x + dropout(f(x)) with a norm behind, or, with `norm_first`, before f."""

    def __init__(self, size: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.norm_first = norm_first

    def forward(self, rows: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        if self.norm_first:
            result: Tensor = rows + self.dropout(function(self.norm(rows)))
        else:
            result = self.norm(rows + self.dropout(function(rows)))
        return result


def _feed_forward(
    size: int, width: int | None, dropout: float, activation: str | Callable[[], nn.Module]
) -> nn.Sequential:
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise HopfieldError(
                f"unknown activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}, or a module class"
            )
        activation = ACTIVATIONS[activation]
    width = 4 * size if width is None else width
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise HopfieldError(f"feedforward_size must be an integer of at least 1, got {width!r}")
    return nn.Sequential(nn.Linear(size, width), activation(), nn.Dropout(dropout), nn.Linear(width, size))


def _check(name: str, layer: nn.Module, size: int) -> None:
    if not isinstance(layer, Hopfield):
        raise HopfieldError(f"{name} must be a hopfield.Hopfield layer, got {type(layer).__name__}")
    if layer.input_size != size or layer.output_size != size:
        raise HopfieldError(
            f"{name}: input and output are added, so both must have size {size}; "
            f"got input_size={layer.input_size}, output_size={layer.output_size}"
        )


class HopfieldEncoderLayer(nn.Module):
    """An encoder layer of a transformer: a Hopfield layer and a feed-forward network, each with a residual connection.

    Args:
        hopfield: the layer whose states associate with one another; input_size = output_size = d.
        feedforward_size: width of the feed-forward network; default 4 d.
        dropout: share dropped behind both parts and within the feed-forward network, in training.
        activation: "relu", "gelu", "selu", "silu" or a module class.
        norm_first: layer-normalise before each part instead of after its residual.

    Raises:
        HopfieldError: a layer of unequal sizes, an unknown activation.

    Example:
        >>> layer = hopfield.nn.HopfieldEncoderLayer(hopfield.Hopfield(64, heads=4, steps=2))
        >>> layer(torch.randn(8, 20, 64)).shape
        torch.Size([8, 20, 64])
    """

    def __init__(
        self,
        hopfield: Hopfield,
        *,
        feedforward_size: int | None = None,
        dropout: float = 0.1,
        activation: str | Callable[[], nn.Module] = "relu",
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        size = getattr(hopfield, "input_size", 0)
        _check("hopfield", hopfield, size)
        self.hopfield = hopfield
        self.feed_forward = _feed_forward(size, feedforward_size, dropout, activation)
        self.residual_association = _Residual(size, dropout, norm_first)
        self.residual_feed_forward = _Residual(size, dropout, norm_first)

    def forward(
        self, state: Tensor, *, stored_mask: Tensor | None = None, association_mask: Tensor | None = None
    ) -> Tensor:
        """(*batch, L, d) -> (*batch, L, d); masks as in `Hopfield`, True takes part."""

        def associate(rows: Tensor) -> Tensor:
            return self.hopfield(rows, stored_mask=stored_mask, association_mask=association_mask)  # type: ignore[no-any-return]  # calls of modules are untyped

        state = self.residual_association(state, associate)
        return self.residual_feed_forward(state, self.feed_forward)  # type: ignore[no-any-return]  # calls of modules are untyped


class HopfieldDecoderLayer(nn.Module):
    """A decoder layer: states associate with one another, then with a memory, then pass a feed-forward network.

    Args:
        hopfield: the layer whose states associate with one another; input_size = output_size = d.
        hopfield_memory: the layer whose states associate with the memory; input_size = output_size = d, its
            `stored_size` that of the memory.
        feedforward_size: width of the feed-forward network; default 4 d.
        dropout: share dropped behind every part and within the feed-forward network, in training.
        activation: "relu", "gelu", "selu", "silu" or a module class.
        norm_first: layer-normalise before each part instead of after its residual.

    Raises:
        HopfieldError: layers of unequal sizes, an unknown activation.
    """

    def __init__(
        self,
        hopfield: Hopfield,
        hopfield_memory: Hopfield,
        *,
        feedforward_size: int | None = None,
        dropout: float = 0.1,
        activation: str | Callable[[], nn.Module] = "relu",
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        size = getattr(hopfield, "input_size", 0)
        _check("hopfield", hopfield, size)
        _check("hopfield_memory", hopfield_memory, size)
        self.hopfield, self.hopfield_memory = hopfield, hopfield_memory
        self.feed_forward = _feed_forward(size, feedforward_size, dropout, activation)
        self.residual_association = _Residual(size, dropout, norm_first)
        self.residual_memory = _Residual(size, dropout, norm_first)
        self.residual_feed_forward = _Residual(size, dropout, norm_first)

    def forward(
        self,
        state: Tensor,
        memory: Tensor,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        memory_association_mask: Tensor | None = None,
    ) -> Tensor:
        """Decode states with a memory.

        Args:
            state: (*batch, L, d).
            memory: (*batch, N, stored_size of hopfield_memory), such as the output of an encoder.
            stored_mask: bool, broadcasts to (*batch, L); which states take part.
            association_mask: which state sees which state; for causality `hopfield.nn.causal_mask(L)`.
            memory_mask: bool, broadcasts to (*batch, N); which of the memory take part.
            memory_association_mask: which state sees what of the memory.

        Returns:
            (*batch, L, d).
        """

        def associate(rows: Tensor) -> Tensor:
            return self.hopfield(rows, stored_mask=stored_mask, association_mask=association_mask)  # type: ignore[no-any-return]  # calls of modules are untyped

        def read(rows: Tensor) -> Tensor:
            return self.hopfield_memory(  # type: ignore[no-any-return]  # calls of modules are untyped
                rows, memory, stored_mask=memory_mask, association_mask=memory_association_mask
            )

        state = self.residual_association(state, associate)
        state = self.residual_memory(state, read)
        return self.residual_feed_forward(state, self.feed_forward)  # type: ignore[no-any-return]  # calls of modules are untyped


def causal_mask(states: int, device: torch.device | str | None = None) -> Tensor:
    """The association mask of a decoder: state i sees states j ≤ i. bool (L, L), True takes part."""
    return torch.ones(states, states, dtype=torch.bool, device=device).tril()
