"""The dilated causal net of a WaveNet, over one sequence (van den Oord et al. 2016, https://arxiv.org/abs/1609.03499).

Each layer adds to a position what it finds there and one dilation earlier. Where the dilations double from layer to
layer, what a position sees doubles with them. Shapes: B batch, W width, T positions, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DilatedLayer(nn.Module):
    """x [B, W, T] to x + residual(gated) and skip(gated), where the gated unit is tanh(a) sigmoid(b) of what a
    convolution with two taps, `dilation` apart, and the condition [B, W, T or 1] give. After the `last` layer nothing
    takes an x: it has no residual connection."""

    def __init__(self, width: int, dilation: int, conditional: bool, last: bool) -> None:
        super().__init__()
        self.width, self.dilation, self.conditional, self.last = width, dilation, conditional, last
        self.kernel = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.condition = nn.Conv1d(width, 2 * width, 1, bias=False) if conditional else None
        self.residual = None if last else nn.Conv1d(width, width, 1, bias=False)
        self.skip = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor, condition: Tensor | None, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        y = self.kernel(F.pad(x, (self.dilation, 0)))
        if self.condition is not None:
            y = y + self.condition(condition)
        a, b = y.chunk(2, 1)
        gated = a.tanh() * b.sigmoid()
        if dropout:
            gated = F.dropout(gated, dropout)
        return x if self.residual is None else x + self.residual(gated), self.skip(gated)


class DilatedNet(nn.Module):
    """What stands at each position, [B, W, *grid], to features of what stands before it, [B, W, *grid]: the sum of what
    every layer's gated unit says by its skip connection. A grid is one sequence, in raster order, and may be any.

    Args:
        width: channels of every layer, W.
        dilations: of each layer, how many positions its two taps are apart.
        conditional: whether `forward` is given a condition.

    Raises ValueError where an argument is out of its range.
    """

    def __init__(self, width: int, dilations: Sequence[int], conditional: bool = False) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations are {list(dilations)}; give at least one layer, each 1 position or more")
        self.width, self.dilations, self.conditional = width, tuple(dilations), conditional
        last = len(dilations) - 1
        self.layers = nn.ModuleList(
            DilatedLayer(width, dilation, conditional, number == last) for number, dilation in enumerate(dilations)
        )

    @property
    def receptive_field(self) -> int:
        """How many positions the features of one see, all of them directly before it."""
        return 1 + sum(self.dilations)

    def forward(self, inputs: Tensor, condition: Tensor | None = None, dropout: float = 0.0) -> Tensor:
        x = F.pad(inputs.flatten(2), (1, -1))  # a position does not see itself
        given = None if condition is None else condition.flatten(2)
        features = torch.zeros_like(x)
        for layer in self.layers:
            x, skip = layer(x, given, dropout)
            features = features + skip
        return features.view(inputs.shape)
