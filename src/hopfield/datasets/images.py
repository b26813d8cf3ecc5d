"""Images and arrays from files, their black-and-white version, and ways to damage them.

An image is a matrix (h, w) of grey levels from -1 (black) to 1 (white); 0 is mid-grey.
"""

from __future__ import annotations

import gzip
import math
import tokenize
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise HopfieldError(f"limit must be an integer of at least 1, got {limit!r}")
    if size is not None and (len(size) != 2 or not all(isinstance(side, int) and side >= 1 for side in size)):
        raise HopfieldError(f"size must be (height, width), integers of at least 1, got {size!r}")
    if source is None or source == "digits":
        return _digits().load(limit, size, seed)
    path = Path(source).expanduser()
    try:
        if not path.exists():
            raise HopfieldError(f"no images at {path}: there is no such file or folder")
        parts = [part for part in ("train", "t10k") if _idx_file(path, f"{part}-images-idx3-ubyte")]
        found = _mnist(path, parts) if parts else _array(path) if path.suffix == ".npy" else _files(path)
        return found.load(limit, size, seed)
    except OSError as error:
        raise HopfieldError(f"cannot read {path}: {error.strerror or error}") from error


def load_array(path: str | Path) -> Tensor:
    """Numbers from a .npy file: patterns (N, d) or one vector (d,).

    float32 and float64 stay what they are; float16, integers and bool become float32, long doubles float64.

    Raises:
        HopfieldError: a missing or damaged file, one without the suffix .npy, entries that are no real numbers or not
            finite, Python objects (which are never unpickled), another number of dimensions, no patterns or no entries.
    """
    array = read_npy(Path(path).expanduser())
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
    """Images (*batch, h, w) with the sign of round(share h w) pixels turned, in each image chosen at random."""
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


@dataclass(frozen=True)
class _Source:
    """Images that can be read one by one: `grey(row)` is a matrix in [-1, 1]."""

    name: str
    text: str
    names: Sequence[str]
    grey: Callable[[int], np.ndarray]
    labels: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def load(self, limit: int | None, size: tuple[int, int] | None, seed: int) -> ImageSet:
        count, text, size = len(self.names), self.text, size or self.size
        rows = np.arange(count)
        if limit is not None and limit < count:
            rows = np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
            text += f", {limit} of {count} chosen at random (seed {seed})"
        if size is not None:
            text += f", at {size[0]} x {size[1]} pixels"
        images = torch.from_numpy(np.stack([_resize(self.grey(row), size) for row in rows.tolist()]))
        labels = None if self.labels is None else torch.from_numpy(self.labels[rows].astype(np.int64))
        return ImageSet(self.name, images, labels, text, tuple(self.names[row] for row in rows.tolist()))


def _resize(grey: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    grey = np.asarray(grey, dtype=np.float32)
    if size is not None and grey.shape != size:
        grey = np.asarray(_pillow().fromarray(grey).resize(size[::-1]))
    return grey.clip(-1, 1)  # interpolation may overshoot


def _digits() -> _Source:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise HopfieldError(_SKLEARN) from error
    data = load_digits()
    text = "8 x 8 images of handwritten digits from scikit-learn"
    return _Source("digits", text, _numbered(data.images), lambda row: data.images[row] / 8 - 1, data.target)


def _numbered(images: np.ndarray) -> list[str]:
    return [str(row) for row in range(len(images))]


def _files(path: Path) -> _Source:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if not files:
        raise HopfieldError(
            f"no image in {path}: expected files {', '.join(SUFFIXES)}, a .npy file or MNIST's idx files"
        )
    height, width = _read_image(files[0]).shape
    shrink = min(1.0, _LARGEST / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    names = [file.name for file in files]
    return _Source(path.stem, f"grey images from {path}", names, lambda row: _read_image(files[row]), size=size)


def _read_image(path: Path) -> np.ndarray:
    pillow = _pillow()
    from PIL import ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), pillow.open(path) as file:  # about tags no image needs
            image = ImageOps.exif_transpose(file)
            image.load()
    except (OSError, SyntaxError, ValueError, EOFError, pillow.DecompressionBombError) as error:
        reason = str(error).replace("\n", " ")
        raise HopfieldError(f"cannot read the image {path}, replace or remove it: {reason}") from error
    if image.mode == "F":
        raise HopfieldError(f"{path} holds floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    deep = image.mode.startswith("I")  # 16 bits, which Pillow would clip at 255
    grey = np.asarray(image if deep else image.convert("L"), dtype=np.float32)
    return grey / (32767.5 if deep else 127.5) - 1


def _array(path: Path) -> _Source:
    array = read_npy(path)
    if array.ndim != 3 or array.size == 0:
        raise HopfieldError(f"{path} must hold images (n, height, width), got shape {array.shape}; reshape it")
    low, high = array.min(), array.max()
    whole = array.dtype.kind in "iub"
    if whole and low >= 0 and high <= 255:
        scale = 127.5 if high > 1 else 0.5
        grey: Callable[[int], np.ndarray] = lambda row: array[row] / scale - 1  # noqa: E731  # the annotation cannot stand on a def
    elif low >= -1 and high <= 1:
        grey = array.__getitem__
    else:
        raise HopfieldError(f"{path}: grey levels must be integers 0 … 255 or lie in [-1, 1], got {low} … {high}")
    return _Source(path.stem, f"images from {path}", _numbered(array), grey)


def read_npy(path: Path) -> np.ndarray:
    """A real array, mapped into memory: a damaged header cannot make it large, and nothing is ever unpickled."""
    if path.suffix != ".npy":
        raise HopfieldError(f"{path} must be a .npy file, as numpy.save writes it")
    if not path.is_file():
        raise HopfieldError(f"no file at {path}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError, tokenize.TokenError, SyntaxError) as error:
        if "object" in str(error):
            raise HopfieldError(f"{path} holds Python objects, which are never unpickled; save numbers") from error
        raise HopfieldError(f"{path} is damaged, truncated or no .npy file: {error}") from error
    if array.dtype.kind not in "fiub":
        raise HopfieldError(f"{path} must hold real numbers, got {array.dtype}")
    return array


def _mnist(path: Path, parts: list[str]) -> _Source:
    images = [_read_idx(_idx_file(path, f"{part}-images-idx3-ubyte"), 3) for part in parts]
    files = [_idx_file(path, f"{part}-labels-idx1-ubyte") for part in parts]
    labels = np.concatenate([_read_idx(file, 1) for file in files]) if all(files) else None
    pixels = np.concatenate(images)
    if labels is not None and len(labels) != len(pixels):
        raise HopfieldError(f"{path} has {len(pixels)} images but {len(labels)} labels; fetch the files again")
    text = f"MNIST files ({' and '.join(parts)}) from {path}"
    return _Source(path.stem, text, _numbered(pixels), lambda row: pixels[row] / 127.5 - 1, labels)


def _idx_file(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _read_idx(path: Path | None, dims: int) -> np.ndarray:
    """Bytes in `dims` dimensions: big-endian words 0x800 + dims and the sizes, then the entries."""
    assert path is not None
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise HopfieldError(f"{path} is damaged or truncated, fetch it again: {error}") from error
    head = 4 + 4 * dims
    if len(data) < head or int.from_bytes(data[:4]) != 0x800 + dims:
        raise HopfieldError(f"{path} is no idx file of {dims} dimensions: it starts with 0x{data[:4].hex()}")
    shape = tuple(int(side) for side in np.frombuffer(data, ">u4", dims, 4))
    if math.prod(shape) != len(data) - head or 0 in shape:
        raise HopfieldError(f"{path} is damaged: it states sizes {shape}, but {len(data) - head} bytes follow")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
