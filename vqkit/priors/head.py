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


class ParallelHead(nn.Module):
    """Logits [..., K] of every codebook's symbols from the features of what is before a position [..., W] alone, given
    which they are independent."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.sizes = width, sizes
        self.features, self.logits = nn.Linear(width, width), nn.Linear(width, sum(sizes))
        nn.init.zeros_(self.logits.weight)  # all symbols alike at first: the loss starts at log K
        nn.init.zeros_(self.logits.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[..., sum of all K], codebook after codebook."""
        logits: Tensor = self.logits(F.relu(self.features(F.relu(features))))
        return logits

    def apart(self, logits: Tensor) -> tuple[Tensor, ...]:
        """[..., K] of each codebook."""
        parts: tuple[Tensor, ...] = logits.split(self.sizes, -1)
        return parts

    def side_by_side(self, logits: Tensor) -> Tensor:
        """[..., Q, K] for the largest alphabet, -inf beyond a smaller one."""
        most = max(self.sizes)
        padded = [F.pad(each, (0, most - each.shape[-1]), value=-math.inf) for each in self.apart(logits)]
        return torch.stack(padded, -2)
