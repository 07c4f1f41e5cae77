"""Convolutional encoder and decoder for one, two and three grid dimensions.

The layout is that of van den Oord et al. 2017 (https://arxiv.org/abs/1711.00937): strided 4-wide convolutions, a 3-wide
one, then pre-activation residual layers. Every net here is local: no norm and no attention over the whole grid, so that
any part of a large input can be computed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.reach import Reach, reach_of

CONV: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def conv(dims: int, inputs: int, outputs: int, size: int = 3, stride: int = 1, bias: bool = True) -> nn.Module:
    """A convolution over `dims` grid dimensions that keeps the grid, or divides it by `stride`."""
    return CONV[dims](inputs, outputs, size, stride, padding=(size - 1) // 2, bias=bias)


class UpsamplingConv(nn.Module):
    """A transposed convolution, 4 wide, that doubles the grid: [B, inputs, *grid] to [B, outputs, *(2 x grid)]."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dims, self.inputs, self.outputs = dims, inputs, outputs
        self.kernel = CONV_TRANSPOSE[dims](inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    @property
    def reach(self) -> Reach:
        return reach_of(self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _AddBias.apply(self.kernel(x), self.bias)  # type: ignore[no-untyped-call]
        return result


class _AddBias(torch.autograd.Function):
    """x + bias, in place, with the bias's gradient as a matrix product: the sum over positions that a transposed
    convolution takes of channels-last bfloat16 costs a fifth of its backward pass on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(x.add_(bias.to(x.dtype).view(-1, *(1,) * (x.ndim - 2))))
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        rows = gradients[0].movedim(1, -1).reshape(-1, gradients[0].shape[1])
        return gradients[0], (rows.new_ones(1, len(rows)) @ rows)[0].float()


class ResidualLayer(nn.Module):
    """x + 1x1(relu(3x3(relu(x)))): [B, channels, *grid] to the same shape."""

    def __init__(self, channels: int, hidden: int, dims: int = 2) -> None:
        super().__init__()
        self.channels, self.hidden, self.dims = channels, hidden, dims
        self.spatial = conv(dims, channels, hidden, 3)
        self.pointwise = conv(dims, hidden, channels, 1)

    @property
    def reach(self) -> Reach:
        return reach_of(self.spatial)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.pointwise(F.relu(self.spatial(F.relu(x)), inplace=True))
        return x + added


class ResidualStack(nn.Module):
    """`layers` residual layers and a closing relu: [B, channels, *grid] to the same shape."""

    def __init__(self, channels: int, hidden: int, layers: int, dims: int = 2) -> None:
        super().__init__()
        self.channels, self.hidden, self.layers, self.dims = channels, hidden, layers, dims
        self.stack = nn.Sequential(*(ResidualLayer(channels, hidden, dims) for _ in range(layers)))

    @property
    def reach(self) -> Reach:
        return reach_of(self.stack)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.stack(x))


def _check_grid_nets(channels: int, width: int, halvings: int, dims: int) -> None:
    if dims not in CONV:
        raise ValueError(f"dims is {dims}; a net has 1, 2 or 3 grid dimensions")
    for name, value, least in (("channels", channels, 1), ("width", width, 2), ("halvings", halvings, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


class ConvEncoder(nn.Module):
    """Data, or the features of another, [B, channels, *grid] to features [B, width, *(grid / 2^halvings)].

    `width` channels inside (half of it after the first halving), `residual_layers` of `residual_width`.
    """

    def __init__(
        self,
        channels: int,
        width: int = 128,
        halvings: int = 2,
        residual_layers: int = 2,
        residual_width: int = 32,
        dims: int = 2,
    ) -> None:
        super().__init__()
        _check_grid_nets(channels, width, halvings, dims)
        self.channels, self.width, self.halvings = channels, width, halvings
        self.residual_layers, self.residual_width, self.dims = residual_layers, residual_width, dims
        widths = [channels] + [width // 2 if i == 0 and halvings > 1 else width for i in range(halvings)]
        down: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            down += [conv(dims, inputs, outputs, 4, stride=2), nn.ReLU(inplace=True)]
        self.down = nn.Sequential(*down, conv(dims, widths[-1], width, 3))
        self.residual = ResidualStack(width, residual_width, residual_layers, dims)

    @property
    def reach(self) -> Reach:
        return reach_of(self.down).then(self.residual.reach)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.residual(self.down(x))
        return features


class ConvDecoder(nn.Module):
    """The mirror image: z [B, dim, *grid] to [B, outputs, *(grid x 2^doublings)]."""

    def __init__(
        self,
        dim: int,
        outputs: int,
        width: int = 128,
        doublings: int = 2,
        residual_layers: int = 2,
        residual_width: int = 32,
        dims: int = 2,
    ) -> None:
        super().__init__()
        _check_grid_nets(outputs, width, doublings, dims)
        self.dim, self.outputs, self.width, self.doublings = dim, outputs, width, doublings
        self.residual_layers, self.residual_width, self.dims = residual_layers, residual_width, dims
        widths = [width] + [width // 2 if i == doublings - 2 else width for i in range(doublings - 1)]
        up: list[nn.Module] = []
        for inputs, channels in pairwise([*widths, outputs]):
            up += [UpsamplingConv(dims, inputs, channels), nn.ReLU(inplace=True)]
        # Without doublings the last layer is a 3-wide convolution, so that there is an output layer at all.
        self.up = nn.Sequential(*up[:-1]) if doublings else conv(dims, width, outputs, 3)
        self.stem = conv(dims, dim, width, 3)
        self.residual = ResidualStack(width, residual_width, residual_layers, dims)

    @property
    def reach(self) -> Reach:
        return reach_of(self.stem).then(self.residual.reach).then(reach_of(self.up))

    def forward(self, z: Tensor) -> Tensor:
        outputs: Tensor = self.up(self.residual(self.stem(z)))
        return outputs
