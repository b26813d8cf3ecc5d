"""`HopfieldCore`: the parameters of an association, under the original's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.core.separation import Softmax
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association, Masks
from hopfield.nn.source import Source

Norms = tuple[nn.Module | None, nn.Module | None, nn.Module | None]
"""Of state patterns, stored patterns and pattern projections."""
# the implicit gradient of "until it converges" is solved to this relative accuracy
_ADJOINT_TOL = 1e-12


class HopfieldCore(nn.Module):
    """The projections of an association and its extra patterns; drop-in for `hflayers.activation.HopfieldCore`.

    Args:
        embed_dim: size of a state pattern; None only where nothing is projected.
        num_heads: number of heads h.
        dropout: share of the associations dropped in training.
        bias: whether projections have biases.
        add_bias_kv: append a learned stored pattern and projection.
        add_zero_attn: append a stored pattern and projection of zeros.
        kdim: size of a stored pattern; default `embed_dim`.
        vdim: size of a pattern projection; default `embed_dim`.
        head_dim: size of a head's association space; default `embed_dim` // h.
        pattern_dim: size of a head's selected patterns; default `head_dim`.
        out_dim: size of the output; default `embed_dim`.
        disable_out_projection: leave the heads' patterns side by side.
        key_as_static: do not project stored patterns.
        query_as_static: do not project state patterns.
        value_as_static: do not project pattern projections.
        value_as_connected: pass pattern projections through the projection of the stored patterns first.
        normalize_pattern: layer-normalise states and stored patterns in the association space.
        normalize_pattern_affine: with scale and shift.
        normalize_pattern_eps: added to the variance there.

    Raises:
        HopfieldError: sizes that do not fit together.
    """

    def __init__(
        self,
        embed_dim: int | None = None,
        num_heads: int = 1,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        head_dim: int | None = None,
        pattern_dim: int | None = None,
        out_dim: int | None = None,
        disable_out_projection: bool = False,
        key_as_static: bool = False,
        query_as_static: bool = False,
        value_as_static: bool = False,
        value_as_connected: bool = False,
        normalize_pattern: bool = False,
        normalize_pattern_affine: bool = False,
        normalize_pattern_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        _check_numbers(num_heads, dropout)
        if normalize_pattern_affine and not normalize_pattern:
            raise HopfieldError(
                "normalize_hopfield_space_affine has no effect without normalize_hopfield_space: set both"
            )
        self.key_as_static, self.query_as_static, self.value_as_static = key_as_static, query_as_static, value_as_static
        self.value_as_connected = value_as_connected
        self.normalize_pattern, self.normalize_pattern_affine = normalize_pattern, normalize_pattern_affine
        self.normalize_pattern_eps = normalize_pattern_eps
        self.disable_out_projection = disable_out_projection
        self.num_heads, self.dropout, self.add_zero_attn = num_heads, dropout, add_zero_attn
        self.static_execution = (
            key_as_static
            and query_as_static
            and value_as_static
            and disable_out_projection
            and not (value_as_connected or normalize_pattern)
        )
        if self.static_execution:
            embed_dim = kdim = vdim = None
        elif embed_dim is None:
            raise HopfieldError("input_size is needed unless nothing is projected or normalised; give input_size")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        if value_as_connected and self.kdim != self.vdim:
            raise HopfieldError(
                f"pattern_projection_as_connected: stored_pattern_size and pattern_projection_size must be equal, "
                f"got {self.kdim} and {self.vdim}"
            )
        self._qkv_same_embed_dim = (
            self.kdim == embed_dim and self.vdim == embed_dim and pattern_dim is None and not value_as_connected
        )
        self.head_dim: int | None = None
        self.pattern_dim = pattern_dim
        if embed_dim is not None:
            if head_dim is None and embed_dim % num_heads:
                raise HopfieldError(
                    f"input_size must be divisible by num_heads, got {embed_dim} and {num_heads}; or give hidden_size"
                )
            self.head_dim = embed_dim // num_heads if head_dim is None else head_dim
            if self.head_dim < 1:
                raise HopfieldError(f"hidden_size must be at least 1, got {self.head_dim}")
            self.pattern_dim = self.head_dim if pattern_dim is None else pattern_dim
        if value_as_connected and value_as_static and self.pattern_dim != self.head_dim:
            raise HopfieldError(
                "pattern_projection_as_connected: values that are not projected themselves have "
                f"hidden_size {self.head_dim}; got pattern_size {self.pattern_dim}"
            )
        self.out_dim = embed_dim if out_dim is None else out_dim
        if not disable_out_projection and (self.out_dim is None or self.out_dim < 1):
            raise HopfieldError(f"output_size must be at least 1, got {self.out_dim}")
        hidden = num_heads * (self.head_dim or 0)
        values = num_heads * (self.pattern_dim or 0)
        self.virtual_hopfield_dim = hidden if embed_dim is not None else None
        self.virtual_pattern_dim = values if embed_dim is not None else None
        if add_bias_kv and (key_as_static or value_as_static):
            raise HopfieldError(
                "concat_bias_pattern needs projected stored patterns and pattern projections: "
                "leave stored_pattern_as_static and pattern_projection_as_static False"
            )

        def parameter(*shape: int | None) -> nn.Parameter:
            return nn.Parameter(torch.empty(*(size or 0 for size in shape)))

        self.p_norm_weight = parameter(self.head_dim) if normalize_pattern_affine else None
        self.p_norm_bias = parameter(self.head_dim) if normalize_pattern_affine else None
        rows = [0 if query_as_static else hidden, 0 if key_as_static else hidden, 0 if value_as_static else values]
        self.in_proj_weight = self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        if self._qkv_same_embed_dim:
            self.in_proj_weight = parameter(sum(rows), embed_dim) if any(rows) else None
        else:
            value_in = hidden if value_as_connected and not key_as_static else self.vdim
            self.q_proj_weight = None if query_as_static else parameter(hidden, embed_dim)
            self.k_proj_weight = None if key_as_static else parameter(hidden, self.kdim)
            self.v_proj_weight = None if value_as_static else parameter(values, value_in)
        # the original keeps room for the pattern projection's bias even where that is not projected
        self.in_proj_bias = parameter(rows[0] + rows[1] + values) if bias and any(rows) else None
        self.out_proj = None if disable_out_projection else nn.Linear(values, self.out_dim or 0, bias=bias)
        self.bias_k = parameter(1, 1, hidden) if add_bias_kv else None
        self.bias_v = parameter(1, 1, values) if add_bias_kv else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew as the original does, drawing in its order: weights N(0, 0.02²), biases 0."""
        if self.p_norm_weight is not None and self.p_norm_bias is not None:
            nn.init.ones_(self.p_norm_weight)
            nn.init.zeros_(self.p_norm_bias)
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                nn.init.normal_(weight, std=0.02)
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
        if self.out_proj is not None:
            nn.init.normal_(self.out_proj.weight, std=0.02)
            if self.out_proj.bias is not None:
                nn.init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                nn.init.normal_(extra, std=0.02)

    def sources(self, norms: Norms = (None, None, None)) -> tuple[Source, Source, Source]:
        """How state patterns, stored patterns and pattern projections enter: slices of the original's parameters."""
        hidden, values = self.virtual_hopfield_dim or 0, self.virtual_pattern_dim or 0
        static = (self.query_as_static, self.key_as_static, self.value_as_static)
        separate = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        result = []
        row = 0
        for norm, without, weight, rows in zip(norms, static, separate, (hidden, hidden, values), strict=True):
            if without:
                result.append(Source(norm))
                continue
            part = slice(row, row + rows)
            row += rows
            bias = None if self.in_proj_bias is None else self.in_proj_bias[part]
            result.append(Source(norm, self.in_proj_weight[part] if self.in_proj_weight is not None else weight, bias))
        return result[0], result[1], result[2]

    def head_norm(self, heads: Tensor) -> Tensor:
        """Layer normalisation in the association space."""
        return F.layer_norm(heads, heads.shape[-1:], self.p_norm_weight, self.p_norm_bias, self.normalize_pattern_eps)

    def association(
        self,
        norms: Norms = (None, None, None),
        scaling: float | Tensor | None = None,
        update_steps_max: int | Tensor | None = 0,
        update_steps_eps: float | Tensor = 1e-4,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> Association:
        """The association with the parameters as they are now."""
        state, stored, value = self.sources(norms)
        pair = None
        if self.bias_k is not None and self.bias_v is not None:
            pair = (self.bias_k.view(self.num_heads, -1), self.bias_v.view(self.num_heads, -1))

        def output(values: Tensor) -> Tensor:
            values = values if self.out_proj is None else self.out_proj(values)
            return values if activation is None else activation(values)

        return Association(
            state=state,
            stored=stored,
            value=value,
            heads=self.num_heads,
            beta=1.0 if scaling is None else scaling,
            separation=Softmax(),
            steps=as_steps(update_steps_max, self.num_heads),
            tol=as_tol(update_steps_eps),
            adjoint_tol=_ADJOINT_TOL,
            output=output,
            head_norm=self.head_norm if self.normalize_pattern else None,
            connected=self.value_as_connected and not self.key_as_static,
            extra=(() if pair is None else (pair,)) + ((None,) if self.add_zero_attn else ()),
            dropout=self.dropout if self.training else 0.0,
        )

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        scaling: float | Tensor | None = None,
        update_steps_max: int | Tensor | None = 0,
        update_steps_eps: float | Tensor = 1e-4,
        return_raw_associations: bool = False,
        return_pattern_projections: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """Associate query (L, B, size) with key and value (N, B, size); a scaling of None is 1, as in the original.

        Returns:
            Output (L, B, out_dim), and if asked for: associations averaged over the heads (B, L, N), associations
            (B, h, L, N), projected patterns (B, h, N, v).
        """
        association = self.association((None, None, None), scaling, update_steps_max, update_steps_eps)
        query, key, value = (rows.transpose(0, 1) for rows in (query, key, value))
        masks = as_masks(key_padding_mask, attn_mask, association, (query.shape[0], query.shape[1], key.shape[1]))
        heads = association.all(query, key, value)
        if need_weights or return_raw_associations:
            result, found = association.retrieve(*heads, masks)
            weights = found.weights
        else:
            result, weights = association.associate(*heads, masks), None
        return (
            result.transpose(0, 1),
            weights.mean(1) if need_weights and weights is not None else None,
            weights if return_raw_associations else None,
            heads[2] if return_pattern_projections else None,
        )


def _check_numbers(num_heads: int, dropout: float) -> None:
    if not isinstance(num_heads, int) or num_heads < 1:
        raise HopfieldError(f"num_heads must be an integer of at least 1, got {num_heads!r}")
    if not 0 <= dropout < 1:
        raise HopfieldError(f"dropout must lie in [0, 1), got {dropout}")


def default_scaling(core: HopfieldCore) -> float:
    """1/√k, or 1 where nothing is projected."""
    return 1.0 if core.head_dim is None else 1 / math.sqrt(core.head_dim)


def as_steps(update_steps_max: int | Tensor | None, heads: int) -> int | tuple[int | None, ...] | None:
    """Updates from the original's count, which leaves out the first and takes None or below 0 for no limit."""
    if isinstance(update_steps_max, Tensor):
        if update_steps_max.shape != (heads,):
            raise HopfieldError(
                f"update_steps_max must have one entry per head, ({heads},), got {tuple(update_steps_max.shape)}"
            )
        return tuple(None if count < 0 else int(count) + 1 for count in update_steps_max.tolist())
    if update_steps_max is None:
        return None
    if not isinstance(update_steps_max, int) or isinstance(update_steps_max, bool):
        raise HopfieldError(
            f"update_steps_max must be an integer, a tensor with one per head, or None, got {update_steps_max!r}"
        )
    return None if update_steps_max < 0 else update_steps_max + 1


def as_tol(update_steps_eps: float | Tensor) -> float:
    """The tolerance of the loop; of one per head the smallest."""
    tol = float(update_steps_eps.min()) if isinstance(update_steps_eps, Tensor) else update_steps_eps
    if not isinstance(tol, float | int) or not tol > 0:
        raise HopfieldError(f"update_steps_eps must be above 0, got {update_steps_eps!r}")
    return float(tol)


def as_masks(
    padding: Tensor | None, association: Tensor | None, layer: Association, shape: tuple[int, int, int]
) -> Masks:
    """Masks in which True takes part, from the original's, in which it does not; shape (B, L, N).

    Floating-point masks are added to the scores.
    """
    batch, states, count = shape
    stored = bias = None
    if padding is not None:
        if padding.shape != (batch, count):
            raise HopfieldError(
                f"stored_pattern_padding_mask must be of shape (B, N) = {(batch, count)}, got {tuple(padding.shape)}"
            )
        if padding.is_floating_point():  # as `nn.TransformerEncoder` passes it on
            bias = padding[:, None, None, :]
        else:
            stored = ~_as_bool("stored_pattern_padding_mask", padding)
    if association is None:
        return Masks(stored, bias=_scaled(bias, layer.beta))
    shapes = ((states, count), (batch * layer.heads, states, count), (batch, layer.heads, states, count))
    if association.shape not in shapes:
        raise HopfieldError(
            f"association_mask must be of shape (L, N) = {shapes[0]} or (B h, L, N) = {shapes[1]}, "
            f"got {tuple(association.shape)}"
        )
    if association.dim() == 3:
        association = association.unflatten(0, (batch, layer.heads))
    if not association.is_floating_point():
        return Masks(stored, ~_as_bool("association_mask", association), _scaled(bias, layer.beta))
    association = association.expand(1, 1, states, count) if association.dim() == 2 else association
    return Masks(stored, bias=_scaled(association if bias is None else association + bias, layer.beta))


def _scaled(bias: Tensor | None, beta: float | Tensor) -> Tensor | None:
    """What is added to the scores as what is added to similarities: (B or 1, h or 1, L or 1, N)."""
    if bias is None:
        return None
    if not isinstance(beta, Tensor):
        return bias / beta
    # -inf divided by beta would give beta a gradient of NaN
    alive = bias != -math.inf
    return (torch.where(alive, bias, 0.0) / beta.reshape(-1, 1, 1)).masked_fill(~alive, -math.inf)


def _as_bool(name: str, mask: Tensor) -> Tensor:
    if mask.dtype not in {torch.bool, torch.uint8}:
        raise HopfieldError(
            f"{name} must be bool or uint8 (True is left out) or floating-point, got {mask.dtype}; use .bool()"
        )
    return mask.bool()


def without_norms(association: Association) -> Association:
    """The association for inputs that are normalised already."""
    state, stored, value = (
        replace(source, norm=None) for source in (association.state, association.stored, association.value)
    )
    return replace(association, state=state, stored=stored, value=value)
