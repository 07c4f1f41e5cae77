"""Finite scalar quantization: a few channels, each bounded and rounded to a few levels (Mentzer et al. 2023,
https://arxiv.org/abs/2309.15505)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vqkit.bottlenecks.scalar import ScalarQuantizer


class FiniteScalarQuantizer(ScalarQuantizer):
    """Channel c of tanh(z_e) is rounded to the nearest of `levels[c]` points, evenly spaced from -1 to 1. There is no
    codebook to learn, no loss, and nothing that can collapse.

    For an even number of levels this is the symmetric form of Parker et al. 2024 (https://arxiv.org/abs/2411.19842);
    the first paper's puts a level at 0 and then has one more below it than above.

    Args:
        levels: of each channel, 2 to 65536; their number is the dimension. (8, 5, 5, 5) makes 1000 codes.
        groups: how many consecutive channels share a codebook; all of them by default. A prior has one softmax for each
            codebook, so name groups where the product of all levels is too many for one.

    Raises:
        ValueError: a channel has fewer than 2 levels, groups do not add up, or a codebook has more than 2^31 codes.
    """

    def __init__(self, levels: Sequence[int], groups: Sequence[int] | None = None) -> None:
        super().__init__(levels, groups or (len(levels),))
        self.levels = tuple(levels)

    def bound(self, z_e: Tensor) -> Tensor:
        return z_e.tanh()

    def coordinate(self, bounded: Tensor) -> Tensor:
        return (bounded + 1) / 2 * (self.levels_of - 1)

    def values(self, digits: Tensor) -> Tensor:
        last = self.levels_of - 1
        return (2 * digits - last).float() / last
