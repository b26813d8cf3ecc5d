"""How inputs enter an association: norms by name, projections taken apart, merged, folded and chained."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hopfield.errors import HopfieldError
from hopfield.nn.source import NORMS, Source, make_norm, normalized, project
from tests.core.catalogue import examples, generator, integer, normal, one_of, yes
from tests.nn.catalogue import close, unlike


def some_source(g, size, out, *, norm=None, projected=True):
    make = one_of(g, nn.LayerNorm, NORMS["layer_plain"], None) if norm is None else norm
    chosen = None if make is None else unlike(nn.ModuleDict({"norm": make(size)}), g)["norm"]
    if not projected:
        return Source.of(chosen, None)
    return Source.of(chosen, unlike(nn.ModuleDict({"project": nn.Linear(size, out, bias=bool(yes(g)))}), g)["project"])


# ---------------------------------------------------------------------------------------------------------------- norms


def test_norms_by_name():
    rows = normal(generator(0), 3, 4)
    centred = rows - rows.mean(-1, keepdim=True)
    close(make_norm("layer_plain", 4)(rows), centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    close(make_norm("layer", 4).double()(rows), make_norm("layer_plain", 4)(rows))
    close(make_norm("rms", 4).double()(rows), rows / rows.square().mean(-1, keepdim=True).sqrt())
    assert make_norm(None, 4) is None
    assert len(list(make_norm("layer", 4).parameters())) == 2
    assert not list(make_norm("layer_plain", 4).parameters())
    assert isinstance(make_norm(nn.Softmax, 1), nn.Softmax)
    assert make_norm(lambda size: nn.LayerNorm(size, eps=0.1), 4).eps == 0.1


@pytest.mark.parametrize(
    ("norm", "text"),
    [
        ("batch", "unknown norm 'batch'; expected one of layer, layer_plain, rms, None, or a function from a size"),
        (3, r"norm must be a name \(layer, layer_plain, rms\), None, or a function from a size to a module, got int"),
        (nn.LayerNorm(4), "None, or a function from a size to a module, got LayerNorm"),
    ],
    ids=repr,
)
def test_unknown_norms_are_refused(norm, text):
    with pytest.raises(HopfieldError, match=text):
        make_norm(norm, 4)
    with pytest.raises(HopfieldError, match=text.replace("norm", "head_norm", 1)):
        make_norm(norm, 4, "head_norm")


def test_statistics_tell_which_norms_are_alike():
    assert Source().statistics == ("none", 0.0)
    assert Source(nn.LayerNorm(4)).statistics == Source(NORMS["layer_plain"](4)).statistics == ("layer", 1e-5)
    assert Source(nn.LayerNorm(4, eps=1e-3)).statistics == ("layer", 1e-3)
    assert Source(nn.RMSNorm(4)).statistics is None
    assert Source(nn.LayerNorm((2, 4))).statistics is None
    hooked = nn.LayerNorm(4)
    hooked.register_forward_hook(lambda *a: None)
    assert Source(hooked).statistics is None
    rows = normal(generator(0), 2, 4)
    assert normalized(rows, ("none", 0.0)) is rows
    close(normalized(rows, ("layer", 1e-3)), F.layer_norm(rows, (4,), eps=1e-3))


# ---------------------------------------------------------------------------------------------------------- projections


def test_only_plain_projections_are_taken_apart():
    linear = nn.Linear(4, 6)
    assert Source.of(None, linear).weight is linear.weight
    assert Source.of(None, nn.Sequential(linear)).module is not None
    assert not Source.of(None, None).projects

    class Special(nn.Linear):
        pass

    assert Source.of(None, Special(4, 6)).module is not None
    linear.register_forward_hook(lambda *a: None)
    assert Source.of(None, linear).module is linear
    rows = torch.randn(2, 4)
    close(Source.of(None, linear)(rows), linear(rows), 1e-5)


@examples(10)
def test_the_affine_part_of_a_norm_goes_into_the_projection(seed):
    g = generator(seed)
    source, rows = some_source(g, 4, 6), normal(g, 3, 4)
    close(source.absorbed()(normalized(rows, source.statistics)), source(rows))
    bare = some_source(g, 4, 6, projected=False)
    assert bare.absorbed() is bare


@examples(10)
def test_folding_moves_a_source_into_states_and_behind_a_mean(seed):
    g = generator(seed)
    heads, projected = integer(g, 1, 3), bool(yes(g))
    source = some_source(g, 4, heads * 2, projected=projected)
    rows, size = normal(g, 5, 4), 2 if projected else 4
    inner = source(rows)
    inner = inner.unflatten(-1, (heads, 2)).movedim(1, 0) if projected else inner.expand(heads, 5, 4)
    xi = normal(g, heads, 3, size)
    plain = normalized(rows, source.statistics)
    # up to what all scores of a state share
    ours, theirs = source.folded_into(xi) @ plain.mT, xi @ inner.mT
    close(ours - ours[..., :1], theirs - theirs[..., :1])
    weights = torch.softmax(normal(g, heads, 3, 5), -1)
    close(source.behind(weights @ plain), weights @ inner)


def test_what_folding_drops_has_a_gradient_of_zero():
    source = Source.of(nn.LayerNorm(4), nn.Linear(4, 6))
    source.folded_into(torch.randn(3, 2, 2)).sum().backward()
    assert not source.bias.grad.any()
    assert source.norm.bias.grad is not None
    bare = Source.of(nn.LayerNorm(4), None)
    bare.folded_into(torch.randn(3, 2, 4)).sum().backward()
    assert not bare.norm.bias.grad.any()


@examples(10)
def test_one_projection_after_another(seed):
    g = generator(seed)
    first, second = some_source(g, 4, 5), some_source(g, 4, 3)
    first = Source(None, first.weight, first.bias)
    rows = normal(g, 2, 4)
    weight = normal(g, 3, 5)
    both = Source(second.norm, weight, second.bias).after(first)
    middle = first(second.norm(rows) if second.norm is not None else rows)
    close(both(rows), F.linear(middle, weight, second.bias))
    close(Source(second.norm).after(first)(rows), middle)
    assert second.after(Source()) is second
    with pytest.raises(HopfieldError, match=r"connect_values needs plain linear projections"):
        second.after(Source(module=nn.Tanh()))


@examples(20)
def test_many_inputs_at_once_are_each_by_itself(seed):
    g = generator(seed)
    pool = [normal(g, 3, 4).requires_grad_() for _ in range(2)]
    kinds = (nn.LayerNorm, NORMS["layer_plain"], nn.RMSNorm, lambda size: nn.LayerNorm(size, eps=0.1))
    sources = [
        some_source(g, 4, integer(g, 1, 6), norm=one_of(g, None, *kinds), projected=bool(yes(g, chance=0.8)))
        for _ in range(3)
    ]
    if yes(g, chance=0.2):
        sources[1] = Source(module=nn.Linear(4, 2).double())
    inputs = [one_of(g, *pool) for _ in range(3)]
    together = project(inputs, sources)
    assert len(together) == 3
    for rows, source, result in zip(inputs, sources, together, strict=True):
        close(result, source(rows))
    found = torch.autograd.grad(sum(result.square().sum() for result in together), pool, allow_unused=True)
    apart = [source(rows) for rows, source in zip(inputs, sources, strict=True)]
    expected = torch.autograd.grad(sum(result.square().sum() for result in apart), pool, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            close(one, other)


def test_one_input_of_several_projections_is_normalised_once():
    rows, norm = normal(generator(0), 3, 4), nn.LayerNorm(4).double()
    sources = [Source.of(norm, nn.Linear(4, 2).double()) for _ in range(3)]
    counted = []
    with pytest.MonkeyPatch.context() as patch:
        original = F.layer_norm
        patch.setattr(F, "layer_norm", lambda *a, **k: counted.append(1) or original(*a, **k))
        project([rows] * 3, sources)
    assert len(counted) == 1
