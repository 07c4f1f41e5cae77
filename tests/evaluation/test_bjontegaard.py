from __future__ import annotations

import math

import pytest

from vqkit.evaluation import bd_psnr, bd_rate
from vqkit.evaluation.bjontegaard import frontier

# Kilobits a second and PSNR in dB of a video encoder at two presets, the published example of the package bjontegaard;
# what is expected is what its version 1.3.0 finds by PCHIP.
ANCHOR = [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)]
TESTED = [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)]
LOWER = [(3000.0, 38.0), (1500.0, 36.0), (700.0, 34.0), (300.0, 31.0), (100.0, 27.5)]


@pytest.mark.parametrize(
    ("tested", "percent", "decibels"),
    [(TESTED, -4.417485350589, 0.119692785425), (LOWER, -20.944373461796, 0.675452927809)],
)
def test_the_numbers_are_those_of_a_published_package(
    tested: list[tuple[float, float]], percent: float, decibels: float
) -> None:
    rate, psnr = bd_rate(ANCHOR, tested), bd_psnr(ANCHOR, tested)
    assert rate is not None and psnr is not None
    assert rate.value == pytest.approx(percent, abs=1e-9) and psnr.value == pytest.approx(decibels, abs=1e-9)
    assert rate.low == max(min(psnr for _, psnr in curve) for curve in (ANCHOR, tested))
    assert psnr.high == pytest.approx(min(max(rate for rate, _ in curve) for curve in (ANCHOR, tested)))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.25])
def test_a_curve_of_so_many_times_the_bits_differs_by_so_many_per_cent(factor: float) -> None:
    found = bd_rate(ANCHOR, [(factor * rate, psnr) for rate, psnr in ANCHOR])
    assert found is not None and found.value == pytest.approx(100 * (factor - 1))


def test_a_curve_of_so_much_more_psnr_differs_by_that() -> None:
    found = bd_psnr(ANCHOR, [(rate, psnr + 0.7) for rate, psnr in ANCHOR])
    assert found is not None and found.value == pytest.approx(0.7)


def test_straight_lines_over_the_log_of_the_rate_are_a_factor_apart_between_their_points() -> None:
    anchor = [(2.0**n, 20 + 6.0 * n) for n in range(5)]
    tested = [(3 * 2.0**n, 20 + 6.0 * n) for n in (0.5, 1.75, 3.1)]
    rate, psnr = bd_rate(anchor, tested), bd_psnr(anchor, tested)
    assert rate is not None and (rate.value, rate.low, rate.high) == pytest.approx((200, 23, 38.6))
    assert psnr is not None and psnr.value == pytest.approx(-6 * math.log2(3))
    assert (psnr.low, psnr.high) == pytest.approx((3 * 2**0.5, 16))


def test_of_one_point_the_difference_is_at_that_point() -> None:
    line = [(1.0, 20.0), (4.0, 32.0)]
    assert bd_psnr(line, [(2.0, 27.0)]) == pytest.approx((1.0, 2.0, 2.0))
    assert bd_rate(line, [(1.0, 26.0)]) == pytest.approx((-50.0, 26.0, 26.0))
    assert bd_psnr([(2.0, 27.0)], [(2.0, 28.0)]) == pytest.approx((1.0, 2.0, 2.0))


def test_curves_that_do_not_meet_have_no_difference() -> None:
    low, high = [(1.0, 20.0), (2.0, 25.0)], [(1.5, 26.0), (9.0, 30.0)]
    assert bd_rate(low, high) is None and bd_psnr(low, high) is not None
    assert bd_psnr(low, [(3.0, 24.0)]) is None


def test_the_frontier_leaves_out_what_another_point_beats() -> None:
    assert frontier([(3, 30), (1, 20), (2, 19), (2, 25), (3, 31), (4, 31)]) == [(1, 20), (2, 25), (3, 31)]
    worse = [(5000.0, 36.0), (2486.44, 36.0)]
    assert bd_rate([*ANCHOR, *worse], TESTED) == bd_rate(ANCHOR, TESTED)


@pytest.mark.parametrize("curve", [[], [(0.0, 20.0)]])
def test_a_curve_without_a_point_or_rate_is_refused(curve: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="rate above 0"):
        bd_rate(ANCHOR, curve)
