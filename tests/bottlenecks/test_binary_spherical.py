"""Binary spherical quantization: both z_e and z lie on the sphere."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vqkit.bottlenecks import BinarySphericalQuantizer


def test_z_is_the_nearest_corner_of_length_one() -> None:
    z_e = torch.randn(2, 5, 3, 4) * 10
    latent = BinarySphericalQuantizer(5)(z_e)
    torch.testing.assert_close(latent.z, z_e.sign() / 5**0.5)
    torch.testing.assert_close(latent.z.norm(dim=1), torch.ones(2, 3, 4))


def test_the_length_of_z_e_changes_nothing() -> None:
    quantizer, z_e = BinarySphericalQuantizer(5), torch.randn(2, 5, 7)
    short, long = quantizer(z_e * 0.1), quantizer(z_e * 100)
    assert torch.equal(short.indices, long.indices)
    torch.testing.assert_close(short.loss, long.loss)


def test_the_gradient_is_that_of_the_projection() -> None:
    z_e, gradient = torch.randn(2, 5, 7, requires_grad=True), torch.randn(2, 5, 7)
    BinarySphericalQuantizer(5)(z_e).z.backward(gradient)
    (wanted,) = torch.autograd.grad(F.normalize(z_e, dim=1), z_e, gradient)
    torch.testing.assert_close(z_e.grad, wanted)
    assert float((z_e.grad * z_e.detach()).sum(1).abs().max()) < 1e-4  # along the sphere


def test_the_loss_is_the_weighted_entropy_on_the_sphere() -> None:
    quantizer, z_e = BinarySphericalQuantizer(5, entropy_weight=0.3), torch.randn(2, 5, 7)
    torch.testing.assert_close(quantizer(z_e).loss, 0.3 * quantizer.entropy_loss(F.normalize(z_e, dim=1), None))
