"""Where the files of public data sets are: a folder of the user, or the cache, into which they are downloaded.

The folder is `data_dir`, else the environment variable HOPFIELD_DATA, else the cache of pooch. Only the cache is ever
written to, and what comes into it has the right checksum.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hopfield.errors import HopfieldError

VARIABLE = "HOPFIELD_DATA"
_ATTEMPTS = 3
_PAUSE = 1.0  # seconds after the first attempt; it grows with every further one


def find(
    relative: str,
    *,
    also: Sequence[str] = (),
    url: str | None = None,
    sha256: str | None = None,
    origin: str | None = None,
    data_dir: str | Path | None = None,
    download: bool = True,
) -> Path:
    """The path of one file of a data set.

    Args:
        relative: the file in the folder of all data, "mil/fox_100x100_matlab.mat"; that folder may also be the one of
            the file itself, so that "fox_100x100_matlab.mat" is looked for there, too.
        also: other names under which it is accepted, beside `relative`; the first that is there is taken.
        url: where it can be downloaded; None: nowhere.
        sha256: its checksum, without which nothing is downloaded. Files that are there already are not checked against
            it, but for the one in the cache that has the name of the download.
        origin: where people can get it, for errors; None: its name and `url`.
        data_dir: the folder of all data. None: the environment variable HOPFIELD_DATA, and without that the cache.
        download: whether a file that is missing in the cache is downloaded. No other folder is written to.

    Raises:
        HopfieldError: no such folder, no such file in it, a download that failed or has another checksum, pooch not
            installed where the cache is needed. The error says where to get the file and where to put it.
    """
    names = [str(Path(relative).with_name(Path(name).name)) for name in (relative, *also)]
    folder, asked = asked_for(data_dir)
    pooch: Any = None
    if folder is None:
        pooch = _pooch()
        folder = Path(pooch.os_cache("hopfield"))
    fetched = folder / relative
    place = folder if asked and folder.name == fetched.parent.name else fetched.parent
    get = f"get {origin or f'{fetched.name} from {url}'} and put it into {place}"
    checked = not asked and download and url is not None and sha256 is not None
    places = (path for name in names for path in (folder / name, folder / Path(name).name))
    found = next((path for path in places if path.is_file()), None)
    if found and not (checked and found == fetched):
        return found
    if not checked:
        looked = " or ".join(dict.fromkeys([*names, *(Path(name).name for name in names)]))
        why = f"of {asked}" if asked else "of downloads"
        allow = ", or allow the download (download=True)" if not asked and url and sha256 and not download else ""
        raise HopfieldError(f"there is no {looked} in the folder {folder} {why}; {get}{allow}")
    return _download(pooch, str(url), str(sha256), fetched, get)


def asked_for(data_dir: str | Path | None) -> tuple[Path | None, str]:
    """The folder that the user named, if any, and where it was named."""
    if data_dir is not None and not isinstance(data_dir, str | Path):
        raise HopfieldError(f"data_dir must be the path of a folder, got {data_dir!r}")
    asked, named = ("data_dir", data_dir) if data_dir is not None else (VARIABLE, os.environ.get(VARIABLE) or None)
    if named is None:
        return None, ""
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise HopfieldError(f"{asked} must be the folder with the data files, but there is no folder {folder}")
    return folder, asked


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise HopfieldError(
            'downloading data needs pooch, which is not installed: pip install "hopfield[learn]", '
            f"or name the folder with the files by data_dir or {VARIABLE}"
        ) from error
    return pooch


def _download(pooch: Any, url: str, sha256: str, path: Path, get: str) -> Path:
    """The file in the cache, downloaded unless it is there with the right checksum."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Path(pooch.retrieve(url, known_hash=f"sha256:{sha256}", fname=path.name, path=path.parent))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; pooch tells of checksums by ValueError
            if attempt < _ATTEMPTS:
                time.sleep(attempt * _PAUSE)
                continue
            reason = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, OSError):
                raise HopfieldError(f"cannot download {url}: {reason}; try again later, or {get}") from error
            raise HopfieldError(
                f"what {url} gives has not the checksum of the expected file, sha256 {sha256}: {reason}; try again "
                f"later, or {get}"
            ) from error
    raise AssertionError("the last attempt returns or raises")
