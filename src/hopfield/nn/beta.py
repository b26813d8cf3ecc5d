"""Inverse temperatures of a layer: a number, one per head, or learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hopfield.core.task import check_beta
from hopfield.errors import HopfieldError


class LearnedBeta(nn.Module):
    """An inverse temperature β = exp(θ) that is trained with the layer and stays positive.

    Args:
        initial: where it starts: one number for all heads, or one per head.

    Attributes:
        log_beta: the parameter θ, of shape () or (h,).

    Raises:
        HopfieldError: a number that is not finite and above 0, or more than one dimension.

    Example:
        >>> layer = hopfield.Hopfield(64, heads=4, beta=LearnedBeta([0.25] * 4))
    """

    def __init__(self, initial: float | Sequence[float] | Tensor) -> None:
        super().__init__()
        # on the processor, even where layers are built without storage
        beta = torch.as_tensor(initial, dtype=torch.get_default_dtype(), device="cpu").detach()
        if beta.dim() > 1:
            raise HopfieldError(f"LearnedBeta: expected one number or one per head, got shape {tuple(beta.shape)}")
        check_beta(beta)
        self._initial = beta.tolist()
        self.log_beta = nn.Parameter(torch.empty(beta.shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew."""
        with torch.no_grad():
            self.log_beta.copy_(torch.tensor(self._initial).log())

    def forward(self) -> Tensor:
        """β, of shape () or (h,)."""
        # in half precision the exponential would overflow where the parameter does not
        return self.log_beta.to(torch.promote_types(self.log_beta.dtype, torch.float32)).exp()

    def extra_repr(self) -> str:
        """The number of betas."""
        return f"heads={self.log_beta.numel()}" if self.log_beta.dim() else "shared by all heads"


Beta = float | Sequence[float] | Tensor | nn.Module | Literal["learned"]
"""What a layer takes: a number, one per head, "learned", or a module that returns a tensor of shape () or (h,)."""


def settle_beta(beta: Beta | None, head_size: int, heads: int) -> float | Tensor | nn.Module:
    """The checked inverse temperature of a layer: 1/√k by default, a sequence as a tensor (h,)."""
    if beta is None:
        return 1 / math.sqrt(head_size)
    if isinstance(beta, str):
        if beta != "learned":
            raise HopfieldError(f'beta must be a number, one per head, "learned" or a module, got {beta!r}')
        return LearnedBeta([1 / math.sqrt(head_size)] * heads)
    if isinstance(beta, nn.Module):
        result = beta()
        if not isinstance(result, Tensor) or result.shape not in {(), (1,), (heads,)}:
            came = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise HopfieldError(
                f"beta: a module must return a tensor of shape () or ({heads},), one per head; got {came}"
            )
        return beta
    if isinstance(beta, Tensor | Sequence):
        tensor = beta if isinstance(beta, Tensor) else torch.tensor(beta, dtype=torch.get_default_dtype())
        if isinstance(tensor, nn.Parameter):
            raise HopfieldError("beta: a parameter would not stay positive; use beta=LearnedBeta(initial)")
        if tensor.shape not in {(), (1,), (heads,)}:
            raise HopfieldError(f"beta must be one number or one per head, ({heads},); got shape {tuple(tensor.shape)}")
        check_beta(tensor)
        return tensor.detach().clone()
    return check_beta(beta)
