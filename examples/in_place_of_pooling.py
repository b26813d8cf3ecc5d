"""Hopfield pooling in place of global average pooling, at the end of a small convolutional network.

Two convolutions turn an image of a digit (8 x 8) into 64 vectors, one for each place. Something has to make one vector
of them: their mean, their maximum, all of them side by side in a dense layer, or Hopfield pooling. Its projections cost
parameters; without them, three learned states look at the vectors as they are, and the convolution may be wider.
"""

import time

import torch
from torch import Tensor, nn

import hopfield
from common import Data, arguments, compare, report
from hopfield.datasets import load_images
from hopfield.nn import LearnedBeta


class Network(nn.Module):
    """Two convolutions, pooling over all places, a dense layer to the ten classes."""

    def __init__(self, pooling: nn.Module, width: int, pooled: int | None = None) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, width, 3, padding=1), nn.ReLU()
        )
        self.pooling, self.classify = pooling, nn.Linear(pooled or width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 8, 8) -> (B, 10)."""
        places = self.features(images.unsqueeze(1)).flatten(2).transpose(1, 2)  # (B, 64, width)
        return self.classify(self.pooling(places).flatten(1))


class Reduce(nn.Module):
    """The mean or the maximum over all places."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, places: Tensor) -> Tensor:
        """(B, N, d) -> (B, d)."""
        return places.mean(1) if self.how == "mean" else places.amax(1)


METHODS = {
    "Hopfield pooling": lambda: Network(hopfield.HopfieldPooling(16, heads=4), 16),
    "Hopfield pooling, no projections": lambda: Network(
        hopfield.HopfieldPooling(21, states=3, project=(), beta=LearnedBeta(1.0)), 21, 3 * 21
    ),
    "global average pooling": lambda: Network(Reduce("mean"), 29),  # wider: as many parameters
    "global maximum pooling": lambda: Network(Reduce("max"), 29),
    "all places, dense": lambda: Network(nn.Identity(), 3, 3 * 64),
}


def main(argv: list[str] | None = None) -> dict:
    """Run the comparison."""
    args, start = arguments(__doc__, argv, seeds=5), time.perf_counter()
    digits = load_images()  # the digits of scikit-learn
    cuts = (300, 500, 700) if args.quick else (700, 1000, 1797)

    def make_data(seed: int) -> Data:
        torch.manual_seed(seed)
        order = torch.randperm(len(digits.images))
        parts = order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] : cuts[2]]
        return Data(*((digits.images[rows], digits.labels[rows]) for rows in parts))

    numbers, _, _ = compare(METHODS, make_data, args.seeds, epochs=2 if args.quick else 30)
    return report("in_place_of_pooling", args, start, numbers, list(METHODS)[2:], ends_of_parts=cuts)


if __name__ == "__main__":
    main()
