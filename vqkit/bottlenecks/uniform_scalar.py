"""Uniform scalar quantization with a dead zone, as transform codecs have it (Sullivan 1996,
https://doi.org/10.1109/18.532878), and embedded, as in JPEG 2000 (Taubman 2000, https://doi.org/10.1109/83.847830)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks.arguments import between, count, positive, weight
from vqkit.bottlenecks.base import drawn_depths, masked_mean
from vqkit.bottlenecks.scalar import ScalarQuantizer

_INSIDE = 0.42  # of a step beyond n where the dead zone is 2: the mean of such a cell's coefficients of photographs
_MOST_INTEGERS = 1 << 24  # that a channel may have after its last stage


class UniformScalarQuantizer(ScalarQuantizer):
    """Channel by channel, n = sign(z_e) floor(|z_e| / step + 1 - dead_zone / 2), clamped to `levels` integers around
    0; z is sign(n) (|n| + 0.42 (dead_zone - 1)) step, in the middle of a cell where the dead zone is 1 and where it is
    wider a little nearer to 0, as most of what is in the cell is. Every channel is its own codebook. The gradient is
    straight through all of it.

    z_e that is near 0 becomes 0, where most of a Laplacian lies, so a dead zone above 1 saves more bits than its error
    costs.

    Each further stage halves the step: one of three symbols a channel says which half of its cell z_e is in, or of the
    cell of 0, which is two steps wide, whether it is in the inner half or in which of the outer quarters. So the first
    s stages are the quantizer of step / 2^(s - 1), and nothing is lost by coding a fine one in stages; a codebook is of
    one stage and one channel, stage by stage, and the first stages alone are enough for a coarser z. Cells nest like
    this where the dead zone is 2; with another one a symbol would also tell, for nothing, in which part of its fine
    cell z_e is.

    Args:
        dim: channels.
        step: between neighbouring reconstruction points of the first stage, in the units of z_e.
        levels: of a channel in the first stage, an odd number, so that 0 is one of them.
        dead_zone: the width of the cell of 0, in steps: 1 is plain rounding, 4/3 and 5/3 are H.264's for intra and
            inter blocks, 2 is JPEG 2000's, which several stages need.
        commitment_weight: of |z_e - sg(z)|^2 in squared steps of the last stage, a mean over latent dimensions. A
            gradient that is passed straight through everything has nothing else that brings z_e back from beyond the
            last level.
        stages: how many there are.
        dropout: share of the samples whose z is made of a random number of stages in training, from one to all, so
            that the decoder learns to do with fewer. Loss, kl and indices are those of all stages nonetheless.

    Raises:
        ValueError: an argument is out of these ranges.
    """

    straight_through = True

    def __init__(
        self,
        dim: int,
        step: float,
        levels: int = 255,
        dead_zone: float = 1.0,
        commitment_weight: float = 0.25,
        stages: int = 1,
        dropout: float = 0.0,
    ) -> None:
        if count("levels", levels) % 2 == 0:
            raise ValueError(f"levels is {levels}; take an odd number, so that 0 is a level")
        if count("stages", stages) > 1 and between("dead_zone", dead_zone, 1, 2) < 2:
            raise ValueError(f"stages is {stages} with a dead_zone of {dead_zone}; set it to 2, for cells to nest")
        if levels * 2 ** min(stages - 1, 64) > _MOST_INTEGERS:
            raise ValueError(
                f"stages is {stages}, of {levels} levels; take fewer, so that float32 tells all levels apart"
            )
        refinements = count("dim", dim) * (stages - 1)
        super().__init__((levels,) * dim + (3,) * refinements, (1,) * (dim + refinements))
        self.dim, self.step, self.levels, self.stages = dim, positive("step", step), levels, stages
        self.dead_zone = between("dead_zone", dead_zone, 1, 2)
        self.commitment_weight = weight("commitment_weight", commitment_weight)
        self.dropout = between("dropout", dropout, 0, 1)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Those that end with a stage."""
        return tuple(range(self.dim, self.dim * self.stages + 1, self.dim))

    @property
    def rate_weights(self) -> tuple[float, ...]:
        """In units of what a nat is worth that halves the finest step. A stage's nats are worth the sum over the depths
        that have it, each as often as `dropout` draws it and, as squared errors are, four times as much at twice the
        step. 1 without `dropout`."""
        last = self.stages - 1
        drawn = [self.dropout / self.stages + (1 - self.dropout) * (depth == last) for depth in range(self.stages)]
        worth = [share * 4.0 ** (last - depth) for depth, share in enumerate(drawn)]
        return tuple(sum(worth[stage:]) for stage in range(self.stages) for _ in range(self.dim))

    def loss(self, bounded: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        finest = self.step / 2 ** (self.stages - 1)
        return self.commitment_weight * masked_mean(((bounded - z_q) / finest).square(), mask)

    def coordinate(self, bounded: Tensor) -> Tensor:
        """Stage after stage, [B, *grid, stages x dim]."""
        return torch.cat([coordinates for coordinates, _ in self._stages(bounded)], -1)

    def digits(self, bounded: Tensor) -> Tensor:
        """By the formula, not by rounding the coordinates: powers of two are exact, so that stages nest to the bit."""
        integers = [torch.zeros_like(bounded), *(self._integers(bounded, stage) for stage in range(self.stages))]
        digits = torch.cat([after - 2 * before for before, after in pairwise(integers)], -1) + self.levels_of // 2
        return digits.fmax(torch.zeros_like(digits)).minimum(self.levels_of - 1).long()  # NaN too, see the base

    def assignment(self, z_e: Tensor) -> Tensor:
        """As of every scalar quantizer, but for that a stage has no code that would take back what those before it
        say."""
        before = torch.cat([integers for _, integers in self._stages(z_e.float().movedim(1, -1))], -1).movedim(-1, 1)
        taken_back = torch.stack([before > 0, torch.zeros_like(before) > 0, before < 0], 2)
        beyond = (0, 0) * (z_e.ndim - 2) + (0, max(self.codebook_sizes) - 3)
        possible = super().assignment(z_e).masked_fill(F.pad(taken_back, beyond), -math.inf)
        return possible.log_softmax(2)

    def _integers(self, bounded: Tensor, stage: int) -> Tensor:
        """Those that this stage and the ones before it make, floats."""
        steps, most = bounded / (self.step / 2**stage), (self.levels // 2 + 1) * 2**stage - 1
        integers: Tensor = steps.sign() * (steps.abs() + (1 - self.dead_zone / 2)).floor()
        return integers.clamp(-most, most)

    def _stages(self, bounded: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each stage the coordinates, and the integers that the stages before it make, [B, *grid, dim] both."""
        before = torch.zeros_like(bounded)
        for stage in range(self.stages):
            exact = F.softshrink(bounded / (self.step / 2**stage), (self.dead_zone - 1) / 2)
            yield exact - 2 * before + (self.levels if stage == 0 else 3) // 2, before
            before = self._integers(bounded.detach(), stage)

    def values(self, digits: Tensor) -> Tensor:
        first, *refinements = digits.split(self.dim, -1)
        integers = first - self.levels // 2
        for digit in refinements:
            integers = 2 * integers + digit - 1
        inside = _INSIDE * (self.dead_zone - 1)
        z: Tensor = (integers + inside * integers.sign()).float() * (self.step / 2 ** len(refinements))
        return z

    def in_training(self, z_q: Tensor, digits: Tensor) -> Tensor:
        if not self.dropout:
            return z_q
        depths = drawn_depths(z_q, self.stages, self.dropout)
        for stages in range(1, self.stages):
            z_q = torch.where(depths == stages, self.values(digits[..., : stages * self.dim]), z_q)
        return z_q
