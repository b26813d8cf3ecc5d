"""What a lookup in labelled rows is asked for: a class, several labels at once, or numbers.

Each kind says which values the memory holds for its rows, how a vote (the mean of values under the association weights)
is scored, and what it means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hopfield.errors import HopfieldError

# share of a vote that is spread evenly, so that no row costs an infinite loss
_FLOOR = 1e-3
# weight of rows below which nothing is known of a label
_NONE = 1e-30
# standard deviations beyond which single precision would lose the other numbers
_FAR = 1e6


class Targets(ABC):
    """A kind of answer. Values are (*batch, n, v), and votes are too."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of values v of a row."""

    @abstractmethod
    def values(self, y: np.ndarray) -> Tensor:
        """The values of rows with these answers, float32 (n, v)."""

    @abstractmethod
    def losses(self, votes: Tensor, values: Tensor) -> Tensor:
        """The loss of votes where these are the values: (*batch, n)."""

    @abstractmethod
    def answers(self, votes: Tensor) -> np.ndarray:
        """What people want to know of the votes (n, v): float64 probabilities (n, classes), or numbers."""

    def refitted(self, y: np.ndarray) -> Targets:  # noqa: ARG002  # for kinds that take something
        """The same kind, with what it takes from answers taken from these alone."""
        return self

    def decided(self, votes: Tensor) -> np.ndarray:
        """What is predicted by the votes (n, v): (n,), or (n, number)."""
        return self.answers(votes)

    def merged(self, other: Targets) -> tuple[Targets, Tensor]:
        """A kind for the answers of both, and which of its values those of this one are, (v,).

        Raises:
            HopfieldError: answers of different kinds.
        """
        if type(other) is not type(self) or other.size != self.size:
            raise HopfieldError("y must be answers of the kind that was learnt, as many for each row")
        return self, torch.arange(self.size)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything about it as JSON has it."""


class Classes(Targets):
    """One class of several: values are 1 for the class and 0 for all others, votes are probabilities.

    Args:
        classes: the class labels, sorted.
    """

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    @property
    def size(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def values(self, y: np.ndarray) -> Tensor:
        """Labels (n,), which may hold classes only, as (n, C)."""
        known = np.isin(y, self.classes)
        if not known.all():
            raise HopfieldError(
                f"labels must be of the classes {self.classes.tolist()[:20]}, got {np.asarray(y)[~known].tolist()[0]!r}"
            )
        return F.one_hot(torch.from_numpy(np.searchsorted(self.classes, y)), self.size).float()

    def losses(self, votes: Tensor, values: Tensor) -> Tensor:
        """-ln p of the class, where p are the votes but for a floor."""
        logarithms = (votes * (1 - _FLOOR) + _FLOOR / self.size).log()
        return -(values * logarithms).sum(-1)

    def answers(self, votes: Tensor) -> np.ndarray:
        """Probabilities (n, C)."""
        wide = votes.double().clamp_min(0)
        total = wide.sum(-1, keepdim=True)
        spread = torch.where(total > 0, wide / total, 1 / self.size)  # without votes: nothing is known
        probabilities: np.ndarray = spread.numpy()
        return probabilities

    def decided(self, votes: Tensor) -> np.ndarray:
        """The likeliest class, (n,)."""
        likeliest: np.ndarray = self.classes[self.answers(votes).argmax(1)]
        return likeliest

    def merged(self, other: Targets) -> tuple[Targets, Tensor]:
        """The classes of both."""
        new = other.classes if isinstance(other, Classes) else None
        if new is None or not self._alike(new):
            raise HopfieldError(
                f"y must be labels of the kind that was learnt, one for each row, such as {self.classes.tolist()[:5]}; "
                f"got {'several for each row' if new is None else new.tolist()[:5]}"
            )
        classes = np.union1d(self.classes, new if self.classes.dtype.kind in "US" else new.astype(self.classes.dtype))
        return Classes(classes), torch.from_numpy(np.searchsorted(classes, self.classes))

    def _alike(self, new: np.ndarray) -> bool:
        """Whether labels are strings if the classes are, and else numbers that their type can hold."""
        texts = self.classes.dtype.kind in "US"
        if (new.dtype.kind in "US") != texts:
            return False
        return texts or bool((new.astype(self.classes.dtype) == new).all())

    def describe(self) -> dict[str, Any]:
        """The classes."""
        return {"kind": "classes", "classes": self.classes.tolist()}


class Labels(Targets):
    """Several labels at once, each 0, 1 or unknown (NaN): the vote on each is one of the rows where it is known.

    The values of a row are its labels, 0 where unknown, and whether they are known: (n, 2 T).

    Args:
        count: number of labels T.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    def size(self) -> int:
        """Labels, and whether they are known."""
        return 2 * self.count

    def values(self, y: np.ndarray) -> Tensor:
        """Labels (n, T) and whether they are known, (n, 2 T)."""
        labels = torch.from_numpy(np.asarray(y, np.float32))
        known = ~labels.isnan()
        return torch.cat([labels.nan_to_num(nan=0.0), known.float()], -1)

    def losses(self, votes: Tensor, values: Tensor) -> Tensor:
        """The mean of the binary cross entropies of the labels that are known."""
        wanted, known = values.chunk(2, -1)
        share = self._share(votes) * (1 - _FLOOR) + _FLOOR / 2
        each = -(wanted * share.log() + (1 - wanted) * (1 - share).log()) * known
        return each.sum(-1) / known.sum(-1).clamp_min(1)

    @staticmethod
    def _share(votes: Tensor) -> Tensor:
        """The share of positive rows among those where a label is known; a half where there is none."""
        positive, known = votes.chunk(2, -1)
        there = known > _NONE
        # divided by 1 where there is none: a gradient through 0 / 0 would be NaN, though nothing uses it
        return torch.where(there, positive / torch.where(there, known, 1), 0.5).clamp(0, 1)

    def answers(self, votes: Tensor) -> np.ndarray:
        """The probability that a label is 1, (n, T)."""
        probabilities: np.ndarray = self._share(votes.double()).numpy()
        return probabilities

    def decided(self, votes: Tensor) -> np.ndarray:
        """1 for what is likelier than not, else 0: (n, T)."""
        return (self.answers(votes) > 0.5).astype(np.int64)

    def describe(self) -> dict[str, Any]:
        """Their number."""
        return {"kind": "labels", "count": self.count}


class Numbers(Targets):
    """One number or several: values are standardised, and votes are their means.

    Args:
        mean: of the numbers that are learnt from, (v,).
        scale: their standard deviation, (v,).
        single: whether answers are (n,) rather than (n, 1).
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray, single: bool) -> None:
        self.mean = mean
        self.scale = scale
        self.single = single

    @classmethod
    def of(cls, y: np.ndarray) -> Self:
        """Standardised as these, (n,) or (n, v)."""
        wide = y.reshape(len(y), -1).astype(np.float64)
        most = np.abs(wide).max(0)
        shrunk = wide / np.where(most > 0, most, 1)  # squares of numbers of any size
        scale = shrunk.std(0) * most
        return cls(shrunk.mean(0) * most, np.where(shrunk.std(0) > 1e-12, scale, 1.0), y.ndim == 1)

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return len(self.mean)

    def values(self, y: np.ndarray) -> Tensor:
        """Numbers (n,) or (n, v), standardised: (n, v)."""
        wide = np.asarray(y, np.float64).reshape(len(y), -1)
        standardised = (wide - self.mean) / self.scale
        if standardised.size and np.abs(standardised).max() > _FAR:
            raise HopfieldError(
                f"y must not be further than {_FAR:g} standard deviations from what was learnt, got "
                f"{wide[np.abs(standardised) > _FAR][0]:g}; learn anew with fit"
            )
        return torch.from_numpy(standardised).float()

    def losses(self, votes: Tensor, values: Tensor) -> Tensor:
        """The mean squared error."""
        return (votes - values).square().mean(-1)

    def answers(self, votes: Tensor) -> np.ndarray:
        """The numbers, (n,) or (n, v)."""
        wide: np.ndarray = votes.double().numpy() * self.scale + self.mean
        return wide[:, 0] if self.single else wide

    def refitted(self, y: np.ndarray) -> Targets:
        """Standardised as these."""
        return self.of(y)

    def describe(self) -> dict[str, Any]:
        """Mean and scale."""
        numbers = {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "single": self.single}
        return {"kind": "numbers"} | numbers


def targets_of(description: dict[str, Any]) -> Targets:
    """What `describe` described."""
    kind = description["kind"]
    if kind == "classes":
        return Classes(np.array(description["classes"]))
    if kind == "labels":
        return Labels(int(description["count"]))
    if kind == "numbers":
        return Numbers(np.array(description["mean"]), np.array(description["scale"]), bool(description["single"]))
    raise HopfieldError(f"there is no kind of answer {kind!r}")
