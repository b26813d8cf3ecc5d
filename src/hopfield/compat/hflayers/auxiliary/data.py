"""The original's toy data sets: the same arguments and, for the same seeds, the same numbers.

Unlike the original's, making one leaves the global random state of torch alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from hopfield.errors import HopfieldError


class BitPatternSet(Dataset[dict[str, Tensor]]):
    """Bags of random bit patterns; a bag is positive if one of a few secret patterns, the signals, is among them.

    Item i is {"data": (num_instances, num_bits), "target": ()}, both of `dtype`. The positive bags come first. No
    instance is all zero, and the only signals in the data are those that were planted.

    Args:
        num_bags: the number of bags.
        num_instances: the number of patterns in each bag.
        num_signals: the number of different signals, less than 2**num_bits - 1.
        num_signals_per_bag: how many signals are planted in each positive bag, at different places.
        fraction_targets: the fraction of positive bags, rounded up, above 0 and at most 1.
        num_bits: the size of each pattern.
        dtype: the data type of the items.
        seed_signals: the seed of the signals.
        seed_data: the seed of everything else.

    Raises:
        HopfieldError: an argument outside its range.
    """

    def __init__(
        self,
        num_bags: int,
        num_instances: int,
        num_signals: int,
        num_signals_per_bag: int = 1,
        fraction_targets: float = 0.5,
        num_bits: int = 8,
        dtype: torch.dtype = torch.float32,
        seed_signals: int = 43,
        seed_data: int = 44,
    ) -> None:
        super().__init__()
        _check_integer("num_bags", num_bags, 1)
        _check_integer("num_instances", num_instances, 1)
        _check_integer("num_signals", num_signals, 1)
        _check_integer("num_bits", num_bits, 1)
        _check_integer("num_signals_per_bag", num_signals_per_bag, 0)
        _check_integer("seed_signals", seed_signals)
        _check_integer("seed_data", seed_data)
        if num_signals_per_bag > num_instances:
            raise HopfieldError(
                f"num_signals_per_bag must be at most num_instances = {num_instances}, for each signal takes the place "
                f"of an instance; got {num_signals_per_bag}"
            )
        if (
            isinstance(fraction_targets, bool)
            or not isinstance(fraction_targets, int | float)
            or not 0 < fraction_targets <= 1
        ):
            raise HopfieldError(f"fraction_targets must be a number above 0 and at most 1, got {fraction_targets!r}")
        if num_signals >= 2**num_bits - 1:
            raise HopfieldError(
                f"num_signals must be less than 2**num_bits - 1 = {2**num_bits - 1}, the number of patterns that are "
                f"not all zero, so that some are no signals; got {num_signals}; use more bits or fewer signals"
            )
        self._num_signals_per_bag = num_signals_per_bag
        self._num_targets = min(num_bags, max(1, math.ceil(num_bags * fraction_targets)))
        self._dtype = dtype
        self._seed = seed_data
        self._signals = _draw_signals(num_signals, num_bits, _seeded(seed_signals))
        generator = _seeded(seed_data)
        self._bags = _draw_other_bags(num_bags, num_instances, self._signals, generator)
        _plant(self._bags[: self._num_targets], self._signals, num_signals_per_bag, generator)
        self._targets = (torch.arange(num_bags) < self._num_targets).long()

    def __len__(self) -> int:
        return len(self._bags)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"data": self._bags[index].to(self._dtype), "target": self._targets[index].to(self._dtype)}

    @property
    def num_bags(self) -> int:
        """The number of bags."""
        return self._bags.shape[0]

    @property
    def num_instances(self) -> int:
        """The number of patterns in each bag."""
        return self._bags.shape[1]

    @property
    def num_bits(self) -> int:
        """The size of each pattern."""
        return self._bags.shape[2]

    @property
    def num_targets_high(self) -> int:
        """The number of positive bags."""
        return self._num_targets

    @property
    def num_targets_low(self) -> int:
        """The number of negative bags."""
        return self.num_bags - self._num_targets

    @property
    def num_signals(self) -> int:
        """The number of different signals."""
        return self._signals.shape[0]

    @property
    def num_signals_per_bag(self) -> int:
        """How many signals are in each positive bag."""
        return self._num_signals_per_bag

    @property
    def initial_seed(self) -> int:
        """The seed of the data (the original means to return it, but raises AttributeError)."""
        return self._seed

    @property
    def bags(self) -> Tensor:
        """A copy of all patterns, (num_bags, num_instances, num_bits) int64."""
        return self._bags.clone()

    @property
    def targets(self) -> Tensor:
        """A copy of all targets, (num_bags,) int64."""
        return self._targets.clone()

    @property
    def signals(self) -> Tensor:
        """A copy of the signals, (num_signals, num_bits) int64."""
        return self._signals.clone()


class LatchSequenceSet(Dataset[dict[str, Tensor]]):
    """Sequences of characters whose first is 0 or 1, the target, and whose others, from 2 on, are noise.

    Item i is {"data": (num_instances, num_characters), "target": ()}, both of `dtype`, the characters one-hot.

    Args:
        num_samples: the number of sequences.
        num_instances: the length of each.
        num_characters: the number of different characters, at least 3.
        dtype: the data type of the items.
        seed: the seed of the sequences.

    Raises:
        HopfieldError: an argument outside its range.
    """

    def __init__(
        self,
        num_samples: int,
        num_instances: int = 20,
        num_characters: int = 6,
        dtype: torch.dtype = torch.float32,
        seed: int = 43,
    ) -> None:
        super().__init__()
        _check_integer("num_samples", num_samples, 1)
        _check_integer("num_instances", num_instances, 1)
        _check_integer("num_characters", num_characters, 3, ": two for the targets, and the rest for noise")
        _check_integer("seed", seed)
        self._num_characters = num_characters
        self._dtype = dtype
        self._seed = seed
        # the noise is drawn before the targets, as in the original: the order of the draws decides the numbers
        generator = _seeded(seed)
        self._characters = torch.randint(2, num_characters, (num_samples, num_instances), generator=generator)
        self._targets = torch.randint(0, 2, (num_samples,), generator=generator)
        self._characters[:, 0] = self._targets

    def __len__(self) -> int:
        return len(self._characters)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        data = F.one_hot(self._characters[index], self._num_characters)  # (num_instances, num_characters)
        return {"data": data.to(self._dtype), "target": self._targets[index].to(self._dtype)}

    @property
    def num_samples(self) -> int:
        """The number of sequences."""
        return self._characters.shape[0]

    @property
    def num_instances(self) -> int:
        """The length of each sequence."""
        return self._characters.shape[1]

    @property
    def num_characters(self) -> int:
        """The number of different characters."""
        return self._num_characters

    @property
    def initial_seed(self) -> int:
        """The seed of the sequences."""
        return self._seed

    @property
    def targets(self) -> Tensor:
        """A copy of all targets, (num_samples,) int64."""
        return self._targets.clone()


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _bits(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator)


def _draw_signals(count: int, bits: int, generator: torch.Generator) -> Tensor:
    """Different patterns, none of them all zero, (count, bits), in ascending order."""
    signals = torch.empty(0, bits, dtype=torch.int64)
    while (missing := count - len(signals)) > 0:
        signals = torch.cat([signals, _bits(missing, bits, generator=generator)]).unique(dim=0)
        signals = signals[signals.any(1)]
    return signals


def _draw_other_bags(bags: int, instances: int, signals: Tensor, generator: torch.Generator) -> Tensor:
    """Patterns that are neither all zero nor a signal, (bags, instances, bits)."""
    data = _bits(bags, instances, signals.shape[1], generator=generator)
    while True:
        wrong = ~data.any(2)  # (bags, instances)
        for signal in signals:
            wrong |= (data == signal).all(2)
        count = int(wrong.sum())
        if not count:
            return data
        data[wrong] = _bits(count, data.shape[2], generator=generator)


def _plant(bags: Tensor, signals: Tensor, count: int, generator: torch.Generator) -> None:
    """Put random signals at this many different random places of each bag (B, N, bits), in place."""
    for bag in bags:
        taken: set[int] = set()
        while len(taken) < count:
            place = int(torch.randint(0, len(bag), (1,), generator=generator))
            if place in taken:
                continue
            taken.add(place)
            bag[place] = signals[int(torch.randint(0, len(signals), (1,), generator=generator))]


def _check_integer(name: str, value: int, least: int | None = None, why: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        kind = "an integer" if least is None else f"an integer of at least {least}"
        raise HopfieldError(f"{name} must be {kind}{why}, got {value!r}")
