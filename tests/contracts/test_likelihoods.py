"""What every likelihood promises, held to every member."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.likelihoods import Categorical, Gaussian, Likelihood
from vqkit.signal import Signal

BYTES = Signal(2, (3, 4), 0.0, 255.0, 256)
FEW = Signal(2, (3, 4), 0.0, 4.0, 5)
SHORTS = Signal(1, (6,), -400.0, 399.0, 800)
FLOATS = Signal(2, (3, 4), -2.0, 4.0, None)
CASES = {  # a new likelihood is one more line for each kind of signal that it takes
    "gaussian, bytes": (Gaussian(0.2), BYTES),
    "gaussian, floats": (Gaussian(0.1), FLOATS),
    "categorical, bytes": (Categorical(), BYTES),
    "categorical, few levels": (Categorical(), FEW),
    "categorical, negative levels": (Categorical(), SHORTS),
}
BATCH = 3


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Likelihood, Signal]:
    return CASES[request.param]


def parameters(likelihood: Likelihood, signal: Signal, batch: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(batch, likelihood.outputs(signal), *signal.grid, generator=generator)
    return drawn if isinstance(likelihood, Categorical) else 0.5 * drawn.tanh()


def data(signal: Signal, batch: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = signal.low + (signal.high - signal.low) * torch.rand(batch, signal.channels, *signal.grid, generator=generator)
    return signal.to_native(x)


def test_everything_is_per_element(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    shape, given = (BATCH, signal.channels, *signal.grid), parameters(*case)
    assert likelihood.loss(given, data(signal), signal).shape == shape
    assert likelihood.mean(given, signal).shape == likelihood.sample(given, signal).shape == shape


def test_mean_is_float_and_in_range(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    mean = likelihood.mean(100 * parameters(*case), signal)
    assert mean.dtype == torch.float32
    assert float(mean.min()) >= signal.low - 1e-4 and float(mean.max()) <= signal.high + 1e-3


def test_a_sample_is_native(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    x = likelihood.sample(100 * parameters(*case), signal)
    wanted = {None: torch.float32, 5: torch.uint8, 256: torch.uint8, 800: torch.int32}[signal.levels]
    assert x.dtype == wanted
    assert float(x.min()) >= signal.low and float(x.max()) <= signal.high


def test_a_generator_repeats_a_sample(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    given = parameters(*case)
    first, again, other = (likelihood.sample(given, signal, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_samples_average_to_the_mean(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    given, n = parameters(likelihood, signal, 1), 2000
    x = likelihood.sample(given.expand(n, *given.shape[1:]), signal).double()
    error = (x.mean(0) - likelihood.mean(given, signal)[0]) / x.std(0).clamp_min(0.1)
    assert float(error.abs().max()) < 4.5 / math.sqrt(n) + 0.02  # the second for rounding and clamping


def test_the_loss_has_the_gradient_of_the_nll(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    if isinstance(likelihood, Gaussian) and signal.levels is not None:
        signal = signal._replace(levels=None)  # it is a density
    x, gradients = data(signal), []
    for objective in (likelihood.loss, likelihood.nll):
        given = parameters(likelihood, signal).requires_grad_()
        objective(given, x, signal).sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients)
    assert bool((gradients[0] != 0).any())


def test_half_precision_is_scored_in_float32(case: tuple[Likelihood, Signal]) -> None:
    likelihood, signal = case
    given, x = parameters(*case).bfloat16(), data(signal)
    assert torch.equal(likelihood.loss(given, x, signal), likelihood.loss(given.float(), x, signal))
    assert torch.equal(likelihood.mean(given, signal), likelihood.mean(given.float(), signal))


@pytest.mark.parametrize("signal", [BYTES, FEW, SHORTS])
def test_the_categorical_sums_to_one_over_the_levels(signal: Signal) -> None:
    likelihood, total = Categorical(), 0.0
    given = 3 * parameters(likelihood, signal, 1)
    for level in range(int(signal.low), int(signal.high) + 1):
        x = torch.full((1, signal.channels, *signal.grid), level, dtype=torch.int32)
        total = total + likelihood.nll(given, x, signal).neg().exp()
    torch.testing.assert_close(total, torch.ones_like(total))


def test_the_categorical_reads_channel_by_channel() -> None:
    given = torch.zeros(1, 10, 3, 4)
    given[:, 3] = given[:, 5 + 4] = 50.0  # level 3 of the first channel, 4 of the second
    x = Categorical().sample(given, FEW)
    assert bool((x[:, 0] == 3).all()) and bool((x[:, 1] == 4).all())
    torch.testing.assert_close(Categorical().mean(given, FEW), x.float())
    torch.testing.assert_close(Categorical().nll(given, x, FEW), torch.zeros(1, 2, 3, 4))


def test_uniform_logits_cost_the_log_of_the_levels() -> None:
    nll = Categorical().nll(torch.zeros(1, 512, 3, 4), data(BYTES, 1), BYTES)
    torch.testing.assert_close(nll, torch.full_like(nll, math.log(256)))


def test_the_gaussian_density_integrates_to_one_over_native_values() -> None:
    likelihood, signal = Gaussian(0.1), Signal(1, (1,), -2.0, 4.0, None)
    x = torch.linspace(-6, 8, 14_001).view(-1, 1, 1)
    density = likelihood.nll(torch.full((1, 1, 1), 0.3), x, signal).neg().exp().flatten()
    assert float(torch.trapezoid(density, x.flatten())) == pytest.approx(1, abs=1e-4)
    mean = float(torch.trapezoid(density * x.flatten(), x.flatten()))
    assert mean == pytest.approx(float(likelihood.mean(torch.full((1, 1, 1), 0.3), signal)), abs=1e-3)


def test_the_gaussian_loss_is_the_scaled_squared_error_of_normalised_values() -> None:
    x = torch.tensor([[[[0, 255, 51]], [[102, 153, 204]]]], dtype=torch.uint8)
    signal, given = Signal(2, (1, 3), 0.0, 255.0, 256), torch.zeros(1, 2, 1, 3)
    wanted = torch.tensor([[[[1.0, 1.0, 0.36]], [[0.04, 0.04, 0.36]]]]) / (2 * 0.5**2)
    torch.testing.assert_close(Gaussian(0.5).loss(given, x, signal), wanted)


def test_what_cannot_be_scored_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"256 levels; use likelihoods\.Categorical"):
        Gaussian().nll(torch.zeros(1, 2, 3, 4), data(BYTES, 1), BYTES)
    with pytest.raises(ValueError, match=r"integer levels; use likelihoods\.Gaussian"):
        Categorical().outputs(FLOATS)
    with pytest.raises(ValueError, match="cannot score floats; give it the native integers"):
        Categorical().nll(torch.zeros(1, 512, 3, 4), data(BYTES, 1).float(), BYTES)
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="scale is"):
            Gaussian(scale)
