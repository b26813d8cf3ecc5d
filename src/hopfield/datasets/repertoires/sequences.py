"""Amino-acid sequences and their counts as bytes: no Python string for each of a hundred million sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hopfield.errors import HopfieldError

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
"""The amino acids; letter i has the code i + 1, and 0 is the padding behind the letters."""

LEVELS_PER_DOUBLING = 16

CODES = np.zeros(256, np.uint8)
"""The code of each byte, upper or lower case: 1 to 20, and 0 for what is no amino acid."""
CODES[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(1, 21)
CODES[np.frombuffer(ALPHABET.lower().encode(), np.uint8)] = np.arange(1, 21)
BYTES = np.frombuffer(b"\0" + ALPHABET.encode(), np.uint8)
"""The byte of each code, (21,); that of padding is 0."""


def encode(sequences: Sequence[str], length: int | None = None) -> Tensor:
    """The codes of sequences of amino acids, uint8 (n, L): 1 to 20 for the letters of `ALPHABET`, 0 behind them.

    Args:
        sequences: n strings of letters of `ALPHABET`, in upper or lower case.
        length: L; None: that of the longest sequence.

    Raises:
        HopfieldError: a letter outside the alphabet, a sequence longer than length, or one string instead of several.
    """
    if isinstance(sequences, str):
        raise HopfieldError(f"encode expects a list of sequences, got one string; use encode([{sequences!r}])")
    sizes = np.array([len(sequence) for sequence in sequences], np.int64)  # (n,)
    longest = int(sizes.max(initial=0))
    length = longest if length is None else length
    if length < longest:
        where = int(sizes.argmax())
        raise HopfieldError(
            f"sequence {where} has {longest} letters and does not fit in length={length}; leave out length"
        )
    inside = np.arange(length) < sizes[:, None]  # (n, L)
    codes = CODES[np.frombuffer("".join(sequences).encode("ascii", "replace"), np.uint8)]
    rows = np.zeros((len(sizes), length), np.uint8)
    rows[inside] = codes
    wrong = inside & (rows == 0)
    if wrong.any():
        where, place = (int(i) for i in np.argwhere(wrong)[0])
        raise HopfieldError(
            f"sequence {where} has the letter {sequences[where][place]!r}; expected letters of {ALPHABET}: "
            "leave the sequence out"
        )
    return torch.from_numpy(rows)


def decode(letters: Tensor | np.ndarray) -> list[str]:
    """The sequences whose codes are letters, uint8 (n, L), without the abundance level: what `encode` was given.

    Raises:
        HopfieldError: another shape or dtype, a code above 20, or a letter behind padding.
    """
    codes = as_codes("letters", letters)
    if (codes[:, 1:].astype(bool) > codes[:, :-1].astype(bool)).any():
        raise HopfieldError("letters must have their padding 0 behind the letters, got a letter behind a 0; see encode")
    n, length = codes.shape
    if not length:
        return [""] * n
    found: list[str] = np.ascontiguousarray(BYTES[codes]).view(f"S{length}")[:, 0].astype(np.str_).tolist()
    return found


def abundance(counts: Tensor | np.ndarray | Sequence[int]) -> Tensor:
    """The abundance levels of counts: round(16 log2(count)), at most 255, as uint8 of the same shape.

    One byte keeps a count to within 2.2 %, up to a count of 62,000; `counts_of` is the way back.

    Raises:
        HopfieldError: a count below 1.
    """
    found = counts.detach().cpu().numpy() if isinstance(counts, Tensor) else np.asarray(counts)
    if found.size and not (found >= 1).all():
        raise HopfieldError(f"counts must be at least 1, got {found.min()}; leave out what was not counted")
    return torch.from_numpy(levels_of(found))


def levels_of(counts: np.ndarray) -> np.ndarray:
    """The abundance levels of counts of at least 1, unchecked: uint8 of the same shape."""
    levels: np.ndarray = np.minimum(np.rint(LEVELS_PER_DOUBLING * np.log2(counts)), 255).astype(np.uint8)
    return levels


def counts_of(levels: Tensor | np.ndarray) -> Tensor:
    """The counts that abundance levels stand for: 2^(level / 16), as float32 of the same shape, on the same device."""
    return torch.exp2(torch.as_tensor(levels).float() / LEVELS_PER_DOUBLING)


def as_codes(name: str, letters: Tensor | np.ndarray) -> np.ndarray:
    """Codes of letters as an array uint8 (n, L), checked; no copy where there is none to be made."""
    codes = letters.detach().cpu().numpy() if isinstance(letters, Tensor) else np.asarray(letters)
    if codes.ndim != 2 or codes.dtype != np.uint8:
        raise HopfieldError(
            f"{name} must be uint8 (n, L), as encode gives it; got shape {tuple(codes.shape)} of {codes.dtype}"
        )
    if codes.size and codes.max() > len(ALPHABET):
        raise HopfieldError(
            f"{name} must have codes of 0 to {len(ALPHABET)}, got {codes.max()}; "
            "leave out the abundance level: rows[:, 1:] of the rows of repertoires"
        )
    return codes
