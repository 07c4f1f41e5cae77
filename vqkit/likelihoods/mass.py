"""Likelihoods of integers: a probability for each native level."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from vqkit.likelihoods.base import Likelihood
from vqkit.signal import Signal


class Mass(Likelihood):
    """A probability mass function over the `signal.levels` native levels of each value; the loss is -log p itself."""

    def levels(self, signal: Signal) -> int:
        """How many there are. Raises ValueError where the data are floats."""
        if signal.levels is None:
            raise ValueError(
                f"a {type(self).__name__} needs data of integer levels; use likelihoods.Gaussian for floats"
            )
        return signal.levels

    @abstractmethod
    def log_mass(self, parameters: Tensor, level: Tensor, signal: Signal) -> Tensor:
        """log p(level | parameters) in nats; int64 levels count from 0 at `signal.low`. Both [B, C, *grid]."""

    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        level, levels = self._level(x, signal), self.levels(signal)
        if level.numel() and not 0 <= int(level.min()) <= int(level.max()) < levels:
            raise ValueError(
                f"the data are from {int(x.min())} to {int(x.max())}, and the signal has {levels} levels from "
                f"{int(signal.low)} on; give it data in its range"
            )
        return -self.log_mass(parameters, level, signal)

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        """-log p, without a look at the range, for which a GPU would have to be waited for."""
        return -self.log_mass(parameters, self._level(x, signal), signal)

    def _level(self, x: Tensor, signal: Signal) -> Tensor:
        if x.is_floating_point():
            raise ValueError(f"a {type(self).__name__} cannot score floats; give it the native integers")
        return x.long() - int(signal.low)
