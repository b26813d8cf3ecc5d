"""Whether a tensor is still the one that was looked at."""

from __future__ import annotations

from torch import Tensor


class Mark:
    """A tensor, or none, as it is now; a copy of a mark, with the tensor, says the same of the tensor's copy.

    What is written through other names of the memory (`tensor.data[:]`, a numpy array) is not seen, nor what is written
    to a tensor that was made in inference mode.
    """

    def __init__(self, tensor: Tensor | None) -> None:
        self._tensor = tensor
        self._seen = _state(tensor)

    def still(self, tensor: Tensor | None) -> bool:
        """Whether this is that tensor, not written to since."""
        return tensor is self._tensor and _state(tensor) == self._seen

    @property
    def untouched(self) -> bool:
        """Whether it was not written to since."""
        return self.still(self._tensor)

    def __getstate__(self) -> tuple[Tensor | None, bool]:
        return self._tensor, self.untouched

    def __setstate__(self, state: tuple[Tensor | None, bool]) -> None:
        # copies lie elsewhere, and count from 0 what is written to them
        self._tensor, untouched = state
        self._seen = _state(self._tensor) if untouched else (-1, -1)


def _state(tensor: Tensor | None) -> tuple[int, int] | None:
    """What changes with a tensor."""
    if tensor is None:
        return None
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
