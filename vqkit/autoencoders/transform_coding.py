"""Transform coding: an autoencoder whose encoder is the classical one, and whose decoder learns."""

from __future__ import annotations

from vqkit.autoencoders.architecture import Architecture, copies, decoder_of, halved
from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.autoencoders.level import DirectLevel
from vqkit.bottlenecks import Bottleneck
from vqkit.likelihoods import Reconstruction
from vqkit.nn import AnalysisTransform, Pyramid, SynthesisTransform
from vqkit.signal import Signal


class TransformCoding(Architecture):
    """An autoencoder of one level whose encoder is the cosine transform of blocks, as it is, and whose decoder is that
    transform's inverse and a filter that starts as nothing and learns to take out what quantization does, the edges of
    blocks among it. Untrained it is the classical transform codec of the bottleneck's first coefficients. z_e is in the
    units of normalised data, -1 to 1: an orthonormal transform keeps squared errors, so that a step of a
    `UniformScalarQuantizer` is one of the data.

    Args:
        bottleneck: its `dim` are the coefficients of a block, such as a `UniformScalarQuantizer`.
        likelihood: p(x | parameters) of the decoder, of one parameter a value, or a distortion.
        width: channels inside the filter.
        halvings: blocks are 2^halvings wide, 3 for those of JPEG.
        residual_layers: residual layers of the filter, each 3 wide where 4 pixels a side are one position.
        residual_width: channels inside a residual layer.
    """

    def __init__(
        self,
        bottleneck: Bottleneck,
        likelihood: Reconstruction,
        width: int = 64,
        halvings: int = 3,
        residual_layers: int = 4,
        residual_width: int = 64,
    ) -> None:
        self.bottleneck, self.likelihood, self.width, self.halvings = bottleneck, likelihood, width, halvings
        self.residual_layers, self.residual_width = residual_layers, residual_width

    def __call__(self, signal: Signal) -> Autoencoder:
        halved(signal.grid, self.halvings)
        for name, value, least in (("width", self.width, 1), ("residual_layers", self.residual_layers, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        if (outputs := self.likelihood.outputs(signal)) != signal.channels:
            raise ValueError(
                f"a {type(self.likelihood).__name__} has {outputs} parameters of {signal.channels} channels, and a "
                "transform gives one each; use a likelihood with a scale of its own, such as Gaussian"
            )
        (bottleneck,) = copies(self.bottleneck, 1)
        dim, dims = bottleneck.dim, len(signal.grid)
        if bottleneck.inputs != dim:
            raise ValueError(
                f"{type(bottleneck).__name__} takes {bottleneck.inputs} channels and gives {dim}, and a transform has "
                "one a coefficient; use a quantizer such as UniformScalarQuantizer, or Identity"
            )
        shape = (self.width, self.halvings, self.residual_layers, self.residual_width, dims)
        decoder = decoder_of(signal, self.likelihood, dim, 0, lambda i, o: SynthesisTransform(i, o, *shape))
        analysis = AnalysisTransform(signal.channels, dim, self.halvings, dims)
        return Autoencoder(signal, Pyramid([analysis]), [DirectLevel(bottleneck)], decoder)
