"""The exact nearest code, in memory that does not grow with N x K."""

from __future__ import annotations

import torch
from torch import Tensor

_TILE_SCORES = 1 << 19  # float32 scores alive at a time, 2 MiB: a tile stays in the cache


@torch.no_grad()
def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """The index of the nearest codebook vector to each row of z, in the Euclidean distance.

    Args: z [N, D] and codebook [K, D], floating point; computed in float32. Returns [N] int64. Ties go to the lowest
    index. Memory is O(N + K D): the N x K scores exist one tile at a time. Raises ValueError on a wrong shape.
    """
    if z.ndim != 2 or codebook.ndim != 2 or z.shape[1] != codebook.shape[1]:
        raise ValueError(f"z {list(z.shape)} and codebook {list(codebook.shape)} must be [N, D] and [K, D] of one D")
    with torch.autocast(z.device.type, enabled=False):
        z, codebook = z.float(), codebook.float()
        # argmin |z - e|^2 = argmin |e|^2 / 2 - z.e : the matrix product with one bias a code
        half_norm = codebook.square().sum(1).div_(2)
        transposed = codebook.t()
        rows = min(len(z), max(1, _TILE_SCORES // codebook.shape[0]))
        scores = z.new_empty(rows, codebook.shape[0])  # one tile's memory serves them all
        indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
        for start in range(0, len(z), max(1, rows)):
            part = z[start : start + rows]
            tile = torch.addmm(half_norm, part, transposed, alpha=-1, out=scores[: len(part)])
            torch.argmin(tile, 1, out=indices[start : start + rows])
        return indices
