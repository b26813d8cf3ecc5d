import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from hopfield.errors import HopfieldError
from hopfield.estimators.tables.targets import Classes, Labels, Numbers, targets_of

KINDS = {
    "classes": (Classes(np.array(["a", "b", "c"])), np.array(["c", "a", "b", "a"])),
    "labels": (Labels(2), np.array([[0, 1], [1, np.nan], [0, 0], [np.nan, 1]])),
    "numbers": (Numbers.of(np.array([1.0, 5.0, 2.0])), np.array([2.0, -1.0, 3.0, 4.0])),
    "several numbers": (Numbers.of(np.arange(6.0).reshape(3, 2) ** 2), np.arange(8.0).reshape(4, 2)),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_the_values_of_a_row_are_a_vote_for_its_answer(kind):
    targets, y = kind
    answers = targets.answers(targets.values(y))
    if isinstance(targets, Classes):
        assert (targets.classes[answers.argmax(1)] == y).all()
    elif isinstance(targets, Labels):
        np.testing.assert_array_equal(answers, np.where(np.isnan(y), 0.5, y))
    else:
        np.testing.assert_allclose(answers, y, rtol=1e-6, atol=1e-5)


def test_a_vote_for_the_answer_costs_least(kind):
    targets, y = kind
    values = targets.values(y)
    right = targets.losses(values, values)
    for other in (values.roll(1, 0), values.mean(0, keepdim=True).expand_as(values)):
        assert (targets.losses(other, values) >= right - 1e-6).all()
        assert targets.losses(other, values).sum() > right.sum()


def test_losses_have_the_right_gradient_and_stay_finite(kind):
    targets, y = kind
    values = targets.values(y).double()
    scores = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert gradcheck(lambda s: targets.losses(torch.softmax(s, -1) @ values, values), scores)
    assert targets.losses(torch.zeros_like(values), values).isfinite().all()


def test_descriptions_hold_everything(kind):
    targets, y = kind
    again = targets_of(json.loads(json.dumps(targets.describe())))
    torch.testing.assert_close(again.values(y), targets.values(y), rtol=0, atol=0)
    votes = torch.rand(3, targets.size)
    np.testing.assert_array_equal(again.answers(votes), targets.answers(votes))


def test_an_unknown_description_is_refused():
    with pytest.raises(HopfieldError, match="no kind of answer 'colours'"):
        targets_of({"kind": "colours"})


@given(st.integers(0, 1000))
def test_unknown_labels_have_no_part_in_votes_or_losses(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(6, 3, generator=generator).round()
    unknown = torch.rand(6, 3, generator=generator) < 0.4
    unknown[0] = False
    targets, weights = Labels(3), torch.rand(6, generator=generator) + 0.01
    values = targets.values(np.where(unknown, np.nan, labels))
    votes = (weights.unsqueeze(1) * values).sum(0, keepdim=True)
    kept = weights.unsqueeze(1) * ~unknown
    wanted = (kept * labels).sum(0) / kept.sum(0)
    np.testing.assert_allclose(targets.answers(votes)[0], wanted, rtol=1e-5)
    alone = [Labels(1).losses(votes[:, [t, t + 3]], values[:, [t, t + 3]]) for t in range(3)]
    together = targets.losses(votes.expand(6, -1), values)
    mean = (torch.stack(alone, 1) * ~unknown).sum(1) / (~unknown).sum(1).clamp_min(1)
    torch.testing.assert_close(together, mean, rtol=1e-4, atol=1e-6)


def test_votes_without_weight_say_nothing():
    np.testing.assert_array_equal(Classes(np.arange(4)).answers(torch.zeros(2, 4)), np.full((2, 4), 0.25))
    np.testing.assert_array_equal(Labels(2).answers(torch.zeros(1, 4)), np.full((1, 2), 0.5))


def test_labels_of_other_classes_are_refused():
    with pytest.raises(HopfieldError, match=r"of the classes \['a', 'b', 'c'\], got 'd'"):
        Classes(np.array(["a", "b", "c"])).values(np.array(["a", "d"]))


@pytest.mark.parametrize("size", [1e-200, 1e-5, 1e200])
def test_numbers_of_any_size(size):
    y = np.array([1.0, 2.0, 4.0]) * size
    targets = Numbers.of(y)
    assert abs(targets.values(y).std(correction=0) - 1) < 1e-5
    np.testing.assert_allclose(targets.answers(targets.values(y)), y, rtol=1e-5)


def test_numbers_that_are_all_the_same():
    targets = Numbers.of(np.full(3, 7.0))
    assert not targets.values(np.full(2, 7.0)).any()
    np.testing.assert_array_equal(targets.answers(torch.zeros(2, 1)), [7.0, 7.0])


def test_labels_of_which_nothing_is_known_have_gradients_of_zero():
    targets = Labels(2)
    votes = torch.tensor([[0.0, 0.2, 0.0, 0.5]], requires_grad=True)  # of the first label nothing is known
    loss = targets.losses(votes, torch.tensor([[1.0, 1.0, 1.0, 1.0]])).sum()
    loss.backward()
    assert votes.grad[0, [0, 2]].tolist() == [0, 0]
    assert votes.grad[0, 1] < 0
    assert loss.isfinite()
