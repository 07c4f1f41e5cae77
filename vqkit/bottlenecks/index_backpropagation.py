"""Index backpropagation quantization: every code learns from every vector, through a softmax that stands in for the
choice (Shi et al. 2024, https://arxiv.org/abs/2412.02692)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.bottlenecks.arguments import positive, weight
from vqkit.bottlenecks.base import Latent, masked_mean, positions, quantization_loss, to_grid, to_vectors
from vqkit.bottlenecks.codebook_quantizer import CodebookQuantizer
from vqkit.bottlenecks.dense import select
from vqkit.bottlenecks.processes import mean_of_all_processes
from vqkit.bottlenecks.search import nearest_code


class IndexBackpropagationQuantizer(CodebookQuantizer):
    """z is the code with the greatest inner product with z_e; the gradient takes the one-hot choice for the softmax of
    these products, so it reaches all codes and not only the chosen ones. Memory is O(N K) for N positions in a batch.
    That is in training alone: evaluation takes no softmax, and its loss is without the entropy.

    The loss is the paper's, each term per latent dimension. The double quantization loss is `commitment_weight`
    |z_e - sg(e)|^2 + `codebook_weight` |sg(z_e) - e|^2 + `index_weight` |z_e - z|^2, where z has the gradient of all
    codes. `entropy_weight` goes with the mean entropy of a position less the entropy of the mean, of the softmax at
    `entropy_temperature`: it wants choices that are sure, and all codes chosen. As it is divided by the D dimensions,
    the paper's weight of 0.05 a position is 0.05 D here.

    It is the entropy loss that keeps the codes in use. `revival` is off: a dead code that is put on a vector need not
    win it, as the inner product of a longer code is greater.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        commitment_weight: float = 1.0,
        codebook_weight: float = 0.25,
        index_weight: float = 1.0,
        entropy_weight: float = 1.0,
        entropy_temperature: float = 0.01,
        decay: float = 0.99,
        revival: float = 0.0,
    ) -> None:
        super().__init__(dim, codebook_size, decay, revival)
        self.commitment_weight = weight("commitment_weight", commitment_weight)
        self.codebook_weight = weight("codebook_weight", codebook_weight)
        self.index_weight = weight("index_weight", index_weight)
        self.entropy_weight = weight("entropy_weight", entropy_weight)
        self.entropy_temperature = positive("entropy_temperature", entropy_temperature)

    def logits(self, vectors: Tensor) -> Tensor:
        return vectors @ self.codebook.vectors.t()

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        vectors, codebook = to_vectors(z_e), self.codebook.vectors.detach()
        # The greatest z.e is the least |z - e|^2 - |e|^2; float64, lest the rounding of |e|^2 chooses.
        indices = nearest_code(vectors, codebook, bias=-codebook.double().square().sum(1))
        self.see(vectors, indices, mask)
        z = z_q = to_grid(self.codebook.lookup(indices), z_e)
        loss = quantization_loss(z_e, z_q, mask, self.commitment_weight, self.codebook_weight)
        if self.training:
            logits = self.logits(vectors)
            z = to_grid(select(logits.softmax(1), indices, self.codebook), z_e)
            if self.entropy_weight:
                real = logits if mask is None else logits[mask.flatten()]
                entropy = entropy_loss(real / self.entropy_temperature, self.training)
                loss = loss + self.entropy_weight * entropy / self.dim
        loss = loss + self.index_weight * masked_mean((z_e - z).square(), mask)
        kl = positions(z_e, mask) * math.log(self.codebook_size)
        grid_indices = indices.view(z_e.shape[0], 1, *z_e.shape[2:])
        return Latent(z, loss, kl, grid_indices, self.stats(z_e, z_q, mask))


def entropy_loss(logits: Tensor, training: bool = False) -> Tensor:
    """The mean entropy of softmax(logits [N, K]) less the entropy of its mean, in nats: from -log K, where each choice
    is sure and all are equally frequent, to 0, where all are the same. 0 where N is. In
    `training` the mean is that of all processes."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    mean = mean_of_all_processes(p, training)
    each = -(p * log_p).sum() / max(1, len(p))
    return each + (mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()
