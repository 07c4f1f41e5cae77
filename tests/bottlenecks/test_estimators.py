"""Gradients through argmin against their matrices, written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import (
    EMAVectorQuantizer,
    Estimator,
    GumbelMaxQuantizer,
    Quantizer,
    ResidualQuantizer,
    RotationTrick,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThrough,
    VectorQuantizer,
)

BOTH = pytest.mark.parametrize("estimator", [StraightThrough(), RotationTrick()])


def gradient_of(estimator: Estimator, z_e: Tensor, z_q: Tensor, gradient: Tensor) -> Tensor:
    z_e = z_e.clone().requires_grad_()
    estimator(z_e, z_q).backward(gradient)
    assert z_e.grad is not None
    return z_e.grad


@BOTH
def test_the_result_is_z_q_to_the_bit_and_no_gradient_reaches_it(estimator: Estimator) -> None:
    z_e, z_q = 1e4 * torch.randn(5, 6, 3), (1e-4 * torch.randn(5, 6, 3)).requires_grad_()
    assert not torch.equal(z_e + (z_q - z_e), z_q)  # the usual formula is not
    z = estimator(z_e.requires_grad_(), z_q)
    assert torch.equal(z, z_q) and z.data_ptr() != z_q.data_ptr()
    z.sum().backward()
    assert z_e.grad is not None and z_q.grad is None


def test_straight_through_is_the_identity_to_the_gradient() -> None:
    z_e, z_q, gradient = torch.randn(3, 5, 6, 4).unbind()
    assert torch.equal(gradient_of(StraightThrough(), z_e, z_q, gradient), gradient)


# ---------------------------------------------------------------- the rotation trick


def rotation(e: Tensor, q: Tensor) -> Tensor:
    """[D, D]: turns e's direction to q's in the plane of both, and nothing outside of that plane."""
    u = e / e.norm()
    v = q / q.norm() - (u @ q / q.norm()) * u
    v = v / v.norm()
    angle = torch.acos((u @ q / q.norm()).clamp(-1, 1))
    inside = torch.stack([u, v])
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return torch.eye(len(e), dtype=e.dtype) + inside.t() @ (turn - torch.eye(2, dtype=e.dtype)) @ inside


def test_the_gradient_is_the_transpose_of_the_scaled_rotation() -> None:
    z_e, z_q, gradient = (torch.randn(4, 5, 3) for _ in range(3))
    found = gradient_of(RotationTrick(), z_e, z_q, gradient)
    for b in range(4):
        for x in range(3):
            e, q, g = z_e[b, :, x].double(), z_q[b, :, x].double(), gradient[b, :, x].double()
            matrix = rotation(e, q) * q.norm() / e.norm()
            torch.testing.assert_close(matrix @ e, q)  # it is the map that makes z_q of z_e
            torch.testing.assert_close(found[b, :, x].double(), matrix.t() @ g, atol=1e-4, rtol=1e-4)


def test_a_gradients_angle_to_z_q_becomes_its_angle_to_z_e_and_its_length_is_scaled() -> None:
    z_e, z_q, gradient = (torch.randn(4, 5, 3) for _ in range(3))
    found = gradient_of(RotationTrick(), z_e, z_q, gradient)
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(found, z_e), cosine(gradient, z_q), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), gradient.norm(dim=1) * z_q.norm(dim=1) / z_e.norm(dim=1))


def test_where_z_e_is_z_q_it_is_the_identity() -> None:
    z, gradient = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(gradient_of(RotationTrick(), z, z, gradient), gradient)


def test_a_longer_z_q_of_the_same_direction_only_scales() -> None:
    z, gradient = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(gradient_of(RotationTrick(), z, 3 * z, gradient), 3 * gradient)


def test_opposite_vectors_keep_the_gradients_length_within_bounds() -> None:
    z, gradient = torch.randn(2, 4, 5, 3)
    found = gradient_of(RotationTrick(), z, -z, gradient)
    assert bool(found.isfinite().all()) and bool((found.norm(dim=1) <= 3.001 * gradient.norm(dim=1)).all())


def test_nearly_opposite_vectors_are_still_rotated() -> None:
    z, gradient = torch.randn(2, 4, 5, 3)
    found = gradient_of(RotationTrick(), z, -z + 1e-3 * torch.randn(4, 5, 3), gradient)
    torch.testing.assert_close(found.norm(dim=1), gradient.norm(dim=1), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(("length_e", "length_q"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1e-20, 1e-20), (1e-30, 1e-30)])
def test_tiny_vectors_have_finite_gradients(length_e: float, length_q: float) -> None:
    z_e, z_q, gradient = torch.randn(3, 4, 5, 3).unbind()
    found = gradient_of(RotationTrick(), length_e * z_e, length_q * z_q, gradient)
    assert bool(found.isfinite().all())


def test_the_rotated_gradient_is_scaled_ten_times_at_most() -> None:
    z_e, z_q = torch.full((1, 4, 3), 1e-6, requires_grad=True), torch.randn(1, 4, 3)
    RotationTrick()(z_e, z_q).backward(gradient := torch.randn(1, 4, 3))
    assert bool((z_e.grad.norm(dim=1) <= 10.01 * gradient.norm(dim=1)).all())


# ---------------------------------------------------------------- who takes one

TAKES_ONE: dict[str, Callable[[int, Any], Quantizer]] = {
    "vector": lambda dim, estimator: VectorQuantizer(dim, 5, estimator=estimator),
    "ema vector": lambda dim, estimator: EMAVectorQuantizer(dim, 5, estimator=estimator),
    "sim vector": lambda dim, estimator: SimVectorQuantizer(dim, 5, estimator=estimator),
    "Gumbel-max": lambda dim, estimator: GumbelMaxQuantizer(dim, 5, estimator=estimator),
    "residual": lambda dim, estimator: ResidualQuantizer(EMAVectorQuantizer(dim, 5), 2, estimator=estimator),
    "shared residual": lambda dim, estimator: SharedResidualQuantizer(
        EMAVectorQuantizer(dim, 5), 2, estimator=estimator
    ),
}


@pytest.mark.parametrize("name", TAKES_ONE)
def test_a_rotation_in_one_dimension_is_refused(name: str) -> None:
    """It would multiply gradients by z_q / z_e, of either sign."""
    with pytest.raises(ValueError, match=r"estimator is a RotationTrick, .*; use StraightThrough"):
        TAKES_ONE[name](1, RotationTrick())
    TAKES_ONE[name](1, StraightThrough())


@pytest.mark.parametrize("name", TAKES_ONE)
@pytest.mark.parametrize("estimator", ["rotation", RotationTrick, False])
def test_what_is_no_estimator_is_refused(name: str, estimator: object) -> None:
    with pytest.raises(ValueError, match=r"estimator is .*; give an Estimator, such as RotationTrick\(\)"):
        TAKES_ONE[name](3, estimator)
