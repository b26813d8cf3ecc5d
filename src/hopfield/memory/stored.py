"""What a memory holds, with what bounds need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hopfield.errors import HopfieldError
from hopfield.memory.index.groups import Index
from hopfield.memory.marks import Mark
from hopfield.memory.peers import ALONE, Peers
from hopfield.memory.rows import Rows, TensorRows

# rows that are looked through at once
_ROWS = 1 << 16


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
        peak: the largest ½|x|² + b, or None where it has to be looked for.
        height_error: how far the peak may be from that of the patterns as they were stored.
        slack: how far a pattern that is read may be from the one that was stored.
        value_slack: the same of the values.
        peers: who holds the patterns. What is here is this process's part; the numbers above are those of all.
        marks: of the tensors that all this is of: patterns, values, bias.
    """

    patterns: Rows
    values: Rows | None
    bias: Tensor | None
    index: Index | None
    norm: float
    value_norm: float
    bias_size: float
    peak: float | None
    slack: float
    value_slack: float
    height_error: float = 0.0
    peers: Peers = ALONE
    marks: tuple[Mark, ...] = ()

    def check(self) -> None:
        """Refuse to go on with what was known of tensors that were written to since."""
        if not all(mark.untouched for mark in self.marks):
            raise HopfieldError(
                "the patterns, values or biases were changed since this retrieval: read its energy, weights and "
                "support before that, or retrieve again"
            )

    @cached_property
    def height(self) -> float:
        """The peak, looked for where it is not known."""
        return _peak(self.patterns, self.bias) if self.peak is None else self.peak

    @staticmethod
    def height_slack(norm: float, slack: float) -> float:
        """How far ½|x|² may be from that of the pattern that was stored."""
        return slack * norm + slack**2 / 2

    def with_index(self, index: Index) -> Stored:
        """The same with groups of near patterns."""
        return replace(self, index=index)

    @classmethod
    def of_tensors(cls, patterns: Tensor, values: Tensor | None, bias: Tensor | None) -> Stored:
        """Patterns (N, d), values (N, v) and biases (N,) in main (or accelerator) memory."""
        rows = TensorRows(patterns)
        own = None if values is None else TensorRows(values)
        with torch.no_grad():
            norm = rows.norm()
            return cls(
                rows,
                own,
                bias,
                None,
                norm,
                norm if own is None else own.norm(),
                float(bias.abs().amax()) if bias is not None and bias.numel() else 0.0,
                _peak(rows, bias),
                rows.slack,
                rows.slack if own is None else own.slack,
                marks=(Mark(patterns), Mark(values), Mark(bias)),
            )


def _peak(rows: Rows, bias: Tensor | None) -> float:
    """The largest ½|x|² + b, 0 without patterns."""
    peaks = []
    for start in range(0, rows.count, _ROWS):
        block = slice(start, min(start + _ROWS, rows.count))
        height = rows[:, block][0].detach().double().square().sum(-1) / 2
        peaks.append(float((height if bias is None else height + bias[block].detach()).amax()))
    return max(peaks, default=0.0)
