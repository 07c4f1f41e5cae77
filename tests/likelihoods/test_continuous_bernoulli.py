"""The continuous Bernoulli against float64 quadrature, near one half and far out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.likelihoods import ContinuousBernoulli
from vqkit.likelihoods.continuous_bernoulli import log_z
from vqkit.signal import Signal

UNIT = Signal(1, (1,), 0.0, 1.0, None)
ETA = [0.0, 1e-12, -1e-4, 0.01, 0.3, 0.999, -1.0, 1.001, 2.5, -7.0, 30.0, -100.0]


def quadrature(eta: float) -> tuple[float, float]:
    """log Z and the mean."""
    nodes = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    weights = (eta * nodes).softmax(0)
    return float((eta * nodes).logsumexp(0)) - math.log(200_000), float((weights * nodes).sum())


@pytest.mark.parametrize("eta", ETA)
def test_the_normaliser_and_its_gradient_are_those_of_quadrature(eta: float) -> None:
    wanted, mean = quadrature(eta)
    given = torch.tensor(eta, requires_grad=True)
    found = log_z(given)
    found.backward()
    assert float(found.detach()) == pytest.approx(wanted, abs=2e-6, rel=1e-6)
    assert float(given.grad) == pytest.approx(mean, abs=1e-6)
    parameters = torch.full((1, 1, 1), eta)
    assert float(ContinuousBernoulli().mean(parameters, UNIT)) == pytest.approx(mean, abs=1e-6)


def test_the_second_derivative_is_the_variance() -> None:
    eta = torch.tensor([0.0, 0.5, 0.99, 1.01, 3.0], requires_grad=True)
    (first,) = torch.autograd.grad(log_z(eta).sum(), eta, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), eta)
    nodes = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    weights = (eta.detach().double()[:, None] * nodes).softmax(1)
    variance = (weights * nodes.square()).sum(1) - (weights * nodes).sum(1).square()
    torch.testing.assert_close(second.double(), variance, atol=1e-5, rtol=0)


def test_it_is_the_cross_entropy_and_the_normaliser_of_the_paper() -> None:
    eta, x = torch.tensor([-3.0, 0.4, 2.0]).view(3, 1, 1), torch.tensor([0.1, 0.9, 0.5]).view(3, 1, 1)

    def log_c(eta: Tensor) -> Tensor:  # of equation (1)'s density: 2 atanh(1 - 2 lambda) / (1 - 2 lambda)
        off = 1 - 2 * eta.sigmoid()
        return (2 * off.atanh() / off).log()

    wanted = F.binary_cross_entropy_with_logits(eta, x, reduction="none") - log_c(eta)
    torch.testing.assert_close(ContinuousBernoulli().nll(eta, x, UNIT), wanted)


def test_it_trains_on_greys_of_any_native_range() -> None:
    signal, eta = Signal(1, (1,), -2.0, 4.0, None), torch.tensor([0.7]).view(1, 1, 1)
    x = torch.tensor([2.5]).view(1, 1, 1)
    unit = ContinuousBernoulli().nll(eta, (x + 2) / 6, UNIT)
    torch.testing.assert_close(ContinuousBernoulli().nll(eta, x, signal), unit + math.log(6))
    greys = Signal(1, (1,), 0.0, 255.0, 256)
    loss = ContinuousBernoulli().loss(eta, torch.tensor([191], dtype=torch.uint8).view(1, 1, 1), greys)
    torch.testing.assert_close(loss, ContinuousBernoulli().loss(eta, torch.tensor([191 / 255]).view(1, 1, 1), UNIT))


@pytest.mark.parametrize("eta", [-1e4, -100.0, 0.0, 1e-6, 100.0, 1e4])
def test_draws_stay_in_the_range(eta: float) -> None:
    x = ContinuousBernoulli().sample(torch.full((2000, 1, 1), eta), UNIT)
    assert bool(((x >= 0) & (x <= 1)).all())
    mean = 0.5 if abs(eta) < 1 else (1 - 1 / eta if eta > 0 else -1 / eta)
    assert float(x.mean()) == pytest.approx(mean, abs=4.5 * float(x.std()) / math.sqrt(2000))
