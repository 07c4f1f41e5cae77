"""A frozen codebook behind a learned map."""

from __future__ import annotations

import pytest
import torch

from vqkit.bottlenecks import SimVectorQuantizer


def test_it_searches_the_mapped_codebook() -> None:
    quantizer, z_e = SimVectorQuantizer(4, 30), torch.randn(2, 4, 50)
    quantizer.map.data.normal_()
    codes = quantizer.vectors @ quantizer.map.t().detach()
    torch.testing.assert_close(quantizer.codes(), codes)
    latent = quantizer(z_e)
    assert torch.equal(latent.indices[:, 0], torch.cdist(z_e.movedim(1, 2), codes).argmin(2))
    torch.testing.assert_close(latent.z, codes[latent.indices[:, 0]].movedim(2, 1))


def test_the_map_alone_learns_and_moves_every_code() -> None:
    quantizer, z_e = SimVectorQuantizer(4, 30), torch.randn(2, 4, 5)
    assert [name for name, _ in quantizer.named_parameters()] == ["map"]
    before, frozen = quantizer.codes().detach(), quantizer.vectors.clone()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=1.0)
    quantizer(z_e).loss.backward()
    optimizer.step()
    assert torch.equal(quantizer.vectors, frozen)
    assert bool((quantizer.codes().detach() != before).any(1).all())  # though 10 vectors won at most 10 of them


def test_the_two_losses_pull_apart_by_their_weights() -> None:
    quantizer, z_e = SimVectorQuantizer(2, 5, commitment_weight=0.3, codebook_weight=0.7), torch.randn(2, 2, 9)
    z_e.requires_grad_()
    latent = quantizer(z_e)
    difference = (z_e - latent.z).detach()
    latent.loss.backward()
    torch.testing.assert_close(latent.loss.detach(), (0.3 + 0.7) * difference.square().mean())
    torch.testing.assert_close(z_e.grad, 0.3 * 2 * difference / difference.numel())
    chosen = quantizer.vectors[latent.indices[:, 0]]  # [B, x, D]
    wanted = -0.7 * 2 * torch.einsum("bix,bxj->ij", difference, chosen) / difference.numel()
    torch.testing.assert_close(quantizer.map.grad, wanted)


def test_training_fits_codes_to_data_that_is_elsewhere() -> None:
    quantizer, mixing = SimVectorQuantizer(4, 64), 3 * torch.randn(4, 4)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.05)
    errors = []
    for _ in range(150):
        z_e = (torch.randn(4, 64, 4) @ mixing).movedim(2, 1)
        latent = quantizer(z_e)
        optimizer.zero_grad()
        latent.loss.backward()
        optimizer.step()
        quantizer.update()
        errors.append(float((z_e - latent.z.detach()).square().mean()))
    assert errors[-1] < 0.4 * errors[0]
    assert len(quantizer((torch.randn(40, 64, 4) @ mixing).movedim(2, 1)).indices.unique()) > 48  # of 64: none died


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"codebook_size": 0}, "codebook_size is 0"),
        ({"dim": 0}, "dim is 0"),
        ({"commitment_weight": -1.0}, "commitment_weight is -1.0"),
        ({"codebook_weight": 0.0}, "codebook_weight is 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SimVectorQuantizer(**{"dim": 2, "codebook_size": 4, **arguments})
