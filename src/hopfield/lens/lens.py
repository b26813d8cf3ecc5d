"""`HeadLens`: statistics of all attention heads of a model while data flow through it."""

from __future__ import annotations

import math
import threading
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from hopfield.core.separation import Softmax
from hopfield.errors import HopfieldError
from hopfield.lens.call import Call
from hopfield.lens.report import BOUNDS, CLASSES, HeadReport, LayerReading
from hopfield.lens.rows import QUANTITIES, Tile, attending, begin, digest, measured, tiles
from hopfield.lens.sample import Sample
from hopfield.lens.settle import LANDINGS, settle
from hopfield.lens.sites import Attachment, Listener, check_module
from hopfield.lens.workspace import Workspace

# of one sequence in so many some rows are followed to their fixed points
_TURNS = 64
# scores of one attention that are measured at once where single calls have fewer
_WORTHWHILE = 1 << 19
_WORTHWHILE_ACCELERATOR = 1 << 21
# a model may be called from several threads
_one_at_a_time = threading.RLock()


class HeadLens(Listener):
    """Read the attention heads of a model as Hopfield networks, while data flow through it.

    An attention head is one update of a Hopfield network: its keys are the stored patterns x_i, a query is a state ξ,
    its scale is β, and p = softmax(β Xξ) says which patterns the state associates with. For every layer and head the
    lens gathers, over the query rows of all calls,

    - k, the smallest number of keys that carry the share `mass` of p, and from its median the class of the head, with N
      the number of keys that a row attends to (Ramsauer et al. 2021, Sec. 4): I for k > N/2, a global average; II for
      k > N/8 and III for k > N/32, metastable states of many and of fewer patterns; IV below, a few patterns or one;
    - entropy, energy (Eq. 2), and the norms of the softmax Jacobian, Frobenius and spectral (see
      `hopfield.lens.rows.measure`);
    - for some rows the fixed point to which further updates of the same head would lead: how many updates, how far,
      and whether it is a single pattern, a metastable state or the global average.

    No attention matrix is kept. Attentions are found in models of the transformers library (by its attention interface;
    encoders, decoders, both, key-value caches, grouped queries), in whatever calls `F.scaled_dot_product_attention`, in
    `nn.MultiheadAttention` and what contains it, and in the layers of this library (of those in `hopfield.compat`
    their `to_native()`). What the model computes does not change, but that torch's fast path for encoders, which rounds
    otherwise and leaves zeros where padding is, is not taken. Several lenses may look at one model. Of heads that
    `set_updates` has changed the association is read that reads the values, the last.

    Rows of padding are left out: in self-attention the tokens that nothing attends to, elsewhere those that
    attend to nothing (so in cross-attention padding among the queries counts). N is counted row by row, so a causal row
    has the keys before it and its own. Rows with N below `least` count for everything but the class, for below 32 keys
    class IV does not exist.

        with HeadLens(model) as lens:
            for batch in batches:
                model(**batch)
        print(lens.report())

    Args:
        model: the model, or a module of it.
        mass: the share of p that counts as all, in (0, 1]; default 0.9, as in the paper.
        rows: query positions per call, drawn at random and shared by the sequences and heads of the call, and by all
            attentions that are called as often with as many queries; default 16; None: every row.
        settled: rows that are followed to their fixed points, of a sequence of the first call and of one in 64 after
            it, drawn at random; default 8, 0 for none.
        least: fewest keys that a row must attend to in order to count for the class; default 32.
        sample: rows kept per layer for medians and distributions, drawn at random if more came; default 8192, for
            which a quantile's rank is off by 1.5 % at most, with 95 % probability. Means and classes count all rows.
        seed: of what is drawn at random.

    Raises:
        HopfieldError: arguments out of range; when it is attached, and when data flow: a model whose attention cannot
            be read.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mass: float = 0.9,
        rows: int | None = 16,
        settled: int = 8,
        least: int = 32,
        sample: int = 8192,
        seed: int = 0,
    ) -> None:
        if not isinstance(mass, int | float) or not 0 < mass <= 1:
            raise HopfieldError(f"mass must lie in (0, 1], got {mass!r}")
        for name, value, lowest in (
            ("rows", rows, 1),
            ("settled", settled, 0),
            ("least", least, 1),
            ("sample", sample, 1),
        ):
            every = ", or None for every row" if name == "rows" else ""
            if value is None and every:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise HopfieldError(f"{name} must be a whole number of at least {lowest}{every}; got {value!r}")
        check_module(model)
        self.model = model
        self.mass = mass
        self.rows = rows
        self.settled = settled
        self.least = least
        self.sample = sample
        self.seed = seed
        self._attachment: Attachment | None = None
        self._space = Workspace()
        self.reset()

    def reset(self) -> None:
        """Forget all that was gathered."""
        self._generator = torch.Generator().manual_seed(self.seed)
        self._sites: dict[str, _Site] = {}

    def attach(self) -> Self:
        """Begin to listen; `with` does it, too.

        Raises:
            HopfieldError: a model that is compiled or scripted, or whose kernel keeps its scores to itself.
        """
        if self._attachment is None:
            self._attachment = Attachment(self.model, self)
        return self

    def detach(self) -> None:
        """Stop listening, and leave the model as it was. What was gathered stays."""
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None
            self._space.clear()

    def __enter__(self) -> Self:
        return self.attach()

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.detach()

    def read(self, site: str, call: Call) -> None:
        """Take in one call of an attention."""
        with _one_at_a_time:
            self._take(site, call)

    def _take(self, site: str, call: Call) -> None:
        found = self._sites.get(site)
        if found is None:
            found = self._sites[site] = _Site(self, len(self._sites), call.heads)
        elif found.heads != call.heads:
            raise HopfieldError(
                f"{site!r} attended with {found.heads} heads before and with {call.heads} now; "
                "use lens.reset() between models, or one lens for each"
            )
        found.take(call)

    def report(self) -> HeadReport:
        """What was gathered so far.

        Raises:
            HopfieldError: no attention was seen, with the modules that look like one.
        """
        with _one_at_a_time:
            for site in self._sites.values():
                site.flush()
                site.space.clear()
        layers = tuple(site.reading(name) for name, site in self._sites.items() if site.count)
        if not layers:
            raise HopfieldError(self._nothing())
        return HeadReport(layers, self.mass, self.least)

    def _nothing(self) -> str:
        name = type(self.model).__name__
        if self._sites:
            return f"{name}: attentions were called, but all their rows were padding or attended to nothing"
        likely = [
            f"{where or 'the model'} ({type(module).__name__})"
            for where, module in self.model.named_modules()
            if "attention" in type(module).__name__.casefold() or "attn" in type(module).__name__.casefold()
        ]
        told = f"; these modules look like attention: {', '.join(likely[:4])}" if likely else ""
        more = f" and {len(likely) - 4} more" if len(likely) > 4 else ""
        return (
            f"no attention of {name} was seen. Call the model inside the `with` block. If it was called, it computes "
            "its attention by itself or with a kernel that keeps its scores: what can be read are calls of "
            "F.scaled_dot_product_attention, nn.MultiheadAttention and the attention interface of transformers"
            f"{told}{more}"
        )


class _Site:
    """What was gathered of one attention."""

    def __init__(self, lens: HeadLens, number: int, heads: int) -> None:
        self.lens = lens
        self.number = number
        self.heads = heads
        self.sequences = 0
        self.waiting: list[tuple[Tensor, Tensor]] = []  # facts, and which rows count, of the weights in the space
        self.filled = 0  # rows that wait
        self.kind = (0, 0, torch.float32, torch.device("cpu"))  # h and N, and where their weights are
        self.space = Workspace()
        self.count = 0
        self.sums = torch.zeros(heads, len(QUANTITIES), dtype=torch.float64)
        self.counts = torch.zeros(heads, len(QUANTITIES), dtype=torch.int64)
        self.by_class = torch.zeros(heads, len(CLASSES), dtype=torch.int64)
        # the same for every attention, so that the layers of a model are compared at the same rows
        self.places = torch.Generator().manual_seed(lens.seed)
        self.rows = Sample(lens.sample, lens._generator)
        self.landings = Sample(lens.sample, lens._generator)

    def take(self, call: Call) -> None:
        queries, lens = call.query.shape[-2], self.lens
        if 0 in (call.query.shape[0], queries, call.key.shape[-2]):
            return
        chosen = self._drawn(queries, lens.rows, self.places).to(call.query.device)
        counted = call.counted()
        pieces = tiles(call, chosen)

        def kept(tile: Tile, attends: Tensor) -> Tensor:
            return attends if counted is None else attends & counted[tile.sequences, chosen[tile.places]]

        scores = math.prod((*call.query.shape[:2], len(chosen), call.key.shape[-2]))
        enough = _WORTHWHILE if chosen.device.type == "cpu" else _WORTHWHILE_ACCELERATOR
        if scores < enough and isinstance(call.separation, Softmax):
            weights, facts = begin(call, chosen, pieces[0], lens._space)
            self._wait(weights, self._queries(facts, call, 1), kept(pieces[0], attending(facts)), enough)
        else:
            for tile, found, attends in measured(call, chosen, pieces, lens.mass, lens._space):
                self._count(self._queries(found, call, 2)[kept(tile, attends)])
        # layers take turns, so that no call is much slower than others
        before, self.sequences = self.sequences, self.sequences + call.query.shape[0]
        turns = [(n + self.number) // _TURNS for n in (before, self.sequences)]
        if lens.settled and (before == 0 or turns[1] > turns[0]):
            sequence = int(torch.randint(call.query.shape[0], (), generator=lens._generator))
            able = torch.arange(queries) if counted is None else counted[sequence].nonzero().view(-1).cpu()
            starts = able[self._drawn(len(able), lens.settled, lens._generator)].to(chosen.device)
            if starts.numel():
                landed = settle(call, starts, sequence, lens.mass)
                for heads, _ in call.averages:  # these have no queries
                    landed[:, list(heads)] = torch.nan
                self.landings.add(landed[~landed[..., 0].isnan().all(-1)])

    @staticmethod
    def _drawn(rows: int, number: int | None, generator: torch.Generator) -> Tensor:
        if number is None or number >= rows:
            return torch.arange(rows)
        return torch.randperm(rows, generator=generator)[:number]

    @staticmethod
    def _queries(found: Tensor, call: Call, dim: int) -> Tensor:
        """NaN for the heads, along a dimension, that have no queries because they average."""
        for heads, _ in call.averages:
            found = found.index_fill(dim, torch.tensor(heads, device=found.device), torch.nan)
        return found

    def _wait(self, weights: Tensor, facts: Tensor, rows: Tensor, enough: int) -> None:
        """Keep the weights and facts (B, h, r, ...) of rows (B, r) until there are scores enough for the effort."""
        weights, facts = weights.transpose(1, 2), facts.transpose(1, 2)
        kind = (weights.shape[2], weights.shape[3], weights.dtype, weights.device)
        fitting = enough // weights[0, 0].numel()
        if self.waiting and (kind != self.kind or self.filled + rows.numel() > fitting):
            self.flush()
        self.kind, end = kind, self.filled + rows.numel()
        self._room(fitting)[self.filled : end].view(weights.shape).copy_(weights)
        self.waiting.append((facts.flatten(0, 1), rows.flatten()))
        self.filled = end

    def _room(self, rows: int) -> Tensor:
        heads, keys, dtype, device = self.kind
        return self.space.get("waiting", (rows, heads, keys), dtype, device)

    def flush(self) -> None:
        """Measure the rows that wait."""
        if self.waiting:
            facts, rows = (torch.cat(parts) for parts in zip(*self.waiting, strict=True))
            room, space = self._room(self.filled), self.lens._space
            # a copy, so that nothing is lost if this is broken off
            found = digest(space.like("waiting", room).copy_(room), facts, self.lens.mass, space)
            self.waiting.clear()
            self.filled = 0
            self._count(found[rows])

    def _count(self, found: Tensor) -> None:
        """Take in rows (n, h, 6)."""
        self.count += len(found)
        # out of place: perhaps of inference mode; NaN where some heads of a row attend to nothing, or average
        self.sums = self.sums + found.nansum(0, dtype=torch.float64).cpu()
        self.counts = self.counts + (~found.isnan()).sum(0).cpu()
        k, attended = found[..., 0], found[..., 1]
        above = torch.stack([k > bound * attended for bound in BOUNDS])  # (3, n, h)
        above &= attended >= self.lens.least
        total = (attended >= self.lens.least).sum(0)
        least = torch.cat([torch.zeros_like(total)[None], above.sum(1), total[None]])  # (5, h)
        self.by_class = self.by_class + least.diff(dim=0).T.cpu()
        self.rows.add(found)

    def reading(self, name: str) -> LayerReading:
        landings = self.landings.items()
        if not landings.numel():
            landings = torch.empty(0, self.heads, len(LANDINGS), dtype=torch.float64)
        return LayerReading(
            name=name,
            heads=self.heads,
            rows=self.count,
            by_class=self.by_class.clone(),
            means=self.sums / self.counts,
            sample=self.rows.items(),
            landings=landings,
        )
