"""What the heaviest sequences have in common."""

import numpy as np

from hopfield.datasets.repertoires import simulate_repertoires
from hopfield.experiments.repertoires import motifs


def test_precision_is_the_share_of_implanted_sequences_among_the_heaviest():
    data = simulate_repertoires(4, 50, rate=0.1, seed=1)
    truth = [own.double().numpy() for own in data.bags.with_instances(data.implanted)]
    assert motifs.precision(truth, data) == 1
    assert motifs.precision([1 - own for own in truth], data) == 0
    half = [own.copy() for own in truth]
    for own in half:
        own[np.flatnonzero(own)[:3]] = -1  # of five
    chosen = motifs.precision(half, data)
    assert 0.4 <= chosen < 1


def test_the_heaviest_of_all_repertoires_in_order():
    data = simulate_repertoires(2, 3, seed=2)
    weights = [np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.1, 0.8])]
    assert motifs.heaviest(weights, data, 2) == [data.sequences(1)[2], data.sequences(0)[1]]


def test_the_consensus():
    counts = np.zeros((5, 20))
    counts[0, 0] = counts[1, 0] = 10
    counts[1, 1] = 15  # 60 % C
    counts[2] = 1  # nothing
    counts[3, 2], counts[3, 3:] = 8, 1  # 32 % D
    assert motifs.consensus(counts) == "AC.d"
