"""The layers under the original's names: what they take, what they show, and what the original got wrong."""

import inspect
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopfield.compat import hflayers
from hopfield.compat.hflayers import Hopfield, HopfieldLayer, HopfieldPooling
from hopfield.compat.hflayers.activation import HopfieldCore
from hopfield.errors import HopfieldError
from tests.core.catalogue import close, generator, normal, yes

CLASSES = [Hopfield, HopfieldPooling, HopfieldLayer]
each_class = pytest.mark.parametrize("cls", CLASSES)

# ---------------------------------------------------------------------------------------- the original's constructors

_SIZES = {
    "input_size": None,
    "hidden_size": None,
    "output_size": None,
    "pattern_size": None,
    "num_heads": 1,
    "scaling": None,
    "update_steps_max": 0,
    "update_steps_eps": 1e-4,
}
_NORMS = {
    "normalize_stored_pattern": True,
    "normalize_stored_pattern_affine": True,
    "normalize_stored_pattern_eps": 1e-5,
    "normalize_state_pattern": True,
    "normalize_state_pattern_affine": True,
    "normalize_state_pattern_eps": 1e-5,
    "normalize_pattern_projection": True,
    "normalize_pattern_projection_affine": True,
    "normalize_pattern_projection_eps": 1e-5,
    "normalize_hopfield_space": False,
    "normalize_hopfield_space_affine": False,
    "normalize_hopfield_space_eps": 1e-5,
}
_REST = {
    "stored_pattern_as_static": False,
    "state_pattern_as_static": False,
    "pattern_projection_as_static": False,
    "pattern_projection_as_connected": False,
    "stored_pattern_size": None,
    "pattern_projection_size": None,
    "batch_first": True,
    "association_activation": None,
    "dropout": 0.0,
    "input_bias": True,
    "concat_bias_pattern": False,
    "add_zero_association": False,
    "disable_out_projection": False,
}
_REQUIRED = _SIZES | {"input_size": inspect.Parameter.empty}
_NORMS_WITHOUT_EPS = {name: value for name, value in _NORMS.items() if not name.endswith("_eps")}
_LOOKUP = {"lookup_weights_as_separated": False, "lookup_targets_as_trainable": True}
_QUANTITY = {"quantity": 1, "trainable": True}
SIGNATURES = {
    Hopfield: _SIZES | _NORMS | _REST,
    HopfieldPooling: _REQUIRED | _NORMS_WITHOUT_EPS | _REST | _QUANTITY,
    HopfieldLayer: _REQUIRED | _LOOKUP | _NORMS_WITHOUT_EPS | _REST | _QUANTITY,
}
PROPERTIES = {
    "batch_first": False,
    "scaling": 0.7,
    "stored_pattern_dim": 6,
    "state_pattern_dim": 8,
    "pattern_projection_dim": 5,
    "input_size": 8,
    "hidden_size": 4,
    "output_size": 9,
    "pattern_size": 3,
    "update_steps_max": 2,
    "update_steps_eps": 1e-3,
    "stored_pattern_as_static": False,
    "state_pattern_as_static": False,
    "pattern_projection_as_static": False,
    "normalize_stored_pattern": True,
    "normalize_stored_pattern_affine": False,
    "normalize_state_pattern": True,
    "normalize_state_pattern_affine": True,
    "normalize_pattern_projection": False,
    "normalize_pattern_projection_affine": False,
    "normalize_hopfield_space": True,
    "normalize_hopfield_space_affine": True,
}
PLAIN = {
    f"normalize_{what}{affine}": False
    for what in ("stored_pattern", "state_pattern", "pattern_projection")
    for affine in ("", "_affine")
}
STATIC = PLAIN | {
    "stored_pattern_as_static": True,
    "state_pattern_as_static": True,
    "pattern_projection_as_static": True,
    "disable_out_projection": True,
}


def sharp(layer: nn.Module, seed: int = 0) -> nn.Module:
    """Float64, with parameters of a size that makes associations far from uniform."""
    g = generator(seed)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(0.4 * normal(g, *parameter.shape))
    return layer


def made(cls: type[nn.Module], **options) -> nn.Module:
    return sharp(cls(8, **({} if cls is Hopfield else {"quantity": 5}), **options))


def heads_of(layer: Hopfield, state: Tensor, stored: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of the heads, (B, h, n, k), by the original's formula: rows q, k, v of in_proj."""
    core = layer.association_core
    inputs = [layer.norm_state_pattern(state), layer.norm_stored_pattern(stored), layer.norm_pattern_projection(value)]
    parts = zip(inputs, core.in_proj_weight.chunk(3), core.in_proj_bias.chunk(3), strict=True)
    query, key, projected = (
        F.linear(rows, weight, bias).unflatten(-1, (core.num_heads, -1)).transpose(1, 2) for rows, weight, bias in parts
    )
    return query, key, projected


@each_class
def test_keywords_their_order_and_their_defaults_are_the_originals(cls):
    parameters = inspect.signature(cls).parameters
    assert [(name, parameter.default) for name, parameter in parameters.items()] == list(SIGNATURES[cls].items())
    assert all(parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters.values())


@each_class
def test_all_arguments_by_position(cls):
    given = SIGNATURES[cls] | {
        "input_size": 8,
        "hidden_size": 4,
        "output_size": 9,
        "num_heads": 3,
        "batch_first": False,
    }
    given |= {"quantity": 4} if "quantity" in given else {}
    by_position, by_name = cls(*given.values()), cls(**given)
    shapes = {name: tensor.shape for name, tensor in by_position.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in by_name.state_dict().items()}
    assert (by_position.hidden_size, by_position.output_size, by_position.batch_first) == (4, 9, False)


@pytest.mark.parametrize("cls", [HopfieldPooling, HopfieldLayer])
def test_wrong_arguments_are_refused_as_by_any_function(cls):
    with pytest.raises(TypeError, match="input_size"):
        cls()
    with pytest.raises(TypeError, match="heads"):
        cls(8, heads=2)
    with pytest.raises(TypeError, match="normalize_state_pattern_eps"):
        cls(8, normalize_state_pattern_eps=1e-3)


def test_the_package_shows_the_originals_names():
    assert {"Hopfield", "HopfieldPooling", "HopfieldLayer"} <= set(dir(hflayers))
    assert hflayers.__version__ == "1.0.2"


# ---------------------------------------------------------------------------------------------------------- properties


@each_class
@pytest.mark.parametrize(("name", "value"), PROPERTIES.items())
def test_properties(cls, name, value):
    layer = cls(
        8,
        4,
        9,
        3,
        2,
        scaling=0.7,
        update_steps_max=2,
        update_steps_eps=1e-3,
        normalize_stored_pattern_affine=False,
        normalize_pattern_projection=False,
        normalize_pattern_projection_affine=False,
        normalize_hopfield_space=True,
        normalize_hopfield_space_affine=True,
        stored_pattern_size=6,
        pattern_projection_size=5,
        batch_first=False,
        **({"lookup_weights_as_separated": True} if cls is HopfieldLayer else {}),
    )
    assert getattr(layer, name) == value
    assert type(getattr(layer, name)) is type(value)


@each_class
def test_properties_by_default(cls):
    layer = cls(8, num_heads=2)
    assert layer.scaling == 1 / math.sqrt(4)
    assert (layer.stored_pattern_dim, layer.state_pattern_dim, layer.pattern_projection_dim) == (8, 8, 8)
    assert (layer.hidden_size, layer.output_size, layer.pattern_size) == (4, 8, 4)
    assert (layer.update_steps_max, layer.update_steps_eps) == (0, 1e-4)
    assert not layer.normalize_hopfield_space
    assert not layer.normalize_hopfield_space_affine


@pytest.mark.parametrize("name", [f"{what}_as_static" for what in ("stored_pattern", "state_pattern")])
def test_properties_of_static_inputs(name):
    for cls in CLASSES:
        layer = cls(8, 8, **{name: True})
        assert getattr(layer, name)


def test_a_layer_without_projections_knows_no_sizes():
    layer = Hopfield(**STATIC)
    assert (layer.input_size, layer.hidden_size, layer.output_size, layer.pattern_size) == (None, None, None, None)
    assert layer.scaling == 1.0
    assert not layer.state_dict()


def test_quantity_and_its_weights():
    assert HopfieldPooling(8, quantity=3).quantity == 3
    assert HopfieldPooling(8, quantity=3).pooling_weights.shape == (1, 3, 8)
    assert HopfieldPooling(8, quantity=3, batch_first=False).pooling_weights.shape == (3, 1, 8)
    assert not HopfieldPooling(8, trainable=False).pooling_weights.requires_grad
    layer = HopfieldLayer(8, quantity=6, lookup_weights_as_separated=True, lookup_targets_as_trainable=False)
    assert layer.quantity == 6
    assert layer.lookup_weights.shape == layer.target_weights.shape == (1, 6, 8)
    assert layer.lookup_weights.requires_grad
    assert not layer.target_weights.requires_grad
    assert HopfieldLayer(8).target_weights is None


def test_unknown_attributes_are_refused():
    with pytest.raises(AttributeError, match="no_such_thing"):
        HopfieldPooling(8).no_such_thing  # noqa: B018 - reading it is what is tested


# ------------------------------------------------------------------------------------------------ matrices, retrieval


@pytest.mark.parametrize("batch_first", [True, False])
def test_matrices(batch_first):
    options = {"num_heads": 2, "hidden_size": 4, "pattern_size": 3, "batch_first": batch_first}
    rows = normal(generator(0), *((2, 7, 8) if batch_first else (7, 2, 8)))
    for cls, associations, projected in (
        (Hopfield, (2, 2, 7, 7), (2, 2, 7, 3)),
        (HopfieldPooling, (2, 2, 5, 7), (2, 2, 7, 3)),
        (HopfieldLayer, (2, 2, 7, 5), (2, 2, 5, 3)),
    ):
        layer = made(cls, **options)
        found, patterns = layer.get_association_matrix(rows), layer.get_projected_pattern_matrix(rows)
        assert found.shape == associations
        assert patterns.shape == projected
        assert not found.requires_grad
        assert not patterns.requires_grad
        close(found.sum(-1), torch.ones_like(found.sum(-1)))
        out = layer.hopfield.association_core.out_proj if cls is not Hopfield else layer.association_core.out_proj
        output = out((found @ patterns).transpose(1, 2).flatten(2))  # (B, L, output_size)
        output = output if batch_first else output.transpose(0, 1)
        close(layer(rows), output.flatten(1) if cls is HopfieldPooling else output)


@each_class
def test_retrieve_tells_what_happened(cls):
    layer = made(cls, num_heads=2, update_steps_max=None, update_steps_eps=1e-9)
    rows = normal(generator(0), 2, 7, 8)
    output, found = layer.retrieve(rows)
    close(output, layer(rows))
    states = 5 if cls is HopfieldPooling else 7
    assert found.steps.shape == found.converged.shape == found.energy.shape == (2, 2, states)
    assert found.converged.all()
    assert (found.steps > 1).any()
    close(found.weights, layer.get_association_matrix(rows))
    assert found.weights.requires_grad


def test_padding_and_masks_reach_the_matrices():
    g = generator(0)
    rows, padding = normal(g, 2, 7, 8), torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 4:] = True
    causal = torch.ones(7, 7, dtype=torch.bool).triu(1)
    found = made(Hopfield, num_heads=2).get_association_matrix(rows, padding, causal)
    assert (found[1, ..., 4:] == 0).all()
    assert (found.masked_select(causal) == 0).all()
    found = made(HopfieldPooling).get_association_matrix(rows, padding)
    assert (found[1, ..., 4:] == 0).all()


# ------------------------------------------------------------------------------------------------------ initialisation


def drawn(core: HopfieldCore, resets: int) -> dict[str, Tensor]:
    """What the original draws for a core that is reset so often: `nn.Linear`'s default first, then N(0, 0.02²)."""
    result = {}
    if core.out_proj is not None:
        nn.Linear(core.out_proj.in_features, core.out_proj.out_features, bias=core.out_proj.bias is not None)
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight", "bias_k", "bias_v")
    state = core.state_dict()
    for _ in range(resets):
        for name in names:
            if name in state:
                result[name] = torch.empty_like(state[name]).normal_(std=0.02)
    return result


EACH_INITIALISED = pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_heads": 2, "hidden_size": 3, "output_size": 5},
        {"stored_pattern_size": 6, "pattern_projection_size": 6},
        {"pattern_projection_as_connected": True},
        {"concat_bias_pattern": True, "num_heads": 2},
        {"input_bias": False, "disable_out_projection": True},
    ],
    ids=str,
)


def check_drawn(core: HopfieldCore, expected: dict[str, Tensor]) -> None:
    state = core.state_dict()
    assert expected
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
    assert all((state[name] == 0).all() for name in ("in_proj_bias", "out_proj.bias") if name in state)


@EACH_INITIALISED
def test_same_seed_same_parameters(options):
    torch.manual_seed(3)
    layer = Hopfield(8, **options)
    torch.manual_seed(3)
    check_drawn(layer.association_core, drawn(layer.association_core, 2))


@EACH_INITIALISED
def test_same_seed_same_parameters_of_pooling_and_lookup(options):
    torch.manual_seed(3)
    pooling = HopfieldPooling(8, quantity=3, **options)
    torch.manual_seed(3)
    check_drawn(pooling.hopfield.association_core, drawn(pooling.hopfield.association_core, 3))
    assert torch.equal(pooling.pooling_weights, torch.empty(1, 3, 8).normal_(std=0.02))

    torch.manual_seed(3)
    lookup = HopfieldLayer(8, quantity=3, lookup_weights_as_separated=True, **options)
    torch.manual_seed(3)
    check_drawn(lookup.hopfield.association_core, drawn(lookup.hopfield.association_core, 3))
    assert torch.equal(lookup.lookup_weights, torch.empty_like(lookup.lookup_weights).normal_(std=0.02))
    assert torch.equal(lookup.target_weights, torch.empty_like(lookup.target_weights).normal_(std=0.02))


def test_reset_parameters_initialises_anew():
    for cls in CLASSES:
        layer = made(cls, normalize_hopfield_space=True, normalize_hopfield_space_affine=True)
        layer.reset_parameters()
        for name, parameter in layer.named_parameters():
            if "norm" in name:
                assert (parameter == (1.0 if "weight" in name else 0.0)).all(), name
            else:
                assert parameter.abs().max() < 0.12, name


# --------------------------------------------------------------------------------------------------- what is put right


def test_a_scaling_tensor_has_one_entry_per_head():
    beta = torch.tensor([0.5, 3.0], dtype=torch.float64)
    layer = made(Hopfield, num_heads=2, scaling=beta)
    rows = normal(generator(1), 2, 7, 8)
    query, key, value = heads_of(layer, rows, rows, rows)
    weights = torch.softmax(beta[:, None, None] * query @ key.mT, -1)
    close(layer.get_association_matrix(rows), weights)
    close(layer(rows), layer.association_core.out_proj((weights @ value).transpose(1, 2).flatten(2)))
    per_head = [made(Hopfield, num_heads=2, scaling=float(b)).get_association_matrix(rows) for b in beta]
    close(layer.get_association_matrix(rows), torch.stack([per_head[0][:, 0], per_head[1][:, 1]], 1))


def test_a_scaling_tensor_with_updates():
    layer = made(Hopfield, num_heads=3, hidden_size=4, scaling=torch.tensor([0.5, 1.0, 2.0]), update_steps_max=2)
    assert layer(normal(generator(1), 2, 7, 8)).shape == (2, 7, 8)


@each_class
def test_scaling_may_be_an_integer(cls):
    rows = normal(generator(1), 2, 7, 8)
    close(made(cls, scaling=2)(rows), made(cls, scaling=2.0)(rows))


@each_class
@pytest.mark.parametrize("shape", [(), (2,)])
def test_scaling_may_be_trained(cls, shape):
    parameter = nn.Parameter(torch.full(shape, 0.5, dtype=torch.float64))
    layer = made(cls, num_heads=2, scaling=parameter)
    with torch.no_grad():
        parameter.fill_(0.5)
    assert any(own is parameter for own in layer.parameters())
    name = "_scaling" if cls is Hopfield else "hopfield._scaling"
    assert name in layer.state_dict()
    rows = normal(generator(1), 2, 7, 8)
    before = layer(rows)
    before.square().sum().backward()
    assert parameter.grad.abs().min() > 0
    with torch.no_grad():
        parameter -= 0.01 * parameter.grad
    assert not torch.equal(layer.eval()(rows), before)
    other = made(cls, num_heads=2, scaling=nn.Parameter(torch.ones(shape)))
    other.load_state_dict(layer.state_dict())
    close(other.eval()(rows), layer(rows))


def test_a_scaling_tensor_moves_with_the_layer_but_is_no_part_of_the_checkpoint():
    layer = Hopfield(8, num_heads=2, scaling=torch.tensor([0.5, 1.0]))
    assert layer.double().scaling.dtype == torch.float64
    assert layer.state_dict().keys() == Hopfield(8, num_heads=2).state_dict().keys()
    layer.scaling.zero_()  # a copy
    assert layer.scaling.tolist() == [0.5, 1.0]


def test_concat_bias_pattern_has_an_effect():
    layer = made(Hopfield, num_heads=2, concat_bias_pattern=True)
    rows = normal(generator(1), 2, 7, 8)
    core = layer.association_core
    query, key, value = heads_of(layer, rows, rows, rows)
    key = torch.cat([key, core.bias_k.view(1, 2, 1, 4).expand(2, -1, -1, -1)], 2)
    value = torch.cat([value, core.bias_v.view(1, 2, 1, 4).expand(2, -1, -1, -1)], 2)
    weights = torch.softmax(query @ key.mT / 2, -1)
    close(layer.get_association_matrix(rows), weights)
    close(layer(rows), core.out_proj((weights @ value).transpose(1, 2).flatten(2)))
    layer(rows).square().sum().backward()
    assert core.bias_k.grad.abs().min() > 0
    assert core.bias_v.grad.abs().min() > 0


def test_extra_patterns_take_part_where_everything_else_is_masked():
    rows = normal(generator(1), 2, 7, 8)
    layer = made(Hopfield, concat_bias_pattern=True, add_zero_association=True)
    weights = layer.get_association_matrix(rows, torch.ones(2, 7, dtype=torch.bool))
    assert weights.shape == (2, 1, 7, 9)
    assert (weights[..., :7] == 0).all()
    close(weights.sum(-1), torch.ones_like(weights.sum(-1)))


@each_class
@pytest.mark.parametrize("name", ["rellu", "Tensor", "float32", 3])
def test_a_misspelt_activation_is_refused(cls, name):
    text = rf"unknown activation {name!r}; expected a function of torch such as relu, tanh, sigmoid, selu"
    with pytest.raises(HopfieldError, match=text):
        cls(8, association_activation=name)


def test_the_activation_applies_to_the_output():
    rows = normal(generator(1), 2, 7, 8)
    for cls in CLASSES:
        close(made(cls, association_activation="tanh")(rows), made(cls)(rows).tanh())


@each_class
def test_masks_may_be_uint8(cls):
    g = generator(1)
    layer, rows = made(cls, num_heads=2), normal(g, 2, 7, 8)
    shape = layer.get_association_matrix(rows).shape
    padding, mask = yes(g, 2, shape[-1], chance=0.3), yes(g, *shape[-2:], chance=0.3)
    close(layer(rows, padding.byte(), mask.byte()), layer(rows, padding, mask))


@pytest.mark.parametrize("heads", [1, 2])
def test_affine_normalisation_of_the_association_space_without_hidden_size(heads):
    layer = made(Hopfield, num_heads=heads, normalize_hopfield_space=True, normalize_hopfield_space_affine=True)
    core = layer.association_core
    assert core.p_norm_weight.shape == core.p_norm_bias.shape == (8 // heads,)
    rows = normal(generator(1), 2, 7, 8)
    query, key, _ = heads_of(layer, rows, rows, rows)
    query, key = (F.layer_norm(part, (8 // heads,), core.p_norm_weight, core.p_norm_bias) for part in (query, key))
    close(layer.get_association_matrix(rows), torch.softmax(query @ key.mT / math.sqrt(8 // heads), -1))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_update_steps_max_leaves_out_the_first_association(count):
    layer = Hopfield(**STATIC, scaling=0.7, update_steps_max=count)
    g = generator(1)
    stored, state, value = normal(g, 2, 7, 5), normal(g, 2, 3, 5), normal(g, 2, 7, 4)
    moved = state
    for _ in range(count + 1):
        weights = torch.softmax(0.7 * moved @ stored.mT, -1)
        moved = weights @ stored
    close(layer((stored, state, value)), weights @ value)
    assert (layer.retrieve((stored, state, value))[1].steps == count + 1).all()


def test_update_steps_eps_does_not_cut_a_count_short():
    rows = normal(generator(1), 2, 7, 8)
    options = {"num_heads": 2, "update_steps_max": 5}
    loose, strict = made(Hopfield, **options, update_steps_eps=10.0), made(Hopfield, **options, update_steps_eps=1e-9)
    close(loose(rows), strict(rows))


def test_update_steps_per_head():
    rows = normal(generator(1), 2, 7, 8)
    layer = made(Hopfield, num_heads=3, hidden_size=4, update_steps_max=torch.tensor([0, 3, -1]), update_steps_eps=1e-9)
    steps = layer.retrieve(rows)[1].steps
    assert (steps[:, 0] == 1).all()
    assert (steps[:, 1] == 4).all()
    assert (steps[:, 2] > 4).any()
    tolerances = torch.tensor([1e-3, 1e-9, 1e-3])
    same = made(Hopfield, num_heads=3, hidden_size=4, update_steps_max=None, update_steps_eps=tolerances)
    close(same(rows), made(Hopfield, num_heads=3, hidden_size=4, update_steps_max=-1, update_steps_eps=1e-9)(rows))


@each_class
def test_stopping_does_not_depend_on_the_rest_of_the_batch(cls):
    layer = made(cls, num_heads=2, update_steps_max=None, update_steps_eps=1e-3)
    rows = normal(generator(1), 4, 7, 8) * torch.tensor([0.3, 1.0, 3.0, 10.0], dtype=torch.float64)[:, None, None]
    together = layer(rows)
    close(together, torch.cat([layer(row[None]) for row in rows]))
    steps = layer.retrieve(rows)[1].steps
    assert len(steps.unique()) > 1, "states that stop at different times"


def test_gradients_until_convergence_are_those_of_many_updates():
    rows = normal(generator(1), 2, 7, 8).requires_grad_()
    gradients = []
    for count in (None, 200):
        layer = made(Hopfield, num_heads=2, update_steps_max=count, update_steps_eps=1e-13, scaling=0.3)
        output = layer(rows)
        gradients.append(torch.autograd.grad(output.square().sum(), [rows, *layer.parameters()]))
    for implicit, unrolled in zip(*gradients, strict=True):
        torch.testing.assert_close(implicit, unrolled, rtol=1e-7, atol=1e-9)


@each_class
def test_a_bag_of_padding_alone_gives_zeros(cls):
    layer = made(cls, num_heads=2)
    rows = normal(generator(1), 2, 7, 8).requires_grad_()
    padding = torch.zeros(2, 5 if cls is HopfieldLayer else 7, dtype=torch.bool)
    padding[1] = True
    output = layer(rows, padding)
    assert (output[1] == 0).all()
    close(output[:1], layer(rows[:1]))
    output.square().sum().backward()
    assert rows.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    assert layer.get_association_matrix(rows, padding).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_floating_point_masks_are_added_to_the_scores(dtype):
    g = generator(1)
    layer, rows = made(Hopfield, num_heads=2, scaling=torch.tensor([0.5, 2.0])), normal(g, 2, 7, 8)
    mask, padding = normal(g, 7, 7).to(dtype), normal(g, 2, 7).to(dtype)
    query, key, _ = heads_of(layer, rows, rows, rows)
    scores = torch.tensor([0.5, 2.0], dtype=torch.float64)[:, None, None] * query @ key.mT
    masks = {
        "association_mask": (mask, mask),
        "stored_pattern_padding_mask": (padding, padding[:, None, None, :]),
    }
    for name, (given, added) in masks.items():
        expected = torch.softmax(scores + added.double(), -1)
        tolerance = 1e-9 if dtype in {torch.float32, torch.float64} else 0.02
        tolerance = 1e-6 if dtype == torch.float32 else tolerance
        found = layer.get_association_matrix(rows, **{name: given})
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_a_floating_point_padding_mask_goes_with_every_association_mask():
    g = generator(1)
    layer, rows = made(Hopfield, num_heads=2), normal(g, 2, 7, 8)
    padding, mask = yes(g, 2, 7, chance=0.3), yes(g, 4, 7, 7, chance=0.3)
    minus = torch.zeros(()).masked_fill(torch.tensor(True), -math.inf)
    expected = layer(rows, padding, mask)
    as_float = torch.zeros(2, 7).masked_fill(padding, -math.inf)
    close(layer(rows, as_float, mask), expected)
    close(layer(rows, as_float, torch.where(mask, minus, 0.0)), expected)
    close(layer(rows, padding, torch.where(mask, minus, 0.0)), expected)
    close(layer(rows, as_float, mask[0]), layer(rows, padding, mask[0]))
    close(layer(rows, as_float, mask.unflatten(0, (2, 2))), expected)
    nothing = torch.full((2, 7), -math.inf)
    assert (layer(rows, nothing) == 0).all()


def test_masks_are_not_modified():
    g = generator(1)
    rows = normal(g, 2, 7, 8)
    layer = made(Hopfield, num_heads=2, update_steps_max=2, add_zero_association=True)
    padding = yes(g, 2, 7, chance=0.3)
    for mask in (yes(g, 7, 7, chance=0.3), yes(g, 4, 7, 7, chance=0.3), normal(g, 7, 7), normal(g, 4, 7, 7)):
        before, padding_before = mask.clone(), padding.clone()
        layer(rows, padding, mask).sum().backward()
        assert torch.equal(mask, before)
        assert torch.equal(padding, padding_before)


def test_equal_inputs_give_what_the_same_input_gives():
    rows = normal(generator(1), 2, 7, 8)
    for options in ({}, {"num_heads": 2, "hidden_size": 3, "pattern_size": 5}, {"stored_pattern_size": 8}):
        layer = made(Hopfield, **options)
        close(layer((rows.clone(), rows, rows.clone())), layer(rows))
        close(layer((rows, rows.clone(), rows)), layer(rows))
    pooling = made(HopfieldPooling)
    close(pooling((rows, rows.clone())), pooling(rows))


@pytest.mark.parametrize("options", [{}, {"update_steps_max": 2, "num_heads": 2}], ids=str)
@each_class
def test_compiles_without_graph_breaks(cls, options):
    layer, rows = made(cls, **options), normal(generator(1), 2, 7, 8)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    padding = torch.zeros(2, 5 if cls is HopfieldLayer else 7, dtype=torch.bool)
    padding[1, 3:] = True
    close(compiled(rows), layer(rows))
    close(compiled(rows, padding), layer(rows, padding))


def test_static_inputs_serve_every_head():
    options = {"hidden_size": 4, "pattern_size": 4, "stored_pattern_size": 4, "pattern_projection_size": 4}
    g = generator(1)
    stored, state, value = normal(g, 3, 7, 4), normal(g, 3, 5, 8), normal(g, 3, 7, 4)
    static = {"stored_pattern_as_static": True, "pattern_projection_as_static": True, "disable_out_projection": True}
    layer = made(Hopfield, num_heads=2, **options, **static, **PLAIN)
    core = layer.association_core
    query = F.linear(state, core.q_proj_weight, core.in_proj_bias[:8]).unflatten(-1, (2, 4)).transpose(1, 2)
    weights = torch.softmax(query @ stored[:, None].mT / 2, -1)
    close(layer.get_association_matrix((stored, state, value)), weights)
    close(layer((stored, state, value)), (weights @ value[:, None]).transpose(1, 2).flatten(2))
    close(layer((stored, state, value))[:1], layer((stored[:1], state[:1], value[:1])))


# ----------------------------------------------------------------------------------------------------- the lookup layer


def test_the_kept_memory_notices_changed_parameters():
    layer = made(HopfieldLayer, lookup_weights_as_separated=True).eval()
    rows = normal(generator(1), 2, 7, 8)
    core, norm = layer.hopfield.association_core, layer.hopfield.norm_stored_pattern
    other = sharp(HopfieldLayer(8, quantity=5, lookup_weights_as_separated=True), seed=1)
    changes = [
        partial(layer.lookup_weights.copy_, normal(generator(2), 1, 5, 8)),
        partial(layer.target_weights.copy_, normal(generator(3), 1, 5, 8)),
        partial(core.in_proj_weight.mul_, -2),
        partial(norm.weight.mul_, 3),
        partial(layer.load_state_dict, other.state_dict()),
    ]
    with torch.no_grad():
        before = layer(rows)
        for change in changes:
            change()
            after = layer(rows)
            assert (after - before).abs().max() > 1e-3
            with torch.enable_grad():
                close(after, layer(rows).detach())
            before = after


def test_lookup_gives_every_sample_its_own_mask():
    layer = made(HopfieldLayer, num_heads=2)
    rows = normal(generator(1), 3, 7, 8)
    padding = torch.tensor([[False] * 5, [True, False, False, True, False], [True] * 4 + [False]])
    together = layer(rows, padding)
    close(together, torch.cat([layer(rows[i : i + 1], padding[i : i + 1]) for i in range(3)]))


# ---------------------------------------------------------------------------------------------------- limits and errors


@each_class
def test_an_empty_batch(cls):
    layer = made(cls, num_heads=2)
    output = layer(torch.zeros(0, 7, 8, dtype=torch.float64))
    assert output.shape == ((0, 40) if cls is HopfieldPooling else (0, 7, 8))
    output.sum().backward()


@pytest.mark.parametrize("cls", [Hopfield, HopfieldPooling])
def test_an_empty_memory_gives_zeros(cls):
    layer = made(cls, num_heads=2)
    nothing = torch.zeros(2, 0, 8, dtype=torch.float64)
    output = layer((nothing, normal(generator(0), 2, 7, 8), nothing) if cls is Hopfield else nothing)
    assert (output == 0).all()


def test_dropout_acts_in_training_alone():
    rows = normal(generator(1), 2, 7, 8)
    for cls in CLASSES:
        layer = made(cls, dropout=0.5)
        close(layer.eval()(rows), made(cls)(rows))
        assert not torch.equal(layer.train()(rows), layer(rows))


def test_half_precision():
    rows = normal(generator(1), 2, 7, 8)
    for cls in CLASSES:
        layer = made(cls, num_heads=2).eval()
        expected = layer(rows)
        found = layer.bfloat16()(rows.bfloat16())
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), expected, rtol=0.05, atol=0.05)


def test_the_core_by_itself():
    core = sharp(HopfieldCore(8, 2, add_zero_attn=True))
    rows = normal(generator(1), 7, 3, 8)  # (n, B, size)
    output, mean, raw, patterns = core(rows, rows, rows, return_raw_associations=True, return_pattern_projections=True)
    assert output.shape == (7, 3, 8)
    assert raw.shape == (3, 2, 7, 8)
    assert patterns.shape == (3, 2, 8, 4)
    close(mean, raw.mean(1))
    query, key, _ = (
        part.unflatten(-1, (2, 4)).permute(1, 2, 0, 3)
        for part in F.linear(rows, core.in_proj_weight, core.in_proj_bias).chunk(3, -1)
    )
    key = F.pad(key, (0, 0, 0, 1))
    close(raw, torch.softmax(query @ key.mT, -1))  # no scaling is a scaling of 1
    alone, *others = core(rows, rows, rows, need_weights=False)
    close(alone, output)
    assert others == [None, None, None]


WRONG = [
    (
        {"input_size": None},
        "normalize_stored_pattern needs the size of the stored pattern: give it, or set it False|input_size is needed",
    ),
    ({"num_heads": 3}, "input_size must be divisible by num_heads, got 8 and 3; or give hidden_size"),
    ({"num_heads": 0}, "num_heads must be an integer of at least 1, got 0"),
    ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
    ({"output_size": 0}, "output_size must be at least 1, got 0"),
    ({"batch_first": 1}, "batch_first must be True or False, got 1"),
    ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ({"scaling": 0.0}, "beta must be a finite number above 0"),
    ({"scaling": torch.ones(3)}, r"scaling must be a number or a tensor with one per head, \(1,\), got shape \(3,\)"),
    ({"scaling": -torch.ones(1)}, "beta must be finite and above 0 everywhere"),
    ({"update_steps_max": 1.5}, "update_steps_max must be an integer, a tensor with one per head, or None, got 1.5"),
    ({"update_steps_max": torch.ones(3)}, r"update_steps_max must have one entry per head, \(1,\), got \(3,\)"),
    ({"update_steps_eps": 0.0}, "update_steps_eps must be above 0, got 0.0"),
    ({"update_steps_eps": torch.zeros(1)}, "update_steps_eps must be above 0"),
    (
        {"normalize_state_pattern": False},
        "normalize_state_pattern_affine has no effect without normalize_state_pattern",
    ),
    ({"normalize_hopfield_space_affine": True}, "normalize_hopfield_space_affine has no effect without"),
    ({"concat_bias_pattern": True, "stored_pattern_as_static": True}, "concat_bias_pattern needs projected stored"),
    (
        {"pattern_projection_as_connected": True, "stored_pattern_size": 6},
        "pattern_projection_as_connected: stored_pattern_size and pattern_projection_size must be equal, got 6 and 8",
    ),
]


@pytest.mark.parametrize(("options", "text"), WRONG, ids=lambda part: str(part)[:40])
def test_wrong_settings_are_refused_at_construction(options, text):
    for cls in CLASSES:
        with pytest.raises(HopfieldError, match=text):
            cls(**({"input_size": 8} | options))


@pytest.mark.parametrize("cls", [HopfieldPooling, HopfieldLayer])
def test_wrong_quantities_are_refused(cls):
    for quantity in (0, -1, 2.0, True):
        with pytest.raises(HopfieldError, match="quantity must be an integer of at least 1, got"):
            cls(8, quantity=quantity)


@pytest.mark.parametrize("separated", [True, False])
def test_a_lookup_layer_whose_targets_do_not_fit_is_refused(separated):
    with pytest.raises(
        HopfieldError, match="pattern projections have size 6, but 8 is expected of them: give pattern_pro"
    ):
        HopfieldLayer(8, stored_pattern_size=6, lookup_weights_as_separated=separated)


ROWS = torch.zeros(2, 7, 8)
WRONG_INPUTS = [
    (
        Hopfield,
        (torch.zeros(7, 8),),
        r"the state pattern must be a tensor of three dimensions, the last 8; got a tensor",
    ),
    (Hopfield, (torch.zeros(2, 7, 5),), r"the last 8; got a tensor \(2, 7, 5\)"),
    (Hopfield, ((ROWS, ROWS),), "input must be one tensor for everything, or a tuple of three.*; got a tuple of 2"),
    (
        Hopfield,
        ((ROWS, ROWS, ROWS[..., :3]),),
        "the pattern projection must be a tensor of three dimensions, the last 8",
    ),
    (Hopfield, ((ROWS[..., :3], ROWS, ROWS),), "the stored pattern must be a tensor of three dimensions, the last 8"),
    (Hopfield, (ROWS.long(),), r"the state pattern must be of a floating-point dtype, got torch.int64; use .float\(\)"),
    (HopfieldPooling, ((ROWS, ROWS, ROWS),), "or a tuple of two: stored pattern, pattern projection; got a tuple of 3"),
    (
        HopfieldPooling,
        (torch.zeros(7, 8),),
        r"stored pattern must be a tensor of three dimensions, got a tensor \(7, 8\)",
    ),
    (HopfieldLayer, ((ROWS, ROWS),), "input must be a tensor of three dimensions, got a tuple of 2"),
    (Hopfield, (ROWS, torch.zeros(7, dtype=torch.bool)), r"of shape \(B, N\) = \(2, 7\), got \(7,\)"),
    (Hopfield, (ROWS, torch.zeros(2, 7, dtype=torch.int64)), "stored_pattern_padding_mask must be bool or uint8"),
    (Hopfield, (ROWS, None, torch.zeros(7, 6)), r"\(L, N\) = \(7, 7\) or \(B h, L, N\) = \(2, 7, 7\), got \(7, 6\)"),
    (Hopfield, (ROWS, None, torch.zeros(7, 7, dtype=torch.int64)), "association_mask must be bool or uint8"),
]


@pytest.mark.parametrize(("cls", "arguments", "text"), WRONG_INPUTS, ids=lambda part: str(part)[:30])
def test_wrong_inputs_are_refused(cls, arguments, text):
    with pytest.raises(HopfieldError, match=text):
        cls(8)(*arguments)


def test_a_trained_scaling_survives_masks_of_minus_infinity():
    layer = Hopfield(8, num_heads=2, scaling=nn.Parameter(torch.tensor(0.5)))
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    layer(torch.randn(2, 5, 8), association_mask=mask).sum().backward()
    assert layer._scaling.grad.isfinite()


def test_sizes_that_fit_no_input_are_refused():
    with pytest.raises(HopfieldError, match="state_pattern_as_static: what is not projected has hidden_size 2"):
        Hopfield(6, num_heads=3, state_pattern_as_static=True)
    with pytest.raises(HopfieldError, match="pattern_projection_as_connected: values that are not projected"):
        Hopfield(
            8,
            hidden_size=4,
            pattern_size=3,
            pattern_projection_as_static=True,
            pattern_projection_as_connected=True,
        )


def test_connected_values_of_static_patterns_turn_native():
    layer = Hopfield(
        6,
        num_heads=3,
        stored_pattern_as_static=True,
        pattern_projection_as_connected=True,
        normalize_stored_pattern=False,
        normalize_stored_pattern_affine=False,
    )
    stored, state, value = torch.randn(2, 5, 2), torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    close(layer.to_native()(state, stored, value), layer((stored, state, value)), 1e-5)


@pytest.mark.parametrize("options", [{"num_heads": 3}, {"hidden_size": 4}])
def test_where_neither_states_nor_patterns_are_projected_any_size_will_do(options):
    layer = Hopfield(6, state_pattern_as_static=True, stored_pattern_as_static=True, **options)
    assert layer(torch.randn(2, 4, 6)).shape == (2, 4, 6)
