"""One association: the weighted mean of values under the scores s_i = β (ξ·x_i + b_i).

Every layer, memory and estimator of the package is made of this primitive and of the
loop in `retrieval`. How it is computed is chosen by shape; see `task`.
"""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from hopfield.core.separation import Separation, resolve
from hopfield.core.task import Task, check_beta


@overload
def associate(
    query: Tensor,
    patterns: Tensor,
    values: Tensor | None = None,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
    return_potential: Literal[False] = False,
) -> Tensor: ...


@overload
def associate(
    query: Tensor,
    patterns: Tensor,
    values: Tensor | None = None,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
    return_potential: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def associate(
    query: Tensor,
    patterns: Tensor,
    values: Tensor | None = None,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
    return_potential: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Associate states with stored patterns: Vᵀp with p = ∇Ω*(s), s_i = β (ξ·x_i + b_i).

    With softmax and values = patterns this is one update of the Hopfield network (Ramsauer et al. 2021, Eq. 3), with
    β = 1/√d and projected inputs it is the attention of transformers (Eq. 10).

    Args:
        query: states ξ, (*batch, L, d), or a single state (d,).
        patterns: stored patterns x, (*batch, N, d); batch dimensions broadcast against those of the query, so (N, d)
            is one memory for all.
        values: (*batch, N, v); the patterns themselves if None.
        beta: inverse temperature, above 0: a number, or a tensor that broadcasts to (*batch, L, 1); for one beta per
            head, shape (h, 1, 1) with states (*batch, h, L, d).
        bias: b, broadcasts to (*batch, L, N); -|x|²/2 makes the similarity Euclidean.
        mask: bool, broadcasts to (*batch, L, N); True takes part. A masked pattern is a deleted pattern.
        separation: the name of a separation function ("softmax", "softmax1", "sparsemax", "entmax", "normmax", "top1")
            or an object of `hopfield.separation`.
        return_potential: also return the potential Ω*(s), for softmax the log-sum-exp of the scores.

    Returns:
        Values (*batch, L, v), and the potential (*batch, L) if asked for. With nothing to attend to (N = 0, or all
        masked) the values are zero and the potential is -inf (0 for softmax1). Half-precision inputs are scored and
        summed in float32 and the result cast back.

    Raises:
        HopfieldError: shapes that do not fit together, a mask that is not bool, beta not above 0, unknown separation.
    """
    separation = resolve(separation)
    beta = check_beta(beta)
    single = isinstance(query, Tensor) and query.dim() == 1
    task = Task.of(query.unsqueeze(0) if single else query, patterns, values, beta, bias, mask, separation)
    result, potential = task.run(want_potential=return_potential)
    if single:
        result, potential = result.squeeze(-2), None if potential is None else potential.squeeze(-1)
    return result if potential is None else (result, potential)


def association_weights(
    query: Tensor,
    patterns: Tensor,
    *,
    beta: float | Tensor = 1.0,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    separation: str | Separation = "softmax",
) -> Tensor:
    """The weights p = ∇Ω*(s) of one association, (*batch, L, N), or (N,) for a single state.

    Args and errors as for `associate`. The whole matrix is made; see `Retrieval.top` for the largest weights only.
    """
    separation = resolve(separation)
    beta = check_beta(beta)
    single = isinstance(query, Tensor) and query.dim() == 1
    task = Task.of(query.unsqueeze(0) if single else query, patterns, None, beta, bias, mask, separation)
    weights = task.weights()
    return weights.squeeze(-2) if single else weights
