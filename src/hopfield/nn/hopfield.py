"""The general layer: states associate with stored patterns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, Self, TypedDict, Unpack

import torch
from torch import Tensor, nn

from hopfield.core.retrieval import Retrieval, Steps, check_loop
from hopfield.core.separation import Separation, resolve
from hopfield.errors import HopfieldError
from hopfield.nn.association import Association, Masks
from hopfield.nn.beta import Beta, settle_beta
from hopfield.nn.source import Norm, Source, make_norm

_PROJECTIONS = ("state", "stored", "value", "output")
_EXTRA = ("bias", "zero")
_SIMILARITIES = ("dot", "euclidean")


class Options(TypedDict, total=False):
    """The keyword arguments of `Hopfield`, which describes them; the other layers take them too."""

    stored_size: int | None
    value_size: int | None
    output_size: int | None
    heads: int
    head_size: int | None
    head_value_size: int | None
    beta: Beta | None
    separation: str | Separation
    similarity: Literal["dot", "euclidean"]
    steps: Steps
    tol: float
    max_steps: int
    norm: Norm
    head_norm: Norm
    project: Collection[str]
    connect_values: bool
    bias: bool
    extra: Collection[str]
    dropout: float
    batch_first: bool


class Hopfield(nn.Module):
    """Associate states with stored patterns: Z = softmax(β Q Kᵀ) V (Ramsauer et al. 2021, Eq. 10), in h heads.

    Q = R W_Q are the projected states R, K = Y W_K the projected stored patterns Y, and V = Y' W_V the projected values
    Y' (with `connect_values` V = Y' W_K W_V, as in the paper). More `steps` let the states ξ move on before that,
    ξ ← Kᵀ softmax(β K ξ), each an update of the Hopfield network; one step is the attention of transformers. What the
    heads found is put side by side and projected once more. Inputs are layer-normalised first, as in the paper.

    Args:
        input_size: size of a state.
        stored_size: size of a stored pattern; default `input_size`.
        value_size: size of a value; default `stored_size`.
        output_size: size of the output; default `input_size`. Without an output projection it can only be h v.
        heads: number of heads h.
        head_size: size k of a head's states and patterns; default `input_size` // h. Where states or stored patterns
            are not projected, their size.
        head_value_size: size v of a head's values; default k. Where values are not projected, their size.
        beta: inverse temperature β above 0: a number, one per head, "learned" (a parameter per head that starts at
            1/√k), or a module such as `LearnedBeta(0.5)`; default 1/√k.
        separation: how similarities become weights: a name or an object of `hopfield.separation`.
        similarity: "dot" for ξ·x, or "euclidean" for ξ·x - |x|²/2, which orders patterns by their distance.
        steps: updates, at least 1; None: until the states stop moving; or a sequence with one of these per head. With
            None the gradient is that of the fixed point, which is zero for states and their projection.
        tol: with steps=None, a state has converged once an update moves it by less.
        max_steps: with steps=None, updates after which a state gives up.
        norm: normalisation of the inputs: "layer" (with scale and shift), "layer_plain" (without), "rms", None, or a
            function from a size to a module.
        head_norm: normalisation of every head's states and patterns in the association space; the same values.
        project: which projections there are, of "state", "stored", "value" and "output". An input without one serves
            all heads as it is.
        connect_values: pass values through the projection of the stored patterns before their own.
        bias: whether projections have biases.
        extra: stored patterns beside those given, of "bias" (learned) and "zero" (zeros), which always take part.
        dropout: share of the associations dropped in training.
        batch_first: whether inputs are (*batch, n, size), or (n, *batch, size).

    Raises:
        HopfieldError: sizes that do not fit together, unknown names (the message lists the valid ones), values out of
            range.

    Example:
        >>> layer = hopfield.Hopfield(64, heads=4)
        >>> layer(torch.randn(8, 20, 64)).shape  # every state associates with all others
        torch.Size([8, 20, 64])
        >>> layer(torch.randn(8, 20, 64), torch.randn(8, 100, 64)).shape  # with 100 stored patterns
        torch.Size([8, 20, 64])
    """

    def __init__(
        self,
        input_size: int,
        *,
        stored_size: int | None = None,
        value_size: int | None = None,
        output_size: int | None = None,
        heads: int = 1,
        head_size: int | None = None,
        head_value_size: int | None = None,
        beta: Beta | None = None,
        separation: str | Separation = "softmax",
        similarity: Literal["dot", "euclidean"] = "dot",
        steps: Steps = 1,
        tol: float = 1e-6,
        max_steps: int = 1000,
        norm: Norm = "layer",
        head_norm: Norm = None,
        project: Collection[str] = _PROJECTIONS,
        connect_values: bool = False,
        bias: bool = True,
        extra: Collection[str] = (),
        dropout: float = 0.0,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        project = _names("project", project, _PROJECTIONS)
        extra = _names("extra", extra, _EXTRA)
        if similarity not in _SIMILARITIES:
            raise HopfieldError(f"unknown similarity {similarity!r}; expected one of {', '.join(_SIMILARITIES)}")
        if not 0 <= dropout < 1:
            raise HopfieldError(f"dropout must lie in [0, 1), got {dropout}")
        check_loop(steps, tol, max_steps)
        self.input_size = _size("input_size", input_size)
        self.stored_size = input_size if stored_size is None else _size("stored_size", stored_size)
        self.value_size = self.stored_size if value_size is None else _size("value_size", value_size)
        self.heads = _size("heads", heads)
        if isinstance(steps, Sequence) and len(steps) != heads:
            raise HopfieldError(f"steps: expected one entry per head, {heads}; got {len(steps)}")
        if connect_values and self.value_size != self.stored_size:
            raise HopfieldError(
                f"connect_values passes values through the projection of stored patterns: value_size must be "
                f"stored_size, {self.stored_size}, got {self.value_size}"
            )
        connect_values = connect_values and "stored" in project
        self.head_size = self._fit_head_size(head_size, project)
        self.head_value_size = self._fit_head_value_size(head_value_size, project, connect_values)
        width = heads * self.head_value_size
        if "output" not in project and output_size not in {None, width}:
            raise HopfieldError(
                f"output_size: without an output projection the output has h v = {heads} x {self.head_value_size} "
                f"= {width} entries, got output_size={output_size}; leave it out, or project the output"
            )
        output_size = input_size if output_size is None else _size("output_size", output_size)
        self.output_size = output_size if "output" in project else width
        self.separation = resolve(separation)
        self.similarity, self.connect_values = similarity, connect_values
        self.steps = tuple(steps) if isinstance(steps, Sequence) else steps
        self.tol, self.max_steps = tol, max_steps
        self.extra, self.dropout, self.batch_first = extra, dropout, batch_first

        beta = settle_beta(beta, self.head_size, heads)
        self.beta: float | Tensor | nn.Module
        if isinstance(beta, Tensor):
            self.register_buffer("beta", beta)
        else:
            self.beta = beta
        self.norm_state = make_norm(norm, self.input_size)
        self.norm_stored = make_norm(norm, self.stored_size)
        self.norm_value = make_norm(norm, self.value_size)
        self.head_norm = make_norm(head_norm, self.head_size, "head_norm")

        def linear(name: str, size: int, out: int) -> nn.Linear | None:
            return nn.Linear(size, out, bias=bias) if name in project else None

        self.project_state = linear("state", self.input_size, heads * self.head_size)
        self.project_stored = linear("stored", self.stored_size, heads * self.head_size)
        value_input = heads * self.head_size if connect_values else self.value_size
        self.project_value = linear("value", value_input, width)
        self.project_output = linear("output", width, self.output_size)
        learned = "bias" in extra
        self.extra_pattern = nn.Parameter(torch.empty(heads, self.head_size)) if learned else None
        self.extra_value = nn.Parameter(torch.empty(heads, self.head_value_size)) if learned else None
        self.reset_parameters()

    def _fit_head_size(self, head_size: int | None, project: Collection[str]) -> int:
        fixed = {
            name: size
            for name, size in (("state", self.input_size), ("stored", self.stored_size))
            if name not in project
        }
        if head_size is None:
            if fixed:
                head_size = next(iter(fixed.values()))
            elif self.input_size % self.heads:
                raise HopfieldError(
                    f"input_size must be divisible by heads, got {self.input_size} and {self.heads}; or give head_size"
                )
            else:
                head_size = self.input_size // self.heads
        _size("head_size", head_size)
        for name, size in fixed.items():
            if size != head_size:
                raise HopfieldError(
                    f'without a projection of "{name}" its size, {size}, must be head_size, {head_size}: '
                    f'change one, or project "{name}"'
                )
        return head_size

    def _fit_head_value_size(self, size: int | None, project: Collection[str], connected: bool) -> int:
        if "value" in project:
            return self.head_size if size is None else _size("head_value_size", size)
        fixed = self.head_size if connected else self.value_size
        if size not in {None, fixed}:
            raise HopfieldError(
                f'head_value_size: without a projection of "value" a head\'s values have {fixed} entries, got {size}'
            )
        return fixed

    def reset_parameters(self) -> None:
        """Initialise anew: Glorot-uniform projections without offset, extra patterns N(0, 1/k)."""
        for module in (self.norm_state, self.norm_stored, self.norm_value, self.head_norm, self.beta):
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        for projection in (self.project_state, self.project_stored, self.project_value, self.project_output):
            if isinstance(projection, nn.Linear):
                nn.init.xavier_uniform_(projection.weight)
                if projection.bias is not None:
                    nn.init.zeros_(projection.bias)
        for extra in (self.extra_pattern, self.extra_value):
            if extra is not None:
                nn.init.normal_(extra, std=extra.shape[-1] ** -0.5)

    @classmethod
    def from_attention(cls, attention: nn.MultiheadAttention, **options: Unpack[Options]) -> Self:
        """The layer that gives the output of an `nn.MultiheadAttention`, to rounding: attention is one update.

        Weights are copied. Masks are those of this library (True takes part), inputs come as state, stored, value like
        query, key, value, and a state with nothing to attend to gives zeros, not NaN.

        Args:
            attention: whose sizes, weights, extra patterns, dropout and order of dimensions are taken over.
            options: what is to be different, such as `steps=3`, `beta="learned"` or `separation="sparsemax"`.

        Raises:
            HopfieldError: not an `nn.MultiheadAttention`; options that the weights decide.
        """
        if not isinstance(attention, nn.MultiheadAttention):
            raise HopfieldError(f"expected a torch.nn.MultiheadAttention, got {type(attention).__name__}")
        bias = attention.in_proj_bias is not None
        learned = attention.bias_k is not None and attention.bias_v is not None
        packed = attention.in_proj_weight
        taken: Options = {
            "stored_size": attention.kdim,
            "value_size": attention.vdim,
            "heads": attention.num_heads,
            "norm": None,
            "bias": bias,
            "extra": ("bias",) * learned + ("zero",) * attention.add_zero_attn,
            "batch_first": attention.batch_first,
        }
        clash = sorted(options.keys() & (taken.keys() | {"head_size", "head_value_size", "output_size", "project"}))
        if clash:
            raise HopfieldError(f"from_attention takes {', '.join(clash)} from the attention: leave that out")
        layer = cls(attention.embed_dim, **({"dropout": attention.dropout} | taken | options))
        layer = layer.to(attention.out_proj.weight)
        own = (layer.project_state, layer.project_stored, layer.project_value)
        weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        with torch.no_grad():
            for index, (projection, weight) in enumerate(zip(own, weights, strict=True)):
                assert projection is not None
                projection.weight.copy_(packed.chunk(3)[index] if weight is None else weight)
                if bias:
                    projection.bias.copy_(attention.in_proj_bias.chunk(3)[index])
            if learned:
                for mine, theirs in ((layer.extra_pattern, attention.bias_k), (layer.extra_value, attention.bias_v)):
                    assert mine is not None
                    assert theirs is not None
                    mine.copy_(theirs.reshape(mine.shape))
            assert layer.project_output is not None
            layer.project_output.load_state_dict(attention.out_proj.state_dict())
        return layer.train(attention.training)

    def extra_repr(self) -> str:
        """Sizes and what differs from the defaults."""
        parts = [f"{self.input_size}, heads={self.heads}, head_size={self.head_size}, output_size={self.output_size}"]
        if self.stored_size != self.input_size or self.value_size != self.stored_size:
            parts.append(f"stored_size={self.stored_size}, value_size={self.value_size}")
        if not isinstance(self.beta, nn.Module):
            beta = self.beta
            parts.append(
                f"beta={beta:.4g}" if isinstance(beta, float) else f"beta={[round(b, 4) for b in beta.tolist()]}"
            )
        parts.append(f"separation={self.separation!r}, steps={self.steps}")
        for name, default in (("similarity", "dot"), ("extra", ()), ("dropout", 0.0), ("batch_first", True)):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

    def association(self) -> Association:
        """What the layer computes, with its parameters as they are now."""
        beta = self.beta() if isinstance(self.beta, nn.Module) else self.beta
        pair = None
        if self.extra_pattern is not None and self.extra_value is not None:
            pair = (self.extra_pattern, self.extra_value)
        return Association(
            state=Source.of(self.norm_state, self.project_state),
            stored=Source.of(self.norm_stored, self.project_stored),
            value=Source.of(self.norm_value, self.project_value),
            heads=self.heads,
            beta=beta,
            separation=self.separation,
            steps=self.steps,
            tol=self.tol,
            max_steps=self.max_steps,
            output=None if self.project_output is None else Source.of(None, self.project_output),
            head_norm=self.head_norm,
            connected=self.connect_values,
            euclidean=self.similarity == "euclidean",
            extra=tuple(pair if name == "bias" else None for name in self.extra),
            dropout=self.dropout if self.training else 0.0,
        )

    def forward(
        self,
        state: Tensor,
        stored: Tensor | None = None,
        value: Tensor | None = None,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        association_bias: Tensor | None = None,
    ) -> Tensor:
        """Associate states with stored patterns. Inputs without batch dimensions are taken as a single sample.

        Args:
            state: R, (*batch, L, input_size), or (L, *batch, input_size) with batch_first=False; so the others.
            stored: Y, (*batch, N, stored_size), or (N, stored_size) for one memory for all; default the states.
            value: Y', (*batch, N, value_size); default the stored patterns.
            stored_mask: bool, broadcasts to (*batch, N); True takes part, as for all masks. For padding.
            association_mask: bool, (L, N), (*batch, L, N) or (*batch, h, L, N); which state sees which pattern.
            association_bias: b of the scores β (ξ·x + b), of the same shapes.

        Returns:
            The output (*batch, L, output_size), zeros for states with nothing to attend to.

        Raises:
            HopfieldError: inputs of wrong size or dtype, masks of a wrong shape.
        """
        rows = self._arranged(state, stored, value)
        output = self.association()(*rows, Masks(stored_mask, association_mask, association_bias))
        return restore(output, self.batch_first)

    def retrieve(
        self,
        state: Tensor,
        stored: Tensor | None = None,
        value: Tensor | None = None,
        *,
        stored_mask: Tensor | None = None,
        association_mask: Tensor | None = None,
        association_bias: Tensor | None = None,
    ) -> tuple[Tensor, Retrieval]:
        """The output, and what happened in the association space, one entry per head and state (*batch, h, L).

        Args:
            state: as in `forward`, and so the others.
            stored: stored patterns.
            value: values.
            stored_mask: which patterns take part.
            association_mask: which state sees which pattern.
            association_bias: b of the scores.

        Returns:
            The output, and a `Retrieval`: its `weights` are the association matrices (*batch, h, L, N), extra patterns
            last; `energy`, `steps`, `converged`, `top` and `support` tell the rest.
        """
        rows = self._arranged(state, stored, value)
        association = self.association()
        masks = Masks(stored_mask, association_mask, association_bias)
        output, found = association.retrieve(*association.all(*rows), masks)
        return restore(output, self.batch_first), found

    def arrange(self, **inputs: Tensor) -> list[Tensor]:
        """Check inputs, named by "state", "stored" and "value", and put them as (*batch, n, size)."""
        sizes = {"state": self.input_size, "stored": self.stored_size, "value": self.value_size}
        projections = {"state": self.project_state, "stored": self.project_stored, "value": self.project_value}
        for name, tensor in inputs.items():
            order = "(*batch, n, {})" if self.batch_first else "(n, *batch, {})"
            check_rows(name, tensor, sizes[name], order, projections[name])
        rows = arranged(self.batch_first, list(inputs.values()))
        if "value" in inputs and rows[-1].shape[-2] != rows[-2].shape[-2]:
            raise HopfieldError(
                f"value must have one row per stored pattern, {rows[-2].shape[-2]}; got {rows[-1].shape[-2]}"
            )
        return rows

    def _arranged(self, state: Tensor, stored: Tensor | None, value: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        stored = state if stored is None else stored
        value = stored if value is None else value
        state, stored, value = self.arrange(state=state, stored=stored, value=value)
        return state, stored, value


def check_rows(name: str, rows: Tensor, size: int, order: str, projection: nn.Module | None) -> None:
    """Refuse what is not a floating-point tensor of rows of this size, in the data type of their projection."""
    expected = f"a floating-point tensor {order.format(size)}"
    if not isinstance(rows, Tensor):
        raise HopfieldError(f"{name} must be {expected}, got {type(rows).__name__}; use torch.as_tensor")
    if rows.is_nested:
        raise HopfieldError(f"{name} must be {expected}, got a nested one; use hopfield.Bags.from_list(rows.unbind())")
    if rows.dim() < 2 or rows.shape[-1] != size:
        raise HopfieldError(f"{name} must be {expected}, got shape {tuple(rows.shape)}")
    if not rows.is_floating_point():
        raise HopfieldError(f"{name} must be {expected}, got {rows.dtype}; use .to(torch.float32)")
    if type(projection) is nn.Linear and rows.dtype != projection.weight.dtype:
        weight = projection.weight
        if weight.is_floating_point() and not torch.is_autocast_enabled(rows.device.type):
            raise HopfieldError(
                f"{name} has the data type {rows.dtype}, the layer {weight.dtype}; "
                f"use .to({weight.dtype}) for the input, or layer.to({rows.dtype})"
            )


def arranged(batch_first: bool, rows: list[Tensor]) -> list[Tensor]:
    """Inputs as (*batch, n, size); the same tensor stays the same."""
    if batch_first:
        return rows
    moved: list[Tensor] = []
    for index, tensor in enumerate(rows):
        first = next(other for other, earlier in enumerate(rows) if earlier is tensor)
        moved.append(tensor.movedim(0, -2) if first == index else moved[first])
    return moved


def restore(output: Tensor, batch_first: bool) -> Tensor:
    """Put (*batch, n, size) in the order of the inputs."""
    return output if batch_first else output.movedim(-2, 0)


def _size(name: str, size: Any) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise HopfieldError(f"{name} must be an integer of at least 1, got {size!r}")
    return size


def _names(argument: str, names: Collection[str], known: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(names, Collection):
        raise HopfieldError(f"{argument} must be names, some of {', '.join(known)}; got {names!r}")
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in known:
            raise HopfieldError(f"unknown {argument} {name!r}; expected some of {', '.join(known)}")
    return names
