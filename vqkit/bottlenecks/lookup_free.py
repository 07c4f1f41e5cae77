"""Lookup-free quantization: the sign of each channel (Yu et al. 2023, MAGVIT-v2, https://arxiv.org/abs/2310.05737)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vqkit.bottlenecks.arguments import weight
from vqkit.bottlenecks.base import masked_mean
from vqkit.bottlenecks.binary import BinaryQuantizer


class LookupFreeQuantizer(BinaryQuantizer):
    """z is the sign of z_e, -1 or 1 in each channel: 2^dim codes without a table.

    The entropy loss drives |z_e| up, the commitment |z_e - sg(z)|^2 holds it near 1.

    Args:
        dim: bits per position.
        groups: how many consecutive channels share a codebook; all of them by default. (9, 9) makes two codebooks of
            512 codes, which a prior can have a softmax over.
        entropy_weight: of the entropy loss, see `BinaryQuantizer.entropy_loss`.
        commitment_weight: of the commitment, a mean over latent dimensions.
        temperature: of the soft bits, in units of squared distance.

    Raises:
        ValueError: groups do not add up to dim, a codebook has more than 2^31 codes, or a weight is negative.
    """

    straight_through = True

    def __init__(
        self,
        dim: int,
        groups: Sequence[int] | None = None,
        entropy_weight: float = 0.1,
        commitment_weight: float = 0.25,
        temperature: float = 0.01,
    ) -> None:
        super().__init__(dim, groups, entropy_weight, temperature)
        self.scale, self.commitment_weight = 1.0, weight("commitment_weight", commitment_weight)

    def loss(self, bounded: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        commitment = masked_mean((bounded - z_q).square(), mask)
        return self.entropy_weight * self.entropy_loss(bounded, mask) + self.commitment_weight * commitment
