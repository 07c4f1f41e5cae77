"""A decoder-only transformer over the tokens of all levels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.attention import overlay, rotations
from vqkit.nn.transformer import CachedTransformer, Transformer, phases
from vqkit.priors.base import Step, Walk
from vqkit.priors.context import Context
from vqkit.priors.depth import DepthTransformer
from vqkit.priors.guidance import Guidance
from vqkit.priors.inputs import check_walk, device_of, known_tokens, unflatten
from vqkit.priors.order import AnnealedOrder
from vqkit.priors.teacher_forced import TeacherForcedPrior
from vqkit.signal import Indices, Layout, Side


class TransformerPrior(TeacherForcedPrior):
    """Each symbol given all before it: p(s_t | s_<t, label, context), levels coarse to fine, the positions of each in
    raster order, at each position its codebooks in turn.

    The transformer takes each position once: the input of position t is what stands before it, the summed embeddings
    of that position's symbols (the class at first), and what is learned of t itself. In attention queries are turned by
    the place of t on the grid and keys by that of what stands before, all levels laid over the finest. Where a level
    has several codebooks a small transformer predicts its symbols from what the big one says of the position
    (`DepthTransformer`): so each is given all those before it, which the delay pattern of MusicGen
    (https://arxiv.org/abs/2306.05284) gives up at as many positions, and the sequence is Q times shorter than one of
    symbols. Made for one layout: other grids are refused.

    Args:
        layout: `classes` above 0 makes it conditional on the `label` of `side`.
        width: of the residual stream, a multiple of `heads`.
        depth: how many blocks.
        heads: of attention, each width / heads dimensions.
        codebook_layers: blocks of the small transformer over the codebooks of a position, where there are several.
        context_channels: C of the `context` [B, C, *any grid] that it is conditional on; 0: none.
        random_order_updates: updates of training over which the order of a level's positions is annealed from random to
            raster (`AnnealedOrder`), so that the net has seen positions given any others; the input of t then says
            also where what stands before it is. 0: raster throughout.
        dropout: share of each block's outputs dropped in training.
        label_dropout: share of the labels hidden in training, for guidance; see `ConditionalPrior`.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    rows: Tensor
    turns: Tensor

    def __init__(
        self,
        layout: Layout,
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        codebook_layers: int = 2,
        context_channels: int = 0,
        random_order_updates: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(layout, dropout, label_dropout, context_channels)
        if depth < 1:
            raise ValueError(f"depth is {depth}; a transformer has at least one block")
        self.width, self.depth, self.heads = width, depth, heads
        self.codebook_layers, self.random_order_updates = codebook_layers, random_order_updates

        self._cells = [math.prod(grid) for grid in layout.grids]
        # One table: the symbols of every codebook of every level in turn, then the classes, then "no class".
        sizes = [size for level in layout.codebook_sizes for size in level]
        self._first_class = sum(sizes)
        self.embedding = nn.Embedding(self._first_class + layout.classes + 1, width)
        self.position = nn.Parameter(torch.empty(sum(self._cells), width))
        self.context = Context(len(layout.grids[0]), context_channels, width)
        self.net = Transformer(width, depth, heads)
        self.outputs = nn.ModuleList(
            DepthTransformer(level, width, codebook_layers, heads) for level in layout.codebook_sizes
        )
        nn.init.normal_(self.embedding.weight, std=0.1)  # smaller ones learn more slowly at first
        nn.init.normal_(self.position, std=0.1)

        self.register_buffer("rows", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)
        self.register_buffer("turns", rotations(torch.cat(overlay(layout.grids)), width // heads), persistent=False)
        self.order = AnnealedOrder(layout, random_order_updates) if random_order_updates else None
        self.before = nn.Parameter(0.1 * torch.randn_like(self.position)) if random_order_updates else None

    def update(self) -> None:
        if self.order is not None:
            self.order.update()

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
        """One symbol a step. Symbols known before a position condition it; those known behind it cannot."""
        check_walk(layout, self.layout)
        device = device_of(self)
        tokens = known_tokens(known, layout, batch, device)
        guide = Guidance(guidance, self.classes_of(side, batch), self)
        both = len(guide.classes)
        with torch.autocast(device.type, enabled=False):
            said = self._said(None if context is None else guide.both(context), both)
            told, turns = self._places(said)
            turned = phases(turns)
        symbols = _flat(unflatten(guide.both(tokens).clone(), layout))
        # Inputs of unknown symbols are set before they are read.
        embedded = [self._embed(number, level.clamp_min(0)) for number, level in enumerate(symbols)]
        inputs = self._inputs(embedded, guide.classes)
        net, fed, start = CachedTransformer(self.net, both, len(self.position)), 0, 0
        for number, (level, head) in enumerate(zip(symbols, self.outputs, strict=True)):
            logits_of = head.cached(both)  # type: ignore[operator]
            unknown = (level[0] < 0).t().tolist()
            positions = torch.arange(level[0].numel(), device=device).view(*level.shape[1:], 1, 1)
            for cell, gaps in enumerate(unknown):
                t = start + cell
                if not any(gaps):
                    continue
                new = slice(fed, t + 1)
                before = net(inputs[:, new] + told[:, new], turned[:, new], fed)[:, -1]
                fed = t + 1
                here = torch.zeros_like(before)  # the summed embeddings of this position's symbols so far
                for q, gap in enumerate(gaps):
                    logits = logits_of(q, before)
                    if gap:
                        sent = yield Step(number, positions[q, cell], guide(logits)[:, None])
                        level[:, q, cell] = guide.both(sent[:, 0])
                    before = here = here + self._embed(number, level[:, q, cell], q)
                inputs[:, fed : fed + 1] = here[:, None]  # behind the last position, a slice of nothing
            start += len(unknown)

    def conditionals(
        self, indices: Indices, classes: Tensor, context: Tensor | None, training: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """In training in the order of `AnnealedOrder`."""
        symbols, order = _flat(indices), None
        if training and self.order is not None:
            order = self.order(len(classes))
            symbols = self.order.put(symbols, order)
        dropout = self.dropout if training else 0.0
        embedded = [self._embed(number, level) for number, level in enumerate(symbols)]
        told, turns = self._places(self._said(context, len(classes)), order)
        x = self.net(self._inputs(embedded, classes) + told, turns, dropout)
        parts = x.split(self._cells, 1)
        for head, features, here, level in zip(self.outputs, parts, embedded, symbols, strict=True):
            yield from zip(head(features, here, dropout), level.unbind(1), strict=True)

    def _embed(self, number: int, symbols: Tensor, q: int | None = None) -> Tensor:
        """Symbols of a level [B, Q, n], or [B] of its codebook q -> their embeddings, with one axis more."""
        first = sum(len(sizes) for sizes in self.layout.codebook_sizes[:number])
        count = len(self.layout.codebook_sizes[number])
        rows = self.rows[first : first + count, None] if q is None else self.rows[first + q]
        embedded: Tensor = self.embedding(symbols + rows)
        return embedded

    def _inputs(self, embedded: Sequence[Tensor], classes: Tensor) -> Tensor:
        """What stands before each position, [B, P, W], of the levels' embedded symbols [B, Q, cells, W]."""
        first = self.embedding(self._first_class + classes)[:, None]
        return torch.cat([first, *(level.sum(1) for level in embedded)], 1)[:, :-1]

    def _said(self, context: Tensor | None, batch: int) -> Tensor | None:
        """What the context says of the positions, [B, P, W]."""
        said = [self.context(context, batch, grid) for grid in self.layout.grids]
        return torch.cat([level.flatten(2) for level in said], 2).mT if self.context_channels else None

    def _places(self, said: Tensor | None, order: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the inputs are told of the positions in `order` [B, P] (by default raster), [B or 1, P, W], and turns
        [2, B or 1, P, 2, D / 2] of queries, by the position, and of keys, by the one before."""
        if order is None:
            order = torch.arange(len(self.position), device=self.position.device)[None]
        elif said is not None:
            said = said.gather(1, order[..., None].expand_as(said))
        told = F.embedding(order, self.position) + (0 if said is None else said)
        if self.before is not None:  # else t says where what stands before it is
            told = told + F.pad(F.embedding(order[:, :-1], self.before), (0, 0, 1, 0))
        turns = self.turns[:, order]
        unturned = turns.new_tensor([1.0, 0.0]).view(2, 1, 1, 1).expand_as(turns[:, :, :1])
        return told, torch.stack([turns, torch.cat([unturned, turns[:, :, :-1]], 2)], 3)


def _flat(indices: Indices) -> list[Tensor]:
    """[B, Q, *grid] of each level -> [B, Q, cells]."""
    return [level.flatten(2) for level in indices]
