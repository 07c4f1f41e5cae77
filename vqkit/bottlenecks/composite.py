"""Quantizers made of several others, whose indices they give side by side."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import accumulate, chain

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks.base import Latent, Quantizer

_MEANS = ("perplexity", "usage", "batch_perplexity", "batch_usage", "z_e_norm", "code_norm")  # of the parts' stats


class CompositeQuantizer(Quantizer):
    """Quantizers in an order, and their codebooks in that order. One quantizer may occur several times."""

    @property
    @abstractmethod
    def parts(self) -> Sequence[Quantizer]:
        """At least one, in order."""

    @property
    def rate_weights(self) -> tuple[float, ...]:
        return tuple(chain.from_iterable(part.rate_weights for part in self.parts))

    def advance(self) -> None:
        for part in dict.fromkeys(self.parts):  # once each, however often it occurs
            part.advance()

    def split(self, indices: Tensor) -> list[Tensor]:
        """[B, Q, *grid] -> the indices of each part, of the first parts alone where there are fewer columns."""
        widths = [len(part.codebook_sizes) for part in self.parts]
        ends = list(accumulate(widths))
        return list(indices.split(widths[: ends.index(indices.shape[1]) + 1], 1))

    def join(self, z: Tensor, loss: Tensor, latents: Sequence[Latent]) -> Latent:
        """`z` and `loss`, with the indices of every part's latent, the sum of their kl, and their stats: numbered, and
        as means those of `_MEANS` that all of them have."""
        kl = torch.stack([latent.kl for latent in latents]).sum(0)
        indices = torch.cat([latent.indices for latent in latents if latent.indices is not None], 1)
        stats = {f"{name}_{i}": value for i, latent in enumerate(latents) for name, value in latent.stats.items()}
        for name in _MEANS:
            if all(name in latent.stats for latent in latents):
                stats[name] = torch.stack([latent.stats[name] for latent in latents]).mean()
        return Latent(z, loss, kl, indices, stats)


def join_assignments(log_p: Sequence[Tensor]) -> Tensor:
    """[B, Q, K, *grid] of several Q and K -> [B, sum of Q, largest K, *grid], -inf beyond a smaller alphabet."""
    largest = max(part.shape[2] for part in log_p)

    def padded(part: Tensor) -> Tensor:
        return F.pad(part, (0, 0) * (part.ndim - 3) + (0, largest - part.shape[2]), value=-math.inf)

    return torch.cat([padded(part) for part in log_p], 1)
