"""The net of a masked transformer: symbols that are known, in; logits of those that are masked, out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.attention import Block, overlay, rotations
from vqkit.priors.context import Context
from vqkit.signal import Layout


class _Span(NamedTuple):
    """One codebook of one level: where its tokens, and the level's, are among the flattened ones; its alphabet."""

    level: int
    level_start: int
    start: int
    stop: int
    size: int


def _spans(layout: Layout) -> list[_Span]:
    """Of every codebook, in the order of the flattened tokens."""
    found: list[_Span] = []
    first = 0
    for level, (grid, sizes) in enumerate(zip(layout.grids, layout.codebook_sizes, strict=True)):
        cells = math.prod(grid)
        starts = range(first, first + len(sizes) * cells, cells)
        found.extend(_Span(level, first, start, start + cells, size) for start, size in zip(starts, sizes, strict=True))
        first = starts.stop
    return found


class MaskedNet(nn.Module):
    """Logits of the masked symbols of a level, given the coarser levels and what else of it is known, on all sides.

    Most symbols are masked most of the time, and a mask says nothing but where it is. So the known symbols, behind one
    that stands for the class, go through the deep part of the net alone, and the masks join them for the rest, as in
    masked autoencoders (He et al. 2021, https://arxiv.org/abs/2111.06377) and MAR (Li et al. 2024,
    https://arxiv.org/abs/2406.11838). The arguments are those of `MaskedTransformerPrior`.
    """

    rows: Tensor
    sizes: Tensor
    turns: Tensor

    def __init__(
        self, layout: Layout, width: int, depth: int, joint_depth: int, heads: int, context_channels: int
    ) -> None:
        super().__init__()
        if depth < 0 or joint_depth < 1:
            raise ValueError(f"depth is {depth} and joint_depth {joint_depth}; give at least 0 and 1 blocks")
        self.layout, self.width, self.heads = layout, width, heads
        self.depth, self.joint_depth, self.context_channels = depth, joint_depth, context_channels

        # One table: the symbols of every codebook in turn, then the classes, then "no class", then the mask.
        self._spans = _spans(layout)
        alphabets = torch.tensor([span.size for span in self._spans])
        first_rows = torch.cat([alphabets.new_zeros(1), alphabets.cumsum(0)])
        self._first_class = int(first_rows[-1])
        self.embedding = nn.Embedding(self._first_class + layout.classes + 2, width)
        # Place 0 is that of the class, which is always known.
        self.position = nn.Parameter(torch.empty(1 + sum(layout.tokens), width))
        self.context = Context(len(layout.grids[0]), context_channels, width)
        blocks = depth + joint_depth
        self.blocks = nn.ModuleList(Block(width, heads, blocks) for _ in range(blocks))
        self.norm = nn.RMSNorm(width)
        self.outputs = nn.ModuleList(nn.Linear(width, span.size) for span in self._spans)
        # A mask is told from others by its place alone, which smaller numbers drown in what the blocks add.
        nn.init.normal_(self.embedding.weight, std=0.3)
        nn.init.normal_(self.position, std=0.3)
        for parameter in self.outputs.parameters():  # all symbols alike at first: the loss starts at log K
            nn.init.zeros_(parameter)

        lengths = torch.tensor([span.stop - span.start for span in self._spans])
        self.register_buffer("rows", first_rows[:-1].repeat_interleave(lengths), persistent=False)
        self.register_buffer("sizes", alphabets.repeat_interleave(lengths), persistent=False)
        pairs = zip(overlay(layout.grids), layout.codebook_sizes, strict=True)
        places = torch.cat([cells.repeat(len(sizes), 1) for cells, sizes in pairs])
        places = torch.cat([places.new_zeros(1, places.shape[1]), places])
        self.register_buffer("turns", rotations(places, width // heads), persistent=False)

    def forward(
        self,
        level: int,
        tokens: Tensor,
        order: Tensor,
        masked: int,
        classes: Tensor,
        condition: Tensor | None = None,
        dropout: float = 0.0,
    ) -> Tensor:
        """Logits [B, masked, K] of the last `masked` of the positions `order` [B, n] of `tokens` [B, T], all of
        this level; finite, zeros beyond an alphabet. Those before them are known. `classes` [B], where that behind the
        last means none; `condition` as `said` says it; `dropout` is the share of what each block adds that is dropped.
        """
        hidden, positions = self._hidden(tokens, order, masked, classes, condition, dropout), order[:, -masked:]
        precision = torch.promote_types(self.position.dtype, torch.float32)
        logits = hidden.new_zeros(*positions.shape, max(self.layout.codebook_sizes[level]), dtype=precision)
        for span, head in zip(self._spans, self.outputs, strict=True):
            if span.level == level:
                here = (span.start <= positions) & (positions < span.stop)
                logits[here, : span.size] = head(hidden[here]).to(precision)
        return logits

    def within(self, logits: Tensor, positions: Tensor) -> Tensor:
        """-inf beyond the alphabet of each position."""
        beyond = torch.arange(logits.shape[-1], device=logits.device) >= self.sizes[positions][..., None]
        return logits.masked_fill(beyond, -torch.inf)

    def said(self, context: Tensor | None, batch: int) -> Tensor | None:
        """What a context [batch, C, *any grid] says of every position, [batch, T, width]; None where there is none."""
        said = []
        for grid, sizes in zip(self.layout.grids, self.layout.codebook_sizes, strict=True):
            of_level = self.context(context, batch, grid)
            if of_level is None:
                return None
            said.append(of_level.flatten(2).transpose(1, 2).repeat(1, len(sizes), 1))
        return torch.cat(said, 1)

    def _hidden(
        self, tokens: Tensor, order: Tensor, masked: int, classes: Tensor, condition: Tensor | None, dropout: float
    ) -> Tensor:
        """What is known of the masked positions, [B, masked, width]."""
        known = order[:, :-masked]
        rows = torch.cat([self._first_class + classes[:, None], tokens.gather(1, known) + self.rows[known]], 1)
        rows = F.pad(rows, (0, masked), value=self.embedding.num_embeddings - 1)
        places = F.pad(order + 1, (1, 0))
        x, turns = self.embedding(rows) + self.position[places], self.turns[:, places].unsqueeze(-2)
        if condition is not None:
            x = x + F.pad(condition.gather(1, order[..., None].expand(-1, -1, self.width)), (0, 0, 1, 0))
        x, masks = x.split([x.shape[1] - masked, masked], 1)
        for number, block in enumerate(self.blocks):
            if number == self.depth:
                x = torch.cat([x, masks], 1)
            last = masked if number == len(self.blocks) - 1 else None
            x = block(x, turns[:, :, : x.shape[1]], causal=False, dropout=dropout, last=last)
        return self.norm(x)  # type: ignore[no-any-return]
