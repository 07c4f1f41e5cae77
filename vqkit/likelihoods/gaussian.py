"""The Gaussian of one scale: mean squared error, as a likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.likelihoods.levels import log_normal_interval
from vqkit.likelihoods.location_scale import LearnedScale, LocationScale


class Gaussian(LocationScale):
    """N(mean, scale^2) in the normalised range [-1, 1], one `scale` for everything.

    The scale is fixed in training, so it is the one place that weighs distortion against the bottleneck's loss: the
    loss is (x - mean)^2 / (2 scale^2). With scale^2 half the variance of the data that is the normalised MSE. A
    `LearnedScale` takes that weight out of your hands.
    """

    def __init__(self, scale: float | LearnedScale = 0.35) -> None:
        super().__init__(scale)

    log_z = 0.5 * math.log(2 * math.pi)

    def energy(self, t: Tensor) -> Tensor:
        return t.square() / 2

    def standard_log_interval(self, lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
        return log_normal_interval(lower, upper, width)

    def excess(self, t: Tensor) -> Tensor:
        beyond: Tensor = torch.special.ndtr(-t)
        return (-self.energy(t) - self.log_z).exp() - t * beyond

    def draw(self, shape: Sequence[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)
