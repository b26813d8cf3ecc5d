"""Repertoires from tables: one of all repertoires with their labels, and one of sequences for each repertoire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from hopfield.bags import Bags
from hopfield.datasets.repertoires.cache import Flat, Progress, identity, open_cache, write_cache
from hopfield.datasets.repertoires.parse import Parsed, Settings, parse
from hopfield.datasets.repertoires.repertoires import Repertoires
from hopfield.datasets.repertoires.table import find_files, find_labels, find_metadata, read_table
from hopfield.errors import HopfieldError


def load_repertoires(
    metadata: Path | str,
    repertoires: Path | str | None = None,
    *,
    label: str | None = None,
    id_column: str = "ID",
    sequence_column: str = "amino_acid",
    count_column: str | None = "templates",
    positive: str | None = None,
    unknown: str = "drop",
    cache: Path | str | None = None,
    jobs: int = 1,
    progress: Callable[[str, int, int], object] | None = None,
) -> Repertoires:
    """Immune repertoires from tables in DeepRC's format.

    There is a table of metadata, with a row for each repertoire, and for each repertoire a table of its sequences, one
    a line. Tables are parted by tabs, or by commas if their name ends in .csv; their first line names the columns,
    which come in any order, and columns not asked for are ignored. A field may stand in quotation marks, but in tables
    of sequences a separator within them is refused. Lines may end in LF or CR LF; blank lines are skipped.

    Args:
        metadata: the table of metadata.
        repertoires: the folder of the tables of sequences; None: `repertoires` beside the table of metadata, or if
            that is not there, the folder of the table.
        label: the column of metadata with the labels; None: without labels. The classes are the sorted labels.
        id_column: the column of metadata with the file name of each repertoire, with or without .tsv; the name
            without it becomes the repertoire's name.
        sequence_column: the column with sequences of amino acids, in upper or lower case.
        count_column: the column with the count of each sequence, a positive integer; None: 1 for each.
        positive: the label that becomes class 1, all others being class 0; None: one class for each label.
        unknown: what to do with sequences that are empty or have letters outside `ALPHABET`: "drop" leaves them out,
            whatever their count, and says how many in `dropped`; "error" refuses them.
        cache: a folder in which the parsed sequences are kept; from there they are mapped into memory, so that data
            larger than the memory can be used. The cache is made anew whenever sources or settings have changed, or it
            is damaged. None: parse every time, into memory.
        jobs: how many files to parse at the same time, in threads; -1: one for each core. More than one needs joblib.
        progress: called with what was done ("parse", "join", or "open" for the cache), and how many of how many.

    Returns:
        The repertoires in the order of the table, with its other columns as `metadata`. A repertoire without sequences
        is an empty bag.

    Raises:
        HopfieldError: missing files or columns, IDs that are missing or not different, missing labels, counts that are
            no positive integers, lines with another number of columns than the first; the message names file and line.
    """
    if unknown not in {"drop", "error"}:
        raise HopfieldError(f'unknown must be "drop" or "error", got {unknown!r}')
    if not isinstance(jobs, int) or jobs == 0:
        raise HopfieldError(f"jobs must be a number of threads, or -1 for one for each core, got {jobs!r}")
    report: Progress = progress or (lambda *_: None)
    table = read_table(Path(metadata))
    labels, classes = find_labels(table, label, positive)
    names, files = find_files(table, None if repertoires is None else Path(repertoires), id_column)
    settings = Settings(sequence_column, count_column, unknown)
    if cache is None:
        flat = _join(list(_parsed(files, settings, jobs, report)), report)
    else:
        flat = _cached(Path(cache), files, settings, jobs, report)
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(flat.sizes)]))
    return Repertoires(
        names=names,
        bags=Bags(torch.from_numpy(flat.rows), offsets),
        counts=torch.from_numpy(flat.counts),
        labels=labels,
        classes=classes,
        metadata=find_metadata(table, without={id_column, label}),
        dropped=flat.dropped,
    )


def _cached(folder: Path, files: list[Path], settings: Settings, jobs: int, report: Progress) -> Flat:
    wanted = identity(files, settings)
    flat = open_cache(folder, wanted)
    if flat is None:
        write_cache(folder, wanted, _parsed(files, settings, jobs, report), report)
        flat = open_cache(folder, wanted)
    if flat is None:
        raise HopfieldError(
            f"the cache {folder} was written, but what was read back is something else; is another process changing "
            "it, or the disk failing? Choose another folder"
        )
    report("open", 1, 1)
    return flat


def _parsed(files: list[Path], settings: Settings, jobs: int, report: Progress) -> Iterator[Parsed]:
    """The sequences of each file, in order."""
    found: Iterator[Parsed]
    if jobs == 1:
        found = (parse(file, settings) for file in files)
    else:
        try:
            from joblib import Parallel, delayed
        except ImportError as error:
            raise HopfieldError(
                'jobs other than 1 need joblib, which is not installed: pip install "hopfield[learn]"'
            ) from error
        # threads: nearly all of parsing is numpy at work on arrays, during which other threads may run
        workers = Parallel(n_jobs=jobs, prefer="threads", return_as="generator", pre_dispatch="n_jobs")
        found = workers(delayed(parse)(file, settings) for file in files)
    for i, one in enumerate(found):
        report("parse", i + 1, len(files))
        yield one


def _join(parsed: list[Parsed], report: Progress) -> Flat:
    sizes = np.array([len(one.rows) for one in parsed], np.int64)
    dropped = np.array([one.dropped for one in parsed], np.int64)
    rows = np.zeros((sizes.sum(), max(one.rows.shape[1] for one in parsed)), np.uint8)
    counts = np.concatenate([one.counts for one in parsed])
    n, B = 0, len(parsed)
    for i in range(B):
        one = parsed.pop(0)  # whose memory is free when it is copied
        rows[n : n + len(one.rows), : one.rows.shape[1]] = one.rows
        n += len(one.rows)
        report("join", i + 1, B)
    return Flat(rows, counts, sizes, dropped)
