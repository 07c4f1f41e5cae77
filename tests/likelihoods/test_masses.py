"""Probabilities of levels: the categorical, and the discretized density, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.likelihoods import Bernoulli, Categorical, DiscretizedDensity, Gaussian, Laplace, LogisticMixture, Mass
from vqkit.signal import Signal

FEW = Signal(2, (3, 4), 0.0, 4.0, 5)
BYTES = Signal(1, (1,), 0.0, 255.0, 256)


def every_level(member: Mass, given: Tensor, signal: Signal) -> Tensor:
    """Probabilities [levels, N] of one-channel parameters [N, outputs, 1]."""
    x = torch.arange(int(signal.low), int(signal.high) + 1).view(-1, 1, 1, 1)
    return torch.stack([member.nll(given, level.expand(len(given), 1, 1), signal).neg().exp() for level in x]).flatten(
        1
    )


def test_the_categorical_reads_channel_by_channel() -> None:
    given = torch.zeros(1, 10, 3, 4)
    given[:, 3] = given[:, 5 + 4] = 50.0  # level 3 of the first channel, 4 of the second
    x = Categorical().sample(given, FEW)
    assert bool((x[:, 0] == 3).all()) and bool((x[:, 1] == 4).all())
    torch.testing.assert_close(Categorical().mean(given, FEW), x.float())
    torch.testing.assert_close(Categorical().nll(given, x, FEW), torch.zeros(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("low", "dtype"), [(0.0, torch.uint8), (-2.0, torch.int32), (251.0, torch.uint8), (252.0, torch.int32)]
)
def test_the_levels_of_the_categorical_start_where_the_signal_does(low: float, dtype: torch.dtype) -> None:
    signal = Signal(1, (5,), low, low + 4, 5)
    x = Categorical().sample((50.0 * torch.eye(5)).view(1, 5, 5), signal)
    assert x.dtype == dtype and x.flatten().tolist() == [low + level for level in range(5)]


def test_uniform_logits_cost_the_log_of_the_levels() -> None:
    x = torch.arange(256).view(-1, 1, 1)
    nll = Categorical().nll(torch.zeros(256, 256, 1), x, BYTES)
    torch.testing.assert_close(nll, torch.full_like(nll, math.log(256)))


def test_the_bernoulli_is_its_logit() -> None:
    signal, given = Signal(1, (2,), 3.0, 4.0, 2), torch.tensor([[[0.7, -2.0]]])
    x = torch.tensor([[[3, 4]]])
    torch.testing.assert_close(Bernoulli().nll(given, x, signal), torch.tensor([[[1.1032, 2.1269]]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(Bernoulli().mean(given, signal), 3 + given.sigmoid())
    assert set(Bernoulli().sample(given.expand(50, 1, 2), signal).flatten().tolist()) == {3, 4}


def test_a_discretized_gaussian_is_the_integral_over_each_bin_and_the_ends_take_the_tails() -> None:
    location, scale = 0.31, 0.2
    found = every_level(DiscretizedDensity(Gaussian(scale)), torch.full((1, 1, 1), location), BYTES)[:, 0].double()
    normal = torch.distributions.Normal(torch.tensor(location, dtype=torch.float64), scale)
    inner = normal.cdf((torch.arange(255, dtype=torch.float64) + 0.5) / 127.5 - 1)
    below = torch.cat([torch.zeros(1), inner, torch.ones(1)])
    torch.testing.assert_close(found, below.diff(), atol=1e-7, rtol=1e-4)


def test_sixteen_bits_sum_to_one() -> None:
    signal = Signal(1, (1,), -32_768.0, 32_767.0, 65_536)
    x = torch.arange(-32_768, 32_768).view(-1, 1, 1)
    for member in (DiscretizedDensity(Gaussian(0.35)), DiscretizedDensity(Laplace(0.05)), LogisticMixture(2)):
        given = torch.full((1, member.outputs(signal), 1), 0.3).expand(len(x), -1, 1)
        assert float(member.nll(given, x, signal).double().neg().exp().sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("levels", [5, 256])
@pytest.mark.parametrize("family", [Gaussian, Laplace])
def test_rounding_moves_the_mean_by_as_little_as_it_says(levels: int, family: type[Gaussian | Laplace]) -> None:
    signal = Signal(1, (1,), 0.0, levels - 1.0, levels)
    location = torch.linspace(-1.3, 1.3, 501).view(-1, 1, 1)
    for in_levels, bound in ((0.05, 0.5), (1.0, 1 / 40), (4.0, 1 / 100)):
        member = DiscretizedDensity(family(in_levels * 2 / (levels - 1)))
        probabilities = every_level(member, location, signal).double()
        exact = (probabilities * torch.arange(levels)[:, None]).sum(0)
        assert float((member.mean(location, signal).flatten() - exact).abs().max()) < bound


def test_where_the_scale_is_wide_the_gradient_is_that_of_the_density() -> None:
    location = torch.linspace(-0.8, 0.8, 256).view(-1, 1, 1).requires_grad_()
    x = torch.arange(256).flip(0).view(-1, 1, 1)
    gradients = [
        torch.autograd.grad(member.loss(location, x, BYTES)[20:-20].sum(), location)[0]
        for member in (Gaussian(0.1), DiscretizedDensity(Gaussian(0.1)))
    ]
    torch.testing.assert_close(*gradients, atol=0.05, rtol=2e-3)  # they are up to 180
