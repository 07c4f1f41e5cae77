"""What priors of independent symbols share: one distribution a codebook is all they know."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from vqkit.nn.precision import at_least_float32
from vqkit.priors.base import Prior, Step, Walk
from vqkit.priors.inputs import check_indices, check_layout, check_walk, device_of, known_tokens
from vqkit.signal import Indices, Layout, Side


class IndependentPrior(Prior, ABC):
    """p of each symbol by its codebook alone, on grids of any size.

    The buffers `alphabet_0`, ... [Q, K] of each level are 0 within each codebook's alphabet and -inf beyond it.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = check_layout(layout)
        for level, sizes in enumerate(layout.codebook_sizes):
            beyond = torch.arange(max(sizes)) >= torch.tensor(sizes)[:, None]
            self.register_buffer(f"alphabet_{level}", torch.zeros(beyond.shape).masked_fill(beyond, -torch.inf), False)

    @property
    def knows_classes(self) -> bool:
        return False

    @abstractmethod
    def tables(self) -> list[Tensor]:
        """log p [Q, K] of the symbols of every codebook, -inf beyond its alphabet; one a level."""

    def alphabets(self) -> list[Tensor]:
        """Those buffers, in float32 at least."""
        return [at_least_float32(self.get_buffer(f"alphabet_{level}")) for level in range(len(self.layout.grids))]

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token."""
        return -torch.cat([nats.flatten() for nats in self.log_prob(indices, side, context)]).mean()

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        check_indices(indices, self.layout, any_grid=True)
        by_codebook = (level.transpose(0, 1) for level in indices)
        pairs = zip(self.tables(), by_codebook, strict=True)
        return tuple(table.gather(1, level.flatten(1)).view(level.shape).transpose(0, 1) for table, level in pairs)

    def log_conditionals(self, indices: Indices, side: Side, context: Tensor | None = None) -> tuple[Tensor, ...]:
        check_indices(indices, self.layout, any_grid=True)
        return tuple(
            table.view(1, *table.shape, *(1,) * (level.ndim - 2)).expand(len(level), -1, -1, *level.shape[2:])
            for table, level in zip(self.tables(), indices, strict=True)
        )

    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        """A step a codebook, whose one row of logits serves all positions of a batch of any size."""
        check_walk(layout, self.layout, any_grid=True)
        if guidance != 1:
            raise ValueError(f"guidance is {guidance} and independent symbols know no class; leave guidance out")
        tokens = known_tokens(known, layout, batch, device_of(self))
        for level, (table, part) in enumerate(zip(self.tables(), tokens.split(list(layout.tokens), 1), strict=True)):
            cells = part.shape[1] // len(table)
            for q, unknown in enumerate((part[0] < 0).view(-1, cells)):
                if bool(unknown.any()):
                    yield Step(level, unknown.nonzero().t() + q * cells, table[q].view(1, 1, -1))
