"""Tiny untrained models of transformers in folders, with tokenizers of forty words."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = [f"w{n}" for n in range(40)]
SIZES = {"vocab_size": 44, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
_HALF = {"layers": 2, "attention_heads": 4, "ffn_dim": 32}


def save_tokenizer(folder: Path, *, framed: bool = True) -> None:
    """Save a tokenizer of words, which puts <s> and </s> around a text if it frames."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<s>", "</s>"]
    words = Tokenizer(WordLevel({word: n for n, word in enumerate(special + WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    if framed:
        words.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)


def save(kind: str, folder: Path) -> Path:
    """Save a model, of at most 64 tokens where it has a bound, and its tokenizer."""
    import transformers as hf

    if kind == "bert":
        model = hf.BertModel(hf.BertConfig(**SIZES, max_position_embeddings=64))
    elif kind == "roberta":  # whose first two positions are no tokens'
        model = hf.RobertaModel(hf.RobertaConfig(**SIZES, max_position_embeddings=66, pad_token_id=1))
    elif kind == "gpt2":
        sizes = {"vocab_size": 44, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
        model = hf.GPT2Model(hf.GPT2Config(**sizes, bos_token_id=2, eos_token_id=3))
    else:
        sizes = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in _HALF.items()}
        model = hf.BartModel(hf.BartConfig(vocab_size=44, d_model=32, **sizes, max_position_embeddings=64))
    model.save_pretrained(folder)
    save_tokenizer(folder, framed=kind != "gpt2")
    return folder


def write_text(path: Path, words: int) -> Path:
    """Write a text of random words in lines of ten."""
    drawn = random.Random(0).choices(WORDS, k=words)
    path.write_text("\n".join(" ".join(drawn[i : i + 10]) for i in range(0, words, 10)), encoding="utf-8")
    return path
