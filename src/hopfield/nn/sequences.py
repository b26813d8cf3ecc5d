"""Embedding of amino-acid sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.core.kernels.matmul import transformed
from hopfield.errors import HopfieldError

LETTERS = 20
"""The number of amino acids."""

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
# sequences whose windows are held at once
_PIECE = 1 << 13


class SequenceEmbedding(nn.Module):
    """Embed encoded sequences: a 1-D convolution over letters and positions, its maximum over positions, SELU.

    z_c = selu(max_p Σ_k (W[k, letter(p + k), c] + Σ_f U[k, f, c] t_f(p + k)) + a level u_c + b_c), the embedding of
    Widrich et al. 2020 (DeepRC), on which Ramsauer et al. 2021, appendix A.5.3, build. t_f are three features of the
    place of a letter in its sequence: near the beginning, the middle, the end, each from 0 to 1. `level` is log2 of how
    often the sequence was counted. Windows are centred on letters, so that a kernel sees the same motif wherever it is;
    what of a window is outside the sequence counts for nothing.

    A row of the convolution is a sum of table entries, so the work is a lookup, not a product with one-hot vectors.

    Args:
        features: size of the embedding.
        kernel: letters in a window.
        letters: size of the alphabet; letters are 1 … letters, and 0 is padding behind a sequence.
        counts: whether the count of a sequence is used.

    Raises:
        HopfieldError: sizes below 1.

    Example:
        >>> from hopfield.datasets import simulate_repertoires
        >>> rows = simulate_repertoires(2, 100).bags.instances  # (200, 21) uint8: level of the count, then letters
        >>> SequenceEmbedding()(rows).shape
        torch.Size([200, 32])
    """

    def __init__(self, features: int = 32, *, kernel: int = 9, letters: int = LETTERS, counts: bool = True) -> None:
        super().__init__()
        for name, value in (("features", features), ("kernel", kernel), ("letters", letters)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise HopfieldError(f"{name} must be an integer of at least 1, got {value!r}")
        self.kernel = kernel
        self.letters = letters
        self.output_size = features
        self.weight = nn.Parameter(torch.empty(kernel, letters, features))
        self.position = nn.Parameter(torch.empty(kernel, 3, features))
        self.level = nn.Parameter(torch.empty(features)) if counts else None
        self.bias = nn.Parameter(torch.empty(features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise anew: letters N(0, 1/kernel), so that a window has variance 1; the rest 0."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.kernel))
        nn.init.zeros_(self.position)
        nn.init.zeros_(self.bias)
        if self.level is not None:
            nn.init.zeros_(self.level)

    def forward(self, rows: Tensor) -> Tensor:
        """Encoded sequences (total, 1 + L) of integers, the level of the count first -> (total, features).

        Raises:
            HopfieldError: rows of another form.
        """
        check_rows(rows, self.letters)
        return self._embedded(rows)

    @torch.no_grad()
    def best_windows(self, rows: Tensor, feature: int) -> Tensor:
        """The letters that a feature saw in the window that it chose, codes (total, kernel) of the dtype of `rows`.

        Letters of many sequences in this form, one below the other, show what the feature is looking for.

        Raises:
            HopfieldError: rows of another form, a feature that is not there.
        """
        check_rows(rows, self.letters)
        if not 0 <= feature < self.output_size:
            raise HopfieldError(f"feature must be 0 to {self.output_size - 1}, got {feature}")
        letters, lengths, table, places = self._prepared(rows)
        own = table[..., feature : feature + 1], places[..., feature : feature + 1]
        parts = zip(letters.split(_PIECE), lengths.split(_PIECE), strict=True)
        which = torch.cat([self._scores(*part, *own).argmax(1) for part in parts])  # (total, 1)
        windows = letters.gather(1, which + torch.arange(self.kernel, device=rows.device))
        return windows.to(rows.dtype)

    def start_from(self, motifs: Sequence[Sequence[int]], strength: float = 8.0) -> None:
        """Let features begin as detectors of motifs: above 0 where a sequence has the whole motif, else below.

        W[k, l, c] = strength at the letters l of motif c, which lies in the middle of the window, and 0 elsewhere;
        b_c = -strength (m - 1/2) for m letters. Features that are left over stay as they are.

        Args:
            motifs: at most `features` of them, each the codes of at most `kernel` letters, 0 for any letter.
            strength: what a letter counts.

        Raises:
            HopfieldError: more motifs than features, a motif longer than the window, without letters, or with others.
        """
        if len(motifs) > self.output_size:
            raise HopfieldError(f"there are {self.output_size} features, one for each motif; got {len(motifs)} motifs")
        for motif in motifs:
            if len(motif) > self.kernel or not any(motif) or not all(0 <= code <= self.letters for code in motif):
                raise HopfieldError(
                    f"a motif must be at most {self.kernel} codes from 0 (any letter) to {self.letters}, with a letter "
                    f"among them; got {list(motif)}"
                )
        with torch.no_grad():
            for c, motif in enumerate(motifs):
                first = (self.kernel - len(motif) + 1) // 2  # so that the middle of the window lies in the motif
                self.weight[:, :, c] = 0
                self.position[:, :, c] = 0
                for place, code in enumerate(motif):
                    if code:
                        self.weight[first + place, code - 1, c] = strength
                self.bias[c] = -strength * (sum(code > 0 for code in motif) - 0.5)
                if self.level is not None:
                    self.level[c] = 0

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.output_size}, kernel={self.kernel}, letters={self.letters}"

    def _prepared(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Padded letters, their number in each sequence, and what letters and places count."""
        letters = rows[:, 1:].int()
        windows = letters.shape[1]
        lengths = (letters > 0).sum(1, dtype=torch.int32)
        letters = F.pad(letters, (self.kernel // 2, (self.kernel - 1) // 2))
        table = F.pad(self.weight, (0, 0, 1, 0))  # (kernel, 1 + letters, features): padding counts for nothing
        return letters, lengths, table, self._places(windows)  # places (windows + 1, windows, features)

    def _embedded(self, rows: Tensor) -> Tensor:
        letters, lengths, table, places = self._prepared(rows)
        pieces = zip(letters.split(_PIECE), lengths.split(_PIECE), strict=True)
        best = torch.cat([self._best(*piece, table, places) for piece in pieces])  # (total, features)
        best = best + self.bias
        if self.level is not None:
            best = best + (rows[:, :1] / 16).to(self.level.dtype) * self.level
        return F.selu(best)

    def _best(self, letters: Tensor, lengths: Tensor, table: Tensor, places: Tensor) -> Tensor:
        """The score of the best window for each feature, (total, features)."""
        with torch.no_grad():
            best, which = self._scores(letters, lengths, table, places).max(1)
        return self._at(which, letters, lengths, table, places) if torch.is_grad_enabled() else best

    def _scores(self, letters: Tensor, lengths: Tensor, table: Tensor, places: Tensor) -> Tensor:
        """What every window gives, (total, windows, features); -inf for windows beyond the end of the sequence."""
        reach = places.shape[1]  # windows
        inside = torch.ones(places.shape[:2], dtype=torch.bool, device=letters.device).tril(-1)  # centre < length
        inside[0, 0] = True  # an empty sequence is one empty window
        places = places.masked_fill(~inside.unsqueeze(2), -math.inf)
        if transformed():  # embedding_bag has no rule for vmap
            onehot = F.one_hot(letters.long(), self.letters + 1).to(table.dtype)
            return F.conv1d(onehot.mT, table.permute(2, 1, 0)).mT + places.index_select(0, lengths)
        # two letters at a time, so that half as many rows are added; a last one alone is paired with any
        count = self.letters + 1
        pairs = letters * count + F.pad(letters[:, 1:], (0, 1))  # (total, L)
        if self.kernel % 2:
            table = F.pad(table, (0, 0, 0, 0, 0, 1))
        both = (table[0::2].unsqueeze(2) + table[1::2].unsqueeze(1)).flatten(0, 2)  # (pairs count², features)
        starts = torch.arange(0, self.kernel, 2, device=letters.device, dtype=torch.int32)
        found = pairs.unfold(1, self.kernel, 1)[..., ::2] + starts // 2 * count**2  # (total, windows, pairs)
        place = len(both) + lengths.unsqueeze(1) * reach + torch.arange(reach, device=letters.device, dtype=torch.int32)
        indices = torch.cat([found, place.unsqueeze(2)], 2)
        flat = F.embedding_bag(indices.flatten(0, 1), torch.cat([both, places.flatten(0, 1)]), mode="sum")
        return flat.view(len(letters), reach, table.shape[2])

    def _at(self, which: Tensor, letters: Tensor, lengths: Tensor, table: Tensor, places: Tensor) -> Tensor:
        """The scores of one window per feature, (total, features): all that a gradient of the maximum needs."""
        features = torch.arange(self.output_size, device=letters.device, dtype=torch.int32)
        rows = lengths.unsqueeze(1) * places.shape[1] + which.int()  # (total, features)
        total = places.flatten().index_select(0, (rows * self.output_size + features).flatten()).view_as(rows)
        flat = table.flatten()
        for k in range(self.kernel):
            letter = letters.gather(1, which + k) + k * (self.letters + 1)
            total = total + flat.index_select(0, (letter * self.output_size + features).flatten()).view_as(total)
        return total

    def _places(self, windows: int) -> Tensor:
        """What the places of letters add to each window, for sequences of each length: (L + 1, windows, features)."""
        wide = torch.promote_types(self.position.dtype, torch.float32)
        place = torch.arange(windows, device=self.position.device, dtype=wide)
        length = torch.arange(windows + 1, device=self.position.device).unsqueeze(1)
        t = place / (length - 1).clamp_min(1)  # (L + 1, L), 0 for the first letter and 1 for the last
        features = torch.stack([(1 - 2 * t).clamp_min(0), 1 - (2 * t - 1).abs(), (2 * t - 1).clamp_min(0)], -1)
        features = features * (place < length).unsqueeze(-1)
        features = F.pad(features, (0, 0, self.kernel // 2, (self.kernel - 1) // 2))
        spread = features.unfold(1, self.kernel, 1)  # (L + 1, windows, 3, kernel)
        return torch.einsum("lwfk,kfc->lwc", spread.to(self.position.dtype), self.position)


def check_rows(rows: Tensor, letters: int) -> None:
    """Refuse what are no encoded sequences: integers (total, 1 + L), letters 1 … `letters`, 0 for padding.

    Raises:
        HopfieldError: rows of another form, or other letters.
    """
    if rows.dim() != 2 or rows.shape[1] < 2 or rows.dtype not in _INTEGERS:
        raise HopfieldError(
            "sequences must be integers (total, 1 + L): 16 log2(count), then letters, 0 for padding, as "
            f"hopfield.datasets.load_repertoires encodes them; got shape {tuple(rows.shape)} of {rows.dtype}"
        )
    if rows.numel() and not torch.compiler.is_compiling() and not transformed():  # where values can be looked at
        codes = rows[:, 1:]
        least, most = map(int, codes.aminmax())
        if least < 0 or most > letters:
            raise HopfieldError(f"letters must be 1 … {letters}, and 0 for padding; got {least if least < 0 else most}")
        if bool(((codes[:, 1:] > 0) & (codes[:, :-1] == 0)).any()):
            raise HopfieldError("sequences must have their padding 0 behind their letters, got a letter behind a 0")
