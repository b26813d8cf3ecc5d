"""The running softmax: the same as at once, however scores rise and spread."""

import pytest
import torch

from hopfield.core.kernels.online import OnlineSoftmax, least_power
from tests.core.catalogue import examples, generator, normal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("order", ["narrow first", "wide first"])
@examples(20)
def test_neither_weights_nor_their_products_turn_denormal(dtype, order, seed):
    """On some processors denormal numbers take a hundred times as long."""
    g = generator(seed)
    least = 2.0 ** least_power(dtype)
    assert least * torch.finfo(dtype).eps > torch.finfo(dtype).tiny
    blocks = [normal(g, 1, 3, 128).to(dtype), (normal(g, 1, 3, 128) * -3 * least_power(dtype)).to(dtype)]
    blocks = blocks if order == "narrow first" else blocks[::-1]
    online = OnlineSoftmax(torch.zeros(1, 3, 2, dtype=dtype), None)
    for block in blocks:
        weights = online.weights(block.clone())
        if block is blocks[-1] or order == "wide first":
            assert float(weights.min()) >= least * (1 - 1e-6)
    whole = torch.logsumexp(torch.cat(blocks, -1).double() * 0.6931471805599453, -1)
    level = online.finish()[1][0][..., 0].double()
    torch.testing.assert_close(level, whole, rtol=1e-5, atol=1e-5)
