"""A self-contained page: text, tables and figures in one HTML file that needs no network.

It needs no script, either: tables that can be sorted bring one of a few lines, without which they are tables.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from hopfield.errors import HopfieldError

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #5a5a5a; --page: #ffffff; --line: #dcdcdc; --tint: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #a8a8a8; --page: #16181b; --line: #3a3d42; --tint: #212429; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 46rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 .5rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
p { margin: .7rem 0; }
.lead { color: var(--soft); }
.essentials { background: var(--tint); border-radius: .5rem; padding: .8rem 1rem .8rem 2.1rem; margin: 1.2rem 0; }
.essentials li { margin: .35rem 0; }
.formula { background: var(--tint); border-radius: .5rem; padding: .6rem .9rem;
  font-family: "DejaVu Serif", Georgia, serif; }
figure { margin: 1.2rem auto; max-width: 34rem; }
figure img { display: block; width: 100%; max-width: 100%; height: auto; background: #ffffff; border-radius: .5rem; }
figure.wide { max-width: none; overflow-x: auto; }
figure.wide img { min-width: 36rem; }
figcaption { color: var(--soft); font-size: .875rem; margin-top: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .35rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.sorts { font-size: .8rem; }
.sorts td, .sorts th { white-space: nowrap; }
.sorts thead th { cursor: pointer; }
.sorts thead th[aria-sort=ascending]::after { content: " ▴"; }
.sorts thead th[aria-sort=descending]::after { content: " ▾"; }
.facts td { text-align: left; }
.facts td:first-child { color: var(--soft); white-space: nowrap; }
"""
_SORT = """
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, place) => {
    head.tabIndex = 0;
    head.title = "sort";
    head.onclick = () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const of = row => row.cells[place].textContent;
      const compare = (a, b) => isNaN(parseFloat(a)) || isNaN(parseFloat(b))
        ? a.localeCompare(b, "en", { numeric: true }) : parseFloat(a) - parseFloat(b);
      body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * compare(of(a), of(b))));
    };
    head.onkeydown = event => { if (event.key === "Enter") head.onclick(); };
  });
}
"""


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        png: the file's bytes.
        alt: what it shows, for those who do not see it.
        caption: what stands below it.
        wide: whether it takes the width of the page, and can be moved sideways where that is narrow.
    """

    png: bytes
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table: names of the columns, and rows of as many cells; the first column is aligned to the left.

    Attributes:
        header: names of the columns.
        rows: the cells.
        sortable: whether a click on a name sorts the rows.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    sortable: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        paragraphs: plain text, escaped when written.
        formula: the formula that matters, as text; none if empty.
        figures: the pictures.
        table: a table below the text.
    """

    title: str
    paragraphs: Sequence[str]
    formula: str = ""
    figures: Sequence[Picture] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: its heading.
        lead: one or two sentences below it.
        essentials: the list at the top.
        sections: the parts.
        made: how it was made, pairs of a name and a text, shown at the end.
    """

    title: str
    lead: str
    essentials: Sequence[str] = ()
    sections: Sequence[Section] = ()
    made: Sequence[tuple[str, str]] = field(default=())


def render(page: Page) -> str:
    """The page as HTML."""
    items = "".join(f"<li>{_text(line)}</li>\n" for line in page.essentials)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(page.title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="lead">{_text(page.lead)}</p>',
        f'<ul class="essentials">\n{items}</ul>' if items else "",
        *(_section(section) for section in page.sections),
        _made(page.made) if page.made else "",
        f"<script>{_SORT}</script>" if any(s.table is not None and s.table.sortable for s in page.sections) else "",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    """Escaped, and without breaks between a number and its sign or unit."""
    return escape(text).replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0").replace(" M²", "\u00a0M²")


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{_text(section.title)}</h2>"]
    parts += [f"<p>{_text(paragraph)}</p>" for paragraph in section.paragraphs]
    if section.formula:
        parts.append(f'<p class="formula">{_text(section.formula)}</p>')
    parts += [_figure(figure) for figure in section.figures]
    if section.table is not None:
        parts.append(_table(section.table))
    return "\n".join([*parts, "</section>"])


def _figure(figure: Picture) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    kind = ' class="wide"' if figure.wide else ""
    return (
        f'<figure{kind}>\n<img src="data:image/png;base64,{data}" alt="{escape(figure.alt)}">\n'
        f"<figcaption>{_text(figure.caption)}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    header = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in table.header)
    rows = "\n".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    kind = ' class="sorts"' if table.sortable else ""
    head = f"<thead><tr>{header}</tr></thead>"
    return f'<div class="scroll"><table{kind}>\n{head}\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _made(made: Sequence[tuple[str, str]]) -> str:
    rows = "\n".join(f"<tr><td>{escape(name)}</td><td>{_text(text)}</td></tr>" for name, text in made)
    return f'<section>\n<h2>How this was made</h2>\n<table class="facts"><tbody>\n{rows}\n</tbody></table>\n</section>'


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all: an older file stays as it was if anything goes wrong, Ctrl-C included.

    Raises:
        HopfieldError: the file cannot be written.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise HopfieldError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
