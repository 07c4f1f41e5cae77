"""The arithmetic of native levels: their bins, the probability that a value falls into one, and the mean of what is
clamped to the range.

A value y in the normalised range [-1, 1] is rounded to the nearest level and clamped, so that a level's probability is
that of its bin and the bins at both ends take the tails. The probabilities are logarithms of differences of cumulative
distribution functions. They are computed from the bin's width rather than from the difference of two rounded numbers
that are nearly the same, so that they and their gradients stay finite and good to float32 however far out the bin lies
and however narrow it is; the normal's alone, near its middle, to some 1e-6 / width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Where the bins at both ends stop: beyond any location that a net puts out, and its square is a float32 still.
_FAR = 1e6
_ROOT_HALF = math.sqrt(0.5)


def edges(level: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Level, counted from 0, any shape -> the lower and the upper edge of its bin, float32 in the normalised range.
    Neighbours share an edge exactly, so that the probabilities of all levels sum to one."""
    lower, upper = ((2 * level + side).float() / (levels - 1) - 1 for side in (-1, 1))
    return lower.masked_fill(level <= 0, -_FAR), upper.masked_fill(level >= levels - 1, _FAR)


def log_normal_interval(lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
    """log P(lower < t < upper) for t ~ N(0, 1); `width` is upper - lower."""
    lower, upper = _reflect(lower, upper)
    near = upper.clamp_max(5)  # beyond 13 erfcx is infinite; Phi(5) is 1 to 6 digits, and Phi(lower) then is 0 to 6
    log_phi = _log_erfcx(near) - near.square() / 2 - math.log(2)
    log_ratio = width * (near + lower) / 2 + _log_erfcx(lower) - _log_erfcx(near)  # of Phi(lower) to Phi(near)
    return log_phi + _log1mexp(-log_ratio)


def _log_erfcx(t: Tensor) -> Tensor:
    """log(2 Phi(t)) + t^2 / 2. Unlike torch.special.log_ndtr it has an exact gradient far out."""
    scaled: Tensor = torch.special.erfcx(-_ROOT_HALF * t)
    return scaled.log()


def log_laplace_interval(lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
    """log P(lower < t < upper) for t of the density exp(-|t|) / 2; `width` is upper - lower."""
    lower, upper = _reflect(lower, upper)
    tail = upper.clamp_max(0) - math.log(2) + _log1mexp(width)
    around_zero = (-(torch.expm1(lower) + torch.expm1(-upper.clamp_min(0))) / 2).log()
    return torch.where(upper <= 0, tail, around_zero)


def log_logistic_interval(lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
    """log P(lower < t < upper) for t of the distribution function sigmoid(t); `width` is upper - lower."""
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + _log1mexp(width)


def _reflect(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The interval, or its mirror image, whose middle is at most 0: what is symmetric is computed in its lower tail."""
    right = lower + upper > 0
    return torch.where(right, -upper, lower), torch.where(right, -lower, upper)


def _log1mexp(t: Tensor) -> Tensor:
    """log(1 - exp(-t)), t > 0."""
    return (-torch.expm1(-t)).log()


def censored_mean(excess: Callable[[Tensor], Tensor], location: Tensor, scale: Tensor | float) -> Tensor:
    """E[clamp(location + scale t, -1, 1)], given excess(a) = E[max(t - a, 0)]."""
    above_low, above_high = excess((-1 - location) / scale), excess((1 - location) / scale)
    return (scale * (above_low - above_high) - 1).clamp(-1, 1)
