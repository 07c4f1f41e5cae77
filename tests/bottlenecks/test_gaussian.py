"""The Gaussian bottleneck against torch's own distributions."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vqkit.autoencoders import ProjectedLevel
from vqkit.bottlenecks import GaussianBottleneck


def posterior(z_e: torch.Tensor) -> Normal:
    mean, log_variance = z_e.chunk(2, 1)
    return Normal(mean, (log_variance / 2).exp())


def test_kl_is_the_analytic_one_in_nats_a_sample() -> None:
    z_e = torch.randn(3, 8, 4, 5)
    wanted = kl_divergence(posterior(z_e), Normal(0, 1))
    latent = GaussianBottleneck(4)(z_e)
    torch.testing.assert_close(latent.kl, wanted.flatten(1).sum(1))
    torch.testing.assert_close(latent.loss, wanted.mean())
    mask = torch.rand(3, 4, 5) > 0.5
    masked = GaussianBottleneck(4)(z_e, mask)
    torch.testing.assert_close(masked.kl, (wanted * mask[:, None]).flatten(1).sum(1))
    torch.testing.assert_close(masked.loss, wanted.transpose(0, 1)[:, mask].mean())


def test_the_prior_itself_costs_nothing() -> None:
    latent = GaussianBottleneck(4)(torch.zeros(2, 8, 3))
    assert latent.kl.tolist() == [0, 0] and float(latent.loss) == 0 and float(latent.stats["active"]) == 0


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_beta_is_applied_once(beta: float) -> None:
    z_e = torch.randn(3, 8, 5, requires_grad=True)
    (wanted,) = torch.autograd.grad(kl_divergence(posterior(z_e), Normal(0, 1)).mean(), z_e)
    latent = GaussianBottleneck(4, beta)(z_e)
    (gradient,) = torch.autograd.grad(latent.loss, z_e)
    torch.testing.assert_close(gradient, beta * wanted)
    torch.testing.assert_close(latent.kl, GaussianBottleneck(4)(z_e).kl)  # beta weighs the loss alone


def test_the_weight_of_the_kl_grows_with_the_updates_and_its_gradient_with_it() -> None:
    z_e = torch.randn(3, 8, 5, requires_grad=True)
    (wanted,) = torch.autograd.grad(kl_divergence(posterior(z_e), Normal(0, 1)).mean(), z_e)
    bottleneck = GaussianBottleneck(4, beta=3.0, warmup_updates=4)
    for weight in (0.0, 0.75, 1.5, 2.25, 3.0, 3.0):
        latent = bottleneck(z_e)
        (gradient,) = torch.autograd.grad(latent.loss, z_e)
        torch.testing.assert_close(gradient, weight * wanted)
        assert float(latent.stats["kl_weight"]) == pytest.approx(weight)
        torch.testing.assert_close(latent.kl.mean(), latent.stats["kl"])  # which the schedule leaves alone
        torch.testing.assert_close(latent.kl, kl_divergence(posterior(z_e), Normal(0, 1)).flatten(1).sum(1).detach())
        bottleneck.update()


def test_the_schedule_counts_steps_of_training_and_goes_on_from_what_was_saved() -> None:
    bottleneck, z_e = GaussianBottleneck(4, warmup_updates=4), torch.randn(3, 8, 5)
    bottleneck.update()  # without a step
    bottleneck.eval()(z_e)
    bottleneck.update()  # of an evaluation
    assert float(bottleneck.kl_weight) == 0
    for _ in range(2):
        bottleneck.train()(z_e)
        bottleneck(z_e)  # accumulated, one step
        bottleneck.update()
    other = GaussianBottleneck(4, warmup_updates=4)
    other.load_state_dict(bottleneck.state_dict())
    assert float(bottleneck.kl_weight) == float(other.kl_weight) == 0.5


def test_a_draw_is_of_the_posterior() -> None:
    mean, deviation = torch.randn(1, 2, 1), torch.rand(1, 2, 1) + 0.1
    z_e = torch.cat([mean, 2 * deviation.log()], 1).expand(1, 4, 20_000)
    z = GaussianBottleneck(2).eval().draw(z_e, None, torch.Generator().manual_seed(1)).z
    torch.testing.assert_close(z.mean(2, keepdim=True), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(z.std(2, keepdim=True), deviation, atol=0.03, rtol=0)


def test_free_bits_stop_the_gradient_of_channels_below_them() -> None:
    z_e = torch.zeros(2, 4, 5)
    z_e[:, 0] = 0.1  # means: 0.005 nats
    z_e[:, 1] = 2.0  # 2 nats
    z_e.requires_grad_()
    latent = GaussianBottleneck(2, beta=3.0, free_bits=0.5)(z_e)
    assert float(latent.loss.detach()) == pytest.approx(3 * (0.5 + 2.0) / 2)
    latent.loss.backward()
    assert not bool(z_e.grad[:, 0].any()) and bool((z_e.grad[:, 1] > 0).all())
    torch.testing.assert_close(latent.kl, torch.full((2,), 5 * 2.005))  # the kl is what it is
    assert float(latent.stats["active"]) == 0.5


def test_free_bits_are_of_the_mean_not_of_each_position() -> None:
    z_e = torch.zeros(1, 2, 4)
    z_e[:, 0, 0] = 2.0  # 2 nats at one of four positions
    assert float(GaussianBottleneck(1, free_bits=0.4)(z_e).loss) == pytest.approx(0.5)


def test_training_draws_from_the_posterior_and_evaluation_takes_its_mean() -> None:
    bottleneck = GaussianBottleneck(1)
    z_e = torch.stack([torch.full((1, 100_000), 0.7), torch.full((1, 100_000), -1.0)], 1)
    z = bottleneck(z_e).z
    assert float(z.mean()) == pytest.approx(0.7, abs=0.01)
    assert float(z.std()) == pytest.approx(torch.tensor(-0.5).exp().item(), abs=0.01)
    torch.manual_seed(3)
    again = bottleneck(z_e).z
    torch.manual_seed(3)
    assert torch.equal(again, bottleneck(z_e).z) and not torch.equal(again, z)
    assert torch.equal(bottleneck.eval()(z_e).z, z_e[:, :1])


def test_the_gradient_is_the_reparameterization() -> None:
    z_e, gradient = torch.randn(2, 4, 5, requires_grad=True), torch.randn(2, 2, 5)
    latent = GaussianBottleneck(2)(z_e)
    latent.z.backward(gradient)
    mean, log_variance = z_e.detach().chunk(2, 1)
    torch.testing.assert_close(z_e.grad, torch.cat([gradient, gradient * (latent.z.detach() - mean) / 2], 1))
    assert not torch.equal(log_variance, torch.zeros_like(log_variance))


@pytest.mark.parametrize("log_variance", [-1e4, 1e4])
def test_an_extreme_variance_is_finite(log_variance: float) -> None:
    z_e = torch.cat([torch.zeros(2, 3, 5), torch.full((2, 3, 5), log_variance)], 1).requires_grad_()
    latent = GaussianBottleneck(3)(z_e)
    (latent.z.sum() + latent.loss).backward()
    assert bool(latent.z.isfinite().all()) and bool(latent.kl.isfinite().all()) and bool(z_e.grad.isfinite().all())


def test_samples_are_standard_normal() -> None:
    z = GaussianBottleneck(3).sample(100, (40, 50), torch.Generator().manual_seed(1))
    assert z.shape == (100, 3, 40, 50)
    assert float(z.mean()) == pytest.approx(0, abs=0.01) and float(z.std()) == pytest.approx(1, abs=0.01)


def test_the_encoder_gives_a_mean_and_a_log_variance() -> None:
    bottleneck = GaussianBottleneck(3)
    level = ProjectedLevel(10, bottleneck)
    z_e = level.z_e(torch.randn(2, 10, 4, 4), None)
    assert bottleneck.inputs == 6 and z_e.shape == (2, 6, 4, 4) and bottleneck(z_e).z.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("arguments", [{"dim": 0}, {"beta": -1.0}, {"free_bits": -0.1}, {"warmup_updates": -1}])
def test_bad_arguments_are_refused_by_name(arguments: dict[str, float]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"{name}.* {next(iter(arguments.values()))}"):
        GaussianBottleneck(**{"dim": 3, **arguments})  # type: ignore[arg-type]
