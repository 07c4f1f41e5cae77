"""Transforms for coding: the cosine transform of blocks as the analysis, its inverse and a filter as the synthesis
(Goyal 2001, https://doi.org/10.1109/79.952802)."""

from __future__ import annotations

import math
from functools import reduce
from itertools import product

import torch
from torch import Tensor, nn

from vqkit.nn.conv import CONV, CONV_TRANSPOSE, ResidualStack
from vqkit.nn.reach import Reach, reach_of

_OPPONENT = [[1, 1, 1], [1, 0, -1], [1, -2, 1]]  # of red, green and blue: brightness, and two kinds of colour
_NET_HALVINGS = 2  # between the data and the positions of a synthesis net
_COLOUR = 10  # times less variance has colour than brightness, about


def cosine_basis(channels: int, side: int, dims: int, count: int) -> Tensor:
    """[count, channels, *(side,) * dims], orthonormal: the discrete cosine transform of blocks (Ahmed et al. 1974,
    https://doi.org/10.1109/T-C.1974.223784), of three channels that of brightness and colour, the functions of the
    greatest variance in natural data first, which falls with the square of the frequency.

    Raises ValueError where a block has fewer dimensions than `count`.
    """
    if count > channels * side**dims:
        raise ValueError(
            f"a block of {side} along {dims} axes has {channels * side**dims} dimensions, not {count}; take fewer "
            "coefficients, the bottleneck's dim, or larger blocks, by halvings"
        )
    place, frequency = torch.arange(side, dtype=torch.float64) + 0.5, torch.arange(side)
    waves = torch.cos(math.pi / side * frequency[:, None] * place)
    mixes = torch.tensor(_OPPONENT if channels == 3 else torch.eye(channels).tolist(), dtype=torch.float64)
    waves, mixes = (rows / rows.norm(dim=1, keepdim=True) for rows in (waves, mixes))

    def rank(function: tuple[int, ...]) -> float:
        mix, *frequencies = function
        return (0.5 + sum(f**2 for f in frequencies)) * (_COLOUR if channels == 3 and mix else 1)

    chosen = sorted(product(range(channels), *[range(side)] * dims), key=rank)[:count]
    factors = [[mixes[mix], *(waves[f] for f in frequencies)] for mix, *frequencies in chosen]
    return torch.stack([reduce(lambda a, b: a[..., None] * b, each) for each in factors]).float()


class AnalysisTransform(nn.Module):
    """Data [B, channels, *grid] -> coefficients [B, dim, *(grid / 2^halvings)] of the cosine transform of blocks, with
    nothing to learn."""

    def __init__(self, channels: int, dim: int, halvings: int = 3, dims: int = 2) -> None:
        super().__init__()
        self.channels, self.dim, self.halvings, self.dims = channels, dim, halvings, dims
        side = 2**halvings
        self.blocks: nn.Module = CONV[dims](channels, dim, side, side, bias=False).requires_grad_(False)
        self.blocks.weight.copy_(cosine_basis(channels, side, dims, dim))  # type: ignore[operator]

    @property
    def reach(self) -> Reach:
        return reach_of(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        coefficients: Tensor = self.blocks(x)
        return coefficients


class SynthesisTransform(nn.Module):
    """Coefficients [B, dim, *grid] -> data [B, channels, *(grid x 2^halvings)]: the inverse of an `AnalysisTransform`,
    as far as `dim` coefficients go, + what a local net makes of that, which is nothing at first.

    Args:
        dim: coefficients of a block.
        channels: of the data.
        width: channels inside the net.
        halvings: blocks are 2^halvings wide.
        residual_layers: of the net, each 3 wide where 4 pixels a side, or a block that is smaller, are one position.
        residual_width: channels inside a residual layer.
        dims: grid dimensions.
    """

    def __init__(
        self,
        dim: int,
        channels: int,
        width: int = 64,
        halvings: int = 3,
        residual_layers: int = 4,
        residual_width: int = 64,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.dim, self.channels, self.width, self.halvings = dim, channels, width, halvings
        self.residual_layers, self.residual_width, self.dims = residual_layers, residual_width, dims
        side, shrink = 2**halvings, 2 ** min(halvings, _NET_HALVINGS)
        self.blocks: nn.Module = CONV_TRANSPOSE[dims](dim, channels, side, side, bias=False).requires_grad_(False)
        self.blocks.weight.copy_(cosine_basis(channels, side, dims, dim))
        self.down = CONV[dims](channels, width, 3 * shrink, shrink, padding=shrink)
        self.residual = ResidualStack(width, residual_width, residual_layers, dims)
        self.up = CONV_TRANSPOSE[dims](width, channels, 3 * shrink, shrink, padding=shrink)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    @property
    def reach(self) -> Reach:
        return reach_of(self.blocks).then(reach_of(self.down)).then(self.residual.reach).then(reach_of(self.up))

    def forward(self, z: Tensor) -> Tensor:
        data = self.blocks(z)
        filtered: Tensor = data + self.up(self.residual(self.down(data)))
        return filtered
