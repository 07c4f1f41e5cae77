"""The convolutional nets: their shapes over one to three grid dimensions, and how far an input reaches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vqkit.nn import ConvDecoder, ConvEncoder, ResidualStack, conv
from vqkit.nn.conv import UpsamplingConv

GRIDS = {1: (24,), 2: (16, 8), 3: (8, 16, 8)}
SMALL = {"width": 8, "residual_layers": 2, "residual_width": 4}


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
def test_the_encoder_halves_the_grid_and_the_decoder_doubles_it_back(dims: int, halvings: int) -> None:
    grid = GRIDS[dims]
    encoder = ConvEncoder(3, halvings=halvings, dims=dims, **SMALL)
    decoder = ConvDecoder(5, 6, doublings=halvings, dims=dims, **SMALL)
    features = encoder(torch.randn(2, 3, *grid))
    assert features.shape == (2, 8, *(n // 2**halvings for n in grid))
    assert decoder(torch.randn(2, 5, *features.shape[2:])).shape == (2, 6, *grid)


@pytest.mark.parametrize("dims", GRIDS)
def test_conv_keeps_the_grid_or_divides_it(dims: int) -> None:
    x = torch.randn(1, 2, *GRIDS[dims])
    assert conv(dims, 2, 3)(x).shape == (1, 3, *GRIDS[dims])
    assert conv(dims, 2, 3, 1)(x).shape == (1, 3, *GRIDS[dims])
    assert conv(dims, 2, 3, 4, 2)(x).shape == (1, 3, *(n // 2 for n in GRIDS[dims]))


@pytest.mark.parametrize("dims", GRIDS)
def test_an_upsampling_conv_has_the_gradients_of_a_transposed_convolution(dims: int) -> None:
    ours, x = UpsamplingConv(dims, 3, 2), torch.randn(2, 3, *GRIDS[dims])
    plain = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1](3, 2, 4, stride=2, padding=1)
    nn.init.normal_(ours.bias)
    plain.weight.data.copy_(ours.kernel.weight.data)
    plain.bias.data.copy_(ours.bias.data)
    y, wanted = ours(x), plain(x)
    torch.testing.assert_close(y, wanted)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    wanted.backward(gradient)
    torch.testing.assert_close(ours.kernel.weight.grad, plain.weight.grad)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad, atol=1e-3, rtol=1e-4)


def reach(net: nn.Module, x: Tensor, pixel: int) -> Tensor:
    """Which positions of the output change with one pixel of a 1-d input."""
    changed = x.clone()
    changed[..., pixel] += 1.0
    before, after = net(x), net(changed)
    return (before != after).any(1)[0].nonzero()[:, 0]


@torch.no_grad()
def test_the_encoder_is_local() -> None:
    reached = reach(ConvEncoder(2, halvings=2, dims=1, **SMALL), torch.randn(1, 2, 128), 64)
    assert 16 in reached and reached.min() >= 16 - 5 and reached.max() <= 16 + 5


@torch.no_grad()
def test_the_decoder_is_local() -> None:
    reached = reach(ConvDecoder(2, 1, doublings=2, dims=1, **SMALL), torch.randn(1, 2, 64), 32)
    assert 130 in reached and reached.min() >= 4 * 32 - 20 and reached.max() <= 4 * 32 + 24


@torch.no_grad()
def test_a_crop_is_encoded_like_the_whole() -> None:
    encoder, x = ConvEncoder(1, halvings=2, dims=2, **SMALL), torch.randn(1, 1, 64, 64)
    whole, crop = encoder(x), encoder(x[..., 8:, 8:])
    torch.testing.assert_close(crop[..., 5:, 5:], whole[..., 7:, 7:], atol=1e-6, rtol=1e-5)


def test_a_residual_stack_without_layers_is_a_relu() -> None:
    x = torch.randn(2, 4, 6)
    assert torch.equal(ResidualStack(4, 2, 0, dims=1)(x), x.relu())


def test_a_residual_layer_adds_to_its_input() -> None:
    stack, x = ResidualStack(4, 2, 3, dims=2), torch.randn(2, 4, 6, 6)
    assert not torch.equal(stack(x), x.relu())
    for layer in stack.stack:
        nn.init.zeros_(layer.pointwise.weight)
        nn.init.zeros_(layer.pointwise.bias)
    assert torch.equal(stack(x), x.relu())


@pytest.mark.parametrize("net", [lambda **k: ConvEncoder(3, **k), lambda **k: ConvDecoder(4, 3, **k)])
@pytest.mark.parametrize(("arguments", "name"), [({"dims": 4}, "dims is 4"), ({"width": 1}, "width is 1")])
def test_bad_arguments_are_refused_by_name(net: type[nn.Module], arguments: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        net(**arguments)


def test_negative_halvings_are_refused() -> None:
    with pytest.raises(ValueError, match="halvings is -1"):
        ConvEncoder(3, halvings=-1)
    with pytest.raises(ValueError, match="at least 0"):
        ConvDecoder(4, 3, doublings=-1)
    with pytest.raises(ValueError, match="channels is 0"):
        ConvEncoder(0)
