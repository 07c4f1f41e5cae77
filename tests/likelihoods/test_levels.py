"""Bins of native levels, and their probabilities against float64 and far out in the tails."""

from __future__ import annotations

import pytest
import torch
from scipy import special, stats
from torch import Tensor

from vqkit.likelihoods.levels import (
    censored_mean,
    edges,
    log_laplace_interval,
    log_logistic_interval,
    log_normal_interval,
)

FAMILIES = {
    "normal": (log_normal_interval, stats.norm),
    "laplace": (log_laplace_interval, stats.laplace),
    "logistic": (log_logistic_interval, stats.logistic),
}


@pytest.mark.parametrize("levels", [2, 5, 256, 65_536])
def test_bins_are_half_a_level_to_each_side_and_share_their_edges(levels: int) -> None:
    lower, upper = edges(torch.arange(levels), levels)
    assert torch.equal(upper[:-1], lower[1:])
    middle = torch.arange(levels, dtype=torch.float64) * 2 / (levels - 1) - 1
    torch.testing.assert_close(upper[:-1].double(), middle[:-1] + 1 / (levels - 1), atol=1e-7, rtol=0)
    assert float(lower[0]) < -1e5 and float(upper[-1]) > 1e5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [0.003, 0.02, 0.5, 3.0, 40.0])
def test_a_bin_has_the_difference_of_the_distribution_function(family: str, width: float) -> None:
    log_interval, reference = FAMILIES[family]
    lower = torch.linspace(-12, 12, 401) - width / 2
    exact = lower.double()
    # of the mirror image where the bin is to the right, as 1 - 1e-30 is 1
    exact = torch.where(2 * exact + width > 0, -exact - width, exact)
    wanted = torch.from_numpy(reference.cdf(exact + width) - reference.cdf(exact)).log()
    found = log_interval(lower, lower + width, torch.full_like(lower, width))
    torch.testing.assert_close(found.double(), wanted, atol=1e-6 / width + 1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [0.02, 0.5, 3.0])
def test_the_gradient_is_that_of_the_probability(family: str, width: float) -> None:
    log_interval, reference = FAMILIES[family]
    shift = torch.linspace(-8, 8, 201, requires_grad=True)
    lower, upper = shift - width / 2, shift + width / 2
    (found,) = torch.autograd.grad(log_interval(lower, upper, torch.full_like(shift, width)).sum(), shift)
    left = -shift.detach().double().abs()
    density = reference.pdf(left + width / 2) - reference.pdf(left - width / 2)
    probability = reference.cdf(left + width / 2) - reference.cdf(left - width / 2)
    wanted = torch.from_numpy(density / probability) * -shift.detach().sign()
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("distance", [1e2, 1e4, 1e6, 1e9])
@pytest.mark.parametrize("width", [1e-5, 0.02, 5.0, None])
def test_far_out_the_logarithm_and_its_gradients_are_finite(side: int, distance: float, width: float | None) -> None:
    near = torch.tensor(side * distance, requires_grad=True)
    scale = torch.tensor(1.0, requires_grad=True)
    size = torch.tensor(3e9 if width is None else width) / scale  # None: the bin at an end
    lower, upper = (near, near + size) if side > 0 else (near - size, near)
    wanted = {"normal": -(distance**2) / 2, "laplace": -distance, "logistic": -distance}
    for family, (log_interval, _) in FAMILIES.items():
        found = log_interval(lower / scale, upper / scale, size)
        assert float(found.detach()) == pytest.approx(wanted[family], rel=1e-3, abs=35)
        for gradient in torch.autograd.grad(found, [near, scale], retain_graph=True):
            assert bool(gradient.isfinite())


def test_the_normal_far_out_is_the_one_of_its_near_edge() -> None:
    distance = torch.tensor([10.0, 50.0, 300.0])
    found = log_normal_interval(distance, distance + 9, torch.full_like(distance, 9))
    torch.testing.assert_close(found.double(), torch.from_numpy(special.log_ndtr(-distance.double().numpy())))


def test_the_censored_mean_is_that_of_clamped_draws() -> None:
    def excess(t: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-t)  # the logistic's

    location, scale = torch.tensor([-3.0, -1.0, 0.0, 0.4, 100.0]), torch.tensor([0.5, 1e-3, 2.0, 0.3, 0.1])
    middles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    draws = location[:, None] + scale[:, None] * middles.logit()
    wanted = draws.clamp(-1, 1).mean(1)
    torch.testing.assert_close(censored_mean(excess, location, scale).double(), wanted, atol=1e-4, rtol=0)
