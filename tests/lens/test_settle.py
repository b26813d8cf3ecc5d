"""Where further updates lead."""

import pytest
import torch

import hopfield
from hopfield.lens import HeadLens
from hopfield.lens.call import Call
from hopfield.lens.settle import settle
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform, yes
from tests.lens.catalogue import Attends, close


@examples(30)
def test_rows_end_where_their_update_stands_still(seed):
    g = generator(seed)
    L, N, scale = integer(g, 1, 4), integer(g, 2, 6), uniform(g, 0.3, 3)
    mask = one_of(g, None, yes(g, 2, 1, L, N, chance=0.8))
    bias = one_of(g, None, normal(g, 1, 2, 1, N))
    call = Call(normal(g, 2, 2, L, 3), normal(g, 2, 2, N, 3), normal(g, 2, 2, N, 3), scale, mask=mask, bias=bias)
    sequence, rows = integer(g, 0, 1), torch.arange(L)
    found = settle(call, rows, sequence, 0.9)  # (L, h, 5)
    assert found.shape == (L, 2, 5)
    for row in range(L):
        for head in range(2):
            kept = torch.ones(N, dtype=torch.bool) if mask is None else mask[sequence, 0, row]
            if not kept.any():
                assert found[row, head].isnan().all()
                continue
            keys, xi = call.key[sequence, head][kept], call.query[sequence, head, row]
            start, added = xi, 0.0 if bias is None else bias[0, head, 0][kept] / scale
            reach = call.key[sequence].square().sum(-1).amax().sqrt()
            updates, still = 0, False
            while updates < 64 and not still:
                before, updates = xi, updates + 1
                xi = hopfield.update(xi[None], keys, beta=scale, bias=None if bias is None else added[None])[0]
                still = bool((xi - before).norm() < 1e-4 * reach)
            p = torch.softmax(scale * (keys @ xi + added), 0).sort(descending=True).values
            k = int((p.cumsum(0) < 0.9 * (1 - 1e-12)).sum()) + 1
            expected = torch.tensor([updates, (xi - start).norm() / reach, min(k, len(p)), len(p), still])
            close(found[row, head], expected.double(), 1e-6)


@pytest.mark.parametrize(
    ("spread", "scale", "where"),
    [(10.0, 1.0, "pattern"), (0.01, 1.0, "average")],
)
def test_rows_end_at_a_pattern_or_at_the_average(spread, scale, where):
    keys = spread * torch.eye(6).double()[None, None]
    with HeadLens(Attends(), least=1) as lens:
        lens.model(keys, keys, keys, scale=scale)
    landing = lens.report().heads[0].landing
    assert getattr(landing, where) == 1.0
    assert sum((landing.pattern, landing.metastable, landing.average, landing.moving)) == 1.0


def test_rows_end_in_a_metastable_state():
    # two keys that are near to each other, far from the rest
    keys = 10.0 * torch.eye(6).double()
    keys[1] = keys[0] + 0.01 * torch.ones(6)
    x = keys[None, None]
    with HeadLens(Attends(), least=1) as lens:
        lens.model(x[:, :, :1], x, x, scale=1.0)
    landing = lens.report().heads[0].landing
    assert landing.metastable == 1.0
    assert landing.updates >= 1


def test_half_precision_and_gradients_do_no_harm():
    g = generator(1)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        x = normal(g, 1, 2, 6, 4).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
            found = settle(Call(x, x, x, 0.5), torch.arange(6), 0, 0.9)
        assert found.isfinite().all()
        assert not found.requires_grad
