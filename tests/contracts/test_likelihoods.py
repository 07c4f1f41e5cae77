"""What every likelihood promises, and every distortion beside them, held to every member."""

from __future__ import annotations

import inspect
import math
from itertools import product

import pytest
import torch
from torch import Tensor

from vqkit import likelihoods
from vqkit.likelihoods import (
    L1,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Density,
    DiscretizedDensity,
    Gaussian,
    Laplace,
    LearnedScale,
    Likelihood,
    LogisticMixture,
    Mass,
    MultiscaleSSIM,
    Reconstruction,
    Scored,
)
from vqkit.signal import Signal

BITS = Signal(2, (3, 4), 0.0, 1.0, 2)
FEW = Signal(2, (3, 4), 0.0, 4.0, 5)
BYTES = Signal(3, (3, 4), 0.0, 255.0, 256)
SHORTS = Signal(1, (6,), -400.0, 399.0, 800)
VIDEO = Signal(1, (2, 3, 2), 0.0, 255.0, 256)
FLOATS = Signal(2, (3, 4), -2.0, 4.0, None)
SERIES = Signal(4, (5,), -1.0, 1.0, None)
PICTURES = Signal(3, (22, 24), 0.0, 255.0, 256)

CASES: dict[str, tuple[Reconstruction, Signal]] = {  # a new member is one more line for each kind of signal it takes
    "bernoulli": (Bernoulli(), BITS),
    "categorical, bytes": (Categorical(), BYTES),
    "categorical, few levels": (Categorical(), FEW),
    "categorical, negative levels": (Categorical(), SHORTS),
    "continuous bernoulli, bytes": (ContinuousBernoulli(), BYTES),
    "continuous bernoulli, floats": (ContinuousBernoulli(), FLOATS),
    "gaussian, bytes": (Gaussian(0.2), BYTES),
    "gaussian, floats": (Gaussian(0.1), FLOATS),
    "gaussian of a learned scale": (Gaussian(LearnedScale(4, 0.1)), SERIES),
    "laplace, bytes": (Laplace(0.1), BYTES),
    "laplace, floats": (Laplace(0.05), FLOATS),
    "laplace of a learned scale": (Laplace(LearnedScale(4, 0.05)), SERIES),
    "discretized continuous bernoulli": (DiscretizedDensity(ContinuousBernoulli()), FEW),
    "discretized gaussian, few levels": (DiscretizedDensity(Gaussian(0.5)), FEW),
    "discretized gaussian, negative levels": (DiscretizedDensity(Gaussian(0.01)), SHORTS),
    "discretized gaussian, video": (DiscretizedDensity(Gaussian(0.35)), VIDEO),
    "discretized gaussian of a learned scale": (DiscretizedDensity(Gaussian(LearnedScale(3))), BYTES),
    "discretized laplace, few levels": (DiscretizedDensity(Laplace(0.6)), FEW),
    "discretized laplace, bytes": (DiscretizedDensity(Laplace(0.1)), BYTES),
    "logistic mixture, two levels": (LogisticMixture(2), BITS),
    "logistic mixture, few levels": (LogisticMixture(3), FEW),
    "logistic mixture, bytes": (LogisticMixture(5), BYTES),
    "logistic mixture, negative levels": (LogisticMixture(2), SHORTS),
    "logistic mixture, video": (LogisticMixture(1), VIDEO),
    "scored, bytes": (Scored(Gaussian(), DiscretizedDensity(Laplace(LearnedScale()))), BYTES),
    "scored, floats": (Scored(L1(), Laplace(0.1)), FLOATS),
    "l1": (L1(3.0), FLOATS),
    "l1, video": (L1(), VIDEO),
    "multi-scale ssim": (MultiscaleSSIM(2), PICTURES),
}
SCORED = {name: case for name, case in CASES.items() if isinstance(case[0], Likelihood)}
MASSES = {name: case for name, case in CASES.items() if isinstance(case[0], Mass)}
DENSITIES = {name: case for name, case in CASES.items() if isinstance(case[0], Density)}
BATCH = 3

every = pytest.mark.parametrize(("member", "signal"), CASES.values(), ids=CASES)
scored = pytest.mark.parametrize(("member", "signal"), SCORED.values(), ids=SCORED)


def parameters(member: Reconstruction, signal: Signal, batch: int = BATCH) -> Tensor:
    drawn = torch.randn(batch, member.outputs(signal), *signal.grid, generator=torch.Generator().manual_seed(0))
    if isinstance(member, LogisticMixture):
        of_components = drawn.view(batch, member.components, -1, *signal.grid)
        log_scales = slice(1 + signal.channels, 1 + 2 * signal.channels)
        of_components[:, :, 1 : 1 + signal.channels] *= 0.4  # mostly within the range
        level = 2 / (signal.levels - 1)
        of_components[:, :, log_scales] = of_components[:, :, log_scales] * 0.3 + math.log(max(0.08, 0.7 * level))
        return drawn
    logits = isinstance(member, Categorical | Bernoulli | ContinuousBernoulli)
    return drawn if logits else 0.5 * drawn.tanh()


def data(signal: Signal, batch: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = signal.low + (signal.high - signal.low) * torch.rand(batch, signal.channels, *signal.grid, generator=generator)
    return signal.to_native(x)


def natural(member: Reconstruction, signal: Signal) -> Signal:
    """The signal, or floats like it where a density cannot score it."""
    return signal._replace(levels=None) if isinstance(member, Density) else signal


def test_every_member_is_held_to_the_contract() -> None:
    public = [cls for cls in vars(likelihoods).values() if isinstance(cls, type) and issubclass(cls, Reconstruction)]
    assert {cls for cls in public if not inspect.isabstract(cls)} == {type(member) for member, _ in CASES.values()}


@every
def test_everything_is_per_element(member: Reconstruction, signal: Signal) -> None:
    shape, given = (BATCH, signal.channels, *signal.grid), parameters(member, signal)
    assert member.loss(given, data(signal), signal).shape == shape
    assert member.reconstruct(given, signal).shape == shape
    if isinstance(member, Likelihood):
        assert member.sample(given, signal).shape == shape
        exact = natural(member, signal)
        assert member.nll(given, data(exact), exact).shape == shape


@every
def test_a_reconstruction_is_float_and_in_range(member: Reconstruction, signal: Signal) -> None:
    x_hat = member.reconstruct(100 * parameters(member, signal), signal)
    assert x_hat.dtype == torch.float32
    assert float(x_hat.detach().min()) >= signal.low - 1e-4 and float(x_hat.detach().max()) <= signal.high + 1e-3


@scored
def test_the_reconstruction_of_a_likelihood_is_its_mean(member: Likelihood, signal: Signal) -> None:
    given = parameters(member, signal)
    assert torch.equal(member.reconstruct(given, signal), member.mean(given, signal))


@scored
def test_a_sample_is_native(member: Likelihood, signal: Signal) -> None:
    x = member.sample(100 * parameters(member, signal), signal).detach()
    assert x.dtype == (torch.float32 if signal.levels is None else torch.uint8 if signal.low == 0 else torch.int32)
    assert float(x.min()) >= signal.low and float(x.max()) <= signal.high


@scored
def test_a_generator_repeats_a_sample(member: Likelihood, signal: Signal) -> None:
    given = parameters(member, signal)
    first, again, other = (member.sample(given, signal, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


@scored
def test_samples_average_to_the_mean(member: Likelihood, signal: Signal) -> None:
    given, n = parameters(member, signal, 1), 2000
    x = member.sample(given.expand(n, *given.shape[1:]), signal).double()
    error = (x.mean(0) - member.mean(given, signal)[0]) / x.std(0).clamp_min(0.1)
    assert float(error.detach().abs().max()) < 4.5 / math.sqrt(n) + 0.02  # the second for rounding and clamping


@scored
def test_the_loss_has_the_gradient_of_the_nll(member: Likelihood, signal: Signal) -> None:
    signal = natural(member, signal)
    x, gradients = data(signal), []
    for objective in (member.loss, member.nll):
        given = parameters(member, signal).requires_grad_()
        gradients.append(torch.autograd.grad(objective(given, x, signal).sum(), [given, *member.parameters()]))
    torch.testing.assert_close(*gradients)
    assert all(bool((gradient != 0).any()) for gradient in gradients[0])


@every
def test_half_precision_is_computed_with_in_float32(member: Reconstruction, signal: Signal) -> None:
    given, x = parameters(member, signal).bfloat16(), data(signal)
    exact = member.loss(given.float(), x, signal)
    assert torch.equal(member.loss(given, x, signal), exact)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(member.loss(given, x, signal), exact)
    assert torch.equal(member.reconstruct(given, signal), member.reconstruct(given.float(), signal))


@every
@pytest.mark.parametrize("size", [-100.0, 100.0, 30.0])
def test_extreme_parameters_have_a_finite_loss_and_gradient(
    member: Reconstruction, signal: Signal, size: float
) -> None:
    pattern = torch.randn(1, member.outputs(signal), *signal.grid).sign() if size == 30 else 1
    for value in (signal.low, (signal.low + signal.high) // 2, signal.high):
        x = torch.full((1, signal.channels, *signal.grid), value)
        x = x if signal.levels is None else x.int()
        given = (torch.ones(1, member.outputs(signal), *signal.grid) * pattern * size).requires_grad_()
        loss = member.loss(given, x, signal)
        loss.sum().backward()
        assert bool(loss.isfinite().all()) and bool(given.grad.isfinite().all())
        assert bool(member.reconstruct(given, signal).isfinite().all())


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize(("member", "signal"), MASSES.values(), ids=MASSES)
def test_probabilities_sum_to_one_over_the_levels_of_each_channel_given_those_before(
    member: Mass, signal: Signal
) -> None:
    given, x = parameters(member, signal, 1), data(signal, 1).int()
    for channel in range(signal.channels):
        total = torch.zeros(1, *signal.grid, dtype=torch.float64)
        for level in range(int(signal.low), int(signal.high) + 1):
            x[:, channel] = level
            total += member.nll(given, x, signal)[:, channel].detach().double().neg().exp()
        torch.testing.assert_close(total, torch.ones_like(total), atol=5e-6, rtol=0)
        x[:, channel] = data(signal, 1)[:, channel]


@pytest.mark.parametrize(("member", "signal"), DENSITIES.values(), ids=DENSITIES)
def test_densities_integrate_to_one_over_native_values(member: Density, signal: Signal) -> None:
    signal = Signal(signal.channels, (1,), signal.low, signal.high, None)
    given, span = parameters(member, signal, 1), signal.high - signal.low
    beyond = 0.0 if isinstance(member, ContinuousBernoulli) else span
    x = torch.linspace(signal.low - beyond, signal.high + beyond, 20_001, dtype=torch.float64)
    columns = x.float().view(-1, 1, 1).expand(-1, signal.channels, 1)
    density = member.nll(given, columns, signal).detach().double().neg().exp().squeeze(-1)
    total = torch.trapezoid(density, x, dim=0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)
    mean = torch.trapezoid(density * x[:, None], x, dim=0)
    torch.testing.assert_close(mean, member.mean(given, signal)[0, :, 0].double(), atol=1e-3 * span, rtol=0)


@pytest.mark.parametrize(
    "member",
    [
        Categorical(),
        LogisticMixture(3),
        *(DiscretizedDensity(density) for density in (Gaussian(0.5), Laplace(0.6), ContinuousBernoulli())),
    ],
    ids=lambda member: type(getattr(member, "density", member)).__name__,
)
def test_samples_of_a_whole_position_are_as_frequent_as_their_nll_says(member: Mass) -> None:
    signal, n = Signal(2, (1,), 0.0, 4.0, 5), 20_000
    given = parameters(member, signal, 1)
    pairs = torch.tensor(list(product(range(5), range(5)))).view(25, 2, 1)
    expected = n * member.nll(given.expand(25, -1, -1), pairs, signal).double().sum((1, 2)).neg().exp()
    assert float(expected.sum()) == pytest.approx(n, rel=1e-5)
    x = member.sample(given.expand(n, -1, -1), signal, torch.Generator().manual_seed(0)).long()
    observed = (5 * x[:, 0, 0] + x[:, 1, 0]).bincount(minlength=25)
    assert float(((observed - expected).square() / expected).sum()) < 60  # 24 degrees of freedom: 1 in 20,000 is above


def test_bernoulli_samples_are_as_frequent_as_their_nll_says() -> None:
    signal, n, given = Signal(1, (4,), 0.0, 1.0, 2), 20_000, torch.tensor([[[-3.0, -0.5, 0.0, 2.0]]])
    p = Bernoulli().nll(given, torch.ones(1, 1, 4, dtype=torch.uint8), signal).neg().exp()
    torch.testing.assert_close(p, given.sigmoid())
    x = Bernoulli().sample(given.expand(n, -1, -1), signal, torch.Generator().manual_seed(0)).float()
    assert bool(((x.mean(0) - p[0]).abs() < 4 * (p * (1 - p) / n).sqrt()[0]).all())


@pytest.mark.parametrize(
    "member", [Gaussian(0.3), Laplace(0.2), ContinuousBernoulli()], ids=lambda member: type(member).__name__
)
@pytest.mark.parametrize("location", [-4.0, -0.4, 0.0, 0.3, 30.0])
def test_samples_of_a_density_are_as_frequent_as_its_nll_says(member: Density, location: float) -> None:
    signal, n = Signal(1, (1,), -2.0, 4.0, None), 20_000
    given = torch.full((1, 1, 1), location)
    samples = member.sample(given.expand(n, 1, 1), signal, torch.Generator().manual_seed(0)).flatten()
    lowest = -2.0 if isinstance(member, ContinuousBernoulli) else -30.0
    x = torch.linspace(lowest, 4, 200_001, dtype=torch.float64)
    density = member.nll(given, x.float().view(-1, 1, 1), signal).double().neg().exp().flatten()
    below = torch.cumulative_trapezoid(density, x)[::1000]
    inside = x[1::1000] >= -2  # a sample is clamped to the range
    share = (samples[:, None] <= x[1::1000]).double().mean(0)
    assert float((share - below)[inside].abs().max()) < 1.95 / math.sqrt(n) + 1e-3  # Kolmogorov-Smirnov: 1 in 1,000


@pytest.mark.parametrize("member", [Gaussian(0.3), Laplace(0.2), ContinuousBernoulli()])
def test_an_interval_has_the_integral_of_the_density(member: Density) -> None:
    signal, given = Signal(1, (1,), -1.0, 1.0, None), torch.full((1, 1, 1), 0.4)
    x = torch.linspace(-0.3, 0.9, 10_001, dtype=torch.float64)
    density = member.nll(given, x.float().view(-1, 1, 1), signal).double().neg().exp().flatten()
    lower, upper = torch.tensor(-0.3).view(1, 1, 1), torch.tensor(0.9).view(1, 1, 1)
    found = float(member.log_interval(given, lower, upper).exp())
    assert found == pytest.approx(float(torch.trapezoid(density, x)), abs=1e-5)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("member", [Gaussian(), Laplace(), ContinuousBernoulli()])
def test_a_density_refuses_to_score_levels(member: Density) -> None:
    with pytest.raises(ValueError, match=r"256 levels; use likelihoods\.DiscretizedDensity of a"):
        member.nll(torch.zeros(1, 3, 3, 4), data(BYTES, 1), BYTES)


@pytest.mark.parametrize("member", [Categorical(), LogisticMixture(), DiscretizedDensity(Gaussian())])
def test_a_mass_refuses_floats(member: Mass) -> None:
    with pytest.raises(ValueError, match=r"integer levels; use likelihoods\.Gaussian"):
        member.outputs(FLOATS)
    given = torch.zeros(1, member.outputs(BYTES), 3, 4)
    with pytest.raises(ValueError, match="cannot score floats; give it the native integers"):
        member.nll(given, data(BYTES, 1).float(), BYTES)


@pytest.mark.parametrize(("member", "signal"), MASSES.values(), ids=MASSES)
def test_a_mass_refuses_to_score_integers_that_are_no_levels(member: Mass, signal: Signal) -> None:
    given, x = parameters(member, signal), data(signal).int()
    for beyond in (int(signal.low) - 1, int(signal.high) + 1):
        x[0, 0].view(-1)[0] = beyond
        with pytest.raises(ValueError, match=rf"{beyond}.* levels from {int(signal.low)} on; give it"):
            member.nll(given, x, signal)


@pytest.mark.parametrize("value", [-3.0, 7.0])
def test_a_continuous_bernoulli_refuses_what_is_beyond_its_interval(value: float) -> None:
    x = data(FLOATS, 1)
    x[0, 0].view(-1)[0] = value * FLOATS.high
    with pytest.raises(ValueError, match="has a density from"):
        ContinuousBernoulli().nll(torch.zeros_like(x), x, FLOATS)


def test_a_bernoulli_refuses_greys() -> None:
    for refused in (
        lambda: Bernoulli().outputs(BYTES),
        lambda: Bernoulli().loss(torch.zeros(1, 3, 3, 4), data(BYTES, 1), BYTES),
    ):
        with pytest.raises(ValueError, match=r"two levels, and this has 256; use likelihoods\.ContinuousBernoulli"):
            refused()
    with pytest.raises(ValueError, match="cannot score floats"):
        Bernoulli().nll(torch.zeros(1, 2, 3, 4), torch.rand(1, 2, 3, 4), BITS)


@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf])
def test_a_number_that_cannot_be_is_refused_by_name(number: float) -> None:
    for make, name in (
        (Gaussian, "scale"),
        (Laplace, "scale"),
        (lambda number: LearnedScale(3, number), "initial"),
        (L1, "weight"),
        (lambda number: MultiscaleSSIM(2, number), "weight"),
    ):
        with pytest.raises(ValueError, match=f"^{name} is {number}; "):
            make(number)
    for make, name in ((LogisticMixture, "components"), (LearnedScale, "channels"), (MultiscaleSSIM, "scales")):
        with pytest.raises(ValueError, match=f"^{name} is 0; "):
            make(0)
