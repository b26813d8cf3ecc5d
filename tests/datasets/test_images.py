import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hopfield.datasets.images import (
    ImageSet,
    add_noise,
    binarise,
    flip_pixels,
    hide_lower_half,
    load_array,
    load_images,
    save_image,
)
from hopfield.errors import HopfieldError

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("sklearn.datasets")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(int(size).to_bytes(4) for size in array.shape)
    return (0x800 + array.ndim).to_bytes(4) + sizes + array.astype(np.uint8).tobytes()


def check(found: ImageSet, shape: tuple[int, ...]) -> None:
    assert found.images.shape == shape
    assert found.images.dtype == torch.float32
    assert -1 <= float(found.images.min()) <= float(found.images.max()) <= 1
    assert len(found.names) == shape[0]
    assert found.labels is None or (found.labels.dtype == torch.int64 and found.labels.shape == shape[:1])


@pytest.fixture
def folder(tmp_path):
    pixels = levels(3, 6, 4)
    for name, picture in zip(("b.png", "a.png", "c.tif"), pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._a.png").write_text("what a Mac leaves behind")
    return tmp_path, torch.from_numpy(pixels[[1, 0, 2]] / 127.5 - 1).float()


@pytest.fixture
def mnist(tmp_path):
    images, labels = levels(5, 3, 2), levels(5) % 10
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images[:3]))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels[:3])))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[3:])))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[3:]))
    return tmp_path, torch.from_numpy(images / 127.5 - 1).float(), torch.from_numpy(labels).long()


# ------------------------------------------------------------------------------------------------ where images are
@pytest.mark.parametrize("source", [None, "digits"])
def test_digits(source):
    found = load_images(source)
    check(found, (1797, 8, 8))
    assert found.labels is not None
    assert set(found.labels.tolist()) == set(range(10))
    assert (float(found.images.min()), float(found.images.max())) == (-1, 1)
    assert "scikit-learn" in found.source


def test_limit_chooses_at_random_and_repeatably():
    every, some = load_images(), load_images(limit=20, seed=1)
    check(some, (20, 8, 8))
    rows = [int(name) for name in some.names]
    assert rows == sorted(set(rows))
    assert torch.equal(some.images, every.images[rows])
    assert torch.equal(some.labels, every.labels[rows])
    assert "20 of 1797 chosen at random (seed 1)" in some.source
    assert load_images(limit=20, seed=1).names == some.names != load_images(limit=20, seed=2).names
    assert torch.equal(load_images(limit=5000).images, every.images)


def test_size_resizes_and_says_so():
    found = load_images(limit=3, size=(5, 9))
    check(found, (3, 5, 9))
    assert "at 5 x 9 pixels" in found.source


def test_folder_of_images(folder):
    path, pixels = folder
    found = load_images(path)
    check(found, (3, 6, 4))
    assert found.names == ("a.png", "b.png", "c.tif")
    torch.testing.assert_close(found.images, pixels)
    assert found.labels is None
    assert str(path) in found.source
    assert "at 6 x 4 pixels" in found.source
    torch.testing.assert_close(load_images(str(path / "b.png")).images, pixels[1:2])


def test_large_and_unequal_images_get_one_size(tmp_path):
    Image.fromarray(levels(100, 200)).save(tmp_path / "1.png")
    Image.fromarray(levels(30, 30)).save(tmp_path / "2.png")
    check(load_images(tmp_path), (2, 32, 64))
    check(load_images(tmp_path, size=(100, 200)), (2, 100, 200))


def test_colour_transparency_and_depth(tmp_path):
    Image.new("RGB", (2, 2), (255, 0, 0)).save(tmp_path / "1-red.png")
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "2-nothing.png")
    Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16)).save(tmp_path / "3-deep.png")
    red, nothing, deep = load_images(tmp_path).images
    torch.testing.assert_close(red, torch.full((2, 2), 76 / 127.5 - 1))
    assert bool((nothing == 1).all())
    assert bool((deep == 1).all())


def test_mnist_files(mnist):
    path, pixels, labels = mnist
    found = load_images(path)
    check(found, (5, 3, 2))
    torch.testing.assert_close(found.images, pixels)
    assert torch.equal(found.labels, labels)
    assert "train and t10k" in found.source
    (path / "t10k-labels-idx1-ubyte").unlink()
    assert load_images(path).labels is None
    (path / "train-images-idx3-ubyte").unlink()
    torch.testing.assert_close(load_images(path).images, pixels[3:])


def test_the_real_mnist(shared):
    path = shared / "data" / "mnist"
    if not path.is_dir():
        pytest.skip(f"no MNIST files at {path}")
    found = load_images(path, limit=100)
    check(found, (100, 28, 28))
    assert "of 70000" in found.source


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[[0, 255]]], dtype=np.uint8), [-1.0, 1.0]),
        (np.array([[[0, 51]]], dtype=np.int64), [-1.0, -0.6]),
        (np.array([[[0, 1]]]), [-1.0, 1.0]),
        (np.array([[[False, True]]]), [-1.0, 1.0]),
        (np.array([[[-1, 1]]]), [-1.0, 1.0]),
        (np.array([[[-0.5, 0.25]]]), [-0.5, 0.25]),
    ],
)
def test_array_of_images(tmp_path, array, expected):
    np.save(tmp_path / "images.npy", array)
    found = load_images(tmp_path / "images.npy")
    check(found, (1, 1, 2))
    torch.testing.assert_close(found.images.flatten(), torch.tensor(expected))


# ------------------------------------------------------------------------------------------------ refused images
def test_missing_and_empty_places_are_refused(tmp_path):
    with pytest.raises(HopfieldError, match=r"no images at .*nowhere: there is no such file or folder"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(HopfieldError, match=r"no image in .*: expected files \.png"):
        load_images(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(HopfieldError, match=r"no image in .*notes\.txt"):
        load_images(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit must be an integer of at least 1, got 0"),
        ({"limit": 2.5}, "limit must be"),
        ({"size": (8, 0)}, r"size must be \(height, width\)"),
        ({"size": (8,)}, "size must be"),
    ],
)
def test_limit_and_size_are_checked(arguments, message):
    with pytest.raises(HopfieldError, match=message):
        load_images(**arguments)


@pytest.mark.parametrize("damage", ["other", "truncated", "empty"])
def test_a_damaged_image_is_named(folder, damage):
    path, _ = folder
    whole = (path / "b.png").read_bytes()
    (path / "b.png").write_bytes({"other": b"no image at all", "truncated": whole[:-30], "empty": b""}[damage])
    with pytest.raises(HopfieldError, match=r"cannot read the image .*b\.png, replace or remove it: ") as error:
        load_images(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", idx(levels(3, 3, 2))[:-1], "is damaged: it states sizes .*, but 17 bytes follow"),
        ("train-images-idx3-ubyte", idx(levels(3, 3, 2)) + b"0", "but 19 bytes follow"),
        ("train-images-idx3-ubyte", idx(levels(3, 6)), "is no idx file of 3 dimensions: it starts with 0x00000802"),
        ("train-images-idx3-ubyte", b"\0\0", "is no idx file of 3 dimensions"),
        ("train-images-idx3-ubyte", idx(levels(0, 3, 2)), "is damaged"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(idx(levels(2, 3, 2)))[:-9], "is damaged or truncated"),
        ("t10k-images-idx3-ubyte.gz", idx(levels(2, 3, 2)), "is damaged or truncated"),
        ("t10k-labels-idx1-ubyte", idx(levels(4)), "has 5 images but 7 labels"),
        ("t10k-labels-idx1-ubyte", idx(levels(2))[:-1], r"t10k-labels-idx1-ubyte is damaged"),
    ],
)
def test_damaged_mnist_files_are_refused(mnist, name, content, message):
    path, _, _ = mnist
    (path / name).write_bytes(content)
    with pytest.raises(HopfieldError, match=message):
        load_images(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), r"must hold images \(n, height, width\), got shape \(3, 4\)"),
        (np.zeros((0, 4, 4)), "must hold images"),
        (np.full((1, 2, 2), 256), r"grey levels must be integers 0 … 255 or lie in \[-1, 1\], got 256 … 256"),
        (np.full((1, 2, 2), 1.5), "grey levels"),
        (np.full((1, 2, 2), np.nan), "grey levels"),
    ],
)
def test_other_arrays_are_no_images(tmp_path, array, message):
    np.save(tmp_path / "images.npy", array)
    with pytest.raises(HopfieldError, match=message):
        load_images(tmp_path / "images.npy")


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("sklearn.datasets", "digits", r'scikit-learn, which is not installed: pip install "hopfield\[demo\]"'),
        ("PIL", "folder", r'needs Pillow, which is not installed: pip install "hopfield\[demo\]"'),
    ],
)
def test_a_missing_library_is_named(folder, monkeypatch, module, source, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HopfieldError, match=message):
        load_images(source if source == "digits" else folder[0])


# ------------------------------------------------------------------------------------------------ arrays
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", torch.float32),
        ("float64", torch.float64),
        (">f8", torch.float64),
        ("longdouble", torch.float64),
        ("float16", torch.float32),
        ("int64", torch.float32),
        ("uint8", torch.float32),
        ("bool", torch.float32),
    ],
)
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_load_array_keeps_numbers(tmp_path, dtype, expected, shape):
    array = (levels(*shape) % 2).astype(dtype)
    np.save(tmp_path / "array.npy", array)
    found = load_array(str(tmp_path / "array.npy"))
    assert found.dtype == expected
    assert found.tolist() == array.tolist()
    found += 1  # a copy of its own: neither a view of the file nor read-only


class Unwelcome:
    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([Unwelcome()], dtype=object), "holds Python objects, which are never unpickled"),
        (np.array(["a"]), "must hold real numbers, got <U1"),
        (np.array([1j]), "must hold real numbers, got complex128"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "must hold real numbers"),
        (np.zeros((0, 3)), r"holds no patterns: its shape is \(0, 3\)"),
        (np.zeros((3, 0)), "holds no patterns"),
        (np.zeros(0), "holds no patterns"),
        (np.float64(1.0), r"patterns \(N, d\) or one vector \(d,\), got shape \(\)"),
        (np.zeros((1, 2, 3)), r"got shape \(1, 2, 3\)"),
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), "must be finite, but 2 of 4 entries are NaN or infinite"),
    ],
)
def test_load_array_refuses_what_is_no_pattern(tmp_path, monkeypatch, array, message):
    monkeypatch.chdir(tmp_path)
    np.save("array.npy", array, allow_pickle=True)
    with pytest.raises(HopfieldError, match=message) as error:
        load_array("array.npy")
    assert "array.npy" in str(error.value)
    assert not Path("unpickled").exists()


def test_load_array_refuses_damaged_and_other_files(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros((50, 4)))
    whole = (tmp_path / "array.npy").read_bytes()
    huge = whole.replace(b"(50, 4), }", b"(5000000000000, 4), }")[: len(whole)]
    for content in (whole[:300], whole[:40], whole[:4], b"", b"no array at all", huge):
        (tmp_path / "array.npy").write_bytes(content)
        with pytest.raises(HopfieldError, match=r"array\.npy is damaged, truncated or no \.npy file") as error:
            load_array(tmp_path / "array.npy")
        assert "\n" not in str(error.value)
    with pytest.raises(HopfieldError, match=r"no file at .*none\.npy"):
        load_array(tmp_path / "none.npy")
    with pytest.raises(HopfieldError, match=r"array\.txt must be a \.npy file, as numpy\.save writes it"):
        load_array(tmp_path / "array.txt")


# ------------------------------------------------------------------------------------------------ saving and damaging
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_save_image_round_trip(tmp_path, suffix):
    image = torch.from_numpy(levels(5, 7) / 127.5 - 1)
    save_image(tmp_path / f"image{suffix}", image)
    torch.testing.assert_close(load_images(tmp_path / f"image{suffix}").images[0], image.float())
    save_image(tmp_path / f"image{suffix}", image * 100)  # clipped
    assert set(load_images(tmp_path / f"image{suffix}").images.unique().tolist()) <= {-1.0, 1.0}


def test_save_image_refuses(tmp_path):
    with pytest.raises(HopfieldError, match=r"an image must be a finite matrix \(height, width\), got \(1, 2, 2\)"):
        save_image(tmp_path / "image.png", torch.zeros(1, 2, 2))
    with pytest.raises(HopfieldError, match="finite"):
        save_image(tmp_path / "image.png", torch.full((2, 2), torch.nan))
    with pytest.raises(HopfieldError, match=r"cannot tell the kind of image from .*image\.xyz"):
        save_image(tmp_path / "image.xyz", torch.zeros(2, 2))
    with pytest.raises(HopfieldError, match="cannot write the image"):
        save_image(tmp_path / "nowhere" / "image.png", torch.zeros(2, 2))


def test_binarise():
    images = torch.tensor([[-1.0, -0.1], [0.0, 0.1]])
    assert binarise(images).tolist() == [[-1, -1], [-1, 1]]
    assert torch.equal(binarise(binarise(images)), binarise(images))
    assert binarise(images.double()).dtype == torch.float64


@pytest.mark.parametrize("height", [4, 5])
def test_hide_lower_half(height):
    images = torch.rand(2, 3, height, 6) + 0.1
    hidden = hide_lower_half(images)
    assert torch.equal(hidden[..., :2, :], images[..., :2, :])
    assert bool((hidden[..., 2:, :] == 0).all())
    assert bool((images > 0).all())  # the input is as it was


def test_add_noise():
    images = torch.zeros(50, 20, 20, dtype=torch.float64)
    noisy = add_noise(images, 0.5, seeded())
    assert float(noisy.std()) == pytest.approx(0.5, rel=0.05)
    assert noisy.dtype == torch.float64
    assert torch.equal(noisy, add_noise(images, 0.5, seeded()))
    assert torch.equal(add_noise(images, 0.0), images)
    for std in (-1.0, float("nan"), float("inf")):
        with pytest.raises(HopfieldError, match="standard deviation of noise must be at least 0 and finite"):
            add_noise(images, std)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 1.0])
def test_flip_pixels_turns_exactly_that_share_of_each_image(share):
    images = torch.rand(7, 5, 8) + 0.1
    flipped = flip_pixels(images, share, seeded())
    assert torch.equal(flipped.abs(), images)
    assert (flipped < 0).flatten(1).sum(1).tolist() == [round(share * 40)] * 7
    assert torch.equal(flipped, flip_pixels(images, share, seeded()))


def test_flip_pixels_chooses_for_each_image_and_checks_the_share():
    flipped = flip_pixels(torch.ones(2, 20, 20), 0.5, seeded())
    assert not torch.equal(flipped[0], flipped[1])
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(HopfieldError, match=r"share of pixels to flip must lie in \[0, 1\]"):
            flip_pixels(torch.ones(2, 2), share)
