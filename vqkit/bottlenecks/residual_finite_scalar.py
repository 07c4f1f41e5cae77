"""Finite scalar quantization in stages, each of which refines the levels of those before it (Parker et al. 2024,
https://arxiv.org/abs/2411.19842)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from vqkit.bottlenecks.arguments import count
from vqkit.bottlenecks.scalar import ScalarQuantizer


class ResidualFiniteScalarQuantizer(ScalarQuantizer):
    """Each channel of tanh(z_e) is rounded as by a `FiniteScalarQuantizer`, and what that left over again, `depth`
    times; z is the sum. Stage s, from 0, has its points between -1 / (L - 1)^s and 1 / (L - 1)^s: a level of the stage
    before and half way to the next, where L is the channel's number of levels. So no stage is wasted on what those
    before it cannot leave over, and an odd L makes the points of (L - 1)^depth + 1 levels at once.

    The codebooks are the stages', each of all channels; the first ones alone are enough for a coarser z. There is no
    codebook to learn, no loss, and nothing that can collapse.

    Args:
        levels: of each channel, 3 to 65536; their number is the dimension.
        depth: number of stages, 1 or more.

    Raises:
        ValueError: a channel has fewer than 3 levels, depth is below 1, or a stage has more than 2^31 codes.
    """

    scales: Tensor

    def __init__(self, levels: Sequence[int], depth: int) -> None:
        if 2 in levels:
            raise ValueError(f"levels are {tuple(levels)}; give each channel 3 or more, as two cannot be refined")
        super().__init__(tuple(levels) * count("depth", depth), (len(levels),) * depth)
        self.levels, self.depth, self.dim = tuple(levels), depth, len(levels)
        intervals = torch.tensor(levels, dtype=torch.float32) - 1
        scales = torch.cat([intervals**-stage for stage in range(depth)])
        self.register_buffer("scales", scales, persistent=False)  # [depth x D], as levels_of is

    @property
    def prefixes(self) -> tuple[int, ...]:
        return tuple(range(1, self.depth + 1))

    def bound(self, z_e: Tensor) -> Tensor:
        return z_e.tanh()

    def coordinate(self, bounded: Tensor) -> Tensor:
        """Stage after stage, [B, *grid, depth x D]."""
        coordinates, residual, last = [], bounded, self.levels_of[: self.dim] - 1
        for scale in self.scales.split(self.dim):
            coordinates.append((residual / scale + 1) / 2 * last)
            digits = coordinates[-1].detach().round().clamp(last * 0, last)
            residual = residual - (2 * digits - last) / last * scale
        return torch.cat(coordinates, -1)

    def values(self, digits: Tensor) -> Tensor:
        channels = digits.shape[-1]
        last = self.levels_of[:channels] - 1
        points = (2 * digits - last).float() / last * self.scales[:channels]
        of_stages: Sequence[Tensor] = points.split(self.dim, -1)
        return reduce(torch.add, of_stages)  # in this order whatever the shape, so that equal digits give equal bits
