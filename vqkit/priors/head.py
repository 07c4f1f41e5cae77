"""From features of what is before a position to the symbols of one of its codebooks."""

from __future__ import annotations

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
