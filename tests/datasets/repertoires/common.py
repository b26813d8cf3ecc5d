"""Tables of repertoires to read."""

from pathlib import Path

import numpy as np

from hopfield.datasets import Repertoires


def tables(folder: Path, metadata: str, **repertoires: str | bytes) -> Path:
    """Write a table of metadata and tables of sequences; lines are parted by |, columns by spaces."""
    (folder / "repertoires").mkdir(parents=True, exist_ok=True)
    for name, text in repertoires.items():
        content = text if isinstance(text, bytes) else lines(text)
        (folder / "repertoires" / f"{name}.tsv").write_bytes(content)
    path = folder / "metadata.tsv"
    path.write_bytes(lines(metadata))
    return path


def lines(text: str) -> bytes:
    return "".join(f"{line}\n" for line in text.replace(" ", "\t").split("|")).encode()


def assert_same(found: Repertoires, expected: Repertoires) -> None:
    assert found.names == expected.names
    assert found.bags.instances.equal(expected.bags.instances)
    assert found.bags.offsets.equal(expected.bags.offsets)
    assert found.counts.equal(expected.counts)
    assert found.counts.dtype == expected.counts.dtype
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.dropped, expected.dropped)
    assert found.metadata.keys() == expected.metadata.keys()
