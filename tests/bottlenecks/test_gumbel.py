"""Gumbel noise against autograd through the same noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from vqkit.bottlenecks.dense import gumbel_like
from vqkit.bottlenecks.estimators import RotationTrick, StraightThrough
from vqkit.bottlenecks.gumbel import GumbelMaxQuantizer, GumbelSoftmaxQuantizer, StraightThroughGumbelQuantizer

Relaxed = GumbelSoftmaxQuantizer | StraightThroughGumbelQuantizer
BOTH = pytest.mark.parametrize("kind", [GumbelSoftmaxQuantizer, StraightThroughGumbelQuantizer])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(z: Tensor) -> Tensor:
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def distance_logits(z_e: Tensor, codes: Tensor) -> Tensor:
    return -(rows(z_e)[:, None] - codes).square().sum(2)


def noise(count: int, size: int) -> Tensor:
    torch.manual_seed(3)
    return gumbel_like(torch.zeros(count, size))


@BOTH
def test_the_gradient_is_autograds_through_the_same_noise(kind: type[Relaxed]) -> None:
    quantizer = kind(3, 5, initial_temperature=0.7, kl_weight=0.0)
    z_e, gradient = random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1)
    torch.manual_seed(3)
    latent = quantizer(z_e)
    latent.z.backward(gradient)

    codes = quantizer.codebook.vectors.detach().clone().requires_grad_()
    again = z_e.detach().clone().requires_grad_()
    weights = ((distance_logits(again, codes) + noise(8, 5)) / 0.7).softmax(1)
    drawn = weights.argmax(1)
    assert torch.equal(latent.indices.flatten(), drawn)
    if kind is GumbelSoftmaxQuantizer:
        z = weights @ codes
        torch.testing.assert_close(rows(latent.z), z.detach())
    else:
        z = (nn.functional.one_hot(drawn, 5) - weights.detach() + weights) @ codes
        assert torch.equal(rows(latent.z), codes.detach()[drawn])
    (z * rows(gradient)).sum().backward()
    torch.testing.assert_close(z_e.grad, again.grad)
    torch.testing.assert_close(quantizer.codebook.vectors.grad, codes.grad)


@BOTH
def test_the_loss_is_the_kl_per_latent_dimension(kind: type[Relaxed]) -> None:
    quantizer, z_e = kind(3, 5, kl_weight=0.3), random(2, 3, 4).requires_grad_()
    latent = quantizer(z_e)
    torch.testing.assert_close(latent.loss.detach(), 0.3 * latent.kl.sum() / z_e.numel())
    latent.loss.backward()
    assert bool((z_e.grad != 0).any()) and bool((quantizer.codebook.vectors.grad != 0).any())


@BOTH
def test_the_temperature_anneals_by_the_update_and_then_stays(kind: type[Relaxed]) -> None:
    quantizer = kind(3, 5, initial_temperature=2.0, final_temperature=0.5, annealing_updates=4, revival=0.0)
    found = []
    for _ in range(6):
        found.append(quantizer.temperature)
        for _ in range(3):  # accumulated
            quantizer(random(1, 3, 4))
        quantizer.update()
    assert found == pytest.approx([2.0, 2**0.5, 1.0, 0.5**0.5, 0.5, 0.5])


@BOTH
def test_the_temperature_survives_saving_and_evaluation(kind: type[Relaxed]) -> None:
    quantizer, other = (kind(3, 5, annealing_updates=4) for _ in range(2))
    for _ in range(2):
        quantizer(random(1, 3, 4))
        quantizer.update()
    quantizer.eval()(random(1, 3, 4))
    quantizer.update()
    other.load_state_dict(quantizer.state_dict())
    assert other.temperature == quantizer.temperature == pytest.approx(0.5**0.5)


def test_a_low_temperature_nears_a_single_code() -> None:
    quantizer = GumbelSoftmaxQuantizer(3, 5, initial_temperature=1e-3)
    latent = quantizer(random(2, 3, 4))
    torch.testing.assert_close(rows(latent.z), quantizer.codebook.vectors[latent.indices.flatten()], atol=1e-3, rtol=0)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_temperature": 0.0}, "initial_temperature is 0.0"),
        ({"final_temperature": -1.0}, "final_temperature is -1.0"),
        ({"final_temperature": math.inf}, "final_temperature is inf"),
        ({"annealing_updates": 0}, "annealing_updates is 0"),
        ({"kl_weight": -1.0}, "kl_weight is -1.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(kind: type[Relaxed], arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(3, 5, **arguments)


# ---------------------------------------------------------------- Gumbel-max


def test_the_drawn_code_is_z_with_the_gradient_of_the_identity() -> None:
    quantizer, z_e, gradient = GumbelMaxQuantizer(3, 5, 0.7), random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1)
    torch.manual_seed(3)
    latent = quantizer(z_e)
    codes = quantizer.codebook.vectors.detach()
    drawn = (distance_logits(z_e, codes) / 0.7 + noise(8, 5)).argmax(1)
    assert torch.equal(latent.indices.flatten(), drawn) and torch.equal(rows(latent.z), codes[drawn])
    latent.z.backward(gradient)
    assert torch.equal(z_e.grad, gradient) and quantizer.codebook.vectors.grad is None


def test_the_losses_are_those_of_the_drawn_code() -> None:
    quantizer = GumbelMaxQuantizer(3, 5, 0.7, commitment_weight=0.3, codebook_weight=0.6)
    z_e = random(2, 3, 4).requires_grad_()
    latent = quantizer(z_e)
    latent.loss.backward()
    difference = (z_e - latent.z).detach()
    torch.testing.assert_close(latent.loss.detach(), 0.9 * difference.square().mean())
    torch.testing.assert_close(z_e.grad, 2 * 0.3 * difference / 24)
    pulls = -2 * 0.6 * rows(difference) / 24
    torch.testing.assert_close(
        quantizer.codebook.vectors.grad, torch.zeros(5, 3).index_add(0, latent.indices.flatten(), pulls)
    )


def test_a_low_temperature_is_vector_quantization() -> None:
    quantizer, z_e = GumbelMaxQuantizer(3, 5, temperature=1e-6), random(2, 3, 4)
    assert torch.equal(quantizer(z_e).indices, quantizer.eval()(z_e).indices)


def test_the_rotation_trick_is_refused_and_others_are_kept() -> None:
    """Others let it scale the gradient without bound, and diverge."""
    with pytest.raises(ValueError, match=r"estimator is a RotationTrick.*use StraightThrough"):
        GumbelMaxQuantizer(3, 5, estimator=RotationTrick())
    estimator = StraightThrough()
    assert GumbelMaxQuantizer(3, 5, estimator=estimator).estimator is estimator


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"commitment_weight": -1.0}, "commitment_weight is -1.0"),
        ({"codebook_weight": 0.0}, "codebook_weight is 0.0"),
    ],
)
def test_bad_arguments_of_gumbel_max_are_refused_by_name(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GumbelMaxQuantizer(3, 5, **arguments)
