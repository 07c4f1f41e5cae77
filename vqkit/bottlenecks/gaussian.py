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
    so that a reconstruction can be repeated, and `draw` draws it.

    Args:
        dim: channels of z; the encoder gives twice as many, `inputs`.
        beta: weight of the KL in the loss (Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl); 1 is the
            evidence lower bound, where the decoder's loss is a likelihood.
        free_bits: nats, despite the name, per latent dimension that a channel has for free: its KL, a mean over batch
            and grid, is charged as at least that (Kingma et al. 2016, https://arxiv.org/abs/1606.04934).
        warmup_updates: updates in which the weight grows linearly from 0 to beta (Bowman et al. 2015,
            https://arxiv.org/abs/1511.06349), so that the decoder learns to use z before z costs anything; 0 has the
            whole weight from the start. They are counted in the state that is saved.

    Raises:
        ValueError: dim is below 1, or beta, free_bits or warmup_updates below 0 or not finite.
    """

    def __init__(self, dim: int, beta: float = 1.0, free_bits: float = 0.0, warmup_updates: int = 0) -> None:
        super().__init__()
        self.dim, self.beta, self.free_bits = count("dim", dim), weight("beta", beta), weight("free_bits", free_bits)
        weight("warmup_updates", warmup_updates)
        self.warmup_updates, self.stateful = warmup_updates, bool(warmup_updates)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._trained = False  # since the last update

    @property
    def inputs(self) -> int:
        return 2 * self.dim

    @property
    def kl_weight(self) -> Tensor:
        """What multiplies the KL in the loss now, a scalar: beta, or less of it while it warms up."""
        updates = self.get_buffer("updates")
        done = (updates / self.warmup_updates).clamp_max(1.0) if self.warmup_updates else torch.ones_like(updates)
        return self.beta * done

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        self._trained |= self.training
        mean, log_variance = _posterior(z_e)
        z = _reparameterized(mean, log_variance, torch.randn_like(mean)) if self.training else mean.clone()
        kl = (mean.square() + log_variance.expm1() - log_variance) / 2
        of_channels = channel_means(kl, mask)
        loss = self.kl_weight * of_channels.clamp_min(self.free_bits).mean()
        of_samples = (kl if mask is None else kl * mask.unsqueeze(1)).detach().flatten(1).sum(1)
        stats = {"kl": of_samples.mean(), "active": (of_channels.detach() > _ACTIVE).float().mean()}
        return Latent(z, loss, of_samples, None, stats | ({"kl_weight": self.kl_weight} if self.warmup_updates else {}))

    def draw(self, z_e: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None) -> Latent:
        latent: Latent = self(z_e, mask)
        mean, log_variance = _posterior(z_e.float())
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return latent._replace(z=_reparameterized(mean, log_variance, noise))

    def advance(self) -> None:
        self.get_buffer("updates").add_(int(self._trained))
        self._trained = False

    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """z [batch, D, *grid] from N(0, I)."""
        return torch.randn(batch, self.dim, *grid, generator=generator).to(self.get_buffer("updates").device)


def _posterior(z_e: Tensor) -> tuple[Tensor, Tensor]:
    """The means and the log variances of q(z | x), each [B, D, *grid]."""
    mean, log_variance = z_e.chunk(2, 1)
    return mean, log_variance.clamp(*_LOG_VARIANCES)


def _reparameterized(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    return mean + (log_variance / 2).exp() * noise
