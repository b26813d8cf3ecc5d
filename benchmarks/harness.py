"""Timing side by side, peak memory in a fresh process, and tables."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def device() -> torch.device:
    """The accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def side_by_side(rivals: dict[str, Callable[[], Any]], rounds: int = 7) -> dict[str, float]:
    """Median seconds of each, measured in turns so that all of them meet the same disturbances."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for round_ in range(rounds + 1):
        for name, call in rivals.items():
            _synchronize()
            start = time.perf_counter()
            call()
            _synchronize()
            if round_:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak(prepare: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...], queue: Any) -> None:
    call = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far (Linux)
    before = _kilobytes("VmRSS")
    call()
    queue.put((_kilobytes("VmHWM") - before) / 1024)


def _allocated(call: Callable[[], Any]) -> float:
    """MiB, of the accelerator, which counts its memory itself."""
    call()  # libraries take their own memory on first use, and keep it
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _kilobytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))


def extra_memory(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> float:
    """MiB by which a call raises the peak once `prepare(*arguments)` made its inputs; in a fresh process if need be."""
    if device().type == "cuda":
        return _allocated(prepare(*arguments))
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # glibc then hands freed tensors back at once: the peak is exact
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_peak, args=(prepare, arguments, queue))
    process.start()
    result: float = queue.get()
    process.join()
    return result


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "accelerator": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(title: str, columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table under a heading."""
    lines = [f"## {title}", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""])


def write(name: str, numbers: dict[str, Any], tables: list[str], command: str = "make bench") -> None:
    """Print the tables and keep them, with the numbers and the machine, under benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    about = machine()
    name = f"{name}-{device().type}"
    described = "\n".join(f"- {key}: {value}" for key, value in about.items() if value is not None)
    text = "\n".join([f"# {name}", "", f"Made by `{command}`.", "", described, "", *tables])
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": about, **numbers}, indent=2) + "\n", encoding="utf-8")
    print(text)
    print(f"Kept in {RESULTS / name}.md and .json")
