"""Densities of one shape, moved and stretched: what the Gaussian and the Laplace have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.likelihoods.base import LOCATIONS, native
from vqkit.likelihoods.density import Density
from vqkit.likelihoods.levels import censored_mean
from vqkit.signal import Signal


class LearnedScale(nn.Module):
    """A trained scale, in the normalised range [-1, 1], in place of a fixed one.

    The net's outputs are then weighed by what is left to explain, so the decoder's share in the objective grows as
    reconstructions get better, and a beta or a commitment weight means less and less. That is right where the sum is a
    bound of -log p(x) (sigma-VAE, Rybkin et al. 2021, https://arxiv.org/abs/2006.13202), and a choice to be made, not a
    default. `Scored` takes a scale for scoring alone.

    Args:
        channels: of the data, each with its scale; 1 has them share one.
        initial: where the scales start.

    Raises:
        ValueError: channels is below 1, or initial not above the least scale, 0.001.
    """

    _LEAST = 1e-3  # is added, not clamped to, as a scale that is clamped has no gradient to come back by

    def __init__(self, channels: int = 1, initial: float = 0.35) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels is {channels}; give at least 1")
        if not self._LEAST < initial < math.inf:
            raise ValueError(f"initial is {initial}; give a finite number above {self._LEAST}")
        self.channels, self.initial = channels, initial
        self.log_scale = nn.Parameter(torch.full((channels,), math.log(initial - self._LEAST)))

    def forward(self, dims: int) -> Tensor:
        """[channels, 1, ...], to go with data of `dims` grid dimensions."""
        return (self.log_scale.exp() + self._LEAST).view(-1, *(1,) * dims)


class LocationScale(Density):
    """x = location + scale t in the normalised range [-1, 1], where the parameters are the location and t has a fixed
    density exp(-energy(t)) / Z."""

    meaning = LOCATIONS

    def __init__(self, scale: float | LearnedScale) -> None:
        super().__init__()
        if not isinstance(scale, LearnedScale) and not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}; a {type(self).__name__}'s scale must be finite and above 0")
        self.scale = scale

    @abstractmethod
    def energy(self, t: Tensor) -> Tensor:
        """-log p(t) up to a constant."""

    @property
    @abstractmethod
    def log_z(self) -> float:
        """That constant."""

    @abstractmethod
    def standard_log_interval(self, lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
        """log P(lower < t < upper), where `width` is upper - lower."""

    @abstractmethod
    def excess(self, t: Tensor) -> Tensor:
        """E[max(T - t, 0)]."""

    @abstractmethod
    def draw(self, shape: Sequence[int], device: torch.device, generator: torch.Generator | None) -> Tensor:
        """t, float32."""

    def outputs(self, signal: Signal) -> int:
        self._scale_of(signal.channels, len(signal.grid))
        return super().outputs(signal)

    def _scale(self, parameters: Tensor) -> float | Tensor:
        return self._scale_of(parameters.shape[1], parameters.ndim - 2)

    def _scale_of(self, channels: int, dims: int) -> float | Tensor:
        if not isinstance(self.scale, LearnedScale):
            return self.scale
        if self.scale.channels not in (1, channels):
            raise ValueError(
                f"this LearnedScale has {self.scale.channels} channels and the data {channels}; give it as many as the "
                "data, or 1 that they share"
            )
        return self.scale(dims)  # type: ignore[no-any-return]

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        scale = self._scale(parameters)
        energy = self.energy((signal.normalise(x) - parameters.float()) / scale)
        return energy + scale.log() if isinstance(scale, Tensor) else energy

    @property
    def log_normaliser(self) -> float:
        return self.log_z + (0.0 if isinstance(self.scale, LearnedScale) else math.log(self.scale))

    def log_interval(self, parameters: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        location, scale = parameters.float(), self._scale(parameters)
        return self.standard_log_interval(
            (lower - location) / scale, (upper - location) / scale, (upper - lower) / scale
        )

    def censored_mean(self, parameters: Tensor) -> Tensor:
        return censored_mean(self.excess, parameters.float(), self._scale(parameters))

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        """The location, clamped: E[x] but for what the tails reach beyond the range, which a sample is clamped to."""
        return native(parameters, signal)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        t = self.draw(parameters.shape, parameters.device, generator)
        return signal.denormalise(parameters.float() + self._scale(parameters) * t)
