"""Run every benchmark: `python -m benchmarks`, or some of them by name."""

import argparse

from benchmarks import layers, lens, memory, retrieval, tables

BENCHMARKS = {
    "layers": layers.main,
    "lens": lens.main,
    "memory": memory.main,
    "retrieval": retrieval.main,
    "tables": tables.main,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure hopfield against its rivals.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which: {', '.join(BENCHMARKS)} (all by default)")
    chosen = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(chosen) - set(BENCHMARKS))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    for name in chosen:
        BENCHMARKS[name]()
