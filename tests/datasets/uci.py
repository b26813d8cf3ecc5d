"""Made-up sets in the form of the small tables of the UCI repository."""

import io

import numpy as np


def contents(n=8, seed=0):
    """The four files of a set."""
    rng = np.random.default_rng(seed)
    part = rng.integers(0, 3, (n, 4))
    part[:3] = np.arange(3)[:, None]  # none is empty
    return {
        "NAME_py.dat": rng.normal(size=(n, 3)),
        "labels_py.dat": np.arange(n) % 2,
        "folds_py.dat": (part == 0).astype(int),
        "validation_folds_py.dat": (part == 1).astype(int),
    }


def write(folder, name, files=None, **options):
    """A set in a folder of its name."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for file, array in (contents(**options) if files is None else files).items():
        buffer = io.StringIO()
        np.savetxt(buffer, array, delimiter=",", fmt="%.17g")
        (folder / name / file.replace("NAME", name)).write_text(buffer.getvalue())
