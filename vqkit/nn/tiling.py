"""Tiles of a large grid, each with what has to be seen around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor


class Tile(NamedTuple):
    """A part of a grid of cells, a range an axis: `core`, for which something is computed, and `seen`, from which. Any
    tensor of so many positions a cell, along every axis, lies on the same cells."""

    core: tuple[range, ...]
    seen: tuple[range, ...]

    def cut(self, x: Tensor, positions: int) -> Tensor:
        """What is seen of x [B, C, *grid], `positions` a cell; where x ends before its last cell does, its edge
        repeated."""
        part = _part(x, self.seen, positions)
        for axis, (cells, n) in enumerate(zip(self.seen, part.shape[2:], strict=True), 2):
            if n < (wanted := len(cells) * positions):
                part = part.index_select(axis, torch.arange(wanted, device=x.device).clamp_(max=n - 1))
        return part

    def core_of(self, y: Tensor, positions: int) -> Tensor:
        """The core of y [B, C, *grid], which was computed of what is seen, `positions` a cell."""
        starts = [seen.start for seen in self.seen]
        inside = [range(core.start - s, core.stop - s) for core, s in zip(self.core, starts, strict=True)]
        return _part(y, inside, positions)

    def put(self, core: Tensor, whole: Tensor, positions: int) -> None:
        """Writes a core to its place in `whole` [B, C, *grid], which may end before its last cell does."""
        place = _part(whole, self.core, positions)
        place.copy_(_part(core, [range(n) for n in place.shape[2:]], 1))


def tiles(cells: tuple[int, ...], core: int, halo: int) -> Iterator[Tile]:
    """Cuts a grid of cells into tiles whose cores are of about one size, at most `core` cells along each axis, and
    which see `halo` cells more on every side where the grid has them."""
    axes = []
    for n in cells:
        count = -(-n // core)
        edges = pairwise([n * i // count for i in range(count + 1)])
        axes.append([(range(a, b), range(max(0, a - halo), min(n, b + halo))) for a, b in edges])
    for axis in product(*axes):
        yield Tile(*zip(*axis, strict=True))


def _part(x: Tensor, cells: Sequence[range], positions: int) -> Tensor:
    """Of x [B, C, *grid], `positions` a cell, what it has on these cells."""
    return x[(slice(None), slice(None), *(slice(part.start * positions, part.stop * positions) for part in cells))]
