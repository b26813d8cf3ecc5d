"""One call of an attention: masks as libraries take them, and who counts."""

import math

import pytest
import torch

from hopfield import HopfieldError
from hopfield.lens.call import Call, parted, scale_of
from tests.core.catalogue import examples, generator, integer, normal, one_of, yes
from tests.lens.catalogue import close


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("lowest", ["-inf", "of its type", "of half precision", "-1e9"])
def test_the_lowest_numbers_are_masks(dtype, lowest):
    value = {
        "-inf": -math.inf,
        "of its type": torch.finfo(dtype).min,
        "of half precision": torch.finfo(torch.float16).min,
        "-1e9": max(-1e9, torch.finfo(dtype).min),
    }[lowest]
    mask = torch.zeros(2, 3, dtype=dtype)
    mask[0, 1] = value
    taken, bias = parted(mask, torch.empty(1, 1, 3, 2))
    assert bias is None
    assert taken.tolist() == [[[[True, False, True], [True, True, True]]]]
    mask[1, 2] = -3.5
    taken, bias = parted(mask, torch.empty(1, 1, 3, 2))
    assert taken.tolist() == [[[[True, False, True], [True, True, True]]]]
    assert bias.tolist() == [[[[0, 0, 0], [0, 0, -3.5]]]]


def test_masks_are_put_in_one_form():
    key = torch.empty(1, 1, 3, 2)
    assert parted(None, key) == (None, None)
    taken, bias = parted(torch.tensor([True, False, True, False]), key)
    assert (taken.tolist(), bias) == ([[[[True, False, True]]]], None)
    assert parted(torch.ones(2, 1, 1, 1, dtype=torch.bool), key)[0].shape == (2, 1, 1, 1)
    assert scale_of(torch.empty(2, 16), None) == 0.25
    assert scale_of(torch.empty(2, 16), 2) == 2.0


def some(g, L, N, **options):
    return Call(normal(g, 2, 2, L, 3), normal(g, 2, 2, N, 3), normal(g, 2, 2, N, 4), scale=0.7, **options)


@examples(25)
def test_weights_times_values_are_the_result(seed):
    g = generator(seed)
    L, N = integer(g, 1, 5), integer(g, 1, 5)
    options = {
        "mask": one_of(g, None, yes(g, 2, 1, L, N, chance=0.7), yes(g, 1, 2, 1, N, chance=0.7)),
        "bias": one_of(g, None, normal(g, 2, 2, L, N), normal(g, 1, 1, 1, N)),
        "causal": bool(yes(g)),
        "steps": one_of(g, 1, 2),
    }
    if N >= L and bool(yes(g)):
        options["averages"] = (((1,), lambda n, mask: torch.full((1, n, n), 0.1).double()),)
    call = some(g, L, N, **options)
    close(call.run(), call.weights() @ call.value, 1e-9)
    close(call.last().run(), call.run(), 1e-9)
    assert call.last().steps == 1
    rows = torch.arange(L)[torch.randperm(L, generator=g)[: integer(g, 1, L)]]
    close(call.task(rows).weights(), call.task().weights()[..., rows, :], 1e-12)
    part = call.sequences(slice(1, 2))
    close(part.task().weights(), call.task().weights()[1:], 1e-12)


def test_heads_share_their_keys():
    g = generator(1)
    query, key, value = normal(g, 2, 4, 3, 5), normal(g, 2, 2, 3, 5), normal(g, 2, 1, 3, 5)
    call = Call(query, key, value, 1.0)
    assert torch.equal(call.key, key[:, [0, 0, 1, 1]])
    assert torch.equal(call.value, value[:, [0, 0, 0, 0]])
    assert call.heads == 4
    with pytest.raises(HopfieldError, match=r"as many heads as the queries have.*got \(2, 4, 3, 5\), \(2, 3, 3, 5\)"):
        Call(query, normal(g, 2, 3, 3, 5), normal(g, 2, 3, 3, 5), 1.0)
    with pytest.raises(HopfieldError, match=r"queries, keys and values must be \(B, h, rows, size\)"):
        Call(query, normal(g, 3, 2, 3, 5), value, 1.0)


def test_who_counts():
    g = generator(2)
    columns = torch.tensor([[True, True, False], [True, False, True]])
    mask = columns[:, None, None]
    assert some(g, 3, 3).counted() is None
    assert torch.equal(some(g, 3, 3, mask=mask).counted(), columns)
    assert torch.equal(some(g, 3, 3, mask=mask.expand(2, 2, 3, 3).tril()).counted(), columns)
    # queries of another sequence all see something
    assert some(g, 3, 3, mask=mask, crossed=True).counted().all()
    assert some(g, 2, 3, mask=mask).counted().tolist() == [[True, True]] * 2
    # behind the tokens may be more keys
    more = torch.cat([mask, torch.ones(2, 1, 1, 1, dtype=torch.bool)], -1)
    assert torch.equal(some(g, 3, 4, mask=more, crossed=False).counted(), columns)
    assert some(g, 3, 4, mask=more).counted().all()
    alive = torch.tensor([[True, False, False]]).expand(2, 3)
    assert torch.equal(some(g, 3, 3, mask=mask, alive=alive).counted(), alive)
    assert torch.equal(some(g, 3, 3, mask=mask, alive=alive).sequences(slice(0, 1)).counted(), alive[:1])


def test_which_keys_belong_to_the_queries():
    g = generator(3)
    assert some(g, 3, 3).tokens() == slice(0, 3)
    assert some(g, 2, 5).tokens() == slice(3, 5)
    assert some(g, 2, 5, causal=True).tokens() == slice(0, 2)
    assert some(g, 3, 5, crossed=False).tokens() == slice(0, 3)
    # a cache that is empty behind the third key
    mask = torch.tensor([[True, True, True, False, False], [False, True, True, False, False]])[:, None, None]
    assert some(g, 1, 5, mask=mask).tokens() == slice(2, 3)
    # a last token that is padding in all sequences
    assert some(g, 5, 5, mask=mask).tokens() == slice(0, 5)
