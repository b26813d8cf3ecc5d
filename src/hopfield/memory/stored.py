"""What a memory holds, with what bounds need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hopfield.memory.index.groups import Index
from hopfield.memory.peers import ALONE, Peers
from hopfield.memory.rows import Rows, TensorRows


@dataclass(frozen=True, eq=False)
class Stored:
    """What a memory holds, with what bounds need to know of it.

    Attributes:
        patterns: x.
        values: what is recalled, or None for the patterns.
        bias: b, float64 (N,), or None.
        index: groups of the patterns, or None.
        norm: the largest norm of a pattern, or a little more.
        value_norm: the same of the values.
        bias_size: the largest |b|.
        peak: the largest ½|x|² + b.
        slack: how far a pattern that is read may be from the one that was stored.
        value_slack: the same of the values.
        peers: who holds the patterns. What is here is this process's part; the numbers above are those of all.
    """

    patterns: Rows
    values: Rows | None
    bias: Tensor | None
    index: Index | None
    norm: float
    value_norm: float
    bias_size: float
    peak: float
    slack: float
    value_slack: float
    peers: Peers = ALONE

    def with_index(self, index: Index) -> Stored:
        """The same with groups of near patterns."""
        return replace(self, index=index)

    @classmethod
    def of_tensors(cls, patterns: Tensor, values: Tensor | None, bias: Tensor | None) -> Stored:
        """Patterns (N, d), values (N, v) and biases (N,) in main (or accelerator) memory."""
        rows = TensorRows(patterns)
        own = None if values is None else TensorRows(values)
        with torch.no_grad():
            height = torch.linalg.vector_norm(patterns, dim=-1, dtype=rows.dtype).double().square() / 2
            height = height if bias is None else height + bias
            norm = rows.norm()
            return cls(
                rows,
                own,
                None if bias is None else bias.double(),
                None,
                norm,
                norm if own is None else own.norm(),
                float(bias.abs().amax()) if bias is not None and bias.numel() else 0.0,
                float(height.amax()) if height.numel() else 0.0,
                rows.slack,
                rows.slack if own is None else own.slack,
            )
