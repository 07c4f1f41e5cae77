"""Every symbol alike: what tokens cost before anything is known of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.priors.base import Prior, Walk
from vqkit.priors.independent import look_up, normalise, walk_tables
from vqkit.priors.inputs import check_indices, check_layout, check_walk
from vqkit.signal import Indices, Layout, Side


class UniformPrior(Prior):
    """p = 1 / K for each symbol, on grids of any size. Its rate is the layout's nominal bits; nothing is learned."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = check_layout(layout)
        for level, sizes in enumerate(layout.codebook_sizes):
            weights = torch.ones(len(sizes), max(sizes))
            self.register_buffer(f"table_{level}", normalise(weights, sizes), persistent=False)

    def _tables(self) -> list[Tensor]:
        return [self.get_buffer(f"table_{level}") for level in range(len(self.layout.grids))]

    def fit(self, stream: Iterable[tuple[Indices, Side]]) -> bool:
        """There is nothing to set."""
        return True

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token, a constant."""
        return -torch.cat([nats.flatten() for nats in self.log_prob(indices, side, context)]).mean()

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        check_indices(indices, self.layout, any_grid=True)
        return look_up(self._tables(), indices)

    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        check_walk(layout, self.layout, any_grid=True)
        return walk_tables(self._tables(), layout, batch, known, guidance)
