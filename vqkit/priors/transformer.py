"""A decoder-only transformer over the tokens of all levels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vqkit.nn.attention import Block, rotations
from vqkit.priors.base import Prior, Step, Walk
from vqkit.priors.guidance import Guidance
from vqkit.priors.inputs import (
    check_indices,
    check_layout,
    check_shares,
    check_walk,
    classes_of,
    device_of,
    flatten,
    hide,
    known_tokens,
    spans,
    unflatten,
)
from vqkit.priors.nats import log_p, mean_nats
from vqkit.signal import Indices, Layout, Side


class TransformerPrior(Prior):
    """Each symbol given all before it: p(s_t | s_<t, label), levels coarse to fine, each flattened [Q, *grid].

    The input of position t is the symbol before it, plus what is learned of t itself (its level, codebook and cell);
    the first takes the class in place of a symbol. Attention also sees the cells' places on the grid (`nn.attention`),
    where all levels are laid over the finest. Made for one layout: other grids are refused.

    Args:
        layout: `classes` above 0 makes it conditional on the `label` of `side`.
        width: of the residual stream, a multiple of `heads`.
        depth: how many blocks.
        heads: of attention, each width / heads dimensions.
        dropout: share of each block's outputs dropped in training.
        label_dropout: share of the labels hidden in training, so that p(indices) without a label is learned too, as
            classifier-free guidance needs it (https://arxiv.org/abs/2207.12598). Above 0, `log_prob` and `walk` take a
            `side` without a label to mean that; at 0 they refuse it.

    Raises ValueError where an argument is out of its range, and in every method where indices, label or layout are not
    those of `layout`, or a `context` is given.
    """

    rows: Tensor
    turns: Tensor

    def __init__(
        self,
        layout: Layout,
        width: int = 256,
        depth: int = 6,
        heads: int = 8,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; a transformer has at least one block")
        check_shares(dropout=dropout, label_dropout=label_dropout)
        self.layout, self.width, self.depth, self.heads = check_layout(layout), width, depth, heads
        self.dropout, self.label_dropout = dropout, label_dropout

        # One table: the symbols of every codebook in turn, then the classes, then "no class".
        self._spans = spans(layout)
        first_rows = torch.tensor([0, *(span.size for span in self._spans)]).cumsum(0)
        self._first_class = int(first_rows[-1])
        self.embedding = nn.Embedding(self._first_class + layout.classes + 1, width)
        self.position = nn.Parameter(torch.empty(sum(layout.tokens), width))
        self.blocks = nn.ModuleList(Block(width, heads, depth) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.outputs = nn.ModuleList(nn.Linear(width, span.size) for span in self._spans)
        nn.init.normal_(self.embedding.weight, std=0.1)  # smaller ones learn more slowly at first
        nn.init.normal_(self.position, std=0.1)
        for parameter in self.outputs.parameters():  # all symbols alike at first: the loss starts at log K
            nn.init.zeros_(parameter)

        lengths = torch.tensor([span.stop - span.start for span in self._spans])
        self.register_buffer("rows", first_rows[:-1].repeat_interleave(lengths), persistent=False)
        self.register_buffer("turns", rotations(_coordinates(layout), width // heads), persistent=False)

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token; in training mode some labels and outputs are dropped."""
        tokens = self._tokens(indices, context)
        starts = classes_of(side, self.layout, len(tokens), device_of(self))
        dropout = 0.0
        if self.training:
            starts, dropout = hide(starts, self.layout, self.label_dropout), self.dropout
        return mean_nats(self._by_codebook(self._hidden(self._inputs(tokens, starts), dropout=dropout), tokens))

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        tokens, starts = self._tokens(indices, context), self._starts(side, len(indices[0]))
        with torch.autocast(tokens.device.type, enabled=False):
            nats = log_p(self._by_codebook(self._hidden(self._inputs(tokens, starts)), tokens))
        return unflatten(nats, self.layout)

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
        """One position a step. Symbols known before a position condition it; those known behind it cannot."""
        check_walk(layout, self.layout)
        _refuse(context)
        tokens = known_tokens(known, layout, batch, device_of(self))
        guide = Guidance(guidance, self._starts(side, batch), self.layout, self.label_dropout)
        # Rows of unknown symbols are set before they are read.
        inputs = self._inputs(guide.both(tokens), guide.classes)
        keys = (len(inputs), self.heads, tokens.shape[1], self.width // self.heads)
        cache = self.position.new_empty(self.depth, 2, *keys)
        unknown, fed = (tokens[0] < 0).tolist(), 0
        for span, head in zip(self._spans, self.outputs, strict=True):
            for t in range(span.start, span.stop):
                if unknown[t]:
                    logits = guide(self._logits(inputs[:, fed : t + 1], head, cache, fed))
                    symbols = yield Step(span.level, self.rows.new_tensor([[t - span.level_start]]), logits)
                    # Behind the last position, a slice of nothing.
                    inputs[:, t + 1 : t + 2] = guide.both(symbols) + self.rows[t]
                    fed = t + 1

    def _logits(self, inputs: Tensor, head: nn.Module, cache: Tensor, past: int) -> Tensor:
        """[B, 1, K] at the last of the inputs [B, n] that follow the `past` ones in the cache."""
        with torch.autocast(inputs.device.type, enabled=False):
            logits: Tensor = head(self._hidden(inputs, cache=cache, past=past)[:, -1:])
        return logits

    def _hidden(self, inputs: Tensor, dropout: float = 0.0, cache: Tensor | None = None, past: int = 0) -> Tensor:
        """Rows of the embedding [B, n] at the positions from `past` on -> [B, n, width]."""
        here = slice(past, past + inputs.shape[1])
        x = self.embedding(inputs) + self.position[here]
        for number, block in enumerate(self.blocks):
            x = block(x, self.turns[:, here], True, None if cache is None else cache[number], past, dropout)
        return self.norm(x)  # type: ignore[no-any-return]

    def _by_codebook(self, x: Tensor, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each codebook the logits [B, n, K], exactly its alphabet, and the symbols [B, n]."""
        for span, head in zip(self._spans, self.outputs, strict=True):
            yield head(x[:, span.start : span.stop]), tokens[:, span.start : span.stop]

    def _inputs(self, tokens: Tensor, starts: Tensor) -> Tensor:
        """Tokens [B, T] and classes [B] -> the embedding's rows [B, T] of what stands before each position."""
        return torch.cat([self._first_class + starts[:, None], (tokens + self.rows)[:, :-1]], 1)

    def _tokens(self, indices: Indices, context: Tensor | None) -> Tensor:
        _refuse(context)
        check_indices(indices, self.layout)
        return flatten(indices)

    def _starts(self, side: Side, batch: int) -> Tensor:
        """The class [B] to start with; that there is none is refused where it was not learned."""
        return classes_of(side, self.layout, batch, device_of(self), optional=self.label_dropout > 0)


def _refuse(context: Tensor | None) -> None:
    if context is not None:
        raise ValueError("a TransformerPrior takes no context; leave it out")


def _coordinates(layout: Layout) -> Tensor:
    """Where each token is, in cells of the finest grid: [T, dims] float32, at the centres of its own cells."""
    finest = [max(extents) for extents in zip(*layout.grids, strict=True)]
    found = []
    for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True):
        axes = [(torch.arange(n) + 0.5) * (most / n) - 0.5 for n, most in zip(grid, finest, strict=True)]
        cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
        found.append(cells.repeat(len(sizes), 1))
    return torch.cat(found)
