"""The order in which a prior learns its positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.signal import Layout


class AnnealedOrder(nn.Module):
    """Orders of the positions of all levels, annealed from random to raster (RAR, Yu et al. 2024,
    https://arxiv.org/abs/2411.00776): a sample's is random with a probability, `share`, that is 1 for the first two
    thirds of `updates`, as in the paper, then falls linearly to 0. Levels always come coarse to fine. Drawn from
    torch's global generator; the updates so far are counted in the state that is saved.

    Raises ValueError where `updates` is below 1.
    """

    raster: Tensor
    done: Tensor

    def __init__(self, layout: Layout, updates: int) -> None:
        super().__init__()
        if updates < 1:
            raise ValueError(f"random_order_updates is {updates}; give 0 for raster order throughout, or how many")
        self.layout, self.updates = layout, updates
        self._cells = [math.prod(grid) for grid in layout.grids]
        # Increasing, and its integer part is the level.
        raster = torch.cat([level + torch.arange(cells) / cells for level, cells in enumerate(self._cells)])
        self.register_buffer("raster", raster, persistent=False)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def share(self) -> Tensor:
        """The probability of a random order now, a scalar."""
        return (3 * (1 - self.done / self.updates)).clamp(0, 1)

    def update(self) -> None:
        """Once an optimizer step."""
        self.done.add_(1)

    def forward(self, batch: int) -> Tensor:
        """The P positions of each sample in the order in which it is learned: [batch, P] int64."""
        draws = torch.rand(batch, 1 + len(self.raster), device=self.raster.device)
        shuffled = self.raster.floor() + draws[:, 1:]
        return torch.where(draws[:, :1] < self.share, shuffled, self.raster).argsort(1)

    def put(self, symbols: Sequence[Tensor], order: Tensor) -> list[Tensor]:
        """Symbols [B, Q, cells] of each level, put in `order` [B, P]."""
        found, first = [], 0
        for level, positions in zip(symbols, order.split(self._cells, 1), strict=True):
            found.append(level.gather(2, (positions - first)[:, None].expand_as(level)))
            first += positions.shape[1]
        return found
