"""The multi-scale residual autoencoder: one grid a scale, each coding what the coarser scales left."""

from __future__ import annotations

from itertools import pairwise

from vqkit.autoencoders.architecture import Architecture, copies, decoder_of, halved
from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.autoencoders.level import ResidualLevel
from vqkit.bottlenecks import Bottleneck
from vqkit.likelihoods import Reconstruction
from vqkit.nn import AreaPyramid, ConvDecoder, ConvEncoder
from vqkit.signal import Signal


class MultiscaleResidual(Architecture):
    """An autoencoder whose levels are scales of one feature map (VAR, Tian et al. 2024,
    https://arxiv.org/abs/2404.02905); the z of all scales sum up to what the decoder gets, so that the first few scales
    are enough for it. Each scale has a codebook of its own, as what is left grows smaller from scale to scale.

    Args:
        bottleneck: a copy for each scale, or a list, coarse to fine; all of one `dim`.
        likelihood: p(x | parameters) of the decoder, or a distortion.
        width: channels inside the nets.
        halvings: how often the grid is halved for the finest scale.
        scales: positions along the shortest side of each scale's grid, coarse to fine; the last is all of them. By
            default 1, 2, 4 and so on.
        residual_layers: residual layers on the finest scale's grid, on each side.
        residual_width: channels inside a residual layer.
        level_dropout: share of the samples in training for which finer scales are left out; without it too the first
            scales can be decoded alone, and with it they are trained for that.
        label_dim: channels in which the decoder is told the label, beside z; 0 tells it nothing.
    """

    def __init__(
        self,
        bottleneck: Bottleneck | list[Bottleneck],
        likelihood: Reconstruction,
        width: int = 128,
        halvings: int = 2,
        scales: list[int] | None = None,
        residual_layers: int = 2,
        residual_width: int = 32,
        level_dropout: float = 0.0,
        label_dim: int = 0,
    ) -> None:
        self.bottleneck, self.likelihood, self.width, self.halvings = bottleneck, likelihood, width, halvings
        self.scales, self.residual_layers, self.residual_width = scales, residual_layers, residual_width
        self.level_dropout, self.label_dim = level_dropout, label_dim

    def __call__(self, signal: Signal) -> Autoencoder:
        finest = halved(signal.grid, self.halvings)
        grids = _grids(finest, self.scales)
        bottlenecks = copies(self.bottleneck, len(grids))
        dims = sorted({bottleneck.dim for bottleneck in bottlenecks})
        if len(dims) > 1:
            raise ValueError(f"bottlenecks of {dims} dimensions cannot add to each other; give all scales the same dim")
        shape = (self.width, self.halvings, self.residual_layers, self.residual_width, len(finest))
        return Autoencoder(
            signal,
            AreaPyramid(ConvEncoder(signal.channels, *shape), self.width, dims[0], grids),
            [ResidualLevel(bottleneck, finest) for bottleneck in bottlenecks],
            decoder_of(signal, self.likelihood, dims[0], self.label_dim, lambda i, o: ConvDecoder(i, o, *shape)),
            self.level_dropout,
        )


def _grids(finest: tuple[int, ...], scales: list[int] | None) -> list[tuple[int, ...]]:
    """One a scale, coarse to fine, each of about the proportions of the finest."""
    shortest = min(finest)
    if scales is None:
        scales = [2**k for k in range((shortest - 1).bit_length())] + [shortest]
    if not scales or scales[0] < 1 or scales[-1] != shortest or any(a >= b for a, b in pairwise(scales)):
        raise ValueError(f"scales are {scales}; list growing numbers that end with {shortest}, the finest grid's side")
    return [tuple(round(n * scale / shortest) for n in finest) for scale in scales]
