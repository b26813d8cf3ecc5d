"""Does attention find the motif? The heaviest sequences, aligned, and how many of them had a motif implanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hopfield.datasets.repertoires import ALPHABET, Repertoires, decode
from hopfield.estimators import HopfieldBagClassifier
from hopfield.nn import SequenceEmbedding

_ROUNDS = 10
_PRIOR = 0.5  # added to the counts of letters


def precision(weights: Sequence[np.ndarray], repertoires: Repertoires) -> float:
    """The share of implanted sequences among the heaviest, as many as were implanted; the mean over repertoires.

    By chance it is the share of the sequences that were implanted. Repertoires without any are left out.
    """
    assert repertoires.implanted is not None, "simulated repertoires know what was implanted"
    shares = []
    for own, truth in zip(weights, repertoires.bags.with_instances(repertoires.implanted), strict=True):
        amount = int(truth.sum())
        if amount:
            shares.append(truth[torch.from_numpy(own).topk(amount).indices].double().mean().item())
    return float(np.mean(shares))


def heaviest(weights: Sequence[np.ndarray], repertoires: Repertoires, number: int) -> tuple[Tensor, list[str]]:
    """The sequences of the largest weights of all repertoires: encoded rows (number, 1 + L), and as strings."""
    order = np.argsort(-np.concatenate(weights), kind="stable")[:number]
    rows = repertoires.bags.instances[torch.from_numpy(order)]
    return rows, decode(rows[:, 1:])


def aligned(model: HopfieldBagClassifier, rows: Tensor) -> np.ndarray:
    """How often each letter is at each place of the motif that encoded sequences share: counts (kernel, 20).

    Those with the motif of the kernel that fires most are aligned by it. Then all sequences are searched with the
    letters so found, as log-odds against letters in general, and aligned anew, some times over.
    """
    embedding = model.networks_[0].embedding[0]  # type: ignore[index]  # a Sequential
    assert isinstance(embedding, SequenceEmbedding)
    with torch.no_grad():
        fired = embedding(rows) > 0  # (n, features)
    feature = int(fired.sum(0).argmax())
    windows = embedding.best_windows(rows[fired[:, feature]], feature).numpy()  # (m, kernel)
    background = _counts(rows[:, 1:].numpy().reshape(-1, 1))[0] + _PRIOR
    background /= background.sum()
    search = SequenceEmbedding(1, kernel=embedding.kernel, counts=False)
    for _ in range(_ROUNDS):
        counts = _counts(windows)
        share = (counts + _PRIOR * 20 * background) / (counts.sum(1, keepdims=True) + _PRIOR * 20)
        with torch.no_grad():
            search.weight.copy_(torch.from_numpy(np.log(share / background)).unsqueeze(2))
        windows = search.best_windows(rows, 0).numpy()
    return _counts(windows)


def consensus(counts: np.ndarray) -> str:
    """The commonest letter of each place, in lower case where it is less than half, "." where no letter is common."""
    letters = []
    for own in counts:
        share = own.max() / max(own.sum(), 1)
        letter = ALPHABET[int(own.argmax())]
        letters.append("." if share < 0.2 else letter if share >= 0.5 else letter.lower())
    return "".join(letters).strip(".")


def _counts(windows: np.ndarray) -> np.ndarray:
    """Of letters (m, kernel) at each place: (kernel, 20), without what lies outside the sequence."""
    return np.stack([np.bincount(place, minlength=21)[1:].astype(float) for place in windows.T])
