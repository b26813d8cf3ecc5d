"""How instances become vectors: layers, what they take from training bags before they learn, detectors of motifs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from hopfield.bags import Bags
from hopfield.errors import HopfieldError
from hopfield.estimators.motifs import Motif, enriched_motifs
from hopfield.estimators.settings import Embedding
from hopfield.nn.sequences import SequenceEmbedding

# evidence of motifs: its size, and the spread of what is drawn; what a detector gives where its motif is not, and how
# much more where it is; and the number of motifs that is enough
EVIDENCE, SPREAD = 16, 0.2
_SILENT, _FIRED = 1.75, 6.0
_ENOUGH = 2.5


class Standardize(nn.Module):
    """(x - mean) / std, clipped at ±limit; columns that are constant in the training set become 0."""

    def __init__(self, size: int, limit: float = 5.0) -> None:
        super().__init__()
        self.limit = limit
        self.mean = nn.Buffer(torch.zeros(size))
        self.scale = nn.Buffer(torch.ones(size))

    def fit(self, instances: Tensor) -> Standardize:
        """Take mean and standard deviation from training instances (n, size)."""
        if len(instances):
            wide = instances.double()
            mean, std = wide.mean(0), wide.std(0, correction=0)
            constant = std <= 1e-7 * wide.abs().amax(0)  # a constant that was rounded to single precision
            self.mean.copy_(mean)
            self.scale.copy_(torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, std)))
        return self

    def forward(self, rows: Tensor) -> Tensor:
        """(total, size) -> (total, size)."""
        return ((rows - self.mean) * self.scale).clamp(-self.limit, self.limit)


def dense(sizes: Sequence[int], dropout: float, *, last: bool = True) -> nn.Sequential:
    """Linear layers with ReLU and dropout between these sizes; `last`: also behind the last."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(sizes), 2):
        layers.append(nn.Linear(before, after))
        if last or i < len(sizes):
            layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def evidence_of_motifs(size: int) -> nn.Sequential:
    """A layer behind detectors of motifs, `SequenceEmbedding.start_from`: how far a sequence is from having enough.

    SELU is linear where motifs lack, and flat where there are more than enough: a bag with one perfect sequence is not
    to look like a bag with hundreds of good ones.
    """
    layer = nn.Linear(size, EVIDENCE)
    with torch.no_grad():
        layer.weight.copy_(-(1 + SPREAD * torch.randn(EVIDENCE, size)) / _FIRED)
        layer.bias.copy_(_ENOUGH + _SILENT * layer.weight.sum(1))
    return nn.Sequential(layer, nn.SELU())


Start: TypeAlias = Standardize | list[Motif] | None
"""What an embedding takes from the bags that it learns from, before it learns."""


def starts(
    embedding: Embedding, bags: Bags, targets: Tensor, training: Tensor, *, standardize: bool
) -> Sequence[Start]:
    """A start from each of F sets of bags to learn from, bool (F, B): a standardisation, motifs, or nothing."""
    if embedding == "sequences":
        return enriched_motifs(bags, targets, training, SequenceEmbedding().output_size)
    rows_of_numbers = bags.instances.dim() == 2 and bags.dtype == torch.float32
    if not (standardize and rows_of_numbers) or callable(embedding):
        return [None] * len(training)
    segments = bags.segments()
    parts = (bags.instances[row.to(bags.device)[segments]].cpu() for row in training)
    return [Standardize(bags.instances.shape[1]).fit(part) for part in parts]


def instance_embedding(
    embedding: Embedding, shape: tuple[int, ...], dtype: torch.dtype, *, dropout: float, standardize: bool, start: Start
) -> tuple[nn.Sequential, int]:
    """What embeds instances (total, *shape) with a copy of a start, and the size of what comes out.

    Raises:
        HopfieldError: instances that such an embedding does not embed.
    """
    if embedding == "sequences":
        sequences = SequenceEmbedding()
        if isinstance(start, list):
            sequences.start_from(start)
        return nn.Sequential(sequences, *evidence_of_motifs(sequences.output_size)), EVIDENCE
    if callable(embedding):
        return _of_function(embedding, shape, dtype)
    if len(shape) != 1 or dtype != torch.float32:
        raise HopfieldError(
            f"layer sizes embed rows of numbers (total, d), got instances of shape {shape} of {dtype}; give "
            'embedding="sequences" for encoded sequences, or a function from a shape to a module'
        )
    scale = copy.deepcopy(start) if isinstance(start, Standardize) else Standardize(shape[0])
    first = [scale] if standardize else []
    sizes = [shape[0], *map(int, embedding)]
    return nn.Sequential(*first, *dense(sizes, dropout)), sizes[-1]


def _of_function(
    make: Callable[[tuple[int, ...]], nn.Module], shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[nn.Sequential, int]:
    """A copy of the module that a function gives, and the size of what it makes of an instance."""
    given = make if isinstance(make, nn.Module) else make(shape)
    module = copy.deepcopy(given)  # it may give the same one again
    if given is make or not isinstance(module, nn.Module):
        raise HopfieldError(
            "embedding must be a function from the shape of an instance to a module of PyTorch, such as "
            f"lambda shape: torch.nn.Linear(shape[0], 64); got {type(given).__name__}"
        )
    with torch.no_grad():
        rows = module.train(False)(torch.zeros(2, *shape, dtype=dtype))
    if not isinstance(rows, Tensor) or rows.dim() != 2 or len(rows) != 2:
        got = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise HopfieldError(
            f"embedding must turn instances (total, {', '.join(map(str, shape))}) into (total, size); "
            f"got {got} from 2 instances"
        )
    return nn.Sequential(module.train()), rows.shape[1]
