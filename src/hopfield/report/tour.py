"""The tour as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hopfield.experiments.essentials import essentials
from hopfield.report.images import betas, recovery, spurious
from hopfield.report.page import Page
from hopfield.report.patterns import error, networks, networks_on_images, trade

if TYPE_CHECKING:
    from hopfield.experiments.tour import Tour


def page(tour: Tour, command: str | None = None) -> Page:
    """The page of a tour. Every sentence is made from its numbers, so that it stays true for other images.

    Raises:
        HopfieldError: matplotlib is not installed.
    """
    origin = tour.origin
    machine = origin.machine
    default = f"hopfield {'reproduce retrieval' if origin.full else 'tour'} --seed {origin.seed}"
    size = f"{origin.images['height']} × {origin.images['width']}"
    threads = f"{machine['threads']} thread" + ("" if machine["threads"] == 1 else "s")
    return Page(
        title="What modern Hopfield networks remember" + (" (full size)" if origin.full else ""),
        lead=(
            "Patterns are stored, damaged, and recovered by a network whose update is one step of attention. "
            "All numbers were measured in one run. After Ramsauer et al., Hopfield Networks is All You Need, 2021, "
            "whose theorems and lemmas are meant where one is named."
        ),
        essentials=essentials(tour),
        sections=[
            recovery(tour),
            betas(tour),
            networks(tour),
            networks_on_images(tour),
            spurious(tour),
            error(tour),
            trade(tour),
        ],
        made=[
            ("Command", command or default),
            ("Images", f"{origin.images['count']:,} of {size} pixels: {origin.images['source']}"),
            ("Time", f"{origin.seconds:.0f} seconds for the experiments"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in origin.versions.items())),
            ("Machine", f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; torch on {threads}"),
        ],
    )
