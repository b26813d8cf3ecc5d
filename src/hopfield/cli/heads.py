"""`hopfield heads`: what the attention heads of a model of transformers do."""

from __future__ import annotations

import inspect
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hopfield.cli.common import Seed, make_folder, write_json
from hopfield.errors import HopfieldError
from hopfield.progress import progress_bar

if TYPE_CHECKING:
    from torch import Tensor

    from hopfield.cli.models import Model
    from hopfield.lens import HeadReport


def heads(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder of a model with its tokenizer, or its name on the hub of transformers."
        ),
    ],
    text: Annotated[
        list[Path], typer.Option(help="UTF-8 file that the model reads; give the option repeatedly for several.")
    ],
    length: Annotated[
        int, typer.Option(help="Tokens of a sequence, special ones included; at most what the model takes.", min=2)
    ] = 512,
    sequences: Annotated[int, typer.Option(help="How many sequences, spread evenly over the text.", min=1)] = 64,
    batch: Annotated[int, typer.Option(help="Sequences that the model reads at once.", min=1)] = 8,
    rows: Annotated[
        str, typer.Option(help="Positions of each batch whose queries are measured, drawn at random, or `all`.")
    ] = "16",
    mass: Annotated[float, typer.Option(help="Share of the weight that counts as all, in (0, 1].")] = 0.9,
    settled: Annotated[
        int, typer.Option(help="Positions whose queries are followed to their fixed points, now and then.", min=0)
    ] = 8,
    least: Annotated[int, typer.Option(help="Fewest keys of a query that counts for the class.", min=1)] = 32,
    device: Annotated[str, typer.Option(help="Where the model computes: cpu, cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="What it computes in: float32, bfloat16, float16.")] = "float32",
    out: Annotated[Path, typer.Option(help="Folder for heads.html, heads.png and heads.json.")] = Path("heads"),
    seed: Seed = 0,
) -> None:
    """What each attention head of a language model does: average everything, many patterns, few, or pick one.

    Every head is read as a Hopfield network while the model reads a text. A head's class comes from k, the number of
    keys that carry 90 % of the weight: I above half of the keys, II above an eighth, III above a 32nd, IV below.
    Encoders, decoders and both; a decoder that follows an encoder reads the same text. Needs transformers.

    For example:

        hopfield heads bert-base-cased --text wiki.txt

        hopfield heads ./my-model --text a.txt --text b.txt --length 128 --sequences 200 --rows all --out /tmp/heads

        hopfield heads gpt2 --text wiki.txt --device cuda --dtype bfloat16 --batch 32
    """
    given = locals().copy()
    from hopfield import plot, report
    from hopfield.cli import models
    from hopfield.cli.tables import print_heads
    from hopfield.cli.texts import read_text, sequences_of
    from hopfield.lens import HeadLens
    from hopfield.plot import style
    from hopfield.report.heads import heads_page

    begin = time.monotonic()
    texts = [read_text(path) for path in text]
    style.new_figure(1.0)  # if pictures cannot be had, then not after the work
    loaded = models.load(model, device=device, dtype=dtype)
    lens = HeadLens(loaded.network, mass=mass, rows=_rows(rows), settled=settled, least=least, seed=seed)
    notes = list(loaded.notes)
    if loaded.longest is not None and length > loaded.longest:
        notes.append(f"sequences have {loaded.longest} tokens, the most that the model takes, not {length}")
        length = loaded.longest
    if length < least:
        raise HopfieldError(
            f"queries count for the class if they attend to --least {least} keys, and sequences have {length} tokens; "
            "give a larger --length or a smaller --least"
        )
    with progress_bar() as progress, models.quiet(), lens:
        tokens = sequences_of(texts, loaded.tokenizer, length=length, number=sequences, progress=progress)
        folder = make_folder(out)
        if len(tokens) < sequences:
            notes.append(f"the text makes {len(tokens)} sequences of {length} tokens, not {sequences}")
        for start in range(0, len(tokens), batch):
            progress("reading", start, len(tokens))
            loaded.read(tokens[start : start + batch])
        found = lens.report()
    facts = _facts(loaded, text, tokens, given, notes)
    png = plot.png(plot.heads(found))
    page = heads_page(
        found, name=loaded.name, about=_about(facts), png=png, made=_made(facts, found, time.monotonic() - begin)
    )
    write_json(folder / "heads.json", {**facts, **found.to_dict()})
    report.write_bytes(folder / "heads.png", png)
    report.write(page, folder / "heads.html")
    print_heads(found, facts)
    for note in notes:
        typer.echo(f"hopfield: {note}", err=True)
    typer.echo(
        f"\nThe page: {folder / 'heads.html'}   The figure: {folder / 'heads.png'}   "
        f"The numbers: {folder / 'heads.json'}"
    )


def _rows(text: str) -> int | None:
    if text.casefold() == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise HopfieldError(f"--rows must be a whole number of at least 1, or all; got {text!r}")
    return int(text)


def _facts(
    loaded: Model, text: Sequence[Path], tokens: Tensor, given: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    """What was done to what, in JSON's terms."""
    from importlib.metadata import version

    from hopfield.experiments.origin import versions

    network = loaded.network
    return {
        "command": _command(given),
        "model": loaded.name,
        "class": type(network).__name__,
        "parameters": sum(p.numel() for p in network.parameters()),
        "encoder_decoder": bool(network.config.is_encoder_decoder),
        "texts": [path.name for path in text],
        "sequences": tokens.shape[0],
        "length": tokens.shape[1],
        "positions": given["rows"],
        "device": given["device"],
        "dtype": given["dtype"],
        "seed": given["seed"],
        "notes": notes,
        "versions": versions() | {"transformers": version("transformers")},
    }


def _command(given: dict[str, Any]) -> str:
    """The command with what differs from the defaults."""
    usual = {name: parameter.default for name, parameter in inspect.signature(heads).parameters.items()}
    words = ["hopfield", "heads", given["model"]]
    words += [word for path in given["text"] for word in ("--text", str(path))]
    for name, value in given.items():
        if name not in {"model", "text", "out"} and (value != usual[name] or name == "seed"):
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _about(facts: dict[str, Any]) -> str:
    """What the model is and what it read, in sentences."""
    from hopfield.experiments.words import listed

    sentences = [
        f"{facts['model']} is a {facts['class']} with {facts['parameters']:,} parameters.",
        f"It read {facts['sequences']:,} sequences of {facts['length']:,} tokens, special ones included.",
        f"They are spread evenly over {listed(facts['texts'])} and all equally long, so that there is no padding.",
    ]
    if facts["encoder_decoder"]:
        sentences.append("Its decoder read the same sequences, each token seeing those before it.")
    sentences += [f"Mind: {note}." for note in facts["notes"]]
    return " ".join(sentences)


def _made(facts: dict[str, Any], found: HeadReport, seconds: float) -> list[tuple[str, str]]:
    from hopfield.experiments.origin import machine

    computer = machine()
    every = facts["positions"] == "all"
    return [
        ("Command", facts["command"]),
        ("Rows", "every position" if every else f"{facts['positions']} positions of each batch, drawn at random"),
        ("Classes", f"k carries {found.mass:.4g} of the weight; of rows with at least {found.least} keys"),
        ("Numbers", f"{facts['dtype']} on {facts['device']}; seed {facts['seed']}"),
        ("Time", f"{seconds:.0f} seconds"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("Machine", f"{computer['processor']}, {computer['cores']} cores, {computer['system']}"),
    ]
