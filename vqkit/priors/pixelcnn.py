"""A gated PixelCNN over one level of tokens, or over pixels: they are integers on a grid as well."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.causal import CausalNet
from vqkit.nn.incremental import Incremental
from vqkit.priors.base import Prior, Step, Walk
from vqkit.priors.context import Context
from vqkit.priors.guidance import Guidance
from vqkit.priors.inputs import (
    check_indices,
    check_layout,
    check_shares,
    check_walk,
    classes_of,
    device_of,
    hide,
    known_tokens,
)
from vqkit.priors.nats import log_p, mean_nats
from vqkit.signal import Indices, Layout, Side


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


class PixelCNN(Prior):
    """Each symbol given all before it: p(s_t | s_<t, label, context), positions in raster order, at each position its
    codebooks in turn (of pixels, the colours). Gated convolutions in a stack an axis, so that all that comes before is
    seen up to a distance of about depth x (kernel_size - 1) / 2 positions (van den Oord et al. 2016,
    https://arxiv.org/abs/1606.05328; `nn.causal` says how). With attention between them it is a PixelSNAIL, which sees
    all of it (Chen et al. 2017, https://arxiv.org/abs/1712.09763).

    The big net takes each position once; a small head a codebook adds the symbols before it there. Without attention
    the grid may be any of as many dimensions.

    Args:
        layout: of one level; `classes` above 0 makes it conditional on the `label` of `side`.
        width: channels of every stack.
        depth: how many gated layers.
        kernel_size: of their convolutions, odd.
        attention_every: after this many layers each, a transformer block over the positions before; 0: none.
        heads: of that attention, each width / heads dimensions.
        context_channels: C above 0 makes it conditional on a `context` [B, C, *any grid], which is brought to the
            level's grid by means over areas or by linear interpolation.
        dropout: share of what each layer adds that is dropped in training.
        label_dropout: share of the labels hidden in training, so that p(indices) without a label is learned too, as
            classifier-free guidance needs it (https://arxiv.org/abs/2207.12598). Above 0, `log_prob` and `walk` take a
            `side` without a label to mean that; at 0 they refuse it.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    rows: Tensor

    def __init__(
        self,
        layout: Layout,
        width: int = 64,
        depth: int = 10,
        kernel_size: int = 3,
        attention_every: int = 0,
        heads: int = 4,
        context_channels: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_shares(dropout=dropout, label_dropout=label_dropout)
        if len(check_layout(layout).grids) > 1:
            raise ValueError(f"a PixelCNN is over one level, not {len(layout.grids)}; give each level one of its own")
        (grid,), (sizes,) = layout.grids, layout.codebook_sizes
        self.layout, self.width, self.depth, self.kernel_size = layout, width, depth, kernel_size
        self.attention_every, self.heads, self.context_channels = attention_every, heads, context_channels
        self.dropout, self.label_dropout = dropout, label_dropout

        conditional = bool(layout.classes or context_channels)
        self.net = CausalNet(grid, width, depth, kernel_size, conditional, attention_every, heads)
        self.embedding = nn.Embedding(sum(sizes), width)  # the symbols of every codebook in turn
        self.register_buffer("rows", torch.tensor([0, *sizes[:-1]]).cumsum(0), persistent=False)
        self.classes = nn.Embedding(layout.classes + 1, width) if layout.classes else None  # the last one: no class
        self.context = Context(len(grid), context_channels, width)
        self.outputs = nn.ModuleList(Head(width, size, first=q == 0) for q, size in enumerate(sizes))

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token; in training mode some labels and outputs are dropped."""
        check_indices(indices, self.layout, any_grid=self._any_grid)
        classes, dropout = classes_of(side, self.layout, len(indices[0]), device_of(self)), 0.0
        if self.training:
            classes, dropout = hide(classes, self.layout, self.label_dropout), self.dropout
        return mean_nats(self._by_codebook(indices[0], classes, context, dropout))

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        check_indices(indices, self.layout, any_grid=self._any_grid)
        with torch.autocast(indices[0].device.type, enabled=False):
            classes = self._classes(side, len(indices[0]))
            return (log_p(self._by_codebook(indices[0], classes, context)).view(indices[0].shape),)

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
        check_walk(layout, self.layout, any_grid=self._any_grid)
        (grid,), device = layout.grids, device_of(self)
        guide = Guidance(guidance, self._classes(side, batch), self.layout, self.label_dropout)
        both = len(guide.classes)
        symbols = guide.both(known_tokens(known, layout, batch, device)).view(both, -1, math.prod(grid)).clone()
        unknown = (symbols[0] < 0).tolist()
        wanted = [cell for cell, column in enumerate(zip(*unknown, strict=True)) if any(column)]
        positions = torch.arange(symbols[0].numel(), device=device).view(*symbols[0].shape, 1, 1)
        with torch.autocast(device.type, enabled=False):
            condition = self._condition(guide.classes, None if context is None else guide.both(context), grid)
        features_after, first_rows = Incremental(self.net, both, grid, condition), self.rows.tolist()
        here = torch.zeros(both, self.width, device=device)  # the summed embeddings of a position's symbols so far
        for cell in range(wanted[-1] + 1 if wanted else 0):
            features, here = features_after(here), torch.zeros_like(here)
            for q, first_row in enumerate(first_rows):
                if unknown[q][cell]:
                    sent = yield Step(0, positions[q, cell], guide(self._logits(q, features, here))[:, None])
                    symbols[:, q, cell] = guide.both(sent[:, 0])
                here = here + self.embedding(symbols[:, q, cell] + first_row)

    @property
    def _any_grid(self) -> bool:
        return self.attention_every == 0

    def _by_codebook(
        self, symbols: Tensor, classes: Tensor, context: Tensor | None, dropout: float = 0.0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each codebook the logits [B, T, K], exactly its alphabet, and the symbols [B, T]."""
        embedded = self._embed(symbols)
        features = self._features(embedded, self._condition(classes, context, tuple(symbols.shape[2:])), dropout)
        before = torch.zeros_like(features)
        for head, here, which in zip(self.outputs, embedded.flatten(2, -2).unbind(1), symbols.unbind(1), strict=True):
            yield head(features, before), which.flatten(1)
            before = before + here

    def _logits(self, q: int, features: Tensor, before: Tensor) -> Tensor:
        """Float32, whatever the caller's precision."""
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.outputs[q](features, before)
        return logits

    def _embed(self, symbols: Tensor) -> Tensor:
        """Symbols [B, Q, *grid] -> [B, Q, *grid, W]."""
        embedded: Tensor = self.embedding(symbols + self.rows.view(-1, *(1,) * (symbols.ndim - 2)))
        return embedded

    def _features(self, embedded: Tensor, condition: Tensor | None, dropout: float = 0.0) -> Tensor:
        """What all positions [B, T, W] know of those before them."""
        features: Tensor = self.net(embedded.sum(1).movedim(-1, 1), condition, dropout)
        return features.movedim(1, -1).flatten(1, -2)

    def _classes(self, side: Side, batch: int) -> Tensor:
        """The class [B] of each sample; that there is none is refused where it was not learned."""
        return classes_of(side, self.layout, batch, device_of(self), optional=self.label_dropout > 0)

    def _condition(self, classes: Tensor, context: Tensor | None, grid: tuple[int, ...]) -> Tensor | None:
        """What class and context say of every position, [B, W, *grid or ones]; None where there are neither."""
        parts = []
        if self.classes is not None:
            parts.append(self.classes(classes).view(len(classes), self.width, *(1,) * len(grid)))
        if (said := self.context(context, len(classes), grid)) is not None:
            parts.append(said)
        return sum(parts) if parts else None
