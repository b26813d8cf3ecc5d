"""Where data comes from: files of the user, and data that ships with a library or is fetched with a checksum."""

from hopfield.datasets.images import load_array, load_images, save_image

__all__ = ["load_array", "load_images", "save_image"]
