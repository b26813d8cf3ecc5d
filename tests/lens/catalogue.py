"""Tiny models of every kind that a lens reads, what their heads see, and what a lens should say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hopfield
from hopfield.lens import HeadLens, HeadReport
from hopfield.lens.rows import QUANTITIES

WORDS = 40
LENGTH = 9
# of padded batches, every sequence with another number of tokens
SIZES = (LENGTH, 4, 6)

# --------------------------------------------------------------------------------------------------------- the textbook


@dataclass
class Heads:
    """What the heads of one attention see: queries (B, h, L, k), keys (B, h, N, k) and the rest, all float64."""

    query: Tensor
    key: Tensor
    scale: float
    mask: Tensor
    """bool (B, 1 or h, L, N)"""
    bias: Tensor | None = None
    """broadcasts to (B, h, L, N), added to the scores"""
    alive: Tensor | None = None
    """bool (B, L), rows that count; None: those that attend to something"""

    def __post_init__(self):
        self.query, self.key = self.query.detach().double(), self.key.detach().double()
        heads, groups = self.query.shape[1], self.key.shape[1]
        self.key = self.key.repeat_interleave(heads // groups, 1)
        self.mask = self.mask.expand(*self.query.shape[:3], self.key.shape[2])
        if self.bias is not None:
            self.bias = self.bias.detach().double().expand(self.mask.shape)

    def scores(self) -> Tensor:
        scores = self.scale * self.query @ self.key.mT
        return scores if self.bias is None else scores + self.bias

    def weights(self) -> Tensor:
        """(B, h, L, N); zero where masked, also in rows without anything to attend to."""
        scores = self.scores().masked_fill(~self.mask, -math.inf)
        return scores.softmax(-1).nan_to_num(0.0)

    def rows(self) -> Tensor:
        """bool (B, L): the rows that count."""
        attends = self.mask.any(1).any(-1)
        return attends if self.alive is None else attends & self.alive

    def quantities(self, mass: float = 0.9) -> Tensor:
        """The definitions, with all matrices written out, (B, h, L, 6)."""
        p = self.weights()
        attended = self.mask.sum(-1)
        heaviest = p.sort(-1, descending=True).values.cumsum(-1)
        k = (heaviest < mass * (1 - 1e-12)).sum(-1) + 1
        entropy = torch.special.entr(p).sum(-1)
        bias = None if self.bias is None else self.bias / self.scale
        energy = hopfield.energy(self.query, self.key, beta=self.scale, bias=bias, mask=self.mask)
        jacobian = self.scale * (torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2))
        norms = [torch.linalg.matrix_norm(jacobian, order) for order in ("fro", 2)]
        found = torch.stack([k.minimum(attended).double(), attended.double(), entropy, energy, *norms], -1)
        return found.masked_fill((attended == 0).unsqueeze(-1), math.nan)

    def counted(self, mass: float = 0.9) -> Tensor:
        """Those of the rows that count, (n, h, 6)."""
        return self.quantities(mass).transpose(1, 2)[self.rows()]


def ordered(rows: Tensor) -> Tensor:
    """Rows (n, h, 6) in an order that does not depend on how they came: by the sum of their energies."""
    return rows[rows[..., QUANTITIES.index("energy")].nan_to_num(0.0).sum(1).argsort()]


def agree(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    """Two sets of rows (n, h, 6)."""
    assert found.shape == expected.shape
    close(ordered(found), ordered(expected), tolerance)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def read(model: nn.Module, *args, **options) -> HeadReport:
    """What a lens that looks at every row says of one call."""
    with HeadLens(model, rows=None, settled=0, least=1) as lens, torch.no_grad():
        model(*args, **options)
    return lens.report()


# ---------------------------------------------------------------------------------------------- models of transformers

Seen = Callable[[nn.Module, dict[str, Tensor]], dict[str, Heads]]


@dataclass(eq=False)
class Architecture:
    """A kind of transformer, how to call it, and what its heads see."""

    name: str
    build: Callable[[str], nn.Module]
    seen: Seen
    causal: bool = False
    crosses: bool = False
    layers: tuple[str, ...] = field(default=())
    """Attentions of tokens to one another, of the first and second layer of what is causal or else encodes."""

    def __repr__(self):
        return self.name


def tokens(seed: int, count: int = len(SIZES), length: int = LENGTH) -> Tensor:
    return torch.randint(3, WORDS, (count, length), generator=torch.Generator().manual_seed(seed))


def padding(side: str, length: int = LENGTH) -> Tensor:
    """int64 (B, length), 1 for tokens; side "none", "right" or "left"."""
    place = torch.arange(length)
    sizes = torch.tensor(SIZES).unsqueeze(-1)
    rows = {"none": place >= torch.zeros_like(sizes), "right": place < sizes, "left": place >= length - sizes}
    return rows[side].long()


def inputs(architecture: Architecture, side: str = "none", seed: int = 0) -> dict[str, Tensor]:
    given = {"input_ids": tokens(seed), "attention_mask": padding(side)}
    if architecture.crosses:
        # as long as the first, so that only names tell which attention crosses
        given |= {"decoder_input_ids": tokens(seed + 1), "decoder_attention_mask": padding(side).flip(0)}
    return given


def split(rows: Tensor, heads: int) -> Tensor:
    """(B, L, h k) -> (B, h, L, k)."""
    return rows.unflatten(-1, (heads, -1)).transpose(1, 2)


def taken(padded: Tensor, *, causal: bool, queries: int | None = None) -> Tensor:
    """bool (B, 1, L, N)."""
    keys = padded.shape[-1]
    mask = padded.bool()[:, None, None].expand(-1, 1, queries or keys, keys)
    return mask.tril() if causal else mask


def outputs_of(model: nn.Module, names: list[str], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """What some modules give in one call of a model."""
    found = {}

    def keep(name):
        return lambda module, _, output: found.update({name: output})

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        model(**given)
    for handle in handles:
        handle.remove()
    return found


def _linear(model, given, sites: dict[str, tuple[int, Tensor, Tensor]], names: tuple[str, str], scale) -> dict:
    """Heads of attentions with two projections: their number, mask and padding of the queries, by name."""
    rows = outputs_of(model, [f"{site}.{name}" for site in sites for name in names], given)
    seen = {}
    for site, (heads, mask, alive) in sites.items():
        q, k = (split(rows[f"{site}.{name}"], heads) for name in names)
        seen[site] = Heads(q, k, scale or q.shape[-1] ** -0.5, mask, alive=alive)
    return seen


def _bert(implementation: str) -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        attn_implementation=implementation,
    )
    return BertModel(config)


def _see_bert(model, given):
    kept = given["attention_mask"]
    sites = {f"encoder.layer.{n}.attention.self": (2, taken(kept, causal=False), kept.bool()) for n in range(2)}
    return _linear(model, given, sites, ("query", "key"), None)


def _gpt2(implementation: str) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WORDS,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation=implementation,
    )
    return GPT2LMHeadModel(config)


def _see_gpt2(model, given):
    sites = [f"transformer.h.{n}.attn" for n in range(2)]
    rows = outputs_of(model, [f"{site}.c_attn" for site in sites], given)
    kept, seen = given["attention_mask"], {}
    for site in sites:
        q, k, _ = (split(part, 2) for part in rows[f"{site}.c_attn"].chunk(3, -1))
        seen[site] = Heads(q, k, 8**-0.5, taken(kept, causal=True), alive=kept.bool())
    return seen


def _llama(implementation: str) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        attn_implementation=implementation,
    )
    return LlamaForCausalLM(config)


def _rotated(rows: Tensor) -> Tensor:
    """Pairs of entries i and i + k/2, turned by position / 10000^(2i/k)."""
    half = rows.shape[-1] // 2
    angle = torch.arange(rows.shape[-2]).unsqueeze(-1) / 10000 ** (torch.arange(half) / half)
    # the model has its tables in float32
    cos, sin = (table.float().to(rows.dtype) for table in (angle.cos(), angle.sin()))
    one, other = rows[..., :half], rows[..., half:]
    return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)


def _see_llama(model, given):
    kept, seen = given["attention_mask"], {}
    sites = [f"model.layers.{n}.self_attn" for n in range(2)]
    rows = outputs_of(model, [f"{site}.{name}" for site in sites for name in ("q_proj", "k_proj")], given)
    for site in sites:
        q, k = _rotated(split(rows[f"{site}.q_proj"], 4)), _rotated(split(rows[f"{site}.k_proj"], 2))
        seen[site] = Heads(q, k, 4**-0.5, taken(kept, causal=True), alive=kept.bool())
    return seen


def _t5(implementation: str) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=WORDS,
        d_model=16,
        d_kv=4,
        d_ff=16,
        num_layers=2,
        num_heads=2,
        relative_attention_num_buckets=8,
        decoder_start_token_id=0,
        attn_implementation=implementation,
    )
    return T5ForConditionalGeneration(config)


def _see_t5(model, given):
    kept, later = given["attention_mask"], given["decoder_attention_mask"]
    sites = {}
    for n in range(2):
        sites[f"encoder.block.{n}.layer.0.SelfAttention"] = (2, taken(kept, causal=False), kept.bool())
        sites[f"decoder.block.{n}.layer.0.SelfAttention"] = (2, taken(later, causal=True), later.bool())
        sites[f"decoder.block.{n}.layer.1.EncDecAttention"] = (2, taken(kept, causal=False), None)
    seen = _linear(model, given, sites, ("q", "k"), 1.0)
    for site, heads in seen.items():
        if "SelfAttention" in site:
            stack = model.get_submodule(site.split(".")[0])
            heads.bias = stack.block[0].layer[0].SelfAttention.compute_bias(*heads.mask.shape[-2:]).detach()
            heads.__post_init__()
    return seen


def _bart(implementation: str) -> nn.Module:
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=WORDS,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        attn_implementation=implementation,
    )
    return BartForConditionalGeneration(config)


def _see_bart(model, given):
    kept, later = given["attention_mask"], given["decoder_attention_mask"]
    sites = {}
    for n in range(2):
        sites[f"model.encoder.layers.{n}.self_attn"] = (2, taken(kept, causal=False), kept.bool())
        sites[f"model.decoder.layers.{n}.self_attn"] = (4, taken(later, causal=True), later.bool())
        sites[f"model.decoder.layers.{n}.encoder_attn"] = (4, taken(kept, causal=False), None)
    return _linear(model, given, sites, ("q_proj", "k_proj"), None)


BERT = Architecture("bert", _bert, _see_bert, layers=tuple(f"encoder.layer.{n}.attention.self" for n in range(2)))
GPT2 = Architecture("gpt2", _gpt2, _see_gpt2, causal=True, layers=tuple(f"transformer.h.{n}.attn" for n in range(2)))
LLAMA = Architecture("llama", _llama, _see_llama, True, layers=tuple(f"model.layers.{n}.self_attn" for n in range(2)))
T5 = Architecture("t5", _t5, _see_t5, True, True, tuple(f"decoder.block.{n}.layer.0.SelfAttention" for n in range(2)))
BART = Architecture(
    "bart", _bart, _see_bart, True, True, tuple(f"model.decoder.layers.{n}.self_attn" for n in range(2))
)
ARCHITECTURES = [BERT, GPT2, LLAMA, T5, BART]

each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=repr)
each_implementation = pytest.mark.parametrize("implementation", ["sdpa", "eager"])
each_side = pytest.mark.parametrize("side", ["none", "right", "left"])


def unlike(model: nn.Module, seed: int = 0) -> nn.Module:
    """The same in float64, with weights so large that heads differ, and never the same twice."""
    g = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                size = 1.0 if "emb" in name or name.endswith(("wte.weight", "wpe.weight", "shared.weight")) else None
                scale = size or 1.2 / math.sqrt(parameter.shape[0])
                parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64) * scale)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64) * 0.3)
    return model


@cache
def _made(name: str, implementation: str) -> dict[str, Tensor]:
    architecture = next(a for a in ARCHITECTURES if a.name == name)
    return unlike(architecture.build(implementation)).state_dict()


def transformer(architecture: Architecture, implementation: str = "sdpa") -> nn.Module:
    """A model in float64 and evaluation, its weights always the same."""
    model = architecture.build(implementation).double().eval()
    model.load_state_dict(_made(architecture.name, implementation))
    return model


def padded(architecture: Architecture, implementation: str, side: str) -> tuple[nn.Module, dict[str, Tensor], float]:
    """A model, its inputs and a tolerance."""
    model = transformer(architecture, implementation)
    if architecture is LLAMA and (implementation, side) == ("eager", "left"):
        # its softmax is of float32, where the lowest number of float64 is -inf, and rows of padding NaN
        return model.float(), inputs(architecture, side), 1e-4
    return model, inputs(architecture, side), 1e-6


def outputs(model: nn.Module, given: dict[str, Tensor]) -> Tensor:
    """Logits, or the last hidden states, with gradients if the mode wants them."""
    found = model(**given)
    return found.logits if hasattr(found, "logits") else found.last_hidden_state


def live(architecture: Architecture, given: dict[str, Tensor]) -> Tensor:
    """bool (B, L): the outputs that belong to tokens."""
    return given["decoder_attention_mask" if architecture.crosses else "attention_mask"].bool()


# ----------------------------------------------------------------------------------------------------- modules of torch


class Attends(nn.Module):
    """A module of somebody's own that calls the function of torch."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **options) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, **options)


class Projects(nn.Module):
    """Self-attention with projections, for tokens (B, N, 16)."""

    def __init__(self, heads: int = 2, *, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.into = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split(part, self.heads) for part in self.into(x).chunk(3, -1))
        result = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.out(result.transpose(1, 2).flatten(-2))


def multi_head_states(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Heads (B, h, rows, k) of queries, keys and values (B, rows, size)."""
    if layer.in_proj_weight is not None:
        weights = layer.in_proj_weight.chunk(3)
    else:
        weights = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    biases = (None,) * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    if layer.bias_k is not None:
        k = torch.cat([k, layer.bias_k.expand(len(k), 1, -1)], 1)
        v = torch.cat([v, layer.bias_v.expand(len(v), 1, -1)], 1)
    if layer.add_zero_attn:
        k, v = (torch.cat([t, torch.zeros_like(t[:, :1])], 1) for t in (k, v))
    q, k, v = (split(t, layer.num_heads) for t in (q, k, v))
    return q, k, v
