"""What all scalar quantizers share: each channel is rounded on its own, and the codebook is arithmetic, not a table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.bottlenecks.base import Latent, Quantizer, positions, use_in_batch
from vqkit.bottlenecks.estimators import StraightThrough

Item = TypeVar("Item")

_MOST_LEVELS = 1 << 16  # of a channel: float32 still tells them well apart
_MOST_CODES = 1 << 31  # of a codebook


class ScalarQuantizer(Quantizer, ABC):
    """Channel c has `levels[c]` levels, numbered from 0; which one z_e has there is its digit. `groups[q]` consecutive
    channels share codebook q: their digits are read as one index, the first channel's being the most significant. No
    codebook is ever written out, so that its size costs nothing.

    The methods that a member writes get the channels last, [B, *grid, D], where numbers per channel broadcast.
    """

    levels_of: Tensor
    places: Tensor
    books: Tensor

    def __init__(self, levels: Sequence[int], groups: Sequence[int]) -> None:
        super().__init__()
        levels, groups = tuple(levels), tuple(groups)
        if not levels or not all(isinstance(n, int) and 2 <= n <= _MOST_LEVELS for n in levels):
            raise ValueError(f"levels are {levels}; give each channel an int, 2 to {_MOST_LEVELS}")
        if not all(isinstance(n, int) and n >= 1 for n in groups) or sum(groups) != len(levels):
            raise ValueError(f"groups are {groups}; they must be counts that add up to the {len(levels)} channels")
        self.dim, self.groups = len(levels), groups
        self.codebook_sizes = tuple(math.prod(book) for book in _split(levels, groups))
        if max(self.codebook_sizes) > _MOST_CODES:
            raise ValueError(
                f"a codebook would have {max(self.codebook_sizes)} codes; name groups of fewer channels, such as "
                f"groups={(1,) * len(levels)}, so that none has more than {_MOST_CODES}"
            )
        places = [math.prod(book[c + 1 :]) for book in _split(levels, groups) for c in range(len(book))]
        books = [q for q, size in enumerate(groups) for _ in range(size)]
        for name, numbers in (("levels_of", levels), ("places", places), ("books", books)):  # [D] each
            self.register_buffer(name, torch.tensor(numbers), persistent=False)

    def bound(self, z_e: Tensor) -> Tensor:
        """z_e -> what is rounded; the gradient passes straight through the rounding, and through this as it is."""
        return z_e

    @abstractmethod
    def coordinate(self, bounded: Tensor) -> Tensor:
        """Where each channel is on the axis of its levels, on which level k is at k."""

    @abstractmethod
    def values(self, digits: Tensor) -> Tensor:
        """Digits, int64 -> z, float32: the reconstruction points. Elementwise, so that equal digits give equal bits."""

    def loss(self, bounded: Tensor, z_q: Tensor, mask: Tensor | None) -> Tensor:
        """What trains here, of channel-first `bounded` and `z_q`: nothing, unless a member says otherwise."""
        return bounded.new_zeros(())

    def in_training(self, z_q: Tensor, digits: Tensor) -> Tensor:
        """What training passes on of z_q, `values` of `digits`, all channels last: all of it, unless a member leaves
        something out."""
        return z_q

    def digits(self, bounded: Tensor) -> Tensor:
        """The nearest level, int64."""
        # On a GPU nobody has looked for NaN yet; unlike clamping, this makes an index of it, which does no harm.
        return (
            self.coordinate(bounded).round().fmax(torch.zeros_like(self.levels_of)).minimum(self.levels_of - 1).long()
        )

    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        bounded = self.bound(z_e.movedim(1, -1).contiguous())  # z is channels-last in memory, as lookup's is
        digits = self.digits(bounded.detach())
        columns = (digits * self.places).split(self.groups, -1)
        indices = torch.stack([column.sum(-1) for column in columns], 1)
        z_q = self.values(digits)
        passed = (self.in_training(z_q, digits) if self.training else z_q).movedim(-1, 1)
        bounded, z_q = bounded.movedim(-1, 1), z_q.movedim(-1, 1)
        kl = positions(z_e, mask) * sum(map(math.log, self.codebook_sizes))
        z: Tensor = StraightThrough()(bounded, passed)
        stats = use_in_batch(indices, self.codebook_sizes, mask) if self.training else {}
        return Latent(z, self.loss(bounded, z_q, mask), kl, indices, stats)

    def z_of(self, indices: Tensor) -> Tensor:
        of = slice(sum(self.groups[: indices.shape[1]]))  # their channels
        digits = indices.movedim(1, -1)[..., self.books[of]] // self.places[of] % self.levels_of[of]
        return self.values(digits).movedim(-1, 1)

    def assignment(self, z_e: Tensor) -> Tensor:
        """As of every quantizer: the softmax of minus the squared distance, counted in levels. It has an entry for each
        code, so keep groups small for it."""
        coordinates, levels = self.coordinate(self.bound(z_e.float().movedim(1, -1))), self.levels_of
        places = torch.arange(int(levels.max()), device=z_e.device)
        distances = (coordinates.unsqueeze(-1) - places).square()
        log_p = distances.neg().masked_fill(places >= levels[:, None], -math.inf).log_softmax(-1)  # [B, *grid, D, K]
        if set(self.groups) == {1}:  # no joint codes: hundreds of channels need no loop
            return log_p.movedim((-2, -1), (1, 2))
        books = []
        for group in _split(zip(log_p.unbind(-2), levels.tolist(), strict=True), self.groups):
            joint = coordinates.new_zeros(*coordinates.shape[:-1], 1)
            for of_channel, count in group:
                joint = (joint.unsqueeze(-1) + of_channel[..., :count].unsqueeze(-2)).flatten(-2)
            books.append(F.pad(joint, (0, max(self.codebook_sizes) - joint.shape[-1]), value=-math.inf))
        return torch.stack(books, 1).movedim(-1, 2)


def _split(items: Iterable[Item], sizes: Iterable[int]) -> list[tuple[Item, ...]]:
    """Consecutive runs of these sizes."""
    rest = iter(items)
    return [tuple(islice(rest, size)) for size in sizes]
