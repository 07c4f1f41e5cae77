"""Distortions train and reconstruct; what they have no distribution for they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from vqkit.autoencoders import FeedForwardDecoder
from vqkit.likelihoods import L1, Distortion, Laplace, MultiscaleSSIM
from vqkit.signal import Signal

PICTURES = Signal(3, (22, 24), 0.0, 255.0, 256)


def pictures(signal: Signal = PICTURES, count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, signal.channels, *signal.grid), dtype=torch.uint8)


@pytest.mark.parametrize("distortion", [L1(), MultiscaleSSIM(2)], ids=lambda distortion: type(distortion).__name__)
def test_a_decoder_trains_and_reconstructs_by_it_but_has_neither_nats_nor_samples(distortion: Distortion) -> None:
    decoder = FeedForwardDecoder(PICTURES, nn.Conv2d(4, 3, 1), distortion)
    z, x = torch.randn(2, 4, 22, 24), pictures()
    optimizer, losses = torch.optim.Adam(decoder.parameters(), 0.05), []
    for _ in range(10):
        optimizer.zero_grad()
        loss = decoder.loss(x, z, {})
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert decoder.reconstruct(z, {}).shape == x.shape
    sentence = rf"^{type(distortion).__name__} is a distortion and no likelihood.* likelihoods\.LogisticMixture"
    with pytest.raises(ValueError, match=sentence):
        decoder.nll(x, z, {})
    with pytest.raises(ValueError, match=sentence):
        decoder.sample(z, {})
    with pytest.raises(ValueError, match=r"likelihoods\.Gaussian"):
        distortion.nll(x, x, PICTURES._replace(levels=None))


def test_l1_is_the_weighted_absolute_error_and_the_laplace_has_its_gradient() -> None:
    signal, x = Signal(1, (3,), -2.0, 4.0, None), torch.tensor([[[-2.0, 1.0, 4.0]]])
    given = torch.tensor([[[0.5, 0.5, 1.0]]], requires_grad=True)
    torch.testing.assert_close(L1(3.0).loss(given, x, signal), torch.tensor([[[4.5, 1.5, 0.0]]]))
    gradients = [torch.autograd.grad(part.loss(given, x, signal).sum(), given) for part in (L1(4.0), Laplace(0.25))]
    torch.testing.assert_close(*gradients)


def test_one_scale_is_the_structural_similarity() -> None:
    x, given = pictures(), torch.randn(2, 3, 22, 24)
    similarity = structural_similarity_index_measure((given + 1) / 2, x.float() / 255, data_range=1.0, reduction="none")
    loss = MultiscaleSSIM(1, weight=3.0).loss(given, x, PICTURES)
    torch.testing.assert_close(loss.mean((1, 2, 3)), 3 * (1 - similarity) / 2)


def test_it_is_zero_where_the_picture_is_exact_and_one_number_a_picture() -> None:
    x = pictures()
    exact = PICTURES.normalise(x)
    torch.testing.assert_close(MultiscaleSSIM(2).loss(exact, x, PICTURES), torch.zeros(x.shape), atol=1e-5, rtol=0)
    noisy = exact.clone()
    noisy[1] += torch.randn(3, 22, 24)
    loss = MultiscaleSSIM(2).loss(noisy, x, PICTURES)
    assert torch.equal(loss, loss[:, :1, :1, :1].expand_as(loss))
    assert float(loss[0].max()) < 1e-5 < 0.01 < float(loss[1].max())


@pytest.mark.parametrize(("scales", "side"), [(1, 11), (2, 22), (3, 44), (4, 99), (5, 176)])
def test_each_number_of_scales_has_its_least_picture(scales: int, side: int) -> None:
    signal = Signal(1, (side, side), 0.0, 255.0, 256)
    given = torch.zeros(1, 1, side, side, requires_grad=True)
    MultiscaleSSIM(scales).loss(given, pictures(signal, 1), signal).mean().backward()
    assert bool(given.grad.isfinite().all()) and bool((given.grad != 0).any())
    remedy = f"set scales to {scales - 1}" if scales > 1 else r"use likelihoods\.L1"
    with pytest.raises(ValueError, match=f"at least {side} pixels a side, and these are {side - 1} x 300; {remedy}"):
        MultiscaleSSIM(scales).outputs(signal._replace(grid=(side - 1, 300)))


@pytest.mark.parametrize("grid", [(64,), (64, 64, 64)])
def test_it_is_for_pictures_alone(grid: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"for pictures, and this signal has {len(grid)} grid dimensions; use likeli"):
        MultiscaleSSIM().outputs(Signal(1, grid, 0.0, 255.0, 256))


def test_opposed_structures_have_a_gradient() -> None:
    x = pictures()
    given = (-PICTURES.normalise(x)).requires_grad_()
    MultiscaleSSIM(2).loss(given, x, PICTURES).mean().backward()
    assert bool(given.grad.isfinite().all()) and float(given.grad.abs().max()) > 0
