"""Analysis and synthesis transforms for coding: the cosine transform of blocks, which stays as it is, and filters
around it that start as nothing, so that training begins where classical transform coding ends (Goyal 2001,
https://doi.org/10.1109/79.952802; nets in its place, Balle et al. 2016, https://arxiv.org/abs/1611.01704)."""

from __future__ import annotations

import math
from functools import reduce
from itertools import product

import torch
from torch import Tensor, nn

from vqkit.nn.conv import CONV, CONV_TRANSPOSE, ResidualStack
from vqkit.nn.reach import Reach, reach_of

_OPPONENT = [[1, 1, 1], [1, 0, -1], [1, -2, 1]]  # of red, green and blue: brightness, and two kinds of colour
_FILTER_HALVINGS = 2  # between the data and the positions of a filter's net
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
    """Data [B, channels, *grid] -> coefficients [B, dim, *(grid / 2^halvings)]: a filter that starts as nothing, then
    the cosine transform of blocks.

    Args:
        channels: of the data.
        dim: coefficients of a block.
        width: channels inside the filter.
        halvings: blocks are 2^halvings wide.
        residual_layers: of the filter, each 3 wide where 4 x 4 pixels are one position.
        residual_width: channels inside a residual layer.
        dims: grid dimensions.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        width: int = 64,
        halvings: int = 3,
        residual_layers: int = 4,
        residual_width: int = 64,
        dims: int = 2,
    ) -> None:
        super().__init__()
        self.channels, self.dim, self.width, self.halvings = channels, dim, width, halvings
        self.residual_layers, self.residual_width, self.dims = residual_layers, residual_width, dims
        side = 2**halvings
        self.filter = _Filter(channels, width, halvings, residual_layers, residual_width, dims)
        self.blocks: nn.Module = CONV[dims](channels, dim, side, side, bias=False).requires_grad_(False)
        self.blocks.weight.copy_(cosine_basis(channels, side, dims, dim))  # type: ignore[operator]

    @property
    def reach(self) -> Reach:
        return self.filter.reach.then(reach_of(self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        coefficients: Tensor = self.blocks(self.filter(x))
        return coefficients


class SynthesisTransform(nn.Module):
    """Coefficients [B, dim, *grid] -> data [B, channels, *(grid x 2^halvings)]: the inverse of an `AnalysisTransform`
    that has not learned, as far as `dim` coefficients go, then a filter of its own. Arguments as there."""

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
        side = 2**halvings
        self.blocks: nn.Module = CONV_TRANSPOSE[dims](dim, channels, side, side, bias=False).requires_grad_(False)
        self.blocks.weight.copy_(cosine_basis(channels, side, dims, dim))
        self.filter = _Filter(channels, width, halvings, residual_layers, residual_width, dims)

    @property
    def reach(self) -> Reach:
        return reach_of(self.blocks).then(self.filter.reach)

    def forward(self, z: Tensor) -> Tensor:
        data: Tensor = self.filter(self.blocks(z))
        return data


class _Filter(nn.Module):
    """x + what a local net makes of it, which is nothing at first: [B, channels, *grid] to the same shape, as long as
    extents are multiples of 2^halvings. Around a transform of blocks it can do what pre- and post-filters do that make
    it a lapped one (Tran, Liang and Tu 2003, https://doi.org/10.1109/TSP.2003.811222)."""

    def __init__(
        self, channels: int, width: int, halvings: int, residual_layers: int, residual_width: int, dims: int
    ) -> None:
        super().__init__()
        side = 2 ** min(halvings, _FILTER_HALVINGS)
        shape = {"kernel_size": 3 * side, "stride": side, "padding": side}
        self.down = CONV[dims](channels, width, **shape)
        self.residual = ResidualStack(width, residual_width, residual_layers, dims)
        self.up = CONV_TRANSPOSE[dims](width, channels, **shape)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)

    @property
    def reach(self) -> Reach:
        return reach_of(self.down).then(self.residual.reach).then(reach_of(self.up))

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.up(self.residual(self.down(x)))
        return x + added
