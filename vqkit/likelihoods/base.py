"""What a decoder's outputs say of x: a likelihood p(x | parameters), or a reconstruction with a distortion."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vqkit.signal import Signal

LOCATIONS = "locations"


class Reconstruction(nn.Module, ABC):
    """What a decoder net's outputs are trained by, and how x_hat is read off them.

    Everything is per element: x is [B, C, *grid] in native values, parameters [B, outputs(signal), *grid]. Parameters
    in half precision are computed with in float32.
    """

    @property
    @abstractmethod
    def meaning(self) -> str:
        """What the parameters are, in a word or two; LOCATIONS are x_hat itself, in the normalised range [-1, 1]."""

    @abstractmethod
    def outputs(self, signal: Signal) -> int:
        """How many channels the decoder net must put out for this signal. Raises ValueError where it does not fit."""

    @abstractmethod
    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        """What training minimises, [B, C, *grid]."""

    @abstractmethod
    def reconstruct(self, parameters: Tensor, signal: Signal) -> Tensor:
        """x_hat, float32 in native values, [B, C, *grid]."""

    @abstractmethod
    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        """-log p(x | parameters) in nats, [B, C, *grid], of native values: probabilities where the signal has levels.

        Raises ValueError where there is no likelihood of such data."""

    @abstractmethod
    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        """x ~ p(x | parameters), native values, [B, C, *grid]. Raises ValueError where there is no likelihood."""

    def calibrate(self, parameters: Tensor, x: Tensor, signal: Signal) -> None:
        """Sets what is learned beside the net, such as a scale, to the values of the least negative log-likelihood of
        these x. Nothing, where nothing is."""


class Likelihood(Reconstruction):
    """p(x | parameters): the loss is the negative log-likelihood up to a constant, and x_hat is the mean."""

    @abstractmethod
    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        """E[x], float32 in native values, [B, C, *grid]."""

    def reconstruct(self, parameters: Tensor, signal: Signal) -> Tensor:
        return self.mean(parameters, signal)

    def calibrate(self, parameters: Tensor, x: Tensor, signal: Signal) -> None:
        learned = list(self.parameters())
        if not learned:
            return
        frozen = [parameter for parameter in learned if not parameter.requires_grad]  # `Scored` says why
        optimizer = torch.optim.LBFGS(learned, max_iter=50, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            nll = self.loss(parameters, x, signal).double().mean()
            nll.backward()
            return nll

        self.requires_grad_(True)
        try:
            with torch.enable_grad():
                optimizer.step(closure)
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)


class Distortion(Reconstruction):
    """A distance between x and x_hat that is the logarithm of no distribution over x: it trains and reconstructs, and
    refuses to score and to sample."""

    meaning = LOCATIONS

    def outputs(self, signal: Signal) -> int:
        return signal.channels

    def reconstruct(self, parameters: Tensor, signal: Signal) -> Tensor:
        return native(parameters, signal)

    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        raise self._refusal(signal)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        raise self._refusal(signal)

    def _refusal(self, signal: Signal) -> ValueError:
        instead = "Gaussian" if signal.levels is None else "LogisticMixture"
        return ValueError(
            f"{type(self).__name__} is a distortion and no likelihood, so it has neither nats nor samples; train with "
            f"likelihoods.{instead} for them"
        )


def native(y: Tensor, signal: Signal) -> Tensor:
    """[-1, 1] to native values as float32, clamped but not rounded."""
    centre, half_range = (signal.low + signal.high) / 2, (signal.high - signal.low) / 2
    return (y.float() * half_range + centre).clamp(signal.low, signal.high)
