"""Transform coding: the transform of its encoder, and that its decoder learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.autoencoders import TransformCoding, decode_any, encode_any
from vqkit.bottlenecks import GaussianBottleneck, Identity, UniformScalarQuantizer
from vqkit.likelihoods import Gaussian, LogisticMixture
from vqkit.nn import AnalysisTransform, SynthesisTransform
from vqkit.nn.block_transform import cosine_basis
from vqkit.signal import Batch, Signal

COLOUR = Signal(3, (16, 24), 0.0, 255.0, 256)


def pictures(signal: Signal = COLOUR, count: int = 4) -> Tensor:
    """Smooth, as natural ones are: noise, blurred."""
    noise = torch.rand(count, signal.channels, *signal.grid, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).round()


@pytest.mark.parametrize(("channels", "side", "dims"), [(3, 4, 2), (1, 8, 1), (3, 8, 1), (2, 2, 3), (1, 1, 2)])
def test_the_basis_is_orthonormal_with_the_mean_first(channels: int, side: int, dims: int) -> None:
    size = channels * side**dims
    basis = cosine_basis(channels, side, dims, size)
    assert basis.shape == (size, channels, *[side] * dims)
    rows = basis.flatten(1)
    torch.testing.assert_close(rows @ rows.t(), torch.eye(size), atol=1e-5, rtol=0)
    if channels != 2:  # neither one channel nor the sum of three
        torch.testing.assert_close(rows[0], torch.full((size,), size**-0.5))
    assert torch.equal(cosine_basis(channels, side, dims, (size + 1) // 2), basis[: (size + 1) // 2])


def test_it_is_the_cosine_transform_by_its_formula() -> None:
    x = torch.randn(8)
    found = cosine_basis(1, 8, 1, 8)[:, 0] @ x
    for k in range(8):
        scale = (1 / 8 if k == 0 else 2 / 8) ** 0.5
        wanted = scale * sum(float(x[n]) * torch.cos(torch.tensor(torch.pi * (n + 0.5) * k / 8)) for n in range(8))
        assert float(found[k]) == pytest.approx(float(wanted), abs=1e-5)


def test_more_functions_than_a_block_has_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="a block of 2 along 2 axes has 12 dimensions, not 13"):
        cosine_basis(3, 2, 2, 13)


def test_untrained_it_gives_back_all_that_its_coefficients_hold() -> None:
    x = pictures()
    whole = TransformCoding(Identity(3 * 16), Gaussian(), 8, 2)(COLOUR)
    torch.testing.assert_close(whole.reconstruct(x), x, atol=1e-3, rtol=0)
    errors = []
    for dim in (2, 8, 24):
        model = TransformCoding(Identity(dim), Gaussian(), 8, 2)(COLOUR)
        errors.append(float((model.reconstruct(x) - x).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * float(x.var())


def test_untrained_an_orthonormal_transform_keeps_squared_errors() -> None:
    """So that the error of plain rounding is that of the formula, step^2 / 12, whatever the transform."""
    step, x = 0.1, pictures()
    model = TransformCoding(UniformScalarQuantizer(3 * 16, step, 1001), Gaussian(), 8, 2)(COLOUR)
    mse = float(((model.decode(model.encode(x)) - x) / 127.5).square().mean())
    assert mse == pytest.approx(step**2 / 12, rel=0.1)


def test_the_decoder_learns() -> None:
    torch.manual_seed(0)
    x = pictures(count=16)
    model = TransformCoding(Identity(4), Gaussian(0.35), 16, 2, 1, 8)(COLOUR)
    before = float((model.reconstruct(x) - x).square().mean())
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(60):
        optimizer.zero_grad()
        model(Batch(x, None, {}, [])).loss.backward()
        if step > 1:  # what ends in zeros passes nothing on at first
            assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters() if p.requires_grad)
        optimizer.step()
    assert float((model.reconstruct(x) - x).square().mean()) < 0.8 * before


@pytest.mark.parametrize(("halvings", "grid"), [(1, (19, 25)), (2, (10, 13)), (3, (5, 7))])
def test_pictures_of_any_size_pass_in_windows(halvings: int, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = TransformCoding(UniformScalarQuantizer(6, 0.3, 101), Gaussian(), 8, halvings, 1, 8)(COLOUR)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    x = pictures(COLOUR._replace(grid=(37, 50)), 1)
    whole, parts = (encode_any(model, x, window) for window in (None, 8))
    assert torch.equal(whole[0], parts[0]) and whole[0].shape[2:] == grid
    back = [decode_any(model, whole, {}, (37, 50), window) for window in (None, 8)]
    torch.testing.assert_close(*back, atol=1e-3, rtol=0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be halved 4 times"):
        TransformCoding(Identity(4), Gaussian(), 8, 4)(COLOUR)
    with pytest.raises(ValueError, match=r"a LogisticMixture has \d+ parameters of 3 channels"):
        TransformCoding(Identity(4), LogisticMixture(), 8, 2)(COLOUR)
    with pytest.raises(ValueError, match="GaussianBottleneck takes 8 channels and gives 4"):
        TransformCoding(GaussianBottleneck(4), Gaussian(), 8, 2)(COLOUR)
    with pytest.raises(ValueError, match="width is 0"):
        TransformCoding(Identity(4), Gaussian(), 0, 2)(COLOUR)
    with pytest.raises(ValueError, match="has 48 dimensions, not 49; take fewer coefficients"):
        TransformCoding(Identity(49), Gaussian(), 8, 2)(COLOUR)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_transforms_are_inverse_on_any_grid(dims: int) -> None:
    x = torch.randn(2, 2, *[8] * dims)
    size = 2 * 4**dims
    there, back = AnalysisTransform(2, size, 2, dims), SynthesisTransform(size, 2, 4, 2, 1, 4, dims)
    torch.testing.assert_close(back(there(x)), x, atol=1e-4, rtol=0)
