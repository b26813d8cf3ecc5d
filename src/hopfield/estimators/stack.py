"""Many networks of one architecture, trained and evaluated at once."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from hopfield.errors import HopfieldError
from hopfield.progress import Progress


class Stack:
    """M networks of one architecture with their parameters stacked: one call runs them all.

    Small networks leave a machine idle: the time goes into starting operations. Stacked, each operation does the work
    of M networks. A stack of one is the network itself, and uses whatever kernels it has.

    Args:
        networks: at least one; all of one architecture.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.network = networks[0]
        self.members = len(networks)
        self._alone = self.members == 1
        self._state: tuple[dict[str, Tensor], dict[str, Tensor]]
        if self._alone:
            parameters: dict[str, Tensor] = dict(self.network.named_parameters())
            self._state = parameters, dict(self.network.named_buffers())
        else:
            self._state = stack_module_state(list(networks))

    @property
    def parameters(self) -> list[Tensor]:
        """The trainable tensors; those of all members in one."""
        return [tensor for tensor in self._state[0].values() if tensor.requires_grad]

    def train(self, training: bool = True) -> Stack:
        """Switch between training and evaluation."""
        self.network.train(training)
        return self

    def __call__(self, *inputs: Any, each: Sequence[Tensor | None] = ()) -> Tensor:
        """The outputs of all members, (M, *shape).

        Args:
            inputs: what all members get alike.
            each: tensors (M, *shape) with one entry for each member, handed on after `inputs`; or None.
        """
        if self._alone:
            own = [None if tensor is None else tensor[0] for tensor in each]
            output: Tensor = self.network(*inputs, *own)
            return output.unsqueeze(0)

        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *own: Tensor | None) -> Tensor:
            result: Tensor = functional_call(self.network, (parameters, buffers), (*inputs, *own))
            return result

        dims = tuple(None if tensor is None else 0 for tensor in each)
        result: Tensor = vmap(call, (0, 0, *dims), randomness="different")(*self._state, *each)
        return result

    def state(self) -> dict[str, Tensor]:
        """A copy of parameters and buffers, (M, *shape) each."""
        named = {name: tensor for part in self._state for name, tensor in part.items()}
        return {name: (t.unsqueeze(0) if self._alone else t).detach().clone() for name, t in named.items()}

    def member(self, index: int) -> nn.Module:
        """A copy of one network, as a module of its own."""
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            for name, tensor in (*network.named_parameters(), *network.named_buffers()):
                part = self._state[0].get(name, self._state[1].get(name))
                assert part is not None, "parameters and buffers of all members have the same names"
                tensor.copy_(part if self._alone else part[index])
        return network

    def load(self, state: dict[str, Tensor], members: Tensor | None = None) -> None:
        """Copy a state in: of all members, or only of those where `members` (M,) is True."""
        chosen = torch.ones(self.members, dtype=torch.bool) if members is None else members.cpu()
        with torch.no_grad():
            for part in self._state:
                for name, tensor in part.items():
                    (tensor.unsqueeze(0) if self._alone else tensor)[chosen] = state[name][chosen].to(tensor.device)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: passes over the training set.
        learning_rate: of AdamW, in the first epoch.
        decay: factor of the learning rate from one epoch to the next; or "cosine", which ends at 0.
        weight_decay: of AdamW.
        patience: epochs without a better validation loss after which a member has stopped; inf: never.
    """

    epochs: int
    learning_rate: float
    decay: float | Literal["cosine"]
    weight_decay: float
    patience: float = math.inf


@dataclass
class History:
    """What happened in training: one entry per epoch and member.

    Attributes:
        loss: training loss, (M,) per epoch.
        validation: validation loss, (M,) per epoch; empty without validation.
        best: the epoch whose parameters were kept, (M,).
    """

    loss: list[Tensor] = field(default_factory=list)
    validation: list[Tensor] = field(default_factory=list)
    best: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


def train(
    stack: Stack,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[Any], tuple[Tensor, Tensor]],
    schedule: Schedule,
    *,
    validate: Callable[[], Tensor] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train all members of a stack; each as if it were alone, for nothing couples them but the time of their steps.

    Args:
        stack: the networks.
        batches: makes the batches of one epoch.
        loss: from a batch the sum of losses and the sum of weights of each member, (M,) each; a member learns from
            their ratio, and nothing where the weights sum to 0.
        schedule: how long and how fast.
        validate: the validation loss of each member, (M,). Each member keeps the parameters of its best epoch.
        progress: called after every epoch with a text, the number done and that of all.

    Raises:
        HopfieldError: parameters became infinite or NaN.
    """
    history = History(best=torch.full((stack.members,), schedule.epochs - 1))
    optimizer = torch.optim.AdamW(
        stack.parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    decay: torch.optim.lr_scheduler.LRScheduler
    if isinstance(schedule.decay, str):
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.epochs)
    else:
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, schedule.decay)
    kept, least = None, torch.full((stack.members,), math.inf)
    for epoch in range(schedule.epochs):
        stack.train()
        sums = torch.zeros(2, stack.members)
        for batch in batches():
            total, weight = loss(batch)
            optimizer.zero_grad(set_to_none=True)
            (total / weight.clamp_min(torch.finfo(weight.dtype).tiny)).sum().backward()
            optimizer.step()
            sums += torch.stack([total.detach(), weight]).cpu()
        decay.step()
        history.loss.append(sums[0] / sums[1])
        text = f"loss {float(history.loss[-1].nanmean()):.3f}"
        if validate is not None:
            stack.train(False)
            with torch.no_grad():
                score = validate().cpu()
            history.validation.append(score)
            better = score < least
            least = torch.where(better, score, least)
            history.best = torch.where(better | (epoch == 0), epoch, history.best)
            now = stack.state()
            kept = now if kept is None else {name: _where(better, now[name], old) for name, old in kept.items()}
            text += f", validation {float(score.mean()):.3f}"
        if progress is not None:
            progress(text, epoch + 1, schedule.epochs)
        if validate is not None and bool((epoch - history.best >= schedule.patience).all()):
            break
    if kept is not None:
        stack.load(kept)
    if not all(bool(tensor.isfinite().all()) for tensor in stack.parameters):
        raise HopfieldError(
            "training diverged: parameters became infinite or NaN; use a smaller learning_rate, weight_decay or "
            "weights, or standardise the instances"
        )
    stack.train(False)
    return history


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(chosen.to(new.device).reshape(-1, *[1] * (new.dim() - 1)), new, old)


# the generator of torch is one for all threads: whoever draws from it after seeding it has to be alone
_SEEDED = threading.RLock()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """Random numbers from a seed, without a trace in the global state; and a generator for what happens on the CPU."""
    devices = [device] if device.type == "cuda" else []
    with _SEEDED, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)
