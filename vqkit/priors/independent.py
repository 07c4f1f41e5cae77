"""What priors of independent symbols share: a table [Q, K] of log-probabilities a level is all they know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.priors.base import Step, Walk
from vqkit.priors.inputs import known_tokens
from vqkit.signal import Indices, Layout

_STEP = 4096  # positions a step: bounds the memory of their logits


def normalise(weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """Weights [Q, K] -> log-probabilities [Q, K] float32, -inf beyond each codebook's alphabet."""
    beyond = torch.arange(weights.shape[1])[None] >= torch.tensor(sizes)[:, None]
    weights = weights.double().masked_fill(beyond.to(weights.device), 0)
    return (weights / weights.sum(1, keepdim=True)).log().float()


def look_up(tables: Sequence[Tensor], indices: Indices) -> Indices:
    """log p of every symbol, shaped like `indices`."""
    nats = []
    for table, level in zip(tables, indices, strict=True):
        by_codebook = level.transpose(0, 1)
        nats.append(table.gather(1, by_codebook.flatten(1)).view(by_codebook.shape).transpose(0, 1))
    return tuple(nats)


def walk_tables(
    tables: Sequence[Tensor], layout: Layout, batch: int, known: Indices | None, guidance: float = 1.0
) -> Walk:
    """Many positions a step, since none depends on another; their logits serve a batch of any size."""
    if guidance != 1:
        raise ValueError(f"guidance is {guidance} and independent symbols know no class; leave guidance out")
    tokens = known_tokens(known, layout, batch, tables[0].device)
    for level, (table, part) in enumerate(zip(tables, torch.split(tokens, list(layout.tokens), 1), strict=True)):
        cells = part.shape[1] // len(table)
        for positions in torch.split((part[0] < 0).nonzero()[:, 0], _STEP):
            if len(positions):
                yield Step(level, positions[None], table[positions // cells][None])
