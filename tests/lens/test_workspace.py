"""Memory that is used again."""

import pytest
import torch

from hopfield.lens.workspace import Workspace

CPU = torch.device("cpu")


def test_a_name_has_its_memory_and_another_its_own():
    space = Workspace()
    first = space.get("a", (3, 4), torch.float64, CPU)
    assert (first.shape, first.dtype) == ((3, 4), torch.float64)
    smaller = space.like("a", torch.empty(2, 5))
    assert (smaller.shape, smaller.dtype) == ((2, 5), torch.float32)
    assert smaller.data_ptr() == first.data_ptr()
    assert space.like("b", first).data_ptr() != first.data_ptr()
    larger = space.like("a", torch.empty(100, 100))
    assert larger.data_ptr() == space.like("a", first).data_ptr()
    space.clear()
    assert space.get("a", (1,), torch.float32, CPU).untyped_storage().nbytes() == 4


def test_some_rows_last_until_the_call_after_the_next():
    space, rows = Workspace(), torch.randn(10, 4)
    some = space.some(rows, torch.tensor([1, 4, 7, 9]))
    fewer = space.some(some, torch.tensor([0, 3]))
    assert torch.equal(some, rows[[1, 4, 7, 9]])
    assert torch.equal(fewer, rows[[1, 9]])
    assert torch.equal(space.some(fewer, torch.tensor([1])), rows[[9]])
    assert space.some(rows, torch.tensor([], dtype=torch.long)).shape == (0, 4)


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_inference_mode_leaves_it_writable(order):
    space = Workspace()
    for number, inference in enumerate(order):
        with torch.inference_mode(inference):
            space.get("a", (4,), torch.float32, CPU).fill_(number)
    assert space.get("a", (4,), torch.float32, CPU).tolist() == [1.0] * 4
