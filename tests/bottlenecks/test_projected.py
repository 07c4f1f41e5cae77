"""Factorised codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import CosineSimilarityQuantizer, EMAVectorQuantizer, ProjectedQuantizer, VectorQuantizer


def factorised(dim: int = 64) -> ProjectedQuantizer:
    return ProjectedQuantizer(CosineSimilarityQuantizer(EMAVectorQuantizer(8, 1024)), dim)


@pytest.mark.parametrize("dim", [7, 64])
@pytest.mark.parametrize("grid", [(1,), (3,), (13, 17)])
def test_lookup_is_z_to_the_bit_whatever_the_batch_and_the_memory_format(dim: int, grid: tuple[int, ...]) -> None:
    quantizer, z_e = factorised(dim).eval(), torch.randn(5, dim, *grid)
    latent = quantizer(z_e)
    assert torch.equal(quantizer.lookup(latent.indices), latent.z)
    for b in range(5):
        one = quantizer.lookup(latent.indices[b : b + 1])
        assert torch.equal(one[0], latent.z[b]) and torch.equal(quantizer(z_e[b : b + 1]).z, one)
    assert torch.equal(quantizer.lookup(latent.indices[..., :1]), latent.z[..., :1])
    if len(grid) == 2:
        assert torch.equal(quantizer(z_e.contiguous(memory_format=torch.channels_last)).z, latent.z)


def test_up_is_a_linear_layer() -> None:
    quantizer = factorised().eval()
    indices = torch.randint(1024, (2, 1, 9))
    wanted = quantizer.up(quantizer.quantizer.lookup(indices).movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(quantizer.lookup(indices), wanted)


def test_it_is_the_inner_quantizer_between_the_two_maps() -> None:
    quantizer, z_e = factorised(), torch.randn(2, 64, 9)
    inner = quantizer.quantizer(quantizer.down(z_e.movedim(1, -1)).movedim(-1, 1))
    latent = quantizer(z_e)
    assert torch.equal(latent.indices, inner.indices)
    torch.testing.assert_close(latent.loss, inner.loss * 8 / 64)  # so that loss x dimensions is what it was


def test_a_gradient_reaches_both_maps_and_z_e() -> None:
    quantizer, z_e = ProjectedQuantizer(VectorQuantizer(3, 8), 6), torch.randn(2, 6, 9, requires_grad=True)
    gradient = torch.randn(2, 6, 9)
    quantizer(z_e).z.backward(gradient)
    through = quantizer.down.weight.t() @ quantizer.up.weight.t()  # straight through, between the maps
    torch.testing.assert_close(z_e.grad, (through @ gradient).detach())
    for parameter in (*quantizer.down.parameters(), *quantizer.up.parameters()):
        assert parameter.grad is not None and bool(parameter.grad.any())
    assert quantizer.quantizer.codebook.vectors.grad is None


def test_initialisation_reaches_the_inner_quantizer_projected() -> None:
    quantizer, seen = ProjectedQuantizer(EMAVectorQuantizer(3, 2), 6), torch.randn(100, 6)
    quantizer.initialise([seen[:50], seen[50:]])
    alone = EMAVectorQuantizer(3, 2)
    alone.initialise([quantizer.down(seen).detach()])
    torch.testing.assert_close(quantizer.quantizer.codebook.vectors, alone.codebook.vectors)


def test_an_update_reaches_the_inner_quantizer() -> None:
    quantizer = factorised()
    quantizer(torch.randn(2, 64, 9))
    quantizer.update()
    codebook: Tensor = quantizer.quantizer.quantizer.codebook.updates
    assert int(codebook) == 1


def test_no_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="dim is 0"):
        ProjectedQuantizer(VectorQuantizer(3, 8), 0)
