"""Random sequences of amino acids: each letter by itself, or depending on the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hopfield.datasets.repertoires.sequences import ALPHABET, as_codes, encode
from hopfield.errors import HopfieldError

_LETTERS = len(ALPHABET)
_ROWS = 1 << 16  # how many sequences are counted at a time


@dataclass(frozen=True, eq=False, repr=False)
class AminoAcidModel:
    """A distribution of sequences of amino acids: a distribution of lengths, and one of letters.

    Args:
        lengths: the probability of each length 0, 1, ..., M, (M + 1,).
        letters: how often each letter occurs, (20,), in the order of `ALPHABET`.
        transitions: the probability of each letter (columns) after each letter (rows), (20, 20); None: each letter is
            drawn by itself from letters.
        first: with transitions, the probability of each letter at the beginning, (20,); None: that of letters.

    Raises:
        HopfieldError: other shapes, or what is no distribution.
    """

    lengths: np.ndarray
    letters: np.ndarray
    transitions: np.ndarray | None = None
    first: np.ndarray | None = None

    def __post_init__(self) -> None:
        shapes = {"letters": (_LETTERS,), "transitions": (_LETTERS, _LETTERS), "first": (_LETTERS,)}
        for name in ("lengths", *shapes):
            given = getattr(self, name)
            if given is None and name in {"transitions", "first"}:
                continue
            values = np.array(given, np.float64)
            shape = shapes.get(name, (values.size,))
            if values.shape != shape or not values.size:
                raise HopfieldError(f"{name} must be probabilities {shape or '(M + 1,)'}, got shape {values.shape}")
            if not (np.isfinite(values).all() and (values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-6)):
                raise HopfieldError(f"{name} must be probabilities that sum to 1, got {values}; divide by the sum")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if not self.lengths[1:].any():
            raise HopfieldError("lengths must give some length of at least 1 a probability above 0; all are empty")

    def __repr__(self) -> str:
        least, most = (int(i) for i in np.flatnonzero(self.lengths)[[0, -1]])
        order = 0 if self.transitions is None else 1
        return f"AminoAcidModel(lengths {least} to {most}, order {order})"

    @classmethod
    def uniform(cls, lengths: tuple[int, int] = (10, 20)) -> AminoAcidModel:
        """All letters equally often, and all lengths from the first to the last of lengths.

        Raises:
            HopfieldError: lengths below 1, or the first above the last.
        """
        least, most = lengths
        if not 1 <= least <= most:
            raise HopfieldError(f"lengths must be (least, most) with 1 <= least <= most, got {lengths}")
        shares = np.zeros(most + 1)
        shares[least:] = 1 / (most + 1 - least)
        return cls(shares, np.full(_LETTERS, 1 / _LETTERS))

    @classmethod
    def fit(cls, sequences: Tensor | np.ndarray | Sequence[str], order: int = 1) -> AminoAcidModel:
        """The model that fits sequences, with each letter and each transition counted once more than it is there.

        Args:
            sequences: strings, or codes of letters uint8 (n, L) as `encode` gives them: `Repertoires.letters`, say.
                Empty ones are left out.
            order: 1: each letter depends on the one before; 0: on none.

        Raises:
            HopfieldError: no sequences, unknown letters, or another order.
        """
        if order not in {0, 1}:
            raise HopfieldError(f"order must be 0 (letters by themselves) or 1 (after the one before), got {order!r}")
        codes = as_codes("sequences", sequences if isinstance(sequences, Tensor | np.ndarray) else encode(sequences))
        n, L = _LETTERS + 1, codes.shape[1]
        lengths, first, letters = np.zeros(L + 1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
        pairs = np.zeros(n * n, np.int64)
        for start in range(0, len(codes) if L else 0, _ROWS):
            part = codes[start : start + _ROWS]
            lengths += np.bincount(np.count_nonzero(part, axis=1), minlength=L + 1)
            first += np.bincount(part[:, 0], minlength=n)
            letters += np.bincount(part.ravel(), minlength=n)
            pairs += np.bincount((part[:, :-1] * np.uint16(n) + part[:, 1:]).ravel(), minlength=n * n)
        lengths[0] = 0
        if not lengths.any():
            raise HopfieldError("a model is fitted to sequences, got none; use AminoAcidModel.uniform() without any")
        lengths = np.trim_zeros(lengths, "b")
        shares = lengths / lengths.sum(), (letters[1:] + 1) / (letters[1:] + 1).sum()
        if order == 0:
            return cls(*shares)
        after = pairs.reshape(n, n)[1:, 1:] + 1
        return cls(*shares, after / after.sum(1, keepdims=True), (first[1:] + 1) / (first[1:] + 1).sum())

    def sample(self, n: int, generator: np.random.Generator | torch.Generator | None = None) -> Tensor:
        """Draw n sequences: codes of letters, uint8 (n, M).

        Args:
            n: how many.
            generator: where randomness comes from, of numpy or of torch; None: torch's own, as set by
                `torch.manual_seed`.

        Raises:
            HopfieldError: n below 0.
        """
        if n < 0:
            raise HopfieldError(f"n must be at least 0, got {n}")
        if not isinstance(generator, np.random.Generator):
            device = "cpu" if generator is None else generator.device
            seed = torch.randint(1 << 62, (), generator=generator, device=device)
            generator = np.random.default_rng(int(seed))
        sizes = np.searchsorted(_running(self.lengths), generator.random(n), side="right")
        sizes = np.minimum(sizes, np.flatnonzero(self.lengths)[-1])
        rows = np.zeros((n, len(self.lengths) - 1), np.uint8)
        now = np.zeros(n, np.int64)
        for place in range(rows.shape[1]):
            longer = np.flatnonzero(sizes > place)
            if self.transitions is None:
                now = _draw(self.letters[None], np.zeros(len(longer), np.int64), generator)
                rows[longer, place] = now + 1
            elif place == 0:
                now[longer] = _draw((self.letters if self.first is None else self.first)[None], now[longer], generator)
                rows[longer, place] = now[longer] + 1
            else:
                now[longer] = _draw(self.transitions, now[longer], generator)
                rows[longer, place] = now[longer] + 1
        return torch.from_numpy(rows)


def _running(shares: np.ndarray) -> np.ndarray:
    """Running sums over the last dimension, the last of which is 1."""
    running: np.ndarray = np.cumsum(shares, -1)
    running /= running[..., -1:].copy()
    return running


def _draw(shares: np.ndarray, which: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """For each row number in which (n,), a column drawn by the probabilities of that row of shares (r, c): (n,)."""
    columns = shares.shape[1]
    # the running sums of all rows, one row above the other, so that one search serves all
    ladder = (_running(shares) + np.arange(len(shares))[:, None]).ravel()
    found = np.searchsorted(ladder, which + generator.random(len(which)), side="right") - columns * which
    drawn: np.ndarray = np.clip(found, 0, columns - 1)
    return drawn
