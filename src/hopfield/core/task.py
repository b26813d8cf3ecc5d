"""The inputs of one association, checked once, and the ways to compute it.

Four exact ways, chosen by shape (`benchmarks/` measures where each is best):

* pooling: one pass over many patterns that are their own values, for a few states with gradients, for patterns that are
  normalised on the way, or on an accelerator (softmax);
* fused: `F.scaled_dot_product_attention`, for softmax with a memory per batch element;
* streaming: blocks of patterns with a running log-sum-exp, for large memories and for potentials;
* dense: the whole score matrix, where it is small or the weights themselves are wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.core.kernels.matmul import traced, transformed
from hopfield.core.kernels.pooling import pool
from hopfield.core.kernels.streaming import Problem, stream
from hopfield.core.separation import Separation, Softmax, Streamable
from hopfield.errors import HopfieldError

# beyond these float32 scores overflow or vanish for patterns of any sensible size
_BETA = (1e-20, 1e20)
# score matrices up to this many entries are computed whole
_SMALL = 1 << 14
# a memory of at least this many patterns is streamed, where there is no fused kernel for it
_LARGE_MEMORY = 1 << 11
# and from this many on, streaming is so much faster than the fused kernel that it is worth its many small operations,
# which suffer more where processors are busy
_HUGE_MEMORY = 1 << 14
# and so are score matrices of more entries than this, to bound memory
_LARGE_SCORES = 1 << 24
# at most this many states per memory are few
_FEW_STATES = 16


def broadcast(*shapes: tuple[int, ...]) -> torch.Size | None:
    """The shape to which all of these broadcast; None if they do not (torch's own loads all of SymPy for this)."""
    if torch.compiler.is_compiling():  # sizes may be symbols, which it knows
        try:
            shape: torch.Size = torch.broadcast_shapes(*shapes)
            return shape
        except RuntimeError:
            return None
    length = max(map(len, shapes))
    result = []
    for sizes in zip(*((1,) * (length - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            return None
        result.append(wide.pop() if wide else 1)
    return torch.Size(result)


def check_beta(beta: float | Tensor) -> float | Tensor:
    """Refuse an inverse temperature that is not finite and above 0 (tensors on accelerators are taken on trust)."""
    if isinstance(beta, Tensor):
        if beta.device.type == "cpu" and not torch.compiler.is_compiling():
            wrong = ~((beta > 0) & torch.isfinite(beta))
            if bool(wrong.any()):
                raise HopfieldError(
                    f"beta must be finite and above 0 everywhere, got a tensor with {float(beta[wrong].flatten()[0])}"
                )
        return beta
    if not (isinstance(beta, Real) and _BETA[0] <= beta <= _BETA[1]):
        raise HopfieldError(
            f"beta must be a finite number above 0 or a tensor of such, got {beta!r} "
            f"(allowed: {_BETA[0]:g} to {_BETA[1]:g})"
        )
    return float(beta)


@dataclass(frozen=True)
class Task:
    """The inputs of one association, checked, with the ways to compute it. Shapes as in `associate`."""

    query: Tensor
    patterns: Tensor
    values: Tensor
    beta: float | Tensor
    bias: Tensor | None
    mask: Tensor | None
    separation: Separation
    batch: torch.Size
    """The batch dimensions of the result."""
    epsilon: float | None = None
    """Layer-normalise the patterns, which then are the values, with this added to the variance."""
    dropout: float = 0.0
    """Share of the weights to drop."""

    @classmethod
    def of(
        cls,
        query: Tensor,
        patterns: Tensor,
        values: Tensor | None,
        beta: float | Tensor,
        bias: Tensor | None,
        mask: Tensor | None,
        separation: Separation,
    ) -> Task:
        """Check that the shapes fit together."""
        _check_matrix("query", query, "(*batch, L, d) or (d,)")
        _check_matrix("patterns", patterns, "(*batch, N, d)")
        if query.shape[-1] != patterns.shape[-1]:
            raise HopfieldError(
                f"query and patterns must have the same size: the query has {query.shape[-1]} "
                f"(shape {tuple(query.shape)}), the patterns have {patterns.shape[-1]} (shape {tuple(patterns.shape)})"
            )
        if query.device != patterns.device:
            raise HopfieldError(
                f"query and patterns must be on one device: the query is on {query.device}, "
                f"the patterns are on {patterns.device}; move one with .to(device)"
            )
        if values is None:
            values = patterns
        else:
            _check_tensor("values", values, "(*batch, N, v)")
            if values.dim() < 2 or values.shape[-2] != patterns.shape[-2]:
                raise HopfieldError(
                    f"values must have one row per pattern, (*batch, {patterns.shape[-2]}, v); "
                    f"got {tuple(values.shape)}"
                )
        batch = broadcast(query.shape[:-2], patterns.shape[:-2], values.shape[:-2])
        if batch is None:
            raise HopfieldError(
                f"batch dimensions do not broadcast: query {tuple(query.shape)}, patterns {tuple(patterns.shape)}, "
                f"values {tuple(values.shape)}"
            )
        shape = (*batch, query.shape[-2], patterns.shape[-2])
        for name, tensor in (("mask", mask), ("bias", bias)):
            if tensor is not None:
                _check_tensor(name, tensor, "that broadcasts to (*batch, L, N)")
        if mask is not None and mask.dtype != torch.bool:
            raise HopfieldError(f"mask must be of dtype bool (True takes part), got {mask.dtype}; use mask.bool()")
        for name, tensor, target in (
            ("mask", mask, shape),
            ("bias", bias, shape),
            ("beta", beta if isinstance(beta, Tensor) else None, (*shape[:-1], 1)),
        ):
            if tensor is not None:
                _check_broadcast(name, tensor, target)
        return cls(query, patterns, values, beta, bias, mask, separation, batch)

    def run(self, *, want_potential: bool) -> tuple[Tensor, Tensor | None]:
        """Values (*batch, L, v) and, if wanted, the potential (*batch, L), by the way that suits the shape."""
        if not want_potential and self._poolable():
            return self._pool(), None
        if self.epsilon is not None:
            patterns = F.layer_norm(self.patterns, self.patterns.shape[-1:], eps=self.epsilon)
            return replace(self, patterns=patterns, values=patterns, epsilon=None).run(want_potential=want_potential)
        # the score matrix is the slower way where it is small, but twice differentiable
        if self._small() and (torch.is_grad_enabled() or want_potential or not self._fusible()):
            return self._dense(want_potential)
        if self._fusible() and not want_potential and (self.dropout or not self._better_streamed()):
            return self._fused(), None
        if isinstance(self.separation, Streamable) and self.large() and not self.dropout:
            values, potential = self._stream(with_values=True)
            return values, potential if want_potential else None
        return self._dense(want_potential)

    def potential(self) -> Tensor:
        """Ω*(s), (*batch, L)."""
        if isinstance(self.separation, Streamable) and self.large():
            return self._stream(with_values=False)[1]
        return self.separation.potential(self.scores())

    def heads(self, which: slice) -> Task:
        """The task for some entries of the last batch dimension."""

        def cut(tensor: Tensor) -> Tensor:
            return tensor if tensor.dim() < 3 or tensor.shape[-3] == 1 else tensor[..., which, :, :]

        patterns = cut(self.patterns)
        return replace(
            self,
            query=cut(self.query),
            patterns=patterns,
            values=patterns if self.values is self.patterns else cut(self.values),
            beta=cut(self.beta) if isinstance(self.beta, Tensor) else self.beta,
            bias=None if self.bias is None else cut(self.bias),
            mask=None if self.mask is None else cut(self.mask),
            batch=torch.Size((*self.batch[:-1], len(range(*which.indices(self.batch[-1]))))),
        )

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the result."""
        return torch.promote_types(self.query.dtype, self.patterns.dtype)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The data type of scores and sums: float32 for anything narrower."""
        return torch.promote_types(self.dtype, torch.float32)

    def states(self) -> Tensor:
        """β ξ in the data type of the scores, (*batch, L, d)."""
        return self.query.to(self.compute_dtype) * self._beta()

    def scores(self) -> Tensor:
        """The whole score matrix, (*batch, L, N); -inf where masked."""
        scores = self.states() @ self.patterns.to(self.compute_dtype).mT
        bias = self._scaled_bias()
        if bias is not None:
            scores = scores + bias
        if self.mask is not None:
            scores = scores.masked_fill(~self.mask, -math.inf)
        return scores.expand(*self.batch, *scores.shape[-2:])

    def _beta(self) -> float | Tensor:
        return self.beta.to(self.compute_dtype) if isinstance(self.beta, Tensor) else self.beta

    def _scaled_bias(self) -> Tensor | None:
        if self.bias is None:
            return None
        bias = self.bias.to(self.compute_dtype)
        if not isinstance(self.beta, Tensor):
            return bias * self.beta
        # -inf times beta would give beta a gradient of NaN
        alive = bias != -math.inf
        return (torch.where(alive, bias, 0.0) * self._beta()).masked_fill(~alive, -math.inf)

    def _shape(self) -> tuple[int, int, int]:
        return math.prod(self.batch), self.query.shape[-2], self.patterns.shape[-2]

    def _small(self) -> bool:
        batch, states, patterns = self._shape()
        # what is compiled once is for all sizes
        return not torch.compiler.is_compiling() and batch * states * patterns <= _SMALL

    @property
    def shared(self) -> bool:
        """Whether one memory serves the whole batch."""
        return _one((*self.patterns.shape[:-2], *self.values.shape[:-2]))

    def large(self) -> bool:
        """Whether blocks of patterns pay."""
        batch, states, patterns = self._shape()
        return (
            not traced()
            and not self._small()
            and (patterns >= _LARGE_MEMORY or batch * states * patterns > _LARGE_SCORES)
        )

    def _fusible(self) -> bool:
        return (
            not transformed()
            and (traced() or 0 not in self._shape())
            and isinstance(self.separation, Softmax)
            and self.query.dtype == self.patterns.dtype == self.values.dtype
            and self.patterns.shape[-1] == self.values.shape[-1]
            # fused kernels do not differentiate their additive mask
            and not (self.bias is not None and self.bias.requires_grad)
        )

    def weights(self) -> Tensor:
        """The whole matrix of weights, (*batch, L, N)."""
        return self._weights(self.scores()).to(self.dtype)

    def _weights(self, scores: Tensor) -> Tensor:
        if isinstance(self.separation, Streamable) or scores.shape[-1] == 0:
            return self.separation.weights(scores)
        # one of the user's need not know what to do with nothing to attend to
        dead = scores.detach().amax(-1, keepdim=True) == -math.inf
        return self.separation.weights(scores.masked_fill(dead, 0.0)).masked_fill(dead, 0.0)

    def _dense(self, want_potential: bool) -> tuple[Tensor, Tensor | None]:
        scores = self.scores()
        weights = F.dropout(self._weights(scores), self.dropout)
        values = (weights @ self.values.to(self.compute_dtype)).to(self.dtype)
        return values, self.separation.potential(scores) if want_potential else None

    def _fused(self) -> Tensor:
        tensor_beta = isinstance(self.beta, Tensor)
        mask, bias = self.mask, self._scaled_bias()
        # βξ and βb leave the range of half precision, and rounding them changes the scores
        dtype = self.compute_dtype if tensor_beta or bias is not None else self.dtype
        query = self.states() if tensor_beta else self.query.to(dtype)
        if bias is not None:
            mask = bias if mask is None else bias.masked_fill(~mask, -math.inf)
        shared = self.shared

        def four(tensor: Tensor) -> Tensor:
            # (*batch, rows, size) -> (batch, heads, rows, size); a shared memory takes all states as one batch element
            if shared and tensor is not query:
                return tensor.reshape(1, 1, *tensor.shape[-2:])
            tensor = tensor.expand(*self.batch, *tensor.shape[-2:])
            if shared:
                return tensor.reshape(-1, tensor.shape[-1])[None, None]
            heads = self.batch[-1] if len(self.batch) > 1 else 1
            return tensor.reshape(-1, heads, *tensor.shape[-2:])

        if mask is not None:
            mask = self._rows_of_all(mask).unsqueeze(0) if shared else self._four_mask(mask)
        result = F.scaled_dot_product_attention(
            four(query),
            four(self.patterns.to(dtype)),
            four(self.values.to(dtype)),
            attn_mask=mask,
            dropout_p=self.dropout,
            scale=1.0 if tensor_beta else self.beta,  # type: ignore[arg-type]  # a number here
        )
        return result.reshape(*self.batch, self.query.shape[-2], self.values.shape[-1]).to(self.dtype)

    def _few(self) -> bool:
        """Whether the matrix product of the states with the patterns does not outweigh the passage over these."""
        batch, states, _ = self._shape()
        return (batch * states if self.shared else states) <= _FEW_STATES

    def _accelerated(self) -> bool:
        """Whether it runs where fused kernels give each state to one core, and few states leave the others idle."""
        return self.patterns.device.type != "cpu"

    def _better_streamed(self) -> bool:
        huge = self.large() and self.patterns.shape[-2] >= _HUGE_MEMORY
        return self.shared and huge and (not self._few() or self._accelerated())

    def _recorded(self) -> bool:
        """Whether gradients are wanted."""
        return torch.is_grad_enabled() and (self.query.requires_grad or self.patterns.requires_grad)

    def _poolable(self) -> bool:
        return (
            not traced()
            and isinstance(self.separation, Softmax)
            and self.values is self.patterns
            and self.bias is None
            and not self.dropout
            and self.patterns.shape[-2] >= _LARGE_MEMORY
            and self._few()
            and not self._small()
            # the fused kernel is level with it on a processor, but normalises nothing and has the slower gradient
            and (self.epsilon is not None or self._recorded() or self._accelerated())
        )

    def _pool(self) -> Tensor:
        problem = self.problem(with_values=False)
        result = pool(problem.states, problem.patterns, problem.mask, self.epsilon)
        return result.reshape(*self.batch, self.query.shape[-2], result.shape[-1]).to(self.dtype)

    def _four_mask(self, mask: Tensor) -> Tensor:
        mask = mask.expand(*self.batch, *self._shape()[1:])
        heads = self.batch[-1] if len(self.batch) > 1 else 1
        return mask.reshape(-1, heads, *mask.shape[-2:])

    def _rows_of_all(self, tensor: Tensor) -> Tensor:
        """A tensor that broadcasts to the scores, as (1, 1 or all states, 1 or N) for a shared memory."""
        if _one(tensor.shape[:-1]):
            return tensor.reshape(1, 1, tensor.shape[-1] if tensor.dim() else 1)
        batch, states, _ = self._shape()
        return tensor.expand(*self.batch, states, tensor.shape[-1]).reshape(1, batch * states, tensor.shape[-1])

    def problem(self, *, with_values: bool) -> Problem:
        """The association in the canonical form of the streaming kernels."""
        batch, states, _ = self._shape()
        shared = self.shared

        def three(tensor: Tensor) -> Tensor:
            if shared:
                return tensor.reshape(1, *tensor.shape[-2:])
            return tensor.expand(*self.batch, *tensor.shape[-2:]).reshape(-1, *tensor.shape[-2:])

        def like_scores(tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            tensor = tensor if tensor.dim() > 1 else tensor.reshape(1, -1)
            return self._rows_of_all(tensor) if shared else three(tensor)

        query = self.states().expand(*self.batch, *self.query.shape[-2:])
        query = query.reshape(*((1, batch * states) if shared else (batch, states)), query.shape[-1])
        return Problem(
            query.contiguous(),
            three(self.patterns),
            three(self.values) if with_values else None,
            like_scores(self._scaled_bias()),
            like_scores(self.mask),
        )

    def _stream(self, *, with_values: bool) -> tuple[Tensor, Tensor]:
        assert isinstance(self.separation, Streamable), "the callers have made sure"
        values, potential = stream(self.problem(with_values=with_values), self.separation)
        if with_values:
            values = values.reshape(*self.batch, self.query.shape[-2], values.shape[-1]).to(self.dtype)
        return values, potential.reshape(*self.batch, self.query.shape[-2])


def _one(sizes: tuple[int, ...]) -> bool:
    """Whether all sizes are 1; a symbol of a size, as `torch.export` has them, stands for others too."""
    return all(isinstance(size, int) and size == 1 for size in sizes)


def _check_tensor(name: str, tensor: Tensor, expected: str) -> None:
    if not isinstance(tensor, Tensor):
        raise HopfieldError(f"{name} must be a tensor {expected}, got {type(tensor).__name__}; use torch.as_tensor")


def _check_matrix(name: str, tensor: Tensor, expected: str) -> None:
    _check_tensor(name, tensor, expected)
    if tensor.dim() < 2:
        raise HopfieldError(f"{name} must be {expected}, got shape {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise HopfieldError(f"{name} must be of a floating-point dtype, got {tensor.dtype}; use {name}.float()")


def _check_broadcast(name: str, tensor: Tensor, target: tuple[int, ...]) -> None:
    if broadcast(tensor.shape, target) != target:
        letters = "(*batch, L, 1)" if name == "beta" else "(*batch, L, N)"
        raise HopfieldError(f"{name} must broadcast to {letters} = {target}, got shape {tuple(tensor.shape)}")
