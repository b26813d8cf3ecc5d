"""The protocol: train a model and record its heads, then put averages in the place of some of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from hopfield.errors import HopfieldError
from hopfield.experiments.heads.training import (
    MODELS,
    Setting,
    Texts,
    batches,
    build,
    evaluate,
    fit,
    smoothed,
    watch,
)
from hopfield.experiments.record import recorded, run_tasks
from hopfield.lens import Head, HeadLens, HeadReport, LayerReading, replace_heads
from hopfield.progress import Progress

#: Steps of training of each model, a quarter of an hour on a core.
STEPS = 4000
#: Steps in which Gaussians that were put in place of heads learn, and nothing else does.
TUNING = 200
#: Probabilities whose quantiles of k/N stand for its distribution.
QUANTILES = tuple(i / 20 for i in range(21))


@dataclass(frozen=True)
class Outcome:
    """One model: its training, its heads over time, and what became of it when heads were replaced.

    Attributes:
        model: encoder or decoder.
        seed: of everything random.
        settings: digest of the settings and texts.
        steps: of training.
        seconds: processor time of one core.
        parameters: of the model.
        layers: their number.
        heads: of each layer.
        moments: steps after which the heads were looked at.
        losses: mean training loss of up to 50 steps before each moment; the first is that of the first step.
        k: median of k, for each moment, layer and head.
        quantiles: of k/N over rows with N of at least 32, the same, those of `QUANTILES`.
        frobenius: median norm of the softmax Jacobian, for each moment, layer and head.
        spectral: the same in the spectral norm.
        names: what was replaced.
        which: the heads of each replacement, as "layer.head layer.head".
        test_losses: loss on the test text after each replacement.
        accuracies: share of right guesses on the test text.
        new: parameters that came with each replacement.
        idle: parameters that it made idle.
    """

    model: str
    seed: int
    settings: str
    steps: int
    seconds: float
    parameters: int
    layers: int
    heads: int
    moments: tuple[int, ...]
    losses: tuple[float, ...]
    k: tuple[float, ...]
    quantiles: tuple[float, ...]
    frobenius: tuple[float, ...]
    spectral: tuple[float, ...]
    names: tuple[str, ...]
    which: tuple[str, ...]
    test_losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    new: tuple[int, ...]
    idle: tuple[int, ...]

    def over_time(self, values: Sequence[float]) -> torch.Tensor:
        """Flat numbers as (moments, layers, heads)."""
        return torch.tensor(values, dtype=torch.float64).view(len(self.moments), self.layers, self.heads)

    @property
    def distributions(self) -> torch.Tensor:
        """The quantiles of k/N, (moments, layers, heads, 21)."""
        shape = (len(self.moments), self.layers, self.heads, len(QUANTILES))
        return torch.tensor(self.quantiles, dtype=torch.float64).view(shape)

    @property
    def shares(self) -> torch.Tensor:
        """Median of k/N over rows that count for the class, (moments, layers, heads)."""
        return self.distributions[..., len(QUANTILES) // 2]


def run(
    models: Sequence[str] = MODELS,
    *,
    data_dir: str | Path | None = None,
    record: Path,
    setting: Setting | None = None,
    steps: int = STEPS,
    seed: int = 0,
    jobs: int = 2,
    backend: str = "loky",
    progress: Progress | None = None,
) -> list[Outcome]:
    """Train the models, each in a process of its own; a model that is in the record is not trained again.

    Args:
        models: encoder, decoder.
        data_dir: the folder of the texts.
        record: a file with one line of JSON per model.
        setting: sizes; default those of the experiment.
        steps: of training.
        seed: of everything random.
        jobs: how many processes work.
        backend: of joblib: "loky" on this machine, "dask" or "ray" on a cluster that exists.
        progress: called after every model.

    Raises:
        HopfieldError: unknown models or none, a text that is missing, too few steps, transformers not installed.
    """
    if not models or set(models) - set(MODELS):
        raise HopfieldError(f"models must be from {', '.join(MODELS)}; got {', '.join(models) or 'none'}")
    if steps < 1:
        raise HopfieldError(f"steps must be at least 1, got {steps}")
    if find_spec("transformers") is None:
        raise HopfieldError('the experiment needs transformers: pip install "hopfield[lens]"')
    setting = setting or Setting()
    texts = Texts.load(data_dir)
    settings = setting.digest(texts, steps)
    known = [o for o in recorded(record, Outcome) if (o.seed, o.settings) == (seed, settings) and o.model in models]
    done = list({outcome.model: outcome for outcome in known}.values())
    missing = [model for model in dict.fromkeys(models) if model not in {outcome.model for outcome in done}]
    tasks = [(examine, (model, texts, setting, steps, seed)) for model in missing]
    done += run_tasks(tasks, record, jobs=jobs, backend=backend, progress=progress, before=len(done))
    return sorted(done, key=lambda outcome: MODELS.index(outcome.model))


def examine(kind: str, texts: Texts, setting: Setting, steps: int, seed: int) -> list[Outcome]:
    """Train one model and replace some of its heads."""
    torch.set_num_threads(1)  # processes share the cores
    begin = time.process_time()
    torch.manual_seed(seed)
    model = build(kind, setting)
    history = watch(model, kind, texts.training, setting, steps, seed + 1)
    losses: list[float] = []

    def after(step: int, loss: float) -> None:
        losses.append(loss)
        history(step)

    history(0)
    fit(model, kind, texts.training, setting, steps, seed + 2, after)
    means = smoothed(losses, 50)
    moments = [moment.report.layers for moment in history.moments]
    steps_seen = tuple(history.steps)
    replaced = list(replacements(model, kind, texts, setting, seed + 3))
    outcome = Outcome(
        model=kind,
        seed=seed,
        settings=setting.digest(texts, steps),
        steps=steps,
        seconds=round(time.process_time() - begin, 1),
        parameters=sum(p.numel() for p in model.parameters()),
        layers=setting.layers,
        heads=setting.heads,
        moments=steps_seen,
        losses=tuple(round(means[max(step - 1, 0)], 5) for step in steps_seen),
        k=_flat(layer.of("k").median(0).values for m in moments for layer in m),
        quantiles=_flat(_shares(layer, m.report.least) for m in history.moments for layer in m.report.layers),
        frobenius=_flat(layer.of("frobenius").median(0).values for m in moments for layer in m),
        spectral=_flat(layer.of("spectral").median(0).values for m in moments for layer in m),
        names=tuple(r.name for r in replaced),
        which=tuple(r.which for r in replaced),
        test_losses=tuple(r.loss for r in replaced),
        accuracies=tuple(r.accuracy for r in replaced),
        new=tuple(r.new for r in replaced),
        idle=tuple(r.idle for r in replaced),
    )
    return [outcome]


@dataclass(frozen=True)
class _Replaced:
    name: str
    which: str
    loss: float
    accuracy: float
    new: int
    idle: int


def replacements(model: nn.Module, kind: str, texts: Texts, setting: Setting, seed: int) -> Iterator[_Replaced]:
    """The model as it is, and with averages in place of heads that average and of as many that do not."""

    def score(name: str, heads: Sequence[Head], new: int, idle: int) -> _Replaced:
        found = evaluate(model, kind, texts.testing, setting, setting.tests, seed)
        numbers = [layer.name for layer in report.layers]
        which = " ".join(f"{numbers.index(head.layer)}.{head.head}" for head in heads)
        return _Replaced(name, which, round(found.loss, 5), round(found.accuracy, 5), new, idle)

    report = look(model, kind, texts, setting, seed)
    yield score("as trained", (), 0, 0)
    for place, heads in chosen(report).items():
        for with_ in ("uniform", "gaussian"):
            with replace_heads(model, heads, with_=with_, length=setting.length, freeze_others=True) as replaced:
                if with_ == "gaussian":
                    fit(model, kind, texts.training, setting, TUNING, seed)
                yield score(f"{place}, {with_}", heads, replaced.new_parameters, replaced.idle_parameters or 0)


def look(model: nn.Module, kind: str, texts: Texts, setting: Setting, seed: int) -> HeadReport:
    """The heads on training text."""
    source = batches(kind, texts.training, setting, torch.Generator().manual_seed(seed), setting.probes)
    model.eval()
    with torch.no_grad(), HeadLens(model, rows=setting.rows, settled=0, seed=seed) as lens:
        model(input_ids=next(source)["input_ids"])
    model.train()
    return lens.report()


def chosen(report: HeadReport) -> dict[str, list[Head]]:
    """Heads to replace: those of the first half of the layers that average most, and as many of the last layers.

    Of the first half all of class I, or the one with the largest k/N if there are none; of the last as many of class
    II and III, the last layers first.
    """
    half = len(report.layers) // 2
    first = report.find("I", range(half)) or sorted(report.find(layers=range(half)), key=lambda h: -h.share)[:1]
    last = [h for n in reversed(range(half, len(report.layers))) for h in report.find(("II", "III"), [n])]
    number = min(len(first), len(last)) or 1
    first = sorted(first, key=lambda head: -head.share)[:number]
    rest = [h for h in reversed(report.find(layers=range(half, len(report.layers)))) if h not in last]
    return {"averaging heads of the first layers": first, "metastable heads of the last layers": (last + rest)[:number]}


def _shares(layer: LayerReading, least: int) -> torch.Tensor:
    """Quantiles of k/N of every head over the rows that count for its class, (heads, 21)."""
    attended = layer.of("attended")
    shares = (layer.of("k") / attended).masked_fill(attended < least, torch.nan)
    return shares.nanquantile(torch.tensor(QUANTILES, dtype=torch.float64), 0, interpolation="lower").T


def _flat(tensors: Iterator[torch.Tensor]) -> tuple[float, ...]:
    return tuple(round(value, 6) for tensor in tensors for value in tensor.flatten().tolist())
