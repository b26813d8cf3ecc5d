"""Reports: self-contained HTML pages, readable on a phone, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hopfield.report.page import Page, Picture, Section, Table, render, write_bytes

if TYPE_CHECKING:
    from hopfield.experiments.tour import Tour

__all__ = ["Page", "Picture", "Section", "Table", "render", "write", "write_bytes"]


def write(
    content: Page | Tour | Sequence[Section],
    path: str | os.PathLike[str],
    *,
    title: str = "Report",
    command: str | None = None,
) -> None:
    """Write a page, a tour, or some sections as one HTML file.

    Args:
        content: what to write; a tour becomes a page with its figures and sentences.
        path: the file.
        title: heading of a page made of sections alone.
        command: the command line that ran a tour, to be shown at the end of its page.

    Raises:
        HopfieldError: the file cannot be written; matplotlib is not installed (for a tour).
    """
    if isinstance(content, Sequence):
        content = Page(title=title, lead="", sections=content)
    if not isinstance(content, Page):
        from hopfield.report.tour import page

        content = page(content, command)
    write_bytes(path, render(content).encode())
