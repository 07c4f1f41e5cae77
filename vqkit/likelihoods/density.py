"""Likelihoods of floats: a density of each value."""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor

from vqkit.likelihoods.base import Likelihood
from vqkit.signal import Signal


class Density(Likelihood):
    """p(x | parameters) is a density with one parameter a value, values independent given z.

    It trains on any data, but is refused as a score of integers, which have probabilities: `DiscretizedDensity` makes
    them out of a density, by `log_interval` and `censored_mean`.
    """

    def outputs(self, signal: Signal) -> int:
        return signal.channels

    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        if signal.levels is not None:
            name = type(self).__name__
            raise ValueError(
                f"a {name} density cannot score data of {signal.levels} levels; use likelihoods.DiscretizedDensity "
                f"of a {name}, or likelihoods.Categorical, for bits"
            )
        native_width = math.log((signal.high - signal.low) / 2)
        return self.loss(parameters, x, signal) + self.log_normaliser + native_width

    @property
    @abstractmethod
    def log_normaliser(self) -> float:
        """What `loss` leaves out of -log p, where x is in the normalised range [-1, 1]."""

    @abstractmethod
    def log_interval(self, parameters: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """log P(lower < x < upper), edges in the normalised range or beyond it; all [B, C, *grid]. Exact far out, where
        the probability itself is 0 in float32."""

    @abstractmethod
    def censored_mean(self, parameters: Tensor) -> Tensor:
        """E[clamp(x, -1, 1)] in the normalised range, float32 [B, C, *grid]."""
