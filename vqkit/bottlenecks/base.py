"""What every bottleneck is, and the one result that every bottleneck returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Latent(NamedTuple):
    """The result of every bottleneck.

    `z` [B, D, *grid] carries the estimator's gradient. `loss` is a scalar per latent dimension, all that trains here:
    commitment, codebook, entropy, beta x KL. `kl` [B] is in nats under the training prior, detached, NaN where it is
    undefined. `indices` [B, Q, *grid] int64, None where nothing is discrete. `stats` are detached scalars, for logs.
    """

    z: Tensor
    loss: Tensor
    kl: Tensor
    indices: Tensor | None
    stats: dict[str, Tensor]


class Bottleneck(nn.Module, ABC):
    """z_e [B, D, *grid] -> `Latent`. `forward` gathers statistics in training mode and changes nothing that a result
    depends on; `update` does, once an optimizer step."""

    dim: int

    @abstractmethod
    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Latent:
        """`mask` [B, *grid] is True where a position counts; padding stays out of every loss and statistic."""

    def update(self) -> None:
        """Once an optimizer step: moving averages, revival, schedules, synchronised over processes."""
        return None

    @abstractmethod
    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """z [batch, D, *grid] from the training prior. Raises ValueError where there is none."""

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        """From a stream of z_e vectors [n, D]; the default needs none."""
        return None


class Quantizer(Bottleneck, ABC):
    """A bottleneck with a finite alphabet: `codebook_sizes` has the size of each of the Q codebooks at a position."""

    codebook_sizes: tuple[int, ...]

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """[B, Q, *grid] int64 -> z [B, D, *grid], exactly what `forward` gives in eval mode."""

    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """z of codes that are all equally likely."""
        columns = [torch.randint(k, (batch, 1, *grid), generator=generator) for k in self.codebook_sizes]
        return self.lookup(torch.cat(columns, 1).to(next(self.buffers()).device))

    @abstractmethod
    def assignment(self, z_e: Tensor) -> Tensor:
        """z_e [B, D, *grid] -> [B, Q, K, *grid] log-probabilities of each code, for soft and joint training."""


def to_vectors(z: Tensor) -> Tensor:
    """[B, D, *grid] -> [B x positions, D]; no copy where z is channels-last."""
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def to_grid(vectors: Tensor, like: Tensor) -> Tensor:
    """[B x positions, D] -> [B, D, *grid] of `like`."""
    return vectors.view(like.shape[0], *like.shape[2:], vectors.shape[-1]).movedim(-1, 1)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `values` [B, D, *grid] over the positions where `mask` [B, *grid] is True."""
    if mask is None:
        return values.mean()
    weights = mask.unsqueeze(1).to(values.dtype)
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp_min(1)


def positions(z: Tensor, mask: Tensor | None) -> Tensor:
    """[B] float32: how many positions count in each sample."""
    if mask is None:
        return torch.full((z.shape[0],), float(z[0, 0].numel()), device=z.device)
    return mask.flatten(1).sum(1).to(torch.float32)
