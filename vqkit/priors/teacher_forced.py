"""What all priors share that score a whole sample in one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from vqkit.priors.base import Prior
from vqkit.priors.inputs import check_indices, check_layout, check_shares, classes_of, device_of, hide, unflatten
from vqkit.priors.nats import log_p, mean_nats
from vqkit.signal import Indices, Layout, Side


class TeacherForcedPrior(Prior, ABC):
    """A prior of which one pass over a whole sample gives every symbol's distribution given the true symbols before it
    (teacher forcing), whatever is before it in the member's order: `loss` and `log_prob` follow from these.

    `dropout` is the share of what is inside that a member drops in training, `label_dropout` that of the labels which
    are hidden there. A layout of other grids, of as many dimensions, is taken where `any_grid`.
    """

    def __init__(self, layout: Layout, dropout: float, label_dropout: float, any_grid: bool = False) -> None:
        super().__init__()
        check_shares(dropout=dropout, label_dropout=label_dropout)
        self.layout, self.any_grid = check_layout(layout), any_grid
        self.dropout, self.label_dropout = dropout, label_dropout

    @abstractmethod
    def conditionals(
        self, indices: Indices, classes: Tensor, context: Tensor | None, training: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each codebook of each level the logits [B, n, K], exactly its alphabet, and the symbols [B, n]: in raster
        order, unless in `training`, where outputs may be dropped too."""

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token; in training mode some labels and outputs are dropped."""
        check_indices(indices, self.layout, self.any_grid)
        classes = classes_of(side, self.layout, len(indices[0]), device_of(self))
        if self.training:
            classes = hide(classes, self.layout, self.label_dropout)
        return mean_nats(self.conditionals(indices, classes, context, self.training))

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        check_indices(indices, self.layout, self.any_grid)
        layout = self.layout._replace(grids=tuple(tuple(level.shape[2:]) for level in indices))
        with torch.autocast(indices[0].device.type, enabled=False):
            classes = self.classes_of(side, len(indices[0]))
            return unflatten(log_p(self.conditionals(indices, classes, context, training=False)), layout)

    def classes_of(self, side: Side, batch: int) -> Tensor:
        """The class [B] of each sample; that there is none is refused where it was not learned."""
        return classes_of(side, self.layout, batch, device_of(self), optional=self.label_dropout > 0)
