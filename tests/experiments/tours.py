"""A tour of a second or two, for the tests of the experiments, the pictures and the report."""

import functools

import torch

from hopfield.datasets.images import ImageSet
from hopfield.experiments.tour import Parameters, Tour, run

TINY: Parameters = {
    "recovery": {"stored": 12, "show": 4},
    "betas": {"stored": 12, "candidates": 4},
    "networks": {"size": 24, "most": 40, "points": 5, "draws": 1, "queries": 5, "asked": 10, "every": 6},
    "networks_on_images": {"side": 5, "flipped": 1, "most": 12, "points": 3, "draws": 1, "queries": 4, "asked": 8},
    "spurious": {"side": 5, "counts": (3, 5), "draws": 2, "starts": 8},
    "one_step_error": {"stored": 10, "sizes": (6, 12), "patterns": 4, "points": 4},
    "trade": {"size": 8, "strengths": (5.0, 40.0), "most": 40, "points": 3, "queries": 6, "limit": 50},
}


def blocks(count: int = 16, seed: int = 0) -> ImageSet:
    """Images of 8 x 6 pixels made of random blocks of grey."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 4, 3, generator=generator) * 2 - 1
    images = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return ImageSet("blocks", images, None, "made for <tests>", tuple(map(str, range(count))))


@functools.cache
def tiny(seed: int = 0) -> Tour:
    return run(blocks(), seed=seed, parameters=TINY)
