"""What the examples share: their command line, a training loop, a fair comparison of methods, and results as JSON."""

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import hopfield


class Data(NamedTuple):
    """Inputs (tensors or `hopfield.Bags`) with their classes, in three parts. Nothing is chosen by the test part."""

    train: tuple[Any, Tensor]
    validation: tuple[Any, Tensor]
    test: tuple[Any, Tensor]


def arguments(about: str, argv: Sequence[str] | None, seeds: int = 3, picture: bool = False) -> argparse.Namespace:
    """The command line that all examples have; `seeds` becomes the list of seeds to run."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument(
        "--seeds", type=int, default=seeds, help=f"how many seeds, one after the other (default {seeds})"
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds on little data: to see that it runs")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the result to FOLDER/NAME.json")
    if picture:
        parser.add_argument("--picture", type=Path, metavar="FILE", help="write a picture, such as bags.png")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {args.seeds}")
    args.seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    torch.set_num_threads(1)  # the models are small: threads would only wait for one another
    return args


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Any, targets: Tensor) -> tuple[float, float]:
    """Accuracy and negative cross-entropy: the larger, the better."""
    logits = model.eval()(inputs)
    return (logits.argmax(-1) == targets).float().mean().item(), -F.cross_entropy(logits, targets).item()


def fit(model: nn.Module, data: Data, rate: float, epochs: int, batch: int) -> tuple[tuple[float, float], int]:
    """Train with Adam, and go back to the epoch that was best on validation data: its score and number."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    inputs, targets = data.train
    best, best_epoch, state = (-1.0, 0.0), 0, {}
    for epoch in range(1, epochs + 1):
        model.train()
        for rows in torch.randperm(len(targets)).split(batch):
            loss = F.cross_entropy(model(inputs[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        score = evaluate(model, *data.validation)
        if score > best:
            best, best_epoch, state = score, epoch, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return best, best_epoch


def compare(
    methods: Mapping[str, Callable[[], nn.Module]],
    make_data: Callable[[int], Data],
    seeds: Sequence[int],
    *,
    epochs: int,
    batch: int = 64,
    rates: Sequence[float] = (3e-3, 1e-2, 3e-2),
) -> tuple[dict[str, dict[str, Any]], dict[str, nn.Module], Data]:
    """Every method on every seed's data, each at the learning rate that is best for it on validation data.

    Returns:
        The numbers of each method (its seconds are those of the processor, for all rates and seeds), the trained models
        of the last seed, and its data.
    """
    numbers: dict[str, dict[str, Any]] = {
        name: {"parameters": 0, "accuracy": [], "rates": [], "epochs": [], "seconds": 0.0} for name in methods
    }
    models: dict[str, nn.Module] = {}
    for seed in seeds:
        data = make_data(seed)
        if seed == seeds[0]:  # what torch sets up on first use shall not count for the first method
            for method in methods.values():
                fit(method(), data, rates[0], 1, batch)
        for name, method in methods.items():
            start, best = time.process_time(), (-1.0, 0.0)
            for rate in rates:
                torch.manual_seed(seed)
                model = method()
                torch.manual_seed(seed)  # so that all methods see the data in the same order
                score, epoch = fit(model, data, rate, epochs, batch)
                if score > best:
                    best, models[name], chosen, at = score, model, rate, epoch
            entry = numbers[name]
            entry["parameters"] = sum(parameter.numel() for parameter in model.parameters())
            entry["accuracy"].append(round(evaluate(models[name], *data.test)[0], 4))
            entry["rates"].append(chosen)
            entry["epochs"].append(at)
            entry["seconds"] = round(entry["seconds"] + time.process_time() - start, 1)
            print(f"seed {seed}  {name:<28} test accuracy {entry['accuracy'][-1]:.3f}  (rate {chosen:g}, epoch {at})")
    for entry in numbers.values():
        entry.update(summary(entry["accuracy"]))
    return numbers, models, data


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation over seeds."""
    return {"mean": round(mean(values), 4), "deviation": round(stdev(values), 4) if len(values) > 1 else None}


def report(
    name: str, args: argparse.Namespace, start: float, methods: dict[str, Any], baselines: Sequence[str], **more: Any
) -> dict[str, Any]:
    """Print the table, write the JSON if asked for, and return what it holds."""
    flags = f"--seed {args.seed}" + (f" --seeds {len(args.seeds)}" if not args.quick else " --quick")
    result = {
        "example": name,
        "command": f"python examples/{name}.py {flags}",
        "versions": {
            "hopfield": hopfield.__version__,
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        },
        "quick": args.quick,
        "seeds": args.seeds,
        "seconds": round(time.perf_counter() - start, 1),
        "baselines": list(baselines),
        "methods": methods,
        **more,
    }
    table = Table("method", "parameters", "test accuracy", "CPU seconds", title=name)
    for method, entry in methods.items():
        spread = "" if entry["deviation"] is None else f" ± {entry['deviation']:.3f}"
        table.add_row(method, f"{entry['parameters']:,}", f"{entry['mean']:.3f}{spread}", f"{entry['seconds']}")
    Console().print(table)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result
