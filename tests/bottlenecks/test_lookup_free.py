"""Lookup-free quantization: signs, digits, and the two terms of its loss."""

from __future__ import annotations

import pytest
import torch

from vqkit.bottlenecks import LookupFreeQuantizer


def test_z_is_the_sign() -> None:
    z_e = torch.tensor([[[0.3, -1e-30, 1e-30, 0.0], [-2.0, 5.0, -0.1, 0.7]]])
    latent = LookupFreeQuantizer(2)(z_e)
    assert latent.z.tolist() == [[[1, -1, 1, -1], [-1, 1, -1, 1]]]
    assert latent.indices.tolist() == [[[2, 1, 2, 1]]]


def test_groups_are_the_digits_of_a_large_codebook() -> None:
    z_e = torch.randn(2, 18, 3, 4)
    one, two = LookupFreeQuantizer(18)(z_e).indices, LookupFreeQuantizer(18, (9, 9))(z_e).indices
    assert LookupFreeQuantizer(18, (9, 9)).codebook_sizes == (512, 512)
    assert torch.equal(one[:, 0], two[:, 0] * 512 + two[:, 1])


def test_the_gradient_is_straight_through() -> None:
    z_e, gradient = torch.randn(2, 3, 7, requires_grad=True), torch.randn(2, 3, 7)
    LookupFreeQuantizer(3)(z_e).z.backward(gradient)
    assert torch.equal(z_e.grad, gradient)


def test_the_commitment_pulls_z_e_to_its_sign() -> None:
    z_e = torch.tensor([[[0.5, -3.0], [-0.25, 2.0]]], requires_grad=True)
    loss = LookupFreeQuantizer(2, entropy_weight=0.0, commitment_weight=0.4)(z_e).loss
    assert float(loss.detach()) == pytest.approx(0.4 * (0.25 + 4 + 0.5625 + 1) / 4)
    loss.backward()
    torch.testing.assert_close(z_e.grad, 0.4 * 2 * (z_e.detach() - z_e.detach().sign()) / 4)


def test_each_weight_is_applied_once() -> None:
    z_e = torch.randn(2, 3, 7)
    entropy = LookupFreeQuantizer(3, entropy_weight=1.0, commitment_weight=0.0)(z_e).loss
    commitment = LookupFreeQuantizer(3, entropy_weight=0.0, commitment_weight=1.0)(z_e).loss
    both = LookupFreeQuantizer(3, entropy_weight=0.3, commitment_weight=0.7)(z_e).loss
    torch.testing.assert_close(both, 0.3 * entropy + 0.7 * commitment)


def test_a_negative_commitment_is_refused() -> None:
    with pytest.raises(ValueError, match="commitment_weight is -1"):
        LookupFreeQuantizer(3, commitment_weight=-1)
