"""From features of what is before a position to the symbols of its codebooks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

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


class Heads(nn.Module, ABC):
    """All codebooks of a position, of the alphabets `sizes`."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.sizes = width, sizes

    @abstractmethod
    def conditionals(self, features: Tensor, embedded: Tensor) -> Iterator[Tensor]:
        """The logits [B, T, K] of each codebook, from the features of T positions [B, T, W] and the embeddings of the
        symbols there [B, Q, T, W]."""

    @abstractmethod
    def steps(
        self,
        features: Tensor,
        symbols: Tensor,
        unknown: Sequence[int],
        embed: Callable[[int, Tensor], Tensor],
        guide: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        """Which of the `unknown` codebooks of one position come next, and their guided logits [B, n, K], -inf beyond an
        alphabet, from its features [B, W] and its `symbols` [B, Q], into which the caller writes those that it was
        given before it asks for more. `embed` gives those of a codebook, [B, W]."""


class HeadsInTurn(Heads):
    """One codebook after the other, each given the symbols before it there."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__(width, sizes)
        self.heads = nn.ModuleList(Head(width, size, first=q == 0) for q, size in enumerate(sizes))

    def conditionals(self, features: Tensor, embedded: Tensor) -> Iterator[Tensor]:
        before = torch.zeros_like(features)
        for head, here in zip(self.heads, embedded.unbind(1), strict=True):
            yield head(features, before)
            before = before + here

    def steps(
        self,
        features: Tensor,
        symbols: Tensor,
        unknown: Sequence[int],
        embed: Callable[[int, Tensor], Tensor],
        guide: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        before = torch.zeros_like(features)
        for q, head in enumerate(self.heads):
            if q in unknown:
                with torch.autocast(features.device.type, enabled=False):  # in the precision of the parameters
                    logits = head(features, before)
                yield [q], guide(logits)[:, None]
            if q + 1 < len(self.heads):
                before = before + embed(q, symbols[:, q])


class ParallelHeads(Heads):
    """All codebooks at once, independent given what is before the position."""

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__(width, sizes)
        self.features, self.logits = nn.Linear(width, width), nn.Linear(width, sum(sizes))
        nn.init.zeros_(self.logits.weight)  # as those of a `Head`
        nn.init.zeros_(self.logits.bias)

    def conditionals(self, features: Tensor, embedded: Tensor) -> Iterator[Tensor]:
        yield from self._all(features).split(self.sizes, -1)

    def steps(
        self,
        features: Tensor,
        symbols: Tensor,
        unknown: Sequence[int],
        embed: Callable[[int, Tensor], Tensor],
        guide: Callable[[Tensor], Tensor],
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        with torch.autocast(features.device.type, enabled=False):
            logits = self._all(features)
        most, parts = max(self.sizes), guide(logits).split(self.sizes, -1)
        yield unknown, torch.stack([F.pad(parts[q], (0, most - self.sizes[q]), value=-math.inf) for q in unknown], 1)

    def _all(self, features: Tensor) -> Tensor:
        """[..., sum of all K]."""
        logits: Tensor = self.logits(F.relu(self.features(F.relu(features))))
        return logits
