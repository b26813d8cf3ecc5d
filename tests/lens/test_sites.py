"""Attaching to models: what is refused, what is put back, and what becomes of copies."""

import copy
import gc
import io
import itertools
import weakref

import pytest
import torch
from torch import nn

from hopfield import HopfieldError
from hopfield.lens import HeadLens, replace_heads, set_updates
from tests.core.catalogue import generator, normal
from tests.lens.catalogue import BERT, GPT2, Projects, close, inputs, outputs, read, transformer

CHANGES = {
    "lens": HeadLens,
    "updates": lambda model: set_updates(model, steps=2),
    "replacement": lambda model: replace_heads(model, {"0": [0]}, length=8),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def stack() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(Projects(), Projects()).double()


def bare(model: nn.Module) -> bool:
    """Whether nothing of ours is left."""
    ours = any(name.startswith("_hopfield") for module in model.modules() for name in vars(module))
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return not (ours or hooks or torch.overrides._get_current_function_mode_stack())


@each_change
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # what is refused is deprecated
def test_what_was_scripted_or_compiled_is_refused(change):
    within = nn.Sequential(torch.jit.trace(nn.Linear(2, 2), torch.randn(1, 2)))
    with pytest.raises(HopfieldError, match=r"module '0' is scripted \(TorchScript\).*give the original"):
        change(within).attach()
    compiled = torch.compile(stack())
    with pytest.raises(
        HopfieldError, match=r"the model is compiled: .*give the model that was compiled \(\._orig_mod\)"
    ):
        change(compiled).attach()
    part = nn.Sequential(torch.compile(Projects()))
    with pytest.raises(HopfieldError, match="module '0' is compiled"):
        change(part).attach()
    in_place = stack()
    in_place[1].compile()
    with pytest.raises(HopfieldError, match=r"module '1' is compiled \(by \.compile\(\)\)"):
        change(in_place).attach()
    assert all(bare(model) for model in (within, compiled._orig_mod, part, in_place))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit], ids=lambda kind: kind.__name__)
@each_change
def test_errors_on_the_way_leave_nothing_behind(change, error):
    model, x = stack(), normal(generator(0), 2, 5, 16)
    expected, tensors = model(x), {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def fail(*_):
        raise error

    handle = model[1].into.register_forward_pre_hook(fail)
    with pytest.raises(error), change(model):
        model(x)
    handle.remove()
    assert bare(model)
    assert list(model.state_dict()) == list(tensors)
    assert torch.equal(model(x), expected)


@each_change
def test_a_model_goes_on_after_an_error(change):
    model, x = stack(), normal(generator(0), 2, 5, 16)
    with change(model):
        expected = model(x)
        for wrong in (torch.randn(2, 5, 3).double(), torch.randn(2, 5, 16)):
            with pytest.raises(RuntimeError):
                model(wrong)
            assert not torch.overrides._get_current_function_mode_stack()
        assert torch.equal(model(x), expected)


def test_a_lens_forgets_nothing_over_an_error():
    model, x = stack(), normal(generator(0), 2, 5, 16)
    with HeadLens(model, rows=None, least=1) as lens:
        model(x)
        handle = model[1].out.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(x)
        handle.remove()
        model(x)
    assert [layer.rows for layer in lens.report().layers] == [30, 30]


# ------------------------------------------------------------------------------------------------------------- edits


def edits_of(model):
    """Changes of two kinds, which may overlap."""
    return [
        lambda: set_updates(model, beta=0.5),
        lambda: replace_heads(model, {"0": [0], "1": [1]}, with_="uniform"),
        lambda: set_updates(model, steps=2, layers=["1"]),
        lambda: replace_heads(model, {"0": [1]}, length=8),
    ]


def test_edits_are_undone_in_any_order():
    model, x = stack(), normal(generator(0), 2, 5, 16)
    plain, names = model(x), list(model.state_dict())
    alone = {}
    for chosen in itertools.chain.from_iterable(itertools.combinations(range(4), n) for n in range(5)):
        made = [edits_of(model)[n]() for n in chosen]
        alone[chosen] = model(x)
        for edit in made:
            edit.undo()
    assert torch.equal(alone[()], plain)
    for order in itertools.permutations(range(4)):
        made = [make() for make in edits_of(model)]
        left = (0, 1, 2, 3)
        for n in order:
            close(model(x), alone[left], 1e-12)
            made[n].undo()
            left = tuple(m for m in left if m != n)
        for edit in made:
            edit.undo()
        assert torch.equal(model(x), plain)
        assert list(model.state_dict()) == names
    assert bare(model)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", ["updates", "replacement"])
def test_copies_of_a_changed_model_do_as_it_does(name, together):
    model, x = stack(), normal(generator(0), 2, 5, 16)
    plain = model(x)
    edit = CHANGES[name](model)
    changed = model(x)
    assert not torch.allclose(changed, plain)
    twin, other = copy.deepcopy((model, edit)) if together else (copy.deepcopy(model), None)
    assert torch.equal(twin(x), changed)
    part = copy.deepcopy(model[0])
    assert torch.equal(part(x), model[0](x))
    # neither knows of the other
    for parameter in twin.parameters():
        parameter.data += 0.1
    assert torch.equal(model(x), changed)
    edit.undo()
    assert torch.equal(model(x), plain)
    assert bare(model)
    after = twin(x)
    assert not torch.allclose(after, changed)
    if other is not None:
        other.undo()
        assert bare(twin)
        assert list(twin.state_dict()) == list(model.state_dict())
        for parameter in twin.parameters():
            parameter.data -= 0.1
        close(twin(x), plain, 1e-9)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_copies_of_a_changed_transformer_do_as_it_does(implementation):
    model, given = transformer(BERT, implementation), inputs(BERT, "right")
    edit = replace_heads(model, {BERT.layers[1]: [0, 1]})
    changed = outputs(model, given)
    twin, other = copy.deepcopy((model, edit))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    edit.undo()
    assert not torch.allclose(outputs(twin, given), changed)
    assert not torch.allclose(outputs(twin, given), outputs(model, given))
    other.undo()
    assert torch.equal(outputs(twin, given), outputs(model, given))
    assert twin.config._attn_implementation == model.config._attn_implementation == implementation
    assert bare(twin)


def test_copies_are_freed():
    model = stack()
    edits = [make() for make in edits_of(model)]
    twin = copy.deepcopy(model)
    with HeadLens(twin):
        twin(torch.randn(1, 4, 16).double())
    kept = weakref.ref(twin)
    del twin
    gc.collect()
    assert kept() is None
    for edit in edits:
        edit.undo()


def test_models_are_freed_after_a_lens():
    model = stack()
    with HeadLens(model) as lens:
        model(torch.randn(1, 4, 16).double())
    report, kept = lens.report(), weakref.ref(model)
    del model, lens
    gc.collect()
    assert kept() is None
    assert report.layers[0].rows == 4


def test_a_copy_that_was_made_under_a_lens_can_be_read():
    model, x = stack(), normal(generator(0), 2, 5, 16)
    with HeadLens(model) as lens:
        twin = copy.deepcopy(model)
        twin(x)
        with pytest.raises(HopfieldError, match="no attention"):
            lens.report()
    expected = read(model, x)
    for one, other in zip(read(twin, x).layers, expected.layers, strict=True):
        assert torch.equal(one.sample, other.sample)


def test_weights_of_a_changed_model_are_saved_and_loaded():
    model, other, x = stack(), stack(), normal(generator(0), 2, 5, 16)
    edits = [replace_heads(m, {"0": [0]}, length=8) for m in (model, other)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model(x), other(x))
    for edit in edits:
        edit.undo()


def test_a_transformer_is_saved_with_its_averages(tmp_path):
    model, given = transformer(GPT2), inputs(GPT2)
    with replace_heads(model, {GPT2.layers[0]: [0]}) as edit:
        with torch.no_grad():
            for parameter in edit.parameters():
                parameter.add_(0.3)
        expected = outputs(model, given)
        model.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    fresh = transformer(GPT2)
    with replace_heads(fresh, {GPT2.layers[0]: [0]}):
        missing, unexpected = fresh.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
        assert (missing, unexpected) == (["lm_head.weight"], [])  # tied to the embeddings
        assert torch.equal(outputs(fresh, given), expected)


@each_change
def test_names_of_modules_are_no_business_of_others(change):
    """A child that is added while something is attached is not listened to, and does not disturb."""
    model, x = stack(), normal(generator(0), 2, 5, 16)
    with change(model):
        model.append(Projects().double())
        model(x)
    assert bare(model)


@pytest.mark.filterwarnings("ignore::UserWarning")  # dynamo's, on what it does not trace
def test_a_model_is_not_seen_through_the_compiled_one():
    model = stack()
    compiled, x = torch.compile(model, backend="eager"), torch.randn(1, 6, 16).double()
    with HeadLens(model), pytest.raises(HopfieldError, match="a lens does not see into a compiled model"):
        compiled(x)
    torch._dynamo.reset()
    torch.testing.assert_close(compiled(x), model(x))
