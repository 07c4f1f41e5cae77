"""A mixture of discretized logistics, in which the channels of one position know each other."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.likelihoods.base import native
from vqkit.likelihoods.levels import censored_mean, edges, log_logistic_interval
from vqkit.likelihoods.mass import Mass
from vqkit.signal import Signal

_LEAST_SCALE = 0.1  # in levels: a level then has up to 0.99, and the gradient of a far one stays of a sane size
_LARGEST_SCALE = 10.0  # in the normalised range, where it is all but uniform within, and half in each tail


class _Mixture(NamedTuple):
    """K components at each position, float32 in the normalised range."""

    log_weights: Tensor  # [B, K, *grid]
    means: Tensor  # [B, K, C, *grid], before what the channels add that come before
    log_scales: Tensor  # [B, K, C, *grid]
    coefficients: Tensor  # [B, K, C (C - 1) / 2, *grid], the rows of a strictly lower triangular matrix

    def location(self, channel: int, before: Tensor) -> Tensor:
        """[B, K, *grid] of this channel, given the values of those before it, [B, K or 1, channel, *grid]."""
        row = channel * (channel - 1) // 2
        return self.means[:, :, channel] + (self.coefficients[:, :, row : row + channel] * before).sum(2)


class LogisticMixture(Mass):
    """PixelCNN++'s output (Salimans et al. 2017, https://arxiv.org/abs/1701.05517), for any number of channels.

    At each position one of `components` is chosen for all channels. In it, channel c is a logistic, rounded to levels
    and clamped, whose location is linear in the values of the channels before c; the coefficients are held in (-1, 1)
    by tanh. `nll` of a channel is that of its value given the channels before, and the sum over channels is that of the
    whole position. No table over levels is ever made, so it costs the same for 256 levels and for 65,536.
    """

    meaning = "weights, means and scales of logistics"

    def __init__(self, components: int = 10) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"components is {components}; give at least 1")
        self.components = components

    def outputs(self, signal: Signal) -> int:
        self.levels(signal)
        return self.components * (1 + 2 * signal.channels + math.comb(signal.channels, 2))

    def _mixture(self, parameters: Tensor, signal: Signal) -> _Mixture:
        batch, _, *grid = parameters.shape
        channels = signal.channels
        of_components = parameters.float().reshape(batch, self.components, -1, *grid)
        logits, means, log_scales, coefficients = of_components.split(
            [1, channels, channels, math.comb(channels, 2)], 2
        )
        least = math.log(_LEAST_SCALE * 2 / (self.levels(signal) - 1))
        log_scales = log_scales.clamp(least, math.log(_LARGEST_SCALE))
        return _Mixture(logits.squeeze(2).log_softmax(1), means, log_scales, coefficients.tanh())

    def log_mass(self, parameters: Tensor, level: Tensor, signal: Signal) -> Tensor:
        levels, mixture = self.levels(signal), self._mixture(parameters, signal)
        y = (2 * level.float() / (levels - 1) - 1).unsqueeze(1)
        locations = torch.stack([mixture.location(c, y[:, :, :c]) for c in range(signal.channels)], 2)
        lower, upper = (edge.unsqueeze(1) for edge in edges(level, levels))
        inverse = (-mixture.log_scales).exp()
        of_channels = log_logistic_interval(
            (lower - locations) * inverse, (upper - locations) * inverse, (upper - lower) * inverse
        )
        # The chain rule: log p(this and the channels before) less log p(the channels before).
        joint = (mixture.log_weights.unsqueeze(2) + of_channels.cumsum(2)).logsumexp(1)
        return torch.cat([joint[:, :1], joint.diff(dim=1)], 1)

    def mean(self, parameters: Tensor, signal: Signal) -> Tensor:
        """E[x] in closed form, but for two steps that are not linear.

        Values are clamped but not yet rounded, which moves a mean by less than half a level, and by less than 1/40 of
        one where scales are a level or more. A channel's location is put at its mean over the channels before: exact
        for the first channel, and for the others where clamping plays no part."""
        mixture = self._mixture(parameters, signal)
        means = parameters.new_zeros(*mixture.means.shape[:2], 0, *parameters.shape[2:], dtype=torch.float32)
        for channel in range(signal.channels):
            scale = mixture.log_scales[:, :, channel].exp()
            mean = censored_mean(_logistic_excess, mixture.location(channel, means), scale)
            means = torch.cat([means, mean.unsqueeze(2)], 2)
        return native((mixture.log_weights.exp().unsqueeze(2) * means).sum(1), signal)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        mixture = self._mixture(parameters, signal)
        weights = mixture.log_weights.exp().movedim(1, -1)
        chosen = torch.multinomial(weights.flatten(0, -2), 1, generator=generator).view(weights.shape[:-1])
        one = _Mixture(*(_choose(part, chosen) for part in mixture))
        x = torch.zeros_like(one.means)
        for channel in range(signal.channels):
            uniform = torch.rand(chosen.shape, generator=generator, device=chosen.device)
            t = uniform.logit()  # -inf for a uniform of 0 is clamped with the rest
            y = one.location(channel, x[:, :, :channel]).squeeze(1) + one.log_scales[:, 0, channel].exp() * t
            x[:, 0, channel] = signal.normalise(signal.denormalise(y))
        return signal.denormalise(x.squeeze(1))


def _choose(part: Tensor, chosen: Tensor) -> Tensor:
    """Of every component [B, K, ..., *grid] the one that was chosen [B, *grid]: [B, 1, ..., *grid]."""
    batch, *grid = chosen.shape
    index = chosen.view(batch, *(1,) * (part.ndim - chosen.ndim), *grid)
    return part.take_along_dim(index, 1)


def _logistic_excess(t: Tensor) -> Tensor:
    return F.softplus(-t)
