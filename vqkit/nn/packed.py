"""Products of a few rows with a fixed matrix, which is prepared for them once."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def packed(weight: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    """x [n, inputs] of any type -> x weight^T [n, outputs] of the weight's, without gradients, for `weight` [outputs,
    inputs] and about `rows` rows. On a CPU with oneDNN the matrix is laid out in its blocks here, where an ordinary
    product lays it out anew each time, which takes longer than to multiply it with a few rows."""
    onednn = torch.ops.mkldnn
    packs = torch.backends.mkldnn.is_available() and (
        weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and onednn._is_mkldnn_bf16_supported())
    )
    if weight.device.type != "cpu" or not packs:
        return lambda x: F.linear(x.to(weight.dtype), weight)
    blocks = onednn._reorder_linear_weight(weight.contiguous(), rows)
    return lambda x: onednn._linear_pointwise(x.to(weight.dtype), blocks, None, "none", [], "")
