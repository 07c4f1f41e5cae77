"""How far nets say that they see, against what a change of their input changes."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from vqkit.nn import AreaPyramid, ConvDecoder, ConvEncoder, Flatten, Pyramid, Reach, ResidualStack, reach_of, reaches_of
from vqkit.nn.conv import UpsamplingConv

NETS = {"width": 4, "residual_width": 3}


def overhang(net: nn.Module, dims: int, extent: int, stride: Fraction) -> Fraction:
    """How far beyond what an output position lies over the inputs reach that have a part in it, at most. Weights and
    inputs are positive, so that nothing cancels out and no relu is closed."""
    for parameter in net.parameters():
        parameter.data.abs_().add_(0.1)
    x = torch.rand(1, 2, extent, *(8,) * (dims - 1), requires_grad=True)
    y: Tensor = net(x)
    found = Fraction(0)
    middle = y.shape[2] // 2
    period = max(1, int(1 / stride))  # outputs that lie over one input see it differently
    for i in range(middle, middle + 2 * period):
        (gradient,) = torch.autograd.grad(y[0, :, i].sum(), x, retain_graph=True)
        seen = gradient.abs().movedim(2, 0).flatten(1).sum(1).nonzero()[:, 0].tolist()
        found = max(found, stride * i - seen[0], seen[-1] + 1 - stride * (i + 1))
    return found


EXACT = {
    "3 wide": (nn.Conv1d(2, 3, 3, padding=1), 1, 1),
    "5 wide, dilated": (nn.Conv1d(2, 3, 5, padding=6, dilation=3), 1, 6),
    "4 wide, stride 2": (nn.Conv1d(2, 3, 4, 2, padding=1), 2, 1),
    "4 wide, stride 2, shifted": (nn.Conv1d(2, 3, 5, 2, padding=2), 2, 2),
    "8 wide, stride 4": (nn.Conv1d(2, 3, 8, 4, padding=2), 4, 2),
    "patches": (nn.Conv1d(2, 3, 4, 4), 4, 0),
    "edge repeated": (nn.Conv1d(2, 3, 3, padding=1, padding_mode="replicate"), 1, 1),
    "planes": (nn.Conv2d(2, 3, (5, 3), padding=(2, 1)), 1, 2),
    "transposed": (nn.ConvTranspose1d(2, 3, 4, 2, padding=1), Fraction(1, 2), 1),
    "transposed, 3 wide": (nn.ConvTranspose1d(2, 3, 3, 2, padding=1, output_padding=1), Fraction(1, 2), 1),
    "transposed, dilated": (nn.ConvTranspose1d(2, 3, 3, 1, padding=2, dilation=2), 1, 2),
    "transposed patches": (nn.ConvTranspose1d(2, 3, 4, 4), Fraction(1, 4), Fraction(3, 4)),
    "upsampling": (UpsamplingConv(1, 2, 3), Fraction(1, 2), 1),
    "repetition": (nn.Upsample(scale_factor=3), Fraction(1, 3), Fraction(2, 3)),
    "down and up again": (nn.Sequential(nn.Conv1d(2, 2, 2, 2), nn.ConvTranspose1d(2, 2, 2, 2)), 1, 1),
    "residual stack": (ResidualStack(2, 3, 4, dims=1), 1, 4),
    "encoder": (ConvEncoder(2, halvings=2, residual_layers=2, dims=1, **NETS), 4, 15),
    "no halving": (ConvEncoder(2, halvings=0, residual_layers=0, dims=1, **NETS), 1, 1),
    "no doubling": (ConvDecoder(2, 3, doublings=0, residual_layers=1, dims=1, **NETS), 1, 3),
    "encoder of planes": (ConvEncoder(2, halvings=1, residual_layers=1, dims=2, **NETS), 2, 5),
}
BOUNDS = {
    "lines": (nn.Upsample(scale_factor=2, mode="linear"), Fraction(1, 2), Fraction(3, 2)),
    "longer lines": (nn.Upsample(scale_factor=5, mode="linear"), Fraction(1, 5), Fraction(3, 2)),
    "decoder": (ConvDecoder(2, 3, doublings=2, residual_layers=2, dims=1, **NETS), Fraction(1, 4), Fraction(9, 2)),
    "deep decoder": (ConvDecoder(2, 3, 4, 3, 0, dims=1), Fraction(1, 8), Fraction(11, 4)),
    "decoder of planes": (ConvDecoder(2, 3, 4, 1, 1, 3, dims=2), Fraction(1, 2), Fraction(3)),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_net_sees_as_far_as_it_says(name: str) -> None:
    net, stride, halo = EXACT[name]
    assert reach_of(net) == Reach(Fraction(stride), Fraction(halo))
    assert overhang(net, 2 if "planes" in name else 1, 64, Fraction(stride)) == halo


@pytest.mark.parametrize("name", BOUNDS)
def test_what_a_net_says_is_a_bound_less_than_a_position_too_wide(name: str) -> None:
    net, stride, halo = BOUNDS[name]
    assert reach_of(net) == Reach(stride, halo)
    assert halo - 1 < overhang(net, 2 if "planes" in name else 1, 32, stride) <= halo


def test_pixel_shuffle_is_local() -> None:
    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2))
    assert reach_of(net) == (Fraction(1, 2), Fraction(3, 2))
    assert overhang(net, 2, 32, Fraction(1, 2)) == Fraction(3, 2)


def test_each_map_of_a_pyramid_is_seen_from_further_away() -> None:
    stages = [ConvEncoder(2, halvings=1, residual_layers=1, dims=1, **NETS)]
    stages.append(ConvEncoder(4, halvings=2, residual_layers=0, dims=1, **NETS))
    coarse, fine = reaches_of(pyramid := Pyramid(stages))
    assert fine == (2, 5) and coarse == (8, 5 + 2 * (1 + 2 + 4))
    for number, reach in enumerate((coarse, fine)):
        assert overhang(_MapOf(pyramid, number), 1, 128, reach.stride) == reach.halo


class _MapOf(nn.Module):
    def __init__(self, pyramid: Pyramid, number: int) -> None:
        super().__init__()
        self.pyramid, self.number = pyramid, number

    def forward(self, x: Tensor) -> Tensor:
        return self.pyramid(x)[self.number]


@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(3, 3),
        nn.GroupNorm(1, 3),
        nn.AdaptiveAvgPool2d(4),
        nn.Upsample(size=(8, 8)),
        nn.Upsample(scale_factor=1.5),
        nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"),
        nn.Sequential(nn.ReLU(), nn.InstanceNorm2d(3)),
    ],
)
def test_what_does_not_say_is_refused(net: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"is bound to samples of the size that it was made for; resize them to that"):
        reach_of(net)


@pytest.mark.parametrize("encoder", [Flatten(), AreaPyramid(ConvEncoder(2, 4), 4, 3, [(1, 1), (2, 2)])])
def test_an_encoder_that_knows_one_size_is_refused(encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"{type(encoder).__name__} is bound to"):
        reaches_of(encoder)


@pytest.mark.parametrize(
    "net",
    [
        nn.Conv1d(2, 3, 3),
        nn.Conv1d(2, 3, 4, padding=1),
        nn.Conv1d(2, 3, 3, 2),
        nn.Conv2d(2, 3, 2, (2, 1)),
        nn.Conv2d(2, 3, (4, 2), (4, 2)),
        nn.ConvTranspose1d(2, 3, 3, 2, padding=1),
    ],
)
def test_a_convolution_that_changes_the_grid_otherwise_is_refused(net: nn.Module) -> None:
    with pytest.raises(ValueError, match="does not put out a grid of the input's size"):
        reach_of(net)
