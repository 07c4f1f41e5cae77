"""Gaussian, Laplace and their learned scale, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vqkit import recipe
from vqkit.likelihoods import L1, DiscretizedDensity, Gaussian, Laplace, LearnedScale, Scored
from vqkit.signal import Signal

BYTES = Signal(2, (1, 3), 0.0, 255.0, 256)
X = torch.tensor([[[[0, 255, 51]], [[102, 153, 204]]]], dtype=torch.uint8)
ERRORS = torch.tensor([[[[1.0, 1.0, 0.6]], [[0.2, 0.2, 0.6]]]])  # of a location of 0, in the normalised range
SERIES = Signal(2, (4,), -2.0, 4.0, None)


def test_the_gaussian_loss_is_the_scaled_squared_error_of_normalised_values() -> None:
    torch.testing.assert_close(Gaussian(0.5).loss(torch.zeros(1, 2, 1, 3), X, BYTES), ERRORS.square() / (2 * 0.5**2))


def test_the_laplace_loss_is_the_scaled_absolute_error_of_normalised_values() -> None:
    torch.testing.assert_close(Laplace(0.5).loss(torch.zeros(1, 2, 1, 3), X, BYTES), ERRORS / 0.5)


def test_a_density_is_in_native_units() -> None:
    x, location = torch.full((1, 2, 4), 2.5), torch.zeros(1, 2, 4)  # 1.5 from the middle, of half a range of 3
    gaussian = torch.distributions.Normal(1.0, 0.2 * 3).log_prob(x)
    torch.testing.assert_close(Gaussian(0.2).nll(location, x, SERIES), -gaussian)
    laplace = torch.distributions.Laplace(1.0, 0.2 * 3).log_prob(x)
    torch.testing.assert_close(Laplace(0.2).nll(location, x, SERIES), -laplace)


@pytest.mark.parametrize("family", [Gaussian, Laplace])
def test_a_learned_scale_is_the_fixed_one_where_it_starts(family: type[Gaussian | Laplace]) -> None:
    x, location = torch.randn(3, 2, 4).clamp(-2, 4), torch.randn(3, 2, 4, requires_grad=True)
    fixed, learned = family(0.3), family(LearnedScale(2, 0.3))
    torch.testing.assert_close(learned.nll(location, x, SERIES), fixed.nll(location, x, SERIES))
    gradients = [
        torch.autograd.grad(likelihood.loss(location, x, SERIES).sum(), location) for likelihood in (fixed, learned)
    ]
    torch.testing.assert_close(*gradients)
    words = [DiscretizedDensity(likelihood).nll(torch.zeros(1, 2, 1, 3), X, BYTES) for likelihood in (fixed, learned)]
    torch.testing.assert_close(*words)


def test_a_learned_scale_of_other_channels_is_refused() -> None:
    for call in (
        lambda: Gaussian(LearnedScale(3)).loss(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), SERIES._replace(channels=1)),
        lambda: DiscretizedDensity(Gaussian(LearnedScale(3))).sample(torch.zeros(1, 2, 1, 3), BYTES),
        lambda: Scored(L1(), Gaussian(LearnedScale(3))).outputs(SERIES._replace(channels=2)),  # before any training
    ):
        with pytest.raises(ValueError, match=r"this LearnedScale has 3 channels and the data [12]; give it as many"):
            call()


def test_no_collapse_of_a_learned_scale_is_final() -> None:
    scale = LearnedScale(1)
    torch.nn.init.constant_(scale.log_scale, -12.0)
    assert float(scale(1).detach()) == pytest.approx(1e-3, rel=0.01)
    likelihood, signal = Gaussian(scale), SERIES._replace(channels=1)
    likelihood.loss(torch.zeros(1, 1, 4), torch.full((1, 1, 4), 3.0), signal).sum().backward()
    assert float(scale.log_scale.grad) < -1


def test_a_recipe_names_them() -> None:
    def likelihood(*options: str) -> object:
        made = recipe.parser()
        parsed = recipe.parse(made, [*recipe.arguments("digits"), "--data=digits", *options])
        return recipe.instantiate(made, parsed).tokenizer.likelihood

    fixed = likelihood("--tokenizer.likelihood=Laplace", "--tokenizer.likelihood.scale=0.2")
    assert isinstance(fixed, Laplace) and fixed.scale == 0.2
    learned = likelihood(
        "--tokenizer.likelihood=Gaussian",
        "--tokenizer.likelihood.scale=LearnedScale",
        "--tokenizer.likelihood.scale.channels=1",
    )
    assert isinstance(learned, Gaussian) and isinstance(learned.scale, LearnedScale) and learned.scale.channels == 1
    discretized = likelihood(
        "--tokenizer.likelihood=DiscretizedDensity",
        "--tokenizer.likelihood.density=Gaussian",
        "--tokenizer.likelihood.density.scale=0.1",
    )
    assert isinstance(discretized, DiscretizedDensity) and discretized.density.scale == 0.1
    assert isinstance(likelihood("--tokenizer.likelihood=L1"), L1)


def test_scales_that_weigh_nothing_are_refused() -> None:
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="a Gaussian's scale must be finite and above 0"):
            Gaussian(scale)
