"""A density on an interval with one parameter: the Bernoulli's cross-entropy, made a likelihood of greys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.likelihoods.density import Density
from vqkit.signal import Signal


class ContinuousBernoulli(Density):
    """p(u) = exp(eta u) / Z(eta) for u in [0, 1], the range of the data; the parameters are eta (Loaiza-Ganem and
    Cunningham 2019, https://arxiv.org/abs/1907.06845, whose lambda is sigmoid(eta)).

    Z(eta) = (exp(eta) - 1) / eta is what a Bernoulli's cross-entropy with greys lacks. eta is no mean, which is
    Z'/Z: to say 0.98 it must be 50.
    """

    meaning = "log-odds"
    log_normaliser = math.log(2)  # u is half as wide as the normalised range

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        eta = parameters.float()
        return log_z(eta) - eta * (signal.normalise(x) + 1) / 2

    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        if x.numel() and not signal.low <= float(x.min()) <= float(x.max()) <= signal.high:
            raise ValueError(
                f"the data are from {float(x.min()):g} to {float(x.max()):g} and a ContinuousBernoulli has a density "
                f"from {signal.low:g} to {signal.high:g} alone; scale them, or use likelihoods.Gaussian"
            )
        return super().nll(parameters, x, signal)

    def log_interval(self, parameters: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        eta = parameters.float()
        lower, upper = ((edge.clamp(-1, 1) + 1) / 2 for edge in (lower, upper))
        width = upper - lower
        return eta * lower + log_z(eta * width) + width.log() - log_z(eta)

    def censored_mean(self, parameters: Tensor) -> Tensor:
        """Of a density that has no tails."""
        eta = parameters.float()
        small = eta.abs() < 1
        t = torch.where(small, eta, 0.0)
        square = t.square()
        series = t * (1 / 6 - square * (1 / 360 - square * (1 / 15120 - square / 604800)))
        size = torch.where(small, 1.0, eta.abs())
        return torch.where(small, series, eta.sign() * (1 + 2 / torch.expm1(size) - 2 / size))

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        centre, half_range = (signal.low + signal.high) / 2, (signal.high - signal.low) / 2
        return self.censored_mean(parameters) * half_range + centre

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        eta = parameters.float()
        uniform = torch.rand(eta.shape, generator=generator, device=eta.device)
        falling = -eta.abs()  # drawn for the mirror image where it rises, as exp(eta) may overflow
        u = torch.where(eta == 0, uniform, torch.log1p(uniform * torch.expm1(falling)) / falling)
        return signal.denormalise(torch.where(eta > 0, 1 - 2 * u, 2 * u - 1))


def log_z(eta: Tensor) -> Tensor:
    """log((exp(eta) - 1) / eta), with an exact gradient near 0, where the formula is 0 / 0."""
    small = eta.abs() < 1
    # Both branches are even: log(sinh(eta / 2) / (eta / 2)), the first by its Taylor series. The branch that is not
    # taken is given a harmless eta, as its gradient is multiplied by 0 and must be finite.
    square = torch.where(small, eta, 0.0).square()
    series = square * (1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square / 9676800)))
    size = torch.where(small, 1.0, eta.abs())
    closed = size / 2 + (-torch.expm1(-size) / size).log()
    return eta / 2 + torch.where(small, series, closed)
