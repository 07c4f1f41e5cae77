"""Probabilities of native levels out of a density."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.likelihoods.base import native
from vqkit.likelihoods.density import Density
from vqkit.likelihoods.levels import edges
from vqkit.likelihoods.mass import Mass
from vqkit.signal import Signal


class DiscretizedDensity(Mass):
    """The probability of a level is the integral of `density` over the level's bin, that of a level at an end takes the
    tail too: a sample is one of the density, rounded and clamped. With a Gaussian it is the last step's likelihood of
    Ho et al. 2020, https://arxiv.org/abs/2006.11239.

    The gradient of the loss is nearly the density's own, where its scale is well above a level, so that the density's
    scale weighs distortion against the bottleneck's loss here too.
    """

    def __init__(self, density: Density) -> None:
        super().__init__()
        self.density = density

    @property
    def meaning(self) -> str:
        return self.density.meaning

    def outputs(self, signal: Signal) -> int:
        self.levels(signal)
        return self.density.outputs(signal)

    def log_mass(self, parameters: Tensor, level: Tensor, signal: Signal) -> Tensor:
        return self.density.log_interval(parameters, *edges(level, self.levels(signal)))

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        """E[x] of the clamped value before it is rounded. Rounding moves it by less than half a level, and by less
        than 1/40 of one where a Gaussian's or Laplace's scale is a level or more."""
        return native(self.density.censored_mean(parameters), signal)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        return self.density.sample(parameters, signal, generator)
