"""The facts that cross borders: what a source is, what a batch holds, what a tokenizer hands to a prior.

Shapes used everywhere: B batch, C data channels, D latent channels, Q codebooks a position, K codebook size,
`*grid` one to three spatial or temporal dimensions. Tensors are channel-first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Side = Mapping[str, Tensor]
"""Per-sample facts that both ends of a codec know, each [B] or [B, ...]: `label` (int64)."""

Indices = tuple[Tensor, ...]
"""Coarse to fine, one int64 [B, Q, *grid] a level."""


class Signal(NamedTuple):
    """What a source is, so that nets can be sized.

    `low` and `high` bound the native values; `levels` counts them where they are integers (256 for uint8), and is None
    for floats. `labels` are the names of the classes, empty where there are none.
    """

    channels: int
    grid: tuple[int, ...]
    low: float
    high: float
    levels: int | None
    labels: tuple[str, ...] = ()

    @property
    def dims(self) -> int:
        """Data dimensions of one sample, C x the grid: what "per dimension" divides by."""
        return self.channels * math.prod(self.grid)

    def normalise(self, x: Tensor) -> Tensor:
        """Native values [B, C, *grid] to float32 in [-1, 1], what nets see. Keeps the memory format."""
        centre, half_range = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (x.to(torch.float32) - centre) / half_range

    def denormalise(self, y: Tensor) -> Tensor:
        """[-1, 1] to native values, clamped and rounded like `to_native`."""
        centre, half_range = (self.low + self.high) / 2, (self.high - self.low) / 2
        return self.to_native(y.to(torch.float32) * half_range + centre)

    def to_native(self, x_hat: Tensor) -> Tensor:
        """Reconstructed values as a file holds them: clamped, and rounded to integers where the source has levels."""
        x = x_hat.clamp(self.low, self.high)
        if self.levels is None:
            return x
        return x.round().to(torch.uint8 if self.low >= 0 and self.high <= 255 else torch.int32)


class Batch(NamedTuple):
    """What `data` yields. `x` [B, C, *grid] in its native integers where it has them; nets get it normalised.

    `mask` [B, *grid] is True where the data is real and None where all of it is. `key` names each sample.
    """

    x: Tensor
    mask: Tensor | None
    side: Side
    key: list[str]


class Layout(NamedTuple):
    """All that a prior needs to know of a tokenizer: per level, coarse to fine, the grid of positions and the alphabet
    of each of the Q codebooks at a position; and how many classes a label has (0: no labels). No levels: no tokens."""

    grids: tuple[tuple[int, ...], ...]
    codebook_sizes: tuple[tuple[int, ...], ...]
    classes: int = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """How many symbols each level holds: Q x its positions."""
        return tuple(len(sizes) * math.prod(grid) for grid, sizes in zip(self.grids, self.codebook_sizes, strict=True))

    @property
    def nominal_bits(self) -> float:
        """log2 of the alphabets, summed over every symbol of one sample."""
        return sum(
            math.prod(grid) * sum(math.log2(k) for k in sizes)
            for grid, sizes in zip(self.grids, self.codebook_sizes, strict=True)
        )


def labels(side: Side, classes: int, batch: int, device: torch.device) -> Tensor:
    """The labels [B] of a batch, int64. Raises ValueError where they are missing or not from 0 to `classes` - 1."""
    label = side.get("label")
    if label is None:
        raise ValueError(
            'this model is conditional on a label; give side={"label": int64 [B]} (--label), or data whose '
            "samples have labels"
        )
    if label.shape != (batch,) or label.is_floating_point():
        raise ValueError(f"label is {label.dtype} {list(label.shape)}; give int64 labels of [{batch}]")
    if bool(((label < 0) | (label >= classes)).any()):
        raise ValueError(f"a label is beyond the {classes} classes of this model; give labels from 0 to {classes - 1}")
    return label.to(device, torch.int64)
