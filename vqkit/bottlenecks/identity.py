"""No bottleneck: the plain autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.bottlenecks.arguments import count
from vqkit.bottlenecks.base import Bottleneck, Latent


class Identity(Bottleneck):
    """z = z_e. The posterior is a point in a continuous space, so its KL is undefined: NaN, not zero."""

    has_prior = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = count("dim", dim)

    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        raise ValueError(
            "an Identity has no prior to sample from; use a GaussianBottleneck, or a quantizer such as "
            "EMAVectorQuantizer"
        )

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        undefined = torch.full((z_e.shape[0],), torch.nan, device=z_e.device)
        return Latent(z_e, z_e.new_zeros(()), undefined, None, {})
