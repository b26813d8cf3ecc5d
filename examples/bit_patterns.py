"""Bags of bit patterns: is one of eight secret patterns in the bag?

A bag holds 24 random patterns of 8 bits. It is positive if one of them is a signal; which patterns are signals is not
said. Hopfield pooling reads the bag and is compared with mean and max pooling over the same embedding of instances,
once with 400 bags to learn from and once with 1000.
"""

import time

from torch import Tensor, nn

import hopfield
from common import Data, arguments, compare, report
from hopfield.compat.hflayers.auxiliary.data import BitPatternSet

BITS = 8


class Classifier(nn.Module):
    """Embed every instance, pool the bag, classify the result."""

    def __init__(self, pooling: nn.Module, width: int, size: int = 16) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(BITS, width), nn.ReLU(), nn.Linear(width, size))
        self.pooling = pooling
        self.classify = nn.Linear(size, 2)

    def forward(self, bags: Tensor) -> Tensor:
        """(B, N, 8) -> (B, 2)."""
        return self.classify(self.pooling(self.embed(bags)))


class HopfieldPool(nn.Module):
    """Four heads, each with its own idea of what to look for."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.pooling = hopfield.HopfieldPooling(size, heads=4)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, N, d) -> (B, d)."""
        return self.pooling(rows).squeeze(1)


class Reduce(nn.Module):
    """The mean or the maximum over the bag."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, rows: Tensor) -> Tensor:
        """(B, N, d) -> (B, d)."""
        return rows.mean(1) if self.how == "mean" else rows.amax(1)


METHODS = {
    "Hopfield pooling": lambda: Classifier(HopfieldPool(), width=32),
    "mean pooling": lambda: Classifier(Reduce("mean"), width=80),  # wider, so that it has as many parameters
    "max pooling": lambda: Classifier(Reduce("max"), width=80),
}


def make_part(count: int, signals: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bags (count, 24, 8) and whether they hold a signal (count,); `signals` is the seed of the signals."""
    bags = BitPatternSet(count, 24, num_signals=8, num_bits=BITS, seed_signals=signals, seed_data=seed)
    return bags.bags.float(), bags.targets


def main(argv: list[str] | None = None) -> dict:
    """Run the comparison."""
    args, start = arguments(__doc__, argv, seeds=5), time.perf_counter()
    trained, others = ((200,), (100, 100)) if args.quick else ((400, 1000), (400, 1000))
    results = {}
    for count in trained:

        def make_data(seed: int, count: int = count) -> Data:  # the signals are the same in all parts, the bags are not
            return Data(*(make_part(bags, seed, 1000 * seed + part) for part, bags in enumerate((count, *others))))

        numbers, _, _ = compare(METHODS, make_data, args.seeds, epochs=2 if args.quick else 60)
        results |= {f"{count} bags: {name}": entry for name, entry in numbers.items()}
    baselines = [name for name in results if "Hopfield" not in name]
    return report("bit_patterns", args, start, results, baselines, trained_on=trained, validation_and_test=others)


if __name__ == "__main__":
    main()
