"""What every likelihood is: p(x | parameters), where the parameters are what a decoder net puts out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vqkit.signal import Signal


class Likelihood(nn.Module, ABC):
    """Everything per element: x is [B, C, *grid] in native values, parameters [B, outputs(signal), *grid]."""

    @abstractmethod
    def outputs(self, signal: Signal) -> int:
        """How many channels the decoder net must put out for this signal."""

    @abstractmethod
    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        """What training minimises, [B, C, *grid]: the negative log-likelihood up to a constant."""

    @abstractmethod
    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        """-log p(x | parameters) in nats, [B, C, *grid], of native values: probabilities where the signal has levels.

        Raises ValueError where the likelihood cannot score such data."""

    @abstractmethod
    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        """E[x], float32 in native values, [B, C, *grid]."""

    @abstractmethod
    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        """x ~ p(x | parameters), native values, [B, C, *grid]."""
