"""A level of a hierarchy: how features become z_e, and how z joins what the coarser levels said."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vqkit.bottlenecks import Bottleneck
from vqkit.nn import Reach, area, conv, linear, not_local, reach_of


class Level(nn.Module, ABC):
    """One bottleneck in a list of levels, coarse to fine. `context` is what the coarser levels merged to, None above
    the coarsest. A level that is left out has a z of zeros on the grid of its context."""

    bottleneck: Bottleneck
    additive: bool = False
    """Whether z is added to the context, so that zeros change nothing and any model decodes without this level."""

    @property
    @abstractmethod
    def reach(self) -> Reach:
        """How far `merge` sees, where `z_e` is computed position by position. Raises ValueError where that is not so,
        or the level knows one grid alone."""

    @abstractmethod
    def z_e(self, features: Tensor, context: Tensor | None) -> Tensor:
        """The encoder's features of this level [B, F, *grid] -> what the bottleneck is given, [B, inputs, *grid]."""

    @abstractmethod
    def merge(self, context: Tensor | None, z: Tensor) -> Tensor:
        """The context for the next finer level, or for the decoder; the same step in encoding and in decoding."""


class DirectLevel(Level):
    """The only level of an autoencoder whose encoder gives z_e itself."""

    def __init__(self, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.bottleneck = bottleneck

    @property
    def reach(self) -> Reach:
        return Reach()

    def z_e(self, features: Tensor, context: Tensor | None) -> Tensor:
        return features

    def merge(self, context: Tensor | None, z: Tensor) -> Tensor:
        return z


class ProjectedLevel(Level):
    """A level of VQ-VAE-2 (Razavi et al. 2019, https://arxiv.org/abs/1906.00446), or the only one of a VQ-VAE: z_e is a
    1x1 convolution of the features beside the context.

    Args:
        features: channels of the encoder's features.
        bottleneck: what z_e passes.
        dims: grid dimensions.
        context: channels of the context; 0 for the coarsest level, which has none.
        up: a net that brings the context beside z, [B, context + bottleneck.dim, *grid], to the grid of the next finer
            level. The finest level has none, and the decoder gets the two as they are.
    """

    def __init__(
        self, features: int, bottleneck: Bottleneck, dims: int = 2, context: int = 0, up: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.features, self.dims, self.context = features, dims, context
        self.bottleneck, self.up = bottleneck, up
        self.project = conv(dims, features + context, bottleneck.inputs, 1)

    @property
    def reach(self) -> Reach:
        return Reach() if self.up is None else reach_of(self.up)

    def z_e(self, features: Tensor, context: Tensor | None) -> Tensor:
        z_e: Tensor = self.project(_beside(features, context))
        return z_e

    def merge(self, context: Tensor | None, z: Tensor) -> Tensor:
        merged = _beside(z, context)
        return merged if self.up is None else self.up(merged)


class ResidualLevel(Level):
    """A scale of a multi-scale residual tokenizer (VAR, Tian et al. 2024, https://arxiv.org/abs/2404.02905): z_e is
    what the coarser scales left of the features, and the context is the sum of all z so far, each brought to the
    finest `grid` by linear interpolation and a residual 3-wide convolution.

    The convolution starts as 0 and has no bias, so that a z of zeros adds zeros. As z_e is a difference that the
    context takes part in, the decoder's gradient is not counted once a scale: without the convolutions, what the scales
    pass on sums up to the gradient itself. Raises ValueError for a bottleneck whose z cannot be a part of z_e.
    """

    additive = True

    def __init__(self, bottleneck: Bottleneck, grid: tuple[int, ...]) -> None:
        super().__init__()
        if bottleneck.inputs != bottleneck.dim:
            raise ValueError(
                f"{type(bottleneck).__name__} takes {bottleneck.inputs} channels and gives {bottleneck.dim}, so its z "
                "cannot be a part of its input; use a quantizer such as EMAVectorQuantizer"
            )
        self.bottleneck, self.grid = bottleneck, grid
        self.refine = conv(len(grid), bottleneck.dim, bottleneck.dim, 3, bias=False)
        nn.init.zeros_(self.refine.weight)  # type: ignore[arg-type]

    @property
    def reach(self) -> Reach:
        raise not_local(self)

    def z_e(self, features: Tensor, context: Tensor | None) -> Tensor:
        return features if context is None else features - area(context, features.shape[2:])

    def merge(self, context: Tensor | None, z: Tensor) -> Tensor:
        z = linear(z, self.grid)
        z = z + self.refine(z)
        return z if context is None else context + z


def _beside(x: Tensor, context: Tensor | None) -> Tensor:
    return x if context is None else torch.cat([x, context], 1)
