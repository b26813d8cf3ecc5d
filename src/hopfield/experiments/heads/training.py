"""Small language models that are trained on plain text, and what their heads do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hopfield.datasets.texts import load_text
from hopfield.errors import HopfieldError
from hopfield.experiments.record import digest
from hopfield.lens import HeadHistory

MODELS = ("encoder", "decoder")
# Wikipedia and plays to learn from; what the models are tested on is none of it
TRAINING = ("wikitext2_test", "tinyshakespeare")
TESTING = "wikitext2_valid"
_MASK = 0
_IGNORED = -100  # a label that the loss of transformers leaves out


@dataclass(frozen=True)
class Setting:
    """Sizes of a model and of its training; tokens are bytes, of which one more stands for what is masked."""

    layers: int = 6
    heads: int = 4
    size: int = 64
    length: int = 128
    batch: int = 16
    rate: float = 2e-3
    warmup: int = 100
    masked: float = 0.15
    """Share of the tokens that the encoder has to guess."""
    probes: int = 16
    """Sequences with which the heads are looked at, from the training text."""
    rows: int = 32
    """Query rows of each of them."""
    tests: int = 64
    """Batches of the test text."""

    def digest(self, texts: Texts, steps: int) -> str:
        """Eight letters for everything that shapes the outcome of a run, but for the seed."""
        return digest({**asdict(self), "steps": steps, "texts": [len(texts.training), len(texts.testing)]})


@dataclass(frozen=True)
class Texts:
    """Bytes to learn from and bytes to be tested on, uint8, as tokens 1 to 256."""

    training: Tensor
    testing: Tensor

    @classmethod
    def load(cls, data_dir: str | Path | None) -> Texts:
        """Read the texts.

        Raises:
            HopfieldError: a text is missing.
        """
        training = "".join(load_text(name, data_dir=data_dir) for name in TRAINING)
        return cls(_tokens(training), _tokens(load_text(TESTING, data_dir=data_dir)))


def _tokens(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).long() + 1


def build(kind: str, setting: Setting) -> nn.Module:
    """A new model: a ModernBERT that guesses masked tokens, or a GPT-2 that guesses the next one."""
    from transformers import GPT2Config, GPT2LMHeadModel, ModernBertConfig, ModernBertForMaskedLM

    special = {"bos_token_id": _MASK, "eos_token_id": _MASK}
    if kind == "encoder":
        config = ModernBertConfig(
            vocab_size=257,
            hidden_size=setting.size,
            num_hidden_layers=setting.layers,
            num_attention_heads=setting.heads,
            intermediate_size=2 * setting.size,  # gated: as many weights as one layer of 3 times the size
            max_position_embeddings=setting.length,
            global_attn_every_n_layers=1,
            pad_token_id=_MASK,
            cls_token_id=_MASK,
            sep_token_id=_MASK,
            **special,
        )
        encoder: nn.Module = ModernBertForMaskedLM(config)
        return encoder
    shape = GPT2Config(
        vocab_size=257,
        n_embd=setting.size,
        n_layer=setting.layers,
        n_head=setting.heads,
        n_positions=setting.length,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **special,
    )
    decoder: Any = GPT2LMHeadModel(shape)
    decoder.loss_type = "ForCausalLM"  # or transformers warns that it takes this one
    return decoder  # type: ignore[no-any-return]  # a module of transformers


def batches(
    kind: str, tokens: Tensor, setting: Setting, generator: torch.Generator, size: int | None = None
) -> Iterator[dict[str, Tensor]]:
    """Endless random batches: tokens, and what is to be guessed of them."""
    if len(tokens) <= setting.length:
        raise HopfieldError(f"a text must have more than {setting.length} bytes, got {len(tokens)}")
    while True:
        starts = torch.randint(len(tokens) - setting.length, (size or setting.batch, 1), generator=generator)
        rows = tokens[starts + torch.arange(setting.length)]  # (batch, length)
        if kind == "encoder":
            hidden = torch.rand(rows.shape, generator=generator) < setting.masked
            yield {"input_ids": rows.masked_fill(hidden, _MASK), "labels": rows.masked_fill(~hidden, _IGNORED)}
        else:
            yield {"input_ids": rows, "labels": rows}


@dataclass(frozen=True)
class Score:
    """How well tokens are guessed."""

    loss: float
    """Mean of -ln p of the right one; its exponential is the perplexity."""
    accuracy: float


def evaluate(model: nn.Module, kind: str, tokens: Tensor, setting: Setting, number: int, seed: int) -> Score:
    """The score on some batches of a text, the same for the same seed."""
    loss = right = count = 0.0
    was = model.training
    model.eval()
    source = batches(kind, tokens, setting, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for _ in range(number):
            batch = next(source)
            logits, labels = model(input_ids=batch["input_ids"]).logits, batch["labels"]
            if kind == "decoder":
                logits, labels = logits[:, :-1], labels[:, 1:]
            asked = labels != _IGNORED
            logits, labels = logits[asked], labels[asked]
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            right += float((logits.argmax(-1) == labels).sum())
            count += len(labels)
    model.train(was)
    return Score(loss / count, right / count)


def fit(
    model: nn.Module,
    kind: str,
    tokens: Tensor,
    setting: Setting,
    steps: int,
    seed: int,
    after: Callable[[int, float], Any] | None = None,
) -> None:
    """Train those parameters that want to be, by AdamW with a warmup and a linear decay.

    Args:
        model: what is trained.
        kind: of the model.
        tokens: the text.
        setting: sizes.
        steps: how many batches.
        seed: of the batches.
        after: called with the number of steps made and the loss of the last.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=setting.rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = min(setting.warmup, max(steps // 5, 1))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max((steps - step) / steps, 0.05))
    )
    source = batches(kind, tokens, setting, torch.Generator().manual_seed(seed))
    model.train()
    for step in range(1, steps + 1):
        loss = model(**next(source)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if after is not None:
            after(step, float(loss.detach()))


def watch(model: nn.Module, kind: str, tokens: Tensor, setting: Setting, steps: int, seed: int) -> HeadHistory:
    """Something that records the heads more and more seldom: at some forty of the steps."""
    source = batches(kind, tokens, setting, torch.Generator().manual_seed(seed), setting.probes)
    moments = {0, steps} | {round(steps ** (i / 39)) for i in range(40)} | {round(steps * i / 20) for i in range(20)}
    probe = {"input_ids": next(source)["input_ids"]}
    return HeadHistory(model, [probe], every=lambda step: step in moments, rows=setting.rows, settled=0, seed=seed)


def smoothed(losses: list[float], span: int) -> list[float]:
    """Means over the last `span` losses, one for each."""
    sums = [0.0, *torch.tensor(losses, dtype=torch.float64).cumsum(0).tolist()]
    return [(sums[n] - sums[max(n - span, 0)]) / min(n, span) for n in range(1, len(sums))]
