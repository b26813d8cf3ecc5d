"""One association: every separation function, every way to compute it, every arrangement of the inputs."""

import math
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from hopfield import associate, association_weights, update
from hopfield.core import task
from hopfield.core.task import Task
from hopfield.errors import HopfieldError
from hopfield.separation import Softmax, Sparsemax, Streamable, TopK
from tests.core.catalogue import (
    LAYOUTS,
    SEPARATIONS,
    SLOW,
    SPARSE,
    WAYS,
    Inputs,
    close,
    computing,
    each_case,
    each_separation,
    each_way,
    each_wrong_input,
    examples,
    generator,
    integer,
    normal,
    one_of,
    smooth,
    some_inputs,
    sums_to_one,
    textbook,
    ways,
    yes,
)

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def run(separation, x, **options):
    return associate(x.query, x.patterns, x.values, separation=separation, **(x.options | options))


def run_with_potential(separation, x):
    return run(separation, x, return_potential=True)


# ------------------------------------------------------------------------------------------------------- the textbook


@each_separation
@examples(10)
def test_every_way_is_the_textbook(separation, seed):
    x = some_inputs(generator(seed))
    values, weights, potential = textbook(separation, x)
    close(association_weights(x.query, x.patterns, separation=separation, **x.options), weights)
    for way in ways(separation):
        with computing(way):
            close(run(separation, x), values)
            both = run_with_potential(separation, x)
        close(both[0], values)
        close(both[1], potential)


@pytest.mark.parametrize(("lead", "memory"), LAYOUTS, ids=repr)
@each_way
def test_every_arrangement_of_batches(lead, memory, way):
    g = generator(5)
    for _ in range(4):
        x = some_inputs(g, layout=(lead, memory), same_size=True)
        with computing(way):
            values, potential = run_with_potential(Softmax(), x)
            alone = run(Softmax(), x)
        expected = textbook(Softmax(), x)
        close(values, expected[0])
        close(alone, expected[0])
        close(potential, expected[2])


@each_way
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 1), (3, 5), (1, 3, 5), (2, 1, 1), (2, 3, 5)])
@pytest.mark.parametrize("memory", [(), (2,)])
def test_masks_and_biases_of_every_shape_that_broadcasts(way, shape, memory):
    g = generator(6)
    mask, bias = yes(g, *shape, chance=0.7), normal(g, *shape)
    query, patterns = normal(g, 2, 3, 4), normal(g, *memory, 5, 4)
    for options in ({"mask": mask}, {"bias": bias}, {"mask": mask, "bias": bias}):
        with computing(way):
            result = associate(query, patterns, **options)
        close(result, textbook(Softmax(), Inputs(query, patterns, **options))[0])


def test_softmax_is_the_formula_of_the_paper():
    g = generator(0)
    xi, X, beta = normal(g, 4), normal(g, 6, 4), 0.7
    p = torch.exp(beta * X @ xi) / torch.exp(beta * X @ xi).sum()
    close(associate(xi, X, beta=beta), X.T @ p)
    close(update(xi, X, beta=beta), X.T @ p)
    close(associate(xi, X, X[:, :2], beta=beta), X[:, :2].T @ p)


def test_it_is_attention():
    g = generator(1)
    query, keys, values = normal(g, 2, 3, 5, 8), normal(g, 2, 3, 7, 8), normal(g, 2, 3, 7, 8)
    close(
        associate(query, keys, values, beta=1 / math.sqrt(8)),
        F.scaled_dot_product_attention(query, keys, values),
    )


@each_separation
def test_a_single_state_is_one_row(separation):
    g = generator(2)
    query, patterns, values = normal(g, 3), normal(g, 5, 3), normal(g, 2, 5, 2)
    options = {"separation": separation, "bias": normal(g, 5), "mask": torch.tensor([True, True, False, True, True])}
    value, potential = associate(query, patterns, values, return_potential=True, **options)
    assert value.shape == (2, 2)
    assert potential.shape == (2,)
    whole = associate(query[None], patterns, values, return_potential=True, **options)
    close(value, whole[0][:, 0])
    close(potential, whole[1][:, 0])
    assert association_weights(query, patterns, **options).shape == (5,)
    assert associate(query, patterns, separation=separation).shape == (3,)


def test_names_and_objects_are_the_same():
    g = generator(3)
    query, patterns = normal(g, 2, 3), normal(g, 5, 3)
    close(associate(query, patterns, separation="top1"), associate(query, patterns, separation=TopK(1)))
    close(associate(query, patterns, separation="softmax"), associate(query, patterns))


# -------------------------------------------------------------------------------------------------- what is always true


@each_case
@examples(5)
def test_a_masked_pattern_is_a_deleted_pattern(separation, way, seed):
    g = generator(seed)
    x = some_inputs(g, layout=one_of(g, ((), ()), ((2,), ()), ((2,), (2,))), own_values=True)
    L, N = x.query.shape[-2], x.patterns.shape[-2]
    kept = yes(g, N, chance=0.6)
    bias = normal(g, N)
    masked = Inputs(x.query, x.patterns, x.values, x.beta, bias, kept)
    poisoned = Inputs(x.query, x.patterns.masked_fill(~kept[:, None], 1e3), x.values, x.beta, bias, kept)
    unbiased = Inputs(x.query, x.patterns, x.values, x.beta, bias.masked_fill(~kept, -math.inf))
    deleted = Inputs(x.query, x.patterns[..., kept, :], x.values[..., kept, :], x.beta, bias[kept])
    with computing(way):
        expected = run_with_potential(separation, deleted)
        for equal in (masked, poisoned, unbiased):
            values, potential = run_with_potential(separation, equal)
            close(values, expected[0])
            close(potential, expected[1])
            close(run(separation, equal), expected[0])
    assert values.shape[-2] == L


@each_case
@examples(5)
def test_padding_is_deletion(separation, way, seed):
    g = generator(seed)
    sizes = [integer(g, 0, 6) for _ in range(3)]
    d, query = 3, normal(g, 3, 2, 3)
    sets = [normal(g, size, d) for size in sizes]
    padded = torch.nn.utils.rnn.pad_sequence([*sets, normal(g, 6, d)], batch_first=True, padding_value=9.0)[:3]
    mask = torch.arange(6) < torch.tensor(sizes)[:, None, None]
    with computing(way):
        together = associate(query, padded, mask=mask, separation=separation)
        for row, (alone, state) in enumerate(zip(sets, query, strict=True)):
            close(together[row], associate(state, alone, separation=separation))


@each_case
@examples(5)
def test_a_permutation_of_patterns_permutes_weights(separation, way, seed):
    g = generator(seed)
    x = some_inputs(g, layout=((2,), ()), own_values=True)
    N = x.patterns.shape[-2]
    order = torch.randperm(N, generator=g)
    bias, mask = normal(g, 2, 1, N), yes(g, 2, 1, N, chance=0.8)
    before = Inputs(x.query, x.patterns, x.values, x.beta, bias, mask)
    after = Inputs(x.query, x.patterns[order], x.values[order], x.beta, bias[..., order], mask[..., order])
    with computing(way):
        for one, other in zip(
            run_with_potential(separation, before), run_with_potential(separation, after), strict=True
        ):
            close(one, other)
        close(run(separation, before), run(separation, after))
    close(
        association_weights(before.query, before.patterns, separation=separation, **before.options)[..., order],
        association_weights(after.query, after.patterns, separation=separation, **after.options),
    )


@each_case
@examples(5)
def test_the_result_lies_in_the_hull_of_the_values(separation, way, seed):
    g = generator(seed)
    x = some_inputs(g, layout=((2,), ()))
    values = x.patterns if x.values is None else x.values
    with computing(way):
        result = run(separation, x)
    zero = torch.zeros_like(values[:1])  # where nothing is attended to, or a null pattern takes a share
    low, high = torch.cat([values, zero]).aminmax(dim=0)
    assert bool(((result >= low - 1e-9) & (result <= high + 1e-9)).all())


@each_case
@pytest.mark.parametrize("learning", [False, True])
def test_nothing_to_attend_to_gives_zeros(separation, way, learning):
    g = generator(8)
    ground = -math.inf if sums_to_one(separation) else 0.0
    nobody = torch.zeros(1, 7, dtype=torch.bool)
    cases = [
        Inputs(normal(g, 3, 4), normal(g, 0, 4)),
        Inputs(normal(g, 2, 3, 4), normal(g, 2, 0, 4), normal(g, 2, 0, 4), torch.full((2, 3, 1), 2.0).double()),
        Inputs(normal(g, 3, 4), normal(g, 7, 4), mask=nobody),
        Inputs(normal(g, 2, 3, 4), normal(g, 2, 7, 4), mask=nobody),
        Inputs(normal(g, 3, 4), normal(g, 7, 4), bias=torch.full((7,), -math.inf).double()),
    ]
    for case in cases:
        x = case.learning() if learning and case.bias is None else case
        with computing(way):
            values, potential = run_with_potential(separation, x)
            alone = run(separation, x)
            close(values.detach(), torch.zeros_like(values))
            close(alone.detach(), torch.zeros_like(alone))
            close(potential.detach(), torch.full_like(potential, ground))
            weights = association_weights(x.query, x.patterns, separation=separation, **x.options)
            close(weights.detach(), torch.zeros_like(weights))
            if learning and case.bias is None:
                for result in (values, alone, potential):
                    for gradient in torch.autograd.grad(result.sum(), x.tensors, retain_graph=True, allow_unused=True):
                        assert gradient is None or bool((gradient == 0).all())


@each_case
def test_an_empty_row_does_not_touch_its_neighbours(separation, way):
    g = generator(9)
    mask = yes(g, 5, 7, chance=0.8)
    mask[1] = mask[4] = False
    x = Inputs(normal(g, 5, 4), normal(g, 7, 4), normal(g, 7, 4), torch.tensor(0.8).double(), normal(g, 7), mask)
    alive = mask.any(-1)
    others = Inputs(x.query[alive], x.patterns, x.values, x.beta, x.bias, mask[alive])
    gradients = []
    with computing(way):
        for case in (x, others):
            leaves = case.learning()
            result = run(separation, leaves)
            assert bool(result.isfinite().all())
            gradients.append((result, torch.autograd.grad(result.square().sum(), leaves.tensors)))
    close(gradients[0][0][alive], gradients[1][0])
    (query, *whole), (query_alone, *alone) = gradients[0][1], gradients[1][1]
    close(query[alive], query_alone)
    assert bool((query[~alive] == 0).all())
    for one, other in zip(whole, alone, strict=True):
        close(one, other)


@each_case
@examples(5)
def test_a_batch_is_a_loop(separation, way, seed):
    g = generator(seed)
    query, patterns, beta = normal(g, 2, 3, 4, 5), normal(g, 2, 3, 7, 5), torch.exp(normal(g, 3, 1, 1))
    bias, mask = normal(g, 3, 1, 7), yes(g, 2, 1, 4, 7, chance=0.8)
    with computing(way):
        together = associate(query, patterns, beta=beta, bias=bias, mask=mask, separation=separation)
        for b in range(2):
            for h in range(3):  # one beta per head is each head alone with a number
                options = {"beta": float(beta[h]), "bias": bias[h], "mask": mask[b, 0]}
                alone = associate(query[b, h], patterns[b, h], separation=separation, **options)
                close(together[b, h], alone)
                close(
                    alone[2],
                    associate(
                        query[b, h, 2], patterns[b, h], **{**options, "mask": mask[b, 0, 2]}, separation=separation
                    ),
                )


@each_case
def test_same_inputs_same_numbers(separation, way):
    x = some_inputs(generator(10), layout=((2,), ()), same_size=True).to(torch.float32).learning()
    with computing(way):
        first, second = (run(separation, x) for _ in range(2))
        gradients = [torch.autograd.grad(result.square().sum(), x.tensors) for result in (first, second)]
    assert torch.equal(first, second)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


# ------------------------------------------------------------------------------------------------------------ gradients


@each_separation
@examples(10)
def test_gradients_are_the_same_every_way(separation, seed):
    g = generator(seed)
    x = some_inputs(g, same_size=bool(yes(g))).learning()
    weight, of_potential = None, None
    expected = None
    for way in ways(separation):
        with computing(way):
            values = run(separation, x)
            both = run_with_potential(separation, x)
        if weight is None:
            weight, of_potential = normal(g, *values.shape), normal(g, *both[1].shape)
        potential = torch.where(both[1] == -math.inf, 0.0, both[1])
        losses = [(values * weight).sum(), (both[0] * weight).sum() + (potential * of_potential).sum()]
        found = [torch.autograd.grad(loss, x.tensors, allow_unused=True, materialize_grads=True) for loss in losses]
        expected = expected or found
        for of_loss, of_expected in zip(found, expected, strict=True):
            for one, other in zip(of_loss, of_expected, strict=True):
                close(one, other, 1 + float(other.abs().max()))


@each_case
def test_gradcheck(separation, way):
    g = generator(1)
    mask = torch.tensor([True, True, True, False])
    query, patterns, values, bias = normal(g, 2, 2), normal(g, 4, 2), normal(g, 4, 2), normal(g, 4)
    beta = torch.tensor([[0.7], [1.1]]).double()
    while not smooth(separation, beta * (query @ patterns[:3].T + bias[:3])):
        query, patterns = normal(g, 2, 2), normal(g, 4, 2)

    def check(function, *inputs):
        leaves = [tensor.requires_grad_() for tensor in inputs]
        assert torch.autograd.gradcheck(function, leaves, fast_mode=separation in SLOW)

    with computing(way):
        if way == "fused":  # which has no gradient of the bias, and no potential
            check(lambda q, p, v, b: associate(q, p, v, beta=b, mask=mask, separation=separation),
                  query, patterns, values, beta)  # fmt: skip
        else:
            check(lambda *x: run_with_potential(separation, Inputs(*x, mask=mask)),
                  query, patterns, values, beta, bias)  # fmt: skip


@pytest.mark.parametrize("learns", ["query", "patterns", "values", "beta", "bias"])
@each_way
def test_gradients_of_one_input_alone(learns, way):
    g = generator(11)
    x = Inputs(normal(g, 2, 5, 3), normal(g, 2, 7, 3), normal(g, 2, 7, 3), torch.tensor(0.8).double(), normal(g, 1, 7))
    gradients = []
    for here in ("dense", way):
        leaf = getattr(x, learns).clone().requires_grad_()
        with computing(here):
            result = run(Softmax(), Inputs(**{**vars(x), learns: leaf}))
        gradients.append(torch.autograd.grad(result.square().sum(), leaf)[0])
    close(gradients[1], gradients[0], float(gradients[0].abs().max()))


def test_streaming_is_differentiable_once_and_says_so():
    x = normal(generator(12), 4, 3).requires_grad_()
    with computing("streaming"), pytest.raises(HopfieldError, match="no second derivatives through a large memory"):
        torch.autograd.grad(associate(x, x).square().sum(), x, create_graph=True)


# the threshold of the other sparse maps is differentiable once
@pytest.mark.parametrize("separation", [s for s in SEPARATIONS if s not in SPARSE or s == Sparsemax()], ids=repr)
def test_the_score_matrix_is_differentiable_twice(separation):
    g = generator(13)
    query, patterns = 0.3 * normal(g, 2, 3), normal(g, 4, 3)
    while not smooth(separation, query @ patterns.T):
        query, patterns = 0.3 * normal(g, 2, 3), normal(g, 4, 3)

    def gradient(query):
        (result,) = torch.autograd.grad(
            associate(query, patterns, separation=separation)[:, 0].sum(), query, create_graph=True
        )
        return result

    assert torch.autograd.gradcheck(gradient, query.requires_grad_(), atol=1e-4)


# ---------------------------------------------------------------------------------------- narrow types, large numbers


@HALF
@each_case
def test_half_precision_is_summed_in_float32_and_cast_back(dtype, separation, way):
    eps = torch.finfo(dtype).eps
    for seed in range(1 if separation in SLOW else 4):
        g = generator(seed)
        x = some_inputs(g, same_size=True)
        x = Inputs(x.query.to(dtype), x.patterns.to(dtype), None if x.values is None else x.values.to(dtype),
                   x.beta if isinstance(x.beta, float) else x.beta.float(),
                   None if x.bias is None else x.bias.float(), x.mask)  # fmt: skip
        with computing("dense"):
            expected, of_expected = run_with_potential(separation, x.to(torch.float32))
        with computing(way):
            result = run(separation, x)
            values, potential = run_with_potential(separation, x)
        scale = float((x.patterns if x.values is None else x.values).abs().max())
        assert result.dtype == values.dtype == dtype
        assert potential.dtype == torch.float32
        torch.testing.assert_close(values.float(), expected, rtol=eps, atol=1e-5)
        torch.testing.assert_close(potential, of_expected, rtol=1e-5, atol=1e-5)
        # the fused kernel, which serves softmax with a memory for each as well, rounds the weights too
        torch.testing.assert_close(
            result.float(), expected, rtol=eps, atol=1e-5 + (separation == Softmax()) * eps * scale
        )


@HALF
@each_separation
@pytest.mark.parametrize("way", [None, "dense", "fused"])
def test_long_sums_of_half_precision_lose_nothing(dtype, separation, way):
    patterns = torch.ones(6000, 4, dtype=dtype)
    patterns[::2] = 0.5
    query = torch.zeros(3, 4, dtype=dtype)  # all scores equal
    with computing(way) if way else nullcontext():
        result = associate(query, patterns, separation=separation).float()
    share = 1.0 if sums_to_one(separation) else 6000 / 6001
    torch.testing.assert_close(result, torch.full((3, 4), 0.75 * share), rtol=torch.finfo(dtype).eps, atol=1e-4)


@HALF
@each_way
@pytest.mark.parametrize("beta", [2.3, torch.tensor(2.3)], ids=["number", "tensor"])
def test_scores_of_half_precision_are_not_rounded(dtype, way, beta):
    g = generator(14)
    query, patterns = 3 * normal(g, 20, 16).to(dtype), normal(g, 300, 16).to(dtype)
    bias = 100 + normal(g, 300).float()
    for options in ({"beta": beta}, {"beta": beta, "bias": bias}):
        with computing("dense"):
            expected = associate(query.float(), patterns.float(), **options)
        with computing(way):
            result = associate(query, patterns, **options)
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(result.float(), expected, rtol=eps, atol=eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@each_case
def test_large_beta_and_long_patterns_stay_finite(dtype, separation, way):
    patterns = (1e4 * F.normalize(normal(generator(15), 8, 6), dim=-1)).to(dtype)
    patterns[1] = patterns[0]  # these share
    query = torch.cat([patterns[:3], 0.1 * patterns[3:4], torch.zeros(1, 6, dtype=dtype)])
    bias = -patterns.float().square().sum(-1) / 2
    for x in (
        Inputs(query, patterns, beta=1e6),
        Inputs(query, patterns, beta=1e6, bias=bias),
        Inputs(query, patterns, beta=torch.tensor(1e6)),
    ):
        with computing(way):
            values, potential = run_with_potential(separation, x)
            alone = run(separation, x)
        assert bool(potential.isfinite().all())
        assert float(values[4].abs().max()) <= 1e4
        for result in (values, alone):  # all other patterns are far off
            torch.testing.assert_close(result[:3].float(), query[:3].float(), rtol=1e-2, atol=1.0)
            assert bool(result.isfinite().all())


@each_case
def test_gradients_at_large_beta_and_long_patterns_stay_finite(separation, way):
    g = generator(16)
    patterns = (1e4 * F.normalize(normal(g, 8, 6), dim=-1)).float()
    query = torch.cat([patterns[:3], 0.1 * patterns[3:4], torch.zeros(1, 6)])
    for beta in (1e6, 1.0):
        x = Inputs(query, patterns, None, torch.tensor(beta)).learning()
        with computing(way):
            values, potential = run_with_potential(separation, x)
            alone = run(separation, x)
            for result in (values, alone, potential):
                for gradient in torch.autograd.grad(result.sum(), x.tensors, retain_graph=True, allow_unused=True):
                    assert gradient is None or bool(gradient.isfinite().all())


@each_case
@pytest.mark.parametrize("size", [1e3, 1e14])
def test_weights_sum_to_one_in_the_backward_pass_as_well(separation, way, size):
    if way == "fused":
        return  # PyTorch's kernel, good to the rounding of the scores
    g = generator(17)
    patterns = F.normalize(normal(g, 20, 4), dim=-1).float()
    patterns[1] = patterns[0]
    values = normal(g, 20, 4).float().requires_grad_()
    with computing(way):
        result = associate(patterns[:7], patterns, values, beta=size, separation=separation)
        (weights,) = torch.autograd.grad(result.sum(), values)
    torch.testing.assert_close(result[0].detach(), values.detach()[:2].mean(0))
    torch.testing.assert_close(weights.sum(0), torch.full((4,), 7.0))


@each_case
def test_a_constant_added_to_all_scores_changes_nothing(separation, way):
    if not sums_to_one(separation):
        return
    g = generator(18)  # integers, so that all scores are exact
    patterns = torch.randint(-2, 3, (30, 6), generator=g).float()
    query = torch.randint(-2, 3, (5, 6), generator=g).float()
    far = torch.cat([patterns, torch.full((30, 1), 4096.0)], -1)
    high = torch.cat([query, torch.full((5, 1), 512.0)], -1)
    results = []
    for states, memory in ((query, patterns), (high, far)):
        x = Inputs(states, memory, patterns, 0.25).learning()
        with computing(way):
            values = run(separation, x)
            of_query, of_values = torch.autograd.grad(values.square().sum(), [x.query, x.values])
        results.append((values.detach(), of_query[:, :6], of_values))
    # in powers of two the scores are not exact any more
    rough = way == "streaming" and separation == Softmax()
    for near, distant in zip(*results, strict=True):
        scale = 1 + float(near.abs().max())
        torch.testing.assert_close(distant, near, rtol=1e-5, atol=scale * (0.1 if rough else 1e-4))


def test_the_widest_type_wins():
    g = generator(18)
    query, patterns = normal(g, 2, 3).float(), normal(g, 4, 3)
    assert associate(query, patterns).dtype == torch.float64
    assert associate(query, patterns.half()).dtype == torch.float32
    assert associate(query.half(), patterns.bfloat16()).dtype == torch.float32
    labels = torch.tensor([[0], [1], [1], [2]])
    close(
        associate(query, patterns, labels, separation="top1"),
        associate(query.double(), patterns, labels.double(), separation="top1"),
    )


# ------------------------------------------------------------------------------------------------- which way is taken


def way_taken(monkeypatch, *args, **options):
    taken = []
    for way in ("_dense", "_fused", "_pool", "_stream"):
        original = getattr(Task, way)

        def record(self, *args, way=way, original=original, **named):
            taken.append(way)
            return original(self, *args, **named)

        monkeypatch.setattr(Task, way, record)
    associate(*args, **options)
    monkeypatch.undo()
    return taken


def test_small_matrices_are_computed_whole(monkeypatch):
    assert way_taken(monkeypatch, torch.randn(4, 3), torch.randn(5, 3)) == ["_dense"]
    assert way_taken(monkeypatch, torch.randn(2, 3), torch.randn(task._LARGE_MEMORY, 3)) == ["_dense"]


def test_large_memories_are_streamed(monkeypatch):
    query, patterns = torch.randn(20, 3), torch.randn(task._LARGE_MEMORY, 3)
    assert way_taken(monkeypatch, query, torch.randn(task._HUGE_MEMORY, 3)) == ["_stream"]
    for separation in ("sparsemax", TopK(3)):
        assert way_taken(monkeypatch, query, patterns, separation=separation) == ["_stream"]
    assert way_taken(monkeypatch, query, patterns, separation=SEPARATIONS[-1]) == ["_dense"]


def test_many_patterns_for_a_few_states_are_pooled(monkeypatch):
    query, patterns = torch.randn(3, 4, 3), torch.randn(3, task._LARGE_MEMORY, 3)
    assert way_taken(monkeypatch, query, patterns) == ["_fused"]
    query.requires_grad_()
    assert way_taken(monkeypatch, query, patterns) == ["_pool"]
    assert way_taken(monkeypatch, query, patterns, patterns + 1) == ["_fused"]
    assert way_taken(monkeypatch, query, patterns, bias=patterns[:, None, :, 0]) == ["_fused"]
    assert way_taken(monkeypatch, query, patterns, separation="sparsemax") == ["_stream"]


def test_an_accelerator_has_no_fused_kernel_for_a_few_states(monkeypatch):
    query, patterns = torch.randn(4, 3), torch.randn(task._HUGE_MEMORY, 3)
    for accelerated, expected in ((False, ["_fused", "_fused"]), (True, ["_pool", "_stream"])):
        with mock.patch.object(Task, "_accelerated", return_value=accelerated):
            assert way_taken(monkeypatch, query, patterns) == expected[:1]
            assert way_taken(monkeypatch, query, patterns, patterns + 1) == expected[1:]


def test_softmax_with_a_memory_for_each_is_fused(monkeypatch):
    query, patterns = torch.randn(4, 100, 8), torch.randn(4, 100, 8)
    assert way_taken(monkeypatch, query, patterns) == ["_fused"]
    assert way_taken(monkeypatch, query, patterns, separation="sparsemax") == ["_dense"]
    assert way_taken(monkeypatch, query, patterns, torch.randn(4, 100, 2)) == ["_dense"]
    assert way_taken(monkeypatch, query, patterns, return_potential=True) == ["_dense"]
    assert way_taken(monkeypatch, query, patterns, bias=torch.randn(100).requires_grad_()) == ["_dense"]


@pytest.mark.parametrize("way", WAYS)
def test_the_catalogue_sends_associations_the_way_it_says(monkeypatch, way):
    method = {"dense": "_dense", "fused": "_fused", "pooling": "_pool"}.get(way, "_stream")
    with computing(way):
        assert way_taken(monkeypatch, torch.randn(4, 3), torch.randn(5, 3)) == [method]


@pytest.mark.parametrize("separation", [Softmax(), *SEPARATIONS[2:8]], ids=repr)
def test_real_sizes(separation):
    g = generator(19)
    query, patterns = normal(g, 30, 4).requires_grad_(), normal(g, 3000, 4).requires_grad_()
    assert isinstance(separation, Streamable)
    results = []
    for way in (None, "dense"):
        if way is None:
            values, potential = associate(query, patterns, separation=separation, return_potential=True)
        else:
            with computing(way):
                values, potential = associate(query, patterns, separation=separation, return_potential=True)
        loss = values.square().sum() + potential.sum()
        results.append((values, potential, *torch.autograd.grad(loss, [query, patterns])))
    for one, other in zip(*results, strict=True):
        close(one.detach(), other.detach(), 1 + float(other.detach().abs().max()))


# --------------------------------------------------------------------------------------------------------------- errors


@each_wrong_input
def test_errors(query, patterns, options, text):
    for function in (associate, association_weights, update):
        with pytest.raises(HopfieldError, match=text):
            function(query, patterns, **options)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (torch.zeros(4, 2), r"values must have one row per pattern, \(\*batch, 5, v\); got \(4, 2\)"),
        (torch.zeros(5), r"values must have one row per pattern, \(\*batch, 5, v\); got \(5,\)"),
        ([1.0] * 5, r"values must be a tensor \(\*batch, N, v\), got list; use torch.as_tensor"),
        (torch.zeros(3, 5, 2), r"do not broadcast: query \(2, 2, 3\), patterns \(5, 3\), values \(3, 5, 2\)"),
    ],
)
def test_errors_of_values(values, text):
    with pytest.raises(HopfieldError, match=text):
        associate(torch.zeros(2, 2, 3), torch.zeros(5, 3), values)


@each_case
def test_inputs_are_left_as_they_are(separation, way):
    g = generator(20)
    x = Inputs(normal(g, 3, 4), normal(g, 7, 4), None, torch.ones(3, 1).double(), normal(g, 7), yes(g, 3, 7))
    before = [tensor.clone() for tensor in (*x.tensors, x.mask)]
    with computing(way):
        run_with_potential(separation, x)
        run(separation, x)
    assert all(torch.equal(one, other) for one, other in zip(before, (*x.tensors, x.mask), strict=True))
