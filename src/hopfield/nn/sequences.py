"""Embedding of amino-acid sequences."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.core.kernels.matmul import transformed
from hopfield.errors import HopfieldError

# sequences whose windows are held at once where no gradient is wanted
_PIECE = 1 << 13


class SequenceEmbedding(nn.Module):
    """Embed encoded sequences: a 1-D convolution over letters and positions, its maximum over positions, SELU.

    z_c = selu(max_p Σ_k (W[k, letter(p + k), c] + Σ_f U[k, f, c] t_f(p + k)) + a level u_c + b_c), the embedding of
    Widrich et al. 2020 (DeepRC), on which Ramsauer et al. 2021, appendix A.5.3, build. t_f are three features of the
    place of a letter in its sequence: near the beginning, the middle, the end, each from 0 to 1. `level` is log2 of how
    often the sequence was counted. Windows lie inside the sequence (a shorter sequence is one window).

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

    def __init__(self, features: int = 32, *, kernel: int = 9, letters: int = 20, counts: bool = True) -> None:
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
        if rows.dim() != 2 or rows.shape[1] < 2 or rows.is_floating_point():
            raise HopfieldError(
                "sequences must be integers (total, 1 + L): 16 log2(count), then letters, 0 for padding, as "
                f"hopfield.datasets.load_repertoires encodes them; got shape {tuple(rows.shape)} of {rows.dtype}"
            )
        if rows.numel() and not torch.compiler.is_compiling() and not transformed():  # where values can be looked at
            least, most = map(int, rows[:, 1:].aminmax())
            if least < 0 or most > self.letters:
                raise HopfieldError(
                    f"letters must be 1 … {self.letters}, and 0 for padding; got {least if least < 0 else most}"
                )
        if torch.is_grad_enabled() or len(rows) <= _PIECE:
            return self._embedded(rows)
        return torch.cat([self._embedded(piece) for piece in rows.split(_PIECE)])

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.output_size}, kernel={self.kernel}, letters={self.letters}"

    def _embedded(self, rows: Tensor) -> Tensor:
        letters = rows[:, 1:].int()
        if letters.shape[1] < self.kernel:
            letters = F.pad(letters, (0, self.kernel - letters.shape[1]))
        lengths = (letters > 0).sum(1, dtype=torch.int32)
        windows = letters.shape[1] - self.kernel + 1
        table = F.pad(self.weight, (0, 0, 1, 0))  # (kernel, 1 + letters, features): padding counts for nothing
        places = self._places(windows)  # (L + 1, windows, features)
        with torch.no_grad():
            scores = self._scores(letters, lengths, table, places)  # (total, windows, features)
            best, which = scores.max(1)
        if torch.is_grad_enabled():
            best = self._at(which, letters, lengths, table, places)
        best = best + self.bias
        if self.level is not None:
            best = best + (rows[:, :1] / 16).to(self.level.dtype) * self.level
        return F.selu(best)

    def _scores(self, letters: Tensor, lengths: Tensor, table: Tensor, places: Tensor) -> Tensor:
        """What every window gives, (total, windows, features); -inf for windows beyond the end of the sequence."""
        reach = places.shape[0] - self.kernel  # windows
        inside = torch.arange(reach, device=letters.device) <= (
            torch.arange(places.shape[0], device=letters.device) - self.kernel
        ).unsqueeze(1)
        inside[:, 0] = True
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
        return flat.view(len(letters), reach, self.output_size)

    def _at(self, which: Tensor, letters: Tensor, lengths: Tensor, table: Tensor, places: Tensor) -> Tensor:
        """The scores of one window per feature, (total, features): all that a gradient of the maximum needs."""
        features = torch.arange(self.output_size, device=letters.device)
        rows = lengths.unsqueeze(1).long() * places.shape[1] + which  # (total, features)
        total = places.flatten().index_select(0, (rows * self.output_size + features).flatten()).view_as(rows)
        flat = table.flatten()
        for k in range(self.kernel):
            letter = letters.gather(1, which + k) + k * (self.letters + 1)
            total = total + flat.index_select(0, (letter * self.output_size + features).flatten()).view_as(total)
        return total

    def _places(self, windows: int) -> Tensor:
        """What the places of letters add to each window, for sequences of each length: (L + 1, windows, features)."""
        longest = windows + self.kernel - 1
        wide = torch.promote_types(self.position.dtype, torch.float32)
        place = torch.arange(longest, device=self.position.device, dtype=wide)
        length = torch.arange(longest + 1, device=self.position.device).unsqueeze(1)
        t = place / (length - 1).clamp_min(1)  # (L + 1, L), 0 for the first letter and 1 for the last
        features = torch.stack([(1 - 2 * t).clamp_min(0), 1 - (2 * t - 1).abs(), (2 * t - 1).clamp_min(0)], -1)
        features = features * (place < length).unsqueeze(-1)
        spread = features.unfold(1, self.kernel, 1)  # (L + 1, windows, 3, kernel)
        return torch.einsum("lwfk,kfc->lwc", spread.to(self.position.dtype), self.position)
