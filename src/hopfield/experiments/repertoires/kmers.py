"""k-mers of immune repertoires: how often each string of k letters occurs in the sequences of each repertoire.

Column i of the matrices is the k-mer whose letters are the digits of i in base 20, the first letter first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from hopfield.datasets.repertoires import ALPHABET, Repertoires
from hopfield.errors import HopfieldError

Matrix: TypeAlias = Any
"""A scipy.sparse.csr_matrix (B, 20**k); SciPy comes with an extra, and has no types."""

LONGEST = 5
"""The largest k: 20^5 = 3.2 million columns."""
_LETTERS = len(ALPHABET)
_Windows: TypeAlias = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
_ROWS = 1 << 16  # how many sequences are counted at a time: some 30 MB


def kmer_counts(repertoires: Repertoires, k: int, *, weighted: bool = False) -> Matrix:
    """How often each k-mer occurs in each repertoire, at all positions of all sequences: (B, 20**k), float32.

    Args:
        repertoires: B repertoires.
        k: how many letters, 1 to 5.
        weighted: count each sequence as often as it was seen, not once.

    Raises:
        HopfieldError: k out of range.
    """
    return _count(repertoires, k, weighted, _windows)


def kmer_presence(repertoires: Repertoires, k: int) -> Matrix:
    """How many sequences of each repertoire contain each k-mer, however often: (B, 20**k), float32.

    Args:
        repertoires: B repertoires.
        k: how many letters, 1 to 5.

    Raises:
        HopfieldError: k out of range.
    """
    return _count(repertoires, k, False, _distinct)


def kmer_name(index: int, k: int) -> str:
    """The letters of a column: "CASS", say.

    Raises:
        HopfieldError: k out of range, or an index that is no column.
    """
    _check(k)
    if not 0 <= index < _LETTERS**k:
        raise HopfieldError(f"index must be 0 to {_LETTERS**k - 1}, a column of the {k}-mers; got {index}")
    return "".join(ALPHABET[index // _LETTERS**place % _LETTERS] for place in reversed(range(k)))


def _check(k: int) -> None:
    if k not in range(1, LONGEST + 1):
        raise HopfieldError(f"k must be 1 to {LONGEST} letters, got {k!r}; 3 or 4 are usual")


def _count(repertoires: Repertoires, k: int, weighted: bool, windows: _Windows) -> Matrix:
    from scipy.sparse import csr_matrix

    _check(k)
    size = _LETTERS**k
    counts = repertoires.bags.with_instances(repertoires.counts)
    indices, values = [], []
    for i in range(len(repertoires)):
        letters = repertoires.bags[i][:, 1:].numpy()  # (n, L)
        found = np.zeros(size, np.float64 if weighted else np.int64)
        for first in range(0, len(letters), _ROWS):
            columns, inside = windows(letters[first : first + _ROWS], k)  # (rows, places)
            weights = None
            if weighted:
                each = counts[i][first : first + _ROWS].numpy()
                weights = np.broadcast_to(each[:, None], inside.shape)[inside]
            found += np.bincount(columns[inside], weights, minlength=size)
        there = np.flatnonzero(found)
        indices.append(there.astype(np.int32))
        values.append(found[there].astype(np.float32))
    ends = np.cumsum([0, *(len(there) for there in indices)])
    flat = (np.concatenate([np.zeros(0, kind), *parts]) for kind, parts in ((np.float32, values), (np.int32, indices)))
    return csr_matrix((*flat, ends), shape=(len(repertoires), size))


def _windows(letters: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The column of the k-mer at each place of letters (n, L), int32 (n, L - k + 1), and whether there is one."""
    places = max(letters.shape[1] - k + 1, 0)
    columns = np.zeros((len(letters), places), np.int32)
    inside = np.ones((len(letters), places), bool)
    for place in range(k if places else 0):
        here = letters[:, place : place + places]
        columns *= _LETTERS
        columns += here
        columns -= 1
        inside &= here != 0
    return columns, inside


def _distinct(letters: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same as `_windows`, with each k-mer once in a sequence."""
    columns, inside = _windows(letters, k)
    columns[~inside] = -1
    columns.sort(axis=1)
    inside = columns >= 0
    inside[:, 1:] &= columns[:, 1:] != columns[:, :-1]
    return columns, inside
