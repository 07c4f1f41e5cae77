"""Symbols as vectors: those of several codebooks at a position make one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SymbolEmbedding(nn.Module):
    """Symbols [B, q, *grid] int64 of q codebooks, from number `first` on -> [B, width, *grid], the sum over them. Every
    codebook has vectors of its own; those of no codebook sum up to zeros."""

    rows: Tensor

    def __init__(self, codebook_sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.codebook_sizes, self.width = tuple(codebook_sizes), width
        self.table = nn.Embedding(sum(codebook_sizes), width)  # the symbols of every codebook in turn
        self.register_buffer("rows", torch.tensor([0, *codebook_sizes[:-1]]).cumsum(0), persistent=False)

    def forward(self, symbols: Tensor, first: int = 0) -> Tensor:
        rows = self.rows[first : first + symbols.shape[1]].view(-1, *(1,) * (symbols.ndim - 2))
        vectors: Tensor = self.table(symbols + rows)
        return vectors.sum(1).movedim(-1, 1)
