"""Uniform scalar quantization against the formulas of transform codecs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqkit.bottlenecks import UniformScalarQuantizer


@pytest.mark.parametrize(("step", "dead_zone"), [(1.0, 1.0), (0.5, 4 / 3), (0.25, 5 / 3), (2.0, 2.0)])
def test_it_is_the_formula(step: float, dead_zone: float) -> None:
    z_e = torch.randn(2, 3, 500) * 4 * step
    latent = UniformScalarQuantizer(3, step, 101, dead_zone)(z_e)
    z = z_e.double()
    integers = z.sign() * (z.abs() / step + 1 - dead_zone / 2).floor()
    assert torch.equal(latent.indices, integers.long() + 50)
    torch.testing.assert_close(latent.z, (integers * step).float())


def test_the_dead_zone_is_as_wide_as_it_says() -> None:
    z_e = torch.linspace(-1, 1, 20_001).view(1, 1, -1)
    for dead_zone in (1.0, 1.5, 2.0):
        zeros = UniformScalarQuantizer(1, 0.5, 9, dead_zone)(z_e).z == 0
        assert float(zeros.float().mean()) == pytest.approx(dead_zone * 0.5 / 2, abs=1e-3)


def test_plain_rounding_is_off_by_half_a_step_at_most() -> None:
    z_e = torch.randn(2, 3, 500)
    error = UniformScalarQuantizer(3, 0.1, 1001)(z_e).z - z_e
    assert float(error.abs().max()) <= 0.05 + 1e-6
    assert float(error.square().mean()) == pytest.approx(0.1**2 / 12, rel=0.1)


def test_what_is_beyond_the_alphabet_is_clamped() -> None:
    latent = UniformScalarQuantizer(1, 0.5, 5)(torch.tensor([[[-100.0, -1.2, 0.0, 1.2, 100.0]]]))
    assert latent.indices.tolist() == [[[0, 0, 2, 4, 4]]] and latent.z.tolist() == [[[-1.0, -1.0, 0.0, 1.0, 1.0]]]


def test_a_dead_zone_saves_entropy_on_a_laplacian() -> None:
    """At the same reconstruction points, fewer codes are needed for the same data."""
    z_e = torch.distributions.Laplace(0.0, 1.0).sample((1, 1, 20_000))
    plain, dead = (UniformScalarQuantizer(1, 1.0, 101, width)(z_e) for width in (1.0, 4 / 3))
    assert float(dead.stats["batch_perplexity"]) < 0.95 * float(plain.stats["batch_perplexity"])
    assert set(dead.z.unique().tolist()) <= set(plain.z.unique().tolist())


def test_every_channel_has_a_codebook() -> None:
    quantizer = UniformScalarQuantizer(64, 0.5)
    assert quantizer.codebook_sizes == (255,) * 64
    latent = quantizer(torch.randn(3, 64, 1, 1))  # as of PCA
    assert latent.indices.shape == (3, 64, 1, 1) and torch.equal(quantizer.lookup(latent.indices), latent.z)


def test_the_gradient_is_straight_through_also_where_clamped_or_dead() -> None:
    z_e, gradient = (torch.randn(2, 3, 50) * 10).requires_grad_(), torch.randn(2, 3, 50)
    UniformScalarQuantizer(3, 1.0, 5, 2.0)(z_e).z.backward(gradient)
    assert torch.equal(z_e.grad, gradient)


def test_the_commitment_counts_squared_steps_and_brings_z_e_back() -> None:
    z_e = torch.tensor([[[0.2, 9.0]]], requires_grad=True)  # one channel, two positions; levels end at 1.0
    loss = UniformScalarQuantizer(1, 0.5, 5, commitment_weight=0.3)(z_e).loss
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(0.3 * (0.4**2 + 16.0**2) / 2))
    torch.testing.assert_close(z_e.grad, 0.3 * torch.tensor([[[0.2, 8.0]]]) / 0.5**2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"commitment_weight": -1.0}, "commitment_weight is -1.0"),
        ({"dim": 0}, "dim is 0"),
        ({"step": 0.0}, "step is 0.0"),
        ({"levels": 256}, "levels is 256; take an odd number"),
        ({"levels": 1}, "levels are"),
        ({"dead_zone": 0.5}, "dead_zone is 0.5"),
        ({"dead_zone": 2.5}, "dead_zone is 2.5"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniformScalarQuantizer(**{"dim": 3, "step": 0.5, **arguments})
