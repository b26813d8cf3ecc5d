"""The embedding of sequences against a textbook convolution of one-hot vectors in float64, and its gradients."""

import copy
import math
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, stack_module_state, vmap

from hopfield.datasets.repertoires import ALPHABET, find_motif
from hopfield.errors import HopfieldError
from hopfield.nn import sequences as module
from hopfield.nn.sequences import SequenceEmbedding
from tests.core.catalogue import examples, generator, integer, one_of
from tests.nn.catalogue import all_close, close, gradients, unlike

TYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


def textbook(layer, rows):
    """Sequence by sequence, window by window."""
    outputs = []
    for row in rows.tolist():
        letters = [letter for letter in row[1:] if letter]
        n, K = len(letters), layer.kernel
        before = K // 2
        inputs = layer.bias.new_zeros(n + K, layer.letters + 3)  # one-hot, then three features of the place
        for p, letter in enumerate(letters):
            inputs[before + p, letter - 1] = 1
            t = p / max(n - 1, 1)
            inputs[before + p, -3:] = inputs.new_tensor([max(0, 1 - 2 * t), 1 - abs(2 * t - 1), max(0, 2 * t - 1)])
        table = torch.cat([layer.weight, layer.position], 1)  # (kernel, letters + 3, features)
        windows = [torch.einsum("kl,klc->c", inputs[p : p + K], table) for p in range(max(n, 1))]
        z = torch.stack(windows).max(0).values + layer.bias
        outputs.append(F.selu(z if layer.level is None else z + row[0] / 16 * layer.level))
    return torch.stack(outputs) if outputs else layer.bias.new_zeros(0, layer.output_size)


def some_rows(g, letters, longest, count=None):
    """Encoded sequences of all lengths from 0 to `longest`."""
    count = integer(g, 1, 7) if count is None else count
    rows = torch.randint(1, letters + 1, (count, 1 + longest), generator=g)
    lengths = torch.randint(0, longest + 1, (count, 1), generator=g)
    rows[:, 1:].masked_fill_(torch.arange(longest) >= lengths, 0)
    rows[:, 0] = torch.randint(0, 256, (count,), generator=g)
    return rows.to(one_of(g, *TYPES))


def some_layer(g, **options):
    options = {"kernel": integer(g, 1, 6), "letters": integer(g, 1, 20), "counts": one_of(g, True, False)} | options
    return unlike(SequenceEmbedding(integer(g, 1, 5), **options), g)


def stacked(layers, rows):
    """All layers at once: the way without embedding_bag."""
    parameters, buffers = stack_module_state(layers)
    output = vmap(lambda p, b: functional_call(layers[0], (p, b), (rows,)), randomness="error")(parameters, buffers)
    return output, parameters


# --------------------------------------------------------------------------------------------------------- the textbook


@examples(40)
def test_the_textbook(seed):
    g = generator(seed)
    layer = some_layer(g)
    rows = some_rows(g, layer.letters, integer(g, 1, 12))
    expected = textbook(layer, rows)
    output = layer(rows)
    close(output, expected)
    all_close(gradients(output, [], layer), gradients(expected, [], layer))
    with torch.no_grad():
        close(layer(rows), expected)


@examples(20)
def test_under_vmap(seed):
    g = generator(seed)
    first = some_layer(g)
    layers = [first, unlike(copy.deepcopy(first), g)]
    rows = some_rows(g, first.letters, integer(g, 1, 12))
    output, parameters = stacked(layers, rows)
    close(output, torch.stack([layer(rows) for layer in layers]))
    weights = torch.linspace(0.5, 1.5, output[0].numel(), dtype=torch.float64).view_as(output[0])
    found = torch.autograd.grad((output * weights).sum(), list(parameters.values()))
    for grad, *own in zip(found, *[gradients(layer(rows), [], layer) for layer in layers], strict=True):
        close(grad, torch.stack(own))
    with torch.no_grad():
        close(stacked(layers, rows)[0], output)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("longest", [1, 2, 5, 9, 20])
@pytest.mark.parametrize("counts", [False, True], ids=["", "counts"])
def test_kernels_of_all_sizes(kernel, longest, counts):
    g = generator(1)
    layer = some_layer(g, kernel=kernel, letters=20, counts=counts)
    rows = some_rows(g, 20, longest, 10)
    rows[0, 1:] = 0
    rows[1, 1:] = 20
    close(layer(rows), textbook(layer, rows))
    close(stacked([layer, layer], rows)[0][1], textbook(layer, rows))


def test_an_empty_sequence_is_its_level_and_the_bias():
    layer = some_layer(generator(2), kernel=3, letters=4, counts=True)
    rows = torch.tensor([[32, 0, 0, 0, 0]], dtype=torch.uint8)
    close(layer(rows), F.selu(layer.bias + 2 * layer.level).unsqueeze(0))
    layer = some_layer(generator(2), kernel=3, letters=4, counts=False)
    close(layer(rows), F.selu(layer.bias).unsqueeze(0))


@pytest.mark.parametrize("counts", [False, True])
def test_only_letters_and_perhaps_counts_matter(counts):
    g = generator(3)
    layer = some_layer(g, kernel=4, letters=20, counts=counts)
    rows = some_rows(g, 20, 9, 6).to(torch.int64)
    other = rows.clone()
    other[:, 0] = 255 - other[:, 0]
    assert torch.equal(layer(rows), layer(other)) == (not counts)
    longer = F.pad(rows, (0, 5))  # more padding
    close(layer(longer), layer(rows))
    for kind in TYPES:
        assert torch.equal(layer(rows.to(kind)), layer(rows))


def test_at_the_start_places_do_not_matter_and_letters_do():
    layer = SequenceEmbedding(200)
    assert not layer.position.any()
    assert not layer.bias.any()
    assert not layer.level.any()
    assert layer.weight.std().item() == pytest.approx(1 / 3, rel=0.02)
    rows = torch.randint(1, 21, (5, 10))
    one, other = (torch.cat([torch.zeros(5, 1).long(), *parts], 1) for parts in ([rows, rows[:, :0]], [rows]))
    close(layer(one), layer(other))


def test_no_sequences():
    layer = some_layer(generator(4), kernel=3, letters=4)
    rows = torch.zeros(0, 6, dtype=torch.uint8)
    assert layer(rows).shape == (0, layer.output_size)
    with torch.no_grad():
        assert layer(rows).shape == (0, layer.output_size)
    assert all(not grad.any() for grad in gradients(layer(rows), [], layer))


def test_many_sequences_go_in_pieces():
    g = generator(5)
    layer = some_layer(g, kernel=3, letters=20)
    rows = some_rows(g, 20, 8, 11)
    expected = layer(rows).detach()
    with mock.patch.object(module, "_PIECE", 4), torch.no_grad():
        close(layer(rows), expected)


def test_half_precision_is_near():
    g = generator(6)
    layer = some_layer(g, kernel=5, letters=20)
    rows = some_rows(g, 20, 12, 9)
    close(copy.deepcopy(layer).float()(rows).double(), layer(rows), 1e-4)
    close(copy.deepcopy(layer).bfloat16()(rows).double(), layer(rows), 0.2)


# -------------------------------------------------------------------------------------------------- started from motifs


def some_motif(g, longest, letters):
    """Codes of a motif of 1 to `longest` places, gaps only inside."""
    motif = torch.randint(1, letters + 1, (integer(g, 1, longest),), generator=g)
    motif[1:-1].masked_fill_(torch.rand(max(0, len(motif) - 2), generator=g) < 0.4, 0)
    return tuple(motif.tolist())


def name_of(motif):
    return "".join(("?" + ALPHABET)[code] for code in motif)


@pytest.mark.parametrize("kernel", range(1, 10))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@examples(5)
def test_a_started_feature_is_positive_where_a_sequence_has_the_whole_motif(seed, kernel, dtype):
    g = generator(seed)
    layer = some_layer(g, kernel=kernel, letters=20).to(dtype)
    motifs = [some_motif(g, kernel, 3) for _ in range(layer.output_size)]  # few letters, so that many have them
    motifs[0] = tuple(torch.randint(1, 4, (kernel,), generator=g).tolist())  # as long as the window
    layer.start_from(motifs)
    rows = some_rows(g, 3, 12, 40).to(torch.uint8)
    rows[0, 1 : 1 + kernel] = torch.tensor(motifs[0])  # at the beginning
    found = layer(rows) > 0
    for own, motif in zip(found.T, motifs, strict=True):
        assert torch.equal(own, find_motif(rows[:, 1:], name_of(motif)))
    assert torch.equal(stacked([layer, layer], rows)[0][1] > 0, found)


@pytest.mark.parametrize("kernel", range(1, 10))
def test_a_motif_may_lie_anywhere_in_a_sequence(kernel):
    g = generator(8)
    for size in range(1, kernel + 1):
        motif = torch.randint(1, 5, (size,), generator=g)
        motif[1:-1:2] = 0
        layer = some_layer(g, kernel=kernel, letters=20)
        layer.start_from([motif.tolist()])
        for length in range(size, size + 4):
            places = length - size + 1
            rows = torch.full((places, 1 + 14), 7)
            rows[:, 1 + length :] = 0  # padding
            for place, row in enumerate(rows):
                row[1 + place : 1 + place + size] = motif.masked_fill(motif == 0, 9)
            assert (layer(rows)[:, 0] > 0).all()
            for letter in motif.nonzero().flatten().tolist():  # one letter is another
                other = rows.clone()
                other[torch.arange(places), torch.arange(places) + 1 + letter] = 8
                assert (layer(other)[:, 0] < 0).all()
        rows[:, size:] = 0  # too short for the motif
        assert (layer(rows)[:, 0] < 0).all()


def test_what_is_left_over_and_what_places_and_counts_are():
    layer = unlike(SequenceEmbedding(4, kernel=5, letters=6), generator(9))
    before = copy.deepcopy(layer.state_dict())
    layer.start_from([(1, 0, 2), (3, 4)], strength=3.0)
    for name, value in layer.state_dict().items():
        assert torch.equal(value[..., 2:], before[name][..., 2:])
    assert not layer.position[..., :2].any()
    assert not layer.level[:2].any()
    assert layer.bias[:2].tolist() == [-4.5, -4.5]
    for feature, letters in enumerate([{(1, 0), (3, 1)}, {(2, 2), (3, 3)}]):
        found = layer.weight[..., feature]
        assert {tuple(where) for where in found.nonzero().tolist()} in [
            {(place + shift, letter) for place, letter in letters} for shift in (-1, 0, 1)
        ]
        assert found.sum() == 6
    assert all(parameter.requires_grad for parameter in layer.parameters())
    changed = copy.deepcopy(layer)
    changed.start_from([])
    assert all(map(torch.equal, changed.state_dict().values(), layer.state_dict().values()))


def test_strength_is_the_scale_of_a_started_feature():
    rows = torch.tensor([[9, 5, 1, 2, 3, 5], [9, 5, 1, 2, 4, 5], [9, 0, 0, 0, 0, 0]])
    for strength in (1.0, 2.0, 8.0):
        layer = SequenceEmbedding(1, kernel=4, letters=5)
        layer.start_from([(1, 2, 3)], strength)
        close(layer(rows), F.selu(torch.tensor([[0.5], [-0.5], [-2.5]]) * strength), 1e-5)


@pytest.mark.parametrize("motif", [(), (0,), (0, 0), (1, 1, 1, 1), (1, 0, 0, 1), (5,), (1, -1)], ids=str)
def test_motifs_that_make_no_sense(motif):
    layer = SequenceEmbedding(2, kernel=3, letters=4)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(HopfieldError, match=r"a motif must be at most 3 codes from 0 \(any letter\) to 4, .*; got \["):
        layer.start_from([(1, 2), motif])
    with pytest.raises(HopfieldError, match="there are 2 features, one for each motif; got 3 motifs"):
        layer.start_from([(1,), (2,), (3,)])
    assert all(map(torch.equal, layer.state_dict().values(), before.values()))


# ---------------------------------------------------------------------------------------------------- files and errors


@pytest.mark.parametrize("counts", [False, True])
def test_a_state_dict(counts):
    g = generator(7)
    layer = some_layer(g, kernel=3, letters=5, counts=counts)
    names = {"weight", "position", "bias"} | ({"level"} if counts else set())
    assert set(layer.state_dict()) == names
    other = SequenceEmbedding(layer.output_size, kernel=3, letters=5, counts=counts).double()
    other.load_state_dict(layer.state_dict())
    rows = some_rows(g, 5, 6)
    assert torch.equal(other(rows), layer(rows))
    assert repr(layer) == f"SequenceEmbedding({layer.output_size}, kernel=3, letters=5)"


@pytest.mark.parametrize("name", ["features", "kernel", "letters"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9", math.nan])
def test_sizes_that_make_no_sense(name, value):
    with pytest.raises(HopfieldError, match=f"{name} must be an integer of at least 1, got"):
        SequenceEmbedding(**{name: value})


@pytest.mark.parametrize(
    "rows",
    [
        torch.ones(3, 6),
        torch.ones(6).long(),
        torch.ones(2, 3, 6).long(),
        torch.ones(3, 1).long(),
        torch.ones(3, 0).long(),
    ],
    ids=["floats", "vector", "batch", "no letters", "nothing"],
)
def test_rows_that_make_no_sense(rows):
    with pytest.raises(HopfieldError, match=r"sequences must be integers \(total, 1 \+ L\).*got shape"):
        SequenceEmbedding()(rows)


@pytest.mark.parametrize("letter", [-1, 5, 255])
def test_letters_that_are_not_in_the_alphabet(letter):
    rows = torch.tensor([[200, 1, 2, 4, 0], [200, 1, letter, 3, 0]])
    with pytest.raises(HopfieldError, match=f"letters must be 1 … 4, and 0 for padding; got {letter}"):
        SequenceEmbedding(kernel=2, letters=4)(rows)
    assert SequenceEmbedding(kernel=2, letters=4)(rows[:1]).shape == (1, 32)
