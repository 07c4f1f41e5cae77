"""Residual quantization: each stage quantizes what the stages before it left over, and z is the sum (Zeghidour et al.
2021, SoundStream, https://arxiv.org/abs/2107.03312; Lee et al. 2022, RQ-VAE, https://arxiv.org/abs/2203.01941).

The decoder's gradient goes over the stages as if they were one quantizer: `estimator` takes it from the sum to z_e,
once. That stands in for the stages' own gradients, which added up would count it once a stage; so those have to be
straight-through, and a stage with another one is refused: one with an estimator of its own, with a mixture of codes,
or with a bound, whose derivative would be lost (`ResidualFiniteScalarQuantizer` has stages of a finite scalar one).
The exception is a `ProjectedQuantizer`: its maps, and what is between them, learn as they would alone, and z_e's
gradient goes over the sum all the same.

The loss is the sum of the stages' losses, each of z_e - sg(sum so far), so that a stage's commitment is RQ-VAE's, to
the partial sum that ends with it. Stages whose scale is fixed, such as scalar quantizers, are of little use: what is
left over is ever smaller than their steps.

In training, `dropout` of the samples are cut to a random number of stages, from one to all, drawn by torch's global
generator. What is cut away adds nothing to such a sample's z, loss and kl, and to no statistic of the stage; its
indices are given for all stages nonetheless.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, tee

import torch
from torch import Tensor, nn

from vqkit.bottlenecks import arguments
from vqkit.bottlenecks.arguments import between, count
from vqkit.bottlenecks.base import Latent, Quantizer, drawn_depths
from vqkit.bottlenecks.composite import CompositeQuantizer, join_assignments
from vqkit.bottlenecks.dense import SampledQuantizer
from vqkit.bottlenecks.estimators import Estimator, StraightThrough, estimator_for
from vqkit.bottlenecks.projected import ProjectedQuantizer


class _Residual(CompositeQuantizer):
    """What separate and shared stages have in common."""

    def __init__(
        self, quantizer: Quantizer, depth: int, dropout: float = 0.0, estimator: Estimator | None = None
    ) -> None:
        super().__init__()
        arguments.quantizer("quantizer", quantizer)
        if not (quantizer.straight_through or isinstance(quantizer, ProjectedQuantizer)):
            raise ValueError(
                f"quantizer is a {type(quantizer).__name__} whose z has a gradient of its own, which a stage cannot "
                "have; give the estimator to the residual quantizer, or take stages such as EMAVectorQuantizer"
            )
        self.quantizer, self.depth, self.dropout = quantizer, count("depth", depth), between("dropout", dropout, 0, 1)
        self.estimator = estimator_for(
            estimator, quantizer.dim, any(isinstance(part, SampledQuantizer) for part in quantizer.modules())
        )
        self.straight_through = isinstance(self.estimator, StraightThrough)
        self.dim, self.codebook_sizes = quantizer.dim, quantizer.codebook_sizes * depth

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        depths = drawn_depths(z_e, self.depth, self.dropout) if self.training and self.dropout else None
        residual, z_q, loss, latents = z_e, torch.zeros_like(z_e), z_e.new_zeros(()), []
        for number, stage in enumerate(self.parts):
            reached = None if depths is None else depths > number
            counted, share = (mask, 1.0) if reached is None else _cut(reached, z_e, mask)
            given = residual.detach().requires_grad_(torch.is_grad_enabled())
            latent = stage.latent(given, counted)
            latents.append(latent)
            loss = loss + share * (latent.loss + _pulled_by(latent.loss, given, z_e))
            residual = residual - latent.z.detach()
            z_q = z_q + (latent.z if reached is None else torch.where(reached, latent.z, 0))
        # The difference is zero; through it the gradient reaches parameters that made z_q, such as a projection's.
        return self.join(self.estimator(z_e, z_q) + (z_q - z_q.detach()), loss, latents)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Those that end with a stage."""
        return tuple(accumulate(len(stage.codebook_sizes) for stage in self.parts))

    def z_of(self, indices: Tensor) -> Tensor:
        columns = self.split(indices)
        z_q = self.parts[0].z_of(columns[0])
        for stage, column in zip(self.parts[1:], columns[1:], strict=False):
            z_q = z_q + stage.z_of(column)
        return z_q

    def assignment(self, z_e: Tensor) -> Tensor:
        """Each stage's, given that those before it chose their likeliest codes."""
        log_p, residual = [], z_e.float()
        for stage in self.parts:
            log_p.append(stage.assignment(residual))
            residual = residual - stage.followed(residual, log_p[-1].argmax(2))
        return join_assignments(log_p)

    def _residuals(self, vectors: Tensor) -> Iterator[Tensor]:
        """[n, D] -> what each stage is given of them in evaluation, [n, D]."""
        vectors = vectors.float().to(next(self.buffers()).device)
        for stage in self.parts:
            yield vectors
            vectors = vectors - _quantized(stage, vectors)


class ResidualQuantizer(_Residual):
    """`depth` stages with a codebook of their own each: `quantizer` and copies of it.

    Args:
        quantizer: the first stage; its gradient has to be straight-through, unless it is a `ProjectedQuantizer`.
        depth: number of stages, 1 or more.
        dropout: share of the samples that are cut in training, 0 to 1.
        estimator: of the gradient through the sum of all stages; `StraightThrough` by default.

    Raises:
        ValueError: an argument is out of these ranges, or a gradient unsound.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        depth: int,
        dropout: float = 0.0,
        estimator: Estimator | None = None,
    ) -> None:
        super().__init__(quantizer, depth, dropout, estimator)
        self.later = nn.ModuleList(copy.deepcopy(quantizer) for _ in range(depth - 1))

    @property
    def parts(self) -> Sequence[Quantizer]:
        return self.quantizer, *self.later

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        """Each stage from what those before it, initialised already, leave over."""
        for number, (stage, stream) in enumerate(zip(self.parts, tee(vectors, self.depth), strict=True)):
            stage.initialise(self._residual(part, number) for part in stream)

    def _residual(self, vectors: Tensor, number: int) -> Tensor:
        return next(islice(self._residuals(vectors), number, None))


class SharedResidualQuantizer(_Residual):
    """One `quantizer` for all `depth` stages. It is updated once a step, by what all stages gave it. Its arguments and
    errors are those of `ResidualQuantizer`."""

    @property
    def parts(self) -> Sequence[Quantizer]:
        return (self.quantizer,) * self.depth

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        """From z_e first, then from what all stages are given by the codebook that this makes."""
        first, again = tee(vectors)
        self.quantizer.initialise(first)
        # One row in `depth`: all stages in equal parts, and no more rows than z_e has.
        self.quantizer.initialise(torch.cat([*self._residuals(part)])[:: self.depth] for part in again)


def _pulled_by(loss: Tensor, given: Tensor, z_e: Tensor) -> Tensor:
    """Zero, with the gradient for `z_e` that `loss` has for what the stage was given: z_e but for constants. The
    stage's z was made of the same, and its gradient is not to follow."""
    if not loss.requires_grad:
        return z_e.new_zeros(())
    (gradient,) = torch.autograd.grad(loss, given, retain_graph=True, allow_unused=True)
    return z_e.new_zeros(()) if gradient is None else (gradient * (z_e - z_e.detach())).sum()


def _cut(reached: Tensor, z_e: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mask [B, *grid] of a stage that the samples `reached` [B, 1, ...] pass, and the share of positions it has."""
    real = torch.ones_like(z_e[:, 0], dtype=torch.bool) if mask is None else mask
    counted = real & reached.squeeze(1)
    return counted, counted.sum() / real.sum().clamp_min(1)


@torch.no_grad()
def _quantized(quantizer: Quantizer, vectors: Tensor) -> Tensor:
    """[n, D] -> [n, D] in evaluation; the mode it found is put back."""
    was_training = quantizer.training
    z = quantizer.eval().latent(vectors.t()[None], None).z[0].t()
    quantizer.train(was_training)
    return z
