"""A lookup layer in place of a hidden dense layer, on three tables; and a training set as a memory, in one line.

The same network for tables, once with a dense hidden layer and once with a `HopfieldLayer` whose stored patterns are
learned. Then `HopfieldLayer.from_patterns` keeps the training set itself, without any training: with the top k
patterns it is the k nearest neighbours of scikit-learn; with a softmax near patterns count more than far ones.
"""

import time

import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from common import Data, arguments, compare, report, summary
from hopfield import HopfieldLayer
from hopfield.separation import TopK

TABLES = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
WIDTH, K = 32, 5


def make_data(table: str, seed: int, most: int | None = None) -> Data:
    """Half of the rows for training, a quarter each for validation and test; scaled as the training rows are."""
    rows = TABLES[table]()
    torch.manual_seed(seed)
    order = torch.randperm(len(rows.target))[:most]
    inputs, targets = torch.tensor(rows.data, dtype=torch.float32)[order], torch.tensor(rows.target).long()[order]
    half, quarter = len(order) // 2, len(order) // 4
    spread, centre = torch.std_mean(inputs[:half], 0)
    inputs = (inputs - centre) / spread.clamp_min(1e-3)
    parts = slice(half), slice(half, half + quarter), slice(half + quarter, None)
    return Data(*((inputs[part], targets[part]) for part in parts))


def lookup(size: int, classes: int) -> nn.Module:
    """Two hidden layers; the second looks up 32 learned patterns."""
    layer = HopfieldLayer(WIDTH, patterns=32, heads=4)
    return nn.Sequential(nn.Linear(size, WIDTH), nn.ReLU(), layer, nn.Linear(WIDTH, classes))


def dense(size: int, classes: int) -> nn.Module:
    """Two hidden layers; the second is so wide that there are as many parameters as with the lookup."""
    count = sum(parameter.numel() for parameter in lookup(size, classes).parameters())
    hidden = round((count - (size + 1) * WIDTH - classes) / (WIDTH + 1 + classes))
    first, second = nn.Linear(size, WIDTH), nn.Linear(WIDTH, hidden)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(hidden, classes))


@torch.no_grad()
def memories(data: Data, classes: int) -> dict[str, float]:
    """The training set as a memory, against scikit-learn: test accuracies, and how often the first two agree."""
    (inputs, targets), (asked, answers) = data.train, data.test
    labels = F.one_hot(targets, classes).float()

    near = HopfieldLayer.from_patterns(inputs, labels, similarity="euclidean", separation=TopK(K), beta=1e-4)
    theirs = torch.from_numpy(KNeighborsClassifier(K).fit(inputs.numpy(), targets.numpy()).predict(asked.numpy()))
    soft = [HopfieldLayer.from_patterns(inputs, labels, similarity="euclidean", beta=b) for b in (0.1, 0.3, 1.0, 3.0)]
    chosen = max(soft, key=lambda memory: accuracy(memory(data.validation[0]), data.validation[1]))
    return {
        "from_patterns, top 5": accuracy(near(asked), answers),
        "scikit-learn, 5 neighbours": (theirs == answers).float().mean().item(),
        "agreement of these two": (near(asked).argmax(-1) == theirs).float().mean().item(),
        "from_patterns, softmax": accuracy(chosen(asked), answers),
    }


def accuracy(scores: torch.Tensor, answers: torch.Tensor) -> float:
    """The share of rows whose largest score is that of the answer."""
    return (scores.argmax(-1) == answers).float().mean().item()


def main(argv: list[str] | None = None) -> dict:
    """Run the comparison."""
    args, start = arguments(__doc__, argv, seeds=5), time.perf_counter()
    methods, neighbours = {}, {}
    for table, load in TABLES.items():
        rows = load()
        size, classes, most = rows.data.shape[1], len(rows.target_names), 300 if args.quick else None
        print(f"{table}: {len(rows.target)} rows of {size} numbers, {classes} classes")
        networks = {
            f"{table}: HopfieldLayer": lambda size=size, classes=classes: lookup(size, classes),
            f"{table}: dense layer": lambda size=size, classes=classes: dense(size, classes),
        }
        numbers, _, _ = compare(
            networks,
            lambda seed, table=table, most=most: make_data(table, seed, most),
            args.seeds,
            epochs=2 if args.quick else 40,
            batch=32,
        )
        methods |= numbers
        found = [memories(make_data(table, seed, most), classes) for seed in args.seeds]
        neighbours[table] = {name: summary([entry[name] for entry in found]) for name in found[0]}
        for name, entry in neighbours[table].items():
            print(f"        {name:<28} {entry['mean']:.3f}")
    baselines = [name for name in methods if "dense" in name]
    return report("in_place_of_dense", args, start, methods, baselines, neighbours=neighbours)


if __name__ == "__main__":
    main()
