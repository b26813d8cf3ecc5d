"""Heads over the time of a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hopfield.errors import HopfieldError
from hopfield.lens.lens import HeadLens
from hopfield.lens.report import HeadReport, LayerReading, plain

Batch = Tensor | Mapping[str, Any] | tuple[Any, ...] | list[Any]
"""What a model is called with: keywords, several arguments, or one."""


@dataclass(frozen=True)
class Moment:
    """The heads at one step of a training."""

    step: int
    report: HeadReport = field(repr=False)
    numbers: Mapping[str, float]
    """What else was recorded, such as the loss."""


class HeadHistory:
    """Record what the heads of a model do while it is trained: call it after every step.

        history = HeadHistory(model, batches, every=100)
        for step in range(steps):
            ...
            history(step, loss=loss.item())

    With the `Trainer` of transformers: `callbacks=[history.callback()]`.

    The heads are looked at while the model reads the same few batches each time, without gradients and without dropout;
    random numbers of the training are left alone.

    Args:
        model: a model that a `HeadLens` can read.
        batches: what it is called with: mappings of keywords, tuples of arguments, or tensors.
        every: steps between two records; a function says of a step whether to record.
        options: of the `HeadLens`.

    Attributes:
        moments: what was recorded.
    """

    def __init__(
        self, model: nn.Module, batches: Iterable[Batch], *, every: int | Callable[[int], bool] = 100, **options: Any
    ) -> None:
        self.model = model
        if isinstance(batches, Mapping | Tensor | str):
            kind = type(batches).__name__
            raise HopfieldError(f"batches must be a list of batches, got one {kind}: put it in a list")
        self.batches = list(batches)
        if not self.batches:
            raise HopfieldError("batches must hold at least one batch to look at the heads with, got none")
        whole = isinstance(every, int) and not isinstance(every, bool)
        if not callable(every) and not (whole and every >= 1):
            raise HopfieldError(f"every must be a whole number of at least 1 or a function of the step, got {every!r}")
        self.every = every
        self.moments: list[Moment] = []
        self._options = options
        HeadLens(model, **options)  # refuses wrong ones now

    def __call__(self, step: int, **numbers: float) -> Moment | None:
        """Record if it is time to; what was recorded, or None."""
        if not (self.every(step) if callable(self.every) else step % self.every == 0):
            return None
        return self.record(step, **numbers)

    def record(self, step: int, **numbers: float) -> Moment:
        """Record now.

        Raises:
            HopfieldError: names of numbers that `to_dict` needs itself; a model whose attention cannot be read.
        """
        taken = sorted({"mass", "least", "layers", "heads"} & set(numbers))
        if taken:
            raise HopfieldError(
                f"numbers cannot be called {', '.join(taken)}: these say what the heads do; rename them"
            )
        try:
            numbers = {n: float(v.detach() if isinstance(v, Tensor) else v) for n, v in numbers.items()}
        except (TypeError, ValueError, RuntimeError) as error:
            raise HopfieldError(f"numbers must be numbers, got {numbers}") from error
        training = {module: module.training for module in self.model.modules()}
        devices = [p.device for p in self.model.parameters() if p.is_cuda][:1]
        self.model.eval()
        try:
            with torch.random.fork_rng(devices), torch.no_grad(), HeadLens(self.model, **self._options) as lens:
                for batch in self.batches:
                    if isinstance(batch, Mapping):
                        self.model(**batch)
                    elif isinstance(batch, Tensor):
                        self.model(batch)
                    else:
                        self.model(*batch)
            moment = Moment(step, lens.report(), numbers)
        finally:
            for module, was in training.items():
                module.training = was
        self.moments.append(moment)
        return moment

    def k(self) -> Tensor:
        """Median k of every head at every moment, (moments, layers, heads), NaN where a layer has fewer heads."""
        return self._medians(lambda layer: layer.of("k"))

    def shares(self) -> Tensor:
        """Median k/N in the same form, what `hopfield.plot.head_history` draws over the steps."""
        return self._medians(lambda layer: layer.of("k") / layer.of("attended"))

    @property
    def steps(self) -> list[int]:
        """The steps of the moments."""
        return [moment.step for moment in self.moments]

    def _medians(self, of: Callable[[LayerReading], Tensor]) -> Tensor:
        if not self.moments:
            raise HopfieldError("nothing was recorded yet")
        sizes = [layer.heads for layer in self.moments[0].report.layers]
        result = torch.full((len(self.moments), len(sizes), max(sizes)), torch.nan, dtype=torch.float64)
        for time, moment in enumerate(self.moments):
            for number, layer in enumerate(moment.report.layers):
                result[time, number, : layer.heads] = of(layer).nanmedian(0).values
        return result

    def to_dict(self) -> dict[str, Any]:
        """Everything but the samples, in JSON's terms."""
        moments = [{"step": m.step, **plain(dict(m.numbers)), **m.report.to_dict()} for m in self.moments]
        return {"moments": moments}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def callback(self) -> Any:
        """A `TrainerCallback` of transformers that records after a step, with the loss that was logged last.

        Raises:
            HopfieldError: transformers is not installed.
        """
        try:
            from transformers import TrainerCallback
        except ImportError as error:
            raise HopfieldError('the callback needs transformers: pip install "hopfield[lens]"') from error
        history = self

        class _Callback(TrainerCallback):  # type: ignore[misc]  # of transformers, whose types are not read
            loss: float | None = None

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                self.loss = (logs or {}).get("loss", self.loss)

            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if not state.global_step:
                    history(0)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                history(state.global_step, **({} if self.loss is None else {"loss": self.loss}))

        return _Callback()
