"""What one repertoire costs in training: time and memory of a forward and a backward pass, over its size."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from hopfield.datasets.repertoires import simulate_repertoires
from hopfield.estimators import HopfieldBagClassifier
from hopfield.experiments.record import recorded
from hopfield.progress import Progress

SIZES = (10_000, 50_000, 100_000, 200_000, 300_000, 400_000, 500_000)
SHARES = (0.1, 1.0)
_TIMES = 5


@dataclass(frozen=True)
class Cost:
    """Of one repertoire.

    Attributes:
        sequences: how many it has.
        share: of the sequences through which the gradient passes.
        seconds: of a forward and a backward pass on one thread, the median of five.
        gigabytes: the largest resident memory of the whole process, with Python, PyTorch and the data; 10^9 bytes.
    """

    sequences: int
    share: float
    seconds: float
    gigabytes: float


def measure(
    record: Path,
    sizes: Sequence[int] = SIZES,
    shares: Sequence[float] = SHARES,
    progress: Progress | None = None,
) -> list[Cost]:
    """Costs of all sizes and shares, each in a new process, one after the other; those in `record` are not measured."""
    known = {(found.sequences, found.share): found for found in recorded(record, Cost)}
    wanted = list(product(shares, sizes))
    for i, (share, size) in enumerate(wanted):
        if progress is not None:
            progress(f"cost of {size:,} sequences", i, len(wanted))
        if (size, share) not in known:
            known[size, share] = _alone(size, share)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(known[size, share])) + "\n")
    return [known[size, share] for share, size in wanted]


def _alone(size: int, share: float) -> Cost:
    """The cost in a process of its own, which leaves an interrupt to this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        main = threading.current_thread() is threading.main_thread()
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            future = pool.submit(cost, size, share)
        finally:
            if main:
                signal.signal(signal.SIGINT, handler)
        return future.result()


def cost(sequences: int, share: float) -> Cost:
    """The cost in this process; its memory is what the process has needed so far."""
    torch.set_num_threads(1)
    some = simulate_repertoires(4, 500, rate=0.1)
    model = HopfieldBagClassifier.for_sequences(top_share=share, epochs=1, random_state=0).fit(some.bags, some.labels)
    network = model.networks_[0].train()
    bags = simulate_repertoires(1, sequences).bags
    seconds = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        network(bags).square().sum().backward()
        seconds.append(time.perf_counter() - start)
    return Cost(sequences, share, round(statistics.median(seconds), 4), round(_peak() / 1e9, 4))


def _peak() -> int:
    """The largest resident memory of this process, in bytes."""
    try:  # not that of the process that started this one, as getrusage may say
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
