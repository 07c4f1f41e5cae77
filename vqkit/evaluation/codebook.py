"""How much of each codebook is in use, counted over held-out tokens."""

from __future__ import annotations

from itertools import chain
from statistics import fmean

import torch
from torch import Tensor

from vqkit.evaluation.measures import Measured
from vqkit.signal import Indices, Layout


def perplexity(counts: Tensor) -> Tensor:
    """Counts [..., K] -> exp of the entropy of their distribution, [...] float64 from 1 to K."""
    p = counts.double() / counts.sum(-1, keepdim=True)
    return torch.xlogy(p, p).sum(-1).neg().exp()


def usage(counts: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Counts [Q, K] -> share of entries that occur, [Q] float64; `sizes` are the Q alphabets, each at most K."""
    return (counts > 0).sum(-1).double() / torch.tensor(sizes, dtype=torch.float64)


class CodebookHealth:
    """Gathers indices batch by batch into `counts`: one int64 [Q, K] a level, coarse to fine, on the CPU. K is the
    largest alphabet of the level, and entries beyond a smaller one stay 0."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.counts = [torch.zeros(len(sizes), max(sizes), dtype=torch.int64) for sizes in layout.codebook_sizes]

    @torch.no_grad()
    def add(self, indices: Indices) -> None:
        """Indices: one int64 [B, Q, *grid] a level."""
        for counts, level in zip(self.counts, indices, strict=True):
            books, size = counts.shape
            ranges = torch.arange(books, device=level.device)[:, None] * size  # one bincount serves every codebook
            symbols = level.transpose(0, 1).reshape(books, -1) + ranges
            counts.add_(symbols.flatten().bincount(minlength=books * size).view(books, size).cpu())

    @property
    def tokens(self) -> int:
        """How many symbols were counted, over every level and codebook."""
        return sum(int(counts.sum()) for counts in self.counts)

    def of_codebooks(self) -> dict[str, list[list[float]]]:
        """`usage_of_codebooks` and `perplexity_of_codebooks`: for each level, coarse to fine, a number a codebook."""
        pairs = list(zip(self.counts, self.layout.codebook_sizes, strict=True))
        return {
            "usage_of_codebooks": [usage(counts, sizes).tolist() for counts, sizes in pairs],
            "perplexity_of_codebooks": [perplexity(counts).tolist() for counts in self.counts],
        }

    def measured(self) -> Measured:
        """`usage`, `perplexity` (means over the codebooks where there are several) and `held_out_tokens`."""
        means = {
            name.removesuffix("_of_codebooks"): fmean(chain.from_iterable(levels))
            for name, levels in self.of_codebooks().items()
        }
        return Measured({**means, "held_out_tokens": self.tokens}, {})
