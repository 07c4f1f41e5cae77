"""Factorised codes: quantization in fewer dimensions than z has (ViT-VQGAN, Yu et al. 2021,
https://arxiv.org/abs/2110.04627; improved RVQGAN, Kumar et al. 2023, https://arxiv.org/abs/2306.06546)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vqkit.bottlenecks import arguments
from vqkit.bottlenecks.base import Latent, Quantizer, to_grid, to_vectors
from vqkit.bottlenecks.estimators import StraightThrough

_straight_through = StraightThrough()


class ProjectedQuantizer(Quantizer):
    """A learned linear map from `dim` dimensions down to those of `quantizer`, and one back up. The loss is the
    quantizer's own, a sum over its few dimensions, spread over all `dim`."""

    def __init__(self, quantizer: Quantizer, dim: int) -> None:
        super().__init__()
        self.quantizer, self.dim = arguments.quantizer("quantizer", quantizer), arguments.count("dim", dim)
        self.codebook_sizes = quantizer.codebook_sizes
        self.down = nn.Linear(dim, quantizer.dim)
        self.up = nn.Linear(quantizer.dim, dim)

    @property
    def rate_weights(self) -> tuple[float, ...]:
        return self.quantizer.rate_weights

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        latent = self.quantizer.latent(self._project(z_e), mask)
        return latent._replace(z=self._lift(latent.z), loss=latent.loss * self.quantizer.dim / self.dim)

    def z_of(self, indices: Tensor) -> Tensor:
        return self._lift(self.quantizer.z_of(indices))

    def assignment(self, z_e: Tensor) -> Tensor:
        with torch.autocast(z_e.device.type, enabled=False):
            return self.quantizer.assignment(self._project(z_e.float()))

    def advance(self) -> None:
        self.quantizer.advance()

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        with torch.no_grad():
            self.quantizer.initialise(self.down(part.to(self.down.weight)) for part in vectors)

    def _project(self, z_e: Tensor) -> Tensor:
        return to_grid(self.down(to_vectors(z_e)), z_e)

    def _lift(self, codes: Tensor) -> Tensor:
        """[B, d, *grid] -> [B, dim, *grid], summed a term at a time: a matrix product rounds by how many rows it has,
        and `lookup` would not be z to the bit. The gradient is that of the product."""
        vectors = to_vectors(codes)
        with torch.no_grad():
            z = self.up.bias.expand(len(vectors), -1).clone()
            for column, weight in zip(vectors.unbind(1), self.up.weight.t().contiguous(), strict=True):
                z += column[:, None] * weight
        return to_grid(_straight_through(self.up(vectors), z), codes)
