"""Nets that take the whole grid as one vector."""

from __future__ import annotations

import math

from torch import Tensor, nn

from vqkit.nn.conv import conv


class Flatten(nn.Module):
    """Data [B, C, *grid] to features [B, C x the grid, 1, ...] on a grid of one position, in a tuple as of every
    encoder."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.reshape(len(x), -1, *(1,) * (x.ndim - 2)),)


class LinearDecoder(nn.Module):
    """One affine map, from z [B, dim, 1, ...] on a grid of one position to [B, outputs, *grid]."""

    def __init__(self, dim: int, outputs: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.outputs, self.grid = dim, outputs, grid
        self.project = conv(len(grid), dim, outputs * math.prod(grid), 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.project(z).reshape(len(z), self.outputs, *self.grid)  # type: ignore[no-any-return]
