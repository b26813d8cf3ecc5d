"""Products in the full precision of their data type, which what is proved of rounding reckons with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_DEVICES = ("cpu", "cuda", "xpu", "mps")


@contextmanager
def full_precision() -> Iterator[None]:
    """Neither autocast nor products of float32 in bfloat16 or TF32, whatever is set for others; also a decorator."""
    with ExitStack() as stack:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        products: tuple[Any, ...] = (getattr(torch.backends.mkldnn, "matmul", None), torch.backends.cuda.matmul)
        if all(hasattr(some, "fp32_precision") for some in products):
            for some in products:
                if some.fp32_precision not in {"none", "ieee"}:
                    stack.callback(setattr, some, "fp32_precision", some.fp32_precision)
                    some.fp32_precision = "ieee"
        elif torch.get_float32_matmul_precision() != "highest":  # before PyTorch 2.9
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        yield
