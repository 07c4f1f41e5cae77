"""What all priors share that take the positions of one level in raster order."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vqkit.priors.base import Step, Walk
from vqkit.priors.context import Context, condition
from vqkit.priors.guidance import Guidance
from vqkit.priors.head import Heads, HeadsInTurn, ParallelHeads
from vqkit.priors.inputs import check_walk, device_of, known_tokens, one_level
from vqkit.priors.teacher_forced import TeacherForcedPrior
from vqkit.signal import Indices, Layout, Side


class RasterPrior(TeacherForcedPrior, ABC):
    """Each symbol given all before it: p(s_t | s_<t, label, context), positions in raster order, at each position its
    codebooks in turn (of pixels, the colours). The symbols may be tokens, or pixels or samples of sound: these are
    integers on a grid as well.

    A causal net takes each position once; a small head a codebook adds the symbols before it there. Where they are not
    `in_turn`, all codebooks of a position are independent given the positions before, and a step of the walk is a
    position (`head` has both ways). A member brings the net in its two forms: `net`, which gives the features of all
    positions at once, and `incremental`, which gives them one by one.

    `net` takes what stands at each position [B, width, *grid], a condition [B, width, *grid or ones] (None where there
    are neither classes nor a context) and the share of its layers' outputs to drop, and gives features
    [B, width, *grid] of what stands before each.
    """

    rows: Tensor

    def __init__(
        self,
        layout: Layout,
        net: nn.Module,
        width: int,
        context_channels: int,
        dropout: float,
        label_dropout: float,
        any_grid: bool = True,
        in_turn: bool = True,
    ) -> None:
        super().__init__(one_level(layout), dropout, label_dropout, context_channels)
        (grid,), (sizes,) = layout.grids, layout.codebook_sizes
        self.width, self.any_grid, self.in_turn = width, any_grid, in_turn

        self.net = net
        self.embedding = nn.Embedding(sum(sizes), width)  # the symbols of every codebook in turn
        self.register_buffer("rows", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)
        self.classes = nn.Embedding(layout.classes + 1, width) if layout.classes else None  # the last one: no class
        self.context = Context(len(grid), context_channels, width)
        self.output: Heads = (HeadsInTurn if in_turn else ParallelHeads)(width, sizes)

    @abstractmethod
    def incremental(self, batch: int, grid: tuple[int, ...], condition: Tensor | None) -> Callable[[Tensor], Tensor]:
        """`net`, without gradients, position by position: called with what stands at the position before
        [B, width] (zeros before the first), it gives the features [B, width] of the next."""

    @torch.no_grad()
    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        """One symbol a step, or one position. Symbols known before one condition it; those known behind it cannot."""
        check_walk(layout, self.layout, any_grid=self.any_grid)
        (grid,), device = layout.grids, device_of(self)
        guide = Guidance(guidance, self.classes_of(side, batch), self)
        both = len(guide.classes)
        symbols = guide.both(known_tokens(known, layout, batch, device)).view(both, -1, math.prod(grid)).clone()
        unknown = (symbols[0] < 0).tolist()
        wanted = [cell for cell, column in enumerate(zip(*unknown, strict=True)) if any(column)]
        positions = torch.arange(symbols[0].numel(), device=device).view(symbols[0].shape)
        with torch.autocast(device.type, enabled=False):
            condition = self._condition(guide.classes, None if context is None else guide.both(context), grid)
        features_after, first_rows = self.incremental(both, grid, condition), self.rows.tolist()

        def embed(q: int, one: Tensor) -> Tensor:
            embedded: Tensor = self.embedding(one + first_rows[q])
            return embedded

        before = self.embedding.weight.new_zeros(both, self.width)  # what stands at the position before
        for cell in range(wanted[-1] + 1 if wanted else 0):
            features, here = features_after(before), symbols[:, :, cell]  # a view, filled below
            if gaps := [q for q, row in enumerate(unknown) if row[cell]]:
                for codebooks, logits in self.output.steps(features, here, gaps, embed, guide):
                    sent = yield Step(0, positions[codebooks, cell][None], logits)
                    here[:, codebooks] = guide.both(sent)
            before = self.embedding(here + self.rows).sum(1)

    def conditionals(
        self, indices: Indices, classes: Tensor, context: Tensor | None, training: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        (symbols,), dropout = indices, self.dropout if training else 0.0
        embedded = self._embed(symbols)
        features = self._features(embedded, self._condition(classes, context, tuple(symbols.shape[2:])), dropout)
        logits = self.output.conditionals(features, embedded.flatten(2, -2))
        yield from zip(logits, symbols.flatten(2).unbind(1), strict=True)

    def _embed(self, symbols: Tensor) -> Tensor:
        """Symbols [B, Q, *grid] -> [B, Q, *grid, W]."""
        embedded: Tensor = self.embedding(symbols + self.rows.view(-1, *(1,) * (symbols.ndim - 2)))
        return embedded

    def _features(self, embedded: Tensor, condition: Tensor | None, dropout: float) -> Tensor:
        """What all positions [B, T, W] know of those before them."""
        features: Tensor = self.net(embedded.sum(1).movedim(-1, 1), condition, dropout)
        return features.movedim(1, -1).flatten(1, -2)

    def _condition(self, classes: Tensor, context: Tensor | None, grid: tuple[int, ...]) -> Tensor | None:
        return condition(self.classes, self.context, classes, context, grid)
