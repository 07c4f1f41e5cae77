"""Next-scale prediction: a transformer whose steps are whole levels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor, nn

from vqkit.nn.attention import overlay, rotations
from vqkit.nn.pyramid import area, linear
from vqkit.nn.transformer import CachedTransformer, Transformer, phases
from vqkit.priors.base import Step, Walk
from vqkit.priors.embedding import SymbolEmbedding
from vqkit.priors.guidance import Guidance
from vqkit.priors.head import Head
from vqkit.priors.inputs import check_walk, device_of, known_tokens, unflatten
from vqkit.priors.teacher_forced import TeacherForcedPrior
from vqkit.signal import Indices, Layout, Side


class NextScalePrior(TeacherForcedPrior):
    """Each level given all coarser ones, its positions at once: p(level k | levels < k, label) is a product over the
    positions (VAR, Tian et al. 2024, https://arxiv.org/abs/2404.02905). It suits tokens whose finest levels say little
    that depends on each other, such as those of `MultiscaleResidual`. A walk takes a step a level, not one a token.

    The input of a level's positions is what the coarser levels say there, brought together as that tokenizer does it:
    the sum of their symbols' embeddings, each interpolated linearly to the finest grid, and of that the means over the
    areas of the level's own positions. The first level starts from the class. A position attends to all positions of
    its own and of coarser levels, by their places on the grid (`nn.attention`), where all levels lie over the finest.

    Several codebooks a position are predicted in turn, by a small head each that is given the symbols before it there,
    since the stages of a residual quantizer depend on each other too much to be drawn apart; the transformer runs once
    a level all the same. Made for one layout: other grids are refused.

    Args:
        layout: `classes` above 0 makes it conditional on the `label` of `side`.
        width: of the residual stream, a multiple of `heads`.
        depth: how many blocks.
        heads: of attention, each width / heads dimensions.
        dropout: share of each block's outputs dropped in training.
        label_dropout: share of the labels hidden in training, for guidance; see `ConditionalPrior`.

    Raises ValueError where an argument is out of its range, and in every method where indices, label or layout are not
    those of `layout`, or a `context` is given.
    """

    turns: Tensor
    mask: Tensor

    def __init__(
        self,
        layout: Layout,
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(layout, dropout, label_dropout)
        if depth < 1:
            raise ValueError(f"depth is {depth}; a transformer has at least one block")
        self.width, self.depth, self.heads = width, depth, heads

        self._cells = [math.prod(grid) for grid in layout.grids]
        self._starts = [0, *accumulate(self._cells)]  # of each level, among the positions of all
        self._codebooks = [0, *accumulate(map(len, layout.codebook_sizes))]  # and among all codebooks
        self._finest = tuple(max(extents) for extents in zip(*layout.grids, strict=True))
        sizes = [(size, q == 0) for level in layout.codebook_sizes for q, size in enumerate(level)]

        self.embedding = SymbolEmbedding([size for size, _ in sizes], width)
        self.classes = nn.Embedding(layout.classes + 1, width)  # the last one: no class
        self.position = nn.Parameter(torch.empty(sum(self._cells), width))
        self.net = Transformer(width, depth, heads)
        self.outputs = nn.ModuleList(Head(width, size, first) for size, first in sizes)
        for vectors in (self.embedding.table.weight, self.classes.weight, self.position):
            nn.init.normal_(vectors, std=0.1)

        level = torch.arange(len(self._cells)).repeat_interleave(torch.tensor(self._cells))
        self.register_buffer("mask", level[:, None] >= level, persistent=False)
        self.register_buffer("turns", rotations(torch.cat(overlay(layout.grids)), width // heads), persistent=False)

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
        """A step a level and codebook. Symbols known of coarser levels, and of the codebooks before at a position,
        condition it; those known at other positions of its level cannot."""
        check_walk(layout, self.layout)
        _refuse(context)
        tokens = known_tokens(known, layout, batch, device_of(self)).clone()
        guide = Guidance(guidance, self.classes_of(side, batch), self)
        net, turned = CachedTransformer(self.net, len(guide.classes), sum(self._cells)), phases(self.turns)
        indices = unflatten(tokens, layout)  # views: what is sent fills them
        unknown = [level[0].flatten(1) < 0 for level in indices]
        wanted = [level for level, gaps in enumerate(unknown) if bool(gaps.any())]
        above: Tensor | None = None
        for level in range(wanted[-1] + 1 if wanted else 0):
            with torch.autocast(tokens.device.type, enabled=False):
                if level:
                    above = self._merge(above, level - 1, indices[level - 1])
                x = self._input(level, None if above is None else guide.both(above), guide.classes)
            here = slice(self._starts[level], self._starts[level + 1])
            features = net(x, turned[:, here], self._starts[level], causal=False)
            symbols = indices[level].flatten(2)
            for q, gaps in enumerate(unknown[level]):
                positions = gaps.nonzero()[:, 0]
                if len(positions):
                    before = guide.both(symbols[:, :q, positions])
                    with torch.autocast(tokens.device.type, enabled=False):
                        logits = guide(self._logits(level, q, features[:, positions], before))
                    symbols[:, q, positions] = yield Step(level, positions[None] + q * self._cells[level], logits)

    def conditionals(
        self, indices: Indices, classes: Tensor, context: Tensor | None, training: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        _refuse(context)
        above, inputs = None, []
        for level in range(len(indices)):
            if level:
                above = self._merge(above, level - 1, indices[level - 1])
            inputs.append(self._input(level, above, classes))
        features = self.net(torch.cat(inputs, 1), self.turns, self.dropout if training else 0.0, self.mask)
        for level, here in enumerate(features.split(self._cells, 1)):
            symbols = indices[level].flatten(2)
            for q in range(symbols.shape[1]):
                yield self._logits(level, q, here, symbols[:, :q]), symbols[:, q]

    def _merge(self, above: Tensor | None, level: int, symbols: Tensor) -> Tensor:
        """What the levels above one say, joined by its own symbols [B, Q, *grid]: [B, W, *finest]."""
        said = linear(self.embedding(symbols, self._codebooks[level]), self._finest)
        return said if above is None else above + said

    def _input(self, level: int, above: Tensor | None, classes: Tensor) -> Tensor:
        """Of every position of a level, [B, n, W]."""
        if above is None:
            x = self.classes(classes)[:, None]
        else:
            x = area(above, self.layout.grids[level]).flatten(2).transpose(1, 2)
        return x + self.position[self._starts[level] : self._starts[level + 1]]  # type: ignore[no-any-return]

    def _logits(self, level: int, q: int, features: Tensor, before: Tensor) -> Tensor:
        """[B, n, K] of a codebook, from the positions' features [B, n, W] and their symbols before it [B, q, n]."""
        first = self._codebooks[level]
        logits: Tensor = self.outputs[first + q](features, self.embedding(before, first).transpose(1, 2))
        return logits


def _refuse(context: Tensor | None) -> None:
    if context is not None:
        raise ValueError("a NextScalePrior takes no context; leave it out")
