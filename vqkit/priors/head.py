"""From features of what is before a position to the symbols of its codebooks, of one or of all."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Logits [..., K] of one codebook's symbols, from the features of what is before a position [..., W] and the summed
    embeddings [..., W] of the position's symbols before this one, where it is not the `first`."""

    def __init__(self, width: int, codebook_size: int, first: bool) -> None:
        super().__init__()
        self.width, self.codebook_size, self.first = width, codebook_size, first
        self.features = nn.Linear(width, width)
        self.before = None if first else nn.Linear(width, width, bias=False)
        self.logits = nn.Linear(width, codebook_size)
        nn.init.zeros_(self.logits.weight)  # all symbols alike at first: the loss starts at log K
        nn.init.zeros_(self.logits.bias)

    def forward(self, features: Tensor, before: Tensor) -> Tensor:
        hidden = self.features(F.relu(features))
        if self.before is not None:
            hidden = hidden + self.before(before)
        logits: Tensor = self.logits(F.relu(hidden))
        return logits


class JointHead(nn.Module):
    """Logits [..., K] of every codebook's symbols from the features of what is before a position [..., W] alone."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.sizes = width, sizes
        self.features, self.logits = nn.Linear(width, width), nn.Linear(width, sum(sizes))
        nn.init.zeros_(self.logits.weight)  # all symbols alike at first: the loss starts at log K
        nn.init.zeros_(self.logits.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        hidden = F.relu(self.features(F.relu(features)))
        logits: tuple[Tensor, ...] = self.logits(hidden).split(self.sizes, -1)
        return logits

    def side_by_side(self, features: Tensor) -> Tensor:
        """[..., Q, K] for the largest alphabet, -inf beyond a smaller one."""
        most = max(self.sizes)
        return torch.stack([F.pad(x, (0, most - x.shape[-1]), value=-math.inf) for x in self(features)], -2)
