"""Finite scalar quantization: its points, its thresholds, and a gradient that is the bounding function's."""

from __future__ import annotations

import pytest
import torch

from vqkit.bottlenecks import FiniteScalarQuantizer


@pytest.mark.parametrize(
    ("levels", "points"),
    [(2, [-1.0, 1.0]), (3, [-1.0, 0.0, 1.0]), (4, [-1.0, -1 / 3, 1 / 3, 1.0]), (5, [-1.0, -0.5, 0.0, 0.5, 1.0])],
)
def test_points_are_evenly_spaced_and_symmetric(levels: int, points: list[float]) -> None:
    quantizer = FiniteScalarQuantizer((levels,))
    z = quantizer.lookup(torch.arange(levels).view(1, 1, -1)).flatten()
    torch.testing.assert_close(z, torch.tensor(points))
    assert torch.equal(z, -z.flip(0))


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8])
def test_z_is_the_nearest_point_to_tanh(levels: int) -> None:
    quantizer = FiniteScalarQuantizer((levels,))
    z_e = torch.linspace(-5, 5, 999).view(1, 1, -1)
    points = torch.linspace(-1, 1, levels)
    nearest = (z_e.flatten().tanh()[:, None] - points).abs().argmin(1)
    agree = quantizer(z_e).indices.flatten() == nearest
    assert int((~agree).sum()) <= 1  # a tie at 0, where there is no level
    assert quantizer(torch.randn(1, 1, 10_000)).indices.unique().numel() == levels


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_an_even_number_of_levels_leans_to_no_side(levels: int) -> None:
    """The first paper's bound puts z_e = 0 onto a level, so that two levels split far from 0."""
    z = FiniteScalarQuantizer((levels,))(torch.randn(1, 1, 100_000)).z
    assert abs(float((z > 0).float().mean()) - 0.5) < 0.01


def test_the_gradient_is_that_of_tanh() -> None:
    quantizer, gradient = FiniteScalarQuantizer((8, 5, 5)), torch.randn(2, 3, 7)
    z_e = torch.randn(2, 3, 7, requires_grad=True)
    quantizer(z_e).z.backward(gradient)
    torch.testing.assert_close(z_e.grad, gradient * (1 - z_e.detach().tanh().square()))


def test_nothing_is_learned_and_nothing_drawn() -> None:
    quantizer = FiniteScalarQuantizer((8, 5, 5))
    z_e = torch.randn(2, 3, 7)
    assert not list(quantizer.parameters()) and float(quantizer(z_e).loss) == 0
    assert all(torch.equal(quantizer(z_e).indices, quantizer(z_e).indices) for _ in range(3))


def test_levels_may_come_from_a_list() -> None:
    quantizer = FiniteScalarQuantizer([8, 5, 5], [2, 1])
    assert quantizer.levels == (8, 5, 5) and quantizer.groups == (2, 1) and quantizer.codebook_sizes == (40, 5)
    assert FiniteScalarQuantizer((8, 5)).groups == (2,)
