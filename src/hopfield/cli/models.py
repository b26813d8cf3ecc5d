"""Models of transformers with their tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hopfield.errors import HopfieldError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Model:
    """A model with its tokenizer.

    Attributes:
        name: short, for people.
        network: the model.
        tokenizer: its tokenizer.
        notes: what a reader of its numbers should know.
    """

    name: str
    network: Any
    tokenizer: Any
    notes: list[str] = field(default_factory=list)

    @property
    def longest(self) -> int | None:
        """Most tokens of a sequence; None if there is no bound."""
        config = self.network.config.get_text_config()
        for key in ("max_position_embeddings", "n_positions"):
            positions = getattr(config, key, None)
            if isinstance(positions, int) and positions > 0:
                break
        else:
            return None
        # where padding has a position of its own, tokens begin behind it
        for name, module in self.network.named_modules():
            padding = getattr(module, "padding_idx", None)
            if name.endswith("position_embeddings") and padding is not None:
                return int(module.num_embeddings) - int(padding) - 1
        return positions

    def read(self, tokens: Tensor) -> None:
        """Let the model read sequences (B, L). A decoder that follows an encoder reads the same, begun anew.

        Raises:
            HopfieldError: the model cannot read them.
        """
        tokens = tokens.to(self.network.device)
        given = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if self.network.config.is_encoder_decoder:
            given["decoder_input_ids"] = self._shifted(tokens)
        try:
            with torch.no_grad():
                self.network(**given)
        except HopfieldError:
            raise
        except torch.OutOfMemoryError as error:
            raise HopfieldError(f"{self.name} needs more memory than there is; give a smaller --batch") from error
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise HopfieldError(
                f"{self.name} ({type(self.network).__name__}) cannot read a text of {tokens.shape[1]} tokens: "
                f"{one_line(error)}; give a model of text with its own tokenizer, or a smaller --length"
            ) from error

    def _shifted(self, tokens: Tensor) -> Tensor:
        config = self.network.config
        found = (getattr(config, f"{name}_token_id", None) for name in ("decoder_start", "bos", "pad"))
        start = next((token for token in found if token is not None), None)
        if start is None:
            raise HopfieldError(
                f"{self.name} does not say which token its decoder begins with (decoder_start_token_id)"
            )
        return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], 1)


def load(name: str, *, device: str, dtype: str) -> Model:
    """A model and its tokenizer, from a folder or by its name on the hub.

    Raises:
        HopfieldError: transformers is missing, an unknown device or number type, no model or no tokenizer there.
    """
    if dtype not in DTYPES:
        raise HopfieldError(f"--dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # what torch raises for names and missing devices
        raise HopfieldError(f"--device {device!r} cannot be used here: {one_line(error)}") from error
    try:
        from transformers import AutoConfig, AutoModel, AutoTokenizer
    except ImportError as error:
        raise HopfieldError('reading models needs transformers: pip install "hopfield[lens]"') from error
    folder = Path(name).expanduser()
    where, short = name, name
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise HopfieldError(
                f"the folder {folder} has no config.json: it must hold a model of transformers with its tokenizer, as "
                "save_pretrained writes them"
            )
        where, short = str(folder), "/".join(folder.resolve().parts[-2:]).lstrip("/")
    elif name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise HopfieldError(f"no folder {folder}; give a folder of a model, or its name on the hub")
    with quiet():
        config = _made(f"model {name}", lambda: AutoConfig.from_pretrained(where, trust_remote_code=False))
        tokenizer = _made(
            f"tokenizer of {name}",
            lambda: AutoTokenizer.from_pretrained(where, trust_remote_code=False),
            "; its files belong beside the model, as tokenizer.save_pretrained writes them",
        )
        # without its files some become one that knows no words
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise HopfieldError(
                f"the tokenizer of {name} knows no words: its files are missing; they belong beside the model, as "
                "tokenizer.save_pretrained writes them"
            )
        network, facts = _made(
            f"model {name}",
            lambda: AutoModel.from_pretrained(where, config=config, trust_remote_code=False, output_loading_info=True),
        )
    model = Model(short, network.to(device=place, dtype=DTYPES[dtype]).eval(), tokenizer)
    network.config.use_cache = False  # keys are not kept for more tokens
    missing = sorted(key for key in facts["missing_keys"] if not key.startswith("pooler."))
    if missing:
        model.notes.append(
            f"{len(missing)} of the weights are not in the files and were drawn at random, such as {missing[0]}: what "
            "follows says little about a trained model"
        )
    return model


def _made(what: str, make: Callable[[], Any], advice: str = "") -> Any:
    """What transformers makes of files, with its own words where it cannot."""
    try:
        return make()
    except Exception as error:  # of many libraries, and each has exceptions of its own
        raise HopfieldError(f"cannot load the {what}: {one_line(error)}{advice}") from error


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks and bars of transformers."""
    from transformers.utils import logging as module

    logging: Any = module  # some of it has no types
    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
