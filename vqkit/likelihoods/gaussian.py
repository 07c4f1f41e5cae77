"""The Gaussian of one fixed scale: mean squared error, as a likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.likelihoods.base import Likelihood
from vqkit.signal import Signal


class Gaussian(Likelihood):
    """N(mean, scale^2) in the normalised range [-1, 1], one `scale` for everything.

    The scale is fixed in training, so it is the one place that weighs distortion against the bottleneck's loss: the
    loss is (x - mean)^2 / (2 scale^2). With scale^2 half the variance of the data that is the normalised MSE.
    """

    def __init__(self, scale: float = 0.35) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale is {scale}; a Gaussian's scale must be above 0")
        self.scale = scale

    def outputs(self, signal: Signal) -> int:
        return signal.channels

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        return (signal.normalise(x) - parameters.float()).square() / (2 * self.scale**2)

    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        """A density, so refused for integers, which need a probability."""
        if signal.levels is not None:
            raise ValueError(
                f"a Gaussian density cannot score data of {signal.levels} levels; use likelihoods.Categorical for bits"
            )
        native_scale = self.scale * (signal.high - signal.low) / 2
        return self.loss(parameters, x, signal) + math.log(native_scale) + 0.5 * math.log(2 * math.pi)

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        centre, half_range = (signal.low + signal.high) / 2, (signal.high - signal.low) / 2
        return (parameters.float() * half_range + centre).clamp(signal.low, signal.high)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(parameters.shape, generator=generator, device=parameters.device)
        return signal.denormalise(parameters.float() + self.scale * noise)
