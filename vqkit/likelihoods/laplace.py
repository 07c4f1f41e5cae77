"""The Laplace density of one scale: mean absolute error, as a likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.likelihoods.levels import log_laplace_interval
from vqkit.likelihoods.location_scale import LearnedScale, LocationScale


class Laplace(LocationScale):
    """exp(-|x - mean| / scale) / (2 scale) in the normalised range [-1, 1], one `scale` for everything: the mean
    absolute deviation.

    The scale is fixed in training, so it is the one place that weighs distortion against the bottleneck's loss, which
    is |x - mean| / scale. A `LearnedScale` takes that weight out of your hands.
    """

    def __init__(self, scale: float | LearnedScale = 0.25) -> None:
        super().__init__(scale)

    log_z = math.log(2)

    def energy(self, t: Tensor) -> Tensor:
        return t.abs()

    def standard_log_interval(self, lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
        return log_laplace_interval(lower, upper, width)

    def excess(self, t: Tensor) -> Tensor:
        return t.neg().clamp_min(0) + t.abs().neg().exp() / 2

    def draw(self, shape: Sequence[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
        uniform = torch.rand(shape, generator=generator, device=device) * 2 - 1  # from -1, included, to 1
        return -uniform.sign() * torch.log1p(-uniform.abs()).clamp_min(-100)  # the logarithm of 0 is of no size
