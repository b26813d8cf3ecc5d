"""Does attention find the motif? The heaviest sequences, and how many of them had a motif implanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hopfield.datasets.repertoires import ALPHABET, Repertoires, decode


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


def heaviest(weights: Sequence[np.ndarray], repertoires: Repertoires, number: int) -> list[str]:
    """The sequences of the largest weights of all repertoires."""
    order = np.argsort(-np.concatenate(weights), kind="stable")[:number]
    return decode(repertoires.letters[torch.from_numpy(order)])


def consensus(counts: np.ndarray) -> str:
    """The commonest letter of each place, in lower case where it is less than half, "." where no letter is common."""
    letters = []
    for own in counts:
        share = own.max() / max(own.sum(), 1)
        letter = ALPHABET[int(own.argmax())]
        letters.append("." if share < 0.2 else letter if share >= 0.5 else letter.lower())
    return "".join(letters).strip(".")
