"""`Hopfield`, `HopfieldPooling` and `HopfieldLayer` of the original package."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor, nn

from hopfield import nn as native
from hopfield.compat.hflayers.activation import HopfieldCore, as_masks, as_steps, as_tol, default_scaling
from hopfield.compat.hflayers.native import native_hopfield, native_layer, native_pooling
from hopfield.compat.hflayers.parts import activation, check_input, described, norm, of_core, of_norm
from hopfield.core.retrieval import Retrieval
from hopfield.core.task import check_beta
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association, Masks
from hopfield.nn.hopfield import arranged
from hopfield.nn.lookup import Kept

Three = Tensor | tuple[Tensor, Tensor, Tensor]


class Hopfield(nn.Module):
    """Drop-in for `hflayers.Hopfield`.

    Args:
        input_size: size of a state pattern.
        hidden_size: size k of a head's association space; default input_size // num_heads.
        output_size: size of the output; default input_size.
        pattern_size: size of a head's selected patterns; default hidden_size.
        num_heads: number of heads h.
        scaling: inverse temperature beta: a number, a tensor with one per head, or an `nn.Parameter` (then it is
            trained); default 1/sqrt(k), or 1 where nothing is projected.
        update_steps_max: updates after the first; None: until the states stop moving; or a tensor with one per head.
        update_steps_eps: with None, how little an update must move a state for it to stop.
        normalize_stored_pattern: layer-normalise stored patterns (so the next ones).
        normalize_stored_pattern_affine: with scale and shift.
        normalize_stored_pattern_eps: added to the variance.
        normalize_state_pattern: the same for state patterns.
        normalize_state_pattern_affine: the same for state patterns.
        normalize_state_pattern_eps: the same for state patterns.
        normalize_pattern_projection: the same for pattern projections.
        normalize_pattern_projection_affine: the same for pattern projections.
        normalize_pattern_projection_eps: the same for pattern projections.
        normalize_hopfield_space: the same for states and stored patterns in the association space.
        normalize_hopfield_space_affine: the same in the association space.
        normalize_hopfield_space_eps: the same in the association space.
        stored_pattern_as_static: do not project stored patterns.
        state_pattern_as_static: do not project state patterns.
        pattern_projection_as_static: do not project pattern projections.
        pattern_projection_as_connected: pass pattern projections through the stored patterns' projection first.
        stored_pattern_size: size of a stored pattern; default input_size.
        pattern_projection_size: size of a pattern projection; default input_size.
        batch_first: whether tensors are (B, n, size) or (n, B, size).
        association_activation: name of a function of torch applied to the output, such as "relu".
        dropout: share of the associations dropped in training.
        input_bias: whether projections have biases.
        concat_bias_pattern: append a learned stored pattern and projection.
        add_zero_association: append a stored pattern and projection of zeros.
        disable_out_projection: leave the heads' patterns side by side.

    Raises:
        HopfieldError: sizes that do not fit together, an unknown activation, values out of range.
    """

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        output_size: int | None = None,
        pattern_size: int | None = None,
        num_heads: int = 1,
        scaling: float | Tensor | None = None,
        update_steps_max: int | Tensor | None = 0,
        update_steps_eps: float | Tensor = 1e-4,
        normalize_stored_pattern: bool = True,
        normalize_stored_pattern_affine: bool = True,
        normalize_stored_pattern_eps: float = 1e-5,
        normalize_state_pattern: bool = True,
        normalize_state_pattern_affine: bool = True,
        normalize_state_pattern_eps: float = 1e-5,
        normalize_pattern_projection: bool = True,
        normalize_pattern_projection_affine: bool = True,
        normalize_pattern_projection_eps: float = 1e-5,
        normalize_hopfield_space: bool = False,
        normalize_hopfield_space_affine: bool = False,
        normalize_hopfield_space_eps: float = 1e-5,
        stored_pattern_as_static: bool = False,
        state_pattern_as_static: bool = False,
        pattern_projection_as_static: bool = False,
        pattern_projection_as_connected: bool = False,
        stored_pattern_size: int | None = None,
        pattern_projection_size: int | None = None,
        batch_first: bool = True,
        association_activation: str | None = None,
        dropout: float = 0.0,
        input_bias: bool = True,
        concat_bias_pattern: bool = False,
        add_zero_association: bool = False,
        disable_out_projection: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(batch_first, bool):
            raise HopfieldError(f"batch_first must be True or False, got {batch_first!r}")
        self.association_core = HopfieldCore(
            embed_dim=input_size,
            num_heads=num_heads,
            dropout=dropout,
            bias=input_bias,
            add_bias_kv=concat_bias_pattern,
            add_zero_attn=add_zero_association,
            kdim=stored_pattern_size,
            vdim=pattern_projection_size,
            head_dim=hidden_size,
            pattern_dim=pattern_size,
            out_dim=output_size,
            disable_out_projection=disable_out_projection,
            key_as_static=stored_pattern_as_static,
            query_as_static=state_pattern_as_static,
            value_as_static=pattern_projection_as_static,
            value_as_connected=pattern_projection_as_connected,
            normalize_pattern=normalize_hopfield_space,
            normalize_pattern_affine=normalize_hopfield_space_affine,
            normalize_pattern_eps=normalize_hopfield_space_eps,
        )
        self.association_activation = activation(association_activation)
        self._activation_name = association_activation
        self.norm_stored_pattern = norm(
            "stored_pattern",
            stored_pattern_size or input_size,
            normalize_stored_pattern,
            normalize_stored_pattern_affine,
            normalize_stored_pattern_eps,
        )
        self.norm_state_pattern = norm(
            "state_pattern",
            input_size,
            normalize_state_pattern,
            normalize_state_pattern_affine,
            normalize_state_pattern_eps,
        )
        self.norm_pattern_projection = norm(
            "pattern_projection",
            pattern_projection_size or input_size,
            normalize_pattern_projection,
            normalize_pattern_projection_affine,
            normalize_pattern_projection_eps,
        )
        core = self.association_core
        for what, static, module in (
            ("stored_pattern", core.key_as_static, self.norm_stored_pattern),
            ("state_pattern", core.query_as_static, self.norm_state_pattern),
        ):
            # where neither is projected, any size will do
            both = core.key_as_static and core.query_as_static
            if static and not both and module is not None and module.normalized_shape[0] != core.head_dim:
                raise HopfieldError(
                    f"{what}_as_static: what is not projected has hidden_size {core.head_dim}, its normalisation "
                    f"expects {module.normalized_shape[0]}; make them equal, or set normalize_{what}=False"
                )
        self._set_scaling(scaling)
        as_steps(update_steps_max, num_heads)
        as_tol(update_steps_eps)
        self.batch_first = batch_first
        self.update_steps_max, self.update_steps_eps = update_steps_max, update_steps_eps
        self.reset_parameters()

    def _set_scaling(self, scaling: float | Tensor | None) -> None:
        core = self.association_core
        if isinstance(scaling, Tensor) and scaling.shape not in {(), (1,), (core.num_heads,)}:
            raise HopfieldError(
                f"scaling must be a number or a tensor with one per head, ({core.num_heads},), "
                f"got shape {tuple(scaling.shape)}"
            )
        value = default_scaling(core) if scaling is None else check_beta(scaling)
        self._scaling: float | Tensor
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.register_buffer("_scaling", value.detach().clone(), persistent=False)
        else:
            self._scaling = value

    def reset_parameters(self) -> None:
        """Initialise anew."""
        for module in (
            self.association_core,
            self.norm_stored_pattern,
            self.norm_state_pattern,
            self.norm_pattern_projection,
        ):
            if module is not None:
                module.reset_parameters()

    def association(self) -> Association:
        """What the layer computes, with its parameters as they are now."""
        norms = (self.norm_state_pattern, self.norm_stored_pattern, self.norm_pattern_projection)
        core, steps = self.association_core, self.update_steps_max
        return core.association(norms, self._scaling, steps, self.update_steps_eps, self.association_activation)

    def _arranged(self, data: Three) -> tuple[Tensor, Tensor, Tensor]:
        """State patterns, stored patterns and pattern projections as (B, n, size)."""
        if isinstance(data, Tensor):
            stored = state = projection = data
        elif isinstance(data, tuple | list) and len(data) == 3:
            stored, state, projection = data
        else:
            raise HopfieldError(
                "input must be one tensor for everything, or a tuple of three: stored pattern, state pattern, "
                f"pattern projection; got {described(data)}"
            )
        core = self.association_core
        state_size = core.head_dim if core.query_as_static else core.embed_dim
        stored_size = core.head_dim if core.key_as_static else core.kdim
        if core.key_as_static and core.query_as_static:  # then any size will do, if it is the same
            state_size = stored_size = state.shape[-1] if isinstance(state, Tensor) else None
        check_input("state pattern", state, state_size)
        check_input("stored pattern", stored, stored_size)
        check_input("pattern projection", projection, self._value_size())
        state, stored, projection = arranged(self.batch_first, [state, stored, projection])
        return state, stored, projection

    def _value_size(self) -> int | None:
        """Size of a pattern projection; None where any will do."""
        core = self.association_core
        if core.value_as_static and not (core.value_as_connected and not core.key_as_static):
            return None if core.disable_out_projection else core.pattern_dim
        return core.vdim

    def _order(self, rows: Tensor) -> Tensor:
        return rows if self.batch_first else rows.transpose(0, 1)

    def _masks(self, state: Tensor, stored: Tensor, padding: Tensor | None, association_mask: Tensor | None) -> Masks:
        if padding is None and association_mask is None:
            return Masks()
        shape = (stored.shape[0], state.shape[1], stored.shape[1])
        return as_masks(padding, association_mask, self.association(), shape)

    def forward(
        self,
        input: Three,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """Associate; `input` is one tensor, or (stored pattern, state pattern, pattern projection).

        Args:
            input: tensors (B, n, size), or (n, B, size) with batch_first=False.
            stored_pattern_padding_mask: (B, N); True is left out.
            association_mask: (L, N) or (B h, L, N); True is left out, or floats to be added to the scores.

        Returns:
            (B, L, output_size), or (L, B, output_size).

        Raises:
            HopfieldError: tensors or masks of wrong size or dtype.
        """
        state, stored, projection = self._arranged(input)
        masks = self._masks(state, stored, stored_pattern_padding_mask, association_mask)
        return self._order(self.association()(state, stored, projection, masks))

    def retrieve(
        self,
        input: Three,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> tuple[Tensor, Retrieval]:
        """The output, and what happened in the association space, one entry per head and state (B, h, L)."""
        state, stored, projection = self._arranged(input)
        masks = self._masks(state, stored, stored_pattern_padding_mask, association_mask)
        association = self.association()
        output, found = association.retrieve(*association.all(state, stored, projection), masks)
        return self._order(output), found

    def get_association_matrix(
        self,
        input: Three,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """The weights of the last association, without gradients, (B, h, L, N); arguments as `forward`."""
        with torch.no_grad():
            return self.retrieve(input, stored_pattern_padding_mask, association_mask)[1].weights

    @torch.no_grad()
    def get_projected_pattern_matrix(
        self,
        input: Three,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """The projected patterns, without gradients, (B, h, N, pattern_size); arguments as `forward`."""
        _, stored, projection = self._arranged(input)
        return self.association().memory(stored, projection)[1]

    def to_native(self, size: int | None = None) -> native.Hopfield:
        """The layer of `hopfield.nn` with the same output: `native(state, stored, value, stored_mask=...)`.

        Parameters are copied. Masks then say True for what takes part.

        Args:
            size: the size of all inputs, for a layer that projects nothing and therefore does not know it.
        """
        return native_hopfield(self, size)

    @property
    def scaling(self) -> float | Tensor:
        """The inverse temperature."""
        return self._scaling.clone() if isinstance(self._scaling, Tensor) else self._scaling

    input_size = state_pattern_dim = of_core("embed_dim", "Size of a state pattern.")
    stored_pattern_dim = of_core("kdim", "Size of a stored pattern.")
    pattern_projection_dim = of_core("vdim", "Size of a pattern projection.")
    hidden_size = of_core("head_dim", "Size of a head's association space.")
    output_size = of_core("out_dim", "Size of the output.")
    pattern_size = of_core("pattern_dim", "Size of a head's selected patterns.")
    stored_pattern_as_static = of_core("key_as_static", "Whether stored patterns are not projected.")
    state_pattern_as_static = of_core("query_as_static", "Whether state patterns are not projected.")
    pattern_projection_as_static = of_core("value_as_static", "Whether pattern projections are not projected.")
    normalize_hopfield_space = of_core("normalize_pattern", "Whether the association space is normalised.")
    normalize_hopfield_space_affine = of_core("normalize_pattern_affine", "Whether that has scale and shift.")
    normalize_stored_pattern, normalize_stored_pattern_affine = of_norm("norm_stored_pattern")
    normalize_state_pattern, normalize_state_pattern_affine = of_norm("norm_state_pattern")
    normalize_pattern_projection, normalize_pattern_projection_affine = of_norm("norm_pattern_projection")


def _signature(first: dict[str, Any], last: dict[str, Any]) -> inspect.Signature:
    """That of `Hopfield` without the epsilons, with more arguments after `update_steps_eps` and at the end."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = []
    for name, parameter in inspect.signature(Hopfield).parameters.items():
        if name.startswith("normalize_") and name.endswith("_eps"):
            continue
        required = name == "input_size"  # only `Hopfield` may do without
        parameters.append(parameter.replace(default=inspect.Parameter.empty) if required else parameter)
        if name == "update_steps_eps":
            parameters += [inspect.Parameter(other, kind, default=value) for other, value in first.items()]
    parameters += [inspect.Parameter(name, kind, default=value) for name, value in last.items()]
    return inspect.Signature(parameters)


class _Wrapper(nn.Module, ABC):
    """A layer around a `Hopfield`, whose properties it shows as its own."""

    hopfield: Hopfield
    _SHOWN = frozenset(name for name in vars(Hopfield) if isinstance(vars(Hopfield)[name], property)) | {
        "batch_first",
        "update_steps_max",
        "update_steps_eps",
    }

    def __getattr__(self, name: str) -> Any:
        if name in _Wrapper._SHOWN and "hopfield" in self.__dict__.get("_modules", {}):
            return getattr(self.hopfield, name)
        return super().__getattr__(name)

    @property
    def quantity(self) -> int:
        """Number of learned patterns."""
        return self._quantity

    def _make(self, signature: inspect.Signature, own: tuple[str, ...], args: Any, kwargs: Any) -> dict[str, Any]:
        """Make the inner layer from the arguments but the wrapper's own, and return them all."""
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = bound.arguments
        self.hopfield = Hopfield(**{name: value for name, value in arguments.items() if name not in own})
        quantity = arguments["quantity"]
        if not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 1:
            raise HopfieldError(f"quantity must be an integer of at least 1, got {quantity!r}")
        self._quantity = quantity
        return arguments

    def _rows(self, size: int | None, trainable: bool) -> nn.Parameter:
        shape = (1, self._quantity) if self.hopfield.batch_first else (self._quantity, 1)
        if size is None:
            size = self.hopfield.association_core.kdim or 0
        return nn.Parameter(torch.empty(*shape, size), requires_grad=trainable)

    @staticmethod
    def _flat(rows: Tensor) -> Tensor:
        """(1, Q, size) or (Q, 1, size) -> (Q, size)."""
        return rows.flatten(0, 1)

    @abstractmethod
    def _three(self, input: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Stored patterns, state patterns and pattern projections."""

    def retrieve(
        self,
        input: Any,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> tuple[Tensor, Retrieval]:
        """The output, and what happened in the association space, (B, h, L); arguments as `forward`."""
        return self.hopfield.retrieve(self._three(input), stored_pattern_padding_mask, association_mask)

    def get_association_matrix(
        self,
        input: Any,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """The weights of the last association, without gradients, (B, h, L, N); arguments as `forward`."""
        three = self._three(input)
        return self.hopfield.get_association_matrix(three, stored_pattern_padding_mask, association_mask)

    def get_projected_pattern_matrix(
        self,
        input: Any,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """The projected patterns, without gradients, (B, h, N, pattern_size); arguments as `forward`."""
        three = self._three(input)
        return self.hopfield.get_projected_pattern_matrix(three, stored_pattern_padding_mask, association_mask)


class HopfieldPooling(_Wrapper):
    """Drop-in for `hflayers.HopfieldPooling`: learned state patterns read a set.

    Args:
        args: as `Hopfield` without the epsilons, in its order, then
            quantity: number Q of state patterns; default 1.
            trainable: whether they are trained; default True.
        kwargs: the same by name.

    Raises:
        HopfieldError: as `Hopfield`.
    """

    __signature__ = _signature({}, {"quantity": 1, "trainable": True})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        arguments = self._make(self.__signature__, ("quantity", "trainable"), args, kwargs)
        core = self.hopfield.association_core
        size = core.head_dim if core.query_as_static else core.embed_dim
        size = arguments["input_size"] if size is None else size
        self.pooling_weights = self._rows(size, arguments["trainable"])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew; state patterns N(0, 0.02²)."""
        self.hopfield.reset_parameters()
        nn.init.normal_(self.pooling_weights, std=0.02)

    def _three(self, input: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(input, Tensor):
            stored = projection = input
        elif isinstance(input, tuple | list) and len(input) == 2:
            stored, projection = input
        else:
            raise HopfieldError(
                "input must be one tensor for everything, or a tuple of two: stored pattern, pattern projection; "
                f"got {described(input)}"
            )
        if not isinstance(stored, Tensor) or stored.dim() != 3:
            raise HopfieldError(f"stored pattern must be a tensor of three dimensions, got {described(stored)}")
        batch = stored.shape[0 if self.batch_first else 1]
        shape = (batch, -1, -1) if self.batch_first else (-1, batch, -1)
        return stored, self.pooling_weights.expand(*shape), projection

    def forward(
        self,
        input: Tensor | tuple[Tensor, Tensor],
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """Pool sets (B, N, size), or (N, B, size); all after the first dimension is flattened, as the original does.

        Args:
            input: one tensor, or (stored pattern, pattern projection).
            stored_pattern_padding_mask: (B, N); True is left out.
            association_mask: (Q, N) or (B h, Q, N); True is left out, or floats to be added to the scores.

        Returns:
            (B, Q output_size), or with batch_first=False (Q, B output_size).
        """
        layer = self.hopfield
        state, stored, projection = layer._arranged(self._three(input))
        masks = layer._masks(state, stored, stored_pattern_padding_mask, association_mask)
        association = layer.association()
        return layer._order(association.pooled(self._flat(self.pooling_weights), stored, projection, masks)).flatten(1)

    def retrieve(
        self,
        input: Tensor | tuple[Tensor, Tensor],
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> tuple[Tensor, Retrieval]:
        """The output, flattened as that of `forward`, and what happened in the association space, (B, h, Q)."""
        output, found = super().retrieve(input, stored_pattern_padding_mask, association_mask)
        return output.flatten(1), found

    def to_native(self) -> native.HopfieldPooling:
        """The layer of `hopfield.nn` with the same output but the axis of pooled vectors kept; parameters are copied.

        `native(stored, stored_mask=...).flatten(1)` is this layer's output.
        """
        return native_pooling(self)


class HopfieldLayer(_Wrapper):
    """Drop-in for `hflayers.HopfieldLayer`: states look up learned stored patterns.

    Args:
        args: as `Hopfield` without the epsilons, in its order, but after `update_steps_eps`
            lookup_weights_as_separated: whether targets have weights of their own; default False.
            lookup_targets_as_trainable: whether those are trained; default True.
            And at the end
            quantity: number Q of stored patterns; default 1.
            trainable: whether they are trained; default True.
        kwargs: the same by name.

    Raises:
        HopfieldError: as `Hopfield`.
    """

    __signature__ = _signature(
        {"lookup_weights_as_separated": False, "lookup_targets_as_trainable": True}, {"quantity": 1, "trainable": True}
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        own = ("lookup_weights_as_separated", "lookup_targets_as_trainable", "quantity", "trainable")
        arguments = self._make(self.__signature__, own, args, kwargs)
        core = self.hopfield.association_core
        size = core.head_dim if core.key_as_static else core.kdim
        self.lookup_weights = self._rows(arguments["input_size"] if size is None else size, arguments["trainable"])
        self.target_weights: nn.Parameter | None = None
        if arguments["lookup_weights_as_separated"]:
            size = arguments["pattern_projection_size"] or self.lookup_weights.shape[-1]
            self.target_weights = self._rows(size, arguments["lookup_targets_as_trainable"])
        size = (self.lookup_weights if self.target_weights is None else self.target_weights).shape[-1]
        wanted = self.hopfield._value_size()
        if wanted not in {None, size}:
            raise HopfieldError(
                f"the layer's pattern projections have size {size}, but {wanted} is expected of them: "
                "give pattern_projection_size with lookup_weights_as_separated=True, or make it the stored_pattern_size"
            )
        self._kept = Kept()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew; stored patterns and targets N(0, 0.02²)."""
        self.hopfield.reset_parameters()
        nn.init.normal_(self.lookup_weights, std=0.02)
        if self.target_weights is not None:
            nn.init.normal_(self.target_weights, std=0.02)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; the projected memory is made anew."""
        self._kept.clear()
        return super().train(mode)

    def _three(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not isinstance(input, Tensor) or input.dim() != 3:
            raise HopfieldError(f"input must be a tensor of three dimensions, got {described(input)}")
        batch = input.shape[0 if self.batch_first else 1]
        shape = (batch, -1, -1) if self.batch_first else (-1, batch, -1)
        stored = self.lookup_weights.expand(*shape)
        return stored, input, stored if self.target_weights is None else self.target_weights.expand(*shape)

    def forward(
        self,
        input: Tensor,
        stored_pattern_padding_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
    ) -> Tensor:
        """Look states up.

        Args:
            input: (B, L, input_size), or (L, B, input_size) with batch_first=False.
            stored_pattern_padding_mask: (B, Q); True is left out.
            association_mask: (L, Q) or (B h, L, Q); True is left out, or floats to be added to the scores.

        Returns:
            (B, L, output_size), or (L, B, output_size).
        """
        layer = self.hopfield
        state, stored, _ = layer._arranged(self._three(input))
        masks = layer._masks(state, stored, stored_pattern_padding_mask, association_mask)
        association = layer.association()
        rows = self._flat(self.lookup_weights)
        targets = rows if self.target_weights is None else self._flat(self.target_weights)
        memory = self._kept.get(self, association, rows, targets)
        return layer._order(association.associate(association.states(state), *memory, masks))

    def to_native(self) -> native.HopfieldLayer:
        """The layer of `hopfield.nn` with the same output; parameters are copied."""
        return native_layer(self)
