"""The pieces of the quantizers that weigh a vector against every code, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks.base import quantization_loss, squared_distance_logits
from vqkit.bottlenecks.dense import gumbel_like, kl_from_uniform
from vqkit.bottlenecks.gumbel import GumbelMaxQuantizer, GumbelSoftmaxQuantizer, StraightThroughGumbelQuantizer
from vqkit.bottlenecks.implicit_mle import ImplicitMLEQuantizer

Sampled = GumbelSoftmaxQuantizer | StraightThroughGumbelQuantizer | GumbelMaxQuantizer | ImplicitMLEQuantizer
SAMPLED = pytest.mark.parametrize(
    "kind", [GumbelSoftmaxQuantizer, StraightThroughGumbelQuantizer, GumbelMaxQuantizer, ImplicitMLEQuantizer]
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("far", [0.0, 1e3])
def test_logits_are_the_negative_squared_distance_up_to_a_constant_of_each_vector(far: float) -> None:
    vectors, codebook = far + random(9, 3), far + random(5, 3, seed=1)
    expected = -(vectors[:, None] - codebook).square().sum(2)
    torch.testing.assert_close(
        squared_distance_logits(vectors, codebook).log_softmax(1), expected.log_softmax(1), atol=1e-5, rtol=1e-5
    )


def test_the_kl_from_uniform_is_that_of_torch() -> None:
    logits = random(4, 7)
    uniform = torch.distributions.Categorical(logits=torch.zeros(4, 7))
    expected = torch.distributions.kl_divergence(torch.distributions.Categorical(logits=logits), uniform)
    torch.testing.assert_close(kl_from_uniform(logits), expected)


def test_a_sure_choice_is_log_k_from_uniform_with_a_finite_gradient() -> None:
    logits = torch.tensor([[1e6, 0.0, -1e6]], requires_grad=True)
    kl = kl_from_uniform(logits)
    kl.sum().backward()
    assert kl.item() == pytest.approx(math.log(3)) and torch.equal(logits.grad, torch.zeros(1, 3))


def test_the_noise_is_gumbel() -> None:
    torch.manual_seed(0)
    noise = gumbel_like(torch.zeros(1000, 1000))
    assert bool(noise.isfinite().all())
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.005)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.01)


def test_the_quantization_loss_has_each_weight_on_its_own_term() -> None:
    z_e, z_q = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1).requires_grad_()
    quantization_loss(z_e, z_q, None, 0.3, 0.7).backward()
    difference = (z_e - z_q).detach() / 24
    torch.testing.assert_close(z_e.grad, 2 * 0.3 * difference)
    torch.testing.assert_close(z_q.grad, -2 * 0.7 * difference)


# ---------------------------------------------------------------- what is drawn


@SAMPLED
def test_codes_are_drawn_from_the_assignment(kind: type[Sampled]) -> None:
    torch.manual_seed(0)
    quantizer, z_e = kind(3, 5), random(1, 3, 1)
    indices = quantizer(z_e.expand(20_000, 3, 1)).indices
    shares = torch.bincount(indices.flatten(), minlength=5) / 20_000
    expected = quantizer.assignment(z_e).exp().flatten().detach()
    assert float(expected.max()) < 0.9  # else this tests nothing
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


@SAMPLED
def test_the_global_seed_repeats_the_draws(kind: type[Sampled]) -> None:
    quantizer, z_e = kind(3, 16), random(2, 3, 50)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(quantizer(z_e))
    assert torch.equal(results[0].z, results[1].z) and torch.equal(results[0].indices, results[1].indices)
    assert not torch.equal(results[0].indices, results[2].indices)


@SAMPLED
def test_evaluation_draws_nothing_and_takes_the_nearest_code(kind: type[Sampled]) -> None:
    quantizer, z_e = kind(3, 16).eval(), random(2, 3, 50)
    before = torch.get_rng_state()
    latent = quantizer(z_e)
    assert torch.equal(torch.get_rng_state(), before)
    vectors = z_e.movedim(1, -1).reshape(-1, 3)
    nearest = torch.cdist(vectors, quantizer.codebook.vectors).argmin(1)
    assert torch.equal(latent.indices, nearest.view(2, 1, 50))
    assert torch.equal(latent.z, quantizer.codebook.vectors[nearest].view(2, 50, 3).movedim(-1, 1))


@SAMPLED
def test_kl_is_that_of_the_posterior_in_training_and_log_k_in_evaluation(kind: type[Sampled]) -> None:
    quantizer, z_e = kind(3, 16), random(2, 3, 10)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0, 4:] = False
    log_q = quantizer.assignment(z_e).squeeze(1)
    nats = (log_q.exp() * (log_q + math.log(16))).sum(1).detach()
    torch.testing.assert_close(quantizer(z_e).kl, nats.sum(1))
    torch.testing.assert_close(quantizer(z_e, mask).kl, (nats * mask).sum(1))
    torch.testing.assert_close(quantizer.eval()(z_e, mask).kl, torch.tensor([4.0, 10.0]) * math.log(16))


@SAMPLED
def test_use_is_counted_by_the_code_that_evaluation_chooses(kind: type[Sampled]) -> None:
    torch.manual_seed(0)
    quantizer, z_e = kind(3, 16, revival=0.0), random(2, 3, 50)
    drawn = quantizer(z_e).indices
    quantizer.update()
    nearest = quantizer.eval()(z_e).indices
    assert not torch.equal(drawn, nearest)
    wins = torch.bincount(nearest.flatten(), minlength=16)
    torch.testing.assert_close(quantizer.codebook.counts, wins + 1.0)


@SAMPLED
def test_dead_codes_are_revived(kind: type[Sampled]) -> None:
    quantizer = kind(2, 4, decay=0.5)
    quantizer.codebook.vectors.data[1:] = 1e3
    for seed in range(20):
        quantizer(1 + 0.1 * random(1, 2, 64, seed=seed))
        quantizer.update()
    assert quantizer.codebook.vectors.abs().max().item() < 10


@SAMPLED
def test_initialisation_is_that_of_the_codebook(kind: type[Sampled]) -> None:
    quantizer = kind(2, 4)
    quantizer.initialise([5 + random(300, 2)])
    assert (quantizer.codebook.vectors - 5).abs().max().item() < 4


@SAMPLED
@pytest.mark.parametrize("size", [1, 2])
def test_the_smallest_codebooks(kind: type[Sampled], size: int) -> None:
    quantizer, z_e = kind(1, size), random(2, 1, 3).requires_grad_()
    latent = quantizer(z_e)
    (latent.z.sum() + latent.loss).backward()
    assert bool(z_e.grad.isfinite().all()) and bool((latent.kl >= -1e-6).all())
    if size == 1:
        torch.testing.assert_close(latent.kl, torch.zeros(2))


def test_the_assignment_is_in_float32_under_autocast() -> None:
    quantizer, z_e = GumbelSoftmaxQuantizer(3, 16), random(2, 3, 50)
    expected = quantizer.assignment(z_e)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.assignment(z_e), expected)
