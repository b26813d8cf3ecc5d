"""Immune repertoires: bags of receptor sequences with counts, each with a label."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from hopfield.bags import Bags
from hopfield.datasets.repertoires.sequences import BYTES, decode
from hopfield.errors import HopfieldError

_LINES = 1 << 16  # how many sequences are written at a time

Index = slice | Sequence[int] | Sequence[bool] | np.ndarray | Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Repertoires:
    """Repertoires of immune-receptor sequences: a bag of sequences with counts each, and a label. They never change.

    A slice, list or mask as index gives `Repertoires`: some of them, say the training set.

    Args:
        names: what each repertoire is called, B different names.
        bags: the sequences: instances uint8 (total, 1 + L), first the abundance level of the sequence (`abundance`),
            then the codes of its letters (`encode`). They may be memory-mapped.
        counts: how often each sequence was seen, int32 or int64 (total,), exactly. They may be memory-mapped.
        labels: the index of the class of each repertoire, int64 (B,); None: there are no labels.
        classes: the name of each label.
        metadata: further columns by name, an array (B,) each.
        dropped: how many sequences of each repertoire were left out while reading, int64 (B,); None: none.
        implanted: simulated data: whether a sequence had a motif written into it, bool (total,).
        motifs: simulated data: the motifs.

    Raises:
        HopfieldError: parts that do not fit together.
    """

    names: tuple[str, ...]
    bags: Bags
    counts: Tensor
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    metadata: Mapping[str, np.ndarray] = field(default_factory=dict)
    dropped: np.ndarray = None  # type: ignore[assignment]  # zeros take its place
    implanted: Tensor | None = None
    motifs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        B, instances = len(self.bags), self.bags.instances
        if self.dropped is None:
            object.__setattr__(self, "dropped", np.zeros(B, np.int64))
        if instances.dim() != 2 or instances.dtype != torch.uint8 or instances.shape[1] < 1:
            raise HopfieldError(
                "the instances of repertoires must be uint8 (total, 1 + L): the abundance level, then letters; "
                f"got shape {tuple(instances.shape)} of {instances.dtype}"
            )
        if len(set(self.names)) != B or len(self.names) != B:
            raise HopfieldError(f"names must be {B} different strings, one for each bag; got {len(self.names)}")
        if len(set(self.classes)) != len(self.classes):
            raise HopfieldError(f"classes must have different names, got {self.classes}")
        per_bag = {"labels": self.labels, "dropped": self.dropped, **self.metadata}
        per_sequence = {"counts": self.counts, "implanted": self.implanted}
        for name, values in per_bag.items():
            if values is not None and np.shape(values) != (B,):
                raise HopfieldError(f"{name} must have one entry for each of {B} repertoires, got {np.shape(values)}")
        for name, flat in per_sequence.items():
            if flat is not None and flat.shape != (self.bags.total,):
                raise HopfieldError(
                    f"{name} must have one entry for each of {self.bags.total} sequences, got {tuple(flat.shape)}"
                )
        if self.labels is not None and B and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise HopfieldError(
                f"labels must be 0 to {len(self.classes) - 1}, the positions of their names in classes; "
                f"got {self.labels.min()} to {self.labels.max()}"
            )

    @property
    def letters(self) -> Tensor:
        """The codes of the letters of all sequences, uint8 (total, L): a view of the instances."""
        return self.bags.instances[:, 1:]

    def __len__(self) -> int:
        return len(self.bags)

    def __repr__(self) -> str:
        sizes = self.bags.sizes
        least, most = (int(sizes.min()), int(sizes.max())) if len(self) else (0, 0)
        spread = f"{least}" if least == most else f"{least} to {most}"
        text = f"{len(self)} of {spread} sequences, {self.bags.total} in all"
        if self.labels is not None:
            shares = np.bincount(self.labels, minlength=len(self.classes))
            text += "; " + ", ".join(f"{n} {name}" for n, name in zip(shares[:9], self.classes[:9], strict=True))
            text += ", ..." if len(self.classes) > 9 else ""
        return f"Repertoires({text})"

    def __getitem__(self, index: Index) -> Repertoires:
        """Some of the repertoires: those of a slice, a list or array of positions, or a mask."""
        if not isinstance(index, slice | Sequence | np.ndarray | Tensor) or getattr(index, "ndim", 1) == 0:
            raise HopfieldError(
                f"the index of repertoires must be a slice, a list, or a mask, got {index!r}; "
                "use [i:i + 1] for one repertoire, bags[i] for its rows, sequences(i) for its sequences"
            )
        which = Bags(torch.arange(len(self)), torch.arange(len(self) + 1))[index].instances.numpy()

        def flat(values: Tensor) -> Tensor:
            return self.bags.with_instances(values)[index].instances

        return Repertoires(
            names=tuple(self.names[i] for i in which),
            bags=self.bags[index],
            counts=flat(self.counts),
            labels=None if self.labels is None else self.labels[which],
            classes=self.classes,
            metadata={name: values[which] for name, values in self.metadata.items()},
            dropped=self.dropped[which],
            implanted=None if self.implanted is None else flat(self.implanted),
            motifs=self.motifs,
        )

    def select(self, index: Index) -> Repertoires:
        """The same as indexing: some of the repertoires."""
        return self[index]

    def sequences(self, i: int) -> list[str]:
        """The sequences of repertoire i as strings."""
        return decode(self.bags[i][:, 1:])

    def write(
        self,
        folder: Path | str,
        *,
        label: str = "label",
        id_column: str = "ID",
        sequence_column: str = "amino_acid",
        count_column: str = "templates",
    ) -> Path:
        """Write tables in DeepRC's format: metadata.tsv, and repertoires/NAME.tsv for each; what is there is replaced.

        Each file is written whole or not at all, the metadata last. `load_repertoires` reads them.

        Args:
            folder: where to write; it is made if need be.
            label: what to call the column of labels.
            id_column: what to call the column of names.
            sequence_column: what to call the column of sequences.
            count_column: what to call the column of counts.

        Returns:
            The path of metadata.tsv.

        Raises:
            HopfieldError: a name that is no path inside the folder, columns of the same name, or a folder that cannot
                be written to.
        """
        folder = Path(folder)
        columns: dict[str, Sequence[object]] = {id_column: [f"{name}.tsv" for name in self.names]}
        if self.labels is not None:
            columns[label] = [self.classes[i] for i in self.labels]
        twice = ({id_column} & {label} if self.labels is not None else set()) | (columns.keys() & self.metadata.keys())
        if twice or sequence_column == count_column:
            raise HopfieldError(f"columns must have different names, got {sorted(twice) or sequence_column!r} twice")
        columns |= {name: values.tolist() for name, values in self.metadata.items()}
        for name in self.names:
            if PurePath(name).is_absolute() or ".." in PurePath(name).parts or not name or "\0" in name:
                raise HopfieldError(f"a repertoire's name must be a path inside the folder, got {name!r}; rename it")
        try:
            for i, name in enumerate(self.names):
                path = folder / "repertoires" / f"{name}.tsv"
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write_one(path, i, f"{sequence_column}\t{count_column}\n")
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / ".partial-metadata.tsv"
            with partial.open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, delimiter="\t", lineterminator="\n")
                table.writerow(columns)
                table.writerows(zip(*columns.values(), strict=True))
            return partial.replace(folder / "metadata.tsv")
        except OSError as error:
            raise HopfieldError(f"cannot write to {folder}: {error}") from error

    def _write_one(self, path: Path, i: int, header: str) -> None:
        rows, counts = self.bags[i].numpy(), self.bags.with_instances(self.counts)[i].numpy()
        if counts.min(initial=1) < 1:
            raise HopfieldError(f"counts must be at least 1, got {counts.min()} in {self.names[i]!r}")
        partial = path.with_name(f".partial-{path.name}")
        try:
            with partial.open("wb") as file:
                file.write(header.encode())
                for first in range(0, len(rows), _LINES):
                    file.write(_lines(rows[first : first + _LINES, 1:], counts[first : first + _LINES]))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _lines(letters: np.ndarray, counts: np.ndarray) -> bytes:
    """Letters (n, L) and counts (n,) as lines of text: bytes with holes of 0, which are then closed."""
    n, L = letters.shape
    digits = len(str(counts.max()))
    text = np.zeros((n, L + digits + 2), np.uint8)
    text[:, :L] = BYTES[letters]
    text[:, L] = ord("\t")
    rest = counts.astype(np.int64)
    for place in range(L + digits, L, -1):
        text[:, place] = np.where(rest > 0, ord("0") + rest % 10, 0)
        rest //= 10
    text[:, -1] = ord("\n")
    closed: bytes = text[text != 0].tobytes()
    return closed
