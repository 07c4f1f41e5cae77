"""A table of K vectors that are chosen by distance, and the bookkeeping that keeps every one of them in use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.bottlenecks.arguments import below_one, count
from vqkit.bottlenecks.k_means import start_from_data
from vqkit.bottlenecks.processes import draw_from_all_processes, sum_over_processes
from vqkit.bottlenecks.search import nearest_code

_GRACE = 1.5  # a revived code starts this far above the threshold, so that it has time to win something
_CANDIDATES = 1 << 16  # vectors of a step that are kept to revive codes from
_MOST_SEEN = 1 << 40  # vectors in a step, so that no two of a run have one key


class StepCounts(NamedTuple):
    """What the forwards of a step counted. A code wins a vector when it is the nearest one: `wins` [K] is how many each
    won and `sums` [K, D] their sum. `vectors` [N, D] are this process's, which has `seen` so many: all, or those of the
    greatest `keys` [N], a uniform choice however the step is divided into forwards."""

    wins: Tensor
    sums: Tensor
    vectors: Tensor
    keys: Tensor
    seen: int


class Codebook(nn.Module):
    """`vectors` [K, D], a parameter if `learned` (by gradient) and a buffer otherwise, and `counts` [K], the moving
    average of how many vectors each wins a step.

    Averages follow the last 1 / (1 - `decay`) steps or so, at first only the last tenth of the steps so far: an encoder
    changes fast when it has just begun, and codes that lag behind it win nothing and die.

    A code whose count falls under `revival` x the mean count is dead and is re-drawn from the vectors of the step (0
    switches that off). Its count is reset with it, else it would be dead again at once.
    """

    vectors: Tensor
    counts: Tensor
    updates: Tensor

    def __init__(self, codebook_size: int, dim: int, learned: bool, decay: float, revival: float) -> None:
        super().__init__()
        self.codebook_size, self.dim, self.learned = count("codebook_size", codebook_size), count("dim", dim), learned
        self.decay, self.revival = below_one("decay", decay), below_one("revival", revival)
        vectors = torch.randn(codebook_size, dim) / dim**0.5
        if learned:
            self.vectors = nn.Parameter(vectors)
        else:
            self.register_buffer("vectors", vectors)
        self.register_buffer("counts", torch.zeros(codebook_size))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._won: StepCounts | None = None  # by this step's forwards so far

    def nearest(self, vectors: Tensor) -> Tensor:
        """[N, D] -> [N] int64."""
        return nearest_code(vectors, self.vectors.detach())

    def lookup(self, indices: Tensor) -> Tensor:
        """Any shape int64 -> the same shape and D."""
        return F.embedding(indices, self.vectors)

    @torch.no_grad()
    def see(self, vectors: Tensor, indices: Tensor) -> None:
        """Remembers what was won, [N, D] and [N], until the step's `collect`."""
        wins = torch.bincount(indices, minlength=self.codebook_size).to(torch.float32)
        sums = torch.zeros_like(self.vectors, dtype=torch.float32).index_add_(0, indices, vectors)
        seen = self._won.seen if self._won else 0
        keys = _pseudorandom(torch.arange(seen, seen + len(vectors), device=vectors.device) - self.updates * _MOST_SEEN)
        seen += len(vectors)
        if self._won is not None:
            wins, sums = wins + self._won.wins, sums + self._won.sums
            vectors, keys = torch.cat([self._won.vectors, vectors]), torch.cat([self._won.keys, keys])
        if len(vectors) > _CANDIDATES:
            kept = keys.topk(_CANDIDATES).indices.sort().values
            vectors, keys = vectors[kept], keys[kept]
        self._won = StepCounts(wins, sums, vectors.detach(), keys, seen)

    def collect(self, sums: Tensor | None = None) -> StepCounts | None:
        """What all processes have won since the last step; None if there was no forward since. It moves the averages:
        `counts` and, where they are given, the `sums` [K, D] of what each code wins."""
        won, self._won = self._won, None
        if won is None:
            return None
        sum_over_processes(won.wins, won.sums)
        self._average(self.counts, won.wins, torch.ones_like(won.wins))
        if sums is not None:
            self._average(sums, won.sums, self.vectors)
        self.updates += 1
        return won

    def _average(self, mean: Tensor, of_step: Tensor, of_code: Tensor) -> None:
        """The average starts with the first step and the code itself, as if it had won one vector more. Its decay grows
        with the n updates so far: (1 + n) / (10 + n) reaches 0.9 at 80 of them, 0.99 at 890."""
        n = int(self.updates)
        if n == 0:
            mean.copy_(of_step + of_code)
        else:
            mean.lerp_(of_step, 1 - min(self.decay, (1 + n) / (10 + n)))

    @torch.no_grad()
    def revive(self, vectors: Tensor) -> Tensor:
        """Re-draws the dead codes from `vectors` [N, D] of this process; returns which they were, [n] int64."""
        threshold = self.revival * self.counts.mean()
        dead = (self.counts < threshold).nonzero()[:, 0]
        if len(dead):
            # Seeded by the step: the same draw in every process, and again after a resume.
            generator = torch.Generator().manual_seed(int(self.updates))
            drawn = draw_from_all_processes(vectors, len(dead), generator)
            dead = dead[: len(drawn)]  # where there are too few vectors, the rest of the dead wait for the next step
            self.vectors[dead] = drawn
            self.counts[dead] = threshold * _GRACE
        return dead

    @torch.no_grad()
    def initialise(self, stream: Iterable[Tensor]) -> None:
        """From a stream of vectors [n, D], see `start_from_data`; what was counted before is forgotten."""
        start_from_data(self.vectors.data, stream)
        self._won = None
        self.counts.zero_()
        self.updates.zero_()

    def stats(self) -> dict[str, Tensor]:
        """Perplexity and usage by the moving average of the counts."""
        p = self.counts / self.counts.sum().clamp_min(1e-12)
        perplexity = torch.exp(-(p * p.clamp_min(1e-12).log()).sum())
        return {"perplexity": perplexity, "usage": (p * self.codebook_size > 1e-3).float().mean()}


def _pseudorandom(numbers: Tensor) -> Tensor:
    """int64 -> int64, another number for each: multiplications by odd numbers, which overflow, and xors with the upper
    bits lose nothing (the finaliser of a hash; Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195)."""
    for factor in (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15):
        numbers = (numbers ^ (numbers >> 31)) * factor
    return numbers ^ (numbers >> 31)
