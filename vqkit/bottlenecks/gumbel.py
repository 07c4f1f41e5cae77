"""Codes drawn with Gumbel noise (the Gumbel-max trick: Maddison et al. 2014, https://arxiv.org/abs/1411.0030): relaxed
to a mixture of codes, or drawn whole (Jang et al. 2016, https://arxiv.org/abs/1611.01144; Maddison et al. 2016,
https://arxiv.org/abs/1611.00712)."""

from __future__ import annotations

from torch import Tensor

from vqkit.bottlenecks.arguments import count, positive, weight
from vqkit.bottlenecks.base import masked_mean, quantization_loss
from vqkit.bottlenecks.dense import SampledQuantizer, select
from vqkit.bottlenecks.estimators import Estimator, StraightThrough, estimator_for


class _Relaxed(SampledQuantizer):
    """What the two ways of relaxing a draw share: q, its KL in the loss, and the schedule."""

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        initial_temperature: float = 1.0,
        final_temperature: float = 0.5,
        annealing_updates: int = 10_000,
        kl_weight: float = 0.1,
        decay: float = 0.99,
        revival: float = 0.3,
    ) -> None:
        super().__init__(dim, codebook_size, decay, revival)
        self.initial_temperature = positive("initial_temperature", initial_temperature)
        self.final_temperature = positive("final_temperature", final_temperature)
        self.annealing_updates = count("annealing_updates", annealing_updates)
        self.kl_weight = weight("kl_weight", kl_weight)

    @property
    def temperature(self) -> float:
        """Geometric from the initial to the final one, by the codebook's count of updates, which is saved with it."""
        done = min(int(self.codebook.updates) / self.annealing_updates, 1.0)
        return float(self.initial_temperature ** (1 - done) * self.final_temperature**done)

    def loss(self, z_e: Tensor, z_q: Tensor, nats: Tensor, mask: Tensor | None) -> Tensor:
        return self.kl_weight * masked_mean(nats, mask) / self.dim


class GumbelSoftmaxQuantizer(_Relaxed):
    """In training z is a mixture of codes, weighed by softmax((logits + Gumbel noise) / temperature); the logits are
    -|z_e - e|^2. The mixture nears a single code as the temperature falls from `initial_temperature` to
    `final_temperature` in `annealing_updates` updates. Memory is O(N K) for N positions in a batch.

    The posterior q = softmax(logits) is a distribution, so `kl` is log K - H(q) a position in training, not log K. In
    evaluation z is the nearest code alone and `kl` is log K. `kl_weight` times the KL, in nats per latent dimension, is
    the loss.
    """

    def relax(self, vectors: Tensor, noisy: Tensor, indices: Tensor) -> Tensor:
        return (noisy / self.temperature).softmax(1) @ self.codebook.vectors


class StraightThroughGumbelQuantizer(_Relaxed):
    """As `GumbelSoftmaxQuantizer`, but z is the code that was drawn, and only its gradient is that of the mixture. The
    decoder sees codes alone, in training as in evaluation, at the price of a biased gradient; and as z is a draw from
    q, -log p(x|z) + `kl` is on average an upper bound of -log p(x), which that of a mixture is not."""

    def relax(self, vectors: Tensor, noisy: Tensor, indices: Tensor) -> Tensor:
        return select((noisy / self.temperature).softmax(1), indices, self.codebook)


class GumbelMaxQuantizer(SampledQuantizer):
    """Vector quantization with a drawn code: in training from q = softmax(-|z_e - e|^2 / `temperature`) by the
    Gumbel-max trick, in evaluation the nearest. z_e has the `estimator`'s gradient, and the loss is that of
    `VectorQuantizer` for the code that was drawn. `kl` is log K - H(q) a position in training and log K in evaluation.
    Memory is O(N K) for N positions in a batch.

    Raises:
        ValueError: an argument is out of its range, or `estimator` is a `RotationTrick`: its scale |z_q| / |z_e| has no
            bound where the code is far away.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        temperature: float = 1.0,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        decay: float = 0.99,
        revival: float = 0.3,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__(dim, codebook_size, decay, revival)
        self.temperature = positive("temperature", temperature)
        self.commitment_weight = weight("commitment_weight", commitment_weight)
        self.codebook_weight = positive("codebook_weight", codebook_weight)  # without it the codebook never learns
        self.estimator = estimator_for(estimator, dim, drawn=True)
        self.straight_through = isinstance(self.estimator, StraightThrough)

    def logits(self, vectors: Tensor) -> Tensor:
        return super().logits(vectors) / self.temperature

    def relax(self, vectors: Tensor, noisy: Tensor, indices: Tensor) -> Tensor:
        z: Tensor = self.estimator(vectors, self.codebook.lookup(indices))
        return z

    def loss(self, z_e: Tensor, z_q: Tensor, nats: Tensor, mask: Tensor | None) -> Tensor:
        return quantization_loss(z_e, z_q, mask, self.commitment_weight, self.codebook_weight)
