"""What a float32 number is, and where half of one will not do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products and convolutions of float32 are float32's inside the block, also where the user allows torch to round
    them to TF32 or bfloat16, which flips indices as half precision does. What was allowed is allowed again after it."""
    backends: Any = torch.backends
    kinds = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    allowed = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, allowed, strict=True):
            kind.fp32_precision = precision


def at_least_float32(x: Tensor) -> Tensor:
    """x as it is, or in float32 where its own type is narrower."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
