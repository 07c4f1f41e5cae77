"""Uniform scalar quantization with a dead zone, as transform codecs have it (Sullivan 1996,
https://doi.org/10.1109/18.532878)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks.arguments import between, count, positive, weight
from vqkit.bottlenecks.base import masked_mean
from vqkit.bottlenecks.scalar import ScalarQuantizer


class UniformScalarQuantizer(ScalarQuantizer):
    """Channel by channel, sign(z_e) floor(|z_e| / step + 1 - dead_zone / 2), clamped to `levels` integers around 0;
    z is `step` times that. Every channel is its own codebook. The gradient is straight through all of it.

    z_e that is near 0 becomes 0, where most of a Laplacian lies, so a dead zone above 1 saves more bits than its error
    costs. It is the encoder's choice alone: the reconstruction points do not depend on it.

    Args:
        dim: channels.
        step: between neighbouring reconstruction points, in the units of z_e.
        levels: of a channel, an odd number, so that 0 is one of them.
        dead_zone: the width of the cell of 0, in steps: 1 is plain rounding, 4/3 and 5/3 are H.264's for intra and
            inter blocks, 2 is JPEG 2000's.
        commitment_weight: of |z_e - sg(z)|^2 in squared steps, a mean over latent dimensions. A gradient that is passed
            straight through everything has nothing else that brings z_e back from beyond the last level.

    Raises:
        ValueError: an argument is out of these ranges.
    """

    straight_through = True

    def __init__(
        self, dim: int, step: float, levels: int = 255, dead_zone: float = 1.0, commitment_weight: float = 0.25
    ) -> None:
        if count("levels", levels) % 2 == 0:
            raise ValueError(f"levels is {levels}; take an odd number, so that 0 is a level")
        super().__init__((levels,) * count("dim", dim), (1,) * dim)
        self.step, self.levels, self.dead_zone = positive("step", step), levels, between("dead_zone", dead_zone, 1, 2)
        self.commitment_weight = weight("commitment_weight", commitment_weight)

    def loss(self, bounded: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        return self.commitment_weight * masked_mean(((bounded - z_q) / self.step).square(), mask)

    def coordinate(self, bounded: Tensor) -> Tensor:
        return F.softshrink(bounded / self.step, (self.dead_zone - 1) / 2) + self.levels // 2

    def values(self, digits: Tensor) -> Tensor:
        return (digits - self.levels // 2).float() * self.step
