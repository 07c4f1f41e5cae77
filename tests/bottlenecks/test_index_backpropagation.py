"""Index backpropagation against its formulas written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks.index_backpropagation import IndexBackpropagationQuantizer, entropy_loss

WEIGHTS = ("commitment_weight", "codebook_weight", "index_weight", "entropy_weight")


def only(dim: int = 3, codebook_size: int = 5, **weights: float) -> IndexBackpropagationQuantizer:
    """Of the terms of the loss, those named."""
    torch.manual_seed(0)
    return IndexBackpropagationQuantizer(dim, codebook_size, **{**dict.fromkeys(WEIGHTS, 0.0), **weights})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(z: Tensor) -> Tensor:
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def test_z_is_the_code_of_the_greatest_inner_product() -> None:
    quantizer, z_e = only(), random(2, 3, 4)
    with torch.no_grad():
        quantizer.codebook.vectors[0] *= 3  # so that the nearest code is another one at times
    latent, codes = quantizer(z_e), quantizer.codebook.vectors.detach()
    greatest = (rows(z_e) @ codes.t()).argmax(1)
    assert not torch.equal(greatest, torch.cdist(rows(z_e), codes).argmin(1))
    assert torch.equal(latent.indices.flatten(), greatest) and torch.equal(rows(latent.z), codes[greatest])


def test_the_greatest_inner_product_is_that_of_float64() -> None:
    """Long codes that are close together: the rounding of |e|^2 to float32 is more than their products differ."""
    quantizer, z_e = only(codebook_size=200), random(1, 3, 50, seed=2)
    with torch.no_grad():
        quantizer.codebook.vectors.copy_(1e4 + random(200, 3))
    latent = quantizer(z_e)
    products = rows(z_e).double() @ quantizer.codebook.vectors.detach().double().t()
    assert torch.equal(latent.indices.flatten(), products.argmax(1))


def test_evaluation_takes_no_softmax_and_no_entropy() -> None:
    quantizer, z_e = only(index_weight=0.3, entropy_weight=0.6), random(2, 3, 4)
    training = quantizer(z_e)
    quantizer.logits = None  # type: ignore[assignment]  # nothing of size N x K is asked for
    latent = quantizer.eval()(z_e)
    assert torch.equal(latent.z, training.z) and torch.equal(latent.indices, training.indices)
    torch.testing.assert_close(latent.loss, 0.3 * (z_e - latent.z).square().mean())


def test_the_gradient_through_the_choice_is_that_of_the_softmax_at_every_code() -> None:
    quantizer, z_e, gradient = only(codebook_size=9), random(2, 3, 4).requires_grad_(), random(2, 3, 4, seed=1)
    latent = quantizer(z_e)
    latent.z.backward(gradient)

    codes = quantizer.codebook.vectors.detach().clone().requires_grad_()
    again = z_e.detach().clone().requires_grad_()
    mixture = (rows(again) @ codes.t()).softmax(1) @ codes.detach()  # the codes as keys
    (mixture * rows(gradient)).sum().backward()
    torch.testing.assert_close(z_e.grad, again.grad)
    as_values = torch.zeros_like(codes).index_add(0, latent.indices.flatten(), rows(gradient))  # the chosen codes alone
    torch.testing.assert_close(quantizer.codebook.vectors.grad, codes.grad + as_values)
    chosen = torch.bincount(latent.indices.flatten(), minlength=9) > 0
    assert not bool(chosen.all()) and bool((quantizer.codebook.vectors.grad != 0).any(1).all())


def test_the_commitment_moves_the_encoder_alone() -> None:
    quantizer, z_e = only(commitment_weight=0.3), random(2, 3, 4).requires_grad_()
    latent = quantizer(z_e)
    latent.loss.backward()
    torch.testing.assert_close(z_e.grad, 2 * 0.3 * (z_e - latent.z).detach() / 24)
    assert torch.equal(quantizer.codebook.vectors.grad, torch.zeros(5, 3))


def test_the_codebook_loss_moves_the_chosen_codes_alone() -> None:
    quantizer, z_e = only(codebook_weight=0.7), random(2, 3, 4).requires_grad_()
    latent = quantizer(z_e)
    latent.loss.backward()
    pulls = 2 * 0.7 * rows((latent.z - z_e).detach()) / 24
    torch.testing.assert_close(
        quantizer.codebook.vectors.grad, torch.zeros(5, 3).index_add(0, latent.indices.flatten(), pulls)
    )
    assert torch.equal(z_e.grad, torch.zeros_like(z_e))


def test_the_index_loss_is_the_squared_error_with_the_gradient_of_the_choice() -> None:
    quantizer, z_e = only(index_weight=0.4), random(2, 3, 4).requires_grad_()
    quantizer(z_e).loss.backward()
    found = z_e.grad, quantizer.codebook.vectors.grad
    again, z_e.grad, quantizer.codebook.vectors.grad = only(), None, None
    (0.4 * (z_e - again(z_e).z).square().mean()).backward()
    torch.testing.assert_close(found, (z_e.grad, again.codebook.vectors.grad))


def test_the_entropy_loss_is_the_mean_entropy_less_the_entropy_of_the_mean() -> None:
    quantizer, z_e = only(entropy_weight=0.6, entropy_temperature=0.5), random(2, 3, 4)
    p = (rows(z_e) @ quantizer.codebook.vectors.t() / 0.5).softmax(1)
    expected = (
        torch.distributions.Categorical(p).entropy().mean() - torch.distributions.Categorical(p.mean(0)).entropy()
    )
    torch.testing.assert_close(quantizer(z_e).loss, 0.6 * expected / 3)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    z_e, weights = random(2, 3, 4), dict(zip(WEIGHTS, (0.1, 0.2, 0.3, 0.4), strict=True))
    total = sum(only(**{name: weight})(z_e).loss for name, weight in weights.items())
    torch.testing.assert_close(only(**weights)(z_e).loss, total)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        (1e4 * torch.eye(4), -math.log(4)),  # sure, and all in use
        (torch.tensor([[1e4, 0.0]] * 3), 0.0),  # sure, always the same
        (torch.zeros(3, 4), 0.0),
        (torch.zeros(0, 4), 0.0),
    ],
)
def test_the_ends_of_the_entropy_loss_and_their_finite_gradient(logits: Tensor, expected: float) -> None:
    logits = logits.clone().requires_grad_()
    loss = entropy_loss(logits)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    if len(logits):
        loss.backward()
        assert bool(logits.grad.isfinite().all())


def test_the_sharpest_entropy_has_a_finite_gradient() -> None:
    quantizer, z_e = only(entropy_weight=1.0, entropy_temperature=1e-4), (100 * random(2, 3, 4)).requires_grad_()
    quantizer(z_e).loss.backward()
    assert bool(z_e.grad.isfinite().all()) and bool(quantizer.codebook.vectors.grad.isfinite().all())


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_bad_weight_is_refused_by_name(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {weight}"):
        IndexBackpropagationQuantizer(3, 5, **{name: weight})


def test_a_bad_temperature_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="entropy_temperature is 0"):
        IndexBackpropagationQuantizer(3, 5, entropy_temperature=0)
