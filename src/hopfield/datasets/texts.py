"""Plain texts to train small language models on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hopfield.datasets.folder import find
from hopfield.errors import HopfieldError

_GITHUB = "https://raw.githubusercontent.com/"
_WIKITEXT = _GITHUB + "pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/"


@dataclass(frozen=True)
class _Known:
    """Where a text is, and the checksum of its file."""

    url: str
    sha256: str


_TEXTS = {
    "tinyshakespeare": _Known(
        _GITHUB + "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    "wikitext2_valid": _Known(
        _WIKITEXT + "valid.txt", "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"
    ),
    "wikitext2_test": _Known(
        _WIKITEXT + "test.txt", "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"
    ),
}
TEXTS = tuple(_TEXTS)


def load_text(name: str, *, data_dir: str | Path | None = None, download: bool = True) -> str:
    """A text: tinyshakespeare (1.1 MB of plays), wikitext2_valid or wikitext2_test (1.1 and 1.3 MB of Wikipedia).

    WikiText-2 (Merity et al. 2016) comes in words: rare ones are `<unk>`, headings stand between signs of equality.

    Args:
        name: of the text.
        data_dir: the folder of all data, with the file text/NAME.txt, or that of the file. None: HOPFIELD_DATA, and
            without that a cache.
        download: whether a text that is missing in the cache is downloaded.

    Raises:
        HopfieldError: an unknown name, a file that is missing or not UTF-8, a download that failed.
    """
    if name not in _TEXTS:
        raise HopfieldError(f"unknown text {name!r}; expected one of {', '.join(TEXTS)}")
    known = _TEXTS[name]
    path = find(f"text/{name}.txt", url=known.url, sha256=known.sha256, data_dir=data_dir, download=download)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HopfieldError(f"cannot read {path} as UTF-8: {error}") from error
