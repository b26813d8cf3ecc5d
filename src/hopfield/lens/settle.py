"""Where further updates of the same head would take its states."""

from __future__ import annotations

import torch
from torch import Tensor

from hopfield.core.retrieval import retrieve_task
from hopfield.lens.call import Call
from hopfield.lens.rows import attended_by

LANDINGS = ("updates", "moved", "k", "attended", "settled")
"""What `settle` tells of a row, in this order."""
# a state stands still once it moves by less than this share of the largest key
_TOL = 1e-4
_MAX_STEPS = 64


def settle(call: Call, rows: Tensor, sequence: int, mass: float) -> Tensor:
    """Repeat the update ξ ← Kᵀ softmax(β K ξ) from some queries of a sequence until they stand still.

    Args:
        call: the attention.
        rows: int64 (r,), numbers of query rows.
        sequence: number of the sequence in the batch.
        mass: the share of the weights that counts as all.

    Returns:
        (r, h, 5): updates made; |ξ* - ξ| / max |x_i|; the number k of keys that carry the mass at ξ*; N, the number
        attended to; 1 if it stood still within 64 updates. NaN for rows that attend to nothing.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        call = call.sequences(slice(sequence, sequence + 1))
        task = call.task(rows)
        reach = task.patterns.to(task.compute_dtype).square().sum(-1).amax().sqrt()
        tol = max(float(reach) * _TOL, 1e-30)
        found = retrieve_task(task, False, None, tol, _MAX_STEPS, 1e-6)
        moved = (found.state - task.query).to(task.compute_dtype).square().sum(-1).sqrt() / reach
        k = found.support(mass)
        attended = attended_by(task.mask, (*k.shape, call.key.shape[-2]), k.device).squeeze(-1)
        result = torch.stack([t.to(moved.dtype) for t in (found.steps, moved, k, attended, found.converged)], -1)
    return result.masked_fill(attended.unsqueeze(-1) == 0, torch.nan)[0].transpose(0, 1)
