"""Patterns in groups of near ones, with what bounds the similarity of a state with all patterns of a group."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hopfield.core.kernels.matmul import similarities
from hopfield.errors import HopfieldError
from hopfield.memory.index.kmeans import KMeans, library, nearest
from hopfield.memory.rows import Rows
from hopfield.progress import Progress

GROUP = 256
"""Patterns in a group, about: the centres then cost a state less than a hundredth of the patterns."""
# and at most
_LARGEST = 512
# groups of more than this times the radius that this share of the patterns has are split, this often at most, ...
_WIDE, _NARROW = 1.2, 0.25
_SPLITS = 8
# ... as long as there are no more of them than this times what was asked for, or they are few in any case
_MOST_GROUPS = 3
# groups in one run of k-means: more are made in two levels, coarse ones first
_FLAT = 2048
# coarse groups whose fine ones a pattern may join
_PROBES = 4
# patterns that coarse groups are learned from, and that join groups at once
_BLOCK = 1 << 17
# numbers in one block of work: what fits the caches is gathered several times faster
_ENTRIES = 1 << 19


@dataclass(frozen=True, eq=False)
class Index:
    """Groups of patterns: each pattern x of group g has |x - c_g| ≤ r_g, so x·ξ ≤ c_g·ξ + r_g |ξ|.

    Made by `Index.of`; a memory makes its own with `AssociativeMemory.build_index`.
    """

    order: Tensor
    """Patterns group by group, int64 (N,)."""
    starts: Tensor
    """Where in `order` each group starts, and N, int64 (K + 1,)."""
    centres: Tensor
    """c, float32 (K, d)."""
    radii: Tensor
    """r, float32 (K,), rounded up."""
    means: bool = True
    """Whether the centres are the means of their groups."""

    def __len__(self) -> int:
        """The number of groups K."""
        return self.radii.shape[0]

    def __repr__(self) -> str:
        return f"Index({len(self)} groups of {self.order.shape[0]} patterns)"

    @property
    def sizes(self) -> Tensor:
        """How many patterns each group has, int64 (K,)."""
        return self.starts.diff()

    @classmethod
    def of(cls, rows: Rows, *, size: int = GROUP, seed: int = 0, progress: Progress | None = None) -> Index:
        """Group patterns by k-means.

        Args:
            rows: the patterns.
            size: patterns in a group, on average.
            seed: of k-means.
            progress: told how many groups are done.

        Raises:
            HopfieldError: a size below 1; there is no library with k-means.
        """
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise HopfieldError(f"size, the patterns in a group, must be an integer of at least 1, got {size!r}")
        made = cls._measured(rows, *_pieces(rows, *_grouped(rows, size, seed, progress)))
        for _ in range(_SPLITS):
            wide = made._wide()
            if (
                not bool(wide.any())
                or len(made) > max(_MOST_GROUPS * rows.count / size, min(rows.count / 8, _FLAT)) + 1
            ):
                break
            made = cls._measured(rows, *_split(made, rows, wide))
        return made.to(rows.device)

    @classmethod
    def _measured(cls, rows: Rows, order: Tensor, starts: Tensor) -> Index:
        """Groups with their centres and radii."""
        sizes = starts.diff()
        group = torch.repeat_interleave(torch.arange(sizes.shape[0]), sizes)
        sums = torch.zeros(sizes.shape[0], rows.width, dtype=torch.float64)
        for members, at in _chunks(rows, order, group):
            sums.index_add_(0, at, members)
        centres = (sums / sizes.unsqueeze(-1)).float()
        radii = torch.zeros(sizes.shape[0], dtype=torch.float64)
        for members, at in _chunks(rows, order, group):
            radii.scatter_reduce_(0, at, (members - centres[at]).norm(dim=-1), "amax")
        radii = (radii + rows.slack).float() * (1 + 1e-6)
        return cls(order, starts, centres, radii)

    def _wide(self) -> Tensor:
        """Which groups are much wider than those of some patterns, and may be several groups in one."""
        if not len(self):
            return self.radii > 0
        order = self.radii.argsort()
        narrow = self.sizes[order].cumsum(0) <= _NARROW * self.order.shape[0]
        typical = self.radii[order][min(int(narrow.sum()), len(self) - 1)]
        return self.radii > _WIDE * typical

    def joined(self, other: Index) -> Index:
        """The groups of this one, and those of patterns that were stored behind its own."""
        count = self.order.shape[0]
        return Index(
            torch.cat([self.order, other.order + count]),
            torch.cat([self.starts, other.starts[1:] + count]),
            torch.cat([self.centres, other.centres]),
            torch.cat([self.radii, other.radii]),
            means=self.means and other.means,
        )

    def kept(self, keep: Tensor) -> Index:
        """The groups without the patterns that `keep`, bool (N,), is False for; the others move up."""
        places = keep.cumsum(0) - 1
        stays = keep[self.order]
        before = torch.cat([stays.new_zeros(1, dtype=torch.int64), stays.cumsum(0)])
        starts = before[self.starts]
        left = starts.diff() > 0
        starts = torch.cat([starts[:-1][left], starts[-1:]])
        return Index(places[self.order[stays]], starts, self.centres[left], self.radii[left], means=False)

    def to(self, device: torch.device) -> Index:
        """The same on another device."""
        names = ("order", "starts", "centres", "radii")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def similarities(self, states: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """c·ξ for states (L, d), and upper bounds of x·ξ over each group, plus offsets (K,): float32 (L, K) each."""
        states = states.float()
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        # rounding of the product in single precision: at most d units for each of |c| |ξ|
        unit = torch.finfo(torch.float32).eps * (self.centres.shape[1] + 8)
        radii = self.radii + unit * (torch.linalg.vector_norm(self.centres, dim=-1) + self.radii)
        central = similarities(states.unsqueeze(0), self.centres.unsqueeze(0), offset)[0]
        return central, torch.addcmul(central, length, radii)

    def biases(self, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the largest bias (N,) of each group, float32 (K,) each."""
        group = torch.repeat_interleave(torch.arange(len(self), device=bias.device), self.sizes)
        lowest = torch.full((len(self),), -math.inf, device=bias.device)
        ordered = bias[self.order].float()
        mean = torch.zeros_like(lowest).index_add_(0, group, ordered) / self.sizes
        highest = lowest.scatter_reduce_(0, group, ordered, "amax")
        return mean, highest + 2e-7 * highest.abs()  # rounded up


def _chunks(rows: Rows, order: Tensor, group: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Patterns in some order, float64 (n, d), with the groups they belong to."""
    size = max(1, _ENTRIES // max(1, rows.width))
    for start in range(0, order.shape[0], size):
        at = order[start : start + size]
        yield rows.take(at.to(rows.device)).double().cpu(), group[start : start + size]


def _grouped(rows: Rows, size: int, seed: int, progress: Progress | None) -> tuple[Tensor, Tensor]:
    """Patterns group by group, and where the groups start."""
    count = rows.count
    groups = -(-count // size)
    if groups <= 1:
        return torch.arange(count), torch.tensor([0, count] if count else [0])
    scale = 1 / max(rows.norm(), torch.finfo(torch.float32).tiny)  # the library computes in single precision
    means = library()
    blocks = torch.arange(count).split(_BLOCK)
    if groups <= _FLAT:
        coarse = torch.zeros(1, rows.width)
        cells = [torch.arange(count)]
    else:
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randint(count, (min(count, _BLOCK),), generator=generator)
        coarse = means(_scaled(rows, sample, scale), math.isqrt(groups), seed)
        cell = torch.cat([nearest(_scaled(rows, block, scale), coarse) for block in blocks])
        cells = list(cell.argsort(stable=True).split(cell.bincount(minlength=coarse.shape[0]).tolist()))
    total = len(cells) + len(blocks)
    fine: list[Tensor] = []
    for number, members in enumerate(cells):
        if progress is not None:
            progress("grouping patterns", number, total)
        fine.append(_centres(_scaled(rows, members, scale), size, seed + number, means))
    labels: list[Tensor] = []
    for number, block in enumerate(blocks):
        if progress is not None:
            progress("grouping patterns", len(cells) + number, total)
        labels.append(_labels(_scaled(rows, block, scale), coarse, fine))
    label = torch.cat(labels)
    sizes = label.bincount()
    sizes = sizes[sizes > 0]
    return label.argsort(stable=True), torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _scaled(rows: Rows, indices: Tensor, scale: float) -> Tensor:
    return (rows.take(indices.to(rows.device)) * scale).float().cpu()


def _centres(patterns: Tensor, size: int, seed: int, means: KMeans) -> Tensor:
    """Centres of groups of about a size, (k, d); none of no patterns."""
    count = -(-patterns.shape[0] // size)
    if count <= 1:
        return patterns.mean(0, keepdim=True)[:count]
    return means(patterns, count, seed)


def _labels(patterns: Tensor, coarse: Tensor, fine: list[Tensor]) -> Tensor:
    """The nearest of the fine centres in the nearest coarse cells: a pattern may be near the edge of one; (n,)."""
    if len(fine) == 1:
        return nearest(patterns, fine[0])
    near = torch.addmm(-coarse.square().sum(-1) / 2, patterns, coarse.mT).topk(min(_PROBES, len(fine)), -1).indices
    label = torch.zeros(patterns.shape[0], dtype=torch.int64)
    most = torch.full((patterns.shape[0],), -math.inf)
    start = 0
    by_cell = near.flatten().argsort(stable=True) // near.shape[1]
    members = by_cell.split(near.flatten().bincount(minlength=len(fine)).tolist())
    for own, centres in zip(members, fine, strict=True):
        if own.numel() and len(centres):
            best = torch.addmm(-centres.square().sum(-1) / 2, patterns[own], centres.mT).max(-1)
            better = best.values > most[own]
            most[own[better]] = best.values[better]
            label[own[better]] = best.indices[better] + start
        start += len(centres)
    return label


def _split(index: Index, rows: Rows, wide: Tensor) -> tuple[Tensor, Tensor]:
    """The wide groups in two parts each: the patterns nearer to one and to the other of two that are far apart."""
    sizes = index.sizes
    group = torch.repeat_interleave(torch.arange(len(index)), sizes)
    members = wide[group].nonzero().flatten()
    group = group[members]
    patterns = index.order[members]
    poles = index.centres
    ends = []
    for _ in range(3):
        # the farthest pattern from the last pole of its group; the first pole is the centre
        far = _farthest(rows, patterns, group, poles)
        poles = poles.clone()
        poles[wide] = rows.take(patterns[far[wide]].to(rows.device)).float().cpu()
        ends.append(poles)
    other = torch.cat(
        [
            (part - ends[2][at]).square().sum(-1) < (part - ends[1][at]).square().sum(-1)
            for part, at in _chunks(rows, patterns, group)
        ]
    )
    label = torch.repeat_interleave(torch.arange(len(index)) * 2, sizes)
    label[members] += other
    by_label = label.argsort(stable=True)
    counts = label.bincount()
    counts = counts[counts > 0]
    return index.order[by_label], torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _farthest(rows: Rows, patterns: Tensor, group: Tensor, poles: Tensor) -> Tensor:
    """For each group, the place in `patterns` of the one that is farthest from its pole, (K,)."""
    distance = torch.cat([(part - poles[at]).square().sum(-1) for part, at in _chunks(rows, patterns, group)])
    most = torch.zeros(poles.shape[0], dtype=distance.dtype).scatter_reduce_(0, group, distance, "amax")
    place = torch.zeros(poles.shape[0], dtype=torch.int64)
    there = (distance == most[group]).nonzero().flatten()
    place[group[there]] = there
    return place


def _pieces(rows: Rows, order: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Groups cut where they are too large, from the inside out."""
    sizes = starts.diff()
    large = (sizes > _LARGEST).nonzero().flatten().tolist()
    if not large:
        return order, starts
    order = order.clone()
    cuts = [starts]
    for group in large:
        start, end = int(starts[group]), int(starts[group + 1])
        members = order[start:end]
        patterns = rows.take(members.to(rows.device)).double().cpu()
        distance = (patterns - patterns.mean(0)).norm(dim=-1)
        order[start:end] = members[distance.argsort(stable=True)]
        cuts.append(torch.arange(start, end, _LARGEST))
    return order, torch.cat(cuts).unique()
