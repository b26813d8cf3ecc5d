"""Full precision: what others set is set aside, and comes back."""

import pytest
import torch

from hopfield.memory.precision import full_precision


@pytest.fixture
def medium():
    """Products of float32 in bfloat16 where the processor can."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def reduced():
    return torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_what_was_set_comes_back(medium):
    before = reduced()
    with full_precision():
        assert reduced() == ("ieee", "ieee")
    assert reduced() == before
    assert torch.get_float32_matmul_precision() == "medium"


def test_it_comes_back_after_a_failure_too(medium):
    before = reduced()

    @full_precision()
    def fails():
        assert reduced() == ("ieee", "ieee")
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fails()
        assert reduced() == before


def test_nothing_is_touched_where_nothing_is_reduced():
    before = reduced()
    with full_precision():
        assert reduced() == before


def test_no_autocast():
    a = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision():
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
