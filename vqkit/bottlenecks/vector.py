"""Vector quantization: the nearest vector of an explicit codebook (van den Oord et al. 2017,
https://arxiv.org/abs/1711.00937), learned by gradient or as a moving average of what each vector wins."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.bottlenecks.base import Latent, Quantizer, masked_mean, positions, quantization_loss, to_grid, to_vectors
from vqkit.bottlenecks.codebook import Codebook
from vqkit.bottlenecks.estimators import Estimator, StraightThrough


def _mean_norm(z: Tensor, mask: Tensor | None) -> Tensor:
    return masked_mean(z.detach().norm(dim=1, keepdim=True), mask)


class _NearestCode(Quantizer):
    """What the two ways of learning a codebook share; they differ in `update` and in `codebook_weight`."""

    codebook: Codebook
    commitment_weight: float
    codebook_weight: float

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
        super().__init__()
        if commitment_weight < 0:
            raise ValueError(f"commitment_weight is {commitment_weight}; a weight is 0 or more")
        self.dim, self.codebook_size, self.commitment_weight = dim, codebook_size, commitment_weight
        self.decay, self.revival = decay, revival
        self.estimator = estimator or StraightThrough()
        self.codebook_sizes = (codebook_size,)
        self.codebook = Codebook(codebook_size, dim, learned, decay, revival)

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        vectors = to_vectors(z_e)
        indices = self.codebook.nearest(vectors)
        if self.training:
            real = slice(None) if mask is None else mask.flatten()
            self.codebook.see(vectors[real], indices[real])
        z_q = to_grid(self.codebook.lookup(indices), z_e)
        loss = quantization_loss(z_e, z_q, mask, self.commitment_weight, self.codebook_weight)
        kl = positions(z_e, mask) * math.log(self.codebook_size)
        grid_indices = indices.view(z_e.shape[0], 1, *z_e.shape[2:])
        norms = {"z_e_norm": _mean_norm(z_e, mask), "code_norm": _mean_norm(z_q, mask)}
        return Latent(self.estimator(z_e, z_q), loss, kl, grid_indices, self.codebook.stats() | norms)

    def lookup(self, indices: Tensor) -> Tensor:
        return self.codebook.lookup(indices.squeeze(1)).movedim(-1, 1)

    def assignment(self, z_e: Tensor) -> Tensor:
        squared = torch.cdist(to_vectors(z_e.float()), self.codebook.vectors).square()
        return to_grid((-squared).log_softmax(1), z_e).unsqueeze(1)

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        self.codebook.initialise(vectors)


class VectorQuantizer(_NearestCode):
    """The codebook learns by gradient: `codebook_weight` |sg(z_e) - e|^2 pulls each code to what it wins, and
    `commitment_weight` |z_e - sg(e)|^2 holds the encoder to its code. Both are means over latent dimensions."""

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        decay: float = 0.99,
        revival: float = 0.1,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__(dim, codebook_size, commitment_weight, decay, revival, estimator, learned=True)
        if not codebook_weight > 0:
            raise ValueError(f"codebook_weight is {codebook_weight}; without it the codebook never learns")
        self.codebook_weight = codebook_weight

    @torch.no_grad()
    def update(self) -> None:
        if (won := self.codebook.collect()) is not None:
            self.codebook.revive(won.vectors)


class EMAVectorQuantizer(_NearestCode):
    """The codebook is a moving average of what each code wins, online k-means (appendix A.1 of the paper): no gradient
    reaches it. `decay` is its own learning rate, apart from `commitment_weight`."""

    sums: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        revival: float = 0.1,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__(dim, codebook_size, commitment_weight, decay, revival, estimator, learned=False)
        self.codebook_weight = 0.0
        self.register_buffer("sums", torch.zeros(codebook_size, dim))

    @torch.no_grad()
    def update(self) -> None:
        book = self.codebook
        first = int(book.updates) == 0
        if (won := book.collect()) is None:
            return
        if first:
            self.sums.copy_(won.sums + book.vectors)
        else:
            self.sums.lerp_(won.sums, 1 - self.decay)
        # A code that has won nothing for very long keeps its vector rather than divide by next to nothing.
        counts = book.counts[:, None]
        book.vectors.copy_(torch.where(counts > 1e-6, self.sums / counts.clamp_min(1e-6), book.vectors))
        revived = book.revive(won.vectors)
        self.sums[revived] = book.vectors[revived] * book.counts[revived, None]
