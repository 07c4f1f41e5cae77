"""Binary spherical quantization: the nearest corner of a cube inside the unit sphere (Zhao et al. 2024,
https://arxiv.org/abs/2406.07548)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks.binary import BinaryQuantizer

_SHORT = 1e-4  # a z_e shorter than this is not stretched to the sphere, where its gradient would explode


class BinarySphericalQuantizer(BinaryQuantizer):
    """z_e is projected onto the unit sphere, and z has its signs there: -1 / sqrt(dim) or 1 / sqrt(dim) in each
    channel, so that |z| = 1 too. The error is bounded, and no commitment is needed.

    Args:
        dim: bits per position.
        groups: how many consecutive channels share a codebook; all of them by default. (9, 9) makes two codebooks of
            512 codes, which a prior can have a softmax over.
        entropy_weight: of the entropy loss, see `BinaryQuantizer.entropy_loss`.
        temperature: of the soft bits, in units of squared distance on the sphere.

    Raises:
        ValueError: groups do not add up to dim, a codebook has more than 2^31 codes, or a weight is negative.
    """

    def __init__(
        self,
        dim: int,
        groups: Sequence[int] | None = None,
        entropy_weight: float = 0.1,
        temperature: float = 0.01,
    ) -> None:
        super().__init__(dim, groups, entropy_weight, temperature)
        self.scale = dim**-0.5

    def bound(self, z_e: Tensor) -> Tensor:
        return F.normalize(z_e, dim=-1, eps=_SHORT)

    def loss(self, bounded: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        return self.entropy_weight * self.entropy_loss(bounded, mask)
