"""The exact nearest code, in memory that does not grow with N x K."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TILE_SCORES = 1 << 21  # float32 scores alive at a time, 8 MiB
_GROUP = 64  # codes whose least score is found before it is asked which of them has it


@torch.no_grad()
def nearest_code(z: Tensor, codebook: Tensor, bias: Tensor | None = None) -> Tensor:
    """The index of the nearest codebook vector to each row of z, in the Euclidean distance.

    Args:
        z: [N, D], floating point; the search is in float32.
        codebook: [K, D], floating point.
        bias: [K], added to each code's squared distance, such as lambda x its rate in nats (entropy-constrained vector
            quantization, Chou, Lookabaugh and Gray 1989, https://doi.org/10.1109/29.17498).

    Returns [N] int64. Ties go to the lowest index. Memory is O(N + K D): the N x K scores exist one tile at a time.

    Raises:
        ValueError: a wrong shape.
    """
    if z.ndim != 2 or codebook.ndim != 2 or z.shape[1] != codebook.shape[1]:
        raise ValueError(f"z {list(z.shape)} and codebook {list(codebook.shape)} must be [N, D] and [K, D] of one D")
    if bias is not None and bias.shape != codebook.shape[:1]:
        raise ValueError(f"bias is {list(bias.shape)}; it must have one number for each of {len(codebook)} codes")
    with torch.autocast(z.device.type, enabled=False):
        z, codebook = z.float(), codebook.float()
        # argmin |z - e|^2 + b = argmin (|e|^2 + b) / 2 - z.e : the matrix product with one offset a code
        offset = codebook.square().sum(1)
        offset = (offset if bias is None else offset + bias).div_(2)
        if spare := -len(codebook) % _GROUP if len(codebook) > _GROUP else 0:
            codebook, offset = F.pad(codebook, (0, 0, 0, spare)), F.pad(offset, (0, spare), value=torch.inf)
        transposed = codebook.t()
        rows = min(len(z), max(1, _TILE_SCORES // len(codebook)))
        scores = z.new_empty(rows, len(codebook))  # one tile's memory serves them all
        indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
        for start in range(0, len(z), max(1, rows)):
            part = z[start : start + rows]
            torch.addmm(offset, part, transposed, alpha=-1, out=scores[: len(part)])
            indices[start : start + rows] = _first_least(scores[: len(part)])
        return indices


def _first_least(scores: Tensor) -> Tensor:
    """[n, K] -> [n] int64, as argmin(1), which goes through scores one by one where amin takes a vector at a time."""
    n, k = scores.shape
    if k <= _GROUP:
        return scores.argmin(1)
    groups = scores.view(n, k // _GROUP, _GROUP)
    group = groups.amin(2).argmin(1)
    return group * _GROUP + groups[torch.arange(n, device=scores.device), group].argmin(1)
