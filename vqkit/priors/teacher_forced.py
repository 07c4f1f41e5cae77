"""What all priors share that score a whole sample in one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from vqkit.priors.conditional import ConditionalPrior
from vqkit.priors.inputs import check_indices, unflatten
from vqkit.priors.nats import log_p, log_p_of_all, mean_nats
from vqkit.signal import Indices, Side


class TeacherForcedPrior(ConditionalPrior, ABC):
    """A prior of which one pass over a whole sample gives every symbol's distribution given the true symbols before it
    (teacher forcing), whatever is before it in the member's order: `loss` and `log_prob` follow from these. A layout of
    other grids, of as many dimensions, is taken where `any_grid`.
    """

    any_grid = False

    @abstractmethod
    def conditionals(
        self, indices: Indices, classes: Tensor, context: Tensor | None, training: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each codebook of each level the logits [B, n, K], exactly its alphabet, and the symbols [B, n]: in raster
        order, unless in `training`, where outputs may be dropped too."""

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token; in training mode some labels and outputs are dropped."""
        check_indices(indices, self.layout, self.any_grid)
        classes = self.training_classes_of(side, len(indices[0]))
        return mean_nats(self.conditionals(indices, classes, context, self.training))

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        check_indices(indices, self.layout, self.any_grid)
        layout = self.layout._replace(grids=tuple(tuple(level.shape[2:]) for level in indices))
        with torch.autocast(indices[0].device.type, enabled=False):
            classes = self.classes_of(side, len(indices[0]))
            return unflatten(log_p(self.conditionals(indices, classes, context, training=False)), layout)

    def log_conditionals(self, indices: Indices, side: Side, context: Tensor | None = None) -> tuple[Tensor, ...]:
        check_indices(indices, self.layout, self.any_grid)
        with torch.autocast(indices[0].device.type, enabled=False):
            logits = [x for x, _ in self.conditionals(indices, self.classes_of(side, len(indices[0])), context, False)]
        codebooks = iter(logits)
        return tuple(log_p_of_all(islice(codebooks, level.shape[1]), level) for level in indices)
