"""Motifs, where kernels of sequences begin and where they end.

A kernel that starts at random has nothing to attend to: one sequence in a thousand says what class a bag has. Counting
which patterns of letters are more frequent in one class than in the others says where to look, and learning takes it
from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hopfield.bags import Bags
from hopfield.errors import HopfieldError
from hopfield.nn.sequences import LETTERS, SequenceEmbedding, check_rows

Motif: TypeAlias = tuple[int, ...]
"""Codes of letters; 0 for any letter."""

_SEEN = 4  # a pattern that was seen fewer times says nothing
_ROWS = 1 << 16  # sequences that are counted at a time
_ROUNDS = 10  # of aligning the sequences that share a motif
_PRIOR = 0.5  # added to the counts of letters


def enriched_motifs(
    bags: Bags, targets: Tensor, training: Tensor, number: int, *, letters: int = 4, longest: int = 7
) -> list[list[Motif]]:
    """The patterns of a few letters with gaps that tell the classes apart best, one by one.

    For every pattern of `letters` letters within `longest` places the relative frequency f in every bag is counted,
    and z = (mean f in a class - mean f in the others) / (standard error of the difference), Welch's statistic with a
    variance of at least that of a Poisson count. Those with the largest z of any class are returned, without those that
    were seen fewer than four times. Nothing outside a set of bags to learn from matters to its motifs.

    Args:
        bags: encoded sequences, integers (total, 1 + L), as `hopfield.datasets.load_repertoires` gives them.
        targets: the class of each bag, int64 (B,).
        training: bool (F, B): F sets of bags to learn from.
        number: how many motifs.
        letters: letters of a motif.
        longest: places between its first and last letter, both included.

    Returns:
        For each of the F sets at most `number` motifs, best first.

    Raises:
        HopfieldError: sequences of another form, or other letters.
    """
    check_rows(bags.instances, LETTERS)
    classes = torch.arange(int(targets.max()) + 1)
    groups = (training.unsqueeze(1) & (targets == classes.unsqueeze(1))).flatten(0, 1).numpy()  # (F C, B)
    best: list[list[tuple[float, Motif]]] = [[] for _ in training]
    for places in _gaps(letters, longest):
        seen, sums, squares = _moments(bags, places, groups)  # (F C, 20^letters)
        amounts = groups.sum(1).reshape(len(training), -1)  # (F, C)
        seen, sums, squares = (moment.reshape(*amounts.shape, -1) for moment in (seen, sums, squares))
        for i, found in enumerate(best):
            z = _largest_z(amounts[i], seen[i].sum(0), sums[i], squares[i])  # (20^letters,)
            top = np.argpartition(-z, min(number, len(z) - 1))[:number]
            found += [(float(z[code]), _motif(int(code), places)) for code in top if z[code] > 0]
            found.sort(key=lambda entry: (-entry[0], entry[1]))
            del found[number:]
    return [[motif for _, motif in found] for found in best]


def _gaps(letters: int, longest: int) -> Iterator[tuple[int, ...]]:
    """All ways to place some letters within so many places, the first at 0."""
    for span in range(letters, longest + 1):
        for inner in combinations(range(1, span - 1), letters - 2):
            yield (0, *inner, span - 1)


def _moments(bags: Bags, places: tuple[int, ...], groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over each group of counts of patterns, of relative frequencies, and of their squares: (G, 20^letters)."""
    size = LETTERS ** len(places)
    seen, sums, squares = (np.zeros((len(groups), size)) for _ in range(3))
    for i, member in enumerate(groups.T):
        if not member.any():
            continue
        counts = np.zeros(size)
        for piece in bags[i].split(_ROWS):
            counts += np.bincount(_codes(piece[:, 1:].cpu().numpy(), places), minlength=size)
        shares = counts / max(counts.sum(), 1)
        squared = shares**2
        for group in np.flatnonzero(member):
            seen[group] += counts
            sums[group] += shares
            squares[group] += squared
    return seen, sums, squares


def _codes(letters: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
    """The letters (n, L) at these places of every window, as digits of one number each: (windows,)."""
    reach = max(0, letters.shape[1] - places[-1])
    codes = np.zeros((len(letters), reach), np.int32)
    for place in places:
        codes = codes * LETTERS + letters[:, place : place + reach] - 1
    inside: np.ndarray = codes[letters[:, places[-1] : places[-1] + reach] > 0]  # there is no letter behind padding
    return inside


def _largest_z(amounts: np.ndarray, seen: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The largest z of any of C classes against the others, (patterns,).

    From the numbers of bags (C,), the counts of patterns (patterns,), and sums and squares (C, patterns).
    """
    total, everything, all_squares = amounts.sum(), sums.sum(0), squares.sum(0)
    rate, windows = everything / max(total, 1), seen.sum() / max(total, 1)
    z = np.zeros(sums.shape[1])
    for amount, own, own_squares in zip(amounts, sums, squares, strict=True):
        rest = total - amount
        if not amount or not rest:
            continue
        means = own / amount, (everything - own) / rest
        spread = (own_squares / amount - means[0] ** 2).clip(0) / max(amount - 1, 1)  # unbiased
        spread += ((all_squares - own_squares) / rest - means[1] ** 2).clip(0) / max(rest - 1, 1)
        poisson = rate / max(windows, 1) * (1 / amount + 1 / rest)
        error = np.sqrt(np.maximum(spread, poisson))
        np.maximum(z, np.divide(means[0] - means[1], error, out=np.zeros_like(z), where=error > 0), out=z)
    z[seen < _SEEN] = 0
    return z


def _motif(code: int, places: tuple[int, ...]) -> Motif:
    motif = [0] * (places[-1] + 1)
    for place in reversed(places):
        code, letter = divmod(code, LETTERS)
        motif[place] = letter + 1
    return tuple(motif)


def shared_motif(model: Any, bags: Bags, *, most: int = 100) -> np.ndarray:
    """How often each letter is at each place of the motif that the heaviest sequences share: counts (kernel, 20).

    Of all sequences of the bags those with the largest weights are taken. Those with the motif of the kernel that fires
    most are aligned by it. Then all of them are searched with the letters so found, as log-odds against letters in
    general, and aligned anew, some times over.

    Args:
        model: a fitted `HopfieldBagClassifier.for_sequences()`, or another with `embedding="sequences"`.
        bags: encoded sequences, bags that were not learnt from, say.
        most: how many sequences are looked at.

    Returns:
        Counts in the order of `hopfield.datasets.repertoires.ALPHABET`, for `hopfield.plot.logo`.

    Raises:
        HopfieldError: a classifier with another embedding; no sequences.

    Example:
        >>> plot.logo(shared_motif(model, test.bags)).savefig("motif.png", dpi=200)
    """
    kernels = model.networks_[0].embedding[0]
    if not isinstance(kernels, SequenceEmbedding):
        raise HopfieldError(
            'motifs are those of a classifier with embedding="sequences", HopfieldBagClassifier.for_sequences() say; '
            f"this one has {type(kernels).__name__}"
        )
    if not bags.total:
        raise HopfieldError("there are no sequences in these bags, and so no motif")
    weights = np.concatenate(model.instance_weights(bags))
    rows = bags.instances[torch.from_numpy(np.argsort(-weights, kind="stable")[:most])]
    with torch.no_grad():
        fired = kernels(rows) > 0  # (n, features)
    feature = int(fired.sum(0).argmax())
    first = rows[fired[:, feature]] if bool(fired.any()) else rows
    windows = kernels.best_windows(first, feature).numpy()  # (m, kernel)
    background = _letters(rows[:, 1:].numpy().reshape(-1, 1))[0] + _PRIOR
    background /= background.sum()
    search = SequenceEmbedding(1, kernel=kernels.kernel, counts=False)
    for _ in range(_ROUNDS):
        counts = _letters(windows)
        share = (counts + _PRIOR * LETTERS * background) / (counts.sum(1, keepdims=True) + _PRIOR * LETTERS)
        with torch.no_grad():
            search.weight.copy_(torch.from_numpy(np.log(share / background)).unsqueeze(2))
        windows = search.best_windows(rows, 0).numpy()
    return _letters(windows)


def _letters(windows: np.ndarray) -> np.ndarray:
    """The counts of letters (m, kernel) at each place: (kernel, 20), without what lies outside the sequence."""
    return np.stack([np.bincount(place, minlength=LETTERS + 1)[1:].astype(float) for place in windows.T])
