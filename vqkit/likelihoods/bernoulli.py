"""One of two levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.likelihoods.mass import Mass
from vqkit.signal import Signal


class Bernoulli(Mass):
    """p(x = high) = sigmoid(parameters), for data of two levels, values independent given z. Greys are refused, as a
    Bernoulli's cross-entropy with a grey is the logarithm of no distribution (`ContinuousBernoulli` says more)."""

    meaning = "log-odds"

    def levels(self, signal: Signal) -> int:
        levels = super().levels(signal)
        if levels != 2:
            raise ValueError(
                f"a Bernoulli needs data of two levels, and this has {levels}; use likelihoods.ContinuousBernoulli to "
                "train on greys, or likelihoods.LogisticMixture for their bits"
            )
        return levels

    def outputs(self, signal: Signal) -> int:
        self.levels(signal)
        return signal.channels

    def log_mass(self, parameters: Tensor, level: Tensor, signal: Signal) -> Tensor:
        self.levels(signal)
        return F.logsigmoid(parameters.float() * (2 * level - 1))

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        return signal.low + (signal.high - signal.low) * parameters.float().sigmoid()

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        uniform = torch.rand(parameters.shape, generator=generator, device=parameters.device)
        return signal.denormalise(2.0 * (uniform < parameters.float().sigmoid()) - 1)
