"""What symbols cost under logits. Of each codebook: logits [B, n, K], exactly its alphabet, and the symbols [B, n]."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.nn.precision import at_least_float32

ByCodebook = Iterable[tuple[Tensor, Tensor]]


def mean_nats(codebooks: ByCodebook) -> Tensor:
    """-log p a token, a scalar, float32 at least whatever the precision of the logits."""
    nats, count = [], 0
    for logits, symbols in codebooks:
        nats.append(F.cross_entropy(at_least_float32(logits).flatten(0, 1), symbols.flatten(), reduction="sum"))
        count += symbols.numel()
    return torch.stack(nats).sum() / count


def log_p(codebooks: ByCodebook) -> Tensor:
    """log p of every symbol in nats, those of all codebooks in a row: [B, tokens]."""
    pairs = ((at_least_float32(logits).transpose(1, 2), symbols) for logits, symbols in codebooks)
    return torch.cat([-F.cross_entropy(logits, symbols, reduction="none") for logits, symbols in pairs], 1)


def log_p_of_all(logits: Iterable[Tensor], level: Tensor) -> Tensor:
    """log p of every symbol of a level [B, Q, *grid] in nats, of its codebooks' logits: [B, Q, K, *grid], float32 at
    least, K the largest alphabet, -inf beyond a smaller one."""
    by_codebook = [at_least_float32(x).log_softmax(-1) for x in logits]
    largest = max(x.shape[-1] for x in by_codebook)
    padded = [F.pad(x, (0, largest - x.shape[-1]), value=-math.inf) for x in by_codebook]
    every: Tensor = torch.stack(padded, 1).mT.unflatten(-1, level.shape[2:])
    return every
