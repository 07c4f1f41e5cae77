"""The gradient of two choices against its formula written out, a vector at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks.dense import gumbel_like
from vqkit.bottlenecks.implicit_mle import ImplicitMLEQuantizer, _Choice


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(z: Tensor) -> Tensor:
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def gradient_of_logits(noisy: Tensor, gradient: Tensor, step: float) -> Tensor:
    result = torch.zeros_like(noisy)
    for n, (row, g) in enumerate(zip(noisy, gradient, strict=True)):
        lambda_ = step / float(g.max() - g.min())
        result[n, row.argmax()] += 1 / lambda_
        result[n, (row - lambda_ * g).argmax()] -= 1 / lambda_
    return result


def choice_gradient(noisy: Tensor, gradient: Tensor, step: float) -> Tensor:
    noisy = noisy.clone().requires_grad_()
    _Choice.apply(noisy, noisy.argmax(1), step).backward(gradient)
    assert noisy.grad is not None
    return noisy.grad


def test_the_gradient_of_the_logits_is_the_finite_difference() -> None:
    noisy, gradient = random(50, 7), random(50, 7, seed=1)
    found = choice_gradient(noisy, gradient, 1.5)
    torch.testing.assert_close(found, gradient_of_logits(noisy, gradient, 1.5))
    changed = (found != 0).any(1)
    assert bool(changed.any()) and not bool(changed.all())


def test_the_gradient_of_z_e_and_of_every_code() -> None:
    quantizer = ImplicitMLEQuantizer(3, 5, step=2.0, kl_weight=0.0)
    z_e, gradient = random(2, 3, 10).requires_grad_(), random(2, 3, 10, seed=1)
    torch.manual_seed(3)
    latent = quantizer(z_e)
    latent.z.backward(gradient)

    codes = quantizer.codebook.vectors.detach().clone().requires_grad_()
    again = z_e.detach().clone().requires_grad_()
    logits = -(rows(again)[:, None] - codes).square().sum(2)
    torch.manual_seed(3)
    noisy = logits.detach() + gumbel_like(logits)
    drawn = noisy.argmax(1)
    assert torch.equal(latent.indices.flatten(), drawn) and torch.equal(rows(latent.z), codes.detach()[drawn])
    logits.backward(gradient_of_logits(noisy, rows(gradient) @ codes.detach().t(), 2.0))
    torch.testing.assert_close(z_e.grad, again.grad)
    as_values = torch.zeros_like(codes).index_add(0, drawn, rows(gradient))
    torch.testing.assert_close(quantizer.codebook.vectors.grad, codes.grad + as_values)


def test_descent_makes_the_better_code_likelier() -> None:
    """The difference has the sign of a gradient: others return the opposite one."""
    torch.manual_seed(0)
    logits, cost = torch.zeros(1, 4, requires_grad=True), torch.tensor([3.0, 1.0, 2.0, 4.0])
    optimizer = torch.optim.SGD([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        noisy = logits + gumbel_like(logits)
        (_Choice.apply(noisy, noisy.argmax(1), 1.0) * cost).sum().backward()
        optimizer.step()
    assert int(logits.argmax()) == 1 and logits.softmax(1)[0, 1].item() > 0.8


def test_the_scale_of_the_loss_is_the_scale_of_the_gradient() -> None:
    """So the size of a batch, by which a mean divides, changes no choice."""
    noisy, gradient = random(50, 7), random(50, 7, seed=1)
    small = choice_gradient(noisy, 2.0**-20 * gradient, 1.0)
    torch.testing.assert_close(2.0**20 * small, choice_gradient(noisy, gradient, 1.0))


def test_a_constant_of_all_codes_changes_nothing() -> None:
    noisy, gradient = random(50, 7), random(50, 7, seed=1)
    torch.testing.assert_close(
        choice_gradient(noisy, gradient + 3, 1.0), choice_gradient(noisy, gradient, 1.0), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("gradient", [0.0, 1.0, 1e-44, 1e30])
def test_a_gradient_without_direction_is_zero(gradient: float) -> None:
    found = choice_gradient(random(5, 7), torch.full((5, 7), gradient), 10.0)
    assert torch.equal(found, torch.zeros(5, 7))


def test_the_loss_is_the_kl_per_latent_dimension() -> None:
    quantizer, z_e = ImplicitMLEQuantizer(3, 5, kl_weight=0.3), random(2, 3, 4)
    latent = quantizer(z_e)
    torch.testing.assert_close(latent.loss.detach(), 0.3 * latent.kl.sum() / z_e.numel())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"step": 0.0}, "step is 0.0"), ({"step": float("inf")}, "step is inf"), ({"kl_weight": -1.0}, "kl_weight is -1")],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImplicitMLEQuantizer(3, 5, **arguments)
