"""The layers of this library under a lens."""

import pytest
import torch
from torch import nn

import hopfield
from hopfield import Bags, Hopfield, HopfieldError, HopfieldLayer, HopfieldPooling
from hopfield.lens import HeadLens, replace_heads, set_updates
from hopfield.lens.rows import QUANTITIES
from hopfield.nn import HopfieldDecoderLayer, HopfieldEncoderLayer
from hopfield.separation import Softmax, Sparsemax
from tests.core.catalogue import examples, generator, integer, normal, one_of, uniform, yes
from tests.lens.catalogue import Heads, agree, close, ordered, read


def states(layer: Hopfield, state, stored):
    """Heads (B, h, rows, k) of states and stored patterns, extra ones last, by hand."""

    def heads(norm, project, rows):
        rows = rows if norm is None else norm(rows)
        if project is None:
            return rows.unsqueeze(1).expand(-1, layer.heads, -1, -1)
        return project(rows).unflatten(-1, (layer.heads, -1)).transpose(1, 2)

    q, k = heads(layer.norm_state, layer.project_state, state), heads(layer.norm_stored, layer.project_stored, stored)
    for name in layer.extra:
        extra = layer.extra_pattern if name == "bias" else torch.zeros(layer.heads, k.shape[-1], dtype=k.dtype)
        k = torch.cat([k, extra[:, None].expand(len(k), -1, 1, -1)], 2)
    return q, k


def expected(layer: Hopfield, state, stored, mask, alive=None):
    """Quantities (n, h, 6) of the last association, head by head."""
    q, k = states(layer, state, stored)
    mask = mask.expand(len(q), layer.heads, q.shape[2], k.shape[2])
    betas = torch.as_tensor(layer.beta() if isinstance(layer.beta, nn.Module) else layer.beta).double()
    betas = betas.detach().expand(layer.heads).tolist()
    steps = layer.steps if isinstance(layer.steps, tuple) else (layer.steps,) * layer.heads
    found = []
    for h, (beta, count) in enumerate(zip(betas, steps, strict=True)):
        keys, kept = k[:, h], mask[:, h]
        bias = -keys.square().sum(-1, keepdim=True).mT / 2 if layer.similarity == "euclidean" else None
        xi = q[:, h]
        options = {"beta": beta, "bias": bias, "mask": kept, "separation": layer.separation}
        for _ in range(count - 1):
            xi = hopfield.update(xi, keys, **options)
        head = Heads(xi[:, None], keys[:, None], beta, kept[:, None], None if bias is None else beta * bias[:, None])
        numbers = head.quantities()
        if not isinstance(layer.separation, Softmax):
            scores = head.scores().masked_fill(~head.mask, -torch.inf)
            p = layer.separation.weights(scores)
            shares = (p / p.sum(-1, keepdim=True)).sort(-1, descending=True).values.cumsum(-1)
            numbers[..., 0] = ((shares < 0.9 * (1 - 1e-12)).sum(-1) + 1).minimum(head.mask.sum(-1))
            numbers[..., 2] = torch.special.entr(p).sum(-1)
            numbers[..., 3] = hopfield.energy(xi, keys, **options)[:, None]
            numbers[..., 4:] = torch.nan
        found.append(numbers[:, 0])
    rows = mask.any(1).any(-1)
    return torch.stack(found, 2)[rows if alive is None else rows & alive].detach()


def some_layer(g):
    heads = integer(g, 1, 3)
    options = {
        "heads": heads,
        "beta": one_of(g, None, uniform(g, 0.3, 2), [uniform(g, 0.3, 2) for _ in range(heads)], "learned"),
        "separation": one_of(g, "softmax", "softmax", "sparsemax", "entmax", "softmax1"),
        "similarity": one_of(g, "dot", "euclidean"),
        "steps": one_of(g, 1, 2, 3, tuple(integer(g, 1, 3) for _ in range(heads))),
        "extra": one_of(g, (), (), ("bias",), ("zero", "bias")),
        "norm": one_of(g, "layer", None),
    }
    layer = Hopfield(6, head_size=3, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.dim() > 1:
                parameter.copy_(normal(g, *parameter.shape) / 2)
    return layer.train(bool(yes(g)))


def same(found, rows):
    columns = [n for n in range(len(QUANTITIES)) if not rows[..., n].isnan().all()]
    assert [n for n in range(len(QUANTITIES)) if not found[..., n].isnan().all()] == columns
    agree(found[..., columns] if len(columns) == 6 else found.nan_to_num(-1.0), rows.nan_to_num(-1.0))


@examples(60)
def test_layers_are_read_by_the_textbook(seed):
    g = generator(seed)
    layer = some_layer(g)
    B, L = integer(g, 1, 3), integer(g, 2, 5)
    x = normal(g, B, L, 6)
    itself = bool(yes(g))
    stored = x if itself else normal(g, B, one_of(g, L, integer(g, 2, 5)), 6)
    N, extra = stored.shape[1], len(layer.extra)
    kept = torch.arange(N) < torch.randint(1, N + 1, (B, 1), generator=g)
    options = {"stored_mask": kept}
    mask = kept[:, None, None].expand(B, 1, L, N)
    if bool(yes(g)):
        options["association_mask"] = torch.ones(L, N, dtype=torch.bool).tril()
        mask = mask & options["association_mask"]
    mask = torch.cat([mask, torch.ones(B, 1, L, extra, dtype=torch.bool)], -1)
    given = (x,) if itself and bool(yes(g)) else (x, stored)
    rows = expected(layer, x, stored, mask, kept if itself else None)
    same(read(layer, *given, **options).layers[0].sample, rows)


@examples(20)
def test_pooling_and_lookup_are_read_by_the_textbook(seed):
    g = generator(seed)
    B, N = integer(g, 1, 3), integer(g, 2, 5)
    options = {"heads": 2, "steps": one_of(g, 1, 2), "similarity": one_of(g, "dot", "euclidean")}
    pool = HopfieldPooling(6, states=N, head_size=3, **options).double()
    x, kept = normal(g, B, N, 6), torch.arange(N) < torch.randint(1, N + 1, (B, 1), generator=g)
    mask = kept[:, None, None].expand(B, 1, N, N)
    rows = expected(pool.hopfield, pool.states.expand(B, -1, -1), x, mask)
    same(read(pool, x, stored_mask=kept).layers[0].sample, rows)

    look = HopfieldLayer(6, patterns=N, head_size=3, **options).double()
    rows = expected(look.hopfield, x, look.patterns.expand(B, -1, -1), torch.ones(1, 1, N, N, dtype=torch.bool))
    for _ in range(2):  # the second time its memory may have been kept
        same(read(look.eval(), x).layers[0].sample, rows)


@pytest.mark.parametrize("batch_first", [True, False])
def test_bags_are_read_like_padded_sets(batch_first):
    g = generator(1)
    pool = HopfieldPooling(6, states=2, heads=2, value_size=4, batch_first=batch_first).double()
    sizes = [3, 1, 5, 5, 2, 3]
    bags = Bags.from_list([normal(g, size, 6) for size in sizes])
    values = bags.with_instances(normal(g, sum(sizes), 4))
    kept = torch.ones(sum(sizes), dtype=torch.bool)
    kept[[1, 9]] = False
    found = read(pool, bags, values, stored_mask=kept).layers[0].sample
    parts, start = [], 0
    for size in sizes:
        rows, other = (b.instances[start : start + size][None] for b in (bags, values))
        if not batch_first:
            rows, other = rows.transpose(0, 1), other.transpose(0, 1)
        parts.append(read(pool, rows, other, stored_mask=kept[None, start : start + size]).layers[0].sample)
        start += size
    agree(found, torch.cat(parts), 1e-9)
    assert read(pool, bags, value=values).layers[0].rows == 12


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [Hopfield, HopfieldPooling, HopfieldLayer], ids=lambda kind: kind.__name__)
def test_a_lens_changes_nothing(make, training):
    more = {"patterns": 5} if make is HopfieldLayer else {}
    layer = make(6, heads=2, dropout=0.5, **more).double().train(training)
    x = normal(generator(2), 3, 4, 6)
    torch.manual_seed(5)
    output = layer(x)
    gradients, state = torch.autograd.grad(output.square().sum(), list(layer.parameters())), torch.get_rng_state()
    torch.manual_seed(5)
    with HeadLens(layer) as lens:
        found = layer(x)
    assert torch.equal(found, output)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(torch.autograd.grad(found.square().sum(), list(layer.parameters())), gradients, strict=True):
        assert torch.equal(one, other)
    assert len(lens.report().layers) == 1


def test_layers_within_layers_are_read_once():
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            encoder = HopfieldEncoderLayer(Hopfield(8, heads=2, steps=2))
            decoder = HopfieldDecoderLayer(Hopfield(8, heads=2), Hopfield(8, heads=2))
            model = nn.ModuleDict({"one": encoder, "two": decoder})
            model.forward = lambda x, one=encoder, two=decoder, **masks: two(one(x, **masks), x[:, :3])
            for length in (6, 200):  # both small enough to be computed whole and too large for it
                x = torch.randn(2, length, 8)
                kept = torch.arange(length) < torch.tensor([[length], [length - 2]])
                with HeadLens(model, rows=None, least=1) as lens:
                    model(x, stored_mask=kept)
                report = lens.report()
                assert [layer.name for layer in report.layers] == [
                    "one.hopfield",
                    "two.hopfield",
                    "two.hopfield_memory",
                ]
                assert [layer.rows for layer in report.layers] == [2 * length - 2, 2 * length, 2 * length]


def test_functions_of_this_library_are_no_attention():
    class Own(nn.Module):
        def forward(self, x):
            return hopfield.associate(x, x)

    for grad in (True, False):
        with HeadLens(Own()) as lens, torch.set_grad_enabled(grad):
            lens.model(torch.randn(2, 4, 8))
            lens.model(torch.randn(2, 300, 8))
        with pytest.raises(HopfieldError, match="no attention of Own was seen"):
            lens.report()


# ---------------------------------------------------------------------------------------------------------------- edits


def test_layers_get_other_settings_until_undone():
    model = nn.ModuleDict(
        {
            "mix": Hopfield(6, heads=2, beta="learned"),
            "pool": HopfieldPooling(6, heads=2, beta=[0.5, 2.0]),
            "look": HopfieldLayer(6, patterns=4, beta=0.7),
        }
    ).double()
    x = normal(generator(3), 2, 5, 6)
    before, names = {name: layer(x) for name, layer in model.items()}, list(model.state_dict())
    wanted = {"steps": 3, "beta": 1.5, "separation": "sparsemax"}
    with set_updates(model, **wanted):
        for layer in (model["mix"], model["pool"].hopfield, model["look"].hopfield):
            assert (layer.steps, layer.beta, layer.separation) == (3, 1.5, Sparsemax())
        after = {name: layer(x) for name, layer in model.items()}
        assert not any(torch.allclose(after[name], before[name]) for name in model)
    assert list(model.state_dict()) == names
    for name, layer in model.items():
        assert torch.equal(layer(x), before[name])
    for one in model:
        with set_updates(model, layers=one, **wanted):
            for name, layer in model.items():
                assert torch.equal(layer(x), after[name] if name == one else before[name])


def test_settings_are_undone_in_any_order():
    layer, x = Hopfield(6, beta="learned"), torch.randn(2, 5, 6)
    plain, learned = layer(x), layer.beta
    for first, second in ((0, 1), (1, 0)):
        edits = [set_updates(layer, steps=2, beta=2.0), set_updates(layer, steps=3)]
        assert (layer.steps, layer.beta) == (3, 2.0)
        edits[first].undo()
        assert (layer.steps, layer.beta) == ((3, learned) if first == 0 else (2, 2.0))
        edits[second].undo()
        edits[second].undo()
        assert torch.equal(layer(x), plain)
        assert layer.beta is learned


def test_averages_are_for_attention():
    with pytest.raises(HopfieldError, match="'' is a Hopfield of this library: put a GaussianAveraging in its place"):
        replace_heads(Hopfield(4), {"": [0]}, length=3)


def test_rows_stay_together():
    """What `ordered` is for."""
    rows = normal(generator(4), 5, 2, 6)
    assert torch.equal(ordered(rows[torch.randperm(5)]), ordered(rows))
    close(ordered(rows).sum(0), rows.sum(0), 1e-12)
