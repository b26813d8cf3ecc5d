"""Where numbers come from: versions and machine, so that they can be had again."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch


def versions() -> dict[str, str]:
    """Versions of Python, hopfield, torch and numpy."""
    from hopfield.__about__ import __version__

    found = {"hopfield": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    return found | {"numpy": metadata.version("numpy")}


def machine(threads: int | None = None) -> dict[str, str | int]:
    """Name of the processor, number of cores, operating system, and the threads that torch computes with."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads() if threads is None else threads,
    }


def made_by(*, seed: int, seconds: float) -> str:
    """Versions, machine, seed and time in a sentence.

    Args:
        seed: of everything random.
        seconds: of one core, in all.
    """
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    computer = machine(1)
    return (
        f"{named}; {computer['processor']}, {computer['cores']} cores; seed {seed}; {seconds / 60:.1f} minutes of one "
        "core in all."
    )


def _processor() -> str:
    """Python alone does not know the name on Linux."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
