"""Implicit maximum likelihood: the gradient through a draw is the difference of two choices (Niepert, Minervini and
Franceschi 2021, https://arxiv.org/abs/2106.01798)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.bottlenecks.arguments import positive, weight
from vqkit.bottlenecks.base import masked_mean
from vqkit.bottlenecks.dense import SampledQuantizer, one_hot_like, select


class ImplicitMLEQuantizer(SampledQuantizer):
    """Perturb and maximise: z is the code at the argmax, MAP, of the logits -|z_e - e|^2 plus Gumbel noise, which is an
    exact draw from their softmax (the paper's sum of gammas, made for choices of k out of K, is this noise at k = 1).
    Memory is O(N K) for N positions in a batch.

    The gradient of the logits is (MAP(l) - MAP(l - lambda g)) / lambda, a finite difference: l are the noisy logits, g
    is the gradient of the one-hot MAP(l), and the noise is the same in both. A fixed lambda would have to know the
    scale of the loss, which falls with the size of a batch; here each vector has its own, by which no two of its logits
    move more than `step` nats against each other (Minervini et al. 2022, https://arxiv.org/abs/2209.04862, likewise
    take |l| / |g| into it). With a small step few choices change: less bias, more variance.

    `kl` is log K - H(softmax) a position in training and log K in evaluation, where z is the nearest code. The loss is
    `kl_weight` times it, in nats per latent dimension.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        step: float = 3.0,
        kl_weight: float = 0.1,
        decay: float = 0.99,
        revival: float = 0.3,
    ) -> None:
        super().__init__(dim, codebook_size, decay, revival)
        self.step = positive("step", step)
        self.kl_weight = weight("kl_weight", kl_weight)

    def relax(self, vectors: Tensor, noisy: Tensor, indices: Tensor) -> Tensor:
        choice: Tensor = _Choice.apply(noisy, indices, self.step)  # type: ignore[no-untyped-call]
        return select(choice, indices, self.codebook)

    def loss(self, z_e: Tensor, z_q: Tensor, nats: Tensor, mask: Tensor | None) -> Tensor:
        return self.kl_weight * masked_mean(nats, mask) / self.dim


class _Choice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, noisy: Tensor, indices: Tensor, step: float) -> Tensor:
        ctx.save_for_backward(noisy, indices)
        ctx.step = step
        return one_hot_like(noisy, indices)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        noisy, indices = ctx.saved_tensors
        (gradient,) = gradients
        least, greatest = gradient.aminmax(dim=1, keepdim=True)
        spread = (greatest - least).clamp_min(torch.finfo(gradient.dtype).tiny)  # lambda is step / spread
        target = (noisy - ctx.step * (gradient - least) / spread).argmax(1)
        return (one_hot_like(noisy, indices) - one_hot_like(noisy, target)) * (spread / ctx.step), None, None
