"""The convolutional autoencoder of one or more levels, sized by its signal: what most recipes name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from vqkit.autoencoders.architecture import Architecture, copies, decoder_of, halved
from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.autoencoders.level import ProjectedLevel
from vqkit.bottlenecks import Bottleneck
from vqkit.likelihoods import Reconstruction
from vqkit.nn import ConvDecoder, ConvEncoder, Pyramid
from vqkit.priors import Prior
from vqkit.signal import Layout, Signal


class Convolutional(Architecture):
    """An autoencoder with one level on a grid of 1 / 2^halvings, or with several, each on its own grid (VQ-VAE-2,
    Razavi et al. 2019, https://arxiv.org/abs/1906.00446); for one to three grid dimensions.

    Args:
        bottleneck: what stands between encoder and decoder; with several levels a copy for each, or a list, coarse to
            fine.
        likelihood: p(x | parameters) of the decoder, or a distortion; beside a `value_prior`, of reconstructions alone.
        width: channels inside the nets.
        halvings: how often the grid is halved; 2 gives 1/16 as many positions as a picture has pixels. A list is one
            number a level, coarse to fine, such as [3, 2].
        residual_layers: residual layers on the grid of a level, on each side.
        residual_width: channels inside a residual layer.
        level_dropout: share of the samples in training for which finer levels are left out, so that the coarse levels
            can be decoded alone.
        label_dim: channels in which the decoder is told the label, beside z; 0 tells it nothing.
        value_prior: makes p(x | z) autoregressive, a prior over the data's integers given z, such as PixelCNN with
            context_channels; null takes all values as independent given z.
    """

    def __init__(
        self,
        bottleneck: Bottleneck | list[Bottleneck],
        likelihood: Reconstruction,
        width: int = 128,
        halvings: int | list[int] = 2,
        residual_layers: int = 2,
        residual_width: int = 32,
        level_dropout: float = 0.0,
        label_dim: int = 0,
        value_prior: Callable[[Layout], Prior] | None = None,
    ) -> None:
        self.bottleneck, self.likelihood, self.width, self.halvings = bottleneck, likelihood, width, halvings
        self.residual_layers, self.residual_width = residual_layers, residual_width
        self.level_dropout, self.label_dim, self.value_prior = level_dropout, label_dim, value_prior

    def __call__(self, signal: Signal) -> Autoencoder:
        halvings = [self.halvings] if isinstance(self.halvings, int) else list(self.halvings)
        if not halvings or any(coarse <= fine for coarse, fine in pairwise(halvings)):
            raise ValueError(f"halvings are {halvings}; list one a level, coarse to fine, each below the one before")
        halved(signal.grid, halvings[0])
        steps = [coarse - fine for coarse, fine in pairwise([*halvings, 0])]  # from each level to the next finer grid
        width, dims = self.width, len(signal.grid)
        residual = (self.residual_layers, self.residual_width, dims)

        inputs = [signal.channels] + [width] * (len(steps) - 1)
        stages = [ConvEncoder(c, width, step, *residual) for c, step in zip(inputs, reversed(steps), strict=True)]
        levels: list[ProjectedLevel] = []
        context = 0
        for bottleneck, step in zip(copies(self.bottleneck, len(steps)), [*steps[:-1], None], strict=True):
            merged = context + bottleneck.dim
            up = None if step is None else ConvDecoder(merged, width // 2, width, step, *residual)
            levels.append(ProjectedLevel(width, bottleneck, dims, context, up))
            context = merged if up is None else up.outputs
        shape = (width, steps[-1], *residual)
        decoder = decoder_of(
            signal, self.likelihood, context, self.label_dim, lambda i, o: ConvDecoder(i, o, *shape), self.value_prior
        )
        return Autoencoder(signal, Pyramid(stages), levels, decoder, self.level_dropout)
