"""The variational autoencoder's bottleneck: a Gaussian posterior for each position (Kingma and Welling 2013,
https://arxiv.org/abs/1312.6114)."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.bottlenecks.arguments import count, weight
from vqkit.bottlenecks.base import Bottleneck, Latent, channel_means

_LOG_VARIANCES = (-30.0, 20.0)  # beyond these, exp says nothing new or overflows
_ACTIVE = 0.01  # nats per latent dimension, under which the posterior of a channel is taken to be the prior


class GaussianBottleneck(Bottleneck):
    """q(z | x) is a diagonal Gaussian and the prior N(0, I). z_e [B, 2 D, *grid] is the means, then the log variances.

    In training z is drawn (the reparameterization trick, from torch's global generator); in eval mode it is the mean,
    so that a reconstruction can be repeated.

    Args:
        dim: channels of z; the encoder gives twice as many, `inputs`.
        beta: weight of the KL in the loss (Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl); 1 is the
            evidence lower bound, where the decoder's loss is a likelihood.
        free_bits: nats, despite the name, per latent dimension that a channel has for free: its KL, a mean over batch
            and grid, is charged as at least that (Kingma et al. 2016, https://arxiv.org/abs/1606.04934).

    Raises:
        ValueError: dim is below 1, or beta or free_bits below 0 or not finite.
    """

    def __init__(self, dim: int, beta: float = 1.0, free_bits: float = 0.0) -> None:
        super().__init__()
        self.dim, self.beta, self.free_bits = count("dim", dim), weight("beta", beta), weight("free_bits", free_bits)
        self.register_buffer("origin", torch.zeros(()), persistent=False)  # is where the bottleneck is: on which device

    @property
    def inputs(self) -> int:
        return 2 * self.dim

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        mean, log_variance = z_e.chunk(2, 1)
        log_variance = log_variance.clamp(*_LOG_VARIANCES)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean.clone()
        kl = (mean.square() + log_variance.expm1() - log_variance) / 2
        of_channels = channel_means(kl, mask)
        loss = self.beta * of_channels.clamp_min(self.free_bits).mean()
        of_samples = (kl if mask is None else kl * mask.unsqueeze(1)).detach().flatten(1).sum(1)
        return Latent(z, loss, of_samples, None, {"active": (of_channels.detach() > _ACTIVE).float().mean()})

    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """z [batch, D, *grid] from N(0, I)."""
        return torch.randn(batch, self.dim, *grid, generator=generator).to(self.get_buffer("origin").device)
