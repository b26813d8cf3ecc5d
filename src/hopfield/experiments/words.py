"""Numbers in sentences, and sentences in lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float) -> str:
    """A share as "89.5 %"; 0 and 100 only where it is exactly that."""
    if share in {0, 1}:
        return f"{share:.0%}".replace("%", " %")
    if share > 0.9995:
        return "more than 99.9 %"
    if share < 0.0005:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %"


def number(value: float) -> str:
    """A number with three significant digits, large ones whole and with commas: 0.0152, 10.4, 1,785."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_RAISED)}".replace("-", "−")


def listed(parts: Iterable[str]) -> str:
    """The parts as "a, b and c"."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def filled(text: str, first: str = "") -> str:
    """A paragraph in lines of at most 120 letters, the first with something in front, the others as far in."""
    return textwrap.fill(text, 120, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
