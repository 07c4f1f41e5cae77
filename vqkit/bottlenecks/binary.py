"""What the quantizers of one bit a channel share: the sign, and the entropies that keep both signs in use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks.arguments import count, positive, weight
from vqkit.bottlenecks.base import masked_mean, to_vectors
from vqkit.bottlenecks.processes import mean_of_all_processes
from vqkit.bottlenecks.scalar import ScalarQuantizer


class BinaryQuantizer(ScalarQuantizer, ABC):
    """z is -`scale` or `scale`, which members set, in each channel by the sign of z_e; 0 counts as negative.

    The soft bits, for the entropies and `assignment`: q(c | z_e) is the softmax of -|z_e - c|^2 / temperature over all
    codes c. It is a product over channels, of sigmoid(4 scale z_e / temperature).
    """

    scale: float

    def __init__(self, dim: int, groups: Sequence[int] | None, entropy_weight: float, temperature: float) -> None:
        super().__init__((2,) * count("dim", dim), groups or (dim,))
        self.entropy_weight = weight("entropy_weight", entropy_weight)
        self.temperature = positive("temperature", temperature)

    @abstractmethod
    def loss(self, bounded: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        """The entropy loss, and what else a member trains by."""

    def digits(self, bounded: Tensor) -> Tensor:
        return (bounded > 0).long()

    def values(self, digits: Tensor) -> Tensor:
        return (2 * digits - 1).float() * self.scale

    def coordinate(self, bounded: Tensor) -> Tensor:
        return (1 + self.logits(bounded)) / 2  # so that the squared distances to 0 and 1 differ by the logit

    def logits(self, bounded: Tensor) -> Tensor:
        """Of the positive sign, elementwise."""
        return bounded * (4 * self.scale / self.temperature)

    def entropy_loss(self, bounded: Tensor, mask: Tensor | None) -> Tensor:
        """E H(q(c | z_e)) - H(E q(c | z_e)) in nats per bit, from -log 2 to 0: each position sure, all codes in use.

        `bounded` is [B, D, *grid]. H of a product is the sum over bits, so the first term is exact. The second is taken
        as if bits were independent over the batch too, an upper bound of the entropy of codes: it sees that a bit is
        stuck, not that two bits agree. Both cost B x D x grid, whatever the 2^D.
        """
        logits = self.logits(bounded)
        p = logits.sigmoid()
        each = masked_mean(F.softplus(logits) - logits * p, mask)
        bits = to_vectors(p) if mask is None else to_vectors(p)[mask.flatten()]
        mean = mean_of_all_processes(bits, self.training)
        return each - (_surprise(mean) + _surprise(1 - mean)).mean()


def _surprise(p: Tensor) -> Tensor:
    """-p log p, with a finite gradient at 0."""
    return -p * p.clamp_min(torch.finfo(p.dtype).eps).log()
