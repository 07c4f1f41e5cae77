"""What quantizers share that weigh a vector against every code at once in training: their gradient goes through the
logits [N, K] of N vectors and K codes, in O(N K) memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vqkit.bottlenecks.base import Latent, to_grid, to_vectors
from vqkit.bottlenecks.codebook import Codebook
from vqkit.bottlenecks.codebook_quantizer import CodebookQuantizer
from vqkit.bottlenecks.estimators import StraightThrough

_straight_through = StraightThrough()


class SampledQuantizer(CodebookQuantizer, ABC):
    """In training, a code is drawn from q = softmax(logits) by the Gumbel-max trick, and the KL of a position is that
    of q to the uniform prior, log K - H(q). In evaluation the code is the nearest: that posterior is a point, its KL is
    log K, and nothing is drawn or takes O(N K). Use is counted, and dead codes are found, by the nearest code too."""

    @abstractmethod
    def relax(self, vectors: Tensor, noisy: Tensor, indices: Tensor) -> Tensor:
        """What the decoder is given in training, [N, D], with a gradient for `vectors` [N, D]. `noisy` [N, K] are the
        logits and their Gumbel noise; `indices` [N], their argmax, is what was drawn."""

    @abstractmethod
    def loss(self, z_e: Tensor, z_q: Tensor, nats: Tensor, mask: Tensor | None) -> Tensor:
        """A scalar, of z_e and the codes [B, D, *grid], and the KL of each position [B, 1, *grid]."""

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        vectors = to_vectors(z_e)
        indices = self.codebook.nearest(vectors)
        self.see(vectors, indices, mask)
        if self.training:
            logits = self.logits(vectors)
            noisy = logits + gumbel_like(logits)
            indices = noisy.argmax(1)
            z = self.relax(vectors, noisy, indices)
            nats = kl_from_uniform(logits)
        else:
            z = self.codebook.lookup(indices)
            nats = torch.full_like(vectors[:, 0], math.log(self.codebook_size))
        nats = to_grid(nats[:, None], z_e)
        z_q = to_grid(self.codebook.lookup(indices), z_e)
        loss = self.loss(z_e, z_q, nats, mask)
        counted = nats.detach() if mask is None else nats.detach() * mask.unsqueeze(1)
        grid_indices = indices.view(z_e.shape[0], 1, *z_e.shape[2:])
        return Latent(to_grid(z, z_e), loss, counted.flatten(1).sum(1), grid_indices, self.stats(z_e, z_q, mask))


def select(weights: Tensor, indices: Tensor, codebook: Codebook) -> Tensor:
    """The codes at `indices` [N], to the bit, as [N, D]. They are one-hot @ codebook, and the one-hot has the gradient
    of `weights` [N, K], through which every code is reached."""
    one_hot: Tensor = _straight_through(weights, one_hot_like(weights, indices))
    codes: Tensor = _straight_through(one_hot @ codebook.vectors, codebook.lookup(indices))
    return codes


def one_hot_like(weights: Tensor, indices: Tensor) -> Tensor:
    """[N, K] with a 1 at each of `indices` [N]."""
    return torch.zeros_like(weights).scatter_(1, indices[:, None], 1)


def gumbel_like(logits: Tensor) -> Tensor:
    """Independent standard Gumbel noise, of torch's global generator."""
    # An exponential draw can be 0, whose logarithm is not finite.
    return torch.empty_like(logits).exponential_().clamp_min_(torch.finfo(logits.dtype).tiny).log_().neg_()


def kl_from_uniform(logits: Tensor) -> Tensor:
    """KL(softmax(logits) || uniform) = log K - H in nats, [N, K] -> [N]."""
    log_q = logits.log_softmax(1)
    return (log_q.exp() * log_q).sum(1) + math.log(logits.shape[1])
