"""Vector quantization whose codes move together: a frozen random codebook times a learned linear map (SimVQ, Zhu et al.
2024, https://arxiv.org/abs/2411.02038)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.bottlenecks.arguments import count, positive, weight
from vqkit.bottlenecks.base import (
    Latent,
    Quantizer,
    norms,
    positions,
    quantization_loss,
    squared_distance_logits,
    to_grid,
    to_vectors,
    use_in_batch,
)
from vqkit.bottlenecks.estimators import Estimator, StraightThrough, estimator_for
from vqkit.bottlenecks.search import nearest_code


class SimVectorQuantizer(Quantizer):
    """The codes are `vectors` [K, D], random and frozen, times `map` [D, D]. Each step's gradient moves the map and so
    every code, also those that won nothing: none is left behind to die. They do not start from data: an encoder
    outgrows vectors that are as its first outputs were, and a linear map does not follow.

    `codebook_weight` |sg(z_e) - e|^2 moves the codes to what they win, and `commitment_weight` |z_e - sg(e)|^2 holds
    the encoder to its code. Both are means over latent dimensions.
    """

    vectors: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.codebook_size = count("dim", dim), count("codebook_size", codebook_size)
        self.codebook_sizes = (codebook_size,)
        self.commitment_weight = weight("commitment_weight", commitment_weight)
        self.codebook_weight = positive("codebook_weight", codebook_weight)  # without it the map never learns
        self.estimator = estimator_for(estimator, dim)
        self.straight_through = isinstance(self.estimator, StraightThrough)
        self.register_buffer("vectors", torch.randn(codebook_size, dim) / dim**0.5)
        self.map = nn.Parameter(torch.eye(dim))  # no nn.Linear: decaying it would pull the codes to zero

    def codes(self) -> Tensor:
        """[K, D], the mapped codebook: all of it, as a product with fewer rows may round otherwise, and `lookup` would
        not be z to the bit. In use it is a float64 product, rounded, as machines round float32 ones each in its way."""
        with torch.autocast(self.vectors.device.type, enabled=False):
            if self.training:
                return F.linear(self.vectors, self.map)
            return F.linear(self.vectors.double(), self.map.double()).float()

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        codes, vectors = self.codes(), to_vectors(z_e)
        indices = nearest_code(vectors, codes.detach())
        z_q = to_grid(F.embedding(indices, codes), z_e)
        loss = quantization_loss(z_e, z_q, mask, self.commitment_weight, self.codebook_weight)
        kl = positions(z_e, mask) * math.log(self.codebook_size)
        grid_indices = indices.view(z_e.shape[0], 1, *z_e.shape[2:])
        use = use_in_batch(grid_indices, self.codebook_sizes, mask) if self.training else {}
        stats = norms(z_e, z_q, mask) | use
        return Latent(self.estimator(z_e, z_q), loss, kl, grid_indices, stats)

    def z_of(self, indices: Tensor) -> Tensor:
        return F.embedding(indices.squeeze(1), self.codes()).movedim(-1, 1)

    def assignment(self, z_e: Tensor) -> Tensor:
        with torch.autocast(z_e.device.type, enabled=False):
            logits = squared_distance_logits(to_vectors(z_e.float()), self.codes())
        return to_grid(logits.log_softmax(1), z_e).unsqueeze(1)
