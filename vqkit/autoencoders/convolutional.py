"""The convolutional autoencoder of one level, sized by its signal: what most recipes name."""

from __future__ import annotations

from copy import deepcopy

from vqkit.autoencoders.architecture import Architecture
from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.autoencoders.decoder import FeedForwardDecoder
from vqkit.autoencoders.level import ProjectedLevel
from vqkit.bottlenecks import Bottleneck
from vqkit.likelihoods import Reconstruction
from vqkit.nn import ConvDecoder, ConvEncoder
from vqkit.signal import Signal


class Convolutional(Architecture):
    """An autoencoder with one level on a grid of 1 / 2^halvings, for one to three grid dimensions.

    Args:
        bottleneck: what stands between encoder and decoder.
        likelihood: p(x | parameters) of the decoder, or a distortion.
        width: channels inside the nets.
        halvings: how often the grid is halved; 2 gives 1/16 as many positions as a picture has pixels.
        residual_layers: residual layers on the coarse grid, on each side.
        residual_width: channels inside a residual layer.
    """

    def __init__(
        self,
        bottleneck: Bottleneck,
        likelihood: Reconstruction,
        width: int = 128,
        halvings: int = 2,
        residual_layers: int = 2,
        residual_width: int = 32,
    ) -> None:
        self.bottleneck, self.likelihood, self.width, self.halvings = bottleneck, likelihood, width, halvings
        self.residual_layers, self.residual_width = residual_layers, residual_width

    def __call__(self, signal: Signal) -> Autoencoder:
        if any(n % 2**self.halvings for n in signal.grid):
            raise ValueError(
                f"a grid of {'x'.join(map(str, signal.grid))} cannot be halved {self.halvings} times; set "
                f"modality.size to a multiple of {2**self.halvings}, or lower tokenizer.halvings"
            )
        bottleneck, likelihood = deepcopy(self.bottleneck), deepcopy(self.likelihood)  # no two models share a codebook
        shape = (self.width, self.halvings, self.residual_layers, self.residual_width, len(signal.grid))
        outputs = likelihood.outputs(signal)
        return Autoencoder(
            signal,
            ConvEncoder(signal.channels, *shape),
            [ProjectedLevel(self.width, bottleneck, len(signal.grid))],
            FeedForwardDecoder(signal, ConvDecoder(bottleneck.dim, outputs, *shape), likelihood),
        )
