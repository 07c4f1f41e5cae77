"""Quantizers that weigh a vector against every code at once: what those share whose gradient goes through the logits
[N, K] of N vectors and K codes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.bottlenecks.base import Latent, Quantizer, to_grid, to_vectors
from vqkit.bottlenecks.codebook import Codebook
from vqkit.bottlenecks.estimators import StraightThrough

_straight_through = StraightThrough()


class DenseQuantizer(Quantizer):
    """A codebook that learns by gradient, and logits [N, K] over it, which take O(N K) memory. Use is counted, and dead
    codes are found, by the most likely code of each vector, which is what evaluation chooses."""

    def __init__(self, dim: int, codebook_size: int, decay: float, revival: float) -> None:
        super().__init__()
        self.dim, self.codebook_size, self.decay, self.revival = dim, codebook_size, decay, revival
        self.codebook_sizes = (codebook_size,)
        self.codebook = Codebook(codebook_size, dim, True, decay, revival)

    @abstractmethod
    def logits(self, vectors: Tensor) -> Tensor:
        """[N, D] -> [N, K]."""

    def assignment(self, z_e: Tensor) -> Tensor:
        with torch.autocast(z_e.device.type, enabled=False):
            logits = self.logits(to_vectors(z_e.float()))
        return to_grid(logits.log_softmax(1), z_e).unsqueeze(1)

    def lookup(self, indices: Tensor) -> Tensor:
        return self.codebook.lookup(indices.squeeze(1)).movedim(-1, 1)

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        self.codebook.initialise(vectors)

    @torch.no_grad()
    def update(self) -> None:
        if (won := self.codebook.collect()) is not None:
            self.codebook.revive(won.vectors)

    def see(self, vectors: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Counts in training mode what was won, [N, D] and [N]."""
        if self.training:
            real = slice(None) if mask is None else mask.flatten()
            self.codebook.see(vectors[real], indices[real])

    def select(self, weights: Tensor, indices: Tensor) -> Tensor:
        """The codes at `indices` [N], to the bit, as [N, D]. They are one-hot @ codebook, and the one-hot has the
        gradient of `weights` [N, K], through which every code is reached."""
        one_hot: Tensor = _straight_through(weights, one_hot_like(weights, indices))
        codes: Tensor = _straight_through(one_hot @ self.codebook.vectors, self.codebook.lookup(indices))
        return codes


class SampledQuantizer(DenseQuantizer):
    """In training, a code is drawn from q = softmax(logits) by the Gumbel-max trick, and the KL of a position is that
    of q to the uniform prior, log K - H(q). In evaluation the code is the nearest: that posterior is a point, its KL is
    log K, and nothing is drawn or takes O(N K)."""

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
        loss = self.loss(z_e, to_grid(self.codebook.lookup(indices), z_e), nats, mask)
        counted = nats.detach() if mask is None else nats.detach() * mask.unsqueeze(1)
        grid_indices = indices.view(z_e.shape[0], 1, *z_e.shape[2:])
        return Latent(to_grid(z, z_e), loss, counted.flatten(1).sum(1), grid_indices, self.codebook.stats())


def weighed(name: str, weight: float) -> float:
    """`weight`, where it is one. Raises ValueError otherwise."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"{name} is {weight}; a weight is a finite number, 0 or more")
    return weight


def positive(name: str, number: float) -> float:
    """`number`, where it is positive and finite. Raises ValueError otherwise."""
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {number}; give a finite number above 0")
    return number


def squared_distance_logits(vectors: Tensor, codebook: Tensor) -> Tensor:
    """-|z_e - e|^2 of [N, D] and [K, D], [N, K], up to |z_e|^2, which is the same for every code."""
    return 2 * vectors @ codebook.t() - codebook.square().sum(1)


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
