"""Vector quantization: the nearest vector of an explicit codebook (van den Oord et al. 2017,
https://arxiv.org/abs/1711.00937), learned by gradient or as a moving average of what each vector wins."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vqkit.bottlenecks.arguments import positive, weight
from vqkit.bottlenecks.base import (
    Latent,
    positions,
    quantization_loss,
    squared_distance_logits,
    to_grid,
    to_vectors,
)
from vqkit.bottlenecks.codebook_quantizer import CodebookQuantizer
from vqkit.bottlenecks.estimators import Estimator, StraightThrough, estimator_for


class _NearestCode(CodebookQuantizer, ABC):
    """What the two ways of learning a codebook share; they differ in `advance` and in `loss`."""

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float,
        decay: float,
        revival: float,
        estimator: Estimator | None,
        learned: bool,
    ) -> None:
        super().__init__(dim, codebook_size, decay, revival, learned)
        self.commitment_weight = weight("commitment_weight", commitment_weight)
        self.estimator = estimator_for(estimator, dim)
        self.straight_through = isinstance(self.estimator, StraightThrough)

    @abstractmethod
    def loss(self, z_e: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        """A scalar, of z_e and its codes [B, D, *grid]."""

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        vectors = to_vectors(z_e)
        indices = self.codebook.nearest(vectors)
        self.see(vectors, indices, mask)
        z_q = to_grid(self.codebook.lookup(indices), z_e)
        kl = positions(z_e, mask) * math.log(self.codebook_size)
        grid_indices = indices.view(z_e.shape[0], 1, *z_e.shape[2:])
        loss = self.loss(z_e, z_q, mask)
        return Latent(self.estimator(z_e, z_q), loss, kl, grid_indices, self.stats(z_e, z_q, mask))


class VectorQuantizer(_NearestCode):
    """The codebook learns by gradient: `codebook_weight` |sg(z_e) - e|^2 pulls each code to what it wins, and
    `commitment_weight` |z_e - sg(e)|^2 holds the encoder to its code. Both are means over latent dimensions.

    Args:
        dim: channels of z_e and of z.
        codebook_size: K, the number of codes.
        commitment_weight: 0 or more; how near the encoder stays to its codes.
        codebook_weight: above 0; how fast the codes follow under plain gradient descent, next to nothing under Adam.
        decay: of the moving average of how often each code wins, which revival goes by; it moves no code.
        revival: share of the mean of that average, 0 to below 1, under which a code is dead and `update` re-draws it
            from the vectors of the step; 0 leaves dead codes where they are.
        estimator: of the gradient through the choice; `StraightThrough` by default.

    Raises:
        ValueError: an argument is out of these ranges, or the estimator is unsound in one dimension.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        decay: float = 0.99,
        revival: float = 0.3,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__(dim, codebook_size, commitment_weight, decay, revival, estimator, learned=True)
        self.codebook_weight = positive("codebook_weight", codebook_weight)  # without it the codebook never learns

    def loss(self, z_e: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        return quantization_loss(z_e, z_q, mask, self.commitment_weight, self.codebook_weight)


class EMAVectorQuantizer(_NearestCode):
    """The codebook is a moving average of what each code wins, online k-means (appendix A.1 of the paper): no gradient
    reaches it, and `update` moves it.

    Args:
        dim: channels of z_e and of z.
        codebook_size: K, the number of codes.
        commitment_weight: 0 or more, of |z_e - sg(e)|^2, a mean over latent dimensions; how near the encoder stays to
            its codes.
        decay: share of the old in the moving average at each update, 0 to below 1: the codes' own learning rate. It
            warms up, see `Codebook`.
        revival: share of the mean use, 0 to below 1, under which a code is dead and `update` re-draws it from the
            vectors of the step; 0 leaves dead codes where they are.
        estimator: of the gradient through the choice; `StraightThrough` by default.

    Raises:
        ValueError: an argument is out of these ranges, or the estimator is unsound in one dimension.
    """

    sums: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        revival: float = 0.3,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__(dim, codebook_size, commitment_weight, decay, revival, estimator, learned=False)
        self.register_buffer("sums", torch.zeros(codebook_size, dim))

    def logits(self, vectors: Tensor) -> Tensor:
        """Each code moves as z_e makes it move. Taken as fixed, a cheap code would flee from what it costs less than,
        which would follow: a rate would drive z_e through space for ever."""
        return squared_distance_logits(vectors, self._following(vectors, self.codebook.nearest(vectors)))

    def followed(self, z_e: Tensor, indices: Tensor) -> Tensor:
        return to_grid(self._following(to_vectors(z_e), indices.flatten())[indices.flatten()], z_e)

    def _following(self, vectors: Tensor, indices: Tensor) -> Tensor:
        """The codes [K, D] with the gradient of the means of what they win here [N, D], by their indices [N]."""
        wins = torch.bincount(indices, minlength=self.codebook_size).clamp_min(1)
        means = torch.zeros_like(self.codebook.vectors).index_add(0, indices, vectors) / wins[:, None]
        return self.codebook.vectors + (means - means.detach())

    def loss(self, z_e: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        return quantization_loss(z_e, z_q, mask, self.commitment_weight, codebook_weight=0.0)

    @torch.no_grad()
    def advance(self) -> None:
        book = self.codebook
        if (won := book.collect(self.sums)) is None:
            return
        # A code that has won nothing for very long keeps its vector rather than divide by next to nothing.
        counts = book.counts[:, None]
        book.vectors.copy_(torch.where(counts > 1e-6, self.sums / counts.clamp_min(1e-6), book.vectors))
        revived = book.revive(won.vectors)
        self.sums[revived] = book.vectors[revived] * book.counts[revived, None]
