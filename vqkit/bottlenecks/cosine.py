"""Vector quantization on the unit sphere, by the angle alone (ViT-VQGAN, Yu et al. 2021,
https://arxiv.org/abs/2110.04627)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.bottlenecks.base import Latent, Quantizer, to_grid, to_vectors
from vqkit.bottlenecks.codebook_quantizer import CodebookQuantizer

_SHORTEST = 1e-6  # a vector under this length is taken as zero, which has no direction
_ON_SPHERE = 1e-6  # a length this close to 1 is left alone: scaling again would only change its last bits


class CosineSimilarityQuantizer(Quantizer):
    """z_e is scaled to unit length, and so are the vectors of `quantizer`'s codebook: when built, when initialised and
    at every update. z is a unit vector.

    On the sphere the nearest code is that of the largest cosine similarity, and the squared error in the quantizer's
    loss is 2 (1 - cos) / D a dimension. A z_e of zero is taken as the vector whose components are all equal.
    """

    def __init__(self, quantizer: CodebookQuantizer) -> None:
        """Raises ValueError where `quantizer` is no CodebookQuantizer."""
        super().__init__()
        if not isinstance(quantizer, CodebookQuantizer):
            raise ValueError(f"quantizer is a {type(quantizer).__name__}, without a codebook; use EMAVectorQuantizer")
        self.quantizer, self.dim, self.codebook_sizes = quantizer, quantizer.dim, quantizer.codebook_sizes
        self._constrain()

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        latent = self.quantizer.latent(_on_sphere(z_e), mask)
        # Here both norms are 1, whatever the encoder does.
        return latent._replace(stats={name: stat for name, stat in latent.stats.items() if not name.endswith("_norm")})

    def z_of(self, indices: Tensor) -> Tensor:
        return self.quantizer.z_of(indices)

    def assignment(self, z_e: Tensor) -> Tensor:
        return self.quantizer.assignment(_on_sphere(z_e.float()))

    def advance(self) -> None:
        self.quantizer.advance()
        self._constrain()

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        self.quantizer.initialise(to_unit_length(part.float()) for part in vectors)
        self._constrain()

    @torch.no_grad()
    def _constrain(self) -> None:
        vectors = self.quantizer.codebook.vectors
        vectors.copy_(to_unit_length(vectors))


def to_unit_length(vectors: Tensor) -> Tensor:
    """[N, D] -> [N, D] of length 1; one that is zero becomes the vector of equal components, without a gradient."""
    length = vectors.norm(dim=1, keepdim=True)
    unit = torch.where((length - 1).abs() > _ON_SPHERE, vectors / length.clamp_min(_SHORTEST), vectors)
    return torch.where(length > _SHORTEST, unit, vectors.shape[1] ** -0.5)


def _on_sphere(z_e: Tensor) -> Tensor:
    return to_grid(to_unit_length(to_vectors(z_e)), z_e)
