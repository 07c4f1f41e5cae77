"""Codes on the unit sphere."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks import (
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    RotationTrick,
    VectorQuantizer,
)

BOTH = pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])
Kind = type[VectorQuantizer] | type[EMAVectorQuantizer]


def lengths(quantizer: CosineSimilarityQuantizer) -> Tensor:
    return quantizer.quantizer.codebook.vectors.detach().norm(dim=1)


def assert_unit(values: Tensor) -> None:
    torch.testing.assert_close(values, torch.ones_like(values), atol=2e-6, rtol=0)


@BOTH
def test_the_codes_are_unit_vectors_when_built_initialised_and_updated(kind: Kind) -> None:
    quantizer = CosineSimilarityQuantizer(kind(4, 9, decay=0.5, revival=0.5))
    assert_unit(lengths(quantizer))
    quantizer.initialise([5 * torch.randn(200, 4), torch.zeros(3, 4)])
    assert_unit(lengths(quantizer))
    parameters = list(quantizer.parameters())
    optimizer = torch.optim.Adam(parameters or [torch.zeros(1, requires_grad=True)], lr=0.1)
    for _ in range(30):
        latent = quantizer(7 * torch.randn(2, 4, 20))
        assert_unit(latent.z.norm(dim=1))
        if parameters:
            latent.loss.backward()
            optimizer.step()
        quantizer.update()
        assert_unit(lengths(quantizer))


def test_the_nearest_code_is_that_of_the_largest_cosine() -> None:
    quantizer, z_e = CosineSimilarityQuantizer(EMAVectorQuantizer(4, 30)), 10 * torch.randn(2, 4, 50)
    similarity = torch.einsum("bdx,kd->bkx", F.normalize(z_e, dim=1), quantizer.quantizer.codebook.vectors)
    assert torch.equal(quantizer(z_e).indices[:, 0], similarity.argmax(1))


def test_length_does_not_matter() -> None:
    quantizer, z_e = CosineSimilarityQuantizer(EMAVectorQuantizer(4, 30)), torch.randn(2, 4, 50)
    short, long = quantizer(z_e * 0.01), quantizer(z_e * 100)
    assert torch.equal(short.indices, long.indices)
    torch.testing.assert_close(short.loss, long.loss)


def test_the_loss_is_one_minus_the_cosine() -> None:
    quantizer, z_e = CosineSimilarityQuantizer(EMAVectorQuantizer(4, 6, commitment_weight=0.3)), torch.randn(2, 4, 50)
    latent = quantizer(z_e)
    cosine = F.cosine_similarity(z_e, latent.z, dim=1)
    torch.testing.assert_close(latent.loss, 0.3 * (2 * (1 - cosine)).mean() / 4)


@pytest.mark.parametrize("estimator", [None, RotationTrick()])
def test_the_gradient_is_along_the_sphere(estimator: RotationTrick | None) -> None:
    quantizer = CosineSimilarityQuantizer(EMAVectorQuantizer(4, 6, estimator=estimator))
    z_e = torch.randn(2, 4, 50, requires_grad=True)
    latent = quantizer(z_e)
    ((latent.z * torch.randn(2, 4, 50)).sum() + latent.loss).backward()
    assert z_e.grad is not None
    torch.testing.assert_close((z_e.grad * z_e.detach()).sum(1), torch.zeros(2, 50), atol=1e-5, rtol=0)


@BOTH
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8])
def test_zero_has_a_code_and_no_gradient(kind: Kind, size: float) -> None:
    quantizer = CosineSimilarityQuantizer(kind(4, 6))
    z_e = torch.randn(2, 4, 5)
    z_e[0] *= size
    latent = quantizer(z_e.requires_grad_())
    (latent.z.sum() + latent.loss).backward()
    quantizer.update()
    assert z_e.grad is not None and not z_e.grad[0].any() and bool(z_e.grad[1].any())
    assert_unit(latent.z.norm(dim=1))
    assert all(bool(value.isfinite().all()) for value in quantizer.state_dict().values())


def test_a_quantizer_without_a_codebook_is_refused() -> None:
    with pytest.raises(ValueError, match="quantizer is a FiniteScalarQuantizer, without a codebook"):
        CosineSimilarityQuantizer(FiniteScalarQuantizer((5, 5)))
