"""A level of a hierarchy: how features become z_e, and how z joins what the coarser levels said."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from vqkit.bottlenecks import Bottleneck
from vqkit.nn import conv


class Level(nn.Module, ABC):
    """One bottleneck in a list of levels, coarse to fine. `context` is what the coarser levels merged to, None above
    the coarsest."""

    bottleneck: Bottleneck

    @abstractmethod
    def z_e(self, features: Tensor, context: Tensor | None) -> Tensor:
        """The encoder's features of this level [B, F, *grid] -> what the bottleneck is given, [B, D, *grid]."""

    @abstractmethod
    def merge(self, context: Tensor | None, z: Tensor) -> Tensor:
        """The context for the next finer level, or for the decoder; the same step in encoding and in decoding."""


class ProjectedLevel(Level):
    """The only level of a VQ-VAE: a 1x1 convolution to the bottleneck's inputs, and z itself is the context."""

    def __init__(self, features: int, bottleneck: Bottleneck, dims: int = 2) -> None:
        super().__init__()
        self.features, self.dims = features, dims
        self.bottleneck = bottleneck
        self.project = conv(dims, features, bottleneck.inputs, 1)

    def z_e(self, features: Tensor, context: Tensor | None) -> Tensor:
        z_e: Tensor = self.project(features)
        return z_e

    def merge(self, context: Tensor | None, z: Tensor) -> Tensor:
        return z
