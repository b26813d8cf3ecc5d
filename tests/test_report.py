import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hopfield import report
from hopfield.errors import HopfieldError
from hopfield.report import Page, Picture, Section, Table
from tests.experiments.tours import tiny

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps what is of interest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(tiny(), path)
    return path


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert "url(" not in html
    reader = read(html)
    assert {"script", "link", "iframe", "object"}.isdisjoint(tag for tag, _ in reader.tags)
    sources = [attrs["src"] for _, attrs in reader.tags if "src" in attrs]
    assert len(sources) == 9
    assert all(source is not None and source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert not [attrs for _, attrs in reader.tags if "href" in attrs]


def test_the_page_fits_a_phone_and_a_dark_room(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert '<meta charset="utf-8">' in html
    assert "prefers-color-scheme: dark" in html
    assert "max-width: 46rem" in html
    assert re.search(r"figure img \{[^}]*max-width: 100%", html)


def test_every_picture_has_words(written: Path) -> None:
    reader = read(written.read_text(encoding="utf-8"))
    pictures = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert all(attrs.get("alt") for attrs in pictures)
    assert sum(tag == "figcaption" for tag, _ in reader.tags) == len(pictures)


def test_the_page_says_what_was_done_and_how_it_was_made(written: Path) -> None:
    text = " ".join(read(written.read_text(encoding="utf-8")).text).replace("\u00a0", " ")
    assert "hopfield tour --seed 0" in text
    assert tiny().origin.versions["torch"] in text
    assert "made for <tests>" in text  # escaped in the file, as it was in the text
    for damage in tiny().recovery.damages:
        assert damage.label in text
    assert "nan" not in re.findall(r"[a-z]+", text.lower())
    assert not re.search(r"\{[a-z_.]+\}|None|Traceback", text)


def test_text_is_escaped_everywhere(tmp_path: Path) -> None:
    evil = '<script>alert("1 & 2")</script>'
    page = Page(
        title=evil,
        lead=evil,
        essentials=[evil],
        sections=[Section(evil, [evil], evil, [Picture(b"x", evil, evil)], Table([evil], [[evil]]))],
        made=[(evil, evil)],
    )
    html = report.render(page)
    reader = read(html)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert sum(text.count(evil) for text in reader.text) == 12  # the title twice, and every other place but alt
    assert [attrs["alt"] for tag, attrs in reader.tags if tag == "img"] == [evil]


def test_sections_alone_make_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    report.write([Section("One", ["First."]), Section("Two", [], table=Table(["a"], [["b"]]))], path, title="Both")
    reader = read(path.read_text(encoding="utf-8"))
    assert [tag for tag, _ in reader.tags if tag in {"h1", "h2"}] == ["h1", "h2", "h2"]
    assert "Both" in reader.text
    assert "ul" not in {tag for tag, _ in reader.tags}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(HopfieldError if isinstance(error, OSError) else KeyboardInterrupt):
        report.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_written_whole_with_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    report.write_bytes(path, b"{}")
    plain = tmp_path / "plain"
    plain.touch()
    assert path.read_bytes() == b"{}"
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(HopfieldError, match=r"cannot write .*: No such file or directory"):
        report.write_bytes(tmp_path / "missing" / "report.html", b"")
