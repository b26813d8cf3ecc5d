"""What single rows look like, and the norms of their Jacobians, however they lie."""

import math
from unittest import mock

import pytest
import torch

from hopfield.lens import mass as mass_
from hopfield.lens import rows as rows_
from hopfield.lens.call import Call
from hopfield.lens.rows import measure
from hopfield.separation import Softmax1, Sparsemax
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform, yes
from tests.lens.catalogue import Heads, close


def some_call(g):
    """A call, and what its heads see: scores from nearly equal to so far apart that one key has all the weight."""
    B, h, L, N = integer(g, 1, 3), integer(g, 1, 2), integer(g, 1, 4), integer(g, 1, 9)
    scale = 10 ** uniform(g, -3, 2)
    query, key = normal(g, B, h, L, 3), normal(g, B, h, N, 3)
    if bool(yes(g, chance=0.3)):  # ties
        key = key[..., :1, :].expand(B, h, N, 3) if bool(yes(g)) else key.round()
    mask = one_of(g, None, yes(g, B, 1, L, N, chance=0.7), yes(g, B, h, 1, N, chance=0.7), yes(g, 1, 1, L, 1))
    bias = one_of(g, None, None, normal(g, 1, h, L, N), 5 * normal(g, B, 1, 1, N))
    causal = bool(yes(g, chance=0.3))
    whole = torch.ones(B, h, L, N, dtype=torch.bool) if mask is None else mask.expand(B, h, L, N)
    whole = whole & torch.ones(L, N, dtype=torch.bool).tril() if causal else whole
    call = Call(query, key, key, scale, mask=mask, bias=bias, causal=causal)
    return call, Heads(query, key, scale, whole, bias)


@examples(150)
def test_rows_are_measured_by_the_textbook(seed):
    g = generator(seed)
    call, seen = some_call(g)
    mass = one_of(g, 0.9, uniform(g, 0.05, 1.0), 1.0)
    L = call.query.shape[-2]
    rows = torch.randperm(L, generator=g)[: integer(g, 1, L)]
    entries = one_of(g, 1, 20, 1 << 19)  # in tiles of a row, of some, and whole
    few = one_of(g, 0, 1 << 19)  # searched, and sorted
    with mock.patch.object(rows_, "_ENTRIES", entries), mock.patch.object(mass_, "_FEW", few):
        found = measure(call, rows, mass)  # (B, r, h, 6)
    expected = seen.quantities(mass).transpose(1, 2)[:, rows]
    assert torch.equal(found.isnan(), expected.isnan())
    attends = ~found[..., 0].isnan()
    found, expected = found.nan_to_num(), expected.nan_to_num()
    assert torch.equal(found[..., 1], expected[..., 1])
    close(found[..., 2], expected[..., 2], 1e-9)
    close(found[..., 3] * call.scale, expected[..., 3] * call.scale, 1e-8)
    close(found[..., 4] / call.scale, expected[..., 4] / call.scale, 1e-9)
    torch.testing.assert_close(found[..., 5] / call.scale, expected[..., 5] / call.scale, rtol=1e-6, atol=1e-10)
    # k keys carry the mass, and k - 1 do not, but for rounding
    carried = seen.weights().transpose(1, 2)[:, rows].sort(-1, descending=True).values.cumsum(-1)
    carried = torch.cat([torch.zeros_like(carried[..., :1]), carried], -1)
    k = found[..., :1].long()
    assert (carried.gather(-1, k)[..., 0] > mass - 1e-12)[attends].all()
    assert (carried.gather(-1, (k - 1).clamp(min=0))[..., 0] < mass + 1e-12)[attends].all()
    assert ((k[..., 0] >= 1) & (k[..., 0] <= found[..., 1]))[attends].all()


@examples(40)
def test_single_precision_has_its_digits(seed):
    """Relative to what they are, the norms too, however small."""
    g = generator(seed)
    call, _ = some_call(g)
    narrow = Call(
        call.query.float(),
        call.key.float(),
        call.value.float(),
        call.scale,
        mask=call.mask,
        bias=None if call.bias is None else call.bias.float(),
        causal=call.causal,
    )
    exact = Heads(
        narrow.query,
        narrow.key,
        call.scale,
        torch.ones(1, 1, 1, 1, dtype=torch.bool).expand(*call.query.shape[:3], call.key.shape[2])
        if call.mask is None
        else call.mask.expand(*call.query.shape[:3], call.key.shape[2]),
        narrow.bias,
    )
    if call.causal:
        exact.mask = exact.mask & torch.ones(exact.mask.shape[-2:], dtype=torch.bool).tril()
    rows = torch.arange(call.query.shape[-2])
    found, expected = measure(narrow, rows, 0.9), exact.quantities().transpose(1, 2)
    assert torch.equal(found.isnan(), expected.isnan())
    found, expected = found.nan_to_num(), expected.nan_to_num()
    torch.testing.assert_close(found[..., 2], expected[..., 2], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[..., 4], expected[..., 4], rtol=1e-3, atol=1e-12 * call.scale)
    torch.testing.assert_close(found[..., 5], expected[..., 5], rtol=1e-3, atol=1e-7 * call.scale)
    assert ((found[..., 0] - expected[..., 0]).abs() <= 1).all()


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-4, 1.0, 20.0, 40.0, 300.0, 2000.0])
@pytest.mark.parametrize("keys", [1, 2, 3, 50])
def test_norms_of_known_rows(gap, keys):
    """One key that is ahead of the others by a gap: p = (1 - (n - 1) q, q, ..., q)."""
    scores = torch.zeros(1, 1, 1, keys).double()
    scores[..., 0] = gap
    one = torch.ones(1, 1, 1, 1).double()
    call = Call(0 * one, (0 * one).expand(1, 1, keys, 1), (0 * one).expand(1, 1, keys, 1), 1.0, bias=scores)
    k, attended, entropy, _, frobenius, spectral = measure(call, torch.arange(1), 0.9)[0, 0, 0].tolist()
    q = math.exp(-gap) / (1 + (keys - 1) * math.exp(-gap)) if keys > 1 else 0.0
    rest = (keys - 1) * q
    assert attended == keys
    assert k == next(n for n in range(1, keys + 1) if 1 - (keys - n) * q >= 0.9 - 1e-12)
    # eigenvalues: q (n - 2 times), 0, and that of the first and the rest as a pair
    pair = keys * (1 - rest) * q
    assert frobenius == pytest.approx(math.sqrt(pair**2 + max(keys - 2, 0) * q**2), rel=1e-9, abs=1e-300)
    assert spectral == pytest.approx(pair, rel=1e-7, abs=1e-11)
    logs = (1 - rest) * math.log1p(-rest) + (rest * math.log(q) if q else 0.0)
    assert entropy == pytest.approx(-logs, rel=1e-7, abs=1e-15)


@examples(40)
def test_other_separation_functions_have_weights_and_energies(seed):
    import hopfield

    g = generator(seed)
    call, seen = some_call(g)
    separation = one_of(g, Sparsemax(), Softmax1())
    other = Call(
        call.query,
        call.key,
        call.value,
        call.scale,
        mask=call.mask,
        bias=call.bias,
        causal=call.causal,
        separation=separation,
    )
    found = measure(other, torch.arange(call.query.shape[-2]), 0.9).transpose(1, 2)
    p = separation.weights(seen.scores().masked_fill(~seen.mask, -torch.inf)).nan_to_num()
    attends = seen.mask.any(-1)
    assert torch.equal(found[..., 0].isnan(), ~attends)
    assert found[..., 4:].isnan().all()
    shares = (p / p.sum(-1, keepdim=True)).sort(-1, descending=True).values.cumsum(-1)
    k = ((shares < 0.9 * (1 - 1e-12)).sum(-1) + 1).minimum(seen.mask.sum(-1))
    assert torch.equal(found[..., 0][attends], k[attends].double())
    assert torch.equal(found[..., 1][attends], seen.mask.sum(-1)[attends].double())
    close(found[..., 2][attends], torch.special.entr(p).sum(-1)[attends], 1e-9)
    bias = None if seen.bias is None else seen.bias / seen.scale
    energy = hopfield.energy(seen.query, seen.key, beta=seen.scale, bias=bias, mask=seen.mask, separation=separation)
    close(found[..., 3][attends] * seen.scale, energy[attends] * seen.scale, 1e-8)


def test_equal_weights_count_as_equal():
    for keys in (*range(1, 50), 64, 100, 128, 999):
        x = torch.zeros(1, 1, keys, 2)
        for dtype in (torch.float32, torch.float64):
            call = Call(x[:, :, :1].to(dtype), x.to(dtype), x.to(dtype), 1.0)
            for mass in (0.5, 0.9, 1.0):
                k = measure(call, torch.arange(1), mass)[0, 0, 0, 0]
                # the smallest whole number of at least mass n
                assert k == -(-round(mass * 10) * keys // 10)


def test_a_bias_of_half_precision_costs_no_digits():
    g = generator(3)
    query, key = normal(g, 1, 1, 4, 8).bfloat16(), normal(g, 1, 1, 9, 8).bfloat16()
    bias = (4 * normal(g, 1, 1, 4, 9)).bfloat16()
    found = measure(Call(query, key, key, 0.3, bias=bias), torch.arange(4), 0.9)
    expected = measure(Call(query.double(), key.double(), key.double(), 0.3, bias=bias.double()), torch.arange(4), 0.9)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, -0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bias_of_minus_infinity_is_a_mask(dtype, scale):
    g = generator(4)
    query, key = normal(g, 1, 2, 6, 8).to(dtype), normal(g, 1, 2, 9, 8).to(dtype)
    mask = torch.rand(1, 2, 6, 9, generator=g) < 0.6
    bias = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, -torch.inf)
    expected = measure(Call(query, key, key, scale, mask=mask), torch.arange(6), 0.9)
    found = measure(Call(query, key, key, scale, bias=bias), torch.arange(6), 0.9)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    lowest = bias.clamp(min=torch.finfo(torch.float32).min)  # not masked, and of no weight
    found = measure(Call(query, key, key, scale, bias=lowest), torch.arange(6), 0.9)
    attends = mask.any(-1).transpose(1, 2)
    assert found.isfinite().all()
    torch.testing.assert_close(found[attends][:, [0, 2]], expected[attends][:, [0, 2]])


def test_what_is_not_a_number_is_none():
    query = normal(generator(0), 1, 1, 3, 4)
    query[..., 1, :] = torch.nan
    found = measure(Call(query, query[..., [0, 2], :], query[..., [0, 2], :], 1.0), torch.arange(3), 0.9)[0, :, 0]
    assert found.isnan().all(-1).tolist() == [False, True, False]


def test_a_scale_of_nothing_and_one_below():
    query, key = normal(generator(0), 1, 1, 3, 4), normal(generator(1), 1, 1, 5, 4)
    found = measure(Call(query, key, key, 0.0), torch.arange(3), 0.9)[0, :, 0]
    assert found[:, 0].tolist() == [5.0] * 3
    assert found[:, 4:].tolist() == [[0.0, 0.0]] * 3
    below = measure(Call(query, key, key, -0.7), torch.arange(3), 0.9)[0, :, 0]
    above = measure(Call(-query, key, key, 0.7), torch.arange(3), 0.9)[0, :, 0]
    close(below[:, [0, 2, 4, 5]], above[:, [0, 2, 4, 5]], 1e-12)
