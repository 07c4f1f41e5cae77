"""One number for two rate-distortion curves: how many bits, or how much quality, lies between them on average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

Curve = Sequence[tuple[float, float]]
"""Pairs of a rate, in any unit above 0, and a quality that is better where it is higher, such as PSNR in dB."""


class Delta(NamedTuple):
    """A mean difference: `value` is of the curve that is tested less the anchor's, from `low` to `high`, which is what
    both curves reach."""

    value: float
    low: float
    high: float


def bd_rate(anchor: Curve, tested: Curve) -> Delta | None:
    """How many per cent more bits than the anchor a codec takes at equal quality, so below 0 it saves; the mean over
    the qualities from `low` to `high`. None where no quality is reached by both.

    The difference of log rates is averaged (Bjontegaard 2001, VCEG-M33,
    https://www.itu.int/wftp3/av-arch/video-site/0104_Aus/VCEG-M33.doc), between curves interpolated by piecewise cubics
    that keep them monotonic, as in the common test conditions of HEVC (Bossen 2013, JCTVC-L1100). A curve is its
    `frontier`, and may have any number of points: of one, the difference is taken at that point.

    Raises ValueError where a curve has no point, or one whose rate is not above 0.
    """
    found = _mean_difference(_by_quality(anchor), _by_quality(tested))
    return None if found is None else found._replace(value=100 * math.expm1(found.value))


def bd_psnr(anchor: Curve, tested: Curve) -> Delta | None:
    """How much more quality than the anchor's a codec has at equal rate, in dB where it is PSNR; the mean over the log
    rates, `low` and `high` being rates. None where no rate is reached by both. Else as `bd_rate`."""
    found = _mean_difference(_by_quality(anchor)[::-1], _by_quality(tested)[::-1])
    return None if found is None else Delta(found.value, math.exp(found.low), math.exp(found.high))


def frontier(curve: Curve) -> list[tuple[float, float]]:
    """The points that no other one beats, with as few bits and no less quality: rate and quality both rise."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((rate, quality))
    return kept


def _by_quality(curve: Curve) -> np.ndarray:
    """Qualities, and the logs of their rates: [2, n], both rising."""
    if not curve or min(rate for rate, _ in curve) <= 0:
        raise ValueError("a curve has no point, or one without a rate; give pairs of a rate above 0 and a quality")
    rates, qualities = np.array(frontier(curve), dtype=np.float64).T
    return np.stack([qualities, np.log(rates)])


def _mean_difference(anchor: np.ndarray, tested: np.ndarray) -> Delta | None:
    """Of two curves [2, n], x and y, where x rises."""
    (x, y), (x_tested, y_tested) = anchor, tested
    low, high = max(x[0], x_tested[0]), min(x[-1], x_tested[-1])
    if low > high:
        return None
    return Delta(_mean(x_tested, y_tested, low, high) - _mean(x, y, low, high), float(low), float(high))


def _mean(x: np.ndarray, y: np.ndarray, low: float, high: float) -> float:
    """The mean of y from low to high, which lie within x; its value where they are one."""
    if len(x) == 1:
        return float(y[0])
    curve = PchipInterpolator(x, y)
    return float(curve(low) if low == high else curve.integrate(low, high) / (high - low))
