"""Encoders that give several feature maps, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.conv import conv
from vqkit.nn.reach import Reach, reach_of


class Pyramid(nn.Module):
    """A chain of nets, each on what the one before it gave: x -> the output of every stage, the last stage's, which is
    the coarsest, first. `stages` are in the order in which x passes them, fine to coarse."""

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    @property
    def reaches(self) -> tuple[Reach, ...]:
        """The `Reach` of each map, coarse to fine. Raises ValueError where a stage is not local."""
        return tuple(reversed([*accumulate(map(reach_of, self.stages), Reach.then)]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(reversed(maps))


class AreaPyramid(nn.Module):
    """One feature map in several sizes: `net`, which gives `features` channels, a 1x1 convolution to `outputs`, and the
    mean over areas, [B, outputs, *grid] for each of `grids`. Where a grid does not divide the finest, areas overlap."""

    def __init__(self, net: nn.Module, features: int, outputs: int, grids: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.net, self.features, self.outputs, self.grids = net, features, outputs, tuple(grids)
        self.project = conv(len(self.grids[0]), features, outputs, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        finest = self.project(self.net(x))
        return tuple(area(finest, grid) for grid in self.grids)


def area(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """x [B, C, *finer] -> its means over areas, [B, C, *grid]."""
    return x if x.shape[2:] == grid else F.interpolate(x, grid, mode="area")


def linear(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """x [B, C, *coarser] -> its linear interpolation, [B, C, *grid]."""
    mode = ("linear", "bilinear", "trilinear")[len(grid) - 1]
    return x if x.shape[2:] == grid else F.interpolate(x, grid, mode=mode)


def nearest(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """x [B, C, *any] -> at each position what is nearest to it, [B, C, *grid]: where that is finer, repetition."""
    return x if x.shape[2:] == grid else F.interpolate(x, grid, mode="nearest-exact")


def resize(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    """x [B, C, *any] -> [B, C, *grid]: means over areas where no axis becomes longer, else linear interpolation."""
    return area(x, grid) if all(a >= b for a, b in zip(x.shape[2:], grid, strict=True)) else linear(x, grid)
