"""Symbols as vectors: those of several codebooks at a position make one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SymbolEmbedding(nn.Module):
    """Symbols [B, Q, *grid] int64 -> [B, width, *grid], the sum over the Q codebooks, each with vectors of its own."""

    rows: Tensor

    def __init__(self, codebook_sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.codebook_sizes, self.width = tuple(codebook_sizes), width
        self.table = nn.Embedding(sum(codebook_sizes), width)  # the symbols of every codebook in turn
        self.register_buffer("rows", torch.tensor([0, *codebook_sizes[:-1]]).cumsum(0), persistent=False)

    def forward(self, symbols: Tensor) -> Tensor:
        vectors: Tensor = self.table(symbols + self.rows.view(-1, *(1,) * (symbols.ndim - 2)))
        return vectors.sum(1).movedim(-1, 1)
