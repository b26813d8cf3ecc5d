"""Hopfield pooling in place of an LSTM: the first of many characters decides the class.

A sequence begins with the character 0 or 1, its class, and goes on with noise from four other characters. An LSTM must
carry the first character through all steps to its last state; Hopfield pooling looks at all positions at once. Mean
pooling is there too, for the task is easy without order: 0 and 1 occur nowhere else.
"""

import time

from torch import Tensor, nn
from torch.utils.data import DataLoader

import hopfield
from common import Data, arguments, compare, report
from hopfield.compat.hflayers.auxiliary.data import LatchSequenceSet

CHARACTERS = 6


class LastState(nn.Module):
    """The last hidden state of an LSTM, with the forget gate open at first, as is the custom for long sequences."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(CHARACTERS, size, batch_first=True)
        nn.init.constant_(self.lstm.bias_ih_l0[size : 2 * size], 1.0)

    def forward(self, sequences: Tensor) -> Tensor:
        """(B, L, 6) -> (B, size)."""
        return self.lstm(sequences)[0][:, -1]


class HopfieldPool(nn.Module):
    """One learned state reads the whole sequence."""

    def __init__(self, size: int, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(CHARACTERS, size)
        self.pooling = hopfield.HopfieldPooling(size, heads=heads)

    def forward(self, sequences: Tensor) -> Tensor:
        """(B, L, 6) -> (B, size)."""
        return self.pooling(self.embed(sequences)).squeeze(1)


class MeanPool(nn.Module):
    """The mean over the sequence of a small network's outputs."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(CHARACTERS, width), nn.ReLU(), nn.Linear(width, size))

    def forward(self, sequences: Tensor) -> Tensor:
        """(B, L, 6) -> (B, size)."""
        return self.embed(sequences).mean(1)


METHODS = {
    "Hopfield pooling": lambda: nn.Sequential(HopfieldPool(16), nn.Linear(16, 2)),
    "LSTM, last state": lambda: nn.Sequential(LastState(14), nn.Linear(14, 2)),
    "mean pooling": lambda: nn.Sequential(MeanPool(54, 16), nn.Linear(16, 2)),
}


def make_part(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Sequences (count, length, 6), one-hot, and their classes (count,)."""
    samples = LatchSequenceSet(count, length, CHARACTERS, seed=seed)
    batch = next(iter(DataLoader(samples, batch_size=count)))
    return batch["data"], batch["target"].long()


def main(argv: list[str] | None = None) -> dict:
    """Run the comparison."""
    args, start = arguments(__doc__, argv), time.perf_counter()
    sizes, lengths = ((200, 100, 100), (20,)) if args.quick else ((500, 250, 1000), (50, 200))
    results = {}
    for length in lengths:

        def make_data(seed: int, length: int = length) -> Data:
            return Data(*(make_part(count, length, 1000 * seed + part) for part, count in enumerate(sizes)))

        numbers, _, _ = compare(METHODS, make_data, args.seeds, epochs=2 if args.quick else 30)
        results |= {f"length {length}: {name}": entry for name, entry in numbers.items()}
    baselines = [name for name in results if "Hopfield" not in name]
    return report("latch_sequence", args, start, results, baselines, sequences=sizes, lengths=lengths)


if __name__ == "__main__":
    main()
