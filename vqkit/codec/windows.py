"""Tokens of a sample of any size <-> windows of the size that the prior knows."""

from __future__ import annotations

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.codec.codec import Coded
from vqkit.signal import Indices, Layout


class Windows:
    """The windows of a sample, in raster order, the same at every level. Those at the far edges may reach beyond the
    sample's tokens, which are then not coded there.

    Args:
        layout: of the prior, whose grids are the windows.
        grids: of the sample's tokens, one a level.
        kept: how many codebooks of each level are coded; levels beyond it are left out.

    `sides` says how many windows there are along each side, `number` how many in all. Raises ValueError where the
    levels do not agree on that.
    """

    def __init__(self, layout: Layout, grids: tuple[tuple[int, ...], ...], kept: tuple[int, ...]) -> None:
        counts = {
            tuple(-(-n // side) for n, side in zip(grid, window, strict=True))
            for grid, window in zip(grids, layout.grids, strict=True)
        }
        if len(counts) != 1:
            raise ValueError(
                f"tokens on grids of {grids} are not the same windows of {layout.grids} at every level; give data of "
                "the size that the model was trained on"
            )
        self.layout, self.grids, self.kept, self.sides = layout, grids, kept, counts.pop()
        self.number = math.prod(self.sides)

    @cached_property
    def coded(self) -> Coded:
        """Which symbols of each window are coded: [number, Q, *grid of the prior] bool, for the levels in `kept`."""
        sizes = zip(self.layout.codebook_sizes, self.grids, self.kept, strict=False)
        return self.cut(
            tuple(
                (torch.arange(len(books)) < q).view(1, -1, *(1,) * len(grid)).expand(1, -1, *grid)
                for books, grid, q in sizes
            )
        )

    def cut(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """[B, Q, *grid] of the first levels of samples -> [B x number, Q, *grid of the prior], sample by sample, zeros
        beyond the samples."""
        return tuple(_cut(level, window, self.sides) for level, window in zip(levels, self.layout.grids, strict=False))

    def join(self, items: Indices) -> Indices:
        """The inverse of `cut`, of the codebooks in `kept`."""
        sizes = zip(items, self.grids, self.kept, strict=False)
        return tuple(_join(item[:, :q], grid, self.sides) for item, grid, q in sizes)


def _cut(level: Tensor, window: tuple[int, ...], sides: tuple[int, ...]) -> Tensor:
    dims = len(window)
    missing = [side * n - size for side, n, size in zip(sides, window, level.shape[2:], strict=True)]
    padded = F.pad(level, [pad for more in reversed(missing) for pad in (0, more)])
    apart = padded.unflatten(-1, (sides[-1], window[-1]))
    for dim in range(dims - 2, -1, -1):
        apart = apart.unflatten(2 + dim, (sides[dim], window[dim]))
    items: Tensor = apart.permute(0, *range(2, 2 + 2 * dims, 2), 1, *range(3, 3 + 2 * dims, 2)).flatten(0, dims)
    return items


def _join(items: Tensor, grid: tuple[int, ...], sides: tuple[int, ...]) -> Tensor:
    dims = len(grid)
    apart = items.unflatten(0, (-1, *sides))
    beside = apart.permute(0, 1 + dims, *(axis for dim in range(dims) for axis in (1 + dim, 2 + dims + dim)))
    for dim in range(dims):
        beside = beside.flatten(2 + dim, 3 + dim)
    level: Tensor = beside[(slice(None), slice(None), *(slice(size) for size in grid))]
    return level
