"""Marks: whether a tensor is still the one that was looked at."""

import copy

import pytest
import torch

from hopfield.memory.marks import Mark


def test_a_mark_knows_its_tensor():
    tensor = torch.zeros(3)
    mark = Mark(tensor)
    assert mark.still(tensor)
    assert not mark.still(torch.zeros(3))
    assert not mark.still(None)
    assert not mark.still(tensor[:])


@pytest.mark.parametrize(
    "write",
    [lambda t: t.add_(1), lambda t: t.__setitem__(0, 5.0), lambda t: setattr(t, "data", torch.ones(3))],
    ids=["in place", "item", "data"],
)
def test_what_is_written_is_seen(write):
    tensor = torch.zeros(3)
    mark, before = Mark(tensor), copy.deepcopy((Mark(tensor), tensor))
    write(tensor)
    assert not mark.still(tensor)
    assert not mark.untouched
    assert not Mark.still(*copy.deepcopy((mark, tensor)))  # a copy is as stale
    assert Mark.still(*before)  # and a copy of before is not


def test_nothing_stays_nothing():
    mark = Mark(None)
    assert mark.untouched
    assert mark.still(None)
    assert not mark.still(torch.zeros(3))
    assert copy.deepcopy(mark).still(None)


def test_tensors_of_inference_mode_have_marks_too():
    with torch.inference_mode():
        tensor = torch.zeros(3)
    assert Mark(tensor).still(tensor)
