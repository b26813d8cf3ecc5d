"""Separation functions: weights, potentials, curvature, and the two-step form in which kernels use them."""

import itertools
import math

import entmax
import pytest
import torch
from hypothesis import assume

from hopfield.core.separation import NAMES, exponential, gather, resolve, threshold
from hopfield.core.separation.gather import above, largest, maxima
from hopfield.errors import HopfieldError
from hopfield.separation import Entmax, Normmax, Separation, Softmax, Softmax1, Sparsemax, TopK
from tests.core.catalogue import (
    SEPARATIONS,
    SPARSE,
    close,
    each_separation,
    each_streamable,
    examples,
    generator,
    integer,
    normal,
    smooth,
    some_scores,
    sums_to_one,
    tied_scores,
    uniform,
    yes,
)

INF = math.inf


def with_masked(g, scores):
    """Some of the scores masked, but not all."""
    mask = yes(g, *scores.shape, chance=0.3)
    mask[..., 0] = False
    return scores.masked_fill(mask, -INF)


def tsallis(weights, alpha):
    if alpha == 1:
        return torch.special.entr(weights).sum(-1)
    return (1 - (weights**alpha).sum(-1)) / (alpha * (alpha - 1))


def entropy(separation, weights):
    """H(p) as in the literature, for every separation function that is max_p pᵀs + H(p) over the simplex."""
    match separation:
        case Normmax(alpha):
            result = 1 - (weights**alpha).sum(-1) ** (1 / alpha)
        case Sparsemax() | Entmax():
            result = tsallis(weights, separation.alpha)
        case TopK(k):
            result = torch.where((weights > 0).sum(-1) <= k, tsallis(weights, 1), -INF)
        case Softmax1():
            result = tsallis(torch.cat([weights, 1 - weights.sum(-1, keepdim=True)], -1), 1)
        case _:
            result = tsallis(weights, 1) / (1 if separation == Softmax() else 2)
    return result


# --------------------------------------------------------------------------------------------- weights and potential


@each_separation
@examples(20)
def test_weights_are_the_gradient_of_the_potential(separation, seed):
    g = generator(seed)
    scores = some_scores(g)
    assume(smooth(separation, scores))
    step = 1e-5 * normal(g, *scores.shape)
    change = (separation.potential(scores + step) - separation.potential(scores - step)) / 2
    torch.testing.assert_close(change, separation.weights(scores) @ step, rtol=1e-5, atol=1e-10)


@each_separation
@examples(5)
def test_potential_passes_gradcheck(separation, seed):
    g = generator(seed)
    scores = with_masked(g, some_scores(g))
    assume(smooth(separation, scores[scores > -INF]))
    assert torch.autograd.gradcheck(
        lambda free: separation.potential(torch.cat([free, torch.full_like(free, -INF)])),
        scores[scores > -INF].requires_grad_(),
    )


@each_separation
@examples(20)
def test_the_autograd_of_the_potential_is_weights_even_at_ties_and_masks(separation, seed):
    g = generator(seed)
    scores = with_masked(g, tied_scores(g)).requires_grad_()
    (gradient,) = torch.autograd.grad(separation.potential(scores).sum(), scores)
    close(gradient, separation.weights(scores).detach())


@each_separation
@examples(20)
def test_potential_is_convex_with_the_weights_as_subgradient(separation, seed):
    g = generator(seed)
    scores, others = tied_scores(g), tied_scores(g, 1)
    others = scores[..., torch.randperm(scores.shape[-1], generator=g)] + others[..., :1]
    change = separation.potential(others) - separation.potential(scores)
    assert bool((change >= (separation.weights(scores) * (others - scores)).sum(-1) - 1e-12).all())


@each_separation
@examples(20)
def test_weights_are_shares(separation, seed):
    g = generator(seed)
    scores = with_masked(g, some_scores(g))
    weights = separation.weights(scores)
    assert bool((weights >= 0).all())
    assert bool((weights[scores == -INF] == 0).all())
    total = weights.sum(-1)
    if sums_to_one(separation):
        close(total, torch.ones_like(total))
    else:
        close(total, 1 - 1 / (1 + scores.exp().sum(-1)))
        assert float(total) < 1


@each_separation
@examples(20)
def test_a_masked_score_is_a_deleted_score(separation, seed):
    g = generator(seed)
    scores = with_masked(g, some_scores(g))
    kept = scores > -INF
    close(separation.weights(scores)[kept], separation.weights(scores[kept]))
    close(separation.potential(scores), separation.potential(scores[kept]))


@each_separation
@examples(20)
def test_order_does_not_matter_even_at_ties(separation, seed):
    g = generator(seed)
    scores = tied_scores(g)
    order = torch.randperm(scores.shape[-1], generator=g)
    close(separation.weights(scores[..., order]), separation.weights(scores)[..., order])
    close(separation.potential(scores[..., order]), separation.potential(scores))
    same = scores.unsqueeze(-1) == scores.unsqueeze(-2)
    weights = separation.weights(scores)
    apart = (weights.unsqueeze(-1) - weights.unsqueeze(-2)).abs()
    assert float(apart[same].max()) < 1e-12, "equal scores have equal weights"


@each_separation
@examples(20)
def test_a_constant_added_to_all_scores_adds_to_the_potential_alone(separation, seed):
    g = generator(seed)
    scores, shift = some_scores(g), uniform(g, -5, 5)
    if sums_to_one(separation):
        close(separation.weights(scores + shift), separation.weights(scores))
        close(separation.potential(scores + shift), separation.potential(scores) + shift)
    else:  # it moves the null pattern the other way
        close(separation.weights(scores + shift), scores.exp() / (math.exp(-shift) + scores.exp().sum()))


@each_separation
@examples(20)
def test_a_larger_score_never_has_less_weight(separation, seed):
    weights = separation.weights(some_scores(generator(seed)).sort().values)
    assert bool((weights.diff() >= -1e-12).all())


@each_separation
@pytest.mark.parametrize("shape", [(0,), (3, 0), (3,), (2, 3)])
def test_nothing_to_attend_to_has_no_weight(separation, shape):
    scores = torch.full(shape, -INF, dtype=torch.float64, requires_grad=True)
    weights, potential = separation.weights(scores), separation.potential(scores)
    close(weights.detach(), torch.zeros(shape, dtype=torch.float64))
    ground = -INF if sums_to_one(separation) else 0.0
    close(potential.detach(), torch.full(shape[:-1], ground, dtype=torch.float64))
    for result in (weights.sum(), potential.sum()):
        (gradient,) = torch.autograd.grad(result, scores, retain_graph=True, allow_unused=True)
        assert gradient is None or bool((gradient == 0).all())
    assert bool((separation.hessian_product(scores, torch.ones_like(scores)) == 0).all())


@each_separation
def test_an_empty_row_does_not_touch_its_neighbours(separation):
    scores = torch.tensor([[0.3, -0.2, 0.9], [-INF, -INF, -INF]], dtype=torch.float64, requires_grad=True)
    weights = separation.weights(scores)
    close(weights[0], separation.weights(scores[0]))
    mixed = (weights @ torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)).sum() + separation.potential(scores)[0]
    (gradient,) = torch.autograd.grad(mixed, scores)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[1] == 0).all())


@each_separation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e2, 1e7, 1e14])
def test_huge_scores_stay_finite(separation, dtype, size):
    scores = size * normal(generator(7), 6, 20).to(dtype)
    scores[:, 1] = scores[:, 0]
    scores[3] = size
    scores.requires_grad_()
    weights, potential = separation.weights(scores), separation.potential(scores)
    (gradient,) = torch.autograd.grad(weights[:, 0].sum() + potential.sum(), scores)
    assert weights.dtype == potential.dtype == dtype
    assert all(bool(result.isfinite().all()) for result in (weights, potential, gradient))
    total = weights.sum(-1)
    expected = (scores.amax(-1) > 0).to(dtype) if isinstance(separation, Softmax1) else torch.ones_like(total)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weights[3], weights[3, :1].expand(20))


# --------------------------------------------------------------------------------------------- against the literature


@pytest.mark.parametrize("separation", SPARSE, ids=repr)
@examples(20)
def test_sparse_maps_agree_with_the_entmax_package(separation, seed):
    g = generator(seed)
    scores = normal(g, 5, integer(g, 1, 30)) * uniform(g, 0.1, 5)
    match separation:
        case Sparsemax() | Entmax(2):
            expected = entmax.sparsemax(scores, dim=-1)
        case Entmax(1.5):
            expected = entmax.entmax15(scores, dim=-1)
        case Entmax():
            expected = entmax.entmax_bisect(scores, separation.alpha, n_iter=200)
        case Normmax():
            expected = entmax.normmax_bisect(scores, separation.alpha, n_iter=200)
    torch.testing.assert_close(separation.weights(scores), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [1.1, 1.3, 1.5, 2.0, 3.0, 6.0])
@examples(10)
def test_entmax_solves_its_equation_to_rounding(alpha, seed):
    g = generator(seed)
    scores = normal(g, 4, integer(g, 1, 400)) * uniform(g, 0.1, 20)
    weights = Entmax(alpha).weights(scores)
    close(weights.sum(-1), torch.ones(4, dtype=torch.float64))
    # on the support p^(α-1) / (α-1) - s is one number, the threshold; off it the score is below that
    levels = scores - weights ** (alpha - 1) / (alpha - 1)
    top = levels.masked_fill(weights == 0, -INF).amax(-1, keepdim=True)
    torch.testing.assert_close(torch.where(weights > 1e-6, levels, top), top.expand_as(levels), rtol=1e-6, atol=1e-6)
    assert bool((scores <= top + 1e-6)[weights == 0].all())


@examples(20)
def test_exponential_maps_are_softmax_of_fewer_or_more_scores(seed):
    g = generator(seed)
    scores = some_scores(g)
    close(Softmax().weights(scores), torch.softmax(scores, -1))
    close(Entmax(1).weights(scores), torch.softmax(scores, -1))
    close(Softmax1().weights(scores), torch.softmax(torch.cat([scores, scores.new_zeros(1)]), -1)[:-1])
    for k in (1, 3, 20):
        top, at = scores.topk(min(k, len(scores)))
        close(TopK(k).weights(scores), torch.zeros_like(scores).scatter(0, at, torch.softmax(top, -1)))
        close(TopK(k).potential(scores), torch.logsumexp(top, -1))


def test_alpha_2_is_sparsemax():
    scores = normal(generator(0), 5, 9)
    close(Entmax(2).weights(scores), Sparsemax().weights(scores))
    close(Entmax(2).potential(scores), Sparsemax().potential(scores))


def test_scores_that_tie_share_the_places_left():
    scores = torch.tensor([math.log(3), 0, 0, 0, -1], dtype=torch.float64)
    share = torch.tensor([3 / 4, 1 / 12, 1 / 12, 1 / 12, 0], dtype=torch.float64)
    close(TopK(2).weights(scores), share)
    close(TopK(2).potential(scores), torch.tensor(math.log(4), dtype=torch.float64))
    close(TopK(1).weights(scores[1:]), torch.tensor([1 / 3, 1 / 3, 1 / 3, 0], dtype=torch.float64))


@each_separation
@examples(20)
def test_potential_is_the_largest_of_score_plus_entropy(separation, seed):
    g = generator(seed)
    scores = some_scores(g)
    weights, potential = separation.weights(scores), separation.potential(scores)
    close(potential, weights @ scores + entropy(separation, weights))
    others = torch.distributions.Dirichlet(torch.full((len(scores),), 0.5).double())
    torch.manual_seed(integer(g, 0, 10**6))
    rivals = torch.cat([others.sample((20,)), torch.eye(len(scores)).double()])
    if not sums_to_one(separation):
        rivals = rivals * torch.rand(len(rivals), 1)
    assert float((rivals @ scores + entropy(separation, rivals)).max()) <= float(potential) + 1e-9


@each_separation
@examples(20)
def test_a_lead_of_the_margin_takes_all_the_weight(separation, seed):
    g = generator(seed)
    scores = some_scores(g).clamp(max=5.0)
    lead = torch.cat([scores.amax().reshape(1) + 1e-12, scores])
    if separation.margin is None:
        assert float(separation.weights(lead + torch.eye(len(lead))[0] * 3)[0]) < 1 or separation == TopK(3)
        return
    lead[0] += separation.margin
    one_hot = torch.eye(len(lead))[0].double()
    close(separation.weights(lead), one_hot)
    assert bool((separation.weights(lead)[1:] == 0).all())
    close(separation.potential(lead), lead[0])
    if separation.margin > 0:
        lead[0] -= 0.1 * separation.margin
        assert float(separation.weights(lead)[0]) < 1 - 1e-4, "the margin is no larger than it must be"


def test_margins():
    margins = {repr(separation): separation.margin for separation in SEPARATIONS}
    assert margins == {
        "Softmax()": None,
        "Softmax1()": None,
        "Sparsemax()": 1.0,
        "Entmax(alpha=1.5)": 2.0,
        "Entmax(alpha=1)": None,
        "Entmax(alpha=1.3)": pytest.approx(10 / 3),
        "Entmax(alpha=2)": 1.0,
        "Entmax(alpha=3)": 0.5,
        "Normmax(alpha=2.0)": 1.0,
        "Normmax(alpha=1.5)": 1.0,
        "Normmax(alpha=4)": 1.0,
        "TopK(k=1)": 0.0,
        "TopK(k=3)": None,
        "Sharper()": None,
    }


# ----------------------------------------------------------------------------------------------------------- curvature


@each_separation
@examples(5)
def test_weights_pass_gradcheck(separation, seed):
    scores = some_scores(generator(seed))
    assume(smooth(separation, scores))
    assert torch.autograd.gradcheck(separation.weights, scores.requires_grad_())


@each_separation
@examples(20)
def test_hessian_is_symmetric_positive_semidefinite_and_the_derivative_of_weights(separation, seed):
    g = generator(seed)
    scores = some_scores(g)
    assume(smooth(separation, scores))
    count = len(scores)
    hessian = separation.hessian_product(scores, torch.eye(count).double())
    size = float(hessian.abs().max()) + 1
    close(hessian, hessian.T, size)
    assert float(torch.linalg.eigvalsh(hessian).min()) >= -1e-10 * size
    close(hessian, torch.autograd.functional.jacobian(separation.weights, scores), size)
    if sums_to_one(separation):
        close(hessian.sum(-1), torch.zeros(count).double(), size)


@each_separation
def test_hessian_product_broadcasts(separation):
    scores, vectors = normal(generator(1), 3, 1, 5), normal(generator(2), 4, 5)
    product = separation.hessian_product(scores, vectors)
    assert product.shape == (3, 4, 5)
    close(product[1, 2], Separation.hessian_product(separation, scores[1, 0], vectors[2]))


@each_separation
def test_potential_has_second_derivatives_and_can_be_mapped(separation):
    scores = 0.3 * normal(generator(3), 3, 5)
    hessian = torch.autograd.functional.hessian(separation.potential, scores[0])
    close(hessian, separation.hessian_product(scores[0], torch.eye(5).double()))
    close(torch.func.vmap(torch.func.grad(separation.potential))(scores), separation.weights(scores))


# ----------------------------------------------------------------------------------------------- block by block


def in_blocks(g, scores):
    """A function that yields the scores in blocks, as the kernels do."""
    count = scores.shape[-1]
    sizes = [integer(g, 1, 4) for _ in range(count)]
    ends = [min(sum(sizes[: i + 1]), count) for i in range(count)]
    cuts = sorted({0, *ends, count})
    return lambda: (scores[..., a:b] for a, b in itertools.pairwise(cuts))


@each_streamable
@pytest.mark.parametrize("limit", [gather.LIMIT, 0])
@examples(20)
def test_blocks_give_the_same_weights_as_whole_rows(separation, limit, seed):
    g = generator(seed)
    scores = tied_scores(g) if yes(g) else normal(g, 4, integer(g, 1, 12)) * uniform(g, 0.1, 4)
    scores = scores.masked_fill(yes(g, *scores.shape, chance=0.3), -INF)
    with pytest.MonkeyPatch.context() as patch:
        for module in (exponential, gather, threshold):
            patch.setattr(module, "above", lambda blocks, floor, limit=limit: above(blocks, floor, limit))
        normalizer = separation.normalizer(in_blocks(g, scores))
    assert all(entry.shape == (4, 1) for entry in normalizer)
    close(normalizer[0].squeeze(-1), separation.potential(scores))
    close(separation.weights_at(scores, normalizer), separation.weights(scores))


@each_streamable
@examples(20)
def test_curvature_agrees_with_the_derivative_of_weights(separation, seed):
    g = generator(seed)
    scores = some_scores(g)
    assume(smooth(separation, scores))
    vector = normal(g, len(scores))
    curvature = separation.curvature_at(scores, separation.normalizer(lambda: (scores,)))
    expected = Separation.hessian_product(separation, scores, vector)
    close(curvature.apply(vector), expected, float(expected.abs().max()) + 1)
    if separation.exponential:
        close(curvature.diagonal, separation.weights(scores))


@each_streamable
def test_normalizers_lose_nothing_where_scores_are_large(separation):
    scores = torch.tensor([[1e9, 1e9, 0.0, 1e9 - 64], [2e8, -1e9, 1.0, 2.0]])
    normalizer = separation.normalizer(lambda: (scores[:, :1], scores[:, 1:]))
    torch.testing.assert_close(separation.weights_at(scores, normalizer), separation.weights(scores))


@examples(20)
def test_largest_and_above_are_topk_and_comparison(seed):
    g = generator(seed)
    scores = (tied_scores(g) if yes(g) else normal(g, 4, integer(g, 1, 40))).contiguous()
    scores = scores.masked_fill(yes(g, *scores.shape, chance=uniform(g, 0, 1)), -INF)
    blocks, count, k = in_blocks(g, scores), scores.shape[-1], integer(g, 1, 12)
    best, at = largest(blocks, k)
    assert torch.equal(best, scores.topk(min(k, count), -1).values)
    assert torch.equal(scores.gather(-1, at), best)
    assert all(row.unique().numel() == row.numel() for row in at), "no pattern twice"
    floor = normal(g, 4, 1)
    found, columns = above(blocks, floor)
    for row in range(4):
        here = found[row] > -INF
        wanted = (scores[row] >= floor[row]).nonzero().flatten()
        assert torch.equal(columns[row][here], wanted)
        assert torch.equal(found[row][here], scores[row, wanted])
    total = int((scores >= floor).sum())
    assert total == 0 or above(blocks, floor, limit=total - 1) is None


@pytest.mark.parametrize("k", [1, 5, 300])
def test_maxima_are_few_and_hold_the_largest(k, monkeypatch):
    monkeypatch.setattr(gather, "_GROUPS", 512)
    scores = normal(generator(4), 2, 5000)
    heads = maxima(lambda: scores.split(700, -1), k)
    assert k <= heads.shape[-1] <= 2048
    assert torch.equal(heads.amax(-1), scores.amax(-1))
    assert all(torch.isin(heads[row], scores[row]).all() for row in range(2))
    assert all(heads[row].unique().numel() >= k for row in range(2))


# -------------------------------------------------------------------------------------------------- names and errors


def test_names_give_the_defaults():
    made = {name: make() for name, make in NAMES.items()}
    assert made == {
        "softmax": Softmax(),
        "softmax1": Softmax1(),
        "sparsemax": Sparsemax(),
        "entmax": Entmax(1.5),
        "normmax": Normmax(2.0),
        "top1": TopK(1),
    }
    for name, separation in made.items():
        assert resolve(name) == separation
        assert resolve(separation) is separation


def test_anything_with_weights_and_potential_will_do():
    class Duck:
        weights = staticmethod(Softmax().weights)
        potential = staticmethod(Softmax().potential)

    duck = Duck()
    assert resolve(duck) is duck


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: resolve("softmaxx"), "unknown separation 'softmaxx'; expected one of softmax, softmax1, sparsemax"),
        (lambda: resolve(3), r"a name \(softmax, .* top1\) or an object with weights\(scores\) .* got int"),
        (lambda: Entmax(0.9), "Entmax: alpha must be a finite number of at least 1, got 0.9"),
        (lambda: Entmax(INF), "Entmax: alpha must be a finite number of at least 1, got inf"),
        (lambda: Entmax(math.nan), "Entmax: alpha must be a finite number of at least 1, got nan"),
        (lambda: Entmax("2"), "Entmax: alpha must be a finite number of at least 1, got '2'"),
        (lambda: Normmax(1), "Normmax: alpha must be a finite number above 1, got 1"),
        (lambda: Normmax(INF), "Normmax: alpha must be a finite number above 1, got inf"),
        (lambda: TopK(0), "TopK: k must be an integer of at least 1, got 0"),
        (lambda: TopK(1.5), "TopK: k must be an integer of at least 1, got 1.5"),
        (lambda: TopK(True), "TopK: k must be an integer of at least 1, got True"),
    ],
)
def test_errors(make, text):
    with pytest.raises(HopfieldError, match=text):
        make()


def test_separation_functions_are_values():
    assert Entmax(1.5) == Entmax()
    assert len({*SEPARATIONS[:-1], *SEPARATIONS[:-1]}) == len(SEPARATIONS) - 1
    with pytest.raises(AttributeError):
        Entmax().alpha = 3.0


@pytest.mark.parametrize(
    "separation", [Entmax(1.3), Entmax(1.5), Entmax(3), Normmax(1.5), Normmax(2), Normmax(4)], ids=repr
)
def test_second_derivatives_through_a_threshold(separation):
    scores = normal(generator(3), 2, 6).requires_grad_()
    assert torch.autograd.gradgradcheck(separation.weights, scores)
