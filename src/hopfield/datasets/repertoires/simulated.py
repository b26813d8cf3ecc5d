"""Simulated repertoires: random sequences, into some of which, in positive repertoires only, a motif is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hopfield.bags import Bags
from hopfield.datasets.repertoires.model import AminoAcidModel
from hopfield.datasets.repertoires.repertoires import Repertoires
from hopfield.datasets.repertoires.sequences import ALPHABET, CODES, as_codes, levels_of
from hopfield.errors import HopfieldError

_COUNTS = 0.5  # of counts c = 1, 2, ...: probability _COUNTS (1 - _COUNTS)^(c - 1)
_ROWS = 1 << 16  # how many sequences are searched at a time


def simulate_repertoires(
    repertoires: int = 200,
    sequences: int | tuple[int, int] = 5000,
    *,
    motifs: Sequence[str] = ("SFEN",),
    rate: float = 0.01,
    wildcards: int = 0,
    jitter: int | None = None,
    model: AminoAcidModel | None = None,
    positive_share: float = 0.5,
    seed: int = 0,
) -> Repertoires:
    """Simulated repertoires, whose positive class has motifs in a few of its sequences.

    All sequences are drawn from one model. In a positive repertoire of n sequences, round(rate n) of them, at least
    one, are chosen at random, and a motif is written over some of their letters; fewer if the motif fits into fewer.
    The same motif may occur in any sequence by chance. Counts have nothing to do with classes or motifs: a count is c
    with probability 2^-c. The same seed gives the same data.

    Args:
        repertoires: how many.
        sequences: how many each has, or (least, most), between which every number is equally likely.
        motifs: strings over `ALPHABET`, one of which is drawn for each chosen sequence; at a "?" the letter of the
            sequence stays.
        rate: the share of the sequences of positive repertoires that have a motif, above 0 and at most 1.
        wildcards: how many further letters of a motif, drawn anew each time, are left as they are in the sequence.
        jitter: how far a motif may be from the middle of its sequence; each place within that is equally likely. None:
            anywhere.
        model: what sequences are drawn from; None: `AminoAcidModel.uniform()`, with 10 to 20 letters.
        positive_share: the share of the repertoires that are positive, 0 to 1.
        seed: of everything random.

    Returns:
        The repertoires, in random order of classes, which are "negative" and "positive"; `implanted` says which
        sequences had a motif written into them.

    Raises:
        HopfieldError: numbers out of range, motifs that are empty or have unknown letters or only "?", or that fit
            into no sequence.
    """
    model = AminoAcidModel.uniform() if model is None else model
    motifs = (motifs,) if isinstance(motifs, str) else tuple(motifs)
    least, most = sequences if isinstance(sequences, tuple) and len(sequences) == 2 else (sequences, sequences)
    if not all(isinstance(motif, str) for motif in motifs):
        raise HopfieldError(f"motifs must be strings of letters, got {motifs!r}")
    if not all(isinstance(n, int | np.integer) for n in (repertoires, least, most, seed)) or seed < 0:
        raise HopfieldError(
            "repertoires, sequences and seed must be integers, the seed of at least 0; sequences may be (least, most); "
            f"got {repertoires!r}, {sequences!r} and {seed!r}"
        )
    _check(repertoires, least, most, rate, jitter, positive_share)
    codes = [_codes_of(motif) for motif in motifs]
    if not codes:
        raise HopfieldError('motifs must have at least one motif, got none; say motifs=("SFEN",)')
    for motif, code in zip(motifs, codes, strict=True):
        if not model.lengths[len(code) :].any():
            raise HopfieldError(f"the motif {motif!r} fits into no sequence of {model}; choose a shorter motif")
        _check_wildcards(motif, code, wildcards)
    generator = np.random.default_rng(seed)
    labels = (np.arange(repertoires) < round(positive_share * repertoires)).astype(np.int64)
    generator.shuffle(labels)
    sizes = generator.integers(least, most, repertoires, endpoint=True)
    ends = np.cumsum(sizes)
    rows = np.zeros((int(ends[-1]), len(model.lengths)), np.uint8)
    counts = np.zeros(len(rows), np.int32)
    implanted = np.zeros(len(rows), bool)
    for label, n, end in zip(labels, sizes, ends, strict=True):
        letters = rows[end - n : end, 1:]  # a view
        counts[end - n : end] = generator.geometric(_COUNTS, n)
        letters[:] = model.sample(int(n), generator).numpy()
        if label:
            amount = max(1, round(rate * int(n)))
            implanted[end - n : end] = _implant(letters, codes, amount, wildcards, jitter, generator)
    rows[:, 0] = levels_of(counts)
    width = len(str(repertoires - 1))
    return Repertoires(
        names=tuple(f"repertoire_{i:0{width}}" for i in range(repertoires)),
        bags=Bags(torch.from_numpy(rows), torch.from_numpy(np.concatenate([[0], ends]))),
        counts=torch.from_numpy(counts),
        labels=labels,
        classes=("negative", "positive"),
        implanted=torch.from_numpy(implanted),
        motifs=motifs,
    )


def find_motif(letters: Tensor | np.ndarray, motif: str, *, wildcards: int = 0) -> Tensor:
    """Whether each sequence has a motif anywhere, bool (n,).

    Args:
        letters: codes of letters, uint8 (n, L), without the abundance level: `Repertoires.letters`, say.
        motif: letters of `ALPHABET`, or "?" for any one letter.
        wildcards: how many letters of the motif may be others, wherever they are.

    Raises:
        HopfieldError: another shape or dtype, a motif that is empty, has unknown letters, or only "?", or wildcards
            that leave no letter of the motif.
    """
    codes, wanted = as_codes("letters", letters), _codes_of(motif)
    _check_wildcards(motif, wanted, wildcards)
    found = np.zeros(len(codes), bool)
    places = codes.shape[1] - len(wanted) + 1
    for start in range(0, len(codes) if places > 0 else 0, _ROWS):
        part = codes[start : start + _ROWS]
        inside = part[:, len(wanted) - 1 :] != 0
        others = np.zeros((len(part), places), np.int16)
        for i in np.flatnonzero(wanted):
            others += part[:, i : i + places] != wanted[i]
        found[start : start + _ROWS] = (inside & (others <= wildcards)).any(1)
    return torch.from_numpy(found)


def _check(repertoires: int, least: int, most: int, rate: float, jitter: int | None, positive_share: float) -> None:
    if repertoires < 1:
        raise HopfieldError(f"repertoires must be at least 1, got {repertoires}")
    if not 1 <= least <= most:
        raise HopfieldError(
            f"sequences must be at least 1, or (least, most) with 1 <= least <= most; got {(least, most)}"
        )
    if not 0 < rate <= 1:
        raise HopfieldError(f"rate must be above 0 and at most 1, got {rate}; positive_share=0 gives no motifs")
    if jitter is not None and jitter < 0:
        raise HopfieldError(f"jitter must be at least 0, or None for anywhere, got {jitter}")
    if not 0 <= positive_share <= 1:
        raise HopfieldError(f"positive_share must be 0 to 1, got {positive_share}")


def _check_wildcards(motif: str, code: np.ndarray, wildcards: int) -> None:
    if not isinstance(wildcards, int | np.integer) or not 0 <= wildcards < np.count_nonzero(code):
        raise HopfieldError(
            f"wildcards must leave at least one letter of the motif {motif!r}, and be an integer from 0; "
            f"got {wildcards!r}"
        )


def _codes_of(motif: str) -> np.ndarray:
    """The codes of a motif, uint8 (m,), with 0 for "?"."""
    codes = CODES[np.frombuffer(motif.encode("ascii", "replace"), np.uint8)]
    wrong = [letter for letter, code in zip(motif, codes, strict=True) if not code and letter != "?"]
    if wrong or not codes.any():
        raise HopfieldError(
            f'a motif must have letters of {ALPHABET}, and "?" where any letter may be; got {motif!r}'
            + (f" with {wrong[0]!r}" if wrong else "")
        )
    return codes


def _implant(
    letters: np.ndarray,
    motifs: list[np.ndarray],
    amount: int,
    wildcards: int,
    jitter: int | None,
    generator: np.random.Generator,
) -> np.ndarray:
    """Write motifs into letters (n, L), in place, and say where: bool (n,)."""
    sizes = np.count_nonzero(letters, axis=1)
    free = np.ones(len(letters), bool)
    shares = np.bincount(generator.integers(len(motifs), size=amount), minlength=len(motifs))
    for which in sorted(range(len(motifs)), key=lambda i: -len(motifs[i])):  # long motifs first: they fit into fewer
        motif = motifs[which]
        fitting = np.flatnonzero(free & (sizes >= len(motif)))
        chosen = generator.choice(fitting, min(shares[which], len(fitting)), replace=False)  # (k,)
        free[chosen] = False
        room = sizes[chosen] - len(motif)
        low, high = np.zeros_like(room), room
        if jitter is not None:
            low, high = np.maximum(room // 2 - jitter, 0), np.minimum(room // 2 + jitter, room)
        start = generator.integers(low, high, endpoint=True)
        fixed = np.flatnonzero(motif)
        keys = generator.random((len(chosen), len(fixed)))
        written = keys.argsort(1).argsort(1) >= wildcards  # (k, letters of the motif)
        which_row, which_letter = np.nonzero(written)
        place = fixed[which_letter]
        letters[chosen[which_row], start[which_row] + place] = motif[place]
    if free.all():
        longest = int(sizes.max())
        raise HopfieldError(
            f"no motif fits into any sequence of a positive repertoire, of {len(sizes)} sequences of at most {longest} "
            "letters; ask for more sequences, shorter motifs, or a model with longer sequences"
        )
    return ~free
