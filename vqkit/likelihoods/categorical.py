"""A free distribution over the native levels of each value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.likelihoods.mass import Mass
from vqkit.signal import Signal


class Categorical(Mass):
    """p(x = level) = softmax over `signal.levels` logits for each value, channels independent given z."""

    meaning = "logits of the levels"

    def outputs(self, signal: Signal) -> int:
        return signal.channels * self.levels(signal)

    def _logits(self, parameters: Tensor, signal: Signal) -> Tensor:
        """[B, C x levels, *grid] -> float32 [B, levels, C, *grid]."""
        batch, _, *grid = parameters.shape
        return parameters.float().view(batch, signal.channels, self.levels(signal), *grid).transpose(1, 2)

    def log_mass(self, parameters: Tensor, level: Tensor, signal: Signal) -> Tensor:
        return -F.cross_entropy(self._logits(parameters, signal), level, reduction="none")

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        logits = self._logits(parameters, signal)
        levels = torch.linspace(signal.low, signal.high, logits.shape[1], device=logits.device)
        return torch.einsum("bl...,l->b...", logits.softmax(1), levels)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        probabilities = self._logits(parameters, signal).softmax(1).movedim(1, -1)
        drawn = torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator)
        return signal.to_native(drawn.view(probabilities.shape[:-1]) + int(signal.low))
