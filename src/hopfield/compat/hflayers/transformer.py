"""`HopfieldEncoderLayer` and `HopfieldDecoderLayer` of the original package."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from hopfield.compat.hflayers.layers import Hopfield, Three
from hopfield.compat.hflayers.parts import activation as activation_of
from hopfield.errors import HopfieldError


def _size(name: str, layer: Hopfield) -> int:
    size: int | None = layer.state_pattern_dim if isinstance(layer, Hopfield) else None
    if size is None:
        raise HopfieldError(f"{name} must be a Hopfield layer with an input_size, got {layer!r}")
    core = layer.association_core
    output = (core.virtual_pattern_dim or size) if core.out_proj is None else core.out_dim
    if output != size:
        raise HopfieldError(
            f"{name}: its output is added to its input, so both must have the same size; got {size} and {output}"
        )
    return size


class _Layer(nn.Module):
    """What both have in common: the feed-forward part, under the original's names."""

    def _make(self, size: int, dim_feedforward: int, dropout: float, activation: str) -> None:
        self.linear_residual = nn.Linear(size, dim_feedforward)
        self.dropout_residual = nn.Dropout(dropout)
        self.linear_output = nn.Linear(dim_feedforward, size)
        self.activation_residual = activation_of(activation) or activation_of("relu")

    def reset_parameters(self) -> None:
        """Initialise anew."""
        for module in self.children():
            if not isinstance(module, nn.Dropout):
                module.reset_parameters()  # type: ignore[operator]  # a Tensor or Module to the type checker

    def _feed_forward(self, rows: Tensor) -> Tensor:
        assert self.activation_residual is not None
        rows = self.activation_residual(self.linear_residual(rows))
        return self.linear_output(self.dropout_residual(rows))  # type: ignore[no-any-return]  # calls of modules are untyped

    @property
    def output_size(self) -> int:
        """Size of the output."""
        return self.linear_output.out_features


class HopfieldEncoderLayer(_Layer):
    """Drop-in for `hflayers.transformer.HopfieldEncoderLayer`, and for a layer of `nn.TransformerEncoder`.

    Args:
        hopfield_association: the layer whose states associate with one another; it is copied and initialised anew.
        dim_feedforward: width of the feed-forward part.
        dropout: share dropped in training.
        activation: name of a function of torch.

    Raises:
        HopfieldError: not a `Hopfield` layer, an unknown activation.
    """

    def __init__(
        self,
        hopfield_association: Hopfield,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        size = _size("hopfield_association", hopfield_association)
        self.hopfield_association = deepcopy(hopfield_association)
        self._make(size, dim_feedforward, dropout, activation)
        self.norm_residual, self.norm_output = nn.LayerNorm(size), nn.LayerNorm(size)
        self.dropout_hopfield_association, self.dropout_output = nn.Dropout(dropout), nn.Dropout(dropout)
        self.reset_parameters()

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Encode; masks say True for what is left out. `is_causal` is a hint of torch's that has no effect here."""
        found = self.hopfield_association(src, src_key_padding_mask, src_mask)
        src = self.norm_residual(src + self.dropout_hopfield_association(found))
        return self.norm_output(src + self.dropout_output(self._feed_forward(src)))  # type: ignore[no-any-return]  # calls of modules are untyped

    def get_association_matrix(self, input: Three) -> Tensor:
        """The associations of the layer's `Hopfield`, without gradients, (B, h, L, L)."""
        return self.hopfield_association.get_association_matrix(input)

    @property
    def self_attn(self) -> Hopfield:
        """The layer whose states associate with one another; `nn.TransformerEncoder` reads its `batch_first`."""
        return self.hopfield_association

    @property
    def batch_first(self) -> bool:
        """Whether tensors are (B, n, size)."""
        return self.hopfield_association.batch_first

    @property
    def input_size(self) -> int | None:
        """Size of the input."""
        size: int | None = self.hopfield_association.state_pattern_dim
        return size


class HopfieldDecoderLayer(_Layer):
    """Drop-in for `hflayers.transformer.HopfieldDecoderLayer`, and for a layer of `nn.TransformerDecoder`.

    Args:
        hopfield_association_self: the layer whose states associate with one another; copied and initialised anew.
        hopfield_association_cross: the layer whose states associate with the memory; likewise.
        dim_feedforward: width of the feed-forward part.
        dropout: share dropped in training.
        activation: name of a function of torch.

    Raises:
        HopfieldError: not `Hopfield` layers, an unknown activation.
    """

    def __init__(
        self,
        hopfield_association_self: Hopfield,
        hopfield_association_cross: Hopfield,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        size = _size("hopfield_association_self", hopfield_association_self)
        _size("hopfield_association_cross", hopfield_association_cross)
        self.hopfield_association_self = deepcopy(hopfield_association_self)
        self.hopfield_association_cross = deepcopy(hopfield_association_cross)
        self._make(size, dim_feedforward, dropout, activation)
        self.norm_residual_self, self.norm_residual_cross = nn.LayerNorm(size), nn.LayerNorm(size)
        self.norm_output = nn.LayerNorm(size)
        self.dropout_hopfield_association_self = nn.Dropout(dropout)
        self.dropout_hopfield_association_cross = nn.Dropout(dropout)
        self.dropout_output = nn.Dropout(dropout)
        self.reset_parameters()

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Decode; masks say True for what is left out. The hints `*_is_causal` of torch's have no effect here."""
        found = self.hopfield_association_self(tgt, tgt_key_padding_mask, tgt_mask)
        tgt = self.norm_residual_self(tgt + self.dropout_hopfield_association_self(found))
        found = self.hopfield_association_cross((memory, tgt, memory), memory_key_padding_mask, memory_mask)
        tgt = self.norm_residual_cross(tgt + self.dropout_hopfield_association_cross(found))
        return self.norm_output(tgt + self.dropout_output(self._feed_forward(tgt)))  # type: ignore[no-any-return]  # calls of modules are untyped

    def get_association_matrix_self(self, input: Three) -> Tensor:
        """The associations among states, without gradients, (B, h, L, L)."""
        return self.hopfield_association_self.get_association_matrix(input)

    def get_association_matrix_cross(self, input: Three) -> Tensor:
        """The associations with the memory, without gradients, (B, h, L, N)."""
        return self.hopfield_association_cross.get_association_matrix(input)

    @property
    def self_attn(self) -> Hopfield:
        """The layer whose states associate with one another; `nn.TransformerDecoder` reads its `batch_first`."""
        return self.hopfield_association_self

    @property
    def batch_first(self) -> bool:
        """Whether tensors are (B, n, size)."""
        return self.hopfield_association_self.batch_first

    @property
    def input_size(self) -> int | None:
        """Size of the input."""
        size: int | None = self.hopfield_association_self.state_pattern_dim
        return size
