"""Images and arrays from files, their black-and-white version, and ways to damage them.

An image is a matrix (h, w) of grey levels from -1 (black) to 1 (white); 0 is mid-grey.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hopfield.errors import HopfieldError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_LARGEST = 64  # pixels a side, of image files for which no size is asked
_PILLOW = 'reading and writing images needs Pillow, which is not installed: pip install "hopfield[demo]"'
_SKLEARN = (
    'the digits ship inside scikit-learn, which is not installed: pip install "hopfield[demo]", or choose other images'
)
_Choose = Callable[[int], np.ndarray]  # row numbers, from how many there are


@dataclass(frozen=True)
class ImageSet:
    """Images of one size.

    Attributes:
        name: short, for titles.
        images: float32 (n, height, width) in [-1, 1].
        labels: int64 (n,), or None.
        source: where they come from and what was done to them, for people.
        names: what each image is called: the name of its file, or its row number.
    """

    name: str
    images: Tensor
    labels: Tensor | None
    source: str
    names: tuple[str, ...] = ()


def load_images(
    source: str | Path | None = None, *, limit: int | None = None, size: tuple[int, int] | None = None, seed: int = 0
) -> ImageSet:
    """Images from wherever they are.

    Args:
        source: None or "digits": the 1797 digits of 8 x 8 pixels inside scikit-learn (a folder of that name is
            "./digits"). A folder with MNIST's idx files (train-images-idx3-ubyte, t10k-…, or both, gzipped or not). A
            folder of image files, or one of them: turned upright, on white where transparent, made grey. A .npy file
            (n, height, width): integers 0 … 255, or 0 and 1 alone for black and white, else numbers in [-1, 1].
        limit: keep at most this many, chosen at random, in their old order.
        size: (height, width) to resize to. None: as they are; image files to the size of the first by name, shrunk to
            64 pixels a side at most.
        seed: of the choice.

    Returns:
        An `ImageSet` of at least one image; its `source` tells of resizing and choice.

    Raises:
        HopfieldError: a missing path, no images in it, a file that is damaged or of another kind, an array that holds
            no images or Python objects (which are never unpickled), limit or size below 1, a missing library.
    """
    for name, numbers in (("limit", (1 if limit is None else limit,)), ("size", size or (1, 1))):
        if not all(isinstance(number, int) and number >= 1 for number in numbers):
            raise HopfieldError(f"{name} must be of integers of at least 1, got {limit if name == 'limit' else size}")
    choose = partial(_choose, limit, seed)
    if source is None or source == "digits":
        return _digits(choose, size)
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            parts = [part for part in ("train", "t10k") if _idx_file(path, f"{part}-images-idx3-ubyte")]
            return _mnist(path, parts, choose, size) if parts else _files(path, choose, size)
        if not path.exists():
            raise HopfieldError(f"no images at {path}: there is no such file or folder")
        return _array(path, choose, size) if path.suffix == ".npy" else _files(path, choose, size)
    except OSError as error:
        raise HopfieldError(f"cannot read {path}: {error.strerror or error}") from error


def load_array(path: str | Path) -> Tensor:
    """Numbers from a .npy file: patterns (N, d) or one vector (d,).

    float32 and float64 stay what they are; float16, integers and bool become float32, long doubles float64.

    Raises:
        HopfieldError: a missing or damaged file, one without the suffix .npy, entries that are no real numbers or not
            finite, Python objects (which are never unpickled), another number of dimensions, no patterns or no entries.
    """
    array = _read_npy(Path(path).expanduser())
    if array.ndim not in {1, 2}:
        raise HopfieldError(f"{path} must hold patterns (N, d) or one vector (d,), got shape {array.shape}")
    if array.size == 0:
        raise HopfieldError(f"{path} holds no patterns: its shape is {array.shape}")
    double = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    values = torch.from_numpy(np.array(array, dtype=np.float64 if double else np.float32))
    if wrong := int((~values.isfinite()).sum()):
        raise HopfieldError(f"{path} must be finite, but {wrong} of {array.size} entries are NaN or infinite")
    return values


def save_image(path: str | Path, image: Tensor) -> None:
    """Write an image (h, w) as grey levels; values outside [-1, 1] are clipped. The suffix of the path says how.

    Raises:
        HopfieldError: an image that is not (h, w) or not finite, an unknown suffix, or a file that cannot be written.
    """
    if image.dim() != 2 or image.numel() == 0 or not bool(image.isfinite().all()):
        raise HopfieldError(f"an image must be a finite matrix (height, width), got {tuple(image.shape)}")
    if Path(path).suffix.lower() not in SUFFIXES:
        raise HopfieldError(f"cannot tell the kind of image from {path}; choose one of {', '.join(SUFFIXES)}")
    grey = ((image.detach().cpu().double().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    try:
        _pillow().fromarray(grey.numpy()).save(path)
    except OSError as error:
        raise HopfieldError(f"cannot write the image {path}: {error.strerror or error}") from error


def binarise(images: Tensor) -> Tensor:
    """Black and white: 1 where a pixel is lighter than mid-grey, else -1; mid-grey itself is -1. Any shape.

    The threshold is the same for all images, so that what a pixel becomes does not depend on the others.
    """
    return torch.where(images > 0, 1.0, -1.0).to(images.dtype)


def hide_lower_half(images: Tensor) -> Tensor:
    """Images (*batch, h, w) with the rows from h // 2 on in mid-grey, 0."""
    hidden = images.clone()
    hidden[..., images.shape[-2] // 2 :, :] = 0
    return hidden


def add_noise(images: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Images of any shape with Gaussian noise of standard deviation `std` on every pixel, which may leave [-1, 1]."""
    if not 0 <= std < math.inf:
        raise HopfieldError(f"the standard deviation of noise must be at least 0 and finite, got {std}")
    return images + std * _random(torch.randn, images, generator)


def flip_pixels(images: Tensor, share: float, generator: torch.Generator | None = None) -> Tensor:
    """Images (*batch, h, w) with the sign of a share of the pixels turned: in each, round(share h w) chosen at random."""
    if not 0 <= share <= 1:
        raise HopfieldError(f"the share of pixels to flip must lie in [0, 1], got {share}")
    pixels = images.flatten(-2)
    ranks = _random(torch.rand, pixels, generator).argsort(-1).argsort(-1)
    return torch.where(ranks < round(share * pixels.shape[-1]), -pixels, pixels).reshape(images.shape)


def _random(draw: Callable[..., Tensor], like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    return draw(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise HopfieldError(_PILLOW) from error
    return Image


def _choose(limit: int | None, seed: int, count: int) -> np.ndarray:
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _image_set(
    name: str,
    source: str,
    grey: Iterable[np.ndarray],
    names: Iterable[str],
    labels: np.ndarray | None,
    size: tuple[int, int] | None,
    chosen: str,
) -> ImageSet:
