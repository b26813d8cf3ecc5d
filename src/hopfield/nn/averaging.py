"""Averaging over positions with learned Gaussians, in place of attention."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.errors import HopfieldError

_PROJECTIONS = ("value", "output")
# |log σ| is cut here: squares of distances over such widths stay within float32
_LOG_WIDTH = 27.0


class GaussianAveraging(nn.Module):
    """Average the tokens of a sequence with Gaussian weights over their positions, whatever the tokens are.

    For N tokens at positions s_j = ((j - 1) - (N - 1)/2) / ((N - 1)/2) in [-1, 1] (s = 0 for N = 1), query position i
    of a head has the weights

        A_ij = exp(-((s_j - μ_i) / σ_i)² / 2) / z_i,        z_i such that a row sums to 1,

    with learned μ_i and σ_i: Gaussian averaging of Ramsauer et al. 2021, A.5.1.5, for heads that would average anyway.
    A head has 2 `length` parameters where attention has two projections.

    Fewer tokens than `length`: the positions are those of the N tokens there are, and the i-th token uses the i-th pair
    of parameters. A token that `stored_mask` leaves out is a deleted token: those that take part are counted by
    themselves, and N is their number. So μ_i is learned relative to sequences of all lengths that occur.

    With `causal=True` token i averages tokens j ≤ i, and `length` stands for N in the positions, so that the output for
    a beginning of a sequence does not depend on what follows.

    Initially μ_i = s_i for N = `length`, and the widths fall geometrically over the heads: from 1, nearly the mean of
    all, in the first (so with one head it is 1, the mean of the paper's uniform draw from [0.75, 1.25]) to the distance
    of two neighbours, 2/(`length` - 1), in the last (at most 1). Projections start as `nn.Linear` does.

    Args:
        input_size: size d of a token.
        length: most tokens a sequence may have.
        heads: h, the number of averages per query position; default 1.
        value_size: v, the size of one head's values; default d // h, for which h must divide d.
        output_size: size of an output token; default d. Without "output" in `project` it can only be h v.
        causal: whether tokens average no tokens after themselves; default False.
        bias: whether projections have a bias; default True.
        dropout: probability with which a weight is dropped in training, for each sequence anew, which takes a copy of
            the weights per sequence; default 0.
        project: which projections there are, of "value" (d -> h v, before the average) and "output"
            (h v -> output_size, after it); default both. Without "value" a token's own numbers are shared out among the
            heads, so that h v = d.
        batch_first: whether inputs are (*batch, N, d) (the default) or (N, *batch, d).

    Attributes:
        mean: μ, (h, length).
        log_width: log σ, (h, length); taken as -27 below and 27 above, so that nothing overflows.
        project_value: `nn.Linear` or None.
        project_output: `nn.Linear` or None.

    Raises:
        HopfieldError: sizes that are not whole numbers above 0 or do not fit together, a dropout outside [0, 1),
            an unknown projection.
    """

    project_value: nn.Linear | None
    project_output: nn.Linear | None

    def __init__(
        self,
        input_size: int,
        *,
        length: int,
        heads: int = 1,
        value_size: int | None = None,
        output_size: int | None = None,
        causal: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        project: Iterable[str] = _PROJECTIONS,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.input_size = _check_size("input_size", input_size)
        self.length = _check_size("length", length)
        self.heads = _check_size("heads", heads)
        self.project = _check_projections(project)
        if value_size is None:
            if input_size % heads:
                raise HopfieldError(
                    f"input_size must be divisible by heads, got {input_size} and {heads}; "
                    f"give value_size, the size of one head's values"
                )
            value_size = input_size // heads
        self.value_size = _check_size("value_size", value_size)
        inner = heads * value_size
        if "value" not in self.project and inner != input_size:
            raise HopfieldError(
                f'without the projection "value", heads * value_size must be input_size = {input_size}, '
                f'got {heads} * {value_size} = {inner}; add "value" to project'
            )
        projects_output = "output" in self.project
        if output_size is None:
            output_size = input_size if projects_output else inner
        self.output_size = _check_size("output_size", output_size)
        if not projects_output and output_size != inner:
            raise HopfieldError(
                f'without the projection "output", output_size must be heads * value_size = {inner}, '
                f'got {output_size}; leave it out or add "output" to project'
            )
        if isinstance(dropout, bool) or not (isinstance(dropout, int | float) and 0 <= dropout < 1):
            raise HopfieldError(f"dropout must be a number from 0 to below 1, got {dropout!r}")
        self.dropout = float(dropout)
        self.causal = causal
        self.batch_first = batch_first
        self.mean = nn.Parameter(torch.empty(heads, length))
        self.log_width = nn.Parameter(torch.empty(heads, length))
        self.project_value = nn.Linear(input_size, inner, bias=bias) if "value" in self.project else None
        self.project_output = nn.Linear(inner, output_size, bias=bias) if projects_output else None
        self._reset_gaussians()  # the projections have just set theirs

    def reset_parameters(self) -> None:
        """Set all parameters to new initial values, as the class describes them."""
        self._reset_gaussians()
        for projection in (self.project_value, self.project_output):
            if projection is not None:
                projection.reset_parameters()

    def _reset_gaussians(self) -> None:
        local = min(0.0, math.log(2 / max(self.length - 1, 1)))
        with torch.no_grad():
            rank = torch.arange(self.length, device=self.mean.device)
            self.mean.copy_(_positions(rank, self.length, torch.float64 if rank.is_cpu else torch.float32))
            for head, log_width in enumerate(self.log_width):
                log_width.fill_(local * head / max(self.heads - 1, 1))

    @property
    def width(self) -> Tensor:
        """σ, (h, length)."""
        return self.log_width.clamp(-_LOG_WIDTH, _LOG_WIDTH).exp()

    @overload
    def forward(
        self, x: Tensor, *, stored_mask: Tensor | None = None, return_weights: Literal[False] = False
    ) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, *, stored_mask: Tensor | None = None, return_weights: Literal[True]
    ) -> tuple[Tensor, Tensor]: ...

    def forward(
        self, x: Tensor, *, stored_mask: Tensor | None = None, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Average the tokens for every query position.

        Args:
            x: tokens, (*batch, N, d), N at most `length`; (N, *batch, d) with `batch_first=False`.
            stored_mask: bool, broadcasts to (*batch, N), also with `batch_first=False`; True takes part. A token left
                out is a deleted token, whatever numbers it holds (NaN, too). None: all take part.
            return_weights: also return the weights.

        Returns:
            (*batch, N, output_size), or (N, *batch, output_size) with `batch_first=False`; zero for tokens left out.
            With it, if asked for, the weights before dropout, (*batch, h, N, N), zero in the rows and columns of
            tokens that are left out. Where `stored_mask` is the same for the whole batch, one matrix per head serves
            all of it. Weights are computed in float32 at least, and the result is of the dtype of the values.

        Raises:
            HopfieldError: x of another size, shorter than 2 dimensions, not of the layer's dtype, or with more than
                `length` tokens; a mask that is not bool, does not broadcast or is on another device.
        """
        self._check_input(x)
        if not self.batch_first:
            x = x.movedim(0, -2)  # (*batch, N, d)
        tokens = x.shape[-2]
        mask = stored_mask
        if mask is not None:
            _check_mask("stored_mask", mask)
            _check_fits(mask, x)
            mask = mask.expand(*mask.shape[:-1], tokens)  # (*batch or less, N)
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)  # zero times NaN is NaN
        values = x if self.project_value is None else self.project_value(x)  # (*batch, N, h v)
        values = values.unflatten(-1, (self.heads, self.value_size))  # (*batch, N, h, v)
        weights = self._weights(tokens, mask).to(values.dtype)  # (h, N, N) or (*batch or less, h, N, N)
        whole = (*x.shape[:-2], *weights.shape[-3:])
        used = weights
        if self.training and self.dropout > 0:
            used = F.dropout(weights.expand(whole), self.dropout)
        # einsum, for matmul would copy the weights for every sequence
        result = torch.einsum("...hij,...jhv->...ihv", used, values).flatten(-2)  # (*batch, N, h v)
        if self.project_output is not None:
            result = self.project_output(result)  # (*batch, N, output_size)
        if mask is not None:
            result = result.masked_fill(~mask.unsqueeze(-1), 0.0)
        if not self.batch_first:
            result = result.movedim(-2, 0)
        return (result, weights.expand(whole)) if return_weights else result

    def association_weights(self, tokens: int | None = None, mask: Tensor | None = None) -> Tensor:
        """The weights A with which a sequence is averaged.

        Args:
            tokens: N, the number of tokens; default `length`.
            mask: in place of `tokens`: bool, (*batch, N), True takes part.

        Returns:
            (h, N, N), or (*batch, h, N, N) for a mask, zero in the rows and columns of tokens that are left out; of the
            dtype of `mean`.

        Raises:
            HopfieldError: both arguments are given, more than `length` tokens or fewer than none, a mask that is not
                bool.
        """
        if mask is not None:
            _check_mask("mask", mask)
            if tokens is not None:
                raise HopfieldError(f"give tokens or mask, got both (tokens={tokens!r}); a mask already says how many")
            if not mask.dim():
                raise HopfieldError("mask must be (*batch, N), got shape (); use mask.expand(N)")
            tokens = mask.shape[-1]
            self._check_tokens("mask", tokens)
        elif tokens is None:
            tokens = self.length
        else:
            _check_size("tokens", tokens, least=0)
            self._check_tokens("tokens", tokens)
        return self._weights(tokens, mask).to(self.mean.dtype)

    def _weights(self, tokens: int, mask: Tensor | None) -> Tensor:
        """A in float32 at least, (h, N, N) or (*batch, h, N, N)."""
        dtype = torch.promote_types(self.mean.dtype, torch.float32)
        mean, log_width = self.mean.to(dtype), self.log_width.to(dtype)
        rank = torch.arange(tokens, device=mean.device)  # (N,)
        taken = None
        if self.causal:
            taken = rank <= rank.unsqueeze(-1)  # (N, N)
        count: int | Tensor = tokens
        if mask is not None:
            both = (mask.unsqueeze(-2) & mask.unsqueeze(-1)).unsqueeze(-3)  # (*batch, 1, N, N)
            taken = both if taken is None else taken & both
            count = mask.sum(-1, keepdim=True)  # (*batch, 1)
            rank = (mask.cumsum(-1) - 1).clamp(min=0)  # (*batch, N)
        # by index even without a mask, for a slice as long as the whole is a special case to torch.export
        mean, log_width = (t[:, rank].movedim(0, -2) for t in (mean, log_width))  # (*batch, h, N)
        s = _positions(rank, self.length if self.causal else count, dtype)  # (*batch, N)
        distance = s.unsqueeze(-2).unsqueeze(-2) - mean.unsqueeze(-1)  # (*batch, h, N, N)
        precision = (-log_width.clamp(-_LOG_WIDTH, _LOG_WIDTH)).exp().unsqueeze(-1)  # (*batch, h, N, 1)
        scores = -(distance * precision).square() / 2  # (*batch, h, N, N)
        if taken is None:
            return scores.softmax(-1)
        # a finite number, so that a row with nothing to average has no NaN before it becomes zero
        return scores.masked_fill(~taken, torch.finfo(dtype).min).softmax(-1).masked_fill(~taken, 0.0)

    def extra_repr(self) -> str:
        """What the layer was built with, for `repr`."""
        text = (
            f"{self.input_size}, length={self.length}, heads={self.heads}, value_size={self.value_size}, "
            f"output_size={self.output_size}"
        )
        if self.causal:
            text += ", causal=True"
        if self.dropout:
            text += f", dropout={self.dropout:g}"
        if self.project != _PROJECTIONS:
            text += f", project={self.project!r}"
        return text if self.batch_first else text + ", batch_first=False"

    def _check_input(self, x: Tensor) -> None:
        expected = "(*batch, N, d)" if self.batch_first else "(N, *batch, d)"
        if not isinstance(x, Tensor):
            raise HopfieldError(f"x must be a tensor {expected}, got {type(x).__name__}; use torch.as_tensor")
        if x.dim() < 2:
            raise HopfieldError(f"x must be {expected}, got shape {tuple(x.shape)}")
        if x.shape[-1] != self.input_size:
            raise HopfieldError(
                f"x must be {expected} with d = input_size = {self.input_size}, got shape {tuple(x.shape)}; "
                f"build the layer with input_size={x.shape[-1]}"
            )
        if not x.is_floating_point():
            raise HopfieldError(f"x must be of a floating-point dtype, got {x.dtype}; use x.float()")
        # without projections there is nothing to agree with, and autocast casts by itself
        if self.project and x.dtype != self.mean.dtype and not torch.is_autocast_enabled(x.device.type):
            raise HopfieldError(
                f"x must be of the layer's dtype {self.mean.dtype}, got {x.dtype}; "
                f"use x.to({self.mean.dtype}) or layer.to({x.dtype})"
            )
        self._check_tokens("x", x.shape[-2 if self.batch_first else 0])

    def _check_tokens(self, name: str, tokens: int) -> None:
        if tokens > self.length:
            raise HopfieldError(
                f"{name} must have at most length = {self.length} tokens, got {tokens}; "
                f"build the layer with length={tokens}, or cut the sequence"
            )


def _positions(rank: Tensor, count: int | Tensor, dtype: torch.dtype) -> Tensor:
    """The positions s in [-1, 1] of tokens 0, 1, ... of `count`; 0 for a single one."""
    last = count - 1
    span = last.clamp(min=1) if isinstance(last, Tensor) else max(last, 1)
    return (2 * rank - last).to(dtype) / span


def _check_size(name: str, size: int, least: int = 1) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise HopfieldError(f"{name} must be a whole number of at least {least}, got {size!r}")
    return size


def _check_projections(project: Iterable[str]) -> tuple[str, ...]:
    names = {project} if isinstance(project, str) else set(project)
    unknown = names.difference(_PROJECTIONS)
    if unknown:
        raise HopfieldError(
            f"project must hold names out of {', '.join(map(repr, _PROJECTIONS))}, "
            f"got {', '.join(sorted(map(repr, unknown)))}"
        )
    return tuple(name for name in _PROJECTIONS if name in names)


def _check_mask(name: str, mask: Tensor) -> None:
    if not isinstance(mask, Tensor):
        raise HopfieldError(f"{name} must be a tensor (*batch, N), got {type(mask).__name__}; use torch.as_tensor")
    if mask.dtype != torch.bool:
        raise HopfieldError(f"{name} must be of dtype bool (True takes part), got {mask.dtype}; use {name}.bool()")


def _check_fits(mask: Tensor, x: Tensor) -> None:
    shape = x.shape[:-1]
    ends = zip(reversed(mask.shape), reversed(shape), strict=False)
    if mask.dim() > len(shape) or not all(size in (target, 1) for size, target in ends):
        raise HopfieldError(
            f"stored_mask must broadcast to (*batch, N) = {tuple(shape)}, got shape {tuple(mask.shape)}"
        )
    if mask.device != x.device:
        raise HopfieldError(
            f"stored_mask and x must be on one device: the mask is on {mask.device}, x is on {x.device}; "
            f"move one with .to(device)"
        )
