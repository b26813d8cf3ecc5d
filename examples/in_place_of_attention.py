"""A Hopfield layer in place of attention, in the same block: recall by a damaged key.

A sequence shows 8 random keys of 16 signs, each with one of 8 values, and ends with one of the keys again, with noise.
The value of that key is asked for. Keys are new in every sequence, so the block has to learn to compare. The layer with
one step is attention: `from_attention` starts with the same weights. The others learn the inverse temperature, and make
one step or three. "Nearest key" is the answer of one who is told how the data are made.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hopfield
from common import Data, arguments, compare, report
from hopfield.nn import LearnedBeta

KEYS, SIZE, VALUES, NOISE = 8, 16, 8, 1.2
WIDTH, HEADS = 32, 2


class Attention(nn.Module):
    """Self-attention as PyTorch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        return self.attention(rows, rows, rows, need_weights=False)[0]


class Block(nn.Module):
    """The usual block of a transformer, and the class at the last position."""

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Linear(SIZE + VALUES, WIDTH)
        self.norms, self.mix = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)]), mix
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
        self.classify = nn.Linear(WIDTH, VALUES)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, 24) -> (B, 8)."""
        rows = self.embed(tokens)
        rows = rows + self.mix(self.norms[0](rows))
        rows = rows + self.feed_forward(self.norms[1](rows))
        return self.classify(rows[:, -1])


def layer(**options: object) -> Block:
    """The block with a Hopfield layer; the block normalises, so the layer need not."""
    return Block(hopfield.Hopfield(WIDTH, heads=HEADS, norm=None, **options))


def from_attention() -> Block:
    """The block with attention, its weights handed to a Hopfield layer before training."""
    block = Block(Attention())
    block.mix = hopfield.Hopfield.from_attention(block.mix.attention)
    return block


def learned() -> LearnedBeta:
    """One inverse temperature per head, from where attention has it."""
    return LearnedBeta([(WIDTH // HEADS) ** -0.5] * HEADS)


METHODS = {
    "nn.MultiheadAttention": lambda: Block(Attention()),
    "Hopfield.from_attention": from_attention,
    "Hopfield, 1 step, learned β": lambda: layer(beta=learned()),
    "Hopfield, 3 steps, learned β": lambda: layer(beta=learned(), steps=3),
}


def make_part(count: int) -> tuple[Tensor, Tensor]:
    """Tokens (count, 9, 24): a key and a value each; the last has a damaged key and no value."""
    keys = torch.randint(0, 2, (count, KEYS, SIZE)) * 2.0 - 1
    values = torch.randint(VALUES, (count, KEYS))
    asked = torch.randint(KEYS, (count,))
    every = torch.arange(count)
    query = keys[every, asked] + NOISE * torch.randn(count, SIZE)
    tokens = torch.cat([keys, F.one_hot(values, VALUES).float()], -1)
    last = F.pad(query, (0, VALUES)).unsqueeze(1)
    return torch.cat([tokens, last], 1), values[every, asked]


def nearest_key(tokens: Tensor) -> Tensor:
    """The value of the key with the largest product with the query: (B,)."""
    scores = (tokens[:, :-1, :SIZE] @ tokens[:, -1, :SIZE, None]).squeeze(-1)
    return tokens[torch.arange(len(tokens)), scores.argmax(-1), SIZE:].argmax(-1)


def main(argv: list[str] | None = None) -> dict:
    """Run the comparison."""
    args, start = arguments(__doc__, argv), time.perf_counter()
    sizes = (256, 128, 128) if args.quick else (4000, 500, 1000)

    def make_data(seed: int) -> Data:
        torch.manual_seed(seed)
        return Data(*(make_part(count) for count in sizes))

    numbers, _, data = compare(METHODS, make_data, args.seeds, epochs=1 if args.quick else 20, batch=128)
    inputs, targets = data.test
    bound = round((nearest_key(inputs) == targets).float().mean().item(), 4)
    print(f"nearest key, by hand: {bound:.3f}")
    more = {"sequences": sizes, "noise": NOISE, "nearest_key": bound}
    return report("in_place_of_attention", args, start, numbers, ["nn.MultiheadAttention"], **more)


if __name__ == "__main__":
    main()
